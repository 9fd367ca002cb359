//! Why a row scores as it does: each cut credits its feature with what it changed of the expected path.
//!
//! The idea is Saabas' ("Interpreting random forests", 2014): before a cut a row may expect the mean path of the
//! training rows at that node, after it the mean path at the child; the difference is due to the feature that was cut.
//! Paths are whole numbers, so the differences along a path cancel exactly, and shares are the same on every machine.

use super::path::{Leaves, ONE};
use super::tree::{DEPTH, END, Layout, NODES, PACKED_FEATURES_MAX, Tree};
use super::{Error, Forest};
use std::sync::OnceLock;

/// A score taken apart, on the scale of its logarithm: `base` and all `shares` sum up to log2(score).
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// log2 of what a row scores that takes the mean path of the training rows through every tree.
    pub base: f64,
    /// One per feature: above 0 where it makes the row more unusual, below 0 where it makes it less so.
    pub shares: Vec<f64>,
}

impl Attribution {
    /// log2 of the score.
    pub fn total(&self) -> f64 {
        self.base + self.shares.iter().sum::<f64>()
    }

    /// Features by their shares, the most unusual first.
    pub fn ranked(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.shares.len()).collect();
        order.sort_by(|a, b| self.shares[*b].total_cmp(&self.shares[*a]));
        order
    }
}

impl Forest {
    /// Takes the score of a row apart. The first call on a forest also works out the mean paths of its nodes.
    pub fn attribute(&self, row: &[f32]) -> Result<Attribution, Error> {
        if row.len() != self.features {
            return Err(Error::FeatureCount { model: self.features, given: row.len() });
        }
        let means = self.means.of(&self.trees);
        let trees = self.trees.iter().zip(means.chunks_exact(NODES));
        let base: u64 = trees.clone().map(|(_, means)| u64::from(means[1])).sum();
        let unit = self.scale.log2_of_one();
        let shares = |saved: &[i64]| saved.iter().map(|saved| *saved as f64 * unit).collect();
        let shares = match Layout::for_features(self.features) {
            Layout::Packed(mask) => {
                let mut values = [0.0; PACKED_FEATURES_MAX];
                let mut saved = [0; PACKED_FEATURES_MAX];
                values[..row.len()].copy_from_slice(row);
                for (tree, means) in trees {
                    // The second mask changes nothing; it lets the compiler see that every place exists.
                    credit(tree, means, &values, &mut saved, |_, node| (node & mask & 63) as usize);
                }
                shares(&saved[..row.len()])
            }
            Layout::Wide => {
                let mut saved = vec![0; row.len()];
                for ((tree, means), of_node) in trees.zip(self.wide.chunks_exact(NODES)) {
                    credit(tree, means, row, &mut saved, |at, _| usize::from(of_node[at]));
                }
                shares(&saved)
            }
        };
        Ok(Attribution { base: -(base as f64) * unit, shares })
    }
}

/// Leads a row through one tree; `saved` takes what each feature took off the expected path.
#[inline(always)]
fn credit(
    tree: &Tree,
    means: &[u32],
    values: &[f32],
    saved: &mut [i64],
    feature_of: impl Fn(usize, u32) -> usize,
) {
    let mut at = 1;
    let mut before = means[1];
    for depth in 1..=DEPTH {
        let node = tree.0[at & (NODES - 1)];
        let feature = feature_of(at & (NODES - 1), node);
        at = 2 * at + 1 - usize::from(values[feature] < f32::from_bits(node));
        let after = if depth < DEPTH { means[at & (NODES - 1)] } else { tree.0[at & (2 * NODES - 1)] };
        saved[feature] += i64::from(before) - i64::from(after);
        before = after;
    }
}

/// The mean path of the training rows that reached each node, 256 per tree, worked out when first asked for. They
/// follow from the trees, so forests that differ in them only are equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Means(OnceLock<Vec<u32>>);

impl PartialEq for Means {
    fn eq(&self, _: &Means) -> bool {
        true
    }
}

impl Means {
    fn of(&self, trees: &[Tree]) -> &[u32] {
        self.0.get_or_init(|| {
            let leaves = Leaves::new();
            let mut means = vec![0; NODES * trees.len()];
            for (tree, means) in trees.iter().zip(means.chunks_exact_mut(NODES)) {
                settle(tree, &leaves, (1, 0), means);
            }
            means
        })
    }
}

/// Fills in the means from `node` down; returns how many training rows reached it and the sum of their paths. A leaf
/// tells how many rows ended there: its path is its depth and the average path of that many.
fn settle(tree: &Tree, leaves: &Leaves, (node, depth): (usize, usize), means: &mut [u32]) -> (u64, u64) {
    if depth == DEPTH || tree.0[node] == END {
        let leaf = tree.0[node << (DEPTH - depth)];
        for level in 0..DEPTH - depth {
            means[node << level..(node + 1) << level].fill(leaf);
        }
        let rows = leaves.rows(leaf.saturating_sub(depth as u32 * ONE as u32));
        return (rows, rows * u64::from(leaf));
    }
    let left = settle(tree, leaves, (2 * node, depth + 1), means);
    let right = settle(tree, leaves, (2 * node + 1, depth + 1), means);
    let (rows, paths) = (left.0 + right.0, left.1 + right.1);
    means[node] = ((paths + rows / 2) / rows) as u32;
    (rows, paths)
}

#[cfg(test)]
mod tests {
    use super::super::tree::SAMPLE_MAX;
    use super::*;

    #[test]
    fn means_weigh_children_by_the_rows_that_reached_them() {
        let leaves = Leaves::new();
        let mut tree = Tree::empty();
        // One row goes left at the root, 255 right.
        tree.0[1] = 1.0f32.to_bits();
        tree.end((2, 1), 1, &leaves);
        tree.end((3, 1), 255, &leaves);
        let means = Means::default();
        let means = means.of(std::slice::from_ref(&tree));
        let (short, long) = (u64::from(leaves.path(1, 1)), u64::from(leaves.path(1, 255)));
        assert_eq!(u64::from(means[1]), (short + 255 * long + 128) / 256);
        assert_eq!((means[2], means[3]), (leaves.path(1, 1), leaves.path(1, 255)));
        assert!(means[128..192].iter().all(|mean| *mean == means[2]));
        assert!(means[192..].iter().all(|mean| *mean == means[3]));
        assert_eq!(settle(&tree, &leaves, (1, 0), &mut [0; NODES]).0, SAMPLE_MAX as u64);
    }
}
