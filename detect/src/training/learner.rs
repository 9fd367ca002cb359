//! The learner of one kind of actor: what it keeps of the past, when it trains, and how a new model takes over.

use super::canary::{self, Refusal};
use super::drift::{Drift, Shift};
use super::model::{Model, TRAINING_ROWS_MIN};
use super::outliers::Outliers;
use super::reservoir::{Reservoir, Row, lot, mix};
use super::shares::Shares;
use super::{Error, FEATURES};
use crate::calibration::{Calibrator, Tally};
use prunella_schemas::{Id, Timestamp};
use serde::{Deserialize, Serialize};

/// Raised when a learner of one version cannot be read, or learns differently, in another.
pub const VERSION: u32 = 3;
/// Rows before the first model.
const FIRST_ROWS_MIN: usize = 1_024;
/// Rows of the time before a drift that are kept, so that a regime which returns is not new: as many as are awaited.
const ROWS_BEFORE_DRIFT: usize = 512;
const DAY_MS: u64 = 86_400_000;
/// Between two trainings because of drift. Days of the week differ too, and that must not keep a learner training.
const DRIFT_MS: u64 = 6 * 3_600_000;
/// Candidates in a row that may be refused for raising too few alerts.
const REFUSALS_MAX: u32 = 2;
/// Events between two attempts, whatever their times say: forged times must not keep a learner training.
pub const RETRAIN_EVENTS_MIN: u32 = 1_024;
/// Flagged events that may count in the calibration, in thousandths of all events. Without any, the p-values of the
/// next model would miss exactly the share that this one called unusual; with all, an attack would make them large.
const FLAGGED_PER_MILLE: u32 = 1;
/// After a drift, much of what is flagged is merely new.
const FLAGGED_PER_MILLE_DRIFT: u32 = 200;
/// Flagged events that may be saved up, in thousandths.
const FLAGGED_CREDIT_MAX: u32 = 8_000;

/// One event, after it was scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    pub row: [f32; FEATURES],
    pub class_uid: u32,
    /// Fingerprint of the principal.
    pub principal: u64,
    pub event: Id,
    pub time: Timestamp,
    /// Its score under [`Learner::model`]; scored here where absent.
    pub score: Option<f32>,
    /// Something spoke against it: a detector, or its own p-value.
    pub is_flagged: bool,
}

/// An attempt to train, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    pub why: Why,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    First,
    Daily,
    Drift,
    Asked,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The next event meets the model of this number.
    Swapped { number: u32 },
    /// The old model stays.
    Refused(Refusal),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learner {
    seed: u64,
    /// Of the list of features.
    features: [u8; 16],
    training: Reservoir,
    held_out: Reservoir,
    drift: Drift,
    model: Option<Model>,
    canaries: Vec<[f32; FEATURES]>,
    /// Scores under the model: those held out, then the events since, of each principal no more than its share.
    tally: Tally,
    shares: Shares,
    /// Sources that do not say what is ordinary.
    outliers: Outliers,
    /// Scores at which the calibration is made again.
    recalibrate_at: u64,
    /// What has shifted, until a model has learnt it.
    shifts: Vec<Shift>,
    tried: Timestamp,
    events_since: u32,
    attempts: u32,
    /// Candidates refused since the last one that took over.
    refused: u32,
    flagged_credit: u32,
}

impl Learner {
    /// `features`: the names of the sixteen, in order.
    pub fn new(features: &[&str], seed: u64) -> Learner {
        Learner {
            seed,
            features: hash(features),
            training: Reservoir::new(mix(seed ^ 1)),
            held_out: Reservoir::new(mix(seed ^ 2)),
            drift: Drift::default(),
            model: None,
            canaries: Vec::new(),
            tally: Tally::default(),
            shares: Shares::default(),
            outliers: Outliers::default(),
            recalibrate_at: 0,
            shifts: Vec::new(),
            tried: Timestamp::ZERO,
            events_since: 0,
            attempts: 0,
            refused: 0,
            flagged_credit: 0,
        }
    }

    pub fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// What has shifted and is not learnt yet.
    pub fn shifts(&self) -> &[Shift] {
        &self.shifts
    }

    /// Rows to train on, and rows to calibrate on.
    pub fn rows(&self) -> (usize, usize) {
        (self.training.len(), self.held_out.len())
    }

    /// Learns from an event that was scored, and trains if it is time.
    pub fn observe(&mut self, lesson: &Lesson) -> Option<Trained> {
        let calibrates = self.admit(lesson);
        self.watch(lesson, calibrates);
        let why = self.due(lesson.time)?;
        Some(self.train(why, lesson.time))
    }

    /// Learns from a set of past events, then trains. Flagged events are not learnt here either.
    pub fn train_on(&mut self, lessons: impl IntoIterator<Item = Lesson>) -> Result<Trained, Error> {
        for lesson in lessons {
            self.admit(&lesson);
        }
        // A daily training follows a day after what was learnt, not after what it was asked with.
        let newest = self.training.rows().map(|row| row.time).fold(self.tried, Timestamp::max);
        let (rows, held_out) = (self.training.rows().count(), self.held_out.len());
        if rows < TRAINING_ROWS_MIN || held_out < TRAINING_ROWS_MIN {
            return Err(Error::Rows { rows, held_out });
        }
        Ok(self.train(Why::Asked, newest))
    }

    /// Appends everything to `out`: the same learner, the same bytes.
    pub fn save(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let broken = |error: postcard::Error| Error::Broken(error.to_string());
        out.extend(VERSION.to_le_bytes());
        out.extend(postcard::to_stdvec(self).map_err(broken)?);
        Ok(())
    }

    /// Reads what [`Learner::save`] wrote, for the same features.
    pub fn restore(features: &[&str], saved: &[u8]) -> Result<Learner, Error> {
        let broken = |detail: &str| Error::Broken(detail.to_owned());
        let (version, rest) = saved.split_first_chunk::<4>().ok_or_else(|| broken("its version"))?;
        let model = u32::from_le_bytes(*version);
        if model != VERSION {
            return Err(Error::Version { model });
        }
        let learner: Learner = postcard::from_bytes(rest).map_err(|error| broken(&error.to_string()))?;
        if learner.features != hash(features) {
            return Err(Error::Features);
        }
        learner.drift.check()?;
        learner.model.as_ref().map_or(Ok(()), Model::check)?;
        Ok(learner)
    }

    /// Offers the event to the samples; says whether it counts in the calibration.
    fn admit(&mut self, lesson: &Lesson) -> bool {
        let per_mille = if self.shifts.is_empty() { FLAGGED_PER_MILLE } else { FLAGGED_PER_MILLE_DRIFT };
        self.flagged_credit = self.flagged_credit.saturating_add(per_mille).min(FLAGGED_CREDIT_MAX);
        let speaks = !self.outliers.holds(lesson.principal, self.training.sources());
        let calibrates = speaks && (!lesson.is_flagged || self.flagged_credit >= 1_000);
        if lesson.is_flagged && calibrates {
            self.flagged_credit -= 1_000;
        }
        let Lesson { row: values, class_uid, principal, event, time, .. } = *lesson;
        let row = Row { values, principal, class_uid, time };
        // The lot parts events in halves that never meet: a model is not calibrated on what it was trained on.
        if lot(self.seed, event) & 1 == 0 {
            if speaks && !lesson.is_flagged {
                self.training.offer(event, row);
            }
        } else if calibrates {
            self.held_out.offer(event, row);
        }
        calibrates
    }

    /// Holds the event against the model in use: its score sharpens the calibration, its row may show drift.
    fn watch(&mut self, lesson: &Lesson, calibrates: bool) {
        self.events_since = self.events_since.saturating_add(1);
        let Some(model) = &mut self.model else { return };
        let score = lesson.score.unwrap_or_else(|| model.score(&lesson.row));
        // While everything shifts, everybody is unusual.
        if self.shifts.is_empty() {
            self.outliers.count(lesson.principal, model.p_value(lesson.class_uid, score));
        }
        if calibrates && self.shares.admit(lesson.principal) {
            self.tally.add(lesson.class_uid, score);
        }
        if self.tally.total() >= self.recalibrate_at {
            self.recalibrate_at = self.tally.total().saturating_mul(2);
            model.calibrator = Calibrator::from(self.tally.clone());
        }
        if let Some(shifts) = self.drift.observe(&lesson.row, score, (lesson.principal, lesson.time))
            && self.shifts.is_empty()
        {
            self.shifts = shifts;
            self.outliers = Outliers::default();
            self.training.shrink_to(ROWS_BEFORE_DRIFT);
            self.held_out.shrink_to(ROWS_BEFORE_DRIFT);
        }
    }

    /// Why it is time to train, if it is.
    fn due(&self, now: Timestamp) -> Option<Why> {
        let has_rows = self.training.len() >= FIRST_ROWS_MIN && self.held_out.len() >= FIRST_ROWS_MIN;
        if !has_rows || self.events_since < RETRAIN_EVENTS_MIN {
            return None;
        }
        let since_ms = now.since_ms(self.tried).unsigned_abs();
        match (&self.model, self.shifts.is_empty()) {
            (None, _) => Some(Why::First),
            (Some(_), false) if since_ms >= DRIFT_MS => Some(Why::Drift),
            (Some(_), _) if since_ms >= DAY_MS => Some(Why::Daily),
            _ => None,
        }
    }

    fn train(&mut self, why: Why, now: Timestamp) -> Trained {
        (self.tried, self.events_since) = (now, 0);
        self.attempts = self.attempts.saturating_add(1);
        // What came before they were known to be.
        let (outliers, sources) = (&self.outliers, self.training.sources());
        self.training.forget(|source| outliers.holds(source, sources));
        self.held_out.forget(|source| outliers.holds(source, sources));
        let swapped = self.candidate(&why).and_then(|(model, refusal)| match refusal {
            None => self.swap(model).map(|number| Outcome::Swapped { number }),
            Some(refusal) => Ok(Outcome::Refused(refusal)),
        });
        let untrained = |error: Error| Outcome::Refused(Refusal::Untrained { reason: error.to_string() });
        let outcome = swapped.unwrap_or_else(untrained);
        let is_refused = matches!(outcome, Outcome::Refused(_));
        self.refused = if is_refused { self.refused.saturating_add(1) } else { 0 };
        Trained { why, outcome }
    }

    /// A trained model, and what speaks against it.
    fn candidate(&self, why: &Why) -> Result<(Model, Option<Refusal>), Error> {
        let number = self.model.as_ref().map_or(0, |model| model.number) + 1;
        let seed = mix(self.seed ^ mix(u64::from(self.attempts)));
        // After a drift the model in use raises too many alerts, so fewer are welcome; so are they once candidate after
        // candidate says so, or a slow change would lock the old model in.
        let may_fall = *why == Why::Drift || self.refused >= REFUSALS_MAX;
        let new = Model::train((number, seed), &self.training, &self.held_out)?;
        let Some(old) = &self.model else { return Ok((new, None)) };
        let rows: Vec<&Row> = self.training.rows().collect();
        let refusal = canary::gate(old, &new, &self.canaries, &rows, may_fall)?;
        Ok((new, refusal))
    }

    fn swap(&mut self, model: Model) -> Result<u32, Error> {
        let scores = model.scores(self.held_out.rows())?;
        self.drift = Drift::from_reference(self.held_out.rows().zip(scores));
        self.tally = model.calibrator.clone().into();
        self.shares = Shares::default();
        self.held_out.rows().for_each(|row| {
            self.shares.admit(row.principal);
        });
        self.recalibrate_at = self.tally.total() * 2;
        self.shifts.clear();
        if self.canaries.is_empty() {
            self.canaries = canary::canaries(&model, mix(self.seed ^ 3));
        }
        let number = model.number;
        self.model = Some(model);
        Ok(number)
    }
}

fn hash(features: &[&str]) -> [u8; 16] {
    let names: Vec<&[u8]> = features.iter().map(|name| name.as_bytes()).collect();
    Id::derive("features", &names).0
}
