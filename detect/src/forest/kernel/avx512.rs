//! The kernel for AVX-512: 16 rows, or for one row 16 trees, in a vector.
#![allow(
    unsafe_code,
    reason = "vector loads and gathers take addresses; every block says why its addresses exist"
)]

use super::super::tree::{DEPTH, NODES, STRIDE, Tree};
use super::{BLOCK_ROWS, Block, Packed, Row, Sums};
use std::arch::x86_64::*;

const LANES: usize = 16;
const VECTORS: usize = BLOCK_ROWS / LANES;
/// Vectors of trees that one row is led through side by side.
const TOGETHER: usize = 4;

/// Proof that the machine has AVX-512F: only `detect` makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx512 {
    pub fn detect() -> Option<Avx512> {
        is_x86_feature_detected!("avx512f").then_some(Avx512(()))
    }

    pub fn block(self, forest: &Packed<'_>, block: &Block, sums: &mut Sums) {
        // SAFETY: `self` exists, so the machine has AVX-512F.
        unsafe { lead_block(forest, block, sums) }
    }

    pub fn row(self, forest: &Packed<'_>, row: &Row) -> u32 {
        // SAFETY: `self` exists, so the machine has AVX-512F.
        unsafe { lead_row(forest, row) }
    }
}

/// Goes level by level with all vectors, since a vector's own levels wait for one another.
#[target_feature(enable = "avx512f")]
fn lead_block(forest: &Packed<'_>, block: &Block, sums: &mut Sums) {
    let mask = forest.mask & 63;
    let mut totals = [_mm512_setzero_si512(); VECTORS];
    for tree in forest.trees {
        let mut at = top_levels(tree, block, mask);
        let fourth = entries::<0>(tree);
        down(block, mask, &mut at, |at| _mm512_permutexvar_epi32(at, fourth));
        let fifth = entries::<16>(tree);
        down(block, mask, &mut at, |at| _mm512_permutexvar_epi32(at, fifth));
        let sixth = [entries::<32>(tree), entries::<48>(tree)];
        down(block, mask, &mut at, |at| _mm512_permutex2var_epi32(sixth[0], at, sixth[1]));
        let seventh = [entries::<64>(tree), entries::<80>(tree), entries::<96>(tree), entries::<112>(tree)];
        down(block, mask, &mut at, |at| {
            let half = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32));
            let low = _mm512_permutex2var_epi32(seventh[0], at, seventh[1]);
            let high = _mm512_permutex2var_epi32(seventh[2], at, seventh[3]);
            _mm512_mask_blend_epi32(half, low, high)
        });
        down(block, mask, &mut at, |at| gather_entries(tree, at));
        for (total, at) in totals.iter_mut().zip(at) {
            *total = _mm512_add_epi32(*total, gather_entries(tree, at));
        }
    }
    for (sums, total) in sums.chunks_exact_mut(LANES).zip(totals) {
        // SAFETY: the chunk has 16 places of 32 bits; the store needs no alignment.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), total) }
    }
}

/// The first three levels: their nodes are so few that columns are loaded whole and blended, not gathered.
#[inline]
#[target_feature(enable = "avx512f")]
fn top_levels(tree: &Tree, block: &Block, mask: u32) -> [__m512i; VECTORS] {
    let nodes = entries::<0>(tree);
    let mut places = [_mm512_set1_epi32(1); VECTORS];
    for (vector, place) in places.iter_mut().enumerate() {
        let column = |node: usize| values(block, (tree.0[node] & mask) as usize, vector * LANES);
        let right_0 = goes_right(column(1), _mm512_set1_epi32(tree.0[1] as i32));
        let at = step(*place, right_0);
        let value = _mm512_mask_blend_ps(right_0, column(2), column(3));
        let right_1 = goes_right(value, _mm512_permutexvar_epi32(at, nodes));
        let at = step(at, right_1);
        let left = _mm512_mask_blend_ps(right_1, column(4), column(5));
        let right = _mm512_mask_blend_ps(right_1, column(6), column(7));
        let value = _mm512_mask_blend_ps(right_0, left, right);
        *place = step(at, goes_right(value, _mm512_permutexvar_epi32(at, nodes)));
    }
    places
}

/// One level: `node_at` finds the nodes, and each row's value of its node's feature is gathered.
#[inline]
#[target_feature(enable = "avx512f")]
fn down(block: &Block, mask: u32, places: &mut [__m512i; VECTORS], node_at: impl Fn(__m512i) -> __m512i) {
    let mut nodes = [_mm512_setzero_si512(); VECTORS];
    let mut found = [_mm512_setzero_ps(); VECTORS];
    for vector in 0..VECTORS {
        nodes[vector] = node_at(places[vector]);
        found[vector] = gather_values(block, nodes[vector], mask, vector * LANES);
    }
    for vector in 0..VECTORS {
        places[vector] = step(places[vector], goes_right(found[vector], nodes[vector]));
    }
}

#[target_feature(enable = "avx512f")]
fn lead_row(forest: &Packed<'_>, row: &Row) -> u32 {
    let mask = forest.mask & 63;
    let mut total = _mm512_setzero_si512();
    for group in forest.trees.chunks(LANES * TOGETHER) {
        let mut places = [_mm512_set1_epi32(1); TOGETHER];
        let trees: [&[Tree]; TOGETHER] = std::array::from_fn(|vector| {
            let first = (vector * LANES).min(group.len());
            &group[first..(first + LANES).min(group.len())]
        });
        for _ in 0..DEPTH {
            let mut nodes = [_mm512_setzero_si512(); TOGETHER];
            for vector in 0..TOGETHER {
                nodes[vector] = gather_trees(trees[vector], places[vector]);
            }
            for vector in 0..TOGETHER {
                let right = goes_right(value_of(row, nodes[vector], mask), nodes[vector]);
                places[vector] = step(places[vector], right);
            }
        }
        for vector in 0..TOGETHER {
            total = _mm512_add_epi32(total, gather_trees(trees[vector], places[vector]));
        }
    }
    _mm512_reduce_add_epi32(total) as u32
}

/// The lanes whose value is not below their threshold, as NaN never is.
#[target_feature(enable = "avx512f")]
fn goes_right(values: __m512, nodes: __m512i) -> __mmask16 {
    _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(values, _mm512_castsi512_ps(nodes))
}

/// To the children.
#[target_feature(enable = "avx512f")]
fn step(at: __m512i, right: __mmask16) -> __m512i {
    let left = _mm512_add_epi32(at, at);
    _mm512_mask_add_epi32(left, right, left, _mm512_set1_epi32(1))
}

#[target_feature(enable = "avx512f")]
fn entries<const FIRST: usize>(tree: &Tree) -> __m512i {
    const { assert!(FIRST + LANES <= 2 * NODES) };
    // SAFETY: 16 entries from FIRST on are within the 512; the load needs no alignment.
    unsafe { _mm512_loadu_si512(tree.0.as_ptr().add(FIRST).cast()) }
}

#[target_feature(enable = "avx512f")]
fn gather_entries(tree: &Tree, at: __m512i) -> __m512i {
    let at = _mm512_and_si512(at, _mm512_set1_epi32(2 * NODES as i32 - 1));
    // SAFETY: each place is below 512 after the mask, and the tree has 512 entries of 4 bytes.
    unsafe { _mm512_i32gather_epi32::<4>(at, tree.0.as_ptr().cast()) }
}

/// Place `at` of the lane's tree; 0 in lanes without one.
#[target_feature(enable = "avx512f")]
fn gather_trees(trees: &[Tree], at: __m512i) -> __m512i {
    let lanes = ((1u32 << trees.len().min(LANES)) - 1) as __mmask16;
    let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let tree = _mm512_mullo_epi32(lane, _mm512_set1_epi32(STRIDE as i32));
    let at = _mm512_and_si512(at, _mm512_set1_epi32(2 * NODES as i32 - 1));
    let at = _mm512_add_epi32(at, tree);
    // SAFETY: each place is below 512 after the mask, and only lanes that have a tree are read.
    unsafe { _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), lanes, at, trees.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn values(block: &Block, feature: usize, first: usize) -> __m512 {
    let column = &block.0[feature & 63];
    debug_assert!(first + LANES <= BLOCK_ROWS);
    // SAFETY: `first` is 0, 16, 32 or 48, and a column has 64 values.
    unsafe { _mm512_loadu_ps(column.as_ptr().add(first)) }
}

/// Row `first` + lane, feature of the lane's node.
#[target_feature(enable = "avx512f")]
fn gather_values(block: &Block, node: __m512i, mask: u32, first: usize) -> __m512 {
    let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let feature = _mm512_and_si512(node, _mm512_set1_epi32((mask & 63) as i32));
    let place = _mm512_add_epi32(_mm512_slli_epi32::<6>(feature), lane);
    debug_assert!(first + LANES <= BLOCK_ROWS);
    // SAFETY: a feature is below 64 after the mask and `first` + lane below 64, so the place is below 64 * 64.
    unsafe { _mm512_i32gather_ps::<4>(place, block.0.as_flattened().as_ptr().add(first)) }
}

#[target_feature(enable = "avx512f")]
fn value_of(row: &Row, node: __m512i, mask: u32) -> __m512 {
    // SAFETY: a row has 64 values; the loads need no alignment.
    let (low, high) = unsafe { (_mm512_loadu_ps(row.0.as_ptr()), _mm512_loadu_ps(row.0.as_ptr().add(16))) };
    match mask {
        // Permutations take as many of the lowest bits as they need: exactly those that are the feature.
        15 => _mm512_permutexvar_ps(node, low),
        31 => _mm512_permutex2var_ps(low, node, high),
        _ => {
            let feature = _mm512_and_si512(node, _mm512_set1_epi32(63));
            // SAFETY: a feature is below 64 after the mask, and a row has 64 values.
            unsafe { _mm512_i32gather_ps::<4>(feature, row.0.as_ptr()) }
        }
    }
}
