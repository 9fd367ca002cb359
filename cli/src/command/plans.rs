//! `prunella plans`: what is meant to be done, and a person's word on it.

use crate::args::Plans;
use crate::client::Client;
use crate::output;
use crate::{App, Outcome, Refusal, pipeline};
use anyhow::Context;
use prunella_schemas::port::{Query, Store};
use prunella_schemas::{Id, Transition};

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
            print(app, &transitions)?;
        }
        Plans::Approve { id, by, digest } => {
            decide(app, &id, "approve", &serde_json::json!({ "by": by, "digest": digest }))?;
        }
        Plans::Reject { id, by } => decide(app, &id, "reject", &serde_json::json!({ "by": by }))?,
        Plans::Rollback { id, by } => decide(app, &id, "rollback", &serde_json::json!({ "by": by }))?,
    }
    Ok(Outcome::Ok)
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
