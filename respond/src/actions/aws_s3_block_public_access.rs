//! `aws.s3.block_public_access`: nobody reaches the bucket without credentials, whatever its policy and lists say.

use super::aws::buckets;
use super::cloud::Setting;
use super::{Action, Case, HARDEN, NotApplicable, Steps};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use serde_json::{Value, json};

const BLOCK: Setting = Setting {
    provider: "aws",
    look: "s3:GetBucketPublicAccessBlock",
    set: "s3:PutBucketPublicAccessBlock",
    undo: "s3:PutBucketPublicAccessBlock",
};

pub struct AwsS3BlockPublicAccess;

impl Action for AwsS3BlockPublicAccess {
    fn name(&self) -> &'static str {
        "aws.s3.block_public_access"
    }

    fn reach(&self) -> Reach {
        Reach::Tenant
    }

    fn tactic(&self) -> u8 {
        HARDEN
    }

    fn horizon_ms(&self) -> Option<i64> {
        Some(30_000)
    }

    fn targets(&self, finding: &Finding, _: &Config) -> Vec<String> {
        buckets(finding)
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        BLOCK.needs(target)
    }

    fn calls(&self) -> Vec<(String, String)> {
        BLOCK.calls()
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        let block = json!({
            "block_public_acls": true, "ignore_public_acls": true,
            "block_public_policy": true, "restrict_public_buckets": true,
        });
        BLOCK.steps(case, json!({ "public_access_block": block }), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.is_met_by(found)
    }
}
