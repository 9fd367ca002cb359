//! The kernel for AVX-512 that can permute bytes (VBMI): 64 rows in a vector, coded as in `coded.rs`.
#![allow(
    unsafe_code,
    reason = "vector loads and stores take addresses; every block says why its addresses exist"
)]

use super::avx512::Avx512;
use super::coded::{ByteTree, Group, PLANE_BITS, PLANES, Search, TOGETHER};
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

/// Finds the codes of one feature; with all vectors level by level, since a vector's own levels wait for one another.
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
    let columns: [__m512i; FEATURES] = from_fn(|feature| bytes(&codes.0[feature]));
    // For each plane the sums of even and of odd rows, in 16 bits.
    let mut totals = [[_mm512_setzero_si512(); 2]; PLANES];
    for trees in group.trees.as_chunks::<TOGETHER>().0 {
        let (places, rights) = lead_trees(trees, codes, &columns);
        for (plane, total) in totals.iter_mut().enumerate() {
            let mut leaves = _mm512_setzero_si512();
            for (tree, (at, right)) in trees.iter().zip(places.into_iter().zip(rights)) {
                let table = &tree.leaves[plane];
                let left_leaf = look_up_in_two([&table[0], &table[1]], at);
                let right_leaf = look_up_in_two([&table[2], &table[3]], at);
                leaves = _mm512_add_epi8(leaves, _mm512_mask_blend_epi8(right, left_leaf, right_leaf));
            }
            let even = _mm512_and_si512(leaves, _mm512_set1_epi16(0xFF));
            total[0] = _mm512_add_epi16(total[0], even);
            total[1] = _mm512_add_epi16(total[1], _mm512_srli_epi16::<8>(leaves));
        }
    }
    for (plane, [even, odd]) in totals.into_iter().enumerate() {
        let (even, odd) = (words(even), words(odd));
        for (row, sum) in sums.iter_mut().enumerate() {
            let total = if row % 2 == 0 { even[row / 2] } else { odd[row / 2] };
            *sum += u32::from(total) << (PLANE_BITS * plane);
        }
    }
}

/// Leads the rows to the last nodes of the trees, and tells which rows go right there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn lead_trees<const FEATURES: usize>(
    trees: &[ByteTree; TOGETHER],
    codes: &Codes<FEATURES>,
    columns: &[__m512i; FEATURES],
) -> ([__m512i; TOGETHER], [__mmask64; TOGETHER]) {
    let mut places = [_mm512_setzero_si512(); TOGETHER];
    for (at, tree) in places.iter_mut().zip(trees) {
        *at = top_levels(tree, codes);
    }
    // The first table has the nodes of levels 0 to 5, the second those of level 6.
    for table in [0, 0, 0, 1] {
        for (at, tree) in places.iter_mut().zip(trees) {
            let feature = look_up(&tree.features[table], *at);
            *at = step(*at, goes_right(code_of(columns, feature), look_up(&tree.ranks[table], *at)));
        }
    }
    let mut rights = [0; TOGETHER];
    for ((right, at), tree) in rights.iter_mut().zip(places).zip(trees) {
        let feature = look_up_in_two([&tree.features[2], &tree.features[3]], at);
        let rank = look_up_in_two([&tree.ranks[2], &tree.ranks[3]], at);
        *right = goes_right(code_of(columns, feature), rank);
    }
    (places, rights)
}

/// The first three levels: their nodes are so few that columns are blended by the steps before.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn top_levels<const FEATURES: usize>(tree: &ByteTree, codes: &Codes<FEATURES>) -> __m512i {
    let [_, one, two, three, four, five, six, seven, ..] = tree.features[0];
    let column = |feature: u8| bytes(&codes.0[usize::from(feature) & (FEATURES - 1)]);
    let ranks = &tree.ranks[0];
    let at = _mm512_set1_epi8(1);
    let right_0 = goes_right(column(one), look_up(ranks, at));
    let at = step(at, right_0);
    let code = _mm512_mask_blend_epi8(right_0, column(two), column(three));
    let right_1 = goes_right(code, look_up(ranks, at));
    let at = step(at, right_1);
    let left = _mm512_mask_blend_epi8(right_1, column(four), column(five));
    let right = _mm512_mask_blend_epi8(right_1, column(six), column(seven));
    let code = _mm512_mask_blend_epi8(right_0, left, right);
    step(at, goes_right(code, look_up(ranks, at)))
}

/// Each row's code of its feature: columns are halved by the bits of the feature, from the lowest on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn code_of<const FEATURES: usize>(columns: &[__m512i; FEATURES], feature: __m512i) -> __m512i {
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

/// The rows whose code is not less than the rank.
#[target_feature(enable = "avx512bw")]
fn goes_right(codes: __m512i, ranks: __m512i) -> __mmask64 {
    _mm512_cmpge_epu8_mask(codes, ranks)
}

/// To the children.
#[target_feature(enable = "avx512bw")]
fn step(at: __m512i, right: __mmask64) -> __m512i {
    let left = _mm512_add_epi8(at, at);
    _mm512_mask_add_epi8(left, right, left, _mm512_set1_epi8(1))
}

/// The lowest six bits of a place count.
#[target_feature(enable = "avx512vbmi")]
fn look_up(table: &[u8; 64], at: __m512i) -> __m512i {
    _mm512_permutexvar_epi8(at, bytes(table))
}

/// The lowest seven bits of a place count.
#[target_feature(enable = "avx512vbmi")]
fn look_up_in_two(tables: [&[u8; 64]; 2], at: __m512i) -> __m512i {
    _mm512_permutex2var_epi8(bytes(tables[0]), at, bytes(tables[1]))
}

#[target_feature(enable = "avx512f")]
fn floats(values: &[f32; LANES]) -> __m512 {
    // SAFETY: there are 16 values of 32 bits; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
fn bytes(table: &[u8; 64]) -> __m512i {
    // SAFETY: there are 64 bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(table.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn words(vector: __m512i) -> [u16; 32] {
    let mut words = [0; 32];
    // SAFETY: there are 32 places of 16 bits; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) }
    words
}
