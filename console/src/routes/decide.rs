//! What operators decide: approve, reject or roll back a plan, and the kill switch. Accepted when durable, carried out later.

use crate::params::{Json as Body, NoParams, Params, PathId};
use crate::{Console, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use prunella_schemas::finding::{Evidence, RelatedEvent};
use prunella_schemas::{Command, Event, Finding, Id, PlanState, Tenant, Transition};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest name of an operator, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Who decides.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decision {
    /// Name of the person or system, for the ledger.
    by: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KillSwitch {
    /// True stops every action; false lets them go on.
    engaged: bool,
    /// Name of the person or system, for the ledger.
    by: String,
}

/// Who approves, and what they looked at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    /// Name of the person or system, for the ledger.
    by: String,
    /// The plan's `digest` as it was when it was looked at: with another one the approval does not count. Absent: the one
    /// that the plan has now.
    #[serde(default)]
    digest: Option<Id>,
}

/// A command that is durable and will be carried out.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Queued {
    /// `approve`, `reject`, `rollback`, `respond` or `kill-switch`.
    command: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_uid: Option<Id>,
    by: String,
}

/// Which playbook, and who asks for it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// The playbook's id, whether it matches or not.
    playbook: String,
    /// Name of the person or system, for the ledger. Somebody else must approve.
    by: String,
}

type Answer = Result<(StatusCode, Json<Queued>), Problem>;

/// Lets a plan that awaits approval act.
#[utoipa::path(post, path = "/api/plans/{id}/approve", operation_id = "approve_plan", tag = "respond", params(("id" = String, Path)),
    request_body(content = ref("#/components/schemas/Approval"), content_type = "application/json"),
    responses((status = 202, body = ref("#/components/schemas/Queued"))))]
pub(crate) async fn approve(
    State(console): State<Console>,
    PathId(plan_uid): PathId,
    _: Params<NoParams>,
    Body(Approval { by, digest }): Body<Approval>,
) -> Answer {
    let plan = newest(&console, plan_uid).await?;
    require(&plan, "approved", &[PlanState::AwaitingApproval])?;
    if digest.is_some_and(|digest| digest != plan.plan.digest) {
        return Err(Problem::conflict("the plan has other steps now; look at it again".to_owned()));
    }
    let digest = digest.or(Some(plan.plan.digest)).filter(|digest| *digest != Id::default());
    let (tenant, at) = (plan.plan.tenant, (console.ports.clock)());
    queue(&console, "approve", Some(plan_uid), by, |by| Command::Approve { tenant, plan_uid, by, at, digest })
        .await
}

/// Refuses a plan that awaits approval.
#[utoipa::path(post, path = "/api/plans/{id}/reject", operation_id = "reject_plan", tag = "respond", params(("id" = String, Path)),
    request_body(content = ref("#/components/schemas/Decision"), content_type = "application/json"),
    responses((status = 202, body = ref("#/components/schemas/Queued"))))]
pub(crate) async fn reject(
    State(console): State<Console>,
    PathId(plan_uid): PathId,
    _: Params<NoParams>,
    Body(Decision { by }): Body<Decision>,
) -> Answer {
    let plan = newest(&console, plan_uid).await?;
    require(&plan, "rejected", &[PlanState::AwaitingApproval])?;
    let (tenant, at) = (plan.plan.tenant, (console.ports.clock)());
    queue(&console, "reject", Some(plan_uid), by, |by| Command::Reject { tenant, plan_uid, by, at }).await
}

/// Takes back what a plan did.
#[utoipa::path(post, path = "/api/plans/{id}/rollback", operation_id = "roll_back_plan", tag = "respond", params(("id" = String, Path)),
    request_body(content = ref("#/components/schemas/Decision"), content_type = "application/json"),
    responses((status = 202, body = ref("#/components/schemas/Queued"))))]
pub(crate) async fn rollback(
    State(console): State<Console>,
    PathId(plan_uid): PathId,
    _: Params<NoParams>,
    Body(Decision { by }): Body<Decision>,
) -> Answer {
    use PlanState::{Applied, Escalated, Escaped, Failed, Propagating, Unknown, Verified};
    let plan = newest(&console, plan_uid).await?;
    require(&plan, "rolled back", &[Applied, Unknown, Failed, Propagating, Verified, Escaped, Escalated])?;
    if plan.plan.undo.is_empty() {
        let action = &plan.plan.action;
        return Err(Problem::conflict(format!(
            "there is nothing to take back: {action} leaves nothing behind"
        )));
    }
    let (tenant, at) = (plan.plan.tenant, (console.ports.clock)());
    queue(&console, "rollback", Some(plan_uid), by, |by| Command::RollBack { tenant, plan_uid, by, at }).await
}

/// Starts a playbook by hand for an event, or for a finding when there is no such event.
///
/// The plan passes the same guard and the same ledger as any other; whoever asks for it cannot approve it.
#[utoipa::path(post, path = "/api/events/{id}/respond", operation_id = "respond_to_event", tag = "respond", params(("id" = String, Path)),
    request_body(content = ref("#/components/schemas/Request"), content_type = "application/json"),
    responses((status = 202, body = ref("#/components/schemas/Queued"))))]
pub(crate) async fn respond(
    State(console): State<Console>,
    PathId(uid): PathId,
    _: Params<NoParams>,
    Body(Request { playbook, by }): Body<Request>,
) -> Answer {
    if !console.ports.playbooks.contains(&playbook) {
        let known = console.ports.playbooks.join(", ");
        return Err(Problem::invalid(format!("there is no playbook `{playbook}`; known: {known}")));
    }
    let store = &console.ports.store;
    let finding = match store.event(uid).await? {
        Some(event) => finding_of(&event),
        None => store.finding(uid).await?.ok_or_else(|| Problem::missing("event or finding", uid))?,
    };
    let tenant =
        Tenant::try_from(finding.tenant().to_owned()).map_err(|e| Problem::invalid(e.to_string()))?;
    let (finding, at) = (Box::new(finding), (console.ports.clock)());
    queue(&console, "respond", None, by, |by| Command::Respond { tenant, finding, playbook, by, at }).await
}

/// One event in the form of a finding: nobody concluded anything, a person points at it.
fn finding_of(event: &Event) -> Finding {
    let mut finding = Finding::new(event.severity_id.max(1));
    finding.time = event.time;
    finding.message = format!("`{}`, pointed at by a person", event.operation());
    finding.metadata.tenant_uid.clone_from(&event.metadata.tenant_uid);
    finding.cloud.clone_from(&event.cloud);
    finding.evidences =
        vec![Evidence { actor: event.actor.clone(), src_endpoint: event.src_endpoint.clone() }];
    finding.finding_info.title = "By hand".to_owned();
    finding.finding_info.analytic.uid = "by_hand".into();
    (finding.finding_info.first_seen_time, finding.finding_info.last_seen_time) = (event.time, event.time);
    finding.finding_info.related_events = vec![RelatedEvent {
        uid: event.metadata.uid.clone().unwrap_or_default(),
        type_uid: event.type_uid,
        operation: event.operation().to_owned(),
    }];
    event.principal().clone_into(&mut finding.prunella.principal);
    finding.prunella.evidence = vec![event.prunella.event_uid];
    finding.prunella.event_count = 1;
    finding.identify(&event.prunella.event_uid.0);
    finding
}

/// Stops every action, or lets them go on.
#[utoipa::path(post, path = "/api/kill-switch", tag = "respond",
    request_body(content = ref("#/components/schemas/KillSwitch"), content_type = "application/json"),
    responses((status = 202, body = ref("#/components/schemas/Queued"))))]
pub(crate) async fn kill_switch(
    State(console): State<Console>,
    _: Params<NoParams>,
    Body(KillSwitch { engaged, by }): Body<KillSwitch>,
) -> Answer {
    let at = (console.ports.clock)();
    queue(&console, "kill-switch", None, by, |by| Command::KillSwitch { engaged, by, at }).await
}

pub(super) async fn newest(console: &Console, plan_uid: Id) -> Result<Transition, Problem> {
    console.ports.store.plan(plan_uid).await?.pop().ok_or_else(|| Problem::missing("plan", plan_uid))
}

/// Tells the operator early; the response stage, which sees every transition in order, decides for itself.
fn require(plan: &Transition, done: &str, states: &[PlanState]) -> Result<(), Problem> {
    if states.contains(&plan.to) {
        return Ok(());
    }
    let state = serde_json::to_value(plan.to).unwrap_or_default();
    let state = state.as_str().unwrap_or_default();
    Err(Problem::conflict(format!("the plan is in state {state} ({}), where it cannot be {done}", plan.why)))
}

async fn queue(
    console: &Console,
    command: &'static str,
    plan_uid: Option<Id>,
    by: String,
    build: impl FnOnce(String) -> Command,
) -> Answer {
    let by = named(&by)?;
    console.ports.intake.command(build(by.clone())).await?;
    Ok((StatusCode::ACCEPTED, Json(Queued { command, plan_uid, by })))
}

/// The name of a person or system, as the ledger will hold it.
pub(super) fn named(by: &str) -> Result<String, Problem> {
    let by = by.trim();
    if by.is_empty() || by.len() > NAME_BYTES_MAX || by.chars().any(char::is_control) {
        return Err(Problem::invalid(format!(
            "`by` must name who decides, in 1 to {NAME_BYTES_MAX} visible bytes"
        )));
    }
    Ok(by.to_owned())
}
