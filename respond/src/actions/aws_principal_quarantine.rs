//! `aws.principal.quarantine`: the role or user may make no credentials, rights or machines, and destroy or hide nothing.

use super::aws::{policy_calls, policy_of, policy_target};
use super::{Action, Case, ISOLATE, NotApplicable, Steps};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use serde_json::{Value, json};

/// Like the managed policy `AWSCompromisedKeyQuarantineV3` in what it is for, and not the same list.
const POLICY: &str = "PrunellaQuarantine";
/// All inline policies of a user together may have 2,048 characters, so that families stand for their members.
const DENIED: &[&str] = &[
    "iam:Add*",
    "iam:Attach*",
    "iam:ChangePassword",
    "iam:Create*",
    "iam:Deactivate*",
    "iam:Delete*",
    "iam:Detach*",
    "iam:PassRole",
    "iam:Put*",
    "iam:Set*",
    "iam:Update*",
    "iam:Upload*",
    "sts:AssumeRole",
    "sts:GetFederationToken",
    "organizations:*",
    "account:*",
    "cloudtrail:Delete*",
    "cloudtrail:Put*",
    "cloudtrail:StopLogging",
    "cloudtrail:Update*",
    "config:Delete*",
    "config:Stop*",
    "guardduty:Delete*",
    "guardduty:Update*",
    "kms:Disable*",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "s3:Delete*",
    "s3:PutBucket*",
    "s3:PutLifecycleConfiguration",
    "ec2:RequestSpot*",
    "ec2:RunInstances",
    "lambda:*Function*",
    "bedrock:*",
];

pub struct AwsPrincipalQuarantine;

impl Action for AwsPrincipalQuarantine {
    fn name(&self) -> &'static str {
        "aws.principal.quarantine"
    }

    fn reach(&self) -> Reach {
        Reach::Principal
    }

    fn tactic(&self) -> u8 {
        ISOLATE
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
        let document = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Deny", "Action": DENIED, "Resource": ["*"] }],
        });
        policy_of(case.target).steps(case, json!({ "document": document }), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.is_met_by(found)
    }
}
