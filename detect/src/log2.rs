//! Log2: the binary logarithm in whole numbers, since libraries of different machines disagree on the last bit.
//! What needs floating point has [`crate::series`].

/// Fractional bits of a fixed-point number here and in [`crate::behaviour`]: 65,536 is one.
pub const FRACTION_BITS: u32 = 16;
/// One, in fixed point.
pub const ONE: u32 = 1 << FRACTION_BITS;

/// `log2(n)` of a whole number of at least 1, in 1/65,536; 0 for 0. Off by at most 1/65,536.
///
/// The mantissa falls into one of 512 stretches, between whose ends the logarithm is taken as straight.
pub const fn log2(n: u64) -> u32 {
    let Some(whole) = n.checked_ilog2() else { return 0 };
    let mantissa = n << (63 - whole);
    let stretch = (mantissa >> (63 - STRETCH_BITS)) as usize & (STRETCHES - 1);
    let within = (mantissa >> (47 - STRETCH_BITS)) as u32 & 0xFFFF;
    let (from, to) = (TABLE[stretch], TABLE[stretch + 1]);
    (whole << FRACTION_BITS) + from + (((to - from) * within + 0x8000) >> 16)
}

/// `log2(1 + n)`, in 1/65,536.
pub fn log2_1p(n: u64) -> u32 {
    log2(n.saturating_add(1))
}

/// A fixed-point number as a feature. Exact below 256.
pub fn to_f32(fixed: i64) -> f32 {
    fixed as f32 / ONE as f32
}

/// The largest whole number whose [`log2_1p`] is at most this; for people.
pub fn exp2_m1(fixed: u32) -> u64 {
    let (mut low, mut high) = (0u64, 1u64 << 63);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if log2_1p(middle) <= fixed { low = middle } else { high = middle - 1 }
    }
    low
}

const STRETCH_BITS: u32 = 9;
const STRETCHES: usize = 1 << STRETCH_BITS;

/// `log2(1 + i/512)`, rounded.
const TABLE: [u32; STRETCHES + 1] = {
    let mut table = [ONE; STRETCHES + 1];
    let mut at = 0;
    while at < STRETCHES {
        let fine = fine((STRETCHES + at) as u32) - ((STRETCH_BITS as u64) << FINE_BITS);
        table[at] = ((fine + (1 << 23)) >> 24) as u32;
        at += 1;
    }
    table
};

/// Fractional bits of [`fine`].
pub(crate) const FINE_BITS: u32 = 40;

/// `log2(n)` in 1/2^40, for tables: the whole part from the leading bit, the fraction bit by bit by squaring.
pub(crate) const fn fine(n: u32) -> u64 {
    if n == 0 {
        return 0;
    }
    let whole = n.ilog2();
    let (mut rest, mut fraction) = ((n as u128) << (48 - whole), 0);
    let mut digit = 0;
    while digit < FINE_BITS {
        rest = (rest * rest) >> 48;
        let over = (rest >> 49) as u64;
        rest >>= over;
        fraction = fraction << 1 | over;
        digit += 1;
    }
    (whole as u64) << FINE_BITS | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_library_and_never_falls() {
        for whole in 0..64 {
            assert_eq!(log2(1 << whole), whole << FRACTION_BITS);
        }
        let mut before = 0;
        for n in (1..200_000u64).chain((0..64_000).map(|i| (1 << 40) + (i << 34))) {
            let (got, want) = (log2(n), (n as f64).log2());
            assert!((f64::from(got) - want * f64::from(ONE)).abs() <= 1.0, "{n}: {got} {want}");
            assert!(got >= before, "{n}");
            before = got;
        }
        assert_eq!((log2(0), log2_1p(0), log2_1p(u64::MAX) >> 16), (0, 0, 64));
    }

    #[test]
    fn inverts_for_people() {
        for n in [0u64, 1, 1_000, 14_000_000, 1 << 50] {
            assert!(exp2_m1(log2_1p(n)).abs_diff(n) <= n >> 12, "{n}");
        }
    }
}
