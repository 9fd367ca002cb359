//! A setting of a cloud as a step and its way back: what was found is kept in the plan, and what a person or somebody else has
//! set already is left to them.

use super::{Case, NotApplicable, Steps, state_of};
use prunella_schemas::Finding;
use prunella_schemas::plan::{Read, Step, TargetState};
use serde_json::Value;

/// The calls that look at a setting, make it so, and take it back, in the provider's own words.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub provider: &'static str,
    pub look: &'static str,
    pub set: &'static str,
    pub undo: &'static str,
}

impl Setting {
    pub fn needs(&self, target: &str) -> Vec<Read> {
        let (provider, operation) = (self.provider.to_owned(), self.look.to_owned());
        vec![Read { provider, operation, target: target.to_owned() }]
    }

    /// All of them, to be asked for at start-up.
    pub fn calls(&self) -> Vec<(String, String)> {
        let mut operations = vec![self.look, self.set, self.undo];
        operations.dedup();
        operations.into_iter().map(|operation| (self.provider.to_owned(), operation.to_owned())).collect()
    }

    /// The step that makes `desired` hold, and the one that restores what was found of it. A state that is not known can only be
    /// shown: the effector does not touch what it cannot compare.
    pub fn steps(
        &self,
        case: &Case<'_>,
        desired: Value,
        states: &[TargetState],
    ) -> Result<Steps, NotApplicable> {
        let step = |operation: &str, desired: Value, prior: Option<Value>| Step {
            provider: self.provider.to_owned(),
            operation: operation.to_owned(),
            target: case.target.to_owned(),
            desired,
            prior,
        };
        let found = state_of(states, self.provider, case.target);
        let wanted = step(self.set, desired, found.cloned());
        let not = |why: String| Err(NotApplicable(why));
        match found {
            Some(Value::Null) => return not(format!("{} is not there", case.target)),
            Some(found) if found.get("is_ours").is_some_and(|ours| ours == true) => {
                return not(format!("{} is what we act as ourselves", case.target));
            }
            Some(found) if wanted.is_met_by(found) => {
                return not(format!("{} is so already; it is somebody else's", case.target));
            }
            _ => {}
        }
        let before = found.map(|found| wanted.spoken_of(found));
        let undo = before.map(|before| step(self.undo, before, None)).into_iter().collect();
        Ok(Steps { steps: vec![wanted], undo })
    }
}

/// The credential of the evidence whose id starts with one of `kinds`.
pub fn credential<'a>(finding: &'a Finding, kinds: &[&str]) -> Option<&'a str> {
    let of = |evidence: &'a prunella_schemas::finding::Evidence| {
        evidence.actor.as_ref()?.user.as_ref()?.credential_uid.as_deref()
    };
    let is_one = |id: &&str| {
        kinds.iter().any(|kind| id.starts_with(kind)) && id.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    finding.evidences.iter().filter_map(of).find(is_one)
}
