//! `prunella ledger`: check everything, offline, and hand out the newest checkpoint.

use crate::args::Ledger;
use crate::output;
use crate::{App, Outcome};
use anyhow::Context;
use prunella_ledger::{Completeness, Integrity, Report};
use prunella_runtime::ledger::{ANCHOR_FILE, VERIFIER_FILE, verify};

pub fn run(app: &App, args: Ledger) -> anyhow::Result<Outcome> {
    let directory = &app.loaded.config.data_dir;
    match args {
        Ledger::Verify { checkpoint } => {
            let mut anchors = Vec::new();
            for path in checkpoint {
                anchors.push(std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
            }
            let report = verify(directory, None, &anchors)?;
            output::one(app.format, &report, text)?;
            Ok(if report.integrity == Integrity::Ok && report.completeness != Completeness::Truncated { Outcome::Ok } else { Outcome::Found })
        }
        Ledger::Checkpoint => {
            let read = |name: &str| {
                let path = directory.join(name);
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}; is it a data directory?", path.display()))
            };
            let (note, key) = (read(ANCHOR_FILE)?, read(VERIFIER_FILE)?);
            let both = serde_json::json!({ "checkpoint": note, "verifier_key": key.trim() });
            output::one(app.format, &both, |_| note.clone())?;
            Ok(Outcome::Ok)
        }
    }
}

fn text(report: &Report) -> String {
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![format!(
        "{} entries; integrity {}; completeness {}",
        report.entries,
        word(serde_json::json!(report.integrity)),
        word(serde_json::json!(report.completeness))
    )];
    lines.extend(report.first_bad.map(|index| format!("first bad entry: {index}")));
    lines.extend(report.problems.iter().map(|problem| format!("  - {problem}")));
    lines.join("\n")
}
