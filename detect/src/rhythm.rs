//! Rhythm: how much a principal does per hour of its own life, learnt in whole numbers so that a replay is exact.

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
    fn add(&mut self, amounts: [u64; MEASURES]) {
        for (sum, amount) in self.amounts.iter_mut().zip(amounts) {
            *sum = sum.saturating_add(amount);
        }
    }
}

impl Rhythm {
    /// Counts an event and, per measure, what it amounts to.
    pub fn learn(&mut self, time: Timestamp, newest: Timestamp, amounts: [u64; MEASURES]) {
        let index = time.0.div_euclid(HOUR_MS);
        if self.closed_through.is_some_and(|closed| index <= closed) {
            return;
        }
        match self.open.iter_mut().rev().find(|hour| hour.index == index) {
            Some(hour) => hour.add(amounts),
            None => {
                let at = self.open.partition_point(|hour| hour.index < index);
                self.open.insert(at, Hour { index, amounts, flagged: false });
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
        for (usual, amount) in self.usual.iter_mut().zip(hour.amounts) {
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

/// `1000 * log2(1 + n)`, linear between powers of two: whole numbers, so every machine agrees.
fn log2_mbit(n: u64) -> i64 {
    let n = u128::from(n) + 1;
    let whole = n.ilog2();
    let fraction = ((n - (1 << whole)) * 1_000) >> whole;
    i64::from(whole) * 1_000 + fraction as i64
}

/// The inverse of [`log2_mbit`].
fn exp2_of_mbit(mbit: i64) -> u64 {
    let (whole, fraction) = (mbit.max(0) / 1_000, mbit.max(0) % 1_000);
    let power = 1u128 << whole.min(64);
    let value = power + ((power * fraction as u128) / 1_000);
    u64::try_from(value.saturating_sub(1)).unwrap_or(u64::MAX)
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
            assert!(back.abs_diff(n) <= n / 500 + 1, "{n} {back}");
        }
    }

    #[test]
    fn hours_are_learnt_late_and_once_and_flagged_hours_never() {
        let mut rhythm = Rhythm::default();
        let hour = |h: i64, minute: i64| Timestamp(h * HOUR_MS + minute * 60_000);
        rhythm.learn(hour(0, 5), hour(0, 5), [100, 0]);
        rhythm.learn(hour(1, 10), hour(1, 10), [100, 0]);
        rhythm.learn(hour(0, 50), hour(1, 10), [28, 0]);
        assert_eq!((rhythm.hours, rhythm.amount(Measure::Bytes, hour(0, 0))), (0, 128));
        rhythm.flag(hour(1, 0));
        rhythm.learn(hour(3, 0), hour(3, 0), [0, 0]);
        assert_eq!((rhythm.hours, rhythm.most(Measure::Bytes)), (1, 128));
        rhythm.learn(hour(0, 55), hour(3, 0), [1 << 40, 0]);
        assert_eq!(rhythm.most(Measure::Bytes), 128, "a closed hour stays closed");
        assert!(
            rhythm.excess_mbit(Measure::Bytes, 1 << 30) > 0 && rhythm.excess_mbit(Measure::Bytes, 200) < 0
        );
    }
}
