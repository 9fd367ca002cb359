//! `notify.pagerduty`: triggers an alert by the Events API v2, and resolves it when the containment was seen to hold.

use super::text::{LIST_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX, cut};
use super::{Action, Case, DETECT, NotApplicable, Occasion, Steps, TARGETS_MAX, TokensRevoke};
use crate::Config;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use prunella_schemas::{Finding, Timestamp};
use serde_json::{Value, json};

pub struct NotifyPagerDuty;

impl Action for NotifyPagerDuty {
    fn name(&self) -> &'static str {
        "notify.pagerduty"
    }

    fn reach(&self) -> Reach {
        Reach::Notify
    }

    fn occasions(&self) -> &'static [Occasion] {
        &[Occasion::Found, Occasion::Held]
    }

    fn tactic(&self) -> u8 {
        DETECT
    }

    fn horizon_ms(&self) -> Option<i64> {
        None
    }

    fn targets(&self, _: &Finding, config: &Config) -> Vec<String> {
        config.receivers.pagerduty.iter().take(TARGETS_MAX).cloned().collect()
    }

    fn needs(&self, _: &str) -> Vec<Read> {
        Vec::new()
    }

    fn calls(&self) -> Vec<(String, String)> {
        ["event.trigger", "event.resolve"].map(|o| ("pagerduty".to_owned(), o.to_owned())).to_vec()
    }

    fn plan(&self, case: &Case<'_>, _: &[TargetState]) -> Result<Steps, NotApplicable> {
        // One alert for an incident: PagerDuty folds what has the same key, and resolves by it.
        let mut desired =
            json!({"event_action": "trigger", "dedup_key": format!("prunella-{}", case.incident)});
        let operation = match case.about {
            Some(_) => {
                desired["event_action"] = "resolve".into();
                "event.resolve"
            }
            None => {
                desired["client"] = "Prunella".into();
                desired["payload"] = payload(case);
                "event.trigger"
            }
        };
        let step = Step {
            provider: "pagerduty".to_owned(),
            operation: operation.to_owned(),
            target: case.target.to_owned(),
            desired,
            prior: None,
        };
        Ok(Steps { steps: vec![step], undo: Vec::new() })
    }

    /// An attacker who is back with a newer session opens the alert again.
    fn returned(&self, finding: &Finding, done: Timestamp) -> bool {
        TokensRevoke.returned(finding, done)
    }
}

fn payload(case: &Case<'_>) -> Value {
    let finding = case.finding;
    let info = &finding.finding_info;
    let reasons: Vec<&str> =
        finding.prunella.reasons.iter().take(LIST_MAX).map(|r| cut(r, TEXT_BYTES_MAX)).collect();
    json!({
        "summary": cut(&finding.message, TEXT_BYTES_MAX),
        "source": cut(finding.principal(), TEXT_BYTES_MAX),
        "severity": severity(finding.severity_id),
        "timestamp": case.now.to_string(),
        "component": cut(finding.tenant(), NAME_BYTES_MAX),
        "class": cut(&info.analytic.uid, NAME_BYTES_MAX),
        "custom_details": {
            "finding_uid": finding.prunella.finding_uid,
            "title": cut(&info.title, TEXT_BYTES_MAX),
            "risk_score": finding.risk_score,
            "reasons": reasons,
            "suppressed": case.suppressed,
        },
    })
}

/// The four words that PagerDuty knows, of OCSF `severity_id`.
fn severity(id: u8) -> &'static str {
    match id {
        5.. => "critical",
        4 => "error",
        3 => "warning",
        _ => "info",
    }
}
