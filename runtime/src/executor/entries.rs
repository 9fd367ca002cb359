//! What a transition is in the ledger, and what it says to the orders before it.

use crate::ledger::{NewEntry, RECEIPT_KIND};
use crate::sqlite::StoreError;
use prunella_schemas::{Message as _, Transition};

/// A transition's own entry, and one for the receipt it completes. The entry's body names the receipt by its id only.
pub fn entries_of(transition: &Transition, bytes: &[u8]) -> Result<Vec<NewEntry>, StoreError> {
    let mut bare = transition.clone();
    let receipt = bare.receipt.take();
    let order = (bare.order.is_some() || receipt.is_some()).then(|| bytes.to_vec());
    let tenant = bare.plan.tenant.clone();
    let mut entries = vec![NewEntry {
        tenant: tenant.clone(),
        time: bare.at,
        kind: "transition".into(),
        id: bare.id(),
        body: bare.encode(),
        order,
    }];
    if let Some(receipt) = receipt {
        let (time, id, body) = (receipt.time, receipt.id(), prunella_ledger::receipt_body(&receipt)?);
        entries.push(NewEntry { tenant, time, kind: RECEIPT_KIND.into(), id, body, order: None });
    }
    Ok(entries)
}

/// Whether the plan has gone on to something else with it. A remark leaves the order as it is.
pub fn is_decision(transition: &Transition) -> bool {
    transition.order.is_some() || transition.from != Some(transition.to)
}
