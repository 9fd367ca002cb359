//! A cloud's effector beside the events: its provider says that a setting stands, a refused call that the attacker felt it.

use super::calls::{self, calls_since};
use async_trait::async_trait;
use prunella_schemas::plan::{EvidenceKind, Outcome, Probe, Read, TargetState};
use prunella_schemas::port::{Effector, PortError, Store};
use prunella_schemas::{Event, Id, Step, Tenant, Timestamp};
use std::sync::Arc;

/// Looks for refused calls where the provider's word is all there is.
pub struct Witness {
    cloud: Arc<dyn Effector>,
    seen: Arc<dyn Store>,
}

impl Witness {
    pub fn new(cloud: Arc<dyn Effector>, seen: Arc<dyn Store>) -> Self {
        Witness { cloud, seen }
    }
}

#[async_trait]
impl Effector for Witness {
    fn provider(&self) -> &str {
        self.cloud.provider()
    }

    async fn preflight(&self, operation: &str) -> Result<(), PortError> {
        self.cloud.preflight(operation).await
    }

    async fn read(&self, tenant: &Tenant, what: &Read) -> Result<TargetState, PortError> {
        self.cloud.read(tenant, what).await
    }

    async fn apply(&self, tenant: &Tenant, step: &Step, key: Id) -> Outcome {
        self.cloud.apply(tenant, step, key).await
    }

    async fn probe(&self, tenant: &Tenant, step: &Step, principal: &str, applied: Timestamp) -> Probe {
        let probe = self.cloud.probe(tenant, step, principal, applied).await;
        let Probe::Held { evidence: EvidenceKind::ConfigurationRead, detail, .. } = &probe else {
            return probe;
        };
        let Some(felt) = Felt::by(step) else { return probe };
        match calls_since(self.seen.as_ref(), tenant, principal, applied).await {
            Ok(calls) => felt.judge(&calls, applied, detail),
            // What the provider says holds without the events.
            Err(_) => probe,
        }
    }
}

/// By which calls a step is felt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Felt<'a> {
    /// Those of one credential.
    Credential(&'a str),
    /// Those of sessions that began before an instant.
    Sessions(Timestamp),
    /// Some of the principal's; which were let through says nothing.
    Denied,
}

impl<'a> Felt<'a> {
    /// `None`: no call of a principal shows it.
    fn by(step: &'a Step) -> Option<Self> {
        let (_, part) = step.target.rsplit_once('#')?;
        match step.operation.as_str() {
            "iam:UpdateAccessKey" => Some(Felt::Credential(part)),
            // Audit logs name the key in full.
            "iam.serviceAccountKeys.disable" => Some(Felt::Credential(part)),
            "iam:PutUserPolicy" | "iam:PutRolePolicy" => {
                let before = "/document/Statement/0/Condition/DateLessThan/aws:TokenIssueTime";
                let before = step.desired.pointer(before).and_then(|at| Timestamp::parse(at.as_str()?));
                Some(before.map_or(Felt::Denied, Felt::Sessions))
            }
            _ => None,
        }
    }

    fn judge(self, calls: &[Event], applied: Timestamp, stands: &str) -> Probe {
        let stands = format!("{stands}; no call has tried it yet");
        match self {
            Felt::Credential(id) => {
                let concerned = |e: &&Event| {
                    let name = e.credential().unwrap_or_default();
                    name.rsplit_once("/keys/").map_or(name, |(_, key)| key) == id
                };
                calls::judge(calls, concerned, calls::refuses_credential, applied, stands)
            }
            Felt::Sessions(before) => {
                let old = |e: &&Event| e.session_created().is_some_and(|created| created < before);
                calls::judge(calls, old, denied_by_policy, applied, stands)
            }
            Felt::Denied => calls::judge(calls, |e| denied_by_policy(e), denied_by_policy, applied, stands),
        }
    }
}

/// Whether a call was refused by a policy of its identity that denies it, and not for want of one that allows it.
///
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>
fn denied_by_policy(call: &Event) -> bool {
    let is_denied = call
        .status_code
        .as_deref()
        .is_some_and(|code| code.contains("AccessDenied") || code.contains("Unauthorized"));
    let why = call.status_detail.as_deref().unwrap_or_default();
    is_denied && why.contains("explicit deny in an identity-based policy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_schemas::ocsf::{API_ACTIVITY, Actor, Session, User};
    use serde_json::json;

    fn call(time: i64, refused: Option<(&str, &str)>, created: Option<i64>) -> Event {
        let mut event = Event::new(API_ACTIVITY, 2, if refused.is_some() { 2 } else { 1 }, 1);
        event.time = Timestamp(time);
        event.status_code = refused.map(|(code, _)| code.to_owned());
        event.status_detail = refused.map(|(_, detail)| detail.to_owned());
        let session = created.map(|c| Session { created_time: Some(Timestamp(c)), ..Session::default() });
        let user = User { credential_uid: Some("AKIA1".to_owned()), ..User::default() };
        event.actor = Some(Actor { session, user: Some(user), ..Actor::default() });
        event
    }

    fn step(operation: &str, part: &str, desired: serde_json::Value) -> Step {
        let target = format!("aws:role:arn:aws:iam::111122223333:role/app#{part}");
        Step { provider: "aws".into(), operation: operation.into(), target, desired, prior: None }
    }

    #[test]
    fn a_step_is_felt_by_the_calls_that_it_concerns() {
        let applied = Timestamp(100_400);
        let older = json!({ "document": { "Statement": [{ "Condition": {
            "DateLessThan": { "aws:TokenIssueTime": "1970-01-01T00:01:40Z" } } }] } });
        let key = step("iam:UpdateAccessKey", "AKIA1", json!({ "status": "Inactive" }));
        let other = step("iam:UpdateAccessKey", "AKIA2", json!({ "status": "Inactive" }));
        let sessions = step("iam:PutRolePolicy", "P", older);
        let quarantine = step("iam:PutUserPolicy", "P", json!({ "document": {} }));
        let explicit = ("AccessDenied", "... with an explicit deny in an identity-based policy");
        let implicit = ("AccessDenied", "... because no identity-based policy allows it");
        let unknown = ("InvalidClientTokenId", "");
        let (accepted, at) = (None, 110_000);
        let cases = [
            (&key, vec![], "configuration"),
            (&key, vec![call(at, accepted, None)], "escaped"),
            (&key, vec![call(at, Some(unknown), None)], "refused"),
            (&key, vec![call(at, Some(explicit), None)], "configuration"),
            (&other, vec![call(at, accepted, None)], "configuration"),
            (&sessions, vec![call(at, Some(explicit), Some(50_000))], "refused"),
            (&sessions, vec![call(at, Some(implicit), Some(50_000))], "configuration"),
            (&sessions, vec![call(at, accepted, Some(50_000))], "escaped"),
            (&sessions, vec![call(at, accepted, Some(100_000))], "configuration"),
            (&sessions, vec![call(at, accepted, None)], "configuration"),
            (&quarantine, vec![call(at, accepted, None)], "configuration"),
            (&quarantine, vec![call(at, Some(explicit), None), call(at + 1, accepted, None)], "refused"),
        ];
        for (step, calls, want) in cases {
            let got = match Felt::by(step).unwrap().judge(&calls, applied, "it stands") {
                Probe::Held { evidence: EvidenceKind::RefusedCall, .. } => "refused",
                Probe::Held { .. } => "configuration",
                Probe::NotYet { .. } | Probe::Unseen { .. } => "not yet",
                Probe::Escaped { .. } => "escaped",
            };
            assert_eq!(got, want, "{} {calls:?}", step.operation);
        }
        assert_eq!(Felt::by(&Step { target: "aws:bucket:1:b".into(), ..key }), None);
    }
}
