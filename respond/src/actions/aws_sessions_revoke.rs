//! `aws.sessions.revoke`: whatever the role's or user's sessions from before an instant ask for is denied; newer ones go on.

use super::aws::{policy_calls, policy_of, policy_target};
use super::{Action, Case, EVICT, NotApplicable, Steps};
use crate::Config;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use prunella_schemas::{Finding, Timestamp};
use serde_json::{Value, json};

/// Says what it does, as the console's `AWSRevokeOlderSessions`, under a name of our own.
const POLICY: &str = "PrunellaRevokeOlderSessions";
const BEFORE: &str = "/document/Statement/0/Condition/DateLessThan/aws:TokenIssueTime";

pub struct AwsSessionsRevoke;

impl Action for AwsSessionsRevoke {
    fn name(&self) -> &'static str {
        "aws.sessions.revoke"
    }

    fn reach(&self) -> Reach {
        Reach::Principal
    }

    fn tactic(&self) -> u8 {
        EVICT
    }

    fn horizon_ms(&self) -> Option<i64> {
        Some(60_000)
    }

    fn targets(&self, finding: &Finding, _: &Config) -> Vec<String> {
        policy_target(finding, POLICY)
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        policy_of(target).needs(target)
    }

    fn calls(&self) -> Vec<(String, String)> {
        policy_calls()
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        policy_of(case.target).steps(case, denied_before(case.now), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.is_met_by(found)
    }

    fn renew(&self, steps: &mut [Step], evidence: Timestamp, _: Timestamp) {
        for step in steps {
            let planned = step.desired.pointer(BEFORE).and_then(|at| Timestamp::parse(at.as_str()?));
            step.desired = denied_before(evidence.max(planned.unwrap_or_default()));
        }
    }
}

/// To the next whole second, which AWS counts in.
fn denied_before(instant: Timestamp) -> Value {
    let seconds = instant.millis().saturating_add(999).div_euclid(1_000);
    let instant = Timestamp(seconds.saturating_mul(1_000)).to_string().replace(".000Z", "Z");
    json!({ "document": {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Deny", "Action": ["*"], "Resource": ["*"],
            "Condition": { "DateLessThan": { "aws:TokenIssueTime": instant } },
        }],
    } })
}
