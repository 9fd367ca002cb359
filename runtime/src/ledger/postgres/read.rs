//! Reading the ledgers in PostgreSQL: the port for console and command line, entries in pages, and the offline verification.

use super::database::Database;
use super::row;
use crate::executor::Switch;
use crate::ledger::port::Attestor;
use crate::ledger::{RECEIPT_KIND, view};
use crate::sqlite::StoreError;
use crate::state::{History, Past};
use async_trait::async_trait;
use prunella_ledger::{Entry, Ledger, Report, Verifier};
use prunella_schemas::port::{LedgerView, PortError};
use prunella_schemas::{Id, Receipt, Tenant};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Mutex;

/// Entries read at once.
const PAGE_ENTRIES: i64 = 256;

#[async_trait]
impl Attestor for Database {
    async fn attested(&self, tenant: &Tenant, receipt: Id) -> Result<Receipt, PortError> {
        let verifier = self.verifier(tenant).await?;
        let verifier = verifier.ok_or_else(|| no_ledger(tenant))?;
        let fail = |e| PortError::from(self.describe(&e));
        let mut connection = self.pool().acquire().await.map_err(fail)?;
        let entry = row::find(&mut connection, tenant, RECEIPT_KIND, receipt).await.map_err(fail)?;
        view::attested(entry, &verifier)
    }
}

#[async_trait]
impl History for Database {
    async fn past(&self, tenant: &Tenant) -> Result<Past, PortError> {
        let (database, tenant, runtime) = (self.clone(), tenant.clone(), Handle::current());
        let read = tokio::task::spawn_blocking(move || {
            let entries = Entries::open(&database, &tenant, &runtime);
            Past::read(entries, || runtime.block_on(database.waiting(&tenant)))
        });
        match read.await {
            Ok(past) => past.map_err(PortError::from),
            Err(e) => Err(PortError::Unavailable(format!("a reading of the ledger was cut short: {e}"))),
        }
    }
}

#[async_trait]
impl Switch for Database {
    async fn is_engaged(&self) -> bool {
        self.kill_switch().await.unwrap_or_else(|e| {
            tracing::error!(error = %e, "the kill switch cannot be read, so nothing is done");
            true
        })
    }
}

impl Database {
    /// The orders of a tenant that were not begun yet.
    async fn waiting(&self, tenant: &Tenant) -> Result<Vec<Id>, StoreError> {
        let sql = "SELECT id FROM pending WHERE tenant = $1 AND NOT started";
        let read = sqlx::query_scalar(sql).bind(tenant.as_str()).fetch_all(self.pool()).await;
        let ids: Vec<[u8; 16]> = read.map_err(|e| self.describe(&e))?;
        Ok(ids.into_iter().map(Id).collect())
    }

    /// The key that signs a tenant's ledger; `None` before its first entry.
    pub async fn verifier(&self, tenant: &Tenant) -> Result<Option<Verifier>, PortError> {
        let owner = row::owner(self.pool(), tenant).await.map_err(|e| PortError::from(self.describe(&e)))?;
        let Some((_, key)) = owner else { return Ok(None) };
        Verifier::parse(&key).map(Some).map_err(|e| PortError::Corrupt(e.to_string()))
    }
}

/// One tenant's ledger, for readers in any process. Keeps 64 bytes an entry once a proof was asked for. Cheap to clone.
#[derive(Clone)]
pub struct PostgresReader {
    database: Database,
    tenant: Tenant,
    ledger: Arc<Mutex<Option<Ledger>>>,
}

impl PostgresReader {
    pub fn new(database: Database, tenant: Tenant) -> Self {
        PostgresReader { database, tenant, ledger: Arc::default() }
    }

    /// The newest checkpoint and its size.
    async fn published(&self) -> Result<(u64, String), PortError> {
        let fail = |e| PortError::from(self.database.describe(&e));
        let mut connection = self.database.pool().acquire().await.map_err(fail)?;
        let note = row::checkpoint(&mut connection, &self.tenant).await.map_err(fail)?;
        let note = note.ok_or_else(|| no_ledger(&self.tenant))?;
        let checkpoint = prunella_ledger::Checkpoint::open(&note, None);
        let checkpoint = checkpoint.map_err(|e| PortError::Corrupt(e.to_string()))?;
        Ok((checkpoint.size, note))
    }
}

#[async_trait]
impl LedgerView for PostgresReader {
    async fn checkpoint(&self) -> Result<String, PortError> {
        Ok(self.published().await?.1)
    }

    async fn proof(&self, receipt: Id) -> Result<Option<serde_json::Value>, PortError> {
        let Some(verifier) = self.database.verifier(&self.tenant).await? else { return Ok(None) };
        let fail = |e| PortError::from(self.database.describe(&e));
        let mut connection = self.database.pool().acquire().await.map_err(fail)?;
        let entry = row::find(&mut connection, &self.tenant, RECEIPT_KIND, receipt).await.map_err(fail)?;
        drop(connection);
        let Some(entry) = entry else { return Ok(None) };
        let published = self.published().await?;
        let mut memory = self.ledger.lock().await;
        let known = memory.as_ref().map_or(0, Ledger::size);
        let known = i64::try_from(known).unwrap_or(i64::MAX);
        let fresh = row::leaves(self.database.pool(), &self.tenant, known).await.map_err(fail)?;
        let corrupt = |e: prunella_ledger::LedgerError| PortError::Corrupt(e.to_string());
        let ledger = match memory.as_mut() {
            Some(ledger) => ledger,
            None => memory.insert(Ledger::new(verifier.name()).map_err(corrupt)?),
        };
        ledger.extend(fresh);
        view::bundle(&entry, ledger, published, &verifier)
    }

    async fn len(&self) -> Result<u64, PortError> {
        match self.published().await {
            Err(PortError::Invalid(_)) => Ok(0),
            published => published.map(|(size, _)| size),
        }
    }
}

fn no_ledger(tenant: &Tenant) -> PortError {
    PortError::Invalid(format!("the ledger of tenant {} has no entries yet", tenant.as_str()))
}

/// The entries of a tenant's ledger, in order, while others may be added. Blocking: not for async threads.
pub struct Entries {
    database: Database,
    tenant: Tenant,
    runtime: Handle,
    after: i64,
    page: VecDeque<Entry>,
    ended: bool,
}

impl Entries {
    pub fn open(database: &Database, tenant: &Tenant, runtime: &Handle) -> Self {
        let (database, tenant, runtime) = (database.clone(), tenant.clone(), runtime.clone());
        Entries { database, tenant, runtime, after: i64::MIN, page: VecDeque::new(), ended: false }
    }

    fn turn(&mut self) -> Result<(), StoreError> {
        let read = row::page(self.database.pool(), &self.tenant, self.after, PAGE_ENTRIES);
        for (number, entry) in self.runtime.block_on(read).map_err(|e| self.database.describe(&e))? {
            self.after = number;
            self.page.push_back(entry);
        }
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.ended {
            match self.turn() {
                Ok(()) => self.ended = self.page.is_empty(),
                Err(e) => {
                    self.ended = true;
                    return Some(Err(e.to_string()));
                }
            }
        }
        self.page.pop_front().map(Ok)
    }
}

/// Verifies a tenant's ledger while others may write to it. Blocking: not for async threads.
///
/// `trusted` is the key to check by, kept outside; without it the key in the database is taken, which whoever can rewrite
/// the database can exchange. `anchors` are checkpoints kept outside: only they show that the end was cut off.
pub fn verify(
    database: &Database,
    tenant: &Tenant,
    trusted: Option<&Verifier>,
    anchors: &[String],
    runtime: &Handle,
) -> Result<Report, StoreError> {
    let read = async {
        // Read before the entries: a writer that goes on meanwhile can then only be ahead of them.
        let sql = "SELECT note FROM checkpoint WHERE tenant = $1 ORDER BY size";
        sqlx::query_scalar(sql).bind(tenant.as_str()).fetch_all(database.pool()).await
    };
    let mut checkpoints: Vec<String> = runtime.block_on(read).map_err(|e| database.describe(&e))?;
    checkpoints.extend_from_slice(anchors);
    let verifier = match trusted {
        Some(verifier) => Some(verifier.clone()),
        None => {
            let known = runtime.block_on(database.verifier(tenant));
            known.map_err(|e| StoreError::Invalid(e.to_string()))?
        }
    };
    let entries = Entries::open(database, tenant, runtime);
    Ok(prunella_ledger::verify(entries, &checkpoints, verifier.as_ref()))
}
