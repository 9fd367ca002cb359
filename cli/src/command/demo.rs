//! `prunella demo`: an attack simulated into a running pipeline, found, contained, verified, receipted, and taken back.

use crate::args::Demo;
use crate::command::findings::explain;
use crate::command::receipts::{Checked, check};
use crate::command::simulate::{throwaway, watched};
use crate::output::{self, Format, printable};
use crate::pipeline::{self, Served};
use crate::{App, Outcome, Refusal};
use anyhow::Context;
use prunella_ledger::{Completeness, Integrity, ProofBundle, Report as LedgerReport, Verifier};
use prunella_runtime::clock;
use prunella_schemas::port::{LedgerView, Store};
use prunella_schemas::{Finding, Id, Receipt};
use prunella_simulate::suite::{OPERATOR, roll_back};
use prunella_simulate::watch::Prunella;
use prunella_simulate::{Options, Report};
use serde::Serialize;
use std::path::Path;

/// Everything the demo shows, for programs.
#[derive(Serialize)]
struct Shown {
    url: String,
    report: Report,
    findings: Vec<Finding>,
    receipts: Vec<Receipt>,
    /// The receipt of the containment, checked with nothing but its file and the public key.
    offline: Option<Checked>,
    rolled_back: bool,
    ledger: LedgerReport,
}

pub fn run(app: &App, args: &Demo) -> anyhow::Result<Outcome> {
    pipeline::runtime()?.block_on(play(app, args)).map_err(|e| Refusal(e).into())
}

#[allow(clippy::print_stderr, reason = "what goes on is for the person at the terminal")]
async fn play(app: &App, args: &Demo) -> anyhow::Result<Outcome> {
    let scenario = pipeline::scenario(&args.scenario)?;
    let folder = tempfile::tempdir().context("cannot make a temporary directory")?;
    let served = pipeline::serve(&throwaway(&app.loaded.config, folder.path(), args.listen)).await?;
    eprintln!("A pipeline is up, in this process and a temporary directory. Its page: {}/", served.url());
    eprintln!(
        "Attacking it: {} (seed {}), after two days of background traffic.\n",
        args.scenario, args.seed
    );
    let mut options = Options::new(scenario, &served.url(), clock::wall());
    options.seed = args.seed;
    options.approve_as = Some(OPERATOR.to_owned());
    let result = match watched(options).await {
        Ok(report) => gather(&served, report, folder.path()).await,
        Err(e) => Err(e.into()),
    };
    let outcome = match &result {
        Ok(shown) => {
            // A demo is for people, in a pipe too.
            let format = if app.format_asked { app.format } else { Format::Table };
            output::one(format, shown, tell)?;
            if is_healed(shown) { Outcome::Ok } else { Outcome::Found }
        }
        Err(_) => Outcome::Found,
    };
    if args.keep && result.is_ok() {
        eprintln!("\nStill running: {}/  (Ctrl-C stops)", served.url());
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    }
    served.stop().await?;
    result.map(|_| outcome)
}

/// Found, verified at the target, and a ledger that holds.
fn is_healed(shown: &Shown) -> bool {
    let ledger_holds =
        shown.ledger.integrity == Integrity::Ok && shown.ledger.completeness == Completeness::Ok;
    let proven = shown.offline.as_ref().is_some_and(|checked| checked.valid) && shown.rolled_back;
    shown.report.detected && shown.report.contained && shown.report.verified && proven && ledger_holds
}

async fn gather(served: &Served, report: Report, dir: &Path) -> anyhow::Result<Shown> {
    let store = &served.embedded.store;
    let (mut findings, mut receipts) = (Vec::new(), Vec::new());
    for uid in &report.finding_uids {
        findings.extend(store.finding(uid.parse()?).await?);
    }
    for uid in &report.receipts {
        receipts.extend(store.receipt(uid.parse()?).await?);
    }
    let prunella = Prunella::new(&served.url(), None)?;
    let rolled_back = match &report.principal {
        Some(principal) => roll_back(&prunella, principal, || (clock::wall())()).await?,
        None => false,
    };
    let offline = match report.receipts.first() {
        Some(uid) => check_offline(served, uid.parse()?, dir).await?,
        None => None,
    };
    let anchor = served.embedded.ledger.checkpoint().await?;
    let dir = dir.to_owned();
    let ledger = tokio::task::spawn_blocking(move || prunella_runtime::ledger::verify(&dir, None, &[anchor]))
        .await??;
    Ok(Shown { url: served.url(), report, findings, receipts, offline, rolled_back, ledger })
}

/// Writes the receipt with its proof to a file and checks that file, as anybody else would.
async fn check_offline(served: &Served, uid: Id, dir: &Path) -> anyhow::Result<Option<Checked>> {
    let Some(proof) = served.embedded.ledger.proof(uid).await? else { return Ok(None) };
    let file = dir.join("receipt.json");
    std::fs::write(&file, proof.to_string()).context("cannot write the receipt")?;
    let key = std::fs::read_to_string(dir.join("ledger.pub")).context("cannot read the public key")?;
    let bundle: ProofBundle = serde_json::from_slice(&std::fs::read(&file)?)?;
    Ok(Some(check(&bundle, &Verifier::parse(key.trim())?)))
}

fn tell(shown: &Shown) -> String {
    let mut lines = vec!["TIMELINE (ms after the first attack event was durable)".to_owned()];
    lines.extend(shown.report.timeline().iter().map(|line| format!("  {line}")));
    if let Some(finding) = shown.findings.first() {
        lines.extend([String::new(), "FINDING".to_owned()]);
        lines.extend(explain(finding).lines().map(|line| format!("  {line}")));
    }
    for receipt in &shown.receipts {
        lines.extend([String::new(), "RECEIPT".to_owned()]);
        lines.extend(receipt_lines(receipt).into_iter().map(|line| format!("  {}", printable(&line))));
    }
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let (integrity, completeness) =
        (serde_json::json!(shown.ledger.integrity), serde_json::json!(shown.ledger.completeness));
    let checked = shown.offline.as_ref().map_or("none", |c| if c.valid { "valid" } else { "NOT VALID" });
    lines.extend([
        String::new(),
        format!("OFFLINE the receipt, checked with the public key alone: {checked}"),
        format!("BACK    the lock was taken back: {}", if shown.rolled_back { "yes" } else { "NO" }),
        format!(
            "LEDGER  {} entries, integrity {}, completeness {}",
            shown.ledger.entries,
            word(integrity),
            word(completeness)
        ),
        match is_healed(shown) {
            true => "HEALED  found, contained, verified, receipted, taken back".to_owned(),
            false => "NOT HEALED  see above for what is missing".to_owned(),
        },
    ]);
    lines.join("\n")
}

fn receipt_lines(receipt: &Receipt) -> Vec<String> {
    let facts = &receipt.prunella;
    let latency = &facts.latency;
    let ms = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let mut lines = vec![
        receipt.message.clone(),
        format!("evidence: {}", facts.evidence_detail),
        format!(
            "provider delay {}, detect {}, plan {}, apply {}, verify {}; intake to verified {}",
            ms(latency.delivery_ms),
            ms(latency.detect_ms),
            ms(latency.plan_ms),
            ms(latency.apply_ms),
            ms(latency.verify_ms),
            ms(latency.total_ms)
        ),
    ];
    lines.extend(
        receipt
            .attestation
            .as_ref()
            .map(|a| format!("ledger entry {} of {}, SHA-256 {}", a.index, a.chain_uid, a.fingerprint)),
    );
    lines
}
