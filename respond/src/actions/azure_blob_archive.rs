//! `azure.blob.archive`: the blobs of the finding are archived: whoever wants to read one must rehydrate it first, which takes hours and is on record.

use super::azure::blobs;
use super::cloud::Setting;
use super::{Action, Case, HARDEN, NotApplicable, Steps};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use serde_json::{Value, json};

const BLOB: Setting =
    Setting { provider: "azure", look: "GetBlobProperties", set: "SetBlobTier", undo: "SetBlobTier" };

pub struct AzureBlobArchive;

impl Action for AzureBlobArchive {
    fn name(&self) -> &'static str {
        "azure.blob.archive"
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
        blobs(finding)
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        BLOB.needs(target)
    }

    fn calls(&self) -> Vec<(String, String)> {
        BLOB.calls()
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        BLOB.steps(case, json!({ "tier": "Archive" }), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.is_met_by(found)
    }
}
