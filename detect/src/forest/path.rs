//! Path lengths in fixed point and the score they make: the same bits on every machine, in any order of summation.

use super::tree::SAMPLE_MAX;

/// A path length of one. Sums of whole numbers do not depend on their order, so neither does a score on the kernel.
pub(super) const ONE: f64 = 65_536.0;

/// More than any leaf of a tree of height 8 on 256 rows: 8 + c(256) = 18.25.
pub(super) const LEAF_MAX: u32 = 19 * 65_536;

/// Average path length of an unsuccessful search in a binary search tree of `n` rows, with the harmonic number
/// summed exactly, where Liu et al. write ln(n - 1) + 0.5772.
pub fn average_path(n: usize) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let harmonic: f64 = (1..n).map(|i| 1.0 / i as f64).sum();
    2.0 * harmonic - 2.0 * (n - 1) as f64 / n as f64
}

/// What a leaf adds, for each number of rows that may reach it; summed up once, since trees have many leaves.
#[derive(Clone, Debug)]
pub(super) struct Leaves([u32; SAMPLE_MAX + 1]);

impl Leaves {
    pub fn new() -> Leaves {
        let mut harmonic = 0.0;
        let mut paths = [0; SAMPLE_MAX + 1];
        for (rows, path) in paths.iter_mut().enumerate().skip(2) {
            harmonic += 1.0 / (rows - 1) as f64;
            *path = ((2.0 * harmonic - 2.0 * (rows - 1) as f64 / rows as f64) * ONE).round() as u32;
        }
        Leaves(paths)
    }

    /// The depth of the leaf, and the path that its rows would still have gone.
    pub fn path(&self, depth: usize, rows: usize) -> u32 {
        (depth as u32) * ONE as u32 + self.0[rows.min(SAMPLE_MAX)]
    }

    /// The number of rows, at least 1, whose average path is the one given, or next above it.
    pub fn rows(&self, path: u32) -> u64 {
        let rows = self.0.partition_point(|average| *average < path);
        rows.clamp(1, SAMPLE_MAX) as u64
    }
}

/// Turns a sum of leaves over all trees into a score between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale(f32);

impl Scale {
    pub fn new(trees: usize, sample: usize) -> Scale {
        Scale((1.0 / (trees as f64 * average_path(sample) * ONE)) as f32)
    }

    /// 2^-(mean path / average path).
    pub fn score(self, sum: u32) -> f32 {
        exp2(-(sum as f32 * self.0))
    }

    /// By how much a path shorter by one unit in one tree raises the logarithm of the score.
    pub fn log2_of_one(self) -> f64 {
        f64::from(self.0)
    }
}

/// 2^y for y <= 0 by its series, within 1e-7: the C library's differs between platforms, and a call is slower.
fn exp2(y: f32) -> f32 {
    // 1 / k! * ln(2)^k, highest first.
    const SERIES: [f32; 8] = [
        1.525_273_4e-5,
        1.540_353e-4,
        1.333_355_8e-3,
        9.618_129e-3,
        5.550_411e-2,
        2.402_265e-1,
        std::f32::consts::LN_2,
        1.0,
    ];
    let y = y.max(-100.0);
    let whole = (y - 0.5) as i32;
    let rest = y - whole as f32;
    let near_one = SERIES.iter().fold(0.0, |sum, term| sum * rest + term);
    near_one * f32::from_bits(((127 + whole) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_paths_are_the_known_constants() {
        for (n, want) in [
            (0, 0.0),
            (1, 0.0),
            (2, 1.0),
            (3, 5.0 / 3.0),
            (4, 13.0 / 6.0),
            (256, 10.248_690),
            (1_000, 12.970_942),
        ] {
            assert!((average_path(n) - want).abs() < 1e-5, "c({n}) = {}", average_path(n));
        }
    }

    #[test]
    fn the_power_of_two_is_as_good_as_single_precision() {
        for step in 0..=20_000 {
            let y = -(step as f32) / 1_000.0;
            let want = f64::from(y).exp2();
            assert!((f64::from(exp2(y)) / want - 1.0).abs() < 2.5e-7, "2^{y}");
        }
        assert_eq!((exp2(0.0), exp2(-1.0), exp2(-2.0)), (1.0, 0.5, 0.25));
        assert!(exp2(f32::NEG_INFINITY) > 0.0);
    }

    #[test]
    fn an_average_path_scores_one_half() {
        let scale = Scale::new(100, 256);
        let sum = (100.0 * average_path(256) * ONE) as u32;
        assert!((scale.score(sum) - 0.5).abs() < 1e-6);
        let leaves = Leaves::new();
        assert!(leaves.path(8, 256) < LEAF_MAX);
        for rows in 0..=256 {
            assert_eq!(
                leaves.path(3, rows),
                ((3.0 + average_path(rows)) * ONE).round() as u32,
                "{rows} rows"
            );
            assert_eq!(leaves.rows(leaves.path(0, rows)), rows.max(1) as u64);
        }
    }
}
