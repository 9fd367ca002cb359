//! Control: how improbable an event must be, in this tenant and today, to become a finding.
//!
//! Two bars; the more generous one counts.
//!
//! - **Rate**: `expected_false_findings_per_day / m`, where m is the number of events scored in 24 h. With p-values that
//!   are uniform on ordinary events, that many false findings are expected in a day.
//! - **Discovery**: the Benjamini-Hochberg threshold (JRSS B 57, 1995) over the same 24 h: the largest t for which
//!   `t * m <= q * N(t)`. It rises above the other bar only when more than `expected / q` principals are that unusual.
//!
//! N counts *principals per hour*, by their smallest p-value, and not events: a finding is what the operator reads, so
//! the share of false ones is controlled among findings, and a principal that floods the log with oddities does not
//! lower the bar for the others. p-values are rounded up to one of 16 steps per octave, which errs on the safe side and
//! keeps the window exact and small however much happens.
//!
//! Online procedures (LORD, SAFFRON) decide at once and never again; but their bar depends on the order of tests within
//! a second, and over millions of ordinary events they have spent their wealth when the attack comes. A rolling window
//! forgets. Its bar may fall after an event was refused: such an event is released late, while it is fresh, because the
//! guarantee is about all that lies below the final bar, and because the first step of an attack is what one wants to see.

use super::Config;
use prunella_schemas::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// At the start, and in a quiet tenant, no fewer events than this are assumed in 24 h.
pub const TESTS_MIN: u64 = 1_000;
/// p-values above this are never a discovery.
pub const P_VALUE_MAX: f64 = 0.01;
/// 2^-40: p-values below it count as this.
const P_VALUE_MIN: f64 = 1.0 / (1u64 << 40) as f64;
const BUCKETS_MAX: i64 = 24;
const BUCKET_MS: i64 = 3_600_000;
const DAY_MS: i64 = BUCKETS_MAX * BUCKET_MS;
/// The number of events in a day is projected from no shorter a time than this.
const COVERED_MS_MIN: i64 = 600_000;

/// One tenant's last 24 h of event time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Control {
    buckets: VecDeque<Bucket>,
    /// Since when events have been counted without a gap of a day.
    since: Timestamp,
    newest: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bucket {
    hour: i64,
    tests: u64,
    /// Principals by step of their smallest p-value.
    small: BTreeMap<u16, u32>,
}

/// Where a principal's smallest p-value of an hour is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub since: Timestamp,
    hour: i64,
    step: u16,
}

impl Control {
    /// Counts one scored event. Late ones count as of now: what matters is how much is judged in a day.
    pub fn count(&mut self, time: Timestamp) {
        self.advance(time);
        if let Some(bucket) = self.buckets.back_mut() {
            bucket.tests += 1;
        }
    }

    /// Counts a principal's p-value, in place of the one `before` if that one was larger.
    pub fn record(&mut self, p_value: f64, time: Timestamp, before: Option<Counted>) -> Option<Counted> {
        self.advance(time);
        let Some(step) = step(p_value) else { return before };
        match before {
            Some(before) if before.step <= step => Some(before),
            Some(before) => {
                self.take_back(before);
                if let Some(bucket) = self.buckets.iter_mut().find(|bucket| bucket.hour == before.hour) {
                    *bucket.small.entry(step).or_default() += 1;
                }
                Some(Counted { step, ..before })
            }
            None => {
                let bucket = self.buckets.back_mut()?;
                *bucket.small.entry(step).or_default() += 1;
                Some(Counted { since: time, hour: bucket.hour, step })
            }
        }
    }

    /// The largest p-value that becomes a finding now.
    pub fn bar(&self, config: &Config) -> f64 {
        let rate = config.expected_false_findings_per_day / self.tests_per_day() as f64;
        rate.max(self.discovery(config.false_discovery_rate)).min(P_VALUE_MAX)
    }

    /// Events scored in 24 h, projected from what the window covers.
    pub fn tests_per_day(&self) -> u64 {
        let oldest = self.newest.0.div_euclid(BUCKET_MS).saturating_sub(BUCKETS_MAX - 1);
        let start = self.since.max(Timestamp(oldest.saturating_mul(BUCKET_MS)));
        let covered_ms = self.newest.since_ms(start).clamp(COVERED_MS_MIN, DAY_MS);
        let projected = u128::from(self.tests()) * DAY_MS as u128 / covered_ms as u128;
        u64::try_from(projected).unwrap_or(u64::MAX).max(TESTS_MIN)
    }

    fn discovery(&self, q: f64) -> f64 {
        let tests = self.tests().max(TESTS_MIN) as f64;
        let mut all: BTreeMap<u16, u64> = BTreeMap::new();
        for (step, count) in self.buckets.iter().flat_map(|bucket| &bucket.small) {
            *all.entry(*step).or_default() += u64::from(*count);
        }
        let (mut below, mut bar) = (0, 0.0);
        for (step, count) in all {
            below += count;
            if value(step) * tests <= q * below as f64 {
                bar = value(step);
            }
        }
        bar
    }

    fn tests(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.tests).sum()
    }

    fn take_back(&mut self, counted: Counted) {
        let Some(bucket) = self.buckets.iter_mut().find(|bucket| bucket.hour == counted.hour) else { return };
        if let Some(count) = bucket.small.get_mut(&counted.step) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                bucket.small.remove(&counted.step);
            }
        }
    }

    fn advance(&mut self, time: Timestamp) {
        if self.buckets.is_empty() {
            (self.since, self.newest) = (time, time);
        }
        self.newest = self.newest.max(time);
        let hour = self.newest.0.div_euclid(BUCKET_MS);
        while self.buckets.front().is_some_and(|first| hour.saturating_sub(first.hour) >= BUCKETS_MAX) {
            self.buckets.pop_front();
        }
        if self.buckets.is_empty() {
            self.since = self.newest;
        }
        if self.buckets.back().is_none_or(|last| last.hour < hour) {
            self.buckets.push_back(Bucket { hour, ..Bucket::default() });
        }
    }
}

/// The step to which a p-value is rounded up: exponent and the first four bits of the mantissa.
fn step(p_value: f64) -> Option<u16> {
    let below = (1u64 << 48) - 1;
    (p_value <= P_VALUE_MAX).then(|| (((p_value.max(P_VALUE_MIN)).to_bits() + below) >> 48) as u16)
}

fn value(step: u16) -> f64 {
    f64::from_bits(u64::from(step) << 48)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(n: i64) -> Timestamp {
        Timestamp(n * BUCKET_MS)
    }

    #[test]
    fn p_values_are_rounded_up_by_a_sixteenth_at_most() {
        for p in [1e-2, 9.9e-3, 1e-4, 3.3e-7, 2f64.powi(-20), P_VALUE_MIN] {
            let up = value(step(p).unwrap());
            assert!(up >= p && up <= p * (1.0 + 1.0 / 16.0), "{p} became {up}");
        }
        assert_eq!(value(step(2f64.powi(-20)).unwrap()), 2f64.powi(-20));
        assert_eq!([0.0, -1.0, 1e-300].map(step), [step(P_VALUE_MIN); 3]);
        assert_eq!([0.011, 1.0, f64::NAN, f64::INFINITY].map(step), [None; 4]);
    }

    #[test]
    fn the_number_of_events_in_a_day_is_projected_and_rolls() {
        let mut control = Control::default();
        assert_eq!(control.tests_per_day(), TESTS_MIN);
        let mut per_day = Vec::new();
        for minute in 0..3 * 1_440 {
            (0..10).for_each(|_| control.count(Timestamp(minute * 60_000)));
            per_day.push(control.tests_per_day());
        }
        let wrong = per_day[10..].iter().filter(|m| !(14_400..=16_000).contains(*m));
        assert_eq!(
            wrong.count(),
            0,
            "ten a minute are 14,400 a day, from the first minutes on: {:?}",
            &per_day[..20]
        );
        assert!(control.buckets.len() <= BUCKETS_MAX as usize);
        control.count(hour(24 * 10));
        assert_eq!((control.tests(), control.tests_per_day()), (1, TESTS_MIN));
    }

    #[test]
    fn the_discovery_bar_is_that_of_benjamini_and_hochberg() {
        let mut control = Control::default();
        (0..2_000).for_each(|_| control.count(hour(0)));
        // Powers of two are steps, so that nothing is rounded: q N / m = 0.05 * 2 / 2,000 = 5e-5 for the second.
        for exponent in [-16, -15, -9, -8] {
            control.record(2f64.powi(exponent), hour(0), None);
        }
        assert_eq!(control.discovery(0.05), 2f64.powi(-15));
        assert_eq!(control.discovery(0.000_1), 0.0);
        // 2^-9 * 2,000 = 3.9 is more than 3 q for q = 1, and less for q = 1.4.
        assert_eq!([1.0, 1.4].map(|q| control.discovery(q)), [2f64.powi(-15), 2f64.powi(-9)]);
    }

    #[test]
    fn of_one_principal_the_smallest_counts() {
        let mut control = Control::default();
        let first = control.record(1e-3, hour(0), None);
        let second = control.record(5e-3, hour(0), first);
        assert_eq!(first, second);
        let third = control.record(1e-6, hour(1), second).unwrap();
        assert_eq!(control.buckets.iter().map(|bucket| bucket.small.len()).sum::<usize>(), 1);
        assert_eq!(control.buckets[0].small.get(&step(1e-6).unwrap()), Some(&1));
        control.record(1e-9, hour(30), Some(third));
        assert!(control.buckets.len() == 1, "what rolled away is not counted again");
    }
}
