//! `tokens.revoke`: every token of the principal issued before a fixed instant is invalid.

use super::{Action, Case, EVICT, NotApplicable, Steps, keeper, state_of};
use crate::Config;
use prunella_schemas::plan::{Reach, Read, Step, TargetState};
use prunella_schemas::{Finding, Timestamp};
use serde_json::{Value, json};

const PROVIDER: &str = "prunella";
const OPERATION: &str = "tokens.set_not_before";

pub struct TokensRevoke;

impl Action for TokensRevoke {
    fn name(&self) -> &'static str {
        "tokens.revoke"
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
        vec![finding.principal().to_owned()]
    }

    fn needs(&self, target: &str) -> Vec<Read> {
        vec![Read {
            provider: keeper(target, PROVIDER).to_owned(),
            operation: OPERATION.to_owned(),
            target: target.to_owned(),
        }]
    }

    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        let provider = keeper(case.target, PROVIDER);
        let step = Step {
            provider: provider.to_owned(),
            operation: OPERATION.to_owned(),
            target: case.target.to_owned(),
            desired: json!({ "not_before": case.now.millis() }),
            prior: state_of(states, provider, case.target).cloned(),
        };
        // Nothing to take back: whoever is the rightful user signs in again and gets a newer token.
        Ok(Steps { steps: vec![step], undo: Vec::new() })
    }

    /// A later instant stands as well: it never moves backwards.
    fn stands(&self, step: &Step, found: &Value) -> bool {
        let not_before = |value: &Value| value.get("not_before").and_then(Value::as_i64);
        match (not_before(&step.desired), not_before(found)) {
            (Some(desired), Some(found)) => found >= desired,
            _ => false,
        }
    }

    fn renew(&self, steps: &mut [Step], evidence: Timestamp, _: Timestamp) {
        for step in steps {
            let planned = step.desired.get("not_before").and_then(Value::as_i64).unwrap_or_default();
            step.desired = json!({ "not_before": evidence.millis().max(planned) });
        }
    }

    fn returned(&self, finding: &Finding, done: Timestamp) -> bool {
        let sessions = finding.evidences.iter().filter_map(|e| e.actor.as_ref()?.session.as_ref());
        sessions.filter_map(|session| session.created_time).any(|created| created >= done)
    }
}
