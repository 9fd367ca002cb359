//! `prunella receipts`: what was done, when it held, and by which evidence.

use crate::args::Receipts;
use crate::output;
use crate::{App, Outcome, pipeline};
use anyhow::Context;
use prunella_schemas::port::{LedgerView, Query, Store};
use prunella_schemas::{Id, Receipt};

pub fn run(app: &App, args: Receipts) -> anyhow::Result<Outcome> {
    let store = pipeline::store(&app.loaded.config)?;
    let runtime = pipeline::runtime()?;
    match args {
        Receipts::List { filter } => {
            let query = Query { principal: filter.principal, limit: filter.limit, ..Query::default() };
            let rows = runtime.block_on(store.receipts(&query))?.rows;
            let columns = ["TIME", "ACTION", "PRINCIPAL", "STATE", "EVIDENCE", "TOTAL MS", "ID"];
            output::rows(app.format, &rows, &columns, |r| {
                let word = |value: serde_json::Value| value.as_str().unwrap_or("-").to_owned();
                vec![
                    r.time.to_string(),
                    r.prunella.action.clone(),
                    r.prunella.principal.clone(),
                    word(serde_json::json!(r.prunella.state)),
                    word(serde_json::json!(r.prunella.evidence)),
                    r.prunella.latency.total_ms.map(|ms| ms.to_string()).unwrap_or_default(),
                    r.prunella.receipt_uid.to_string(),
                ]
            })?;
        }
        Receipts::Show { id } => {
            let uid: Id =
                id.parse().context("receipts are named by their id: see `prunella receipts list`")?;
            let receipt: Option<Receipt> = runtime.block_on(store.receipt(uid))?;
            let receipt = receipt
                .with_context(|| format!("there is no receipt {uid}; see `prunella receipts list`"))?;
            let ledger = pipeline::ledger(&app.loaded.config)?;
            let proof = runtime.block_on(ledger.proof(uid))?;
            let both = serde_json::json!({ "receipt": receipt, "proof": proof });
            output::one(app.format, &both, |both| serde_json::to_string_pretty(both).unwrap_or_default())?;
        }
    }
    Ok(Outcome::Ok)
}
