//! The outbox: what happened, written in the transaction that made it happen; from here to the ledger and the pipeline.

use crate::Error;
use crate::clock::random_id;
use crate::db::{Tx, next};
use prunella_vault_crypto::gate::Tier;
use serde_json::Value;
use sqlx::AnyPool;
use sqlx::Row;

/// An OCSF event: for the ledger and for the pipeline.
pub(crate) const EVENT: &str = "event";
/// A step of custody: for the ledger only.
pub(crate) const CUSTODY: &str = "custody";

pub(crate) struct Posted {
    pub seq: i64,
    pub id: String,
    pub time: i64,
    pub kind: String,
    pub body: String,
}

/// Adds an entry to the caller's transaction.
pub(crate) async fn post(tx: &mut Tx, kind: &str, time: i64, body: &Value) -> Result<(), Error> {
    let seq = next(tx, "outbox").await?;
    sqlx::query("INSERT INTO outbox (seq, id, time, kind, body) VALUES ($1, $2, $3, $4, $5)")
        .bind(seq)
        .bind(random_id())
        .bind(time)
        .bind(kind)
        .bind(body.to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The entries after `seq`, in order.
pub(crate) async fn after(pool: &AnyPool, seq: i64, limit: i64) -> Result<Vec<Posted>, Error> {
    let rows =
        sqlx::query("SELECT seq, id, time, kind, body FROM outbox WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(seq)
            .bind(limit)
            .fetch_all(pool)
            .await?;
    let read = |row: &sqlx::any::AnyRow| {
        Ok(Posted {
            seq: row.try_get(0)?,
            id: row.try_get(1)?,
            time: row.try_get(2)?,
            kind: row.try_get(3)?,
            body: row.try_get(4)?,
        })
    };
    rows.iter().map(read).collect()
}

pub(crate) fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Low => "LOW",
        Tier::Medium => "MEDIUM",
        Tier::High => "HIGH",
    }
}
