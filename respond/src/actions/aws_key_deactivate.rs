//! `aws.key.deactivate`: the access key of the evidence is inactive; AWS refuses what is signed by it.

use super::cloud::{Setting, credential};
use super::{Action, Case, EVICT, NotApplicable, Steps};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use serde_json::{Value, json};

const KEY: Setting = Setting {
    provider: "aws",
    look: "iam:ListAccessKeys",
    set: "iam:UpdateAccessKey",
    undo: "iam:UpdateAccessKey",
};

pub struct AwsKeyDeactivate;

impl Action for AwsKeyDeactivate {
    fn name(&self) -> &'static str {
        "aws.key.deactivate"
    }

    fn reach(&self) -> Reach {
        Reach::Principal
    }

    fn tactic(&self) -> u8 {
        EVICT
    }

    /// IAM takes some seconds to reach every region, and says "a few minutes".
    fn horizon_ms(&self) -> Option<i64> {
        Some(60_000)
    }

    /// Only long-lived keys of users, `AKIA...`: a session's key cannot be deactivated.
    fn targets(&self, finding: &Finding, _: &Config) -> Vec<String> {
        let user = Some(finding.principal()).filter(|p| p.starts_with("aws:user:"));
        let key = user.and_then(|user| Some(format!("{user}#{}", credential(finding, &["AKIA"])?)));
        key.into_iter().collect()
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        KEY.needs(target)
    }

    fn calls(&self) -> Vec<(String, String)> {
        KEY.calls()
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        KEY.steps(case, json!({ "status": "Inactive" }), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.is_met_by(found)
    }
}
