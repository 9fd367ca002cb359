//! `account.lock`: every call of the principal is refused until an instant, at which the lock ends even if nobody is there to end it.

use super::{Action, Case, ISOLATE, NotApplicable, Steps, setting};
use crate::Config;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use prunella_schemas::{Finding, Timestamp};
use serde_json::Value;

pub struct AccountLock;

impl Action for AccountLock {
    fn name(&self) -> &'static str {
        "account.lock"
    }

    fn reach(&self) -> Reach {
        Reach::Principal
    }

    fn tactic(&self) -> u8 {
        ISOLATE
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
        setting::steps(case, self.name(), case.now.plus_ms(case.restriction_ms), states)
    }

    fn stands(&self, step: &Step, found: &Value) -> bool {
        setting::stands(step, found)
    }

    fn renew(&self, steps: &mut [Step], _: Timestamp, until: Timestamp) {
        setting::renew(steps, until);
    }
}
