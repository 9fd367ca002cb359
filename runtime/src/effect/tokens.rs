//! Token versions as something to act on: "tokens issued before T are invalid", and whether the attacker felt it.

use super::calls::{self, calls_since};
use async_trait::async_trait;
use prunella_schemas::plan::{Outcome, Probe, Read, TargetState};
use prunella_schemas::port::{Effector, PortError, State, Store};
use prunella_schemas::{Event, Id, PlanState, Step, Tenant, Timestamp, Transition};
use std::sync::Arc;

/// The provider word of our own state.
pub const PROVIDER: &str = "prunella";
pub const SET_NOT_BEFORE: &str = "tokens.set_not_before";

/// Acts on token versions; sees what came of it in the events of the principal.
pub struct TokenEffector {
    state: Arc<dyn State>,
    store: Arc<dyn Store>,
}

impl TokenEffector {
    pub fn new(state: Arc<dyn State>, store: Arc<dyn Store>) -> Self {
        TokenEffector { state, store }
    }
}

#[async_trait]
impl Effector for TokenEffector {
    fn provider(&self) -> &str {
        PROVIDER
    }

    async fn preflight(&self, operation: &str) -> Result<(), PortError> {
        if operation != SET_NOT_BEFORE {
            return Err(PortError::Invalid(format!("`{operation}` is not what it can set")));
        }
        self.state.token_version(&Tenant::default(), "preflight:user:nobody").await.map(drop)
    }

    async fn read(&self, tenant: &Tenant, what: &Read) -> Result<TargetState, PortError> {
        let version = self.state.token_version(tenant, &what.target).await?;
        let value = serde_json::json!({ "not_before": version.not_before, "version": version.version });
        Ok(TargetState { provider: PROVIDER.into(), target: what.target.clone(), value })
    }

    async fn apply(&self, tenant: &Tenant, step: &Step, _: Id) -> Outcome {
        let Some(not_before) = not_before(step) else {
            return Outcome::Failed {
                detail: format!("step `{}` does not say `not_before` in milliseconds", step.operation),
            };
        };
        match self.state.revoke_tokens(tenant, &step.target, not_before).await {
            Ok(version) => Outcome::Done {
                detail: format!(
                    "tokens issued before {} are refused, version {}",
                    version.not_before, version.version
                ),
            },
            Err(e @ (PortError::Invalid(_) | PortError::Full(_))) => {
                Outcome::Failed { detail: e.to_string() }
            }
            Err(e) => Outcome::Unknown { detail: e.to_string() },
        }
    }

    async fn probe(&self, tenant: &Tenant, step: &Step, principal: &str, applied: Timestamp) -> Probe {
        let (Some(wanted), Ok(version)) =
            (not_before(step), self.state.token_version(tenant, &step.target).await)
        else {
            return Probe::Unseen { detail: "the token version cannot be read".into() };
        };
        if version.not_before < wanted {
            let detail = format!("tokens issued since {} are still accepted", version.not_before);
            return Probe::Escaped { detail, last_accepted: None, successors: Vec::new() };
        }
        match calls_since(self.store.as_ref(), tenant, principal, applied).await {
            Ok(calls) => judge(&calls, version.not_before, applied),
            Err(e) => Probe::Unseen { detail: format!("the principal's calls cannot be read: {e}") },
        }
    }
}

/// The steps of which a transition says that they were carried out.
pub fn settled(transition: &Transition) -> &[Step] {
    match transition.to {
        PlanState::Applied => &transition.plan.steps,
        _ => &[],
    }
}

/// Whose tokens a step revokes, and up to when, if it revokes any.
pub fn revoked(tenant: &Tenant, step: &Step) -> Option<(Tenant, String, Timestamp)> {
    let ours = step.provider == PROVIDER;
    not_before(step).filter(|_| ours).map(|at| (tenant.clone(), step.target.clone(), at))
}

fn not_before(step: &Step) -> Option<Timestamp> {
    (step.operation == SET_NOT_BEFORE).then(|| step.desired.get("not_before")?.as_i64().map(Timestamp))?
}

/// What the principal's own calls say. Only a session from before the revocation can show that it held or failed.
fn judge(calls: &[Event], not_before: Timestamp, applied: Timestamp) -> Probe {
    let old = |e: &&Event| e.session_created().is_none_or(|created| created < not_before);
    let stands = format!("tokens issued before {not_before} are invalid; no call has tried one yet");
    calls::judge(calls, old, calls::refuses_credential, applied, stands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_schemas::ocsf::{API_ACTIVITY, Actor, Session};
    use prunella_schemas::plan::EvidenceKind;

    fn call(time: i64, status: u8, code: Option<&str>, created: Option<i64>) -> Event {
        let mut event = Event::new(API_ACTIVITY, 2, status, 1);
        event.time = Timestamp(time);
        event.status_code = code.map(str::to_owned);
        let session = created.map(|c| Session { created_time: Some(Timestamp(c)), ..Session::default() });
        event.actor = Some(Actor { session, ..Actor::default() });
        event
    }

    #[test]
    fn only_a_refused_call_with_an_old_session_is_containment() {
        let (before, old, new) = (10_000, Some(5_000), Some(10_500));
        let check = |calls: &[Event], want: &str| {
            let probe = judge(calls, Timestamp(before), Timestamp(10_400));
            let got = match probe {
                Probe::Held { evidence: EvidenceKind::RefusedCall, .. } => "refused",
                Probe::Held { .. } => "configuration",
                Probe::NotYet { .. } | Probe::Unseen { .. } => "not yet",
                Probe::Escaped { .. } => "escaped",
            };
            assert_eq!(got, want, "{calls:?}");
        };
        check(&[], "configuration");
        check(&[call(9_000, 1, None, old)], "configuration");
        check(&[call(10_000, 1, None, old)], "configuration");
        check(&[call(10_000, 2, Some("ExpiredToken"), old)], "refused");
        check(&[call(9_000, 2, Some("ExpiredToken"), old)], "configuration");
        check(&[call(11_000, 2, Some("AccessDenied"), old)], "configuration");
        check(&[call(11_000, 2, Some("ExpiredToken"), new)], "configuration");
        check(&[call(11_000, 1, None, new)], "configuration");
        check(&[call(11_000, 2, Some("ExpiredToken"), old), call(12_000, 1, None, old)], "escaped");
        check(&[call(11_000, 1, None, old), call(12_000, 2, Some("ExpiredToken"), old)], "refused");
        check(&[call(12_000, 1, None, None)], "escaped");
    }
}
