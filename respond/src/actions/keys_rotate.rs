//! `keys.rotate`: no gate key of a vault user's files is older than now. It takes the value from parts that were stolen.

use super::{Action, Case, HARDEN, NotApplicable, Steps, of_vault, state_of};
use crate::Config;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use prunella_schemas::{Finding, Timestamp};
use serde_json::{Value, json};

const PROVIDER: &str = "vault";
/// Every file of the user is sealed anew.
const HORIZON_MS: i64 = 30_000;

pub struct KeysRotate;

impl Action for KeysRotate {
    fn name(&self) -> &'static str {
        "keys.rotate"
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
        let step = Step {
            provider: PROVIDER.to_owned(),
            operation: self.name().to_owned(),
            target: case.target.to_owned(),
            desired: json!({ "since": case.now.millis() }),
            prior: state_of(states, PROVIDER, case.target).cloned(),
        };
        // An old key is not wanted back.
        Ok(Steps { steps: vec![step], undo: Vec::new() })
    }

    /// Where there is no vault, there is nothing of a vault to act on.
    fn calls(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// A later instant stands as well: it never moves backwards.
    fn stands(&self, step: &Step, found: &Value) -> bool {
        let since = |value: &Value| value.get("since").and_then(Value::as_i64);
        since(&step.desired).zip(since(found)).is_some_and(|(desired, found)| found >= desired)
    }

    fn renew(&self, steps: &mut [Step], evidence: Timestamp, _: Timestamp) {
        for step in steps {
            let planned = step.desired.get("since").and_then(Value::as_i64).unwrap_or_default();
            step.desired = json!({ "since": evidence.millis().max(planned) });
        }
    }
}
