//! `gcp.key.disable`: the service account's key of the evidence is disabled; Google gives no new tokens for it.

use super::cloud::Setting;
use super::gcp::key;
use super::{Action, Case, EVICT, NotApplicable, Steps};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use serde_json::{Value, json};

const KEY: Setting = Setting {
    provider: "gcp",
    look: "iam.serviceAccountKeys.get",
    set: "iam.serviceAccountKeys.disable",
    undo: "iam.serviceAccountKeys.enable",
};

pub struct GcpKeyDisable;

impl Action for GcpKeyDisable {
    fn name(&self) -> &'static str {
        "gcp.key.disable"
    }

    fn reach(&self) -> Reach {
        Reach::Principal
    }

    fn tactic(&self) -> u8 {
        EVICT
    }

    fn horizon_ms(&self) -> Option<i64> {
        Some(600_000)
    }

    fn targets(&self, finding: &Finding, _: &Config) -> Vec<String> {
        key(finding).into_iter().collect()
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        KEY.needs(target)
    }

    fn calls(&self) -> Vec<(String, String)> {
        KEY.calls()
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        KEY.steps(case, json!({ "disabled": true }), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.is_met_by(found)
    }
}
