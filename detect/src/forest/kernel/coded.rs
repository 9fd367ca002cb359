//! The trees once more, in bytes: a threshold is its rank among those of its feature, which compares as exactly.
//!
//! The code of a value is the number of thresholds that it is not below. A value is below the threshold of rank k,
//! counted from 1, if and only if its code is less than k: a row takes the same steps by codes as by values. As a byte
//! numbers 255 thresholds of a feature, trees that have more of them are parted into groups with codes of their own.

use super::super::path::LEAF_MAX;
use super::super::tree::{END, NODES, Tree};
use super::Packed;
use std::sync::OnceLock;

/// Thresholds of a feature in one group.
const RANKS_MAX: usize = 255;
/// Trees in one group: their leaves add up in 16 bits.
const GROUP_TREES_MAX: usize = 512;
/// Trees led through side by side. A group is filled up to whole runs of them with trees that add nothing.
pub(super) const TOGETHER: usize = 2;
/// Bytes that a leaf is cut into, and the bits in each: so few that those of trees side by side add up in a byte.
pub(super) const PLANES: usize = 3;
pub(super) const PLANE_BITS: usize = 7;

const _: () = assert!(LEAF_MAX < 1 << (PLANES * PLANE_BITS));
const _: () = assert!(TOGETHER * ((1 << PLANE_BITS) - 1) <= u8::MAX as usize);
const _: () = assert!(GROUP_TREES_MAX * ((1 << PLANE_BITS) - 1) <= u16::MAX as usize);

/// Worked out when first asked for. It follows from the trees, so forests that differ in it only are equal.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Coded(OnceLock<Vec<Group>>);

impl PartialEq for Coded {
    fn eq(&self, _: &Coded) -> bool {
        true
    }
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    /// One for each feature that has a threshold.
    pub searches: Vec<Search>,
    pub trees: Vec<ByteTree>,
}

/// The thresholds of a feature as a search tree of so many levels: entry i has the children 2 i and 2 i + 1, the root
/// is 1. A value goes left when it is below the entry; the place it comes to, less that of the leftmost, is its code.
#[derive(Clone, Debug)]
pub(super) struct Search {
    pub feature: usize,
    /// 1 to 8.
    pub levels: usize,
    pub entries: Vec<Entries>,
}

/// As many as a vector takes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Entries(pub [f32; ENTRIES]);

const ENTRIES: usize = 16;

/// A byte for each node or leaf, as many together as a vector takes.
type Bytes = [[u8; 64]; NODES / 64];

/// A [`Tree`] in bytes, its nodes in the same places.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct ByteTree {
    pub features: Bytes,
    /// Ranks from 1 on; a row goes left when its code is less.
    pub ranks: Bytes,
    /// For each plane the leaves that are left children, and then those that are right ones.
    pub leaves: [Bytes; PLANES],
}

impl Coded {
    pub(super) fn groups(&self, forest: &Packed<'_>) -> &[Group] {
        self.0.get_or_init(|| {
            let mut groups = Vec::new();
            part(forest, forest.trees, &mut groups);
            groups
        })
    }
}

/// One group where that is possible, else one of each half. A single tree has at most 255 thresholds.
fn part(forest: &Packed<'_>, trees: &[Tree], groups: &mut Vec<Group>) {
    let thresholds = thresholds(forest, trees);
    if trees.len() <= GROUP_TREES_MAX && thresholds.iter().all(|of_one| of_one.len() <= RANKS_MAX) {
        groups.push(Group::new(forest, trees, &thresholds));
    } else {
        let (first, second) = trees.split_at(trees.len() / 2);
        part(forest, first, groups);
        part(forest, second, groups);
    }
}

/// Those of each feature, each once, in order.
fn thresholds(forest: &Packed<'_>, trees: &[Tree]) -> Vec<Vec<f32>> {
    let mut thresholds = vec![Vec::new(); forest.features];
    thresholds[0].push(f32::from_bits(END));
    for node in trees.iter().flat_map(|tree| &tree.0[1..NODES]).filter(|node| **node != END) {
        let threshold = f32::from_bits(*node);
        if !threshold.is_nan() {
            thresholds[(node & forest.mask) as usize].push(threshold);
        }
    }
    for of_one in &mut thresholds {
        of_one.sort_unstable_by(f32::total_cmp);
        of_one.dedup();
    }
    thresholds
}

impl Group {
    fn new(forest: &Packed<'_>, trees: &[Tree], thresholds: &[Vec<f32>]) -> Group {
        let mut searches = Vec::new();
        for (feature, thresholds) in thresholds.iter().enumerate() {
            if !thresholds.is_empty() {
                searches.push(Search::new(feature, thresholds));
            }
        }
        let mut trees: Vec<ByteTree> =
            trees.iter().map(|tree| ByteTree::new(tree, forest.mask, thresholds)).collect();
        trees.resize(trees.len().next_multiple_of(TOGETHER), ByteTree::EMPTY);
        Group { searches, trees }
    }
}

impl Search {
    fn new(feature: usize, thresholds: &[f32]) -> Search {
        let levels = thresholds.len().ilog2() as usize + 1;
        // Beyond the thresholds is what no finite value reaches.
        let mut entries = vec![Entries([f32::INFINITY; ENTRIES]); (1usize << levels).div_ceil(ENTRIES)];
        for level in 0..levels {
            let step = 1 << (levels - level);
            let of_level = thresholds.iter().skip(step / 2 - 1).step_by(step);
            for (at, threshold) in (1usize << level..).zip(of_level) {
                entries[at / ENTRIES].0[at % ENTRIES] = *threshold;
            }
        }
        Search { feature, levels, entries }
    }
}

impl ByteTree {
    const EMPTY: ByteTree = {
        let nothing = [[0; 64]; NODES / 64];
        ByteTree { features: nothing, ranks: nothing, leaves: [nothing; PLANES] }
    };

    fn new(tree: &Tree, mask: u32, thresholds: &[Vec<f32>]) -> ByteTree {
        let mut bytes = ByteTree::EMPTY;
        let (features, ranks) = (bytes.features.as_flattened_mut(), bytes.ranks.as_flattened_mut());
        for at in 1..NODES {
            let (feature, threshold) = ((tree.0[at] & mask) as usize, f32::from_bits(tree.0[at]));
            features[at] = feature as u8;
            ranks[at] = match tree.0[at] {
                // The highest there is; most nodes are this.
                END => thresholds[0].len() as u8,
                // Nothing is below what is not a number, and no code is less than 0.
                _ if threshold.is_nan() => 0,
                _ => 1 + thresholds[feature].partition_point(|other| *other < threshold) as u8,
            };
        }
        for (at, leaf) in tree.0[NODES..2 * NODES].iter().enumerate() {
            for (plane, leaves) in bytes.leaves.iter_mut().enumerate() {
                let part = leaf >> (PLANE_BITS * plane) & ((1 << PLANE_BITS) - 1);
                leaves.as_flattened_mut()[at / 2 + at % 2 * (NODES / 2)] = part as u8;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tree::DEPTH;
    use super::super::super::{Forest, Params};
    use super::*;
    use ndarray::Array2;

    fn check_steps(forest: &Forest, groups_min: usize) {
        let Forest { trees, coded, features, .. } = forest;
        let packed = Packed { trees, features: *features, mask: 15, coded };
        let groups = coded.groups(&packed);
        assert!(groups.len() >= groups_min, "{} groups", groups.len());
        let mut trees = trees.iter();
        for group in groups {
            // What only fills the group up has no ranks.
            let real = group.trees.iter().filter(|tree| tree.ranks != ByteTree::EMPTY.ranks);
            for (bytes, tree) in real.zip(&mut trees) {
                let exact = (1..NODES).step_by(23).map(|node| f32::from_bits(tree.0[node]));
                let others =
                    [0.0, -0.0, 0.3, -7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE];
                for value in exact.chain(others) {
                    assert_eq!(by_codes(group, bytes, value), by_values(tree, value), "{value}");
                }
            }
        }
        assert!(trees.next().is_none());
    }

    /// The leaf of a row that has one value everywhere.
    fn by_values(tree: &Tree, value: f32) -> u32 {
        let step = |at: usize| 2 * at + 1 - usize::from(value < f32::from_bits(tree.0[at]));
        tree.0[(0..DEPTH).fold(1, |at, _| step(at))]
    }

    fn by_codes(group: &Group, tree: &ByteTree, value: f32) -> u32 {
        let mut codes = [0; 16];
        for search in &group.searches {
            let entry = |at: usize| search.entries[at / ENTRIES].0[at % ENTRIES];
            let at = (0..search.levels).fold(1, |at, _| 2 * at + 1 - usize::from(value < entry(at)));
            codes[search.feature] = at - (1 << search.levels);
        }
        let (features, ranks) = (tree.features.as_flattened(), tree.ranks.as_flattened());
        let right = |at: usize| codes[usize::from(features[at])] >= usize::from(ranks[at]);
        let last = (1..DEPTH).fold(1, |at, _| 2 * at + usize::from(right(at)));
        let leaf = last % (NODES / 2) + usize::from(right(last)) * (NODES / 2);
        (0..PLANES)
            .map(|plane| u32::from(tree.leaves[plane].as_flattened()[leaf]) << (PLANE_BITS * plane))
            .sum()
    }

    #[test]
    fn rows_take_the_same_steps_by_codes_as_by_values() {
        let wave = |row: usize, feature: usize| ((row * (2 * feature + 37)) % 101) as f32 / 10.0 - 5.0;
        for (features, trees, groups_min) in [(1, 13, 2), (5, 3, 1), (16, 2, 1)] {
            let rows = Array2::from_shape_fn((101, features), |(row, feature)| wave(row, feature));
            let forest = Params { trees, sample: 64, ..Params::default() }.fit_rows(rows.view()).unwrap();
            check_steps(&forest, groups_min);
        }
        let nothing =
            Params { trees: 3, ..Params::default() }.fit_rows(Array2::zeros((9, 2)).view()).unwrap();
        check_steps(&nothing, 1);
        // What no training makes, but a model may hold.
        let mut odd = nothing;
        for (node, bits) in [(1, -0.0), (2, f32::NEG_INFINITY), (3, f32::NAN), (6, 0.0)] {
            odd.trees[1].0[node] = f32::to_bits(bits) & !15;
        }
        for (at, leaf) in odd.trees[1].0[NODES..2 * NODES].iter_mut().enumerate() {
            *leaf = LEAF_MAX - 4_567 * at as u32;
        }
        odd.coded = Coded::default();
        check_steps(&odd, 1);
    }
}
