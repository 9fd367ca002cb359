//! Blinding: whoever stops the logs, or the tools that read them, is about to do something else.

use super::{Table, find, words};
use crate::attack::{DISABLE_FIREWALL, DISABLE_LOGS, DISABLE_TOOLS, Technique};
use crate::config::Config;
use crate::detector::{Detector, Method, analytic};
use crate::evidence::{Draft, Evidence, Severity};
use crate::past::Past;
use crate::sighting::Sighting;
use crate::window::{Mark, Window};
use prunella_schemas::Timestamp;
use prunella_schemas::finding::Analytic;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditLog {
    /// Tampering within this time before counts as one story.
    pub span_ms: i64,
    /// A principal that made the same call this often before makes it for a living.
    pub habit_calls_min: u32,
}

impl Default for AuditLog {
    fn default() -> Self {
        AuditLog { span_ms: 3_600_000, habit_calls_min: 5 }
    }
}

const MARKS_MAX: usize = 64;

/// When a call is tampering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// It may widen as well as narrow what is logged: the request decides how severe it is.
    Narrowing,
    /// What it is done to is named after logs or trails.
    LogNamed,
    /// The request turns something off.
    TurnedOff,
    /// It is tampering, but it happens in ordinary operation too.
    Mild,
}

use When::{Always, LogNamed, Mild, Narrowing, TurnedOff};

#[rustfmt::skip]
pub(crate) const CALLS: Table<(Technique, When)> = &[
    ("CreateFilter", "guardduty", (DISABLE_TOOLS, Mild)),
    ("CreateIPSet", "guardduty", (DISABLE_TOOLS, Mild)),
    ("DeleteAnalyzer", "access-analyzer", (DISABLE_TOOLS, Always)),
    ("DeleteBucket", "s3", (DISABLE_LOGS, LogNamed)),
    ("DeleteConfigRule", "config", (DISABLE_TOOLS, Mild)),
    ("DeleteConfigurationRecorder", "config", (DISABLE_LOGS, Always)),
    ("DeleteDeliveryChannel", "config", (DISABLE_LOGS, Always)),
    ("DeleteDetector", "guardduty", (DISABLE_TOOLS, Always)),
    ("DeleteEventDataStore", "cloudtrail", (DISABLE_LOGS, Always)),
    ("DeleteFlowLogs", "ec2", (DISABLE_LOGS, Always)),
    ("DeleteGraph", "detective", (DISABLE_TOOLS, Always)),
    ("DeleteLogGroup", "logs", (DISABLE_LOGS, LogNamed)),
    ("DeleteLogStream", "logs", (DISABLE_LOGS, LogNamed)),
    ("DeleteMembers", "guardduty", (DISABLE_TOOLS, Always)),
    ("DeleteMembers", "securityhub", (DISABLE_TOOLS, Always)),
    ("DeleteModelInvocationLoggingConfiguration", "bedrock", (DISABLE_LOGS, Always)),
    ("DeletePublishingDestination", "guardduty", (DISABLE_TOOLS, Always)),
    ("DeleteResolverQueryLogConfig", "route53resolver", (DISABLE_LOGS, Always)),
    ("DeleteRuleGroup", "wafv2", (DISABLE_FIREWALL, Mild)),
    ("DeleteSubscriptionFilter", "logs", (DISABLE_LOGS, LogNamed)),
    ("DeleteTrail", "cloudtrail", (DISABLE_LOGS, Always)),
    ("DeleteWebACL", "wafv2", (DISABLE_FIREWALL, Mild)),
    ("DisableMacie", "macie2", (DISABLE_TOOLS, Always)),
    ("DisableSecurityHub", "securityhub", (DISABLE_TOOLS, Always)),
    ("DisassociateFromAdministratorAccount", "guardduty", (DISABLE_TOOLS, Always)),
    ("DisassociateFromMasterAccount", "guardduty", (DISABLE_TOOLS, Always)),
    ("DisassociateMembers", "guardduty", (DISABLE_TOOLS, Always)),
    ("DisassociateResolverQueryLogConfig", "route53resolver", (DISABLE_LOGS, Always)),
    ("LeaveOrganization", "organizations", (DISABLE_TOOLS, Always)),
    ("ModifyActivityStream", "rds", (DISABLE_LOGS, Mild)),
    ("PutBucketLifecycle", "s3", (DISABLE_LOGS, LogNamed)),
    ("PutBucketLifecycleConfiguration", "s3", (DISABLE_LOGS, LogNamed)),
    ("PutEventSelectors", "cloudtrail", (DISABLE_LOGS, Narrowing)),
    ("PutRetentionPolicy", "logs", (DISABLE_LOGS, LogNamed)),
    ("StopActivityStream", "rds", (DISABLE_LOGS, Always)),
    ("StopConfigurationRecorder", "config", (DISABLE_LOGS, Always)),
    ("StopEventDataStoreIngestion", "cloudtrail", (DISABLE_LOGS, Always)),
    ("StopLogging", "cloudtrail", (DISABLE_LOGS, Always)),
    ("StopMonitoringMembers", "guardduty", (DISABLE_TOOLS, Always)),
    ("UpdateDetector", "guardduty", (DISABLE_TOOLS, TurnedOff)),
    ("UpdateIPSet", "guardduty", (DISABLE_TOOLS, Mild)),
    ("UpdateTrail", "cloudtrail", (DISABLE_LOGS, Narrowing)),
];

impl Detector for AuditLog {
    fn id(&self) -> &'static str {
        "audit_log_tampering"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "Audit-log tampering", "1.0.0", Method::Rule)
    }

    fn observe(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        window: &mut Window,
        config: &Config,
        out: &mut Evidence,
    ) {
        let Some((technique, when)) = find(CALLS, seen).copied() else { return };
        if seen.is_provider() {
            return;
        }
        let Some((severity, reason)) = grade(seen, when) else { return };
        let attempt = seen.event.failed();
        if attempt && !seen.denied() {
            return;
        }
        let mark = Mark::of(seen, 0, seen.operation_key);
        window.admit(mark.clone(), self.span_ms, MARKS_MAX);
        let habit = past.calls(seen.operation_key, seen.time) >= self.habit_calls_min
            && !seen.network.is_some_and(|n| past.is_new_network(n, seen.time, config));
        let severity = match (attempt, habit) {
            (true, _) => severity.min(Severity::Medium),
            (false, true) => severity.dampened(),
            (false, false) => severity,
        };
        let marks = story(window, seen.time, self.span_ms, mark);
        out.found(draft(seen, technique, severity, attempt, habit, reason, marks));
    }
}

fn draft(
    seen: &Sighting<'_>,
    technique: Technique,
    severity: Severity,
    attempt: bool,
    habit: bool,
    reason: String,
    marks: Vec<Mark>,
) -> Draft {
    let verb = if attempt { "tried to call" } else { "called" };
    let mut reasons = vec![reason];
    if let Some(target) = seen.target() {
        reasons.push(format!("it was done to {target}"));
    }
    if marks.len() > 1 {
        reasons.push(format!("{} such calls within {}", marks.len(), words::between(&marks)));
    }
    if attempt {
        reasons.push("the call was denied".to_owned());
    }
    if habit {
        reasons.push("this principal makes this call regularly, which makes it less severe".to_owned());
    }
    Draft {
        severity,
        confidence: match (attempt, habit) {
            (true, _) => 50,
            (_, true) => 60,
            _ => 90,
        },
        title: if attempt {
            "Attempt to tamper with logging or protection"
        } else {
            "Logging or protection tampered with"
        }
        .to_owned(),
        message: format!("{} {verb} {} on {} from {}", seen.who(), seen.operation, seen.service, seen.from()),
        reasons,
        counterfactual: "A change that leaves what is logged and watched as it was".to_owned(),
        attacks: vec![technique],
        marks,
        habitual: habit,
    }
}

/// The earlier tampering that belongs to this one, and itself, even if it came too late for the window.
fn story(window: &Window, time: Timestamp, span_ms: i64, mark: Mark) -> Vec<Mark> {
    let mut marks = window.between(time.plus_ms(-span_ms), time).to_vec();
    if !marks.iter().any(|known| known.uid == mark.uid) {
        marks.push(mark);
    }
    marks
}

fn grade(seen: &Sighting<'_>, when: When) -> Option<(Severity, String)> {
    let operation = seen.operation;
    match when {
        Always => Some((Severity::High, format!("{operation} ends what was logged or watched"))),
        Mild => Some((Severity::Low, format!("{operation} can hide what would have been seen"))),
        LogNamed => names_a_log(seen)
            .then(|| (Severity::High, format!("{operation} destroys records of what happened"))),
        TurnedOff => {
            let off = seen.text().is_none() || seen.mentions_any(&["\"enable\":false", "DISABLED"]);
            off.then(|| (Severity::High, format!("{operation} turns protection off")))
        }
        Narrowing => {
            const LESS: [&str; 6] = [
                "\"includeManagementEvents\":false",
                "\"isMultiRegionTrail\":false",
                "\"includeGlobalServiceEvents\":false",
                "\"enableLogFileValidation\":false",
                "\"readWriteType\":\"ReadOnly\"",
                "\"readWriteType\":\"WriteOnly\"",
            ];
            if seen.mentions_any(&LESS) {
                Some((Severity::High, format!("{operation} narrows what is logged")))
            } else {
                Some((Severity::Medium, format!("{operation} changes what is logged")))
            }
        }
    }
}

fn names_a_log(seen: &Sighting<'_>) -> bool {
    let event = seen.event;
    let resources = event.resources.iter().flat_map(|r| [r.uid.as_deref(), r.name.as_deref()]).flatten();
    let bucket = event.databucket.iter().filter_map(|b| b.name.as_deref());
    let words = [
        "cloudtrail",
        "trail",
        "audit",
        "flow-log",
        "flowlog",
        "vpcflow",
        "guardduty",
        "access-log",
        "aws-logs",
    ];
    resources.chain(bucket).any(|name| {
        // The ARN's own words (`:log-group:`) say nothing.
        let name = name.rsplit(":::").next().unwrap_or(name).to_ascii_lowercase();
        words.iter().any(|word| name.contains(word))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn table_is_sorted() {
        super::super::assert_sorted(super::CALLS);
    }
}
