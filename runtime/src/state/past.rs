//! What a ledger says about the hot state: from it token versions and accounts can be made again.

use super::Change;
use crate::effect::{account, tokens};
use crate::sqlite::StoreError;
use async_trait::async_trait;
use prunella_ledger::Entry;
use prunella_schemas::port::PortError;
use prunella_schemas::{Id, Message, Order, Step, Tenant, Timestamp, Transition};
use std::collections::BTreeMap;

/// Where state that was lost comes back from.
#[async_trait]
pub trait History: Send + Sync {
    /// What was done to the principals of a tenant. Read anew at every call.
    async fn past(&self, tenant: &Tenant) -> Result<Past, PortError>;
}

/// Everything that was ever done, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    pub revoked: Vec<(Tenant, String, Timestamp)>,
    pub changes: Vec<Change>,
}

impl Past {
    /// Reads a ledger from its first entry. `waits` says of the id of a transition whether its order was not begun yet.
    ///
    /// An order that was begun and that no later transition of its plan settles counts as carried out: it may have been,
    /// and whoever asks meanwhile must not be told that it was not.
    pub fn read(
        entries: impl Iterator<Item = Result<Entry, String>>,
        waits: impl FnOnce() -> Result<Vec<Id>, StoreError>,
    ) -> Result<Self, StoreError> {
        let (mut past, mut open) = (Past::default(), BTreeMap::new());
        for (number, entry) in entries.enumerate() {
            let entry = entry.map_err(StoreError::Invalid)?;
            // Entries of other kinds and of other versions say nothing about the state.
            let Ok(transition) = Transition::decode(Transition::VERSION, &entry.body) else { continue };
            let tenant = &transition.plan.tenant;
            past.add(tenant, tokens::settled(&transition), account::settled(&transition));
            open.remove(&transition.plan_uid);
            if let Some(Order::Apply { steps, .. } | Order::Undo { steps, .. }) = &transition.order {
                let order = (number, transition.id(), tenant.clone(), steps.clone());
                open.insert(transition.plan_uid, order);
            }
        }
        let waiting = waits()?;
        let mut begun: Vec<_> = open.into_values().filter(|(_, id, ..)| !waiting.contains(id)).collect();
        begun.sort_by_key(|(number, ..)| *number);
        for (_, _, tenant, steps) in &begun {
            past.add(tenant, steps, steps);
        }
        Ok(past)
    }

    fn add(&mut self, tenant: &Tenant, tokens: &[Step], accounts: &[Step]) {
        self.revoked.extend(tokens.iter().filter_map(|step| tokens::revoked(tenant, step)));
        self.changes.extend(accounts.iter().filter_map(|step| account::changed(tenant, step)));
    }
}
