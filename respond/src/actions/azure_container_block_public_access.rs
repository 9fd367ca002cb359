//! `azure.container.block_public_access`: nobody reads the container without a credential; its stored access policies stay.

use super::azure::containers;
use super::cloud::Setting;
use super::{Action, Case, HARDEN, NotApplicable, Steps};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use serde_json::{Value, json};

const CONTAINER: Setting =
    Setting { provider: "azure", look: "GetContainerACL", set: "SetContainerACL", undo: "SetContainerACL" };

pub struct AzureContainerBlockPublicAccess;

impl Action for AzureContainerBlockPublicAccess {
    fn name(&self) -> &'static str {
        "azure.container.block_public_access"
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
        containers(finding)
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        CONTAINER.needs(target)
    }

    fn calls(&self) -> Vec<(String, String)> {
        CONTAINER.calls()
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        CONTAINER.steps(case, json!({ "public_access": "none" }), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.is_met_by(found)
    }
}
