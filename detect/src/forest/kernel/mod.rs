//! How rows are led through the trees: by blocks of 64, or one by one, with the widest vectors that the machine has.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only one kernel of x86-64 reads it"))]
mod coded;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod vbmi;
pub(super) mod wide;

use super::path::Scale;
use super::tree::{PACKED_FEATURES_MAX, Tree};

pub(super) use coded::Coded;

const BLOCK_ROWS: usize = 64;

/// A forest whose thresholds carry their features.
pub(super) struct Packed<'a> {
    pub trees: &'a [Tree],
    pub features: usize,
    /// The bits of a threshold that are the feature: 15, 31 or 63, as many as there are features at least.
    pub mask: u32,
    pub coded: &'a Coded,
}

/// Sums of path lengths.
type Sums = [u32; BLOCK_ROWS];

/// 64 rows, one array per feature: a vector takes the same feature of neighbouring rows.
#[repr(C, align(64))]
struct Block([[f32; BLOCK_ROWS]; PACKED_FEATURES_MAX]);

/// One row, filled up with zeros.
#[repr(C, align(64))]
struct Row([f32; PACKED_FEATURES_MAX]);

/// A set of instructions to score with. It can only be had where the machine has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Instructions);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instructions {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "x86_64")]
    Vbmi(vbmi::Vbmi),
}

impl Kernel {
    pub const SCALAR: Kernel = Kernel(Instructions::Scalar);

    /// The fastest one here.
    pub fn best() -> Kernel {
        #[cfg(target_arch = "x86_64")]
        {
            let vbmi = || vbmi::Vbmi::detect().map(Instructions::Vbmi);
            let avx512 = || avx512::Avx512::detect().map(Instructions::Avx512);
            let avx2 = || avx2::Avx2::detect().map(Instructions::Avx2);
            if let Some(found) = vbmi().or_else(avx512).or_else(avx2) {
                return Kernel(found);
            }
        }
        Kernel::SCALAR
    }

    /// All that this machine has, the slowest first.
    pub fn available() -> Vec<Kernel> {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut, reason = "nothing is added there"))]
        let mut kernels = vec![Kernel::SCALAR];
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(avx2::Avx2::detect().map(|found| Kernel(Instructions::Avx2(found))));
            kernels.extend(avx512::Avx512::detect().map(|found| Kernel(Instructions::Avx512(found))));
            kernels.extend(vbmi::Vbmi::detect().map(|found| Kernel(Instructions::Vbmi(found))));
        }
        kernels
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            Instructions::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Vbmi(_) => "avx512vbmi",
        }
    }

    /// From so many rows on, a block costs less than its rows one by one.
    fn block_rows_min(self) -> usize {
        match self.0 {
            Instructions::Scalar => BLOCK_ROWS,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(_) => 32,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(_) => 38,
            #[cfg(target_arch = "x86_64")]
            Instructions::Vbmi(_) => 12,
        }
    }

    fn block(self, forest: &Packed<'_>, block: &Block, sums: &mut Sums) {
        match self.0 {
            Instructions::Scalar => scalar::block(forest, block, sums),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(found) => found.block(forest, block, sums),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(found) => found.block(forest, block, sums),
            #[cfg(target_arch = "x86_64")]
            Instructions::Vbmi(found) => found.block(forest, block, sums),
        }
    }

    fn row(self, forest: &Packed<'_>, row: &Row) -> u32 {
        match self.0 {
            Instructions::Scalar => scalar::row(forest, row),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(found) => found.row(forest, row),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(found) => found.row(forest, row),
            #[cfg(target_arch = "x86_64")]
            Instructions::Vbmi(found) => found.row(forest, row),
        }
    }
}

/// `rows` one after the other, as many as there are `scores`.
pub(super) fn score(kernel: Kernel, forest: &Packed<'_>, rows: &[f32], scale: Scale, scores: &mut [f32]) {
    let features = forest.features;
    let whole = if scores.len() < kernel.block_rows_min() { 0 } else { scores.len() };
    let rest = whole % BLOCK_ROWS;
    let in_blocks = if rest < kernel.block_rows_min() { whole - rest } else { whole };
    let (block_rows, single_rows) = rows.split_at(in_blocks * features);
    let (block_scores, single_scores) = scores.split_at_mut(in_blocks);
    if in_blocks > 0 {
        let mut block = Block([[0.0; BLOCK_ROWS]; PACKED_FEATURES_MAX]);
        let chunks = block_rows.chunks(BLOCK_ROWS * features).zip(block_scores.chunks_mut(BLOCK_ROWS));
        for (rows, scores) in chunks {
            fill(&mut block, rows, features);
            let mut sums = [0; BLOCK_ROWS];
            kernel.block(forest, &block, &mut sums);
            for (score, sum) in scores.iter_mut().zip(sums) {
                *score = scale.score(sum);
            }
        }
    }
    let mut row = Row([0.0; PACKED_FEATURES_MAX]);
    for (values, score) in single_rows.chunks_exact(features).zip(single_scores) {
        row.0[..features].copy_from_slice(values);
        *score = scale.score(kernel.row(forest, &row));
    }
}

/// Turns rows into columns. Places without a row keep what they had: what is computed there is not used.
fn fill(block: &mut Block, rows: &[f32], features: usize) {
    for (at, row) in rows.chunks_exact(features).enumerate().take(BLOCK_ROWS) {
        for (value, column) in row.iter().zip(&mut block.0) {
            column[at] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Params;
    use super::{BLOCK_ROWS, Kernel};
    use ndarray::{Array2, Axis};

    /// Small, for Miri to check every access of the kernels it can run; the properties of `tests/it` ask for more.
    #[test]
    fn kernels_give_the_same_bits_by_blocks_and_by_rows() {
        const ROWS: usize = BLOCK_ROWS + 1;
        for (features, trees) in [(3, 33), (17, 3), (40, 2), (65, 2)] {
            let unlike = |row: usize, feature: usize| (row * (2 * feature + 37)) % 67;
            let rows = Array2::from_shape_fn((ROWS, features), |(row, feature)| match unlike(row, feature) {
                0 => f32::NAN,
                1 => f32::INFINITY,
                found => found as f32,
            });
            let forest = Params { trees, sample: 16, ..Params::default() }.fit_rows(rows.view()).unwrap();
            let score = |kernel| {
                let (mut whole, mut single) = (vec![0.0; ROWS], [0.0]);
                forest.score_into(rows.view(), &mut whole, kernel).unwrap();
                for (row, want) in rows.axis_chunks_iter(Axis(0), 1).zip(&whole).step_by(13) {
                    forest.score_into(row, &mut single, kernel).unwrap();
                    assert_eq!(single, [*want], "{} features, {}", features, kernel.name());
                }
                whole
            };
            let want = score(Kernel::SCALAR);
            assert!(want.iter().any(|score| *score != want[0]));
            for kernel in Kernel::available().into_iter().skip(1) {
                assert_eq!(score(kernel), want, "{} features, {}", features, kernel.name());
            }
        }
    }
}
