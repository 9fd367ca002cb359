//! Known: a bounded set of what a principal has been seen with, each with when and how often.

use prunella_schemas::Timestamp;
use serde::{Deserialize, Serialize};

/// Things by fingerprint. When it is full, the one not seen for longest is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Known(Vec<Acquaintance>);

/// `(key, first, last, count)`, so that a snapshot stays small.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, i64, i64, u32)", into = "(u64, i64, i64, u32)")]
pub struct Acquaintance {
    key: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    pub count: u32,
}

impl Known {
    pub fn get(&self, key: u64) -> Option<&Acquaintance> {
        self.0.binary_search_by_key(&key, |known| known.key).ok().and_then(|at| self.0.get(at))
    }

    pub fn count(&self, key: u64) -> u32 {
        self.get(key).map_or(0, |known| known.count)
    }

    pub fn meet(&mut self, key: u64, time: Timestamp, known_max: usize) {
        match self.0.binary_search_by_key(&key, |known| known.key) {
            Ok(at) => {
                if let Some(known) = self.0.get_mut(at) {
                    known.first = known.first.min(time);
                    known.last = known.last.max(time);
                    known.count = known.count.saturating_add(1);
                }
            }
            Err(at) => {
                self.0.insert(at, Acquaintance { key, first: time, last: time, count: 1 });
                if self.0.len() > known_max {
                    self.forget_oldest();
                }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many were first met at `from` or later.
    pub fn met_since(&self, from: Timestamp) -> usize {
        self.0.iter().filter(|known| known.first >= from).count()
    }

    fn forget_oldest(&mut self) {
        let oldest =
            self.0.iter().enumerate().min_by_key(|(_, known)| (known.last, known.key)).map(|(at, _)| at);
        if let Some(at) = oldest {
            self.0.remove(at);
        }
    }
}

impl From<(u64, i64, i64, u32)> for Acquaintance {
    fn from((key, first, last, count): (u64, i64, i64, u32)) -> Self {
        Acquaintance { key, first: Timestamp(first), last: Timestamp(last), count }
    }
}

impl From<Acquaintance> for (u64, i64, i64, u32) {
    fn from(known: Acquaintance) -> Self {
        (known.key, known.first.0, known.last.0, known.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_was_not_seen_for_longest() {
        let mut known = Known::default();
        for (key, time) in [(1, 10), (2, 20), (1, 30), (3, 40)] {
            known.meet(key, Timestamp(time), 2);
        }
        assert_eq!((known.count(1), known.count(2), known.count(3), known.len()), (2, 0, 1, 2));
        known.meet(1, Timestamp(5), 2);
        assert_eq!(known.get(1).map(|k| (k.first, k.last)), Some((Timestamp(5), Timestamp(30))));
        assert_eq!(known.met_since(Timestamp(40)), 1);
    }
}
