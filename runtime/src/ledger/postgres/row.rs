//! The ledger's tables, statement by statement.

use crate::ledger::port::NewEntry;
use prunella_ledger::{Entry, Hash};
use prunella_schemas::{Id, Tenant, Timestamp};
use sqlx::{Executor, FromRow, PgConnection, Postgres};

/// An entry as it is stored.
#[derive(FromRow)]
pub struct Stored {
    number: i64,
    time: i64,
    kind: String,
    id: [u8; 16],
    body: Vec<u8>,
    prev: Hash,
    hash: Hash,
}

impl From<Stored> for Entry {
    fn from(row: Stored) -> Self {
        // A negative number was not written by us; the verifier finds it out of its place.
        let index = u64::try_from(row.number).unwrap_or(u64::MAX);
        let (time, kind, id) = (Timestamp(row.time), row.kind, Id(row.id));
        Entry { index, time, kind, id, body: row.body, prev: row.prev, hash: row.hash }
    }
}

/// The input that a tenant's ledger belongs to, and the key that signs it.
pub async fn owner<'a>(
    executor: impl Executor<'a, Database = Postgres>,
    tenant: &Tenant,
) -> sqlx::Result<Option<(String, String)>> {
    let sql = "SELECT source, verifier FROM ledger WHERE tenant = $1";
    sqlx::query_as(sql).bind(tenant.as_str()).fetch_optional(executor).await
}

pub async fn found(
    connection: &mut PgConnection,
    tenant: &Tenant,
    source: &str,
    key: &str,
) -> sqlx::Result<()> {
    let sql = "INSERT INTO ledger (tenant, source, verifier) VALUES ($1, $2, $3)";
    sqlx::query(sql).bind(tenant.as_str()).bind(source).bind(key).execute(connection).await.map(drop)
}

/// The hash and the leaf of every entry from number `from` on.
pub async fn leaves<'a>(
    executor: impl Executor<'a, Database = Postgres>,
    tenant: &Tenant,
    from: i64,
) -> sqlx::Result<Vec<(Hash, Hash)>> {
    let sql = "SELECT hash, leaf FROM entry WHERE tenant = $1 AND number >= $2 ORDER BY number";
    sqlx::query_as(sql).bind(tenant.as_str()).bind(from).fetch_all(executor).await
}

/// The last two entries, the last one first.
pub async fn newest(connection: &mut PgConnection, tenant: &Tenant) -> sqlx::Result<Vec<Entry>> {
    let sql = "SELECT number, time, kind, id, body, prev, hash FROM entry WHERE tenant = $1 \
               ORDER BY number DESC LIMIT 2";
    let rows: Vec<Stored> = sqlx::query_as(sql).bind(tenant.as_str()).fetch_all(connection).await?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

pub async fn find(
    connection: &mut PgConnection,
    tenant: &Tenant,
    kind: &str,
    id: Id,
) -> sqlx::Result<Option<Entry>> {
    let sql = "SELECT number, time, kind, id, body, prev, hash FROM entry \
               WHERE tenant = $1 AND kind = $2 AND id = $3";
    let found = sqlx::query_as(sql).bind(tenant.as_str()).bind(kind).bind(&id.0[..]);
    let row: Option<Stored> = found.fetch_optional(connection).await?;
    Ok(row.map(Entry::from))
}

/// Entries after number `after`, in order.
pub async fn page<'a>(
    executor: impl Executor<'a, Database = Postgres>,
    tenant: &Tenant,
    after: i64,
    rows_max: i64,
) -> sqlx::Result<Vec<(i64, Entry)>> {
    let sql = "SELECT number, time, kind, id, body, prev, hash FROM entry WHERE tenant = $1 AND number > $2 \
               ORDER BY number LIMIT $3";
    let read = sqlx::query_as(sql).bind(tenant.as_str()).bind(after).bind(rows_max);
    let rows: Vec<Stored> = read.fetch_all(executor).await?;
    Ok(rows.into_iter().map(|row| (row.number, Entry::from(row))).collect())
}

pub async fn insert(
    connection: &mut PgConnection,
    source: &str,
    new: &NewEntry,
    entry: &Entry,
) -> sqlx::Result<()> {
    let sql = "INSERT INTO entry (tenant, number, time, kind, id, body, prev, hash, leaf) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let (tenant, leaf) = (new.tenant.as_str(), entry.leaf());
    let row = sqlx::query(sql).bind(tenant).bind(signed(entry.index)).bind(entry.time.0).bind(&entry.kind);
    let row = row.bind(&entry.id.0[..]).bind(&entry.body[..]).bind(&entry.prev[..]).bind(&entry.hash[..]);
    row.bind(&leaf[..]).execute(&mut *connection).await?;
    if let Some(order) = &new.order {
        let sql = "INSERT INTO pending (id, source, tenant, bytes) VALUES ($1, $2, $3, $4)";
        let row = sqlx::query(sql).bind(&entry.id.0[..]).bind(source).bind(tenant).bind(&order[..]);
        row.execute(connection).await?;
    }
    Ok(())
}

pub async fn sign(connection: &mut PgConnection, tenant: &Tenant, size: u64, note: &str) -> sqlx::Result<()> {
    let sql = "INSERT INTO checkpoint (tenant, size, note) VALUES ($1, $2, $3)";
    sqlx::query(sql).bind(tenant.as_str()).bind(signed(size)).bind(note).execute(connection).await.map(drop)
}

/// The newest checkpoint's note.
pub async fn checkpoint(connection: &mut PgConnection, tenant: &Tenant) -> sqlx::Result<Option<String>> {
    let sql = "SELECT note FROM checkpoint WHERE tenant = $1 ORDER BY size DESC LIMIT 1";
    sqlx::query_scalar(sql).bind(tenant.as_str()).fetch_optional(connection).await
}

/// More entries than PostgreSQL can count do not fit into it either.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
