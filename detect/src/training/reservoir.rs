//! A bounded sample of past rows that forgets slowly and lets no source dominate, by hash instead of by chance.
//!
//! Exponentially decayed sampling without replacement: Efraimidis and Spirakis (2006) with the forward decay of
//! Cormode, Shkapenyuk, Srivastava and Xu (2009). Whether a row is in depends on which events there were, not on how
//! they were batched.

use super::{Error, FEATURES};
use crate::forest;
use crate::series::log2;
use prunella_schemas::{Id, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub const ROWS_MAX: usize = 4_096;
/// Share of the rows that one source holds at most, or twice an equal share where sources are fewer than a hundred.
pub const SOURCE_SHARE: f64 = 0.02;
/// A row of a week ago is half as likely to be in as one of today.
const HALF_LIFE_MS: i64 = 7 * 86_400_000;
/// Priorities are in millionths (2^-20) of a half-life.
const ONE: f64 = 1_048_576.0;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub values: [f32; FEATURES],
    /// Fingerprint of the principal.
    pub principal: u64,
    pub class_uid: u32,
    pub time: Timestamp,
}

/// The lowest are kept.
type Key = (i64, [u8; 16]);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Reservoir {
    seed: u64,
    rows: BTreeMap<Key, Row>,
    sources: BTreeMap<u64, BTreeSet<Key>>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    seed: u64,
    rows: Vec<(Key, Row)>,
}

impl Reservoir {
    pub fn new(seed: u64) -> Reservoir {
        Reservoir { seed, rows: BTreeMap::new(), sources: BTreeMap::new() }
    }

    /// Admits a row if its lot says so; an event is admitted once.
    pub fn offer(&mut self, event: Id, row: Row) {
        let key = self.key(event, row.time);
        let is_full = self.rows.len() >= ROWS_MAX;
        let last = self.rows.last_key_value().map(|(last, _)| *last);
        // Most rows come too late to be in, and the last one tells; the look for a repeat is dear.
        if (is_full && last.is_some_and(|last| key > last)) || self.rows.contains_key(&key) {
            return;
        }
        let own = self.sources.get(&row.principal);
        let evicted = if own.is_some_and(|own| own.len() >= self.cap()) {
            own.and_then(|own| own.last().copied())
        } else if is_full {
            last
        } else {
            None
        };
        match evicted {
            Some(evicted) if key > evicted => return,
            Some(evicted) => self.remove(&evicted),
            None => {}
        }
        self.sources.entry(row.principal).or_default().insert(key);
        self.rows.insert(key, row);
    }

    /// The rows, those most sure to stay first, no source above its share as it is now.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        let cap = self.cap();
        let mut taken: BTreeMap<u64, usize> = BTreeMap::new();
        self.rows.values().filter(move |row| {
            let taken = taken.entry(row.principal).or_default();
            *taken += 1;
            *taken <= cap
        })
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Forgets all but `rows` rows, drawn evenly.
    pub fn shrink_to(&mut self, rows: usize) {
        while self.rows.len() > rows {
            let Some((last, _)) = self.rows.last_key_value() else { return };
            let last = *last;
            self.remove(&last);
        }
    }

    /// Forgets the rows of some sources.
    pub fn forget(&mut self, is_unwanted: impl Fn(u64) -> bool) {
        let unwanted: Vec<u64> = self.sources.keys().copied().filter(|source| is_unwanted(*source)).collect();
        for source in unwanted {
            for key in self.sources.remove(&source).unwrap_or_default() {
                self.rows.remove(&key);
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(row) = self.rows.remove(key) else { return };
        if let Some(own) = self.sources.get_mut(&row.principal) {
            own.remove(key);
            if own.is_empty() {
                self.sources.remove(&row.principal);
            }
        }
    }

    fn cap(&self) -> usize {
        ((ROWS_MAX as f64 * SOURCE_SHARE) as usize).max(2 * ROWS_MAX / self.sources.len().max(1))
    }

    /// The logarithm of an exponential lot, less the time: the later, the lower.
    fn key(&self, event: Id, time: Timestamp) -> Key {
        let unit = ((lot(self.seed, event) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let lot = (log2(-log2(unit)) * ONE) as i64;
        let age = i128::from(time.millis()) * ONE as i128 / i128::from(HALF_LIFE_MS);
        (lot.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX)), event.0)
    }
}

/// A number that an event draws under a seed.
pub(super) fn lot(seed: u64, event: Id) -> u64 {
    let event = u128::from_be_bytes(event.0);
    mix(mix(seed ^ (event >> 64) as u64) ^ event as u64)
}

/// A step of `SplitMix64`.
pub(super) fn mix(z: u64) -> u64 {
    forest::mix(z.wrapping_add(0x9E37_79B9_7F4A_7C15))
}

impl From<Reservoir> for Stored {
    fn from(reservoir: Reservoir) -> Stored {
        let rows = reservoir.rows.into_iter().collect();
        Stored { seed: reservoir.seed, rows }
    }
}

impl TryFrom<Stored> for Reservoir {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Reservoir, Error> {
        let rising = stored.rows.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !rising || stored.rows.len() > ROWS_MAX {
            return Err(Error::Broken("its sample".into()));
        }
        let mut reservoir = Reservoir::new(stored.seed);
        for (key, row) in stored.rows {
            reservoir.sources.entry(row.principal).or_default().insert(key);
            reservoir.rows.insert(key, row);
        }
        Ok(reservoir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;

    fn event(number: u64) -> Id {
        Id::derive("event", &[&number.to_le_bytes()])
    }

    fn row(principal: u64, time: i64) -> Row {
        Row { values: [time as f32; FEATURES], principal, class_uid: 6003, time: Timestamp(time) }
    }

    #[test]
    fn no_source_holds_more_than_its_share() {
        let mut reservoir = Reservoir::new(1);
        for number in 0..40_000 {
            // One source in two events, 500 others.
            let principal = if number % 2 == 0 { 0 } else { 1 + number / 2 % 500 };
            reservoir.offer(event(number), row(principal, 0));
        }
        let rows: Vec<&Row> = reservoir.rows().collect();
        let loud = rows.iter().filter(|row| row.principal == 0).count();
        assert_eq!(loud, (ROWS_MAX as f64 * SOURCE_SHARE) as usize);
        assert!(rows.len() > ROWS_MAX * 9 / 10, "{}", rows.len());
        assert!(reservoir.len() <= ROWS_MAX);
        let mut alone = Reservoir::new(1);
        (0..2_000).for_each(|number| alone.offer(event(number), row(7, 0)));
        assert_eq!(alone.rows().count(), 2_000);
    }

    #[test]
    fn a_week_halves_the_odds() {
        let mut reservoir = Reservoir::new(3);
        for number in 0..200_000u64 {
            let time = if number % 2 == 0 { 0 } else { 7 * DAY_MS };
            reservoir.offer(event(number), row(number, time));
        }
        let old = reservoir.rows().filter(|row| row.time.millis() == 0).count() as f64;
        assert!((0.30..0.37).contains(&(old / ROWS_MAX as f64)), "{old}");
    }

    #[test]
    fn times_at_the_ends_of_the_scale_do_no_harm() {
        let mut reservoir = Reservoir::new(3);
        for (number, time) in [i64::MIN, -1, 0, i64::MAX].into_iter().enumerate() {
            reservoir.offer(event(number as u64), row(1, time));
        }
        assert_eq!(reservoir.len(), 4);
        reservoir.shrink_to(1);
        assert_eq!(reservoir.rows().next().map(|row| row.time.millis()), Some(i64::MAX));
    }

    proptest! {
        #[test]
        fn the_order_of_events_does_not_matter_below_the_cap(
            mut events in prop::collection::vec((0..2_000u64, 0..9 * DAY_MS), 0..300), seed in any::<u64>(),
        ) {
            events.sort_unstable();
            events.dedup_by_key(|(number, _)| *number);
            let fill = |events: &[(u64, i64)]| {
                let mut reservoir = Reservoir::new(seed);
                for (number, time) in events {
                    reservoir.offer(event(*number), row(number % 5, *time));
                    reservoir.offer(event(*number), row(number % 5, *time));
                }
                reservoir.shrink_to(100);
                reservoir
            };
            let forward = fill(&events);
            events.reverse();
            prop_assert_eq!(&fill(&events), &forward);
            let bytes = postcard::to_stdvec(&forward).unwrap();
            let again: Reservoir = postcard::from_bytes(&bytes).unwrap();
            prop_assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes);
        }
    }
}
