//! Drift: whether events still look like those the model was calibrated on.
//!
//! Two-sample Kolmogorov-Smirnov per feature and on scores, over windows that do not overlap. Rows of one principal
//! resemble each other, so each sample counts for as many rows as it has independent principals (Kish's effective
//! size); without this, one busy principal would look like drift.
//!
//! What is usual changes with the time of day, and a window may hold minutes or days: it is compared with the parts of
//! the day that its own rows come from, in their proportion.

use super::reservoir::Row;
use super::{Error, FEATURES};
use crate::series::log2;
use prunella_schemas::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rows a window holds at least, and at most.
pub const WINDOW_MIN: usize = 256;
pub const WINDOW_MAX: usize = 2_000;
/// A window is looked at once it counts for this many independent rows.
const EFFECTIVE_MIN: f64 = 24.0;
/// How often a window asks whether it does.
const ASKED_EVERY: usize = 64;
/// Parts of the day with a reference of their own, UTC; beside them is one of the whole day.
const PARTS: usize = 4;
const PART_HOURS: usize = 24 / PARTS;
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
    /// Of each part of the day, then of all of it.
    references: Vec<Reference>,
    window: Vec<Met>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Reference {
    /// Ascending, per column, [`ordered`].
    columns: Vec<Vec<u32>>,
    effective: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Met {
    values: [f32; FEATURES],
    score: f32,
    principal: u64,
    hour: u8,
}

impl Met {
    fn of(values: &[f32; FEATURES], score: f32, principal: u64, time: Timestamp) -> Met {
        Met { values: *values, score, principal, hour: time.hour() }
    }

    fn part(&self) -> usize {
        usize::from(self.hour) / PART_HOURS % PARTS
    }

    fn column(&self, column: usize) -> f32 {
        self.values.get(column).copied().unwrap_or(self.score)
    }
}

impl Drift {
    /// `rows` with their scores, as the model met them.
    pub fn from_reference<'a>(rows: impl Iterator<Item = (&'a Row, f32)>) -> Drift {
        let all: Vec<Met> =
            rows.map(|(row, score)| Met::of(&row.values, score, row.principal, row.time)).collect();
        let of_part = |part| all.iter().filter(|met| met.part() == part).cloned().collect::<Vec<_>>();
        let mut references: Vec<Reference> = (0..PARTS).map(|part| Reference::of(&of_part(part))).collect();
        references.push(Reference::of(&all));
        Drift { references, window: Vec::new() }
    }

    /// Adds an event; says at the end of a window what has shifted, if anything has.
    pub fn observe(
        &mut self,
        values: &[f32; FEATURES],
        score: f32,
        (principal, time): (u64, Timestamp),
    ) -> Option<Vec<Shift>> {
        self.window.push(Met::of(values, score, principal, time));
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
        let sound = [0, PARTS + 1].contains(&self.references.len())
            && self.references.iter().all(Reference::holds)
            && self.references.last().is_none_or(|day| day.columns.iter().all(|column| !column.is_empty()))
            && self.window.len() < WINDOW_MAX;
        if sound { Ok(()) } else { Err(Error::Broken("its drift".into())) }
    }

    fn shifts(&self) -> Vec<Shift> {
        let blend = self.blend();
        // The variances of independent samples add up.
        let ours = 1.0 / effective(&self.window).max(1e-9);
        let theirs: f64 = blend.iter().map(|(weight, part)| weight * weight / part.effective.max(1e-9)).sum();
        let limit = LIMIT * (ours + theirs).sqrt();
        let most = blend.iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let shifts = (0..COLUMNS).filter_map(|column| {
            let window = sorted(&self.window, column);
            let parts: Vec<(f64, &[u32])> = blend
                .iter()
                .filter_map(|(weight, part)| Some((*weight, &**part.columns.get(column)?)))
                .collect();
            let distance = distance(&parts, &window);
            let feature = (column < FEATURES).then_some(column);
            let psi = || most.and_then(|(_, part)| Some(psi(part.columns.get(column)?, &window)));
            (distance > limit).then(|| Shift { feature, distance, limit, psi: psi().unwrap_or_default() })
        });
        shifts.collect()
    }

    /// What the window is compared with, and in which proportion. For a part of the day of which too little is known
    /// stands the whole day.
    fn blend(&self) -> Vec<(f64, &Reference)> {
        let mut weights = [0.0; PARTS + 1];
        for met in &self.window {
            let known = self.references.get(met.part()).is_some_and(|part| part.effective >= EFFECTIVE_MIN);
            weights[if known { met.part() } else { PARTS }] += 1.0 / self.window.len() as f64;
        }
        weights.into_iter().zip(&self.references).filter(|(weight, _)| *weight > 0.0).collect()
    }
}

impl Reference {
    fn of(rows: &[Met]) -> Reference {
        let columns = (0..COLUMNS).map(|column| {
            let sorted = sorted(rows, column);
            let kept = sorted.len().min(REFERENCE_MAX);
            (0..kept).map(|at| sorted[(2 * at + 1) * sorted.len() / (2 * kept)]).collect()
        });
        Reference { columns: columns.collect(), effective: effective(rows) }
    }

    fn holds(&self) -> bool {
        let sound = |column: &Vec<u32>| column.len() <= REFERENCE_MAX && column.is_sorted();
        let is_known = self.columns.iter().all(|column| !column.is_empty());
        self.columns.len() == COLUMNS
            && self.columns.iter().all(sound)
            && self.effective >= 0.0
            && (is_known || self.effective < EFFECTIVE_MIN)
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

/// Kolmogorov-Smirnov: the largest difference of the distribution functions of a blend of sorted samples, whose
/// weights sum to 1, and of another sorted sample. Ties step together.
fn distance(blend: &[(f64, &[u32])], sample: &[u32]) -> f64 {
    let (mut ats, mut at, mut most) = (vec![0; blend.len()], 0, 0.0f64);
    loop {
        let heads = blend.iter().zip(&ats).filter_map(|((_, part), at)| part.get(*at));
        let Some(value) = heads.chain(sample.get(at)).min().copied() else { return most };
        let mut theirs = 0.0;
        for ((weight, part), at) in blend.iter().zip(&mut ats) {
            while part.get(*at).is_some_and(|x| *x <= value) {
                *at += 1;
            }
            theirs += weight * *at as f64 / part.len().max(1) as f64;
        }
        while sample.get(at).is_some_and(|x| *x <= value) {
            at += 1;
        }
        most = most.max((theirs - at as f64 / sample.len().max(1) as f64).abs());
    }
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

    /// An event a minute.
    fn who(number: u64, principals: u64) -> (u64, Timestamp) {
        (number % principals, Timestamp(number as i64 * 60_000))
    }

    fn watch_of(principals: u64, values: impl Fn(u64) -> [f32; FEATURES]) -> Drift {
        let row = |number: u64| {
            let (principal, time) = who(number, principals);
            Row { values: values(number), principal, class_uid: 6003, time }
        };
        let rows: Vec<Row> = (0..4_096).map(row).collect();
        Drift::from_reference(rows.iter().map(|row| (row, 0.5)))
    }

    fn watch(principals: u64) -> Drift {
        watch_of(principals, |number| row(number, 0.0))
    }

    #[test]
    fn two_deviations_are_seen_within_512_events_and_named() {
        let mut drift = watch(300);
        let mut late = (10_000..10_512).filter_map(|n| drift.observe(&row(n, 2.0), 0.5, who(n, 300)));
        let shifts = late.next().unwrap();
        assert_eq!(shifts.iter().map(|shift| shift.feature).collect::<Vec<_>>(), [Some(5)]);
        assert!(shifts[0].distance > 0.6 && shifts[0].psi > 0.25, "{shifts:?}");
    }

    #[test]
    fn what_stays_is_no_drift_and_neither_is_one_busy_principal() {
        let mut drift = watch(300);
        assert_eq!((10_000..60_000).find_map(|n| drift.observe(&row(n, 0.0), 0.5, who(n, 300))), None);
        let mut busy = watch(300);
        assert_eq!((10_000..20_000).find_map(|n| busy.observe(&row(n, 2.0), 0.5, who(n, 2))), None);
    }

    #[test]
    fn the_time_of_day_is_no_drift_and_hides_none() {
        // At night, two standard deviations more; windows hold 256 minutes.
        let by_night = |number: u64| if number / 60 % 24 < 6 { 2.0 } else { 0.0 };
        let mut drift = watch_of(300, |number| row(number, by_night(number)));
        let day = 10_080..20_160u64;
        assert_eq!(day.clone().find_map(|n| drift.observe(&row(n, by_night(n)), 0.5, who(n, 300))), None);
        let seen =
            day.clone().find(|n| drift.observe(&row(*n, 2.0 - by_night(*n)), 0.5, who(*n, 300)).is_some());
        assert!(seen.is_some_and(|n| n < day.start + 512), "{seen:?}");
    }

    #[test]
    fn distances_of_samples_with_ties() {
        let check = |a: &[f32], b: &[f32], want: f64| {
            let keys = |values: &[f32]| values.iter().map(|value| ordered(*value)).collect::<Vec<_>>();
            let (a, b) = (keys(a), keys(b));
            let ours = distance(&[(1.0, &a)], &b);
            assert!((ours - want).abs() < 1e-12, "{a:?} {b:?}: {ours}");
            assert!((distance(&[(0.25, &b), (0.75, &b)], &a) - want).abs() < 1e-12);
        };
        check(&[1.0, 2.0], &[1.0, 2.0], 0.0);
        check(&[1.0, 1.0, 1.0], &[1.0], 0.0);
        check(&[1.0, 2.0], &[3.0], 1.0);
        check(&[1.0, 1.0, 2.0, 2.0], &[1.0, 2.0, 2.0, 2.0], 0.25);
        check(&[-1.0, 1.0, f32::NAN], &[-1.0, 1.0, f32::NAN], 0.0);
        check(&[-2.0, -1.0], &[-1.5, 3.0], 0.5);
        check(&[1.0; 3], &[1.0; 5], 0.0);
    }
}
