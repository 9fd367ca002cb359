//! `prunella findings`: what was found, why, and what would have made it normal.

use crate::args::Findings;
use crate::output::{self, Format, printable};
use crate::{App, Outcome, pipeline};
use anyhow::Context;
use prunella_schemas::finding::Analysis;
use prunella_schemas::port::{Query, Store};
use prunella_schemas::{Finding, Id};

pub fn run(app: &App, args: Findings) -> anyhow::Result<Outcome> {
    let store = pipeline::store(&app.loaded.config)?;
    let runtime = pipeline::runtime()?;
    match args {
        Findings::List { filter, severity_min } => {
            let query =
                Query { principal: filter.principal, limit: filter.limit, severity_min, ..Query::default() };
            let rows = runtime.block_on(store.findings(&query))?;
            print(app.format, &rows.rows)?;
        }
        Findings::Show { id } => {
            let finding = runtime.block_on(find(&store, &id))?;
            output::one(app.format, &finding, |f| serde_json::to_string_pretty(f).unwrap_or_default())?;
        }
        Findings::Explain { id } => {
            let finding = runtime.block_on(find(&store, &id))?;
            output::one(app.format, &finding, explain)?;
        }
    }
    Ok(Outcome::Ok)
}

pub fn print(format: Format, findings: &[Finding]) -> anyhow::Result<()> {
    let columns = ["TIME", "SEVERITY", "RISK", "TECHNIQUE", "PRINCIPAL", "WHAT", "ID"];
    output::rows(format, findings, &columns, |f| {
        vec![
            f.time.to_string(),
            f.severity.to_string(),
            format!("{} {}", f.risk_level, f.risk_score),
            techniques(f).join(" "),
            f.principal().to_owned(),
            f.message.clone(),
            f.finding_info.uid.clone(),
        ]
    })
}

async fn find(store: &impl Store, id: &str) -> anyhow::Result<Finding> {
    let uid: Id = id.parse().context("findings are named by their id: see `prunella findings list`")?;
    store
        .finding(uid)
        .await?
        .with_context(|| format!("there is no finding {uid}; see `prunella findings list`"))
}

fn techniques(finding: &Finding) -> Vec<String> {
    let ids = finding
        .finding_info
        .attacks
        .iter()
        .map(|a| a.sub_technique.as_ref().unwrap_or(&a.technique).uid.to_string());
    ids.collect()
}

/// What the model says of the event that completed the evidence, feature by feature.
fn measured(analysis: &Analysis) -> Vec<String> {
    let mut lines = vec![format!(
        "Measured (model {}): score {:.3}, p-value {}; log2 of the score is {:+.3} and these shares:",
        analysis.model, analysis.score, analysis.p_value, analysis.base
    )];
    lines.extend(analysis.contributions.iter().map(|c| {
        let usual = c.usual.as_ref().map(|usual| format!("; usually {usual}")).unwrap_or_default();
        let peers = c.peers.as_ref().map(|peers| format!("; for others {peers}")).unwrap_or_default();
        format!("  {:+.3}  {}: {}{usual}{peers}", c.share, c.feature, c.value)
    }));
    if let Some(change) = &analysis.counterfactual {
        lines.push(format!("  {}; scored again: p-value {}", change.text, change.p_value));
    }
    lines
}

/// The finding as one would tell it to a colleague.
pub fn explain(finding: &Finding) -> String {
    let info = &finding.finding_info;
    let mut lines = vec![
        format!(
            "{} ({}, {} % sure, risk {} {})",
            info.title, finding.severity, finding.confidence_score, finding.risk_level, finding.risk_score
        ),
        finding.message.clone(),
        String::new(),
        "Why:".to_owned(),
    ];
    lines.extend(finding.prunella.reasons.iter().map(|reason| format!("  - {reason}")));
    if let Some(counterfactual) = &finding.prunella.counterfactual {
        lines.extend(["Not a finding if:".to_owned(), format!("  - {counterfactual}")]);
    }
    if let Some(analysis) = &finding.prunella.analysis {
        lines.extend(measured(analysis));
    }
    lines.push("ATT&CK:".to_owned());
    for attack in &info.attacks {
        let technique = attack.sub_technique.as_ref().unwrap_or(&attack.technique);
        lines.push(format!("  - {} {} ({})", technique.uid, technique.name, attack.tactic.name));
    }
    lines.push(format!("Evidence ({} events took part):", finding.prunella.event_count));
    lines.extend(info.related_events.iter().map(|event| format!("  - {} {}", event.uid, event.operation)));
    printable(&lines.join("\n"))
}
