//! The page behind a link in a message: it shows one plan, and lets a person approve it once.

use crate::{Console, Problem};
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use prunella_schemas::port::{ApprovalLink, ApprovalLinks};
use prunella_schemas::{Command, PlanState, Transition};
use serde::Deserialize;
use std::sync::Arc;

/// What the form sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    by: String,
}

/// For people in a browser: not part of the API's description.
pub(crate) fn routes(console: Console) -> Router {
    Router::new().route("/approve/{token}", get(show).post(approve)).with_state(console)
}

/// Opening a link decides nothing: mail scanners and chat previews open links too.
async fn show(State(console): State<Console>, Path(token): Path<String>) -> Result<Html<String>, Problem> {
    let link = links(&console)?.open(&token).map_err(gone)?;
    let plan = awaiting(&console, link).await?;
    let lines: String = plan
        .plan
        .steps
        .iter()
        .map(|step| {
            let [provider, operation, target] =
                [&step.provider, &step.operation, &step.target].map(|s| escape(s));
            format!(
                "<li>{provider} <b>{operation}</b> on {target}: {}</li>",
                escape(&step.desired.to_string())
            )
        })
        .collect();
    let [action, principal, why] =
        [&plan.plan.action, &plan.plan.principal, &plan.plan.reason].map(|text| escape(text));
    Ok(page(&format!(
        "<h1>Approve {action}?</h1><p>On {principal}, because: {why}</p><ul>{lines}</ul>\
         <form method=\"post\"><label>Your name, for the ledger <input name=\"by\" required maxlength=\"128\"></label> \
         <button>Approve</button></form><p>To refuse it, do nothing: it expires by itself.</p>"
    )))
}

async fn approve(
    State(console): State<Console>,
    Path(token): Path<String>,
    Form(Answer { by }): Form<Answer>,
) -> Result<(StatusCode, Html<String>), Problem> {
    let by = super::decide::named(&by)?;
    let links = links(&console)?;
    let link = links.open(&token).map_err(gone)?;
    let plan = awaiting(&console, link).await?;
    if by.eq_ignore_ascii_case(&plan.plan.proposed_by) {
        return Err(Problem::conflict("whoever asked for a plan cannot approve it".to_owned()));
    }
    // Used up before it is carried out: what is lost in between can be approved by the command line, never twice by a link.
    links.redeem(&token).map_err(gone)?;
    let (plan_uid, tenant, at) = (link.plan_uid, plan.plan.tenant, (console.ports.clock)());
    let digest = Some(link.digest);
    console.ports.intake.command(Command::Approve { tenant, plan_uid, by, at, digest }).await?;
    Ok((
        StatusCode::ACCEPTED,
        page("<h1>Approved</h1><p>It is being carried out. You may close this page.</p>"),
    ))
}

fn links(console: &Console) -> Result<Arc<dyn ApprovalLinks>, Problem> {
    console.ports.links.clone().ok_or_else(|| gone("links are not configured here (`api.public_url`)"))
}

fn gone(why: &'static str) -> Problem {
    Problem::gone(format!("{why}; look at `prunella plans list`"))
}

/// The plan, if it is still what the link is about.
async fn awaiting(console: &Console, link: ApprovalLink) -> Result<Transition, Problem> {
    let plan = super::decide::newest(console, link.plan_uid).await?;
    let asks = plan.to == PlanState::AwaitingApproval && plan.plan.digest == link.digest;
    asks.then_some(plan).ok_or_else(|| gone("the plan was decided already, or has other steps now"))
}

/// Attackers write some of what is shown.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn page(body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Prunella</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/assets/style.css\">\
         <link rel=\"icon\" href=\"/assets/icon.svg\"></head><body><main>{body}</main></body></html>"
    ))
}
