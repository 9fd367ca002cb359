//! `gcp.bucket.block_public_access`: nobody reaches the bucket without credentials, whatever its policy and lists say.

use super::cloud::Setting;
use super::gcp::buckets;
use super::{Action, Case, HARDEN, NotApplicable, Steps};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use serde_json::{Value, json};

const BUCKET: Setting = Setting {
    provider: "gcp",
    look: "storage.buckets.get",
    set: "storage.buckets.update",
    undo: "storage.buckets.update",
};

pub struct GcpBucketBlockPublicAccess;

impl Action for GcpBucketBlockPublicAccess {
    fn name(&self) -> &'static str {
        "gcp.bucket.block_public_access"
    }

    fn reach(&self) -> Reach {
        Reach::Tenant
    }

    fn tactic(&self) -> u8 {
        HARDEN
    }

    fn horizon_ms(&self) -> Option<i64> {
        Some(600_000)
    }

    fn targets(&self, finding: &Finding, _: &Config) -> Vec<String> {
        buckets(finding)
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        BUCKET.needs(target)
    }

    fn calls(&self) -> Vec<(String, String)> {
        BUCKET.calls()
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        BUCKET.steps(case, json!({ "public_access_prevention": "enforced" }), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.is_met_by(found)
    }
}
