//! `event.caep`: tells other systems that sessions are no longer good, as Security Event Tokens (RFC 8417, OpenID CAEP 1.0).

use super::text::{TEXT_BYTES_MAX, cut};
use super::{Action, Case, DETECT, NotApplicable, Occasion, Steps, TARGETS_MAX};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Plan, Reach, Read, Step, TargetState};
use serde_json::{Value, json};

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";

pub struct EventCaep;

impl Action for EventCaep {
    fn name(&self) -> &'static str {
        "event.caep"
    }

    fn reach(&self) -> Reach {
        Reach::Notify
    }

    fn occasions(&self) -> &'static [Occasion] {
        &[Occasion::Held]
    }

    fn tactic(&self) -> u8 {
        DETECT
    }

    fn horizon_ms(&self) -> Option<i64> {
        None
    }

    fn targets(&self, _: &Finding, config: &Config) -> Vec<String> {
        config.receivers.caep.iter().take(TARGETS_MAX).cloned().collect()
    }

    fn needs(&self, _: &str) -> Vec<Read> {
        Vec::new()
    }

    fn calls(&self) -> Vec<(String, String)> {
        vec![("caep".to_owned(), "event.push".to_owned())]
    }

    /// The claims that are ours to make. Who issues it, for whom, when and under which id is the sender's to add.
    fn plan(&self, case: &Case<'_>, _: &[TargetState]) -> Result<Steps, NotApplicable> {
        let Some((_, plan)) = case.about else {
            return Err(NotApplicable("it tells of what was done, and nothing was".into()));
        };
        let Some((kind, mut event)) = event(&plan.action) else {
            return Err(NotApplicable(format!("no CAEP event means `{}`", plan.action)));
        };
        event["event_timestamp"] = plan.marks.applied.millis().div_euclid(1_000).into();
        event["initiating_entity"] = "policy".into();
        event["reason_admin"] = json!({"en": cut(&plan.reason, TEXT_BYTES_MAX)});
        let desired = json!({"sub_id": subject(plan), "txn": plan.uid, "events": Value::Object([(kind, event)].into_iter().collect())});
        let step = Step {
            provider: "caep".to_owned(),
            operation: "event.push".to_owned(),
            target: case.target.to_owned(),
            desired,
            prior: None,
        };
        Ok(Steps { steps: vec![step], undo: Vec::new() })
    }
}

/// The event that an action amounts to, with the claims of its kind.
fn event(action: &str) -> Option<(String, Value)> {
    match action {
        "tokens.revoke" | "session.kill" => Some((format!("{CAEP}session-revoked"), json!({}))),
        "account.lock" => Some((format!("{RISC}account-disabled"), json!({"reason": "hijacking"}))),
        "keys.rotate" => Some((
            format!("{CAEP}credential-change"),
            json!({"credential_type": "app", "change_type": "update"}),
        )),
        _ => None,
    }
}

/// Who it is about (RFC 9493): by e-mail where the provider names people so, else by our own name of them.
fn subject(plan: &Plan) -> Value {
    let name = plan.principal.rsplit(':').next().unwrap_or_default();
    match name.split_once('@') {
        Some((person, host)) if !person.is_empty() && host.contains('.') => {
            json!({"format": "email", "email": cut(name, TEXT_BYTES_MAX)})
        }
        _ => json!({"format": "opaque", "id": cut(&plan.principal, TEXT_BYTES_MAX)}),
    }
}
