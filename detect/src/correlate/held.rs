//! Held: inputs of one tenant, kept back until those that belong before them can have come.

use prunella_schemas::{Id, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Most inputs kept back per tenant; beyond it the earliest go first.
pub const HELD_MAX: usize = 16_384;

/// The place of an input: by time, then scores before signals before proposals (providers write whole seconds, and what
/// is known of a second should be known before anything is concluded), then by event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub time: Timestamp,
    pub rank: u8,
    pub event: Id,
    pub message: Id,
}

/// How long (log time) the parts of an event are waited for. Whoever writes them may have to be started anew.
pub const TORN_MS_MAX: i64 = 10_000;
/// Events whose parts are waited for at once, per tenant; of more, what comes is taken as it comes.
const TORN_MAX: usize = 4_096;

/// What an input is of the event that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its score, which says how many others there are.
    Score { leads_to: u32 },
    /// One of the others.
    Other,
}

/// An event of which some parts have not come: they are on other topics, or are written again after a crash.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Torn {
    time: Timestamp,
    /// When its first part came, in log time.
    since: Timestamp,
    is_scored: bool,
    missing: i64,
}

/// Inputs in their order, and how long they have waited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Held<T> {
    items: BTreeMap<Place, T>,
    /// Per log time at which inputs came: the last place among them. At most one entry per millisecond of waiting.
    arrivals: VecDeque<(Timestamp, Place)>,
    newest: Option<Timestamp>,
    /// Everything up to here has waited long enough.
    passed: Option<Place>,
    /// Nothing of their time or later goes before they are whole.
    torn: BTreeMap<Id, Torn>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Held {
            items: BTreeMap::new(),
            arrivals: VecDeque::new(),
            newest: None,
            passed: None,
            torn: BTreeMap::new(),
        }
    }
}

impl<T> Held<T> {
    /// `now` never runs backwards.
    pub fn put(&mut self, place: Place, item: T, now: Timestamp) {
        self.newest = self.newest.max(Some(place.time));
        match self.arrivals.back_mut() {
            Some((at, last)) if *at == now => *last = place.max(*last),
            _ => self.arrivals.push_back((now, place)),
        }
        self.items.insert(place, item);
    }

    /// Says that a part of an event has come.
    pub fn note(&mut self, event: Id, time: Timestamp, part: Part, now: Timestamp) {
        if part == (Part::Score { leads_to: 0 }) && !self.torn.contains_key(&event) {
            return;
        }
        if self.torn.len() >= TORN_MAX && !self.torn.contains_key(&event) {
            return;
        }
        let torn = self.torn.entry(event).or_insert(Torn { time, since: now, is_scored: false, missing: 0 });
        torn.time = torn.time.min(time);
        match part {
            Part::Score { leads_to } => {
                torn.is_scored = true;
                torn.missing += i64::from(leads_to);
            }
            Part::Other => torn.missing -= 1,
        }
        if torn.is_scored && torn.missing <= 0 {
            self.torn.remove(&event);
        }
    }

    /// Whether more is held than may be.
    pub fn is_full(&self) -> bool {
        self.items.len() > HELD_MAX
    }

    /// The earliest input whose turn has come.
    pub fn take(&mut self, now: Timestamp, lateness_ms: i64, hold_ms: i64) -> Option<(Place, T)> {
        self.torn.retain(|_, torn| now.since_ms(torn.since) < TORN_MS_MAX);
        while let Some((at, last)) = self.arrivals.front().copied() {
            let is_released = self.items.first_key_value().is_none_or(|(first, _)| last < *first);
            if !is_released && now.since_ms(at) < hold_ms {
                break;
            }
            if !is_released {
                self.passed = self.passed.max(Some(last));
            }
            self.arrivals.pop_front();
        }
        let first = *self.items.first_key_value()?.0;
        // Strictly before: an input as late as is allowed may still belong beside the first.
        let watermark = self.newest?.plus_ms(lateness_ms.max(0).saturating_neg());
        let overflows = self.is_full();
        if overflows {
            self.passed = self.passed.max(Some(first));
        }
        let is_due =
            overflows || (!self.is_blocked(first) && (first.time < watermark || Some(first) <= self.passed));
        if is_due { self.items.pop_first() } else { None }
    }

    /// The earliest input, whether its turn has come or not.
    pub fn take_any(&mut self) -> Option<(Place, T)> {
        self.items.pop_first()
    }

    /// The log time at which an input will have waited long enough.
    pub fn next_due(&self, hold_ms: i64) -> Option<Timestamp> {
        let (first, _) = self.items.first_key_value()?;
        if self.is_blocked(*first) {
            let oldest = self.torn.values().map(|torn| torn.since).min()?;
            return Some(oldest.plus_ms(TORN_MS_MAX));
        }
        // What was blocked may have waited long enough in the meantime.
        let since = self.arrivals.front().map_or(Timestamp::ZERO, |(at, _)| *at);
        Some(since.plus_ms(hold_ms))
    }

    fn is_blocked(&self, place: Place) -> bool {
        self.torn.values().any(|torn| torn.time <= place.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(time: i64, rank: u8) -> Place {
        let message = Id::derive("m", &[&time.to_le_bytes(), &[rank]]);
        Place { time: Timestamp(time), rank, event: message, message }
    }

    fn take_all(held: &mut Held<i64>, now: i64) -> Vec<i64> {
        std::iter::from_fn(|| held.take(Timestamp(now), 100, 20)).map(|(_, item)| item).collect()
    }

    #[test]
    fn what_comes_in_disorder_goes_in_order() {
        let mut held = Held::default();
        for time in [50, 30, 40, 130] {
            held.put(place(time, 0), time, Timestamp(0));
        }
        assert_eq!(take_all(&mut held, 0), [] as [i64; 0], "30 is exactly as late as is allowed");
        held.put(place(151, 0), 151, Timestamp(5));
        assert_eq!(take_all(&mut held, 5), [30, 40, 50]);
        held.put(place(45, 0), 45, Timestamp(6));
        assert_eq!(take_all(&mut held, 6), [45], "too late to be in order");
        assert_eq!(held.next_due(20), Some(Timestamp(20)));
        // Whoever has waited long enough takes those before it along, and nothing else.
        held.put(place(120, 0), 120, Timestamp(19));
        assert_eq!(take_all(&mut held, 20), [120, 130]);
        held.put(place(125, 0), 125, Timestamp(21));
        assert_eq!(take_all(&mut held, 21), [125], "its time has passed");
        assert_eq!((take_all(&mut held, 24), held.next_due(20)), (vec![], Some(Timestamp(25))));
        assert_eq!((take_all(&mut held, 25), held.next_due(20)), (vec![151], None));
    }

    #[test]
    fn of_one_time_scores_come_first() {
        let mut held = Held::default();
        (0..3).rev().for_each(|rank| held.put(place(7, rank), i64::from(rank), Timestamp(0)));
        assert_eq!(take_all(&mut held, 20), [0, 1, 2]);
    }
}
