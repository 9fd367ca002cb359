//! The kernel for AVX-512 with byte permutations: 64 rows of codes in a vector.
#![allow(
    unsafe_code,
    reason = "vector loads and stores take addresses; every block says why its addresses exist"
)]

use super::coded::{Coded, CodedTree, Group, PLANE_BITS, PLANES, Search};
use super::super::tree::{DEPTH, NODES};
use super::{BLOCK_ROWS, Block, Sums};
use std::arch::x86_64::*;

const LANES: usize = 16;
const VECTORS: usize = BLOCK_ROWS / LANES;
const FEATURES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vbmi(());

#[repr(C, align(64))]
struct Codes([[u8; BLOCK_ROWS]; FEATURES]);

impl Vbmi {
    pub fn detect() -> Option<Vbmi> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi");
        all.then_some(Vbmi(()))
    }

    pub fn block(self, forest: &Coded, block: &Block, sums: &mut Sums) {
        // SAFETY: `self` exists, so the machine has them.
        unsafe { lead_block(forest, block, sums) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn lead_block(forest: &Coded, block: &Block, sums: &mut Sums) {
    let mut codes = Codes([[0; BLOCK_ROWS]; FEATURES]);
    for group in &forest.groups {
        for search in &group.searches {
            encode(search, block, &mut codes);
        }
        lead_group(group, &codes, sums);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn encode(search: &Search, block: &Block, codes: &mut Codes) {
    let values: [__m512; VECTORS] = std::array::from_fn(|v| floats(&block.0[search.feature & 63], v * LANES));
    let mut at = [_mm512_set1_epi32(1); VECTORS];
    let table = |n: usize| floats(&search.thresholds, n * LANES);
    let top = table(0);
    for _ in 0..search.levels.min(4) {
        for v in 0..VECTORS {
            at[v] = step(at[v], not_below(values[v], _mm512_permutexvar_ps(at[v], top)));
        }
    }
    if search.levels > 4 {
        let fifth = table(1);
        for v in 0..VECTORS {
            at[v] = step(at[v], not_below(values[v], _mm512_permutexvar_ps(at[v], fifth)));
        }
    }
    if search.levels > 5 {
        let (a, b) = (table(2), table(3));
        for v in 0..VECTORS {
            at[v] = step(at[v], not_below(values[v], _mm512_permutex2var_ps(a, at[v], b)));
        }
    }
    if search.levels > 6 {
        let (a, b, c, d) = (table(4), table(5), table(6), table(7));
        for v in 0..VECTORS {
            let half = _mm512_test_epi32_mask(at[v], _mm512_set1_epi32(32));
            let low = _mm512_permutex2var_ps(a, at[v], b);
            let high = _mm512_permutex2var_ps(c, at[v], d);
            at[v] = step(at[v], not_below(values[v], _mm512_mask_blend_ps(half, low, high)));
        }
    }
    if search.levels > 7 {
        let t: [__m512; 8] = std::array::from_fn(|n| table(8 + n));
        for v in 0..VECTORS {
            let half = _mm512_test_epi32_mask(at[v], _mm512_set1_epi32(32));
            let upper = _mm512_test_epi32_mask(at[v], _mm512_set1_epi32(64));
            let a = _mm512_permutex2var_ps(t[0], at[v], t[1]);
            let b = _mm512_permutex2var_ps(t[2], at[v], t[3]);
            let c = _mm512_permutex2var_ps(t[4], at[v], t[5]);
            let d = _mm512_permutex2var_ps(t[6], at[v], t[7]);
            let low = _mm512_mask_blend_ps(half, a, b);
            let high = _mm512_mask_blend_ps(half, c, d);
            at[v] = step(at[v], not_below(values[v], _mm512_mask_blend_ps(upper, low, high)));
        }
    }
    let column = &mut codes.0[search.feature & (FEATURES - 1)];
    let first = _mm512_set1_epi32(1 << search.levels);
    for (bytes, at) in column.chunks_exact_mut(LANES).zip(at) {
        let packed = _mm512_cvtepi32_epi8(_mm512_sub_epi32(at, first));
        // SAFETY: the chunk has 16 bytes; the store needs no alignment.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), packed) }
    }
}

#[target_feature(enable = "avx512f")]
fn not_below(values: __m512, thresholds: __m512) -> __mmask16 {
    _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(values, thresholds)
}

#[target_feature(enable = "avx512f")]
fn step(at: __m512i, right: __mmask16) -> __m512i {
    let left = _mm512_add_epi32(at, at);
    _mm512_mask_add_epi32(left, right, left, _mm512_set1_epi32(1))
}

#[target_feature(enable = "avx512f,avx512bw")]
fn step_bytes(at: __m512i, right: __mmask64) -> __m512i {
    let left = _mm512_add_epi8(at, at);
    _mm512_mask_add_epi8(left, right, left, _mm512_set1_epi8(1))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn lead_group(group: &Group, codes: &Codes, sums: &mut Sums) {
    let columns: [__m512i; FEATURES] = std::array::from_fn(|f| bytes(&codes.0[f], 0));
    let mut totals = [[_mm512_setzero_si512(); 2]; PLANES];
    for tree in &group.trees {
        let (at, right) = down(tree, codes, &columns);
        for (plane, total) in tree.leaves.iter().zip(&mut totals) {
            let left_leaf = _mm512_permutex2var_epi8(bytes(plane, 0), at, bytes(plane, 64));
            let right_leaf = _mm512_permutex2var_epi8(bytes(plane, 128), at, bytes(plane, 192));
            let leaf = _mm512_mask_blend_epi8(right, left_leaf, right_leaf);
            total[0] = _mm512_add_epi16(total[0], _mm512_and_si512(leaf, _mm512_set1_epi16(0xFF)));
            total[1] = _mm512_add_epi16(total[1], _mm512_srli_epi16::<8>(leaf));
        }
    }
    for (p, plane) in totals.iter().enumerate() {
        let mut even = [0u16; 32];
        let mut odd = [0u16; 32];
        // SAFETY: 32 places of 16 bits each.
        unsafe {
            _mm512_storeu_si512(even.as_mut_ptr().cast(), plane[0]);
            _mm512_storeu_si512(odd.as_mut_ptr().cast(), plane[1]);
        }
        for row in 0..BLOCK_ROWS {
            let v = if row % 2 == 0 { even[row / 2] } else { odd[row / 2] };
            sums[row] += u32::from(v) << (PLANE_BITS * p as u32);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn down(tree: &CodedTree, codes: &Codes, columns: &[__m512i; FEATURES]) -> (__m512i, __mmask64) {
    let column = |node: usize| bytes(&codes.0[usize::from(tree.features[node]) & (FEATURES - 1)], 0);
    let top_codes = bytes(&tree.codes, 0);
    let top_features = bytes(&tree.features, 0);
    let right_0 = _mm512_cmpge_epu8_mask(column(1), _mm512_set1_epi8(tree.codes[1] as i8));
    let at = step_bytes(_mm512_set1_epi8(1), right_0);
    let value = _mm512_mask_blend_epi8(right_0, column(2), column(3));
    let right_1 = _mm512_cmpge_epu8_mask(value, _mm512_permutexvar_epi8(at, top_codes));
    let at = step_bytes(at, right_1);
    let left = _mm512_mask_blend_epi8(right_1, column(4), column(5));
    let right = _mm512_mask_blend_epi8(right_1, column(6), column(7));
    let value = _mm512_mask_blend_epi8(right_0, left, right);
    let right_2 = _mm512_cmpge_epu8_mask(value, _mm512_permutexvar_epi8(at, top_codes));
    let at = step_bytes(at, right_2);
    let mut at = at;
    for _ in 3..6 {
        let value = pick(columns, _mm512_permutexvar_epi8(at, top_features));
        at = step_bytes(at, _mm512_cmpge_epu8_mask(value, _mm512_permutexvar_epi8(at, top_codes)));
    }
    let value = pick(columns, _mm512_permutexvar_epi8(at, bytes(&tree.features, 64)));
    at = step_bytes(at, _mm512_cmpge_epu8_mask(value, _mm512_permutexvar_epi8(at, bytes(&tree.codes, 64))));
    let feature = _mm512_permutex2var_epi8(bytes(&tree.features, 128), at, bytes(&tree.features, 192));
    let code = _mm512_permutex2var_epi8(bytes(&tree.codes, 128), at, bytes(&tree.codes, 192));
    (at, _mm512_cmpge_epu8_mask(pick(columns, feature), code))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn pick(c: &[__m512i; FEATURES], feature: __m512i) -> __m512i {
    let bit = |n: i8| _mm512_test_epi8_mask(feature, _mm512_set1_epi8(n));
    let (m0, m1, m2, m3) = (bit(1), bit(2), bit(4), bit(8));
    let b = |m, x, y| _mm512_mask_blend_epi8(m, x, y);
    let q = |n: usize| b(m1, b(m0, c[n], c[n + 1]), b(m0, c[n + 2], c[n + 3]));
    b(m3, b(m2, q(0), q(4)), b(m2, q(8), q(12)))
}

#[target_feature(enable = "avx512f")]
fn floats(values: &[f32], first: usize) -> __m512 {
    assert!(first + LANES <= values.len());
    // SAFETY: checked above; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr().add(first)) }
}

#[target_feature(enable = "avx512f")]
fn bytes<const N: usize>(values: &[u8; N], first: usize) -> __m512i {
    assert!(first + 64 <= N);
    // SAFETY: checked above; the load needs no alignment.
    unsafe { _mm512_loadu_si512(values.as_ptr().add(first).cast()) }
}

const _: () = assert!(DEPTH == 8 && NODES == 256);
