//! A record made to mislead the reader: keys given twice, or the id of another event. A forged id must not hide a real one.

use crate::attack::{IMPAIR_DEFENSES, MASQUERADE};
use crate::config::Config;
use crate::detector::{Detector, Method, analytic};
use crate::evidence::{Draft, Evidence, Severity};
use crate::past::Past;
use crate::sighting::Sighting;
use crate::window::{Mark, Window};
use prunella_schemas::event::Flag;
use prunella_schemas::finding::Analytic;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostileRecord {}

impl Detector for HostileRecord {
    fn id(&self) -> &'static str {
        "hostile_record"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "Hostile record", "1.0.0", Method::Rule)
    }

    fn observe(&self, seen: &Sighting<'_>, _: &Past, _: &mut Window, _: &Config, out: &mut Evidence) {
        let flags = &seen.event.prunella.flags;
        if flags.is_empty() {
            return;
        }
        let mut reasons = Vec::new();
        if flags.contains(&Flag::IdCollision) {
            let id = seen.event.metadata.uid.as_deref().unwrap_or("the same");
            reasons.push(format!("another event, different in content, carries the same provider id ({id})"));
        }
        if flags.contains(&Flag::DuplicateKey) {
            reasons.push(
                "one object of the record has the same key twice, so that readers disagree on it".to_owned(),
            );
        }
        if reasons.is_empty() {
            return;
        }
        let operation = if seen.operation.is_empty() { "call" } else { seen.operation };
        out.found(Draft {
            severity: Severity::Medium,
            confidence: 60,
            title: "Record made to mislead its reader".to_owned(),
            message: format!("The record of a {operation} by {} was forged or damaged", seen.who()),
            reasons,
            counterfactual: "A record whose keys are unique and whose id no other event carries".to_owned(),
            attacks: vec![IMPAIR_DEFENSES, MASQUERADE],
            marks: vec![Mark::of(seen, 0, 0)],
            habitual: false,
        });
    }
}
