//! One setting of an account as a step and its way back: a value with a version, so that nobody's change is overwritten.

use super::{Case, NotApplicable, Steps, keeper, state_of};
use prunella_schemas::Timestamp;
use prunella_schemas::plan::{Read, Step, TargetState};
use serde_json::{Value, json};

/// The provider word of the account states that applications ask for.
pub const PROVIDER: &str = "account";

pub fn needs(operation: &str, target: &str) -> Vec<Read> {
    let provider = keeper(target, PROVIDER).to_owned();
    vec![Read { provider, operation: operation.to_owned(), target: target.to_owned() }]
}

/// The step that sets the value, and the one that restores what was read before. A value that reaches as far already is left
/// to whoever set it.
pub fn steps(
    case: &Case<'_>,
    operation: &str,
    wanted: Timestamp,
    states: &[TargetState],
) -> Result<Steps, NotApplicable> {
    let provider = keeper(case.target, PROVIDER);
    let step = |value: i64, prior: Option<Value>| Step {
        provider: provider.to_owned(),
        operation: operation.to_owned(),
        target: case.target.to_owned(),
        desired: json!({ "value": value }),
        prior,
    };
    let found = state_of(states, provider, case.target).cloned();
    let before = found.as_ref().and_then(value_of);
    if before.is_some_and(|before| before >= wanted.millis()) {
        return Err(NotApplicable(format!("`{operation}` reaches as far already; it is somebody else's")));
    }
    let undo = before.map(|before| step(before, None)).into_iter().collect();
    Ok(Steps { steps: vec![step(wanted.millis(), found)], undo })
}

/// The value decides; the version says only who was first.
pub fn stands(step: &Step, found: &Value) -> bool {
    let wanted = value_of(&step.desired);
    wanted.is_some() && wanted == value_of(found)
}

pub fn renew(steps: &mut [Step], value: Timestamp) {
    for step in steps {
        let planned = value_of(&step.desired).unwrap_or_default();
        step.desired = json!({ "value": value.millis().max(planned) });
    }
}

fn value_of(value: &Value) -> Option<i64> {
    value.get("value")?.as_i64()
}
