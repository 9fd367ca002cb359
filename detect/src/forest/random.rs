//! The random numbers of training: `SplitMix64` (Steele, Lea, Flood 2014), one stream per tree.

#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of one tree: trees can be grown in any order, or at once, and come out the same.
    pub fn of_tree(seed: u64, tree: usize) -> Random {
        let mut trees = Random(seed);
        let start = trees.next() ^ (tree as u64).wrapping_mul(0xD1B5_4A32_D192_ED03);
        Random(mix(start))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Uniform in `0..n`, by multiplication; the bias is below n / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Uniform in `0.0..1.0`, on 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The finalizer of `SplitMix64`.
pub fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn streams_differ_by_tree_and_seed_and_repeat() {
        let first = |seed, tree| Random::of_tree(seed, tree).next();
        assert_eq!(first(1, 0), first(1, 0));
        assert_ne!(first(1, 0), first(1, 1));
        assert_ne!(first(1, 0), first(2, 0));
    }

    #[test]
    fn bounds_hold_and_every_value_comes() {
        let mut random = Random::of_tree(7, 3);
        let mut seen = [0u32; 5];
        for _ in 0..5_000 {
            seen[random.below(5)] += 1;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert!(seen.iter().all(|n| (900..1_100).contains(n)), "{seen:?}");
    }
}
