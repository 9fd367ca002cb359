//! `prunella plans`: what is meant to be done, and a person's word on it.

use crate::args::Plans;
use crate::client::Client;
use crate::output::{self, Format};
use crate::{App, Outcome, Refusal, pipeline};
use anyhow::Context;
use prunella_runtime::clock;
use prunella_runtime::store::SqliteStore;
use prunella_schemas::plan::{Order, Plan};
use prunella_schemas::port::{PortError, QUERY_ROWS_MAX, Query, Store};
use prunella_schemas::{Id, Step, Transition};
use std::collections::BTreeSet;

/// How far back it is looked whom a plan would touch.
const IMPACT_DAYS: i64 = 30;
/// Most pages of events that are counted; more are told as "at least".
const IMPACT_PAGES_MAX: usize = 20;
/// Receipts of the same action that tell how long it usually takes.
const RECEIPTS_MAX: u32 = 100;

pub fn run(app: &App, args: Plans) -> anyhow::Result<Outcome> {
    let runtime = pipeline::runtime()?;
    match args {
        Plans::List { filter } => {
            let store = pipeline::store(&app.loaded.config)?;
            let query = Query { principal: filter.principal, limit: filter.limit, ..Query::default() };
            let rows = runtime.block_on(store.plans(&query))?.rows;
            print(app, &rows)?;
        }
        Plans::Show { id } => {
            let store = pipeline::store(&app.loaded.config)?;
            let uid: Id = id.parse().context("plans are named by their id: see `prunella plans list`")?;
            let transitions = runtime.block_on(store.plan(uid))?;
            anyhow::ensure!(!transitions.is_empty(), "there is no plan {uid}; see `prunella plans list`");
            match app.format {
                Format::Table => show(app, &store, &runtime, &transitions)?,
                _ => print(app, &transitions)?,
            }
        }
        Plans::Approve { id, by, digest } => {
            decide(app, &id, "approve", &serde_json::json!({ "by": by, "digest": digest }))?;
        }
        Plans::Reject { id, by } => decide(app, &id, "reject", &serde_json::json!({ "by": by }))?,
        Plans::Rollback { id, by } => decide(app, &id, "rollback", &serde_json::json!({ "by": by }))?,
    }
    Ok(Outcome::Ok)
}

/// Exactly what would be called, before and after, whom it touches, and how long the attacker may still be heard.
fn show(
    app: &App,
    store: &SqliteStore,
    runtime: &tokio::runtime::Runtime,
    transitions: &[Transition],
) -> anyhow::Result<()> {
    let Some(last) = transitions.last() else { return Ok(()) };
    let plan = &last.plan;
    let mut lines = vec![
        format!("PLAN     {}", plan.uid),
        format!("digest   {}", plan.digest),
        format!("action   {} on {}", plan.action, plan.principal),
        format!("why      {}", plan.reason),
        format!("state    {}: {}", serde_json::json!(last.to).as_str().unwrap_or_default(), last.why),
        String::new(),
        "WHAT WOULD BE CALLED".to_owned(),
    ];
    lines.extend(calls(&plan.steps));
    lines.extend([String::new(), "THE WAY BACK".to_owned()]);
    if plan.undo.is_empty() {
        lines.push("  nothing to take back".to_owned());
    }
    lines.extend(calls(&plan.undo));
    lines.extend(plan.expires.map(|at| format!("  by itself at {at}")));
    lines.extend([String::new(), format!("WHOM IT TOUCHES, by the events of the last {IMPACT_DAYS} days")]);
    lines.extend(runtime.block_on(impact(store, plan))?.into_iter().map(|line| format!("  {line}")));
    lines.extend([String::new(), "HOW LONG THE ATTACKER MAY STILL BE HEARD".to_owned()]);
    lines.push(format!("  {}", runtime.block_on(residual(store, plan))?));
    lines.extend([String::new(), "STATES".to_owned()]);
    lines.extend(transitions.iter().map(|t| {
        let asked = match &t.order {
            Some(Order::Read { .. }) => " [read]",
            Some(Order::Apply { .. }) => " [apply]",
            Some(Order::Probe { .. }) => " [probe]",
            Some(Order::Undo { .. }) => " [undo]",
            None => "",
        };
        format!("  {} {}{asked}: {}", t.at, serde_json::json!(t.to).as_str().unwrap_or_default(), t.why)
    }));
    output::one(app.format, &lines, |lines| lines.join("\n"))
}

fn calls(steps: &[Step]) -> Vec<String> {
    let line = |step: &Step| {
        let before = step.prior.as_ref().map_or_else(|| "not read".to_owned(), ToString::to_string);
        [
            format!("  {} {} on {}", step.provider, step.operation, step.target),
            format!("    before {before}"),
            format!("    after  {}", step.desired),
        ]
    };
    steps.iter().flat_map(line).collect()
}

/// A principal's action touches that principal: how much goes on under its name, and from how many places.
async fn impact(store: &SqliteStore, plan: &Plan) -> Result<Vec<String>, PortError> {
    let since = (clock::wall())().plus_ms(-IMPACT_DAYS * 86_400_000);
    let mut query = Query {
        tenant: Some(plan.tenant.as_str().to_owned()),
        principal: Some(plan.principal.clone()),
        since: Some(since),
        limit: QUERY_ROWS_MAX,
        ..Query::default()
    };
    let (mut events, mut pages) = (0, 0);
    let (mut sessions, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let page = store.events(&query).await?;
        events += page.rows.len();
        sessions.extend(page.rows.iter().filter_map(|e| e.credential().map(str::to_owned)));
        addresses.extend(page.rows.iter().filter_map(|e| e.source_ip().map(str::to_owned)));
        pages += 1;
        match page.next {
            Some(next) if pages < IMPACT_PAGES_MAX => query.before = Some(next),
            Some(_) => break,
            None => {
                pages = 0;
                break;
            }
        }
    }
    let least = if pages > 0 { "at least " } else { "" };
    let principals: BTreeSet<&str> = plan.steps.iter().map(|s| s.target.as_str()).collect();
    Ok(vec![
        format!("{} target(s): {}", principals.len(), principals.into_iter().collect::<Vec<_>>().join(", ")),
        format!("{least}{events} events, {} credentials, {} addresses", sessions.len(), addresses.len()),
    ])
}

/// What the provider may take, and what the same action took until now.
async fn residual(store: &SqliteStore, plan: &Plan) -> Result<String, PortError> {
    let query = Query { limit: RECEIPTS_MAX, ..Query::default() };
    let mut took: Vec<i64> = store
        .receipts(&query)
        .await?
        .rows
        .iter()
        .filter(|r| r.prunella.action == plan.action)
        .filter_map(|r| r.prunella.latency.verify_ms)
        .collect();
    took.sort_unstable();
    let horizon = plan.horizon_ms;
    Ok(match took.get(took.len() / 2) {
        Some(median) => format!(
            "up to {horizon} ms after it is applied; half of the last {} were verified within {median} ms",
            took.len()
        ),
        None => format!("up to {horizon} ms after it is applied; there is no receipt of {} yet", plan.action),
    })
}

fn decide(app: &App, id: &str, verb: &str, body: &serde_json::Value) -> anyhow::Result<()> {
    let uid: Id = id.parse().context("plans are named by their id: see `prunella plans list`")?;
    let client = Client::to_running(&app.loaded.config).map_err(Refusal)?;
    let answer = pipeline::runtime()?
        .block_on(client.post(&format!("/api/plans/{uid}/{verb}"), body))
        .map_err(Refusal)?;
    let by = body["by"].as_str().unwrap_or_default();
    output::one(app.format, &answer, |_| format!("{verb}: {uid} by {by}"))
}

fn print(app: &App, transitions: &[Transition]) -> anyhow::Result<()> {
    let columns = ["AT", "STATE", "MODE", "ACTION", "PRINCIPAL", "WHY", "ID"];
    output::rows(app.format, transitions, &columns, |t| {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        vec![
            t.at.to_string(),
            word(serde_json::json!(t.to)),
            word(serde_json::json!(t.plan.mode)),
            t.plan.action.clone(),
            t.plan.principal.clone(),
            t.why.clone(),
            t.plan_uid.to_string(),
        ]
    })
}
