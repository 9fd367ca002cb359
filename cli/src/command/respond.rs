//! `prunella respond`: a playbook started by hand, through the same guard, states and ledger as any other.

use crate::args::Respond;
use crate::client::Client;
use crate::output;
use crate::{App, Outcome, Refusal, pipeline};
use anyhow::Context;
use prunella_schemas::Id;

pub fn run(app: &App, args: &Respond) -> anyhow::Result<Outcome> {
    let uid: Id =
        args.id.parse().context("events and findings are named by their id: see `prunella findings list`")?;
    let client = Client::to_running(&app.loaded.config).map_err(Refusal)?;
    let body = serde_json::json!({ "playbook": args.playbook, "by": args.by });
    let path = format!("/api/events/{uid}/respond");
    let answer = pipeline::runtime()?.block_on(client.post(&path, &body)).map_err(Refusal)?;
    output::one(app.format, &answer, |_| {
        format!("asked for {} about {uid}; see `prunella plans list`", args.playbook)
    })?;
    Ok(Outcome::Ok)
}
