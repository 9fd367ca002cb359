//! A model: a forest with its calibration, its passport, and what is usual for each feature.

use super::judge::judge;
use super::reservoir::{Reservoir, Row, mix};
use super::{Error, FEATURES};
use crate::calibration::{Calibrator, Tally};
use crate::features::CATALOG;
use crate::forest::{self, Forest, Params};
use ndarray::{Array2, ArrayView1};
use prunella_schemas::{Id, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Rows to train on, and rows to calibrate on, at least.
pub const TRAINING_ROWS_MIN: usize = 256;
/// One mutant for so many rows.
const MUTANT_EVERY: usize = 32;
const MUTATIONS_MAX: u64 = 4;
/// Share of the rows, the most unusual ones, that a model does not learn from.
const TRIM_SHARE: f64 = 0.05;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// 1 for the first.
    pub number: u32,
    /// Of the forest and the usual values; the calibration goes on after training.
    pub fingerprint: Id,
    pub trained_on: TrainedOn,
    pub usual: [Usual; FEATURES],
    #[serde(with = "stored")]
    pub forest: Forest,
    pub calibrator: Calibrator,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedOn {
    pub from: Timestamp,
    pub to: Timestamp,
    pub rows: u32,
    /// Different principals.
    pub sources: u32,
    /// Rows left out as too unusual.
    pub trimmed: u32,
    /// Rows held out to calibrate on.
    pub held_out: u32,
}

/// What a feature usually is, in its own unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// Quantiles .001 and .999: values beyond are counted.
    pub least: f32,
    pub most: f32,
    /// Quantiles .05 and .95: the usual range, for people.
    pub low: f32,
    pub high: f32,
    pub median: f32,
}

impl Model {
    /// Trains on one sample and calibrates on another.
    pub(super) fn train(
        (number, seed): (u32, u64),
        training: &Reservoir,
        held_out: &Reservoir,
    ) -> Result<Model, Error> {
        let rows: Vec<&Row> = training.rows().collect();
        if rows.len() < TRAINING_ROWS_MIN || held_out.len() < TRAINING_ROWS_MIN {
            return Err(Error::Rows { rows: rows.len(), held_out: held_out.len() });
        }
        let params = Params { seed, ..Params::default() };
        let scores = judge(&params, &rows)?;
        let kept = least_unusual(&rows, &scores);
        let usual = usual_of(&rows);
        let sound = kept.iter().map(|row| sound(&usual, &row.values));
        let values = table(sound.chain(mutants(&kept, &usual, seed)));
        let forest = params.fit_rows(values.view())?;
        let times = || rows.iter().map(|row| row.time);
        let trained_on = TrainedOn {
            from: times().min().unwrap_or_default(),
            to: times().max().unwrap_or_default(),
            rows: kept.len() as u32,
            sources: kept.iter().map(|row| row.principal).collect::<BTreeSet<_>>().len() as u32,
            trimmed: (rows.len() - kept.len()) as u32,
            held_out: held_out.len() as u32,
        };
        let fingerprint = fingerprint(&forest, &usual);
        let calibrator = Calibrator::from(Tally::default());
        let mut model = Model { number, fingerprint, trained_on, usual, forest, calibrator };
        model.calibrator = Calibrator::from(model.tally(held_out)?);
        Ok(model)
    }

    /// The score of one row, between 0 and 1.
    pub fn score(&self, row: &[f32; FEATURES]) -> f32 {
        let row = sound(&self.usual, row);
        // Rows and forest have the same number of features, which is all that could be wrong.
        self.forest.score_row(ArrayView1::from(&row)).unwrap_or_default()
    }

    pub fn p_value(&self, class_uid: u32, score: f32) -> f64 {
        self.calibrator.p_value(class_uid, score)
    }

    /// The row as the forest is to see it: what is no number becomes the median, what is infinite an extreme.
    pub fn sound(&self, row: &[f32; FEATURES]) -> [f32; FEATURES] {
        sound(&self.usual, row)
    }

    /// How many values lie beyond what training saw.
    pub fn beyond(&self, row: &[f32; FEATURES]) -> usize {
        let pairs = row.iter().zip(&self.usual);
        pairs.filter(|(value, usual)| **value < usual.least || **value > usual.most).count()
    }

    /// The scores of rows, in their order.
    pub(super) fn scores<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Result<Vec<f32>, Error> {
        let values = table(rows.map(|row| self.sound(&row.values)));
        Ok(self.forest.score(values.view())?.to_vec())
    }

    /// Scores of a sample, counted.
    pub(super) fn tally(&self, sample: &Reservoir) -> Result<Tally, Error> {
        let scores = self.scores(sample.rows())?;
        let mut tally = Tally::default();
        sample.rows().zip(scores).for_each(|(row, score)| tally.add(row.class_uid, score));
        Ok(tally)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let in_order = |usual: &Usual| {
            let values = [usual.least, usual.low, usual.median, usual.high, usual.most];
            values.is_sorted() && values.iter().all(|value| value.is_finite())
        };
        let is_whole = self.forest.features() == FEATURES
            && self.usual.iter().all(in_order)
            && self.fingerprint == fingerprint(&self.forest, &self.usual);
        if is_whole { Ok(()) } else { Err(Error::Broken("its model".into())) }
    }
}

fn sound(usual: &[Usual; FEATURES], row: &[f32; FEATURES]) -> [f32; FEATURES] {
    std::array::from_fn(|at| match row[at] {
        value if value.is_finite() => value,
        value if value.is_nan() => usual[at].median,
        value => value.max(usual[at].least).min(usual[at].most),
    })
}

/// Rows of which one to four features are drawn from all they could be. A forest cuts only where its training rows
/// differ: without these, a network never seen before would weigh nothing in a company where none ever was.
fn mutants(rows: &[&Row], usual: &[Usual; FEATURES], seed: u64) -> impl Iterator<Item = [f32; FEATURES]> {
    rows.iter().step_by(MUTANT_EVERY).enumerate().map(move |(number, row)| {
        let (mut mutant, mut bits) = (sound(usual, &row.values), mix(seed ^ mix(number as u64)));
        for _ in 0..=bits % MUTATIONS_MAX {
            bits = mix(bits);
            let feature = (bits % FEATURES as u64) as usize;
            let (low, high) = possible(feature, &usual[feature]);
            let unit = (mix(bits) >> 40) as f32 / (1u32 << 24) as f32;
            mutant[feature] = low + unit * (high - low);
        }
        mutant
    })
}

/// What a feature could be: up to its own width beyond what was seen, or all there is where it never varied.
fn possible(feature: usize, usual: &Usual) -> (f32, f32) {
    let (known, width) = (&CATALOG[feature], usual.most - usual.least);
    if width <= 0.0 {
        return (known.min.min(usual.least), known.max.max(usual.most));
    }
    (
        (usual.least - width).max(known.min.min(usual.least)),
        (usual.most + width).min(known.max.max(usual.most)),
    )
}

fn table(rows: impl Iterator<Item = [f32; FEATURES]>) -> Array2<f32> {
    let rows: Vec<[f32; FEATURES]> = rows.collect();
    Array2::from(rows)
}

/// All but the most unusual rows, in their order.
fn least_unusual<'a>(rows: &[&'a Row], scores: &[f32]) -> Vec<&'a Row> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    order.truncate(rows.len() - (rows.len() as f64 * TRIM_SHARE) as usize);
    order.sort_unstable();
    order.into_iter().map(|at| rows[at]).collect()
}

fn usual_of(rows: &[&Row]) -> [Usual; FEATURES] {
    let mut usual = [Usual::default(); FEATURES];
    for (feature, usual) in usual.iter_mut().enumerate() {
        let values = rows.iter().map(|row| row.values[feature]);
        let mut values: Vec<f32> = values.filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f32::total_cmp);
        let last = values.len().saturating_sub(1);
        let quantile = |q: f64| values.get((last as f64 * q).round() as usize).copied().unwrap_or_default();
        *usual = Usual {
            least: quantile(0.001),
            most: quantile(0.999),
            low: quantile(0.05),
            high: quantile(0.95),
            median: quantile(0.5),
        };
    }
    usual
}

fn fingerprint(forest: &Forest, usual: &[Usual; FEATURES]) -> Id {
    let plain = forest::Model::from(forest.clone());
    let words = plain.thresholds.iter().chain(&plain.leaves);
    let forest: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
    let values =
        usual.iter().flat_map(|usual| [usual.least, usual.low, usual.median, usual.high, usual.most]);
    let usual: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
    Id::derive("model", &[&plain.version.to_le_bytes(), &forest, &usual])
}

/// The forest as plain data, in a form that leaves nothing out: a snapshot does not name its fields.
mod stored {
    use crate::forest::{Forest, Model};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[derive(Serialize, Deserialize)]
    struct Stored {
        version: u32,
        features: usize,
        sample: usize,
        not_finite: u64,
        thresholds: Vec<u32>,
        leaves: Vec<u32>,
    }

    pub fn serialize<S: Serializer>(forest: &Forest, serializer: S) -> Result<S::Ok, S::Error> {
        let Model { version, features, sample, not_finite, thresholds, leaves, .. } = forest.clone().into();
        Stored { version, features, sample, not_finite, thresholds, leaves }.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Forest, D::Error> {
        let Stored { version, features, sample, not_finite, thresholds, leaves } =
            Stored::deserialize(deserializer)?;
        let model =
            Model { version, features, sample, not_finite, thresholds, leaves, node_features: Vec::new() };
        Forest::try_from(model).map_err(de::Error::custom)
    }
}
