//! `trust.reset`: sessions must show a second factor again before they go on. Never a refusal of the rightful user.

use super::{Action, Case, HARDEN, NotApplicable, Steps, setting};
use crate::Config;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use prunella_schemas::{Finding, Timestamp};
use serde_json::Value;

pub struct TrustReset;

impl Action for TrustReset {
    fn name(&self) -> &'static str {
        "trust.reset"
    }

    fn reach(&self) -> Reach {
        Reach::Principal
    }

    fn tactic(&self) -> u8 {
        HARDEN
    }

    fn horizon_ms(&self) -> Option<i64> {
        Some(5_000)
    }

    fn targets(&self, finding: &Finding, _: &Config) -> Vec<String> {
        vec![finding.principal().to_owned()]
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        setting::needs(self.name(), target)
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        setting::steps(case, self.name(), case.now, states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        setting::stands(step, found)
    }

    fn renew(&self, steps: &mut [Step], evidence: Timestamp, _: Timestamp) {
        setting::renew(steps, evidence);
    }
}
