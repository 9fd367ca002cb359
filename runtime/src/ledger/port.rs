//! What the executor needs of a ledger, whatever it is stored in.

use crate::sqlite::StoreError;
use async_trait::async_trait;
use prunella_ledger::Entry;
use prunella_schemas::port::PortError;
use prunella_schemas::{Id, Receipt, Tenant, Timestamp};
use std::sync::Arc;

/// What is to be logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEntry {
    /// Whose entry it is. A ledger may keep a chain for each.
    pub tenant: Tenant,
    pub time: Timestamp,
    pub kind: String,
    /// With `kind`, what makes a repeat harmless: what is logged already is not logged again.
    pub id: Id,
    pub body: Vec<u8>,
    /// An order that may be carried out once this entry is durable; it is pending until `done`.
    pub order: Option<Vec<u8>>,
}

/// An order that is in the ledger and has no reply yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingOrder {
    /// The id of its entry.
    pub id: Id,
    pub bytes: Vec<u8>,
    /// It was begun: whether it took effect is unknown, so the provider must be read.
    pub started: bool,
}

/// The one writer of a ledger. Blocking; every method that changes something is durable on return.
///
/// Where several processes could write, each is refused with [`StoreError::Fenced`] as soon as a later one was opened.
pub trait Sequencer: Send {
    /// Up to which position of the plans everything is in the ledger; 0 when nothing is.
    fn position(&self) -> Result<i64, StoreError>;

    /// Logs entries, with their orders, a signed checkpoint and the position after them: all of it or nothing.
    ///
    /// Gives back the entry of each: the new one, or the one that was there already, as it was logged then. The order of
    /// an entry that was there is not pending again.
    fn append(&mut self, entries: &[NewEntry], position: i64) -> Result<Vec<Entry>, StoreError>;

    /// Orders without a reply, in the order they were logged.
    fn pending_orders(&self) -> Result<Vec<PendingOrder>, StoreError>;

    /// Marks an order as begun, before the first byte goes to a provider. Says whether it was pending and not yet begun.
    fn begin(&mut self, id: Id) -> Result<bool, StoreError>;

    /// Forgets an order whose reply is durable. Says whether it was pending.
    fn done(&mut self, id: Id) -> Result<bool, StoreError>;

    /// Reads beside the writer, without waiting for it.
    fn attestor(&self) -> Arc<dyn Attestor>;
}

/// Receipts as the ledger holds them.
#[async_trait]
pub trait Attestor: Send + Sync {
    /// The receipt, with its place in the tenant's ledger. An error where the ledger does not hold it.
    async fn attested(&self, tenant: &Tenant, receipt: Id) -> Result<Receipt, PortError>;
}
