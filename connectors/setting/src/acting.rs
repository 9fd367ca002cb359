//! A cloud as an effector: which answer of the provider is done, unknown, failed or a conflict.

use crate::{Cloud, Fault, Found};
use async_trait::async_trait;
use prunella_schemas::plan::{EvidenceKind, Outcome, Probe, Read, TargetState};
use prunella_schemas::port::{Effector, PortError};
use prunella_schemas::{Id, Step, Tenant, Timestamp};
use serde_json::Value;

/// An effector over a cloud's settings.
pub struct Acting<C>(pub C);

#[async_trait]
impl<C: Cloud> Effector for Acting<C> {
    fn provider(&self) -> &str {
        self.0.provider()
    }

    async fn preflight(&self, operation: &str) -> Result<(), PortError> {
        self.0.check(operation).await.map_err(unread)
    }

    /// A target that is not there is an answer, and no failure: `Null`.
    async fn read(&self, tenant: &Tenant, what: &Read) -> Result<TargetState, PortError> {
        let found = match self.0.find(tenant, &what.operation, &what.target).await {
            Ok(found) => found.value,
            Err(Fault::Missing(_)) => Value::Null,
            Err(fault) => return Err(unread(fault)),
        };
        Ok(TargetState { provider: what.provider.clone(), target: what.target.clone(), value: found })
    }

    /// Looks first: what stands is left alone, and what somebody else has changed is left to them.
    async fn apply(&self, tenant: &Tenant, step: &Step, _: Id) -> Outcome {
        let found = match self.0.find(tenant, &step.operation, &step.target).await {
            Ok(found) => found,
            // Nothing was sent. Unknown is what makes it be asked for again.
            Err(Fault::Lost(detail) | Fault::Unavailable(detail) | Fault::Changed(detail)) => {
                return Outcome::Unknown { detail: format!("not sent, it cannot be looked at: {detail}") };
            }
            Err(Fault::Missing(detail) | Fault::Refused(detail)) => return Outcome::Failed { detail },
        };
        if step.is_met_by(&found.value) {
            return Outcome::Done { detail: format!("{} is so already", step.target) };
        }
        if let Some(outcome) = unlike_planned(step, &found) {
            return outcome;
        }
        match self.0.set(tenant, step, &found).await {
            Ok(detail) => Outcome::Done { detail },
            Err(Fault::Lost(detail) | Fault::Unavailable(detail)) => Outcome::Unknown { detail },
            Err(Fault::Changed(detail)) => Outcome::Conflict { detail },
            Err(Fault::Missing(detail) | Fault::Refused(detail)) => Outcome::Failed { detail },
        }
    }

    async fn probe(&self, tenant: &Tenant, step: &Step, _: &str, _: Timestamp) -> Probe {
        let found = match self.0.find(tenant, &step.operation, &step.target).await {
            Ok(found) => found,
            Err(Fault::Missing(detail)) => return held(detail),
            Err(fault) => return Probe::NotYet { detail: format!("it cannot be looked at: {fault}") },
        };
        if !step.is_met_by(&found.value) {
            let now = step.spoken_of(&found.value);
            let detail = format!("{} is {now}, and should be {}", step.target, step.desired);
            return Probe::Escaped { detail, last_accepted: None, successors: Vec::new() };
        }
        let successors = self.0.opened(step, &found);
        if !successors.is_empty() {
            let detail = format!("made since it was planned, and accepted: {}", successors.join(", "));
            return Probe::Escaped { detail, last_accepted: None, successors };
        }
        held(format!("{} is {}", step.target, step.desired))
    }
}

/// What is said of a step whose target is not in the state it was planned on.
fn unlike_planned(step: &Step, found: &Found) -> Option<Outcome> {
    let Some(prior) = &step.prior else {
        let detail = format!("the step does not say how {} was found; nothing was sent", step.target);
        return Some(Outcome::Failed { detail });
    };
    let (then, now) = (step.spoken_of(prior), step.spoken_of(&found.value));
    (then != now).then(|| Outcome::Conflict {
        detail: format!("{} is {now}, and was {then} when this was planned", step.target),
    })
}

fn held(detail: String) -> Probe {
    Probe::Held { evidence: EvidenceKind::ConfigurationRead, detail, last_accepted: None }
}

fn unread(fault: Fault) -> PortError {
    match fault {
        Fault::Lost(detail) | Fault::Unavailable(detail) | Fault::Changed(detail) => {
            PortError::Unavailable(detail)
        }
        Fault::Refused(detail) | Fault::Missing(detail) => PortError::Invalid(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Mutex;

    /// A light that answers as it is told to.
    struct Light {
        value: Value,
        find: Option<Fault>,
        set: Option<Fault>,
        sent: Mutex<u32>,
    }

    #[async_trait]
    impl Cloud for Light {
        fn provider(&self) -> &'static str {
            "light"
        }
        async fn check(&self, _: &str) -> Result<(), Fault> {
            Ok(())
        }
        async fn find(&self, _: &Tenant, _: &str, _: &str) -> Result<Found, Fault> {
            self.find.clone().map_or(Ok(Found { value: self.value.clone(), version: String::new() }), Err)
        }
        async fn set(&self, _: &Tenant, _: &Step, _: &Found) -> Result<String, Fault> {
            *self.sent.lock().unwrap() += 1;
            self.set.clone().map_or(Ok("set".into()), Err)
        }
        fn opened(&self, _: &Step, found: &Found) -> Vec<String> {
            found.value["new"].as_str().map(str::to_owned).into_iter().collect()
        }
    }

    fn light(value: Value) -> Light {
        Light { value, find: None, set: None, sent: Mutex::default() }
    }

    fn off(prior: Option<Value>) -> Step {
        let desired = json!({ "is_on": false });
        Step { provider: "light".into(), operation: "set".into(), target: "hall".into(), desired, prior }
    }

    #[tokio::test]
    async fn an_outcome_says_what_was_sent() {
        let on = || Some(json!({ "is_on": true, "seen": 1 }));
        let lost = || Some(Fault::Lost("timed out".into()));
        let cases = [
            ("sent once", light(json!({ "is_on": true, "seen": 2 })), on(), "done", 1),
            ("so already", light(json!({ "is_on": false })), on(), "done", 0),
            ("changed since", light(json!({ "is_on": "dim" })), on(), "conflict", 0),
            ("not known before", light(json!({ "is_on": true })), None, "failed", 0),
            ("lost", Light { set: lost(), ..light(json!({ "is_on": true })) }, on(), "unknown", 1),
            (
                "changed just now",
                Light { set: Some(Fault::Changed("412".into())), ..light(json!({ "is_on": true })) },
                on(),
                "conflict",
                1,
            ),
            (
                "refused",
                Light { set: Some(Fault::Refused("403".into())), ..light(json!({ "is_on": true })) },
                on(),
                "failed",
                1,
            ),
            ("not looked at", Light { find: lost(), ..light(Value::Null) }, on(), "unknown", 0),
            (
                "not there",
                Light { find: Some(Fault::Missing("404".into())), ..light(Value::Null) },
                on(),
                "failed",
                0,
            ),
        ];
        for (what, light, prior, want, sent) in cases {
            let acting = Acting(light);
            let got = match acting.apply(&Tenant::default(), &off(prior), Id::default()).await {
                Outcome::Done { .. } => "done",
                Outcome::Unknown { .. } => "unknown",
                Outcome::Failed { .. } => "failed",
                Outcome::Conflict { .. } => "conflict",
            };
            assert_eq!((got, *acting.0.sent.lock().unwrap()), (want, sent), "{what}");
        }
    }

    #[tokio::test]
    async fn a_probe_says_what_stands_and_what_came_since() {
        let missing = Light { find: Some(Fault::Missing("404".into())), ..light(Value::Null) };
        let lost = Light { find: Some(Fault::Lost("timed out".into())), ..light(Value::Null) };
        let cases = [
            (light(json!({ "is_on": false })), "held"),
            (light(json!({ "is_on": true })), "escaped []"),
            (light(json!({ "is_on": false, "new": "a:b:c#k" })), "escaped [\"a:b:c#k\"]"),
            (missing, "held"),
            (lost, "not yet"),
        ];
        for (light, want) in cases {
            let probe = Acting(light).probe(&Tenant::default(), &off(None), "p", Timestamp::ZERO).await;
            let got = match probe {
                Probe::Held { evidence: EvidenceKind::ConfigurationRead, .. } => "held".to_owned(),
                Probe::Held { .. } => "contained".to_owned(),
                Probe::NotYet { .. } | Probe::Unseen { .. } => "not yet".to_owned(),
                Probe::Escaped { successors, .. } => format!("escaped {successors:?}"),
            };
            assert_eq!(got, want);
        }
    }

    #[test]
    fn what_is_not_spoken_of_does_not_count() {
        let cases = [
            (json!({ "a": 1 }), json!({ "a": 1, "b": 2 }), true),
            (json!({ "a": null }), json!({ "a": null }), true),
            (json!({ "a": null }), json!({ "b": 1 }), false),
            (json!({}), json!({ "a": 1 }), false),
            (json!(null), json!(null), false),
        ];
        for (desired, found, want) in cases {
            let step = Step { desired, ..off(None) };
            assert_eq!(step.is_met_by(&found), want, "{} {found}", step.desired);
        }
    }
}
