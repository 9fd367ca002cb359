//! `storage.harden_tier`: the gate keys of a vault user's files are made anew and split over more stores. Nobody is refused.

use super::{Action, Case, HARDEN, NotApplicable, Steps, of_vault, state_of};
use crate::Config;
use prunella_schemas::Finding;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use serde_json::json;

const PROVIDER: &str = "vault";
/// The server has no part of the user's, so a file that is harder already waits for its user.
const HORIZON_MS: i64 = 30_000;

pub struct StorageHardenTier;

impl Action for StorageHardenTier {
    fn name(&self) -> &'static str {
        "storage.harden_tier"
    }

    fn reach(&self) -> Reach {
        Reach::Principal
    }

    fn tactic(&self) -> u8 {
        HARDEN
    }

    fn horizon_ms(&self) -> Option<i64> {
        Some(HORIZON_MS)
    }

    fn targets(&self, finding: &Finding, _: &Config) -> Vec<String> {
        of_vault(finding)
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        let operation = self.name().to_owned();
        vec![Read { provider: PROVIDER.to_owned(), operation, target: target.to_owned() }]
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        let (desired, found) = (json!({ "tier": "HIGH" }), state_of(states, PROVIDER, case.target));
        if found == Some(&desired) {
            return Err(NotApplicable("all files are that hard already".to_owned()));
        }
        let step = Step {
            provider: PROVIDER.to_owned(),
            operation: self.name().to_owned(),
            target: case.target.to_owned(),
            desired,
            prior: found.cloned(),
        };
        // A tier is lowered by its owner, after a day in it, and by nobody else.
        Ok(Steps { steps: vec![step], undo: Vec::new() })
    }

    /// Where there is no vault, there is nothing of a vault to act on.
    fn calls(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}
