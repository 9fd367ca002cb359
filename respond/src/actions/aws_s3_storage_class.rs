//! `aws.s3.storage_class`: the objects of the finding are archived: whoever wants to read one must restore it first, which takes time and is on record.

use super::aws::objects;
use super::cloud::Setting;
use super::{Action, Case, HARDEN, NotApplicable, Steps};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use serde_json::{Value, json};

const OBJECT: Setting =
    Setting { provider: "aws", look: "s3:GetObject", set: "s3:PutObject", undo: "s3:PutObject" };

pub struct AwsS3StorageClass;

impl Action for AwsS3StorageClass {
    fn name(&self) -> &'static str {
        "aws.s3.storage_class"
    }

    fn reach(&self) -> Reach {
        Reach::Tenant
    }

    fn tactic(&self) -> u8 {
        HARDEN
    }

    fn horizon_ms(&self) -> Option<i64> {
        Some(5_000)
    }

    fn targets(&self, finding: &Finding, _: &Config) -> Vec<String> {
        objects(finding)
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        OBJECT.needs(target)
    }

    fn calls(&self) -> Vec<(String, String)> {
        OBJECT.calls()
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        OBJECT.steps(case, json!({ "storage_class": "GLACIER" }), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.is_met_by(found)
    }
}
