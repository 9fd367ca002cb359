//! How often each score was met, by event class: what a calibrator is made from, and all that is kept of it.

use super::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Steps between score 0 and 1. Scores in one step count as equal, which keeps p valid.
pub const STEPS: usize = 8_192;
/// Event classes with a table of their own; OCSF has about 70, and a tenant meets few.
pub const CLASSES_MAX: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Tally {
    pooled: Counts,
    classes: BTreeMap<u32, Counts>,
}

/// Scores met per step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    pub total: u64,
    pub steps: Vec<u32>,
}

/// The steps that were met at all.
#[derive(Serialize, Deserialize)]
struct Stored {
    pooled: Vec<(u16, u32)>,
    classes: Vec<(u32, Vec<(u16, u32)>)>,
}

/// The step of a score; anything that is not a number is the least unusual, since nothing can be said of it.
pub fn step_of(score: f32) -> usize {
    ((score * STEPS as f32) as usize).min(STEPS - 1)
}

impl Tally {
    pub fn add(&mut self, class_uid: u32, score: f32) {
        let step = step_of(score);
        self.pooled.add(step, 1);
        if self.classes.contains_key(&class_uid) || self.classes.len() < CLASSES_MAX {
            self.classes.entry(class_uid).or_default().add(step, 1);
        }
    }

    /// Scores counted.
    pub fn total(&self) -> u64 {
        self.pooled.total
    }

    pub fn pooled(&self) -> &Counts {
        &self.pooled
    }

    pub fn classes(&self) -> impl Iterator<Item = (u32, &Counts)> {
        self.classes.iter().map(|(class_uid, counts)| (*class_uid, counts))
    }
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { total: 0, steps: vec![0; STEPS] }
    }
}

impl Counts {
    pub fn add(&mut self, step: usize, more: u32) {
        if let Some(count) = self.steps.get_mut(step) {
            *count = count.saturating_add(more);
            self.total += u64::from(more);
        }
    }

    fn stored(&self) -> Vec<(u16, u32)> {
        let met = self.steps.iter().enumerate().filter(|(_, count)| **count > 0);
        met.map(|(step, count)| (step as u16, *count)).collect()
    }

    fn read(stored: &[(u16, u32)]) -> Result<Counts, Error> {
        let rising = stored.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let within = stored.iter().all(|(step, count)| usize::from(*step) < STEPS && *count > 0);
        if !rising || !within {
            return Err(Error::Broken("its scores"));
        }
        let mut counts = Counts::default();
        stored.iter().for_each(|(step, count)| counts.add(usize::from(*step), *count));
        Ok(counts)
    }
}

impl From<Tally> for Stored {
    fn from(tally: Tally) -> Stored {
        let classes = tally.classes.iter().map(|(class_uid, counts)| (*class_uid, counts.stored())).collect();
        Stored { pooled: tally.pooled.stored(), classes }
    }
}

impl TryFrom<Stored> for Tally {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Tally, Error> {
        if stored.classes.len() > CLASSES_MAX {
            return Err(Error::Broken("its number of classes"));
        }
        let mut classes = BTreeMap::new();
        for (class_uid, counts) in &stored.classes {
            classes.insert(*class_uid, Counts::read(counts)?);
        }
        Ok(Tally { pooled: Counts::read(&stored.pooled)?, classes })
    }
}
