//! Drift: whether events still look like those the model was calibrated on.
//!
//! Two-sample Kolmogorov-Smirnov per feature and on scores, over windows that do not overlap. Rows of one principal
//! resemble each other, so each sample counts for as many rows as it has independent principals (Kish's effective
//! size); without this, one busy principal would look like drift.

use super::{Error, FEATURES};
use crate::series::log2;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rows a window holds at least, and at most.
pub const WINDOW_MIN: usize = 256;
pub const WINDOW_MAX: usize = 2_000;
/// A window is looked at once it counts for this many independent rows.
const EFFECTIVE_MIN: f64 = 24.0;
/// How often a window asks whether it does.
const ASKED_EVERY: usize = 64;
/// All features, and the score.
const COLUMNS: usize = FEATURES + 1;
/// Values kept of each column of the reference.
const REFERENCE_MAX: usize = 256;
/// sqrt(-ln(alpha / 2) / 2) for alpha = 1e-5 / 17: one false drift in 100,000 windows, divided over the columns.
const LIMIT: f64 = 2.744;
const DECILES: usize = 10;

/// A column that no longer looks as it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// `None` is the score.
    pub feature: Option<usize>,
    /// Largest difference of the two distribution functions, 0 to 1.
    pub distance: f64,
    /// The distance above which this is drift.
    pub limit: f64,
    /// Population stability index over deciles, for people: above 0.25 is commonly called a major shift.
    pub psi: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Ascending, per column, [`ordered`].
    reference: Vec<Vec<u32>>,
    effective: f64,
    window: Vec<Met>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Met {
    values: [f32; FEATURES],
    score: f32,
    principal: u64,
}

impl Met {
    fn column(&self, column: usize) -> f32 {
        self.values.get(column).copied().unwrap_or(self.score)
    }
}

impl Drift {
    /// `reference`: rows with their scores and principals, as the model met them.
    pub fn from_reference(reference: impl Iterator<Item = ([f32; FEATURES], f32, u64)>) -> Drift {
        let rows: Vec<Met> =
            reference.map(|(values, score, principal)| Met { values, score, principal }).collect();
        let columns = (0..COLUMNS).map(|column| {
            let sorted = sorted(&rows, column);
            let kept = sorted.len().min(REFERENCE_MAX);
            (0..kept).map(|at| sorted[(2 * at + 1) * sorted.len() / (2 * kept)]).collect()
        });
        let reference = columns.collect();
        Drift { reference, effective: effective(&rows), window: Vec::new() }
    }

    /// Adds an event; says at the end of a window what has shifted, if anything has.
    pub fn observe(&mut self, values: &[f32; FEATURES], score: f32, principal: u64) -> Option<Vec<Shift>> {
        self.window.push(Met { values: *values, score, principal });
        let rows = self.window.len();
        let asked = rows >= WINDOW_MIN && rows.is_multiple_of(ASKED_EVERY);
        let is_complete = rows >= WINDOW_MAX || (asked && effective(&self.window) >= EFFECTIVE_MIN);
        if !is_complete {
            return None;
        }
        let shifts = self.shifts();
        self.window.clear();
        (!shifts.is_empty()).then_some(shifts)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let is_empty = self.reference.is_empty();
        let sorted = |column: &Vec<u32>| (1..=REFERENCE_MAX).contains(&column.len()) && column.is_sorted();
        let sound = self.reference.len() == COLUMNS && self.reference.iter().all(sorted);
        let fits = self.window.len() < WINDOW_MAX && self.effective >= 0.0;
        if fits && (is_empty || sound) { Ok(()) } else { Err(Error::Broken("its drift".into())) }
    }

    fn shifts(&self) -> Vec<Shift> {
        let window = effective(&self.window);
        let limit = LIMIT * ((window + self.effective) / (window * self.effective).max(1e-9)).sqrt();
        let columns = self.reference.iter().enumerate();
        let shifts = columns.filter_map(|(column, reference)| {
            let window = sorted(&self.window, column);
            let distance = distance(reference, &window);
            let feature = (column < FEATURES).then_some(column);
            (distance > limit).then(|| Shift { feature, distance, limit, psi: psi(reference, &window) })
        });
        shifts.collect()
    }
}

fn sorted(rows: &[Met], column: usize) -> Vec<u32> {
    let mut values: Vec<u32> = rows.iter().map(|met| ordered(met.column(column))).collect();
    values.sort_unstable();
    values
}

/// The bits of a number in an order that whole numbers share, which is quicker to sort; NaN is at the ends.
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// As many independent rows as these are worth when those of one principal are all alike: n^2 / sum of n_i^2.
fn effective(rows: &[Met]) -> f64 {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    rows.iter().for_each(|met| *counts.entry(met.principal).or_default() += 1);
    let squares: u64 = counts.values().map(|count| count * count).sum();
    (rows.len() * rows.len()) as f64 / squares.max(1) as f64
}

/// Kolmogorov-Smirnov: the largest difference of the distribution functions of two sorted samples. Ties step together.
fn distance(a: &[u32], b: &[u32]) -> f64 {
    let (mut at, mut bt, mut most) = (0, 0, 0.0f64);
    while let (Some(x), Some(y)) = (a.get(at), b.get(bt)) {
        let value = *x.min(y);
        while a.get(at).is_some_and(|x| *x <= value) {
            at += 1;
        }
        while b.get(bt).is_some_and(|y| *y <= value) {
            bt += 1;
        }
        most = most.max((at as f64 / a.len() as f64 - bt as f64 / b.len() as f64).abs());
    }
    most
}

/// Population stability index over the deciles of the reference, rounded to thousandths.
fn psi(reference: &[u32], window: &[u32]) -> f64 {
    let edges: Vec<u32> = (1..DECILES).map(|decile| reference[decile * reference.len() / DECILES]).collect();
    let below = |sample: &[u32], edge: &u32| sample.partition_point(|value| value < edge);
    let shares = |sample: &[u32]| -> Vec<f64> {
        let inner = edges.iter().map(|edge| below(sample, edge));
        let ends: Vec<usize> = std::iter::once(0).chain(inner).chain([sample.len()]).collect();
        // Half a row in every bin, so that an empty one has a logarithm.
        let share = |pair: &[usize]| ((pair[1] - pair[0]) as f64 + 0.5) / (sample.len() as f64 + 5.0);
        ends.windows(2).map(share).collect()
    };
    let bins = shares(reference).into_iter().zip(shares(window));
    let sum: f64 = bins.map(|(p, q)| (q - p) * log2(q / p) * std::f64::consts::LN_2).sum();
    (sum * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::reservoir::mix;

    /// Roughly normal, deviation 1, from a number.
    fn normal(number: u64) -> f32 {
        let unit = |k: u64| (mix(number * 12 + k) >> 40) as f32 / 16_777_216.0;
        (0..12).map(unit).sum::<f32>() - 6.0
    }

    fn row(number: u64, shift: f32) -> [f32; FEATURES] {
        let mut row = [0; FEATURES].map(|_: u8| 0.0);
        for (feature, value) in row.iter_mut().enumerate() {
            *value = normal(number * FEATURES as u64 + feature as u64);
        }
        row[5] += shift;
        row
    }

    fn watch(principals: u64) -> Drift {
        Drift::from_reference((0..3_000).map(|number| (row(number, 0.0), 0.5, number % principals)))
    }

    #[test]
    fn two_deviations_are_seen_within_512_events_and_named() {
        let mut drift = watch(300);
        let mut late = (10_000..10_512).filter_map(|n| drift.observe(&row(n, 2.0), 0.5, n % 300));
        let shifts = late.next().unwrap();
        assert_eq!(shifts.iter().map(|shift| shift.feature).collect::<Vec<_>>(), [Some(5)]);
        assert!(shifts[0].distance > 0.6 && shifts[0].psi > 0.25, "{shifts:?}");
    }

    #[test]
    fn what_stays_is_no_drift_and_neither_is_one_busy_principal() {
        let mut drift = watch(300);
        assert_eq!((10_000..60_000).find_map(|n| drift.observe(&row(n, 0.0), 0.5, n % 300)), None);
        let mut busy = watch(300);
        assert_eq!((10_000..20_000).find_map(|n| busy.observe(&row(n, 2.0), 0.5, n % 2)), None);
    }

    #[test]
    fn distances_of_samples_with_ties() {
        let check = |a: &[f32], b: &[f32], want: f64| {
            let keys = |values: &[f32]| values.iter().map(|value| ordered(*value)).collect::<Vec<_>>();
            let (a, b) = (keys(a), keys(b));
            assert!((distance(&a, &b) - want).abs() < 1e-12, "{a:?} {b:?}: {}", distance(&a, &b));
            assert!((distance(&b, &a) - want).abs() < 1e-12);
        };
        check(&[1.0, 2.0], &[1.0, 2.0], 0.0);
        check(&[1.0, 1.0, 1.0], &[1.0], 0.0);
        check(&[1.0, 2.0], &[3.0], 1.0);
        check(&[1.0, 1.0, 2.0, 2.0], &[1.0, 2.0, 2.0, 2.0], 0.25);
        check(&[-1.0, 1.0, f32::NAN], &[-1.0, 1.0, f32::NAN], 0.0);
        check(&[-2.0, -1.0], &[-1.5, 3.0], 0.5);
        check(&[], &[1.0], 0.0);
    }
}
