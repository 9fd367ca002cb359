//! The kernel for AVX-512: 16 rows, or for one row 16 trees, in a vector.
#![allow(unsafe_code, reason = "vector loads and gathers take addresses; every block says why its addresses exist")]

use super::super::tree::{NODES, Tree};
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
    let trees = forest.trees;
    for (number, group) in trees.chunks(LANES * TOGETHER).enumerate() {
        let mut at = [_mm512_setzero_si512(); TOGETHER];
        let mut lanes = [0; TOGETHER];
        for (vector, (at, lanes)) in at.iter_mut().zip(&mut lanes).enumerate() {
            let count = group.len().saturating_sub(vector * LANES).min(LANES);
            *lanes = ((1u32 << count) - 1) as __mmask16;
            // Place 1 of each tree, where the first tree begins at place 0 and each has 512.
            let tree = (number * TOGETHER + vector) * LANES * 2 * NODES;
            let base = _mm512_set1_epi32(tree as i32 + 1);
            let lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
            *at = _mm512_add_epi32(base, _mm512_slli_epi32::<9>(lane));
        }
        for _ in 0..super::super::tree::DEPTH {
            for (at, lanes) in at.iter_mut().zip(lanes) {
                // SAFETY: only lanes whose tree exists are read; their place is below 512 in that tree.
                let node = unsafe { masked_entries(trees, *at, lanes) };
                let right = goes_right(value_of(row, node, mask), node);
                // Doubles the place within its tree, and leaves the tree.
                let place = _mm512_and_si512(*at, _mm512_set1_epi32(2 * NODES as i32 - 1));
                *at = _mm512_add_epi32(*at, place);
                *at = _mm512_mask_add_epi32(*at, right, *at, _mm512_set1_epi32(1));
            }
        }
        for (at, lanes) in at.into_iter().zip(lanes) {
            // SAFETY: as above; after eight steps from place 1 the place is from 256 to 511.
            total = _mm512_add_epi32(total, unsafe { masked_entries(trees, at, lanes) });
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

/// # Safety
/// In every lane of `lanes`, `at` is a place in `trees`, which have 512 each.
#[target_feature(enable = "avx512f")]
unsafe fn masked_entries(trees: &[Tree], at: __m512i, lanes: __mmask16) -> __m512i {
    // SAFETY: other lanes are not read, and the caller answers for these.
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
