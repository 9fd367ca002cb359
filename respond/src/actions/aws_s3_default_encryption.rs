//! `aws.s3.default_encryption`: what is written to the bucket from now on is encrypted with a key of KMS, whose every use is on record.

use super::aws::buckets;
use super::cloud::Setting;
use super::{Action, Case, HARDEN, NotApplicable, Steps};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use serde_json::{Value, json};

const ENCRYPTION: Setting = Setting {
    provider: "aws",
    look: "s3:GetEncryptionConfiguration",
    set: "s3:PutEncryptionConfiguration",
    undo: "s3:PutEncryptionConfiguration",
};

pub struct AwsS3DefaultEncryption;

impl Action for AwsS3DefaultEncryption {
    fn name(&self) -> &'static str {
        "aws.s3.default_encryption"
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
        buckets(finding)
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        ENCRYPTION.needs(target)
    }

    fn calls(&self) -> Vec<(String, String)> {
        ENCRYPTION.calls()
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        let encryption = json!({ "algorithm": "aws:kms", "key": null, "bucket_key": true });
        ENCRYPTION.steps(case, json!({ "encryption": encryption }), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.is_met_by(found)
    }
}
