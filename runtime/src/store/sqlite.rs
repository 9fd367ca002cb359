//! The embedded store: the port's reads over a few read-only connections, which never block the writer.

use super::StoreWriter;
use super::page::check;
use super::query::{calls, dashboard, one, page, transitions};
use crate::sqlite::{Readers, StoreError, blocking, open};
use async_trait::async_trait;
use prunella_schemas::port::{Dashboard, PortError, Query, Rows, Store};
use prunella_schemas::{DeadLetter, Event, Finding, Id, Message, Receipt, Timestamp, Transition};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub(super) const KIND: &str = "store";
pub(super) const MIGRATIONS: &[&str] = &[include_str!("../../../schemas/sqlite/store/0001.sql")];

/// Reads of the embedded store. Cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    readers: Arc<Readers>,
}

impl SqliteStore {
    /// Opens or makes the store at `path`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        open(path, KIND, MIGRATIONS)?;
        Ok(SqliteStore::reading(path))
    }

    /// Reads a store that exists, and changes nothing.
    pub fn reading(path: &Path) -> Self {
        SqliteStore { readers: Arc::new(Readers::new(path, KIND, MIGRATIONS)) }
    }

    /// What a principal called at or after `since`, oldest first: what a probe looks at.
    pub async fn calls_since(
        &self,
        tenant: &str,
        principal: &str,
        since: Timestamp,
    ) -> Result<Vec<Event>, PortError> {
        let (tenant, principal) = (tenant.to_owned(), principal.to_owned());
        self.read(move |connection| calls(connection, &tenant, &principal, since)).await
    }

    /// Marks a dead letter as replayed, unless its record was refused again at or after `replayed`. Says whether it was
    /// there and not yet marked.
    pub async fn resolve_dead_letter(&self, id: Id, replayed: Timestamp) -> Result<bool, PortError> {
        let readers = Arc::clone(&self.readers);
        blocking(move || StoreWriter::open(readers.path())?.resolve_dead_letter(id, replayed)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let readers = Arc::clone(&self.readers);
        blocking(move || readers.with(query)).await
    }

    async fn page<M: Message + Send + 'static>(
        &self,
        table: &'static str,
        query: &Query,
    ) -> Result<Rows<M>, PortError> {
        check(query).map_err(PortError::Invalid)?;
        let query = query.clone();
        self.read(move |connection| page(connection, table, &query)).await
    }
}

impl SqliteStore {
    /// How many principals each tenant has, by its events since `since`.
    pub async fn census(&self, since: Timestamp) -> Result<BTreeMap<String, u64>, PortError> {
        const CENSUS: &str =
            "SELECT tenant, COUNT(DISTINCT principal) FROM event WHERE time >= ?1 GROUP BY tenant";
        let count = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(CENSUS)?;
            let counted = statement.query_map([since.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
            counted.collect()
        };
        self.read(count).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn events(&self, query: &Query) -> Result<Rows<Event>, PortError> {
        self.page("event", query).await
    }

    async fn event(&self, uid: Id) -> Result<Option<Event>, PortError> {
        self.read(move |connection| one(connection, "event", uid)).await
    }

    async fn findings(&self, query: &Query) -> Result<Rows<Finding>, PortError> {
        self.page("finding", query).await
    }

    async fn finding(&self, uid: Id) -> Result<Option<Finding>, PortError> {
        self.read(move |connection| one(connection, "finding", uid)).await
    }

    async fn plans(&self, query: &Query) -> Result<Rows<Transition>, PortError> {
        self.page("plan", query).await
    }

    async fn plan(&self, uid: Id) -> Result<Vec<Transition>, PortError> {
        self.read(move |connection| transitions(connection, uid)).await
    }

    async fn receipts(&self, query: &Query) -> Result<Rows<Receipt>, PortError> {
        self.page("receipt", query).await
    }

    async fn receipt(&self, uid: Id) -> Result<Option<Receipt>, PortError> {
        self.read(move |connection| one(connection, "receipt", uid)).await
    }

    async fn dead_letters(&self, query: &Query) -> Result<Rows<DeadLetter>, PortError> {
        self.page("dead_letter", query).await
    }

    async fn dead_letter(&self, id: Id) -> Result<Option<DeadLetter>, PortError> {
        self.read(move |connection| one(connection, "dead_letter", id)).await
    }

    async fn dashboard(&self, tenant: Option<&str>) -> Result<Dashboard, PortError> {
        let tenant = tenant.map(str::to_owned);
        self.read(move |connection| dashboard(connection, tenant.as_deref())).await
    }
}
