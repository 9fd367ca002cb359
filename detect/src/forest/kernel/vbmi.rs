//! The kernel for AVX-512 that can permute bytes (VBMI): 64 rows in a vector, coded as in `coded.rs`.
#![allow(
    unsafe_code,
    reason = "vector loads and stores take addresses; every block says why its addresses exist"
)]

use super::super::tree::NODES;
use super::avx512::Avx512;
use super::coded::{ByteTree, Entries, Group, PLANE_BITS, PLANES, Search, TOGETHER};
use super::{BLOCK_ROWS, Block, Packed, Row, Sums};
use std::arch::x86_64::*;
use std::array::from_fn;

/// Values of 32 bits in a vector.
const LANES: usize = 16;
const VECTORS: usize = BLOCK_ROWS / LANES;

/// Proof that the machine has AVX-512 F, BW and VBMI: only `detect` makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vbmi(Avx512);

/// Codes of 64 rows, for so many features.
#[repr(C, align(64))]
struct Codes<const FEATURES: usize>([[u8; BLOCK_ROWS]; FEATURES]);

impl Vbmi {
    pub fn detect() -> Option<Vbmi> {
        let bytes = is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vbmi");
        Avx512::detect().filter(|_| bytes).map(Vbmi)
    }

    pub fn block(self, forest: &Packed<'_>, block: &Block, sums: &mut Sums) {
        let groups = forest.coded.groups(forest);
        // SAFETY: `self` exists, so the machine has AVX-512 F, BW and VBMI.
        unsafe {
            match forest.features {
                0..=16 => lead_block::<16>(groups, block, sums),
                17..=32 => lead_block::<32>(groups, block, sums),
                _ => lead_block::<64>(groups, block, sums),
            }
        }
    }

    /// One row has nothing to gain from codes.
    pub fn row(self, forest: &Packed<'_>, row: &Row) -> u32 {
        self.0.row(forest, row)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn lead_block<const FEATURES: usize>(groups: &[Group], block: &Block, sums: &mut Sums) {
    let mut codes = Codes([[0; BLOCK_ROWS]; FEATURES]);
    for group in groups {
        for search in &group.searches {
            let column = &mut codes.0[search.feature & (FEATURES - 1)];
            encode(search, &block.0[search.feature & (FEATURES - 1)], column);
        }
        lead_group(group, &codes, sums);
    }
}

/// Finds the codes of one feature: goes down the search with all vectors, as a vector's own levels wait for one another.
#[target_feature(enable = "avx512f")]
fn encode(search: &Search, values: &[f32; BLOCK_ROWS], codes: &mut [u8; BLOCK_ROWS]) {
    let (values, _) = values.as_chunks::<LANES>();
    let values: [__m512; VECTORS] = from_fn(|vector| floats(&values[vector]));
    let mut places = [_mm512_set1_epi32(1); VECTORS];
    if let [top, ..] = search.entries.as_slice() {
        let top = [floats(&top.0)];
        for _ in 0..search.levels.min(4) {
            down(&top, &values, &mut places);
        }
    }
    down_further::<1>(search, &values, &mut places);
    down_further::<2>(search, &values, &mut places);
    down_further::<4>(search, &values, &mut places);
    down_further::<8>(search, &values, &mut places);
    let leftmost = _mm512_set1_epi32(1 << search.levels);
    for (codes, at) in codes.as_chunks_mut::<LANES>().0.iter_mut().zip(places) {
        let code = _mm512_cvtepi32_epi8(_mm512_sub_epi32(at, leftmost));
        // SAFETY: the chunk has 16 bytes; the store needs no alignment.
        unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), code) }
    }
}

/// The level of so many vectors of entries, if the search has it.
#[inline]
#[target_feature(enable = "avx512f")]
fn down_further<const N: usize>(
    search: &Search,
    values: &[__m512; VECTORS],
    places: &mut [__m512i; VECTORS],
) {
    if let Some(entries) = search.entries.get(N..).and_then(|entries| entries.first_chunk::<N>()) {
        down(&from_fn::<_, N, _>(|n| floats(&entries[n].0)), values, places);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn down<const N: usize>(level: &[__m512; N], values: &[__m512; VECTORS], places: &mut [__m512i; VECTORS]) {
    for (at, values) in places.iter_mut().zip(values) {
        let right = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(*values, entries_at(level, *at));
        let twice = _mm512_add_epi32(*at, *at);
        *at = _mm512_mask_add_epi32(twice, right, twice, _mm512_set1_epi32(1));
    }
}

/// Looks up the entries of a level: bits 0 to 3 of the place say where in a vector, those above in which.
#[inline]
#[target_feature(enable = "avx512f")]
fn entries_at<const N: usize>(level: &[__m512; N], at: __m512i) -> __m512 {
    let mut found = *level;
    if N == 1 {
        return _mm512_permutexvar_ps(at, found[0]);
    }
    for pair in 0..N / 2 {
        found[pair] = _mm512_permutex2var_ps(level[2 * pair], at, level[2 * pair + 1]);
    }
    let (mut count, mut bit) = (N / 2, 32);
    while count > 1 {
        let odd = _mm512_test_epi32_mask(at, _mm512_set1_epi32(bit));
        for pair in 0..count / 2 {
            found[pair] = _mm512_mask_blend_ps(odd, found[2 * pair], found[2 * pair + 1]);
        }
        (count, bit) = (count / 2, 2 * bit);
    }
    found[0]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn lead_group<const FEATURES: usize>(group: &Group, codes: &Codes<FEATURES>, sums: &mut Sums) {
    let columns: [__m512i; FEATURES] = from_fn(|feature| bytes::<0, _>(&codes.0[feature]));
    // For each plane the sums of even and of odd rows, in 16 bits.
    let mut totals = [[_mm512_setzero_si512(); 2]; PLANES];
    for trees in group.trees.as_chunks::<TOGETHER>().0 {
        let (nodes, right) = lead_trees(trees, codes, &columns);
        for (plane, total) in totals.iter_mut().enumerate() {
            let mut leaves = _mm512_setzero_si512();
            for tree in 0..TOGETHER {
                let table = &trees[tree].leaves[plane];
                let of_left =
                    _mm512_permutex2var_epi8(bytes::<0, _>(table), nodes[tree], bytes::<64, _>(table));
                let of_right =
                    _mm512_permutex2var_epi8(bytes::<128, _>(table), nodes[tree], bytes::<192, _>(table));
                let leaf = _mm512_mask_blend_epi8(right[tree], of_left, of_right);
                leaves = _mm512_add_epi8(leaves, leaf);
            }
            let even = _mm512_and_si512(leaves, _mm512_set1_epi16(0xFF));
            total[0] = _mm512_add_epi16(total[0], even);
            total[1] = _mm512_add_epi16(total[1], _mm512_srli_epi16::<8>(leaves));
        }
    }
    for (plane, total) in totals.into_iter().enumerate() {
        let [even, odd] = total.map(|total| words(total));
        for (row, sum) in sums.iter_mut().enumerate() {
            let total = if row % 2 == 0 { even[row / 2] } else { odd[row / 2] };
            *sum += u32::from(total) << (PLANE_BITS * plane);
        }
    }
}

/// Leads the rows to the last nodes of each tree, and tells which rows go right there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn lead_trees<const FEATURES: usize>(
    trees: &[ByteTree; TOGETHER],
    codes: &Codes<FEATURES>,
    columns: &[__m512i; FEATURES],
) -> ([__m512i; TOGETHER], [__mmask64; TOGETHER]) {
    let mut places = [_mm512_setzero_si512(); TOGETHER];
    let mut right = [0; TOGETHER];
    for (at, tree) in places.iter_mut().zip(trees) {
        *at = top_levels(tree, codes);
    }
    for _ in 3..6 {
        for (at, tree) in places.iter_mut().zip(trees) {
            let feature = _mm512_permutexvar_epi8(*at, bytes::<0, _>(&tree.features));
            let rank = _mm512_permutexvar_epi8(*at, bytes::<0, _>(&tree.ranks));
            *at = step(*at, _mm512_cmpge_epu8_mask(codes_of(columns, feature), rank));
        }
    }
    for (at, tree) in places.iter_mut().zip(trees) {
        let feature = _mm512_permutexvar_epi8(*at, bytes::<64, _>(&tree.features));
        let rank = _mm512_permutexvar_epi8(*at, bytes::<64, _>(&tree.ranks));
        *at = step(*at, _mm512_cmpge_epu8_mask(codes_of(columns, feature), rank));
    }
    for (tree, at) in places.iter().enumerate() {
        let ByteTree { features, ranks, .. } = &trees[tree];
        let feature = _mm512_permutex2var_epi8(bytes::<128, _>(features), *at, bytes::<192, _>(features));
        let rank = _mm512_permutex2var_epi8(bytes::<128, _>(ranks), *at, bytes::<192, _>(ranks));
        right[tree] = _mm512_cmpge_epu8_mask(codes_of(columns, feature), rank);
    }
    (places, right)
}

/// The first three levels: their nodes are so few that columns are blended by the steps before.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn top_levels<const FEATURES: usize>(tree: &ByteTree, codes: &Codes<FEATURES>) -> __m512i {
    let [features, ..] = tree.features.as_chunks::<8>().0 else { return _mm512_setzero_si512() };
    let features = u64::from_le_bytes(*features);
    let column = |node: usize| bytes::<0, _>(&codes.0[(features >> (8 * node)) as usize & (FEATURES - 1)]);
    let ranks = bytes::<0, _>(&tree.ranks);
    let right_0 = _mm512_cmpge_epu8_mask(column(1), _mm512_set1_epi8(tree.ranks[1] as i8));
    let at = step(_mm512_set1_epi8(1), right_0);
    let code = _mm512_mask_blend_epi8(right_0, column(2), column(3));
    let right_1 = _mm512_cmpge_epu8_mask(code, _mm512_permutexvar_epi8(at, ranks));
    let at = step(at, right_1);
    let left = _mm512_mask_blend_epi8(right_1, column(4), column(5));
    let right = _mm512_mask_blend_epi8(right_1, column(6), column(7));
    let code = _mm512_mask_blend_epi8(right_0, left, right);
    step(at, _mm512_cmpge_epu8_mask(code, _mm512_permutexvar_epi8(at, ranks)))
}

/// Each row's code of its feature: columns are halved by the bits of the feature, from the lowest on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn codes_of<const FEATURES: usize>(columns: &[__m512i; FEATURES], feature: __m512i) -> __m512i {
    let mut found = *columns;
    let mut count = FEATURES / 2;
    while count > 0 {
        let odd = _mm512_test_epi8_mask(feature, _mm512_set1_epi8((FEATURES / 2 / count) as i8));
        for pair in 0..count {
            found[pair] = _mm512_mask_blend_epi8(odd, found[2 * pair], found[2 * pair + 1]);
        }
        count /= 2;
    }
    found[0]
}

/// To the children.
#[target_feature(enable = "avx512bw")]
fn step(at: __m512i, right: __mmask64) -> __m512i {
    let twice = _mm512_add_epi8(at, at);
    _mm512_mask_add_epi8(twice, right, twice, _mm512_set1_epi8(1))
}

#[target_feature(enable = "avx512f")]
fn floats(values: &[f32; LANES]) -> __m512 {
    // SAFETY: there are 16 values of 32 bits; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
fn bytes<const FIRST: usize, const N: usize>(table: &[u8; N]) -> __m512i {
    const { assert!(FIRST + 64 <= N) };
    // SAFETY: the table has 64 bytes from FIRST on; the load needs no alignment.
    unsafe { _mm512_loadu_si512(table.as_ptr().add(FIRST).cast()) }
}

#[target_feature(enable = "avx512f")]
fn words(vector: __m512i) -> [u16; 32] {
    let mut words = [0; 32];
    // SAFETY: there are 32 places of 16 bits; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) }
    words
}

const _: () = assert!(NODES == 256);
