//! The kernel for AVX2: 8 rows, or for one row 8 trees, in a vector.
#![allow(
    unsafe_code,
    reason = "vector loads and gathers take addresses; every block says why its addresses exist"
)]

use super::super::tree::{DEPTH, NODES, STRIDE, Tree};
use super::{BLOCK_ROWS, Block, Packed, Row, Sums};
use std::arch::x86_64::*;

const LANES: usize = 8;
/// Vectors led side by side.
const TOGETHER: usize = 4;

/// Proof that the machine has AVX2: only `detect` makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Avx2> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }

    pub fn block(self, forest: &Packed<'_>, block: &Block, sums: &mut Sums) {
        // SAFETY: `self` exists, so the machine has AVX2.
        unsafe { lead_block(forest, block, sums) }
    }

    pub fn row(self, forest: &Packed<'_>, row: &Row) -> u32 {
        // SAFETY: `self` exists, so the machine has AVX2.
        unsafe { lead_row(forest, row) }
    }
}

/// Goes level by level with several vectors, since a vector's own levels wait for one another.
#[target_feature(enable = "avx2")]
fn lead_block(forest: &Packed<'_>, block: &Block, sums: &mut Sums) {
    let mask = forest.mask & 63;
    for (number, sums) in sums.chunks_exact_mut(LANES * TOGETHER).enumerate() {
        let first = number * LANES * TOGETHER;
        let mut totals = [_mm256_setzero_si256(); TOGETHER];
        for tree in forest.trees {
            let mut at = top_levels(tree, block, mask, first);
            let fourth = entries::<8>(tree);
            down(block, mask, first, &mut at, |at| _mm256_permutevar8x32_epi32(fourth, at));
            let fifth = [entries::<16>(tree), entries::<24>(tree)];
            down(block, mask, first, &mut at, |at| {
                let low = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(fifth[0], at));
                let high = _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(fifth[1], at));
                // Bit 3 of the place, as the sign, says which half.
                let half = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(at));
                _mm256_castps_si256(_mm256_blendv_ps(low, high, half))
            });
            for _ in 5..DEPTH {
                down(block, mask, first, &mut at, |at| gather_entries(tree, at));
            }
            for (total, at) in totals.iter_mut().zip(at) {
                *total = _mm256_add_epi32(*total, gather_entries(tree, at));
            }
        }
        for (sums, total) in sums.chunks_exact_mut(LANES).zip(totals) {
            // SAFETY: the chunk has 8 places of 32 bits; the store needs no alignment.
            unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), total) }
        }
    }
}

/// The first three levels: their nodes are so few that columns are loaded whole and blended, not gathered.
#[inline]
#[target_feature(enable = "avx2")]
fn top_levels(tree: &Tree, block: &Block, mask: u32, first: usize) -> [__m256i; TOGETHER] {
    let nodes = entries::<0>(tree);
    let mut places = [_mm256_set1_epi32(1); TOGETHER];
    for (vector, place) in places.iter_mut().enumerate() {
        let column = |node: usize| values(block, (tree.0[node] & mask) as usize, first + vector * LANES);
        let right_0 = goes_right(column(1), _mm256_set1_epi32(tree.0[1] as i32));
        let at = step(*place, right_0);
        let value = _mm256_blendv_ps(column(2), column(3), right_0);
        let right_1 = goes_right(value, _mm256_permutevar8x32_epi32(nodes, at));
        let at = step(at, right_1);
        let left = _mm256_blendv_ps(column(4), column(5), right_1);
        let right = _mm256_blendv_ps(column(6), column(7), right_1);
        let value = _mm256_blendv_ps(left, right, right_0);
        *place = step(at, goes_right(value, _mm256_permutevar8x32_epi32(nodes, at)));
    }
    places
}

/// One level: `node_at` finds the nodes, and each row's value of its node's feature is gathered.
#[inline]
#[target_feature(enable = "avx2")]
fn down(
    block: &Block,
    mask: u32,
    first: usize,
    places: &mut [__m256i; TOGETHER],
    node_at: impl Fn(__m256i) -> __m256i,
) {
    let mut nodes = [_mm256_setzero_si256(); TOGETHER];
    let mut found = [_mm256_setzero_ps(); TOGETHER];
    for vector in 0..TOGETHER {
        nodes[vector] = node_at(places[vector]);
        found[vector] = gather_values(block, nodes[vector], mask, first + vector * LANES);
    }
    for vector in 0..TOGETHER {
        places[vector] = step(places[vector], goes_right(found[vector], nodes[vector]));
    }
}

#[target_feature(enable = "avx2")]
fn lead_row(forest: &Packed<'_>, row: &Row) -> u32 {
    let mut total = _mm256_setzero_si256();
    let mut groups = forest.trees.chunks_exact(LANES * TOGETHER);
    for group in &mut groups {
        let mut at = [_mm256_set1_epi32(1); TOGETHER];
        for _ in 0..DEPTH {
            for (at, trees) in at.iter_mut().zip(group.chunks_exact(LANES)) {
                let node = gather_trees(trees, *at);
                *at = step(*at, goes_right(value_of(row, node, forest.mask), node));
            }
        }
        for (at, trees) in at.into_iter().zip(group.chunks_exact(LANES)) {
            total = _mm256_add_epi32(total, gather_trees(trees, at));
        }
    }
    let rest = Packed { trees: groups.remainder(), ..*forest };
    let mut sums = [0u32; LANES];
    // SAFETY: there are 8 places of 32 bits; the store needs no alignment.
    unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), total) }
    sums.iter().sum::<u32>() + super::scalar::row(&rest, row)
}

/// All ones in the lanes whose value is not below their threshold, as NaN never is.
#[target_feature(enable = "avx2")]
fn goes_right(values: __m256, nodes: __m256i) -> __m256 {
    _mm256_cmp_ps::<_CMP_NLT_UQ>(values, _mm256_castsi256_ps(nodes))
}

/// To the children: all ones is minus one.
#[target_feature(enable = "avx2")]
fn step(at: __m256i, right: __m256) -> __m256i {
    _mm256_sub_epi32(_mm256_add_epi32(at, at), _mm256_castps_si256(right))
}

#[target_feature(enable = "avx2")]
fn entries<const FIRST: usize>(tree: &Tree) -> __m256i {
    const { assert!(FIRST + LANES <= 2 * NODES) };
    // SAFETY: 8 entries from FIRST on are within the 512; the load needs no alignment.
    unsafe { _mm256_loadu_si256(tree.0.as_ptr().add(FIRST).cast()) }
}

#[target_feature(enable = "avx2")]
fn gather_entries(tree: &Tree, at: __m256i) -> __m256i {
    let at = _mm256_and_si256(at, _mm256_set1_epi32(2 * NODES as i32 - 1));
    // SAFETY: each place is below 512 after the mask, and the tree has 512 entries of 4 bytes.
    unsafe { _mm256_i32gather_epi32::<4>(tree.0.as_ptr().cast(), at) }
}

/// Place `at` of the lane's tree; of eight trees.
#[target_feature(enable = "avx2")]
fn gather_trees(trees: &[Tree], at: __m256i) -> __m256i {
    assert!(trees.len() == LANES);
    let lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    let tree = _mm256_mullo_epi32(lane, _mm256_set1_epi32(STRIDE as i32));
    let at = _mm256_and_si256(at, _mm256_set1_epi32(2 * NODES as i32 - 1));
    // SAFETY: each place is below 512 after the mask, and the lane's tree is one of the eight.
    unsafe { _mm256_i32gather_epi32::<4>(trees.as_ptr().cast(), _mm256_add_epi32(at, tree)) }
}

#[target_feature(enable = "avx2")]
fn values(block: &Block, feature: usize, first: usize) -> __m256 {
    let column = &block.0[feature & 63];
    debug_assert!(first + LANES <= BLOCK_ROWS);
    // SAFETY: `first` is a multiple of 8 below 64, and a column has 64 values.
    unsafe { _mm256_loadu_ps(column.as_ptr().add(first)) }
}

/// Row `first` + lane, feature of the lane's node.
#[target_feature(enable = "avx2")]
fn gather_values(block: &Block, node: __m256i, mask: u32, first: usize) -> __m256 {
    let lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    let feature = _mm256_and_si256(node, _mm256_set1_epi32((mask & 63) as i32));
    let place = _mm256_add_epi32(_mm256_slli_epi32::<6>(feature), lane);
    debug_assert!(first + LANES <= BLOCK_ROWS);
    // SAFETY: a feature is below 64 after the mask and `first` + lane below 64, so the place is below 64 * 64.
    unsafe { _mm256_i32gather_ps::<4>(block.0.as_flattened().as_ptr().add(first), place) }
}

#[target_feature(enable = "avx2")]
fn value_of(row: &Row, node: __m256i, mask: u32) -> __m256 {
    let feature = _mm256_and_si256(node, _mm256_set1_epi32((mask & 63) as i32));
    // SAFETY: a feature is below 64 after the mask, and a row has 64 values.
    unsafe { _mm256_i32gather_ps::<4>(row.0.as_ptr(), feature) }
}
