//! `prunella ledger`: check everything, offline, and hand out the newest checkpoint.

use crate::args::Ledger;
use crate::output;
use crate::{App, Outcome, Refusal};
use anyhow::Context;
use prunella_ledger::{Completeness, Integrity, Report, Verifier};
use prunella_runtime::ledger::{ANCHOR_FILE, VERIFIER_FILE, verify};
use prunella_runtime::sqlite::StoreError;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub fn run(app: &App, args: Ledger) -> anyhow::Result<Outcome> {
    let directory = &app.loaded.config.data_dir;
    match args {
        Ledger::Verify { checkpoint, key } => {
            let anchors = checkpoint
                .iter()
                .map(|path| Ok(kept(path)?.checkpoint))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let trusted = key.map(|path| trusted(&path)).transpose()?;
            let verified = match app.loaded.config.postgres.url.is_empty() {
                true => verify(directory, trusted.as_ref(), &anchors),
                false => shared::verify(&app.loaded.config, trusted.as_ref(), &anchors)?,
            };
            let report = match verified {
                // Whoever asks whether the ledger is whole wants the same answer for a file that no longer opens.
                Err(StoreError::Corrupt { path, detail }) => unreadable(format!("{path}: {detail}")),
                report => report.map_err(|e| Refusal(e.into()))?,
            };
            output::one(app.format, &report, text)?;
            let holds = report.integrity == Integrity::Ok && report.completeness != Completeness::Truncated;
            Ok(if holds { Outcome::Ok } else { Outcome::Found })
        }
        Ledger::Checkpoint if !app.loaded.config.postgres.url.is_empty() => {
            let newest = shared::checkpoint(&app.loaded.config)?;
            output::one(app.format, &newest, |newest| newest.checkpoint.clone())?;
            Ok(Outcome::Ok)
        }
        Ledger::Checkpoint => {
            let read = |name: &str| {
                let path = directory.join(name);
                let text = std::fs::read_to_string(&path);
                text.with_context(|| format!("cannot read {}; is it a data directory?", path.display()))
                    .map_err(Refusal)
            };
            let newest =
                Kept { checkpoint: read(ANCHOR_FILE)?, verifier_key: read(VERIFIER_FILE)?.trim().to_owned() };
            output::one(app.format, &newest, |newest| newest.checkpoint.clone())?;
            Ok(Outcome::Ok)
        }
    }
}

/// A checkpoint as it is handed out, to be kept elsewhere.
#[derive(Serialize, Deserialize)]
struct Kept {
    checkpoint: String,
    #[serde(default)]
    verifier_key: String,
}

/// A kept checkpoint: the signed note itself, or the JSON around it.
fn kept(path: &Path) -> anyhow::Result<Kept> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if text.trim_start().starts_with('{') {
        let what =
            || format!("{} is no checkpoint; keep what `prunella ledger checkpoint` prints", path.display());
        return serde_json::from_str(&text).with_context(what);
    }
    Ok(Kept { checkpoint: text, verifier_key: String::new() })
}

/// A kept key: its text form, or the JSON that came with a checkpoint.
fn trusted(path: &Path) -> anyhow::Result<Verifier> {
    let kept = kept(path)?;
    let text = if kept.verifier_key.is_empty() { kept.checkpoint } else { kept.verifier_key };
    Verifier::parse(text.trim())
        .with_context(|| format!("{} holds no public key of a ledger", path.display()))
}

fn unreadable(problem: String) -> Report {
    Report {
        entries: 0,
        integrity: Integrity::Broken,
        completeness: Completeness::Unknown,
        first_bad: None,
        covered: 0,
        problems: vec![problem],
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

/// The ledger of the configured tenant, where the ledgers are in PostgreSQL.
#[cfg(feature = "postgres")]
mod shared {
    use super::Kept;
    use crate::config::Config;
    use crate::{Refusal, pipeline};
    use prunella_ledger::{Report, Verifier};
    use prunella_runtime::ledger::postgres::{self, Database, PostgresReader};
    use prunella_runtime::sqlite::StoreError;
    use prunella_schemas::port::LedgerView;
    use tokio::runtime::Runtime;

    pub fn verify(
        config: &Config,
        trusted: Option<&Verifier>,
        anchors: &[String],
    ) -> anyhow::Result<Result<Report, StoreError>> {
        let (runtime, database) = open(config)?;
        Ok(postgres::verify(&database, &config.tenant, trusted, anchors, runtime.handle()))
    }

    pub fn checkpoint(config: &Config) -> anyhow::Result<Kept> {
        let (runtime, database) = open(config)?;
        let reader = PostgresReader::new(database.clone(), config.tenant.clone());
        let read = async { (reader.checkpoint().await, database.verifier(&config.tenant).await) };
        let (checkpoint, verifier) = runtime.block_on(read);
        let refused = |e: prunella_schemas::port::PortError| Refusal(e.into());
        let verifier = verifier.map_err(refused)?.map(|key| key.to_string());
        Ok(Kept { checkpoint: checkpoint.map_err(refused)?, verifier_key: verifier.unwrap_or_default() })
    }

    fn open(config: &Config) -> anyhow::Result<(Runtime, Database)> {
        let (runtime, server) = (pipeline::runtime()?, pipeline::postgres(config)?);
        let database = runtime.block_on(Database::open(&server)).map_err(|e| Refusal(e.into()))?;
        Ok((runtime, database))
    }
}

#[cfg(not(feature = "postgres"))]
mod shared {
    use super::Kept;
    use crate::Refusal;
    use crate::config::Config;
    use prunella_ledger::{Report, Verifier};
    use prunella_runtime::sqlite::StoreError;

    pub fn verify(
        _: &Config,
        _: Option<&Verifier>,
        _: &[String],
    ) -> anyhow::Result<Result<Report, StoreError>> {
        Err(unknown())
    }

    pub fn checkpoint(_: &Config) -> anyhow::Result<Kept> {
        Err(unknown())
    }

    fn unknown() -> anyhow::Error {
        let why =
            "`postgres.url` is set, and this build knows no PostgreSQL; build it with the feature `postgres`";
        Refusal(anyhow::anyhow!(why)).into()
    }
}
