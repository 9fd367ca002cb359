//! `prunella resources`: what there is in the clouds, and how risky each of it is now.

use crate::args::Resources;
use crate::{App, Outcome, output, pipeline};
use prunella_runtime::clock;
use prunella_schemas::inventory::assets;

pub fn run(app: &App, args: Resources) -> anyhow::Result<Outcome> {
    let Resources::List { kind } = args;
    let store = pipeline::store(&app.loaded.config)?;
    let now = clock::wall()();
    let mut found = pipeline::runtime()?.block_on(assets(&store, None, now))?;
    if let Some(kind) = &kind {
        found.retain(|asset| asset.kind == *kind);
    }
    let columns = ["RISK", "FINDINGS", "TYPE", "ID", "ACCOUNT", "CRITICALITY", "SEEN"];
    output::rows(app.format, &found, &columns, |asset| {
        vec![
            asset.risk_score.to_string(),
            asset.findings.to_string(),
            asset.kind.clone(),
            asset.uid.clone(),
            asset.account.clone().unwrap_or_default(),
            asset.criticality.clone().unwrap_or_default(),
            asset.seen.to_string(),
        ]
    })?;
    Ok(Outcome::Ok)
}
