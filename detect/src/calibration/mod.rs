//! Calibration: from a raw score to the probability that an ordinary event is at least this unusual.
//!
//! A [`Tally`] counts scores by event class; a [`Calibrator`] made of it looks p-values up: counted ([`Conformal`])
//! as far as there are scores, and along a fitted tail ([`Spot`]) beyond. What p-value is a finding is decided
//! by the tenant's view, [`crate::correlate`].

mod conformal;
mod spot;
mod tally;

pub use conformal::Conformal;
pub use spot::{EXCESSES_MIN, Spot};
pub use tally::{CLASSES_MAX, Counts, STEPS, Tally};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A class with fewer scores is judged by the table of all classes: below this its tail would begin at p = .03 and be
/// fitted on [`EXCESSES_MIN`] scores.
pub const CLASS_SCORES_MIN: u64 = 1_024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the calibration is broken at {0}; train it again")]
    Broken(&'static str),
}

/// The p-values of one model. Saved as the tally it was made of, and made again on reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Tally", into = "Tally")]
pub struct Calibrator {
    tally: Tally,
    pooled: Conformal,
    classes: BTreeMap<u32, Conformal>,
}

impl Calibrator {
    /// Probability that an ordinary event of this class scores at least `score`: above 0, at most 1.
    pub fn p_value(&self, class_uid: u32, score: f32) -> f64 {
        self.of_class(class_uid).p_value(score)
    }

    /// The lowest score whose p-value is at most `p`; infinite when no score is that rare.
    pub fn threshold(&self, class_uid: u32, p: f64) -> f32 {
        self.of_class(class_uid).threshold(p)
    }

    /// The table that judges this class.
    pub fn of_class(&self, class_uid: u32) -> &Conformal {
        self.classes.get(&class_uid).unwrap_or(&self.pooled)
    }
}

impl From<Tally> for Calibrator {
    fn from(tally: Tally) -> Calibrator {
        let many = tally.classes().filter(|(_, counts)| counts.total >= CLASS_SCORES_MIN);
        let classes = many.map(|(class_uid, counts)| (class_uid, Conformal::of(counts))).collect();
        Calibrator { pooled: Conformal::of(tally.pooled()), classes, tally }
    }
}

impl From<Calibrator> for Tally {
    fn from(calibrator: Calibrator) -> Tally {
        calibrator.tally
    }
}
