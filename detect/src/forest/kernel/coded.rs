//! The forest once more, with each threshold as its rank among those of its feature: a byte, which is compared exactly.
//!
//! A value is coded as the number of thresholds that it is not below. It is below the threshold of rank `k`, counted
//! from 0, if and only if its code is at most `k`, so a tree over codes takes the same steps. A byte numbers 255
//! thresholds of a feature; where the forest has more, its trees are split into groups, and rows coded for each.

use super::super::tree::{NODES, Tree};
use super::Packed;

/// Thresholds of one feature in a group, at most: codes are 0 to 255.
const RANKS_MAX: usize = 255;
/// Bytes of a leaf, and seven bits in each: two can be added before a byte overflows.
pub(super) const PLANES: usize = 3;
pub(super) const PLANE_BITS: u32 = 7;

#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Coded {
    pub(super) groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub searches: Vec<Search>,
    pub trees: Vec<CodedTree>,
}

/// The thresholds of a feature as a perfect search tree: node `i` has the children `2 i` and `2 i + 1`.
#[derive(Clone, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Search {
    pub thresholds: [f32; NODES],
    pub feature: usize,
    pub levels: usize,
}

/// A tree like [`Tree`], in bytes.
#[derive(Clone, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct CodedTree {
    pub features: [u8; NODES],
    /// A value goes right when its code is this or more.
    pub codes: [u8; NODES],
    /// Leaves of the left children of the last level and then of the right ones, seven bits a plane.
    pub leaves: [[u8; NODES]; PLANES],
}

impl Coded {
    pub fn new(forest: &Packed<'_>) -> Coded {
        let mut groups = Vec::new();
        let mut ranks: Vec<Vec<f32>> = vec![Vec::new(); forest.features];
        let mut first = 0;
        for (number, tree) in forest.trees.iter().enumerate() {
            let mut more = ranks.clone();
            add(&mut more, tree, forest.mask);
            if more.iter().any(|ranks| ranks.len() > RANKS_MAX) {
                groups.push(Group::new(&forest.trees[first..number], &ranks, forest.mask));
                first = number;
                more = vec![Vec::new(); forest.features];
                add(&mut more, tree, forest.mask);
            }
            ranks = more;
        }
        groups.push(Group::new(&forest.trees[first..], &ranks, forest.mask));
        Coded { groups }
    }
}

fn add(ranks: &mut [Vec<f32>], tree: &Tree, mask: u32) {
    for node in &tree.0[1..NODES] {
        let (threshold, ranks) = (f32::from_bits(*node), &mut ranks[(node & mask) as usize]);
        let at = ranks.partition_point(|rank| *rank < threshold);
        if !threshold.is_nan() && ranks.get(at) != Some(&threshold) {
            ranks.insert(at, threshold);
        }
    }
}

impl Group {
    fn new(trees: &[Tree], ranks: &[Vec<f32>], mask: u32) -> Group {
        let used = ranks.iter().enumerate().filter(|(_, ranks)| !ranks.is_empty());
        Group {
            searches: used.map(|(feature, ranks)| Search::new(feature, ranks)).collect(),
            trees: trees.iter().map(|tree| CodedTree::new(tree, ranks, mask)).collect(),
        }
    }
}

impl Search {
    fn new(feature: usize, ranks: &[f32]) -> Search {
        let levels = (ranks.len() + 1).next_power_of_two().trailing_zeros() as usize;
        let mut thresholds = [f32::INFINITY; NODES];
        for level in 0..levels {
            let step = 1 << (levels - level);
            for (at, rank) in (step / 2 - 1..ranks.len()).step_by(step).enumerate() {
                thresholds[(1 << level) + at] = ranks[rank];
            }
        }
        Search { thresholds, feature, levels }
    }
}

impl CodedTree {
    fn new(tree: &Tree, ranks: &[Vec<f32>], mask: u32) -> CodedTree {
        let mut coded = CodedTree { features: [0; NODES], codes: [0; NODES], leaves: [[0; NODES]; PLANES] };
        for at in 1..NODES {
            let (feature, threshold) = ((tree.0[at] & mask) as usize, f32::from_bits(tree.0[at]));
            coded.features[at] = feature as u8;
            // Everything goes right of a threshold that is not a number, as every code is at least 0.
            let rank = ranks[feature].partition_point(|rank| *rank < threshold);
            coded.codes[at] = if threshold.is_nan() { 0 } else { rank as u8 + 1 };
        }
        for (at, leaf) in tree.0[NODES..2 * NODES].iter().enumerate() {
            let place = at / 2 + at % 2 * (NODES / 2);
            for (plane, leaves) in coded.leaves.iter_mut().enumerate() {
                leaves[place] = (leaf >> (PLANE_BITS * plane as u32)) as u8 & 127;
            }
        }
        coded
    }
}
