//! Rhythm: how much a principal does per hour of its own life, learnt in whole numbers so that a replay is exact.

use crate::clock::AHEAD_MS_MAX;
use crate::log2::{FRACTION_BITS, exp2_m1, log2_1p};
use prunella_schemas::Timestamp;
use serde::{Deserialize, Serialize};

/// What is counted per hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Bytes that left towards the caller.
    Bytes,
    /// Things deleted or made unreadable.
    Destroyed,
}

const MEASURES: usize = 2;
const HOUR_MS: i64 = 3_600_000;
/// An hour is learnt once the newest event is this far past its end, in milliseconds.
const SETTLE_MS: i64 = 15 * 60_000;
/// Hours kept open for late events.
const OPEN_HOURS_MAX: usize = 4;
/// After this many hours the mean forgets the oldest at the same pace.
const MEMORY_HOURS: i64 = 48;

/// Hours in which the principal did anything at all, and what is usual in one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rhythm {
    open: Vec<Hour>,
    /// Hours learnt.
    pub hours: u32,
    /// Hours up to and including this one are closed.
    closed_through: Option<i64>,
    usual: [Usual; MEASURES],
    /// How many of the hours learnt fell on each hour of the day.
    of_day: [u32; 24],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Hour {
    index: i64,
    amounts: [u64; MEASURES],
    /// Of these, what was flagged: it counts while the hour lasts, and is not learnt.
    flagged_amounts: [u64; MEASURES],
    /// A finding fell into this hour: it is not learnt.
    flagged: bool,
}

/// The usual amount of an active hour, on a logarithmic scale in thousandths of a bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Usual {
    mean_mbit: i64,
    variance_mbit2: i64,
    most: u64,
}

impl Hour {
    fn add(&mut self, amounts: [u64; MEASURES], flagged: bool) {
        let add = |sums: &mut [u64; MEASURES]| {
            sums.iter_mut().zip(amounts).for_each(|(sum, amount)| *sum = sum.saturating_add(amount));
        };
        add(&mut self.amounts);
        if flagged {
            add(&mut self.flagged_amounts);
        }
    }
}

impl Rhythm {
    /// Counts an event and, per measure, what it amounts to. What was `flagged` counts in its hour alone.
    pub fn learn(&mut self, time: Timestamp, newest: Timestamp, amounts: [u64; MEASURES], flagged: bool) {
        let index = time.0.div_euclid(HOUR_MS);
        let was_ahead = |hour: i64| hour.saturating_sub(index) > AHEAD_MS_MAX / HOUR_MS;
        self.open.retain(|hour| !was_ahead(hour.index));
        if self.closed_through.is_some_and(was_ahead) {
            self.closed_through = Some(index - 1);
        }
        if self.closed_through.is_some_and(|closed| index <= closed) {
            return;
        }
        match self.open.iter_mut().rev().find(|hour| hour.index == index) {
            Some(hour) => hour.add(amounts, flagged),
            None => {
                let at = self.open.partition_point(|hour| hour.index < index);
                let mut hour = Hour { index, ..Hour::default() };
                hour.add(amounts, flagged);
                self.open.insert(at, hour);
            }
        }
        while self.open.first().is_some_and(|hour| {
            self.open.len() > OPEN_HOURS_MAX
                || newest.0 >= (hour.index + 1).saturating_mul(HOUR_MS).saturating_add(SETTLE_MS)
        }) {
            let hour = self.open.remove(0);
            self.close(hour);
        }
    }

    /// The hour of `time` holds a finding; what happened in it is not usual.
    pub fn flag(&mut self, time: Timestamp) {
        let index = time.0.div_euclid(HOUR_MS);
        match self.open.iter_mut().find(|hour| hour.index == index) {
            Some(hour) => hour.flagged = true,
            None => {
                let at = self.open.partition_point(|hour| hour.index < index);
                self.open.insert(at, Hour { index, flagged: true, ..Hour::default() });
            }
        }
    }

    /// What the hour of `time` amounts to so far.
    pub fn amount(&self, measure: Measure, time: Timestamp) -> u64 {
        let index = time.0.div_euclid(HOUR_MS);
        self.open.iter().find(|hour| hour.index == index).map_or(0, |hour| hour.amounts[measure as usize])
    }

    /// The most in any hour learnt.
    pub fn most(&self, measure: Measure) -> u64 {
        self.usual[measure as usize].most
    }

    /// By how many thousandths of a bit (a doubling is 1,000) `amount` exceeds mean plus four standard deviations.
    pub fn excess_mbit(&self, measure: Measure, amount: u64) -> i64 {
        let usual = &self.usual[measure as usize];
        let deviation = usual.variance_mbit2.max(0).isqrt().clamp(SPREAD_MBIT_MIN, SPREAD_MBIT_MAX);
        log2_mbit(amount) - usual.mean_mbit - 4 * deviation
    }

    /// The usual amount of an hour (the geometric mean).
    pub fn typical(&self, measure: Measure) -> u64 {
        exp2_of_mbit(self.usual[measure as usize].mean_mbit)
    }

    /// Hours learnt on the hour of day of `time` and its two neighbours, in thousandths of all. An hour under way does
    /// not count, so that a burst in it cannot make it usual.
    pub fn near_permille(&self, time: Timestamp) -> u64 {
        let hour = usize::from(time.hour());
        let near: u64 = [23, 0, 1].iter().map(|shift| u64::from(self.of_day[(hour + shift) % 24])).sum();
        (near * 1_000).checked_div(u64::from(self.hours)).unwrap_or(0)
    }

    fn close(&mut self, hour: Hour) {
        self.closed_through = Some(self.closed_through.map_or(hour.index, |closed| closed.max(hour.index)));
        if hour.flagged {
            return;
        }
        self.hours = self.hours.saturating_add(1);
        let of_day = hour.index.rem_euclid(24) as usize;
        self.of_day.iter_mut().skip(of_day).take(1).for_each(|count| *count += 1);
        let weight = i64::from(self.hours).min(MEMORY_HOURS);
        let learnt = hour.amounts.iter().zip(hour.flagged_amounts).map(|(all, flagged)| all - flagged);
        for (usual, amount) in self.usual.iter_mut().zip(learnt) {
            let step = log2_mbit(amount) - usual.mean_mbit;
            usual.mean_mbit += step / weight;
            usual.variance_mbit2 +=
                (step * (log2_mbit(amount) - usual.mean_mbit) - usual.variance_mbit2) / weight;
            usual.most = usual.most.max(amount);
        }
    }
}

/// Nobody is steadier than half a doubling, whatever few hours say.
const SPREAD_MBIT_MIN: i64 = 500;
/// Idle hours between busy ones are no excuse for sixty times the usual.
const SPREAD_MBIT_MAX: i64 = 1_500;

/// `1000 * log2(1 + n)`, rounded.
fn log2_mbit(n: u64) -> i64 {
    (i64::from(log2_1p(n)) * 1_000 + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS
}

/// The inverse of [`log2_mbit`].
fn exp2_of_mbit(mbit: i64) -> u64 {
    let fixed = (mbit.clamp(0, 64_000) << FRACTION_BITS) / 1_000;
    exp2_m1(u32::try_from(fixed).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_number_logarithm_inverts() {
        for (n, want) in [(0, 0), (1, 1_000), (3, 2_000), (1_023, 10_000), (u64::MAX, 64_000)] {
            assert_eq!(log2_mbit(n), want, "{n}");
        }
        for n in [0u64, 1, 7, 1_000, 1 << 40] {
            let back = exp2_of_mbit(log2_mbit(n));
            assert!(back.abs_diff(n) <= n / 1_000 + 1, "{n} {back}");
        }
    }

    #[test]
    fn hours_are_learnt_late_and_once_and_flagged_hours_never() {
        let mut rhythm = Rhythm::default();
        let hour = |h: i64, minute: i64| Timestamp(h * HOUR_MS + minute * 60_000);
        rhythm.learn(hour(0, 5), hour(0, 5), [100, 0], false);
        rhythm.learn(hour(1, 10), hour(1, 10), [100, 0], false);
        rhythm.learn(hour(0, 50), hour(1, 10), [28, 0], false);
        assert_eq!((rhythm.hours, rhythm.amount(Measure::Bytes, hour(0, 0))), (0, 128));
        rhythm.flag(hour(1, 0));
        rhythm.learn(hour(3, 0), hour(3, 0), [0, 0], false);
        assert_eq!((rhythm.hours, rhythm.most(Measure::Bytes)), (1, 128));
        rhythm.learn(hour(0, 55), hour(3, 0), [1 << 40, 0], false);
        assert_eq!(rhythm.most(Measure::Bytes), 128, "a closed hour stays closed");
        assert!(
            rhythm.excess_mbit(Measure::Bytes, 1 << 30) > 0 && rhythm.excess_mbit(Measure::Bytes, 200) < 0
        );
    }

    #[test]
    fn what_is_flagged_counts_in_its_hour_and_is_not_learnt() {
        let mut rhythm = Rhythm::default();
        let hour = |h: i64| Timestamp(h * HOUR_MS);
        rhythm.learn(hour(0), hour(0), [100, 0], false);
        rhythm.learn(hour(0), hour(0), [1 << 40, 0], true);
        assert_eq!(rhythm.amount(Measure::Bytes, hour(0)), (1 << 40) + 100);
        rhythm.learn(hour(9), hour(9), [0, 0], false);
        assert_eq!(rhythm.most(Measure::Bytes), 100);
    }

    #[test]
    fn an_hour_in_the_far_future_does_not_close_those_before_it() {
        let mut rhythm = Rhythm::default();
        let hour = |h: i64| Timestamp(h * HOUR_MS);
        for h in [0, 2_000_000, 2_000_005, 1, 2, 3] {
            rhythm.learn(hour(h), hour(h), [100, 0], false);
        }
        let hours = rhythm.hours;
        rhythm.learn(hour(9), hour(9), [7, 0], false);
        assert_eq!((rhythm.hours - hours, rhythm.amount(Measure::Bytes, hour(9))), (2, 7));
    }
}
