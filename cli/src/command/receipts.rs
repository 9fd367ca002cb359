//! `prunella receipts`: what was done, when it held, and by which evidence.

use crate::args::Receipts;
use crate::output;
use crate::{App, Outcome, pipeline};
use anyhow::Context;
use prunella_ledger::{ProofBundle, Verifier};
use prunella_schemas::port::{LedgerView, Query, Store};
use prunella_schemas::{Id, Receipt};
use serde::Serialize;
use std::path::Path;

/// Largest proof read, in bytes: a receipt and some sixty hashes.
const PROOF_BYTES_MAX: u64 = 1024 * 1024;

pub fn run(app: &App, args: Receipts) -> anyhow::Result<Outcome> {
    if let Receipts::Verify { file, key } = &args {
        return verify(app, file, key);
    }
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
        Receipts::Verify { .. } => {}
    }
    Ok(Outcome::Ok)
}

/// What an offline check found.
#[derive(Serialize)]
pub struct Checked {
    pub valid: bool,
    /// Why it does not hold; absent when it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    pub receipt_uid: Option<String>,
    pub action: Option<String>,
    pub principal: Option<String>,
    pub state: Option<String>,
    pub evidence: Option<String>,
}

/// Needs no data directory, no network and no clock.
fn verify(app: &App, file: &Path, key: &Path) -> anyhow::Result<Outcome> {
    let read = |path: &Path| -> anyhow::Result<String> {
        let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
        anyhow::ensure!(size <= PROOF_BYTES_MAX, "{} is too large for a receipt or a key", path.display());
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let key_text = read(key)?;
    let verifier = Verifier::parse(key_text.trim()).with_context(|| {
        format!("{} holds no verifier key; give the ledger's `ledger.pub`", key.display())
    })?;
    let mut value: serde_json::Value =
        serde_json::from_str(&read(file)?).with_context(|| format!("{} is not JSON", file.display()))?;
    if let Some(proof) = value.get_mut("proof") {
        value = proof.take();
    }
    let bundle: ProofBundle = serde_json::from_value(value).with_context(|| {
        format!(
            "{} holds no receipt with its proof; write it with `receipts show ID -o json`",
            file.display()
        )
    })?;
    let checked = check(&bundle, &verifier);
    output::one(app.format, &checked, |checked| match &checked.problem {
        None => {
            let word = |text: &Option<String>| text.clone().unwrap_or_default();
            format!(
                "valid: {} on {}, {}",
                word(&checked.action),
                word(&checked.principal),
                word(&checked.state)
            )
        }
        Some(problem) => format!("NOT VALID: {problem}"),
    })?;
    Ok(if checked.valid { Outcome::Ok } else { Outcome::Found })
}

pub fn check(bundle: &ProofBundle, verifier: &Verifier) -> Checked {
    let problem = bundle.verify(verifier).err().map(|e| e.to_string());
    let fact = |name: &str| bundle.receipt.pointer(&format!("/prunella/{name}"))?.as_str().map(str::to_owned);
    Checked {
        valid: problem.is_none(),
        problem,
        receipt_uid: fact("receipt_uid"),
        action: fact("action"),
        principal: fact("principal"),
        state: fact("state"),
        evidence: fact("evidence"),
    }
}
