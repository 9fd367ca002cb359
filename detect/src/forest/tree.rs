//! One tree as the kernels read it: a perfect binary tree of depth 8 in one array of 2 KiB, without branches.
//!
//! Node `i` has the children `2 i` and `2 i + 1`; the root is 1; entries 1 to 255 are nodes and 256 to 511 leaves.
//! A row goes left when its value is below the threshold, and right otherwise, which includes NaN. Where a branch
//! ends early its nodes hold +inf and all leaves below it the same value, so that every row takes eight steps.

use super::path::Leaves;

pub(super) const DEPTH: usize = 8;
pub(super) const NODES: usize = 1 << DEPTH;
/// Rows a tree is grown on, at most: a tree of depth 8 is made for 2^8.
pub const SAMPLE_MAX: usize = 1 << DEPTH;
/// Features whose number fits into the low bits of a threshold.
pub const PACKED_FEATURES_MAX: usize = 64;
pub const FEATURES_MAX: usize = 4_096;

pub(super) const END: u32 = f32::INFINITY.to_bits();

/// Entries of a tree and a cache line more: with a power of two, the roots of all trees would compete for two sets of
/// the cache.
pub(super) const STRIDE: usize = 2 * NODES + 16;

#[derive(Clone, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Tree(pub [u32; STRIDE]);

impl Tree {
    /// A tree without a split, not yet with a leaf.
    pub fn empty() -> Tree {
        let mut tree = Tree([0; STRIDE]);
        tree.0[..NODES].fill(END);
        tree
    }

    /// Ends a branch at `node`, which `rows` rows reached.
    pub fn end(&mut self, (node, depth): (usize, usize), rows: usize, leaves: &Leaves) {
        let below = DEPTH - depth;
        let first = node << below;
        self.0[first..first + (1 << below)].fill(leaves.path(depth, rows));
    }
}

/// Where the number of a node's feature is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// In the lowest bits of the threshold, under this mask.
    Packed(u32),
    /// In an array beside the thresholds.
    Wide,
}

impl Layout {
    pub fn for_features(features: usize) -> Layout {
        match features {
            0..=16 => Layout::Packed(15),
            17..=32 => Layout::Packed(31),
            33..=PACKED_FEATURES_MAX => Layout::Packed(63),
            _ => Layout::Wide,
        }
    }

    /// The threshold next to `drawn` that carries `feature` and still parts `low` from `high`; none when the two are
    /// closer than the bits that carry it.
    pub fn threshold(self, feature: usize, drawn: f32, low: f32, high: f32) -> Option<u32> {
        let (mask, carried) = match self {
            Layout::Packed(mask) => (mask, feature as u32 & mask),
            Layout::Wide => (0, 0),
        };
        let step = mask + 1;
        let bits = (drawn.to_bits() & !mask) | carried;
        let parts = |bits: &u32| low < f32::from_bits(*bits) && f32::from_bits(*bits) <= high;
        [bits, bits.wrapping_add(step), bits.wrapping_sub(step)].into_iter().find(parts)
    }

    /// Whether every node names a feature there is.
    pub fn holds(self, tree: &Tree, features: usize) -> bool {
        match self {
            Layout::Packed(mask) => tree.0[1..NODES].iter().all(|node| ((node & mask) as usize) < features),
            Layout::Wide => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_end_fills_exactly_the_leaves_below_it() {
        let mut tree = Tree::empty();
        tree.end((5, 2), 3, &Leaves::new());
        let filled: Vec<usize> = (0..2 * NODES).skip(NODES).filter(|at| tree.0[*at] != 0).collect();
        assert_eq!(filled, (320..384).collect::<Vec<_>>());
        let mut root = Tree::empty();
        root.end((1, 0), 2, &Leaves::new());
        assert!(root.0[NODES..2 * NODES].iter().all(|leaf| *leaf == 65_536));
        assert!(root.0[1..NODES].iter().all(|node| f32::from_bits(*node) == f32::INFINITY));
    }

    proptest! {
        #[test]
        fn a_threshold_parts_its_range_and_names_its_feature(
            a in any::<f32>(), b in any::<f32>(), unit in 0.0..1.0f64, feature in 0..64usize,
        ) {
            prop_assume!(a.is_finite() && b.is_finite() && a != b);
            let (low, high) = (a.min(b), a.max(b));
            let drawn = (f64::from(low) + unit * (f64::from(high) - f64::from(low))) as f32;
            if let Some(bits) = Layout::Packed(63).threshold(feature, drawn, low, high) {
                prop_assert!(low < f32::from_bits(bits) && f32::from_bits(bits) <= high);
                prop_assert_eq!(bits & 63, feature as u32);
            } else {
                prop_assert!(low.abs().max(high.abs()) * 1e-4 >= high - low || high - low < 1e-37);
            }
            prop_assert!(Layout::Wide.threshold(feature, drawn, low, high).is_some());
        }
    }
}
