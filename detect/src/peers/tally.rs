//! Tally: how often each of 2,048 operation symbols was called, fading.

use super::log2;

/// Operation symbols: a fingerprint modulo this.
pub const OPERATIONS: usize = 2_048;
/// At this sum all counts are halved.
const SUM_MAX: u32 = 1 << 14;
/// Added to each count, so that no operation is impossible.
const PRIOR: f32 = 1.0 / 16.0;
/// How many calls of a group weigh as much as all that is known of its kind.
const SHRINKAGE: f32 = 50.0;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tally {
    counts: [u16; OPERATIONS],
    sum: u32,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { counts: [0; OPERATIONS], sum: 0 }
    }
}

impl Tally {
    pub fn add(&mut self, operation: u16) {
        if self.sum >= SUM_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.sum = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        self.counts[usize::from(operation)] += 1;
        self.sum += 1;
    }

    /// Calls counted.
    pub fn sum(&self) -> u32 {
        self.sum
    }

    pub fn counts(&self) -> &[u16] {
        &self.counts
    }

    /// `None` where the counts cannot have been counted here.
    pub fn of(counts: &[u16]) -> Option<Tally> {
        let counts: [u16; OPERATIONS] = counts.try_into().ok()?;
        let sum = counts.iter().map(|count| u32::from(*count)).sum();
        (sum <= SUM_MAX).then_some(Tally { counts, sum })
    }

    pub fn probability(&self, operation: u16) -> f32 {
        let count = f32::from(self.counts[usize::from(operation)]);
        (count + PRIOR) / (self.sum as f32 + PRIOR * OPERATIONS as f32)
    }

    /// Bits. Where this tally is thin it leans on `all`: weight n / (n + 50), empirical Bayes.
    pub fn surprisal(&self, all: &Tally, operation: u16) -> f32 {
        let (count, sum) = (f32::from(self.counts[usize::from(operation)]), self.sum as f32);
        -log2((count + SHRINKAGE * all.probability(operation)) / (sum + SHRINKAGE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thin_tally_leans_on_all_and_a_thick_one_stands() {
        let mut all = Tally::default();
        (0..1_000).for_each(|_| all.add(1));
        let mut group = Tally::default();
        assert!((group.surprisal(&all, 1) + log2(all.probability(1))).abs() < 1e-6);
        let at_first = group.surprisal(&all, 2);
        for _ in 0..5_000 {
            group.add(2);
        }
        assert!(at_first > 8.0 && group.surprisal(&all, 2) < 0.1 && group.surprisal(&all, 1) > 5.0);
    }

    #[test]
    fn probabilities_sum_to_one_and_counts_stay_bounded() {
        let mut tally = Tally::default();
        for call in 0..100_000u32 {
            tally.add((call % 7) as u16);
        }
        assert!(tally.sum <= SUM_MAX);
        let sum: f32 = (0..OPERATIONS as u16).map(|operation| tally.probability(operation)).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
        assert_eq!(Tally::of(tally.counts()), Some(tally));
        assert_eq!((Tally::of(&[u16::MAX; OPERATIONS]), Tally::of(&[0; 3])), (None, None));
    }
}
