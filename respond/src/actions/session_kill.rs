//! `session.kill`: the one session that the finding is about is refused; the principal's other sessions go on.

use super::{Action, Case, EVICT, NotApplicable, Steps, setting};
use crate::Config;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use prunella_schemas::{Finding, Timestamp};
use serde_json::Value;

pub struct SessionKill;

impl Action for SessionKill {
    fn name(&self) -> &'static str {
        "session.kill"
    }

    fn reach(&self) -> Reach {
        Reach::Principal
    }

    fn tactic(&self) -> u8 {
        EVICT
    }

    fn horizon_ms(&self) -> Option<i64> {
        Some(5_000)
    }

    fn targets(&self, finding: &Finding, _: &Config) -> Vec<String> {
        let of = |evidence: &prunella_schemas::finding::Evidence| {
            let session = evidence.actor.as_ref()?.user.as_ref()?.credential_uid.clone()?;
            let plain = !session.is_empty() && session.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
            plain.then(|| format!("{}#{session}", finding.principal()))
        };
        finding.evidences.iter().filter_map(of).take(1).collect()
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
