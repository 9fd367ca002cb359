//! The ledger of several processes, in PostgreSQL: a chain for each tenant, and one fenced writer for each input.
//!
//! An input is a partition of the plans. Whoever opens it takes the next epoch, and every transaction asks for that epoch
//! first, so that an owner who was frozen meanwhile can add, begin and tick off nothing any more.

mod database;
mod read;
mod row;

pub use database::{Database, Server};
pub use read::{Entries, PostgresReader, verify};

use super::port::{Attestor, NewEntry, PendingOrder, Sequencer};
use super::tail;
use crate::sqlite::StoreError;
use prunella_ledger::{Entry, Ledger, Signer};
use prunella_schemas::{Id, Tenant};
use sqlx::{PgConnection, Postgres, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::runtime::Handle;

/// The writer of the ledgers of those tenants whose plans come by one input. Blocking: not for async threads.
pub struct PostgresLedger {
    database: Database,
    /// Signs for every tenant, under a name of its own.
    signer: Arc<Signer>,
    runtime: Handle,
    source: String,
    epoch: i64,
    /// Read when first needed, and again after a failure: a failed transaction leaves the memory ahead of the tables.
    books: BTreeMap<Tenant, Book>,
}

/// One tenant's ledger in memory.
struct Book {
    ledger: Ledger,
    signer: Signer,
}

impl PostgresLedger {
    /// Becomes the one writer of what comes by `source`. Whoever was it before is refused from now on.
    pub fn open(
        database: Database,
        signer: Arc<Signer>,
        source: &str,
        runtime: Handle,
    ) -> Result<Self, StoreError> {
        let claim = async {
            database.check_authority(signer.verifier()).await?;
            let sql = "INSERT INTO sequencer (source, epoch) VALUES ($1, 1) \
                       ON CONFLICT (source) DO UPDATE SET epoch = sequencer.epoch + 1 RETURNING epoch";
            let claimed = sqlx::query_scalar(sql).bind(source).fetch_one(database.pool()).await;
            claimed.map_err(|e| database.describe(&e))
        };
        let epoch = runtime.block_on(claim)?;
        tracing::info!(source, epoch, "claimed the ledgers");
        let (source, books) = (source.to_owned(), BTreeMap::new());
        Ok(PostgresLedger { database, signer, runtime, source, epoch, books })
    }

    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// A transaction that nobody else's can overtake, if the input is still ours.
    async fn fenced(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let fail = |e| self.database.describe(&e);
        let mut transaction = self.database.pool().begin().await.map_err(fail)?;
        let sql = "SELECT epoch FROM sequencer WHERE source = $1 FOR UPDATE";
        let newest = sqlx::query_scalar(sql).bind(&self.source).fetch_optional(&mut *transaction).await;
        let newest: Option<i64> = newest.map_err(fail)?;
        if newest == Some(self.epoch) {
            return Ok(transaction);
        }
        let detail = format!(
            "{} was claimed {} times, and this is claim {}; nothing was changed",
            self.source,
            newest.unwrap_or_default(),
            self.epoch
        );
        Err(StoreError::Fenced { path: self.database.name().to_owned(), detail })
    }

    async fn log(&mut self, entries: &[NewEntry], position: i64) -> Result<Vec<Entry>, StoreError> {
        let database = self.database.clone();
        let fail = |e| database.describe(&e);
        let mut transaction = self.fenced().await?;
        let (mut out, mut grown) = (Vec::with_capacity(entries.len()), BTreeSet::new());
        for new in entries {
            let mut book = match self.books.remove(&new.tenant) {
                Some(book) => book,
                None => self.open_book(&mut transaction, &new.tenant).await?,
            };
            let known = row::find(&mut transaction, &new.tenant, &new.kind, new.id).await.map_err(fail)?;
            out.push(match known {
                Some(known) => known,
                None => {
                    let entry = book.ledger.append(new.time, &new.kind, new.id, new.body.clone());
                    row::insert(&mut transaction, &self.source, new, &entry).await.map_err(fail)?;
                    grown.insert(&new.tenant);
                    entry
                }
            });
            self.books.insert(new.tenant.clone(), book);
        }
        for (tenant, book) in self.books.iter().filter(|(tenant, _)| grown.contains(tenant)) {
            let note = book.ledger.checkpoint(&book.signer)?;
            row::sign(&mut transaction, tenant, book.ledger.size(), &note).await.map_err(fail)?;
        }
        let sql = "UPDATE sequencer SET position = $2 WHERE source = $1";
        let moved = sqlx::query(sql).bind(&self.source).bind(position).execute(&mut *transaction).await;
        moved.map_err(fail)?;
        transaction.commit().await.map_err(fail)?;
        Ok(out)
    }

    /// Reads a tenant's ledger, or makes it. Refuses one that another input writes, or another key signs.
    async fn open_book(&self, connection: &mut PgConnection, tenant: &Tenant) -> Result<Book, StoreError> {
        let fail = |e| self.database.describe(&e);
        let origin = format!("{}/{}", self.signer.verifier().name(), tenant.as_str());
        let signer = self.signer.renamed(&origin)?;
        let key = signer.verifier().to_string();
        let owner = row::owner(&mut *connection, tenant).await.map_err(fail)?;
        match owner {
            None => row::found(connection, tenant, &self.source, &key).await.map_err(fail)?,
            Some((source, _)) if source != self.source => {
                return Err(StoreError::Invalid(format!(
                    "the plans of tenant {} come by {}, and its ledger belongs to {source}; partitions of a topic must \
                     not change, and another installation needs a `postgres.schema` of its own",
                    tenant.as_str(),
                    self.source
                )));
            }
            Some((_, signed)) if signed != key => {
                return Err(StoreError::Invalid(format!(
                    "the ledger of tenant {} is signed by {signed}, and our key is {key}",
                    tenant.as_str()
                )));
            }
            Some(_) => {}
        }
        let pairs = row::leaves(&mut *connection, tenant, 0).await.map_err(fail)?;
        let broken = |detail: String| self.database.broken(tenant, &detail);
        let ledger = Ledger::resume(&origin, pairs).map_err(|e| broken(e.to_string()))?;
        let newest = row::newest(connection, tenant).await.map_err(fail)?;
        let note = row::checkpoint(connection, tenant).await.map_err(fail)?;
        tail::check(&newest, note, &ledger, signer.verifier()).map_err(broken)?;
        Ok(Book { ledger, signer })
    }

    /// Runs one statement on one order, if the input is still ours. Whether it changed it.
    async fn mark(&self, sql: &'static str, id: Id) -> Result<bool, StoreError> {
        let fail = |e| self.database.describe(&e);
        let mut transaction = self.fenced().await?;
        let marked = sqlx::query(sql).bind(&id.0[..]).execute(&mut *transaction).await.map_err(fail)?;
        transaction.commit().await.map_err(fail)?;
        Ok(marked.rows_affected() == 1)
    }
}

impl Sequencer for PostgresLedger {
    fn position(&self) -> Result<i64, StoreError> {
        let sql = "SELECT position FROM sequencer WHERE source = $1";
        let position = sqlx::query_scalar(sql).bind(&self.source).fetch_one(self.database.pool());
        self.runtime.block_on(position).map_err(|e| self.database.describe(&e))
    }

    fn append(&mut self, entries: &[NewEntry], position: i64) -> Result<Vec<Entry>, StoreError> {
        let runtime = self.runtime.clone();
        let logged = runtime.block_on(self.log(entries, position));
        if logged.is_err() {
            self.books.clear();
        }
        logged
    }

    fn pending_orders(&self) -> Result<Vec<PendingOrder>, StoreError> {
        let sql = "SELECT id, bytes, started FROM pending WHERE source = $1 ORDER BY ordinal";
        let read = sqlx::query_as(sql).bind(&self.source).fetch_all(self.database.pool());
        let rows: Vec<([u8; 16], Vec<u8>, bool)> =
            self.runtime.block_on(read).map_err(|e| self.database.describe(&e))?;
        let order = |(id, bytes, started)| PendingOrder { id: Id(id), bytes, started };
        Ok(rows.into_iter().map(order).collect())
    }

    fn begin(&mut self, id: Id) -> Result<bool, StoreError> {
        let sql = "UPDATE pending SET started = true WHERE id = $1 AND NOT started";
        self.runtime.block_on(self.mark(sql, id))
    }

    fn done(&mut self, id: Id) -> Result<bool, StoreError> {
        self.runtime.block_on(self.mark("DELETE FROM pending WHERE id = $1", id))
    }

    fn attestor(&self) -> Arc<dyn Attestor> {
        Arc::new(self.database.clone())
    }
}
