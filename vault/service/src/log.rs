//! The vault's ledger: takes the outbox in order, links and signs it, and hands the events to the pipeline.

use crate::Error;
use crate::db::Database;
use crate::keyring::Ring;
use crate::outbox::{self, EVENT, Posted};
use prunella_ledger::{Entry, Ledger, Signer};
use prunella_schemas::port::{Intake, Upload};
use prunella_schemas::{Id, Tenant, Timestamp};
use sqlx::Row;
use tokio::sync::Mutex;

pub(crate) const KEY: &str = "ledger";
/// Most entries that are linked in one transaction.
const BATCH_MAX: i64 = 512;
/// Most events that are handed over at once.
const DELIVERY_MAX: i64 = 512;
const CHECKPOINT: &str = "checkpoint";

pub(crate) struct Log {
    db: Database,
    signer: Signer,
    head: Mutex<Head>,
}

/// The ledger as far as it is durable, and the outbox's entry that is its last.
struct Head {
    ledger: Ledger,
    seq: i64,
    /// Memory may hold what the disk does not: a transaction failed, or whoever waited for it was cut off.
    is_ahead: bool,
}

impl Log {
    pub(crate) async fn open(db: Database, ring: &Ring, origin: &str) -> Result<Self, Error> {
        let (_, seed) = ring.newest(KEY)?;
        let signer = Signer::from_seed(origin, &seed).map_err(|_| Error::Corrupt("the ledger's key"))?;
        let head = Mutex::new(resume(&db, origin).await?);
        Ok(Log { db, signer, head })
    }

    pub(crate) fn verifier_key(&self) -> String {
        self.signer.verifier().to_string()
    }

    /// Links what the outbox has, in its order. Gives the number of new entries.
    pub(crate) async fn sequence(&self) -> Result<usize, Error> {
        let mut head = self.head.lock().await;
        if head.is_ahead {
            let origin = head.ledger.origin().to_owned();
            *head = resume(&self.db, &origin).await?;
        }
        let posted = outbox::after(self.db.pool(), head.seq, BATCH_MAX).await?;
        if posted.is_empty() {
            return Ok(0);
        }
        head.is_ahead = true;
        let linked = self.link(&mut head, &posted).await?;
        head.is_ahead = false;
        Ok(linked)
    }

    async fn link(&self, head: &mut Head, posted: &[Posted]) -> Result<usize, Error> {
        let mut tx = self.db.begin().await?;
        for post in posted {
            let id: Id = post.id.parse().map_err(|_| Error::Corrupt("the outbox"))?;
            let body = post.body.clone().into_bytes();
            let entry = head.ledger.append(Timestamp(post.time), &post.kind, id, body);
            let text = serde_json::to_string(&entry).map_err(|_| Error::Corrupt("the outbox"))?;
            sqlx::query("INSERT INTO ledger (seq, entry, hash, leaf) VALUES ($1, $2, $3, $4)")
                .bind(post.seq)
                .bind(text)
                .bind(hex::encode(entry.hash))
                .bind(hex::encode(entry.leaf()))
                .execute(&mut *tx)
                .await?;
            head.seq = post.seq;
        }
        let checkpoint =
            head.ledger.checkpoint(&self.signer).map_err(|_| Error::Corrupt("the ledger's key"))?;
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2",
        )
        .bind(CHECKPOINT)
        .bind(checkpoint)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(posted.len())
    }

    /// The newest signed head.
    pub(crate) async fn checkpoint(&self) -> Result<String, Error> {
        let stored = sqlx::query_scalar("SELECT value FROM settings WHERE name = $1").bind(CHECKPOINT);
        if let Some(checkpoint) = stored.fetch_optional(self.db.pool()).await? {
            return Ok(checkpoint);
        }
        self.head.lock().await.ledger.checkpoint(&self.signer).map_err(|_| Error::Corrupt("the ledger's key"))
    }

    /// A page of entries with the sequence number of the last.
    pub(crate) async fn page(&self, after: i64, limit: i64) -> Result<(Vec<Entry>, Option<i64>), Error> {
        let rows = sqlx::query("SELECT seq, entry FROM ledger WHERE seq > $1 ORDER BY seq LIMIT $2");
        let rows = rows.bind(after).bind(limit).fetch_all(self.db.pool()).await?;
        let last = rows.last().map(|row| row.try_get(0)).transpose()?;
        let read = |row: &sqlx::any::AnyRow| {
            let text: String = row.try_get(1)?;
            serde_json::from_str(&text).map_err(|_| Error::Corrupt("the ledger"))
        };
        Ok((rows.iter().map(read).collect::<Result<_, Error>>()?, last))
    }

    /// The newest entries, newest first.
    pub(crate) async fn newest(&self, limit: i64) -> Result<Vec<Entry>, Error> {
        let rows = sqlx::query_scalar("SELECT entry FROM ledger ORDER BY seq DESC LIMIT $1").bind(limit);
        let rows: Vec<String> = rows.fetch_all(self.db.pool()).await?;
        let read = |text: &String| serde_json::from_str(text).map_err(|_| Error::Corrupt("the ledger"));
        rows.iter().map(read).collect()
    }

    /// Hands the events that are new to the pipeline. Repeats are harmless there: each event has an id of its own.
    pub(crate) async fn deliver(&self, to: &dyn Intake, tenant: &Tenant) -> Result<usize, Error> {
        let delivered: i64 = sqlx::query_scalar("SELECT value FROM counters WHERE name = 'delivered'")
            .fetch_one(self.db.pool())
            .await?;
        let posted = outbox::after(self.db.pool(), delivered, DELIVERY_MAX).await?;
        let Some(last) = posted.last().map(|post| post.seq) else { return Ok(0) };
        let events: Vec<&str> = posted.iter().filter(|p| p.kind == EVENT).map(|p| p.body.as_str()).collect();
        if !events.is_empty() {
            let upload = Upload {
                source: "vault".into(),
                tenant: tenant.clone(),
                content_type: "application/x-ndjson".into(),
                body: (events.join("\n") + "\n").into_bytes(),
                origin: "vault".into(),
                ..Upload::default()
            };
            let accepted = to.accept(upload).await.map_err(|error| {
                tracing::warn!(%error, "the pipeline takes no events; they wait in the outbox");
                Error::Unavailable("the pipeline")
            })?;
            if accepted.rejected > 0 {
                tracing::error!(rejected = accepted.rejected, "the pipeline cannot read events of the vault");
            }
        }
        sqlx::query("UPDATE counters SET value = $1 WHERE name = 'delivered' AND value < $1")
            .bind(last)
            .execute(self.db.pool())
            .await?;
        Ok(posted.len())
    }

    /// Deletes from the outbox what the ledger has and the pipeline got.
    pub(crate) async fn prune(&self, has_pipeline: bool) -> Result<(), Error> {
        let head = self.head.lock().await;
        if head.is_ahead {
            // What is on the disk is known again after the next link.
            return Ok(());
        }
        let linked = head.seq;
        drop(head);
        let statement = if has_pipeline {
            "DELETE FROM outbox WHERE seq <= $1 AND seq <= (SELECT value FROM counters WHERE name = 'delivered')"
        } else {
            "DELETE FROM outbox WHERE seq <= $1"
        };
        sqlx::query(statement).bind(linked).execute(self.db.pool()).await?;
        Ok(())
    }
}

async fn resume(db: &Database, origin: &str) -> Result<Head, Error> {
    let damaged = || Error::Corrupt("the ledger");
    let rows = sqlx::query("SELECT seq, hash, leaf FROM ledger ORDER BY seq").fetch_all(db.pool()).await?;
    let mut entries = Vec::with_capacity(rows.len());
    let mut seq = 0;
    for row in &rows {
        let digest = |at: usize| -> Result<[u8; 32], Error> {
            let text: String = row.try_get(at)?;
            hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(damaged)
        };
        seq = row.try_get(0)?;
        entries.push((digest(1)?, digest(2)?));
    }
    let ledger = Ledger::resume(origin, entries).map_err(|_| damaged())?;
    Ok(Head { ledger, seq, is_ahead: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_ledger::{Completeness, Integrity, Verifier, verify};
    use serde_json::json;

    #[tokio::test]
    async fn whoever_is_cut_off_leaves_a_chain_that_holds() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::embedded(&dir.path().join("db")).await.unwrap();
        let ring = Ring::open(&dir.path().join("ring"), &dir.path().join("key"), &[KEY]).unwrap();
        let log = Log::open(db.clone(), &ring, "prunella.vault/test").await.unwrap();
        for round in 0..3 {
            let mut tx = db.begin().await.unwrap();
            outbox::post(&mut tx, EVENT, 1, &json!({"round": round})).await.unwrap();
            tx.commit().await.unwrap();
            // As one leaves it who was cut off between the link and the commit.
            let mut head = log.head.lock().await;
            head.ledger.append(Timestamp(1), EVENT, Id::default(), Vec::new());
            (head.seq, head.is_ahead) = (head.seq + 1, true);
            drop(head);
            log.prune(false).await.unwrap();
            assert_eq!(log.sequence().await, Ok(1));
        }
        let (entries, _) = log.page(0, 1_000).await.unwrap();
        let (checkpoint, verifier) =
            (log.checkpoint().await.unwrap(), Verifier::parse(&log.verifier_key()).unwrap());
        assert_eq!(entries.len(), 3);
        let report = verify(entries.into_iter().map(Ok), &[checkpoint], Some(&verifier));
        assert_eq!((report.integrity, report.completeness), (Integrity::Ok, Completeness::Ok), "{report:?}");
    }
}
