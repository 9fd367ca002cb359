//! Shares: whether a source has had its share of what is counted, in bounded memory.

use super::reservoir::SOURCE_SHARE;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sources counted at once: whoever has more than one in so many is among them (Misra and Gries 1982).
pub const SOURCES_MAX: usize = 256;
/// Of so few, anybody may have all.
const TOTAL_MIN: u64 = 1_024;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Shares {
    counts: BTreeMap<u64, u32>,
    /// The most that were counted at once.
    sources: u64,
    total: u64,
}

impl Shares {
    /// Counts one of `source`, unless it has had its share: as much as of a [`super::Reservoir`].
    pub fn admit(&mut self, source: u64) -> bool {
        let own = u64::from(self.counts.get(&source).copied().unwrap_or_default());
        let equal = 2 * self.total / self.sources.max(1);
        let share = ((self.total as f64 * SOURCE_SHARE) as u64).max(equal);
        if self.total >= TOTAL_MIN && own >= share {
            return false;
        }
        self.total += 1;
        if self.counts.len() >= SOURCES_MAX && own == 0 {
            self.counts.values_mut().for_each(|count| *count -= 1);
            self.counts.retain(|_, count| *count > 0);
        } else {
            let count = self.counts.entry(source).or_default();
            *count = count.saturating_add(1);
        }
        self.sources = self.sources.max(self.counts.len() as u64);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(events: impl Iterator<Item = u64>, source: u64) -> (usize, usize) {
        let mut shares = Shares::default();
        let admitted: Vec<u64> = events.filter(|source| shares.admit(*source)).collect();
        assert!(shares.counts.len() <= SOURCES_MAX);
        (admitted.iter().filter(|own| **own == source).count(), admitted.len())
    }

    #[test]
    fn one_loud_source_is_held_to_its_share_and_few_are_not_held() {
        // Every second event is of one source, the others of 1,000.
        let loud = |n: u64| if n.is_multiple_of(2) { 0 } else { 1 + n / 2 % 1_000 };
        let (own, all) = admitted((0..100_000).map(loud), 0);
        assert!(own > 400 && own < all / 30, "{own} of {all}");
        assert_eq!(admitted((0..50_000).map(|n| n % 3), 0).1, 50_000);
        assert_eq!(admitted((0..50_000).map(|_| 7), 7).1, 50_000);
    }
}
