//! Outliers: sources most of whose events are unusual, and which therefore do not say what is ordinary.
//!
//! Attacks that nobody flags make every p-value too large by as much as they are of the calibration: with one event in
//! a hundred, nothing is called rarer than that. Scores alone do not tell them from rare work, whose scores they join
//! without a gap; but rare work is everybody's now and then, and an attack is nearly all that its source does. So
//! sources are judged as wholes, as in conformal tests with groups (Lee, Barber, Willett 2023) and with contaminated
//! references (Bashari, Sesia, Romano 2025), and one that is an outlier is left out with all of its events.
//!
//! That takes many sources: where one in ten is seldom seen and therefore always unusual, none of those is an outlier.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sources watched at once; more, and all counts are halved.
pub const WATCHED_MAX: usize = 1_024;
/// An event with a smaller p-value is unusual.
const P_VALUE_MAX: f64 = 0.05;
/// Unusual events that a source must have, and as many as it has others. An ordinary source has them with a
/// probability of less than one in a million.
const UNUSUAL_MIN: u32 = 8;
/// At this many events all counts are halved, so that who changes is seen to have changed.
const EVENTS_MAX: u64 = 1 << 18;
/// No more than one source in so many is an outlier, nor does one event in so many come from them; else that is what is
/// ordinary here.
const SOURCES_SHARE: u64 = 50;
const EVENTS_SHARE: u64 = 20;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outliers {
    watched: BTreeMap<u64, Watched>,
    events: u64,
    outliers: u64,
    /// Events of outliers.
    of_outliers: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Watched {
    events: u32,
    unusual: u32,
}

impl Watched {
    fn is_outlier(self) -> bool {
        self.unusual >= UNUSUAL_MIN && 2 * self.unusual >= self.events
    }
}

impl Outliers {
    /// Counts an event of `source`.
    pub fn count(&mut self, source: u64, p_value: f64) {
        self.events += 1;
        let is_unusual = p_value <= P_VALUE_MAX;
        // A source is watched from its first unusual event on.
        if !is_unusual && !self.watched.contains_key(&source) {
            return;
        }
        let watched = self.watched.entry(source).or_default();
        let (before, was_outlier) = (*watched, watched.is_outlier());
        watched.events += 1;
        watched.unusual += u32::from(is_unusual);
        let now = *watched;
        if was_outlier {
            (self.outliers, self.of_outliers) =
                (self.outliers - 1, self.of_outliers - u64::from(before.events));
        }
        self.add(now);
        if self.watched.len() > WATCHED_MAX || self.events >= EVENTS_MAX {
            self.halve();
        }
    }

    /// Whether the source, one of so many, says nothing of what is ordinary.
    pub fn holds(&self, source: u64, sources: usize) -> bool {
        self.outliers > 0
            && self.outliers.saturating_mul(SOURCES_SHARE) <= sources as u64
            && self.of_outliers.saturating_mul(EVENTS_SHARE) <= self.events
            && self.watched.get(&source).is_some_and(|watched| watched.is_outlier())
    }

    fn add(&mut self, watched: Watched) {
        if watched.is_outlier() {
            self.outliers += 1;
            self.of_outliers += u64::from(watched.events);
        }
    }

    fn halve(&mut self) {
        (self.events, self.outliers, self.of_outliers) = (self.events / 2, 0, 0);
        self.watched.retain(|_, watched| {
            *watched = Watched { events: watched.events / 2, unusual: watched.unusual / 2 };
            watched.unusual > 0
        });
        for watched in self.watched.values().copied().collect::<Vec<_>>() {
            self.add(watched);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One event of an attacker for every 99 of 1,000 others, of which each 20th is unusual.
    fn mixed(events: u64, outliers: &mut Outliers) {
        for number in 0..events {
            let (source, p_value) = match number % 100 {
                0 => (u64::MAX - number / 100 % 20, 0.01),
                // Of each, another one every time.
                _ => (number * 7 % 1_000, if (number + number / 1_000) % 20 == 3 { 0.03 } else { 0.5 }),
            };
            outliers.count(source, p_value);
        }
    }

    #[test]
    fn who_is_nearly_always_unusual_is_an_outlier_until_it_no_longer_is() {
        let mut outliers = Outliers::default();
        mixed(30_000, &mut outliers);
        assert!((0..20).all(|attacker| outliers.holds(u64::MAX - attacker, 1_020)));
        assert!((0..1_000).all(|source| !outliers.holds(source, 1_020)));
        assert!(!outliers.holds(u64::MAX, 900), "20 of 900 are too many to be outliers");
        (0..40).for_each(|_| outliers.count(u64::MAX, 0.5));
        assert!(!outliers.holds(u64::MAX, 1_020) && outliers.holds(u64::MAX - 1, 1_020));
    }

    #[test]
    fn what_many_do_is_ordinary_however_unusual_it_is_called() {
        let mut outliers = Outliers::default();
        for number in 0..10_000u64 {
            outliers.count(number % 50, if number % 50 < 10 { 0.001 } else { 0.5 });
        }
        assert!((0..50).all(|source| !outliers.holds(source, 50_000)), "a fifth of all events");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn counts_are_bounded_and_right(sources in prop::collection::vec((0..4_000u64, 0.0..0.1f64), 0..6_000)) {
            let mut outliers = Outliers::default();
            sources.iter().for_each(|(source, p_value)| outliers.count(*source, *p_value));
            prop_assert!(outliers.watched.len() <= WATCHED_MAX);
            let found = || outliers.watched.values().filter(|watched| watched.is_outlier());
            prop_assert_eq!(outliers.outliers, found().count() as u64);
            prop_assert_eq!(outliers.of_outliers, found().map(|watched| u64::from(watched.events)).sum::<u64>());
        }
    }
}
