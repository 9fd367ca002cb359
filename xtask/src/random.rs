//! Chance that can be replayed: SplitMix64, whose sequence depends on nothing but the seed.

use std::time::Duration;

pub struct Random(u64);

impl Random {
    /// An independent sequence for one `purpose`, so that more draws for one change nothing about another.
    pub fn new(seed: u64, purpose: u64) -> Self {
        let mut random = Random(seed ^ purpose.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to but not including `end`; 0 when there is nothing to choose from.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn chance(&mut self, of: f64) -> bool {
        self.unit() < of
    }

    /// Waiting times of events that remember nothing, cut off at ten times the mean.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64((-(1.0 - self.unit()).ln()).min(10.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_fair_and_can_be_replayed() {
        let draw = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            (0..10_000).map(|_| random.unit()).collect::<Vec<f64>>()
        };
        let (a, b) = (draw(1, 1), draw(1, 2));
        assert_eq!(a, draw(1, 1));
        assert_ne!(a, b);
        let mean = a.iter().sum::<f64>() / a.len() as f64;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        let mut random = Random::new(7, 0);
        let waits: Duration = (0..10_000).map(|_| random.exponential(Duration::from_millis(300))).sum();
        assert!((2_700_000..3_300_000).contains(&waits.as_millis()), "{waits:?}");
        assert_eq!((random.below(0), random.below(1)), (0, 0));
    }
}
