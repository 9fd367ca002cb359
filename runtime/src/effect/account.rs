//! Account states as something to act on: lock, step-up, one session refused; and whether the attacker felt it.

use super::calls::{self, calls_since};
use crate::state::Change;
use async_trait::async_trait;
use prunella_schemas::plan::{Outcome, Probe, Read, TargetState};
use prunella_schemas::port::{
    Effector, LOCKED_UNTIL, PortError, SESSION_PREFIX, STEP_UP_SINCE, Setting, State, Store,
};
use prunella_schemas::{Event, Id, PlanState, Step, Tenant, Timestamp, Transition};
use serde_json::{Value, json};
use std::sync::Arc;

/// The provider word of the account states that applications ask for.
pub const PROVIDER: &str = "account";
pub const LOCK: &str = "account.lock";
pub const STEP_UP: &str = "trust.reset";
pub const KILL_SESSION: &str = "session.kill";

/// Acts on account states; sees what came of it in the events of the principal.
pub struct AccountEffector {
    state: Arc<dyn State>,
    store: Arc<dyn Store>,
}

impl AccountEffector {
    pub fn new(state: Arc<dyn State>, store: Arc<dyn Store>) -> Self {
        AccountEffector { state, store }
    }
}

/// One setting of one account, as a step's operation and target name it.
struct Place {
    principal: String,
    name: String,
    session: Option<String>,
}

impl Place {
    fn of(operation: &str, target: &str) -> Option<Self> {
        let (principal, name, session) = match operation {
            LOCK => (target, LOCKED_UNTIL.to_owned(), None),
            STEP_UP => (target, STEP_UP_SINCE.to_owned(), None),
            KILL_SESSION => {
                let (principal, session) = target.rsplit_once('#')?;
                (principal, format!("{SESSION_PREFIX}{session}"), Some(session.to_owned()))
            }
            _ => return None,
        };
        Some(Place { principal: principal.to_owned(), name, session })
    }
}

#[async_trait]
impl Effector for AccountEffector {
    fn provider(&self) -> &str {
        PROVIDER
    }

    async fn preflight(&self, operation: &str) -> Result<(), PortError> {
        let unknown = || PortError::Invalid(format!("`{operation}` is no setting of an account"));
        let place = Place::of(operation, "preflight:user:nobody#none").ok_or_else(unknown)?;
        self.state.setting(&Tenant::default(), &place.principal, &place.name).await.map(drop)
    }

    async fn read(&self, tenant: &Tenant, what: &Read) -> Result<TargetState, PortError> {
        let place = Place::of(&what.operation, &what.target)
            .ok_or_else(|| PortError::Invalid(format!("`{}` is no setting of an account", what.operation)))?;
        let setting = self.state.setting(tenant, &place.principal, &place.name).await?;
        let value = json!({ "value": setting.value, "version": setting.version });
        Ok(TargetState { provider: PROVIDER.into(), target: what.target.clone(), value })
    }

    async fn apply(&self, tenant: &Tenant, step: &Step, _: Id) -> Outcome {
        let (Some(place), Some(wanted), Some(expected)) = (
            Place::of(&step.operation, &step.target),
            value_of(&step.desired),
            step.prior.as_ref().and_then(|prior| prior.get("version")?.as_u64()),
        ) else {
            let detail = format!("step `{}` does not say what to set, and on which version", step.operation);
            return Outcome::Failed { detail };
        };
        match self.state.set(tenant, &place.principal, &place.name, wanted, expected).await {
            Ok(found) => judge_set(&place, wanted, expected, found),
            Err(e @ (PortError::Invalid(_) | PortError::Full(_))) => {
                Outcome::Failed { detail: e.to_string() }
            }
            Err(e) => Outcome::Unknown { detail: e.to_string() },
        }
    }

    async fn probe(&self, tenant: &Tenant, step: &Step, principal: &str, applied: Timestamp) -> Probe {
        let (Some(place), Some(wanted)) = (Place::of(&step.operation, &step.target), value_of(&step.desired))
        else {
            return Probe::NotYet { detail: "the step names no setting of an account".into() };
        };
        let Ok(found) = self.state.setting(tenant, &place.principal, &place.name).await else {
            return Probe::Unseen { detail: "the account's state cannot be read".into() };
        };
        if found.value < wanted {
            let detail = format!("`{}` is {} again", place.name, found.value);
            return Probe::Escaped { detail, last_accepted: None, successors: Vec::new() };
        }
        match calls_since(self.store.as_ref(), tenant, principal, applied).await {
            Ok(calls) => judge(&calls, &place, applied),
            Err(e) => Probe::Unseen { detail: format!("the principal's calls cannot be read: {e}") },
        }
    }
}

fn judge_set(place: &Place, wanted: Timestamp, expected: u64, found: Setting) -> Outcome {
    if found.value == wanted {
        return Outcome::Done { detail: format!("`{}` is {wanted}, version {}", place.name, found.version) };
    }
    let detail = format!(
        "`{}` is {} in version {}, where version {expected} was expected",
        place.name, found.value, found.version
    );
    Outcome::Conflict { detail }
}

/// What the principal's own calls say about a restriction that every application must honour.
fn judge(calls: &[Event], place: &Place, applied: Timestamp) -> Probe {
    let concerned = |e: &&Event| match &place.session {
        Some(session) => e.credential() == Some(session),
        // Whoever has shown a second factor, or has signed in anew, may go on; a lock holds for everybody.
        None if place.name == STEP_UP_SINCE => {
            let session = e.actor.as_ref().and_then(|actor| actor.session.as_ref());
            session.is_none_or(|s| s.is_mfa != Some(true) && s.created_time.is_none_or(|at| at < applied))
        }
        None => true,
    };
    let stands = format!("`{}` stands; no call has tried it yet", place.name);
    calls::judge(calls, concerned, calls::refuses_credential, applied, stands)
}

/// The steps of which a transition says that they were carried out: those of the plan, or those that take it back.
pub fn settled(transition: &Transition) -> &[Step] {
    match transition.to {
        PlanState::Applied if transition.from != Some(PlanState::Applied) => &transition.plan.steps,
        PlanState::RolledBack | PlanState::Expired if transition.plan.marks.applied != Timestamp::ZERO => {
            &transition.plan.undo
        }
        _ => &[],
    }
}

/// What a step sets on an account, if it sets anything.
pub fn changed(tenant: &Tenant, step: &Step) -> Option<Change> {
    let place = Place::of(&step.operation, &step.target).filter(|_| step.provider == PROVIDER)?;
    let value = value_of(&step.desired)?;
    Some(Change { tenant: tenant.as_str().to_owned(), principal: place.principal, name: place.name, value })
}

fn value_of(value: &Value) -> Option<Timestamp> {
    value.get("value")?.as_i64().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_schemas::ocsf::{API_ACTIVITY, Actor, Session, User};
    use prunella_schemas::plan::EvidenceKind;

    fn call(time: i64, code: Option<&str>, created: i64, mfa: bool, key: &str) -> Event {
        let mut event = Event::new(API_ACTIVITY, 2, if code.is_some() { 2 } else { 1 }, 1);
        event.time = Timestamp(time);
        event.status_code = code.map(str::to_owned);
        let session =
            Session { created_time: Some(Timestamp(created)), is_mfa: Some(mfa), ..Session::default() };
        let user = User { credential_uid: Some(key.to_owned()), ..User::default() };
        event.actor = Some(Actor { session: Some(session), user: Some(user), ..Actor::default() });
        event
    }

    #[test]
    fn each_restriction_is_judged_by_the_calls_it_concerns() {
        let check = |operation: &str, calls: &[Event], want: &str| {
            let target = if operation == KILL_SESSION { "aws:user:x#K1" } else { "aws:user:x" };
            let place = Place::of(operation, target).unwrap();
            let got = match judge(calls, &place, Timestamp(10_400)) {
                Probe::Held { evidence: EvidenceKind::RefusedCall, .. } => "refused",
                Probe::Held { .. } => "configuration",
                Probe::NotYet { .. } | Probe::Unseen { .. } => "not yet",
                Probe::Escaped { .. } => "escaped",
            };
            assert_eq!(got, want, "{operation} {calls:?}");
        };
        let refused = Some("InvalidClientTokenId");
        for operation in [LOCK, STEP_UP, KILL_SESSION] {
            check(operation, &[], "configuration");
            check(operation, &[call(10_000, None, 5_000, false, "K1")], "configuration");
            check(operation, &[call(11_000, None, 5_000, false, "K1")], "escaped");
            check(operation, &[call(11_000, refused, 5_000, false, "K1")], "refused");
            check(operation, &[call(11_000, Some("AccessDenied"), 5_000, false, "K1")], "configuration");
        }
        let stepped_up = call(11_000, None, 5_000, true, "K1");
        check(STEP_UP, std::slice::from_ref(&stepped_up), "configuration");
        check(LOCK, &[stepped_up], "escaped");
        let other = call(11_000, None, 5_000, false, "K2");
        check(KILL_SESSION, std::slice::from_ref(&other), "configuration");
        check(LOCK, &[other], "escaped");
    }
}
