//! `notify.webhook`: tells an endpoint about the finding, once per incident, and what a person is asked for.

use super::text::{LIST_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, TEXT_BYTES_MAX, cut};
use super::{Action, Case, DETECT, NotApplicable, Occasion, Steps, TARGETS_MAX};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Plan, Reach, Read, Step, TargetState};
use serde_json::{Value, json};

pub struct NotifyWebhook;

impl Action for NotifyWebhook {
    fn name(&self) -> &'static str {
        "notify.webhook"
    }

    fn reach(&self) -> Reach {
        Reach::Notify
    }

    fn occasions(&self) -> &'static [Occasion] {
        &[Occasion::Found, Occasion::Asked]
    }

    fn tactic(&self) -> u8 {
        DETECT
    }

    fn horizon_ms(&self) -> Option<i64> {
        None
    }

    fn targets(&self, _: &Finding, config: &Config) -> Vec<String> {
        config.receivers.webhook.iter().take(TARGETS_MAX).cloned().collect()
    }

    fn needs(&self, _: &str) -> Vec<Read> {
        Vec::new()
    }

    fn calls(&self) -> Vec<(String, String)> {
        vec![("webhook".to_owned(), "alert.created".to_owned())]
    }

    fn plan(&self, case: &Case<'_>, _: &[TargetState]) -> Result<Steps, NotApplicable> {
        let (operation, desired) = match case.about {
            Some((_, plan)) => ("approval.requested", request(case, plan)),
            None => ("alert.created", payload(case)),
        };
        let bytes = desired.to_string().len();
        if bytes >= PAYLOAD_BYTES_MAX {
            return Err(NotApplicable(format!(
                "the payload would have {bytes} bytes; {PAYLOAD_BYTES_MAX} are too many"
            )));
        }
        let step = Step {
            provider: "webhook".to_owned(),
            operation: operation.to_owned(),
            target: case.target.to_owned(),
            desired,
            prior: None,
        };
        Ok(Steps { steps: vec![step], undo: Vec::new() })
    }
}

/// What a person must know to decide. The deliverer adds a link, which the ledger must not hold.
fn request(case: &Case<'_>, plan: &Plan) -> Value {
    let steps: Vec<Value> = plan
        .steps
        .iter()
        .take(LIST_MAX)
        .map(|s| json!({"provider": s.provider, "operation": s.operation, "target": cut(&s.target, TEXT_BYTES_MAX)}))
        .collect();
    json!({
        "type": "approval.requested",
        "timestamp": case.now.to_string(),
        "data": {
            "plan_uid": plan.uid,
            "digest": plan.digest,
            "action": plan.action,
            "playbook": cut(&plan.playbook, NAME_BYTES_MAX),
            "tenant": plan.tenant,
            "principal": cut(&plan.principal, TEXT_BYTES_MAX),
            "reason": cut(&plan.reason, TEXT_BYTES_MAX),
            "steps": steps,
        },
    })
}

fn payload(case: &Case<'_>) -> Value {
    let finding = case.finding;
    let info = &finding.finding_info;
    let techniques: Vec<&str> = info
        .attacks
        .iter()
        .take(LIST_MAX)
        .map(|a| cut(a.sub_technique.as_ref().map_or(&a.technique.uid, |s| &s.uid), NAME_BYTES_MAX))
        .collect();
    let reasons: Vec<&str> =
        finding.prunella.reasons.iter().take(LIST_MAX).map(|r| cut(r, TEXT_BYTES_MAX)).collect();
    let evidence: Vec<&str> =
        info.related_events.iter().take(LIST_MAX).map(|e| cut(&e.uid, NAME_BYTES_MAX)).collect();
    json!({
        "type": "alert.created",
        "timestamp": case.now.to_string(),
        "data": {
            "finding_uid": finding.prunella.finding_uid,
            "incident": case.incident,
            "plan_uid": case.plan_uid,
            "tenant": cut(finding.tenant(), NAME_BYTES_MAX),
            "principal": cut(finding.principal(), TEXT_BYTES_MAX),
            "title": cut(&info.title, TEXT_BYTES_MAX),
            "message": cut(&finding.message, TEXT_BYTES_MAX),
            "severity": finding.severity,
            "severity_id": finding.severity_id,
            "confidence_score": finding.confidence_score,
            "risk_level": finding.risk_level,
            "risk_score": finding.risk_score,
            "analytic": cut(&info.analytic.uid, NAME_BYTES_MAX),
            "techniques": techniques,
            "reasons": reasons,
            "events": evidence,
            "event_count": finding.prunella.event_count,
            "time": finding.time,
            "suppressed": case.suppressed,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_schemas::finding::{Attack, RelatedEvent};
    use prunella_schemas::{Id, Timestamp};

    #[test]
    fn the_longest_finding_still_fits() {
        // A control character takes six bytes in JSON: the worst an attacker can write.
        let long = "\u{1}".repeat(100_000);
        let mut finding = Finding::new(5);
        finding.message = long.clone();
        finding.finding_info.title = long.clone();
        finding.finding_info.analytic.uid = long.clone().into();
        finding.prunella.principal = long.clone();
        finding.prunella.reasons = vec![long.clone(); 64];
        finding.finding_info.related_events =
            vec![RelatedEvent { uid: long.clone(), ..RelatedEvent::default() }; 32];
        let mut attack = Attack::default();
        attack.technique.uid = long.into();
        finding.finding_info.attacks = vec![attack; 64];
        let id = Id::default();
        let case = Case {
            finding: &finding,
            target: "x",
            plan_uid: id,
            incident: id,
            now: Timestamp(1),
            restriction_ms: 1,
            suppressed: 0,
            about: None,
        };
        match NotifyWebhook.plan(&case, &[]) {
            Ok(steps) => assert!(steps.steps[0].desired.to_string().len() < PAYLOAD_BYTES_MAX),
            Err(NotApplicable(why)) => panic!("{why}"),
        }
    }
}
