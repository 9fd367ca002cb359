//! Logarithms in whole numbers, so that every machine agrees on every bit of an entropy.

/// One bit, in the fixed point of this module.
pub const BIT: u32 = 1 << 16;

/// Symbols of the longest window.
pub const WINDOW_MAX: usize = 1_024;

/// `c * log2 c` for the count `c`, in 1/65,536, rounded.
pub static TERMS: [u32; WINDOW_MAX + 1] = terms();

/// `log2 n` in 1/65,536, rounded; 0 for 0.
pub const fn log2(n: u32) -> u32 {
    ((log2_fine(n) + (1 << 23)) >> 24) as u32
}

const fn terms() -> [u32; WINDOW_MAX + 1] {
    let mut terms = [0; WINDOW_MAX + 1];
    let mut count = 2;
    while count <= WINDOW_MAX {
        terms[count] = ((count as u64 * log2_fine(count as u32) + (1 << 23)) >> 24) as u32;
        count += 1;
    }
    terms
}

/// `log2 n` in 1/2^40: the whole part from the leading bit, the fraction bit by bit by squaring.
const fn log2_fine(n: u32) -> u64 {
    if n == 0 {
        return 0;
    }
    let whole = n.ilog2();
    let (mut rest, mut fraction) = ((n as u128) << (48 - whole), 0);
    let mut digit = 0;
    while digit < 40 {
        rest = (rest * rest) >> 48;
        let over = (rest >> 49) as u64;
        rest >>= over;
        fraction = fraction << 1 | over;
        digit += 1;
    }
    (whole as u64) << 40 | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_the_rounded_real_numbers() {
        for (count, term) in TERMS.iter().enumerate().skip(1) {
            let real = count as f64 * (count as f64).log2() * f64::from(BIT);
            assert!((f64::from(*term) - real).abs() < 0.501, "{count}: {term} {real}");
        }
        for n in (1..5_000).chain([u32::MAX]) {
            let real = f64::from(n).log2() * f64::from(BIT);
            assert!((f64::from(log2(n)) - real).abs() < 0.501, "{n}");
        }
        assert_eq!((TERMS[0], TERMS[1], log2(0)), (0, 0, 0));
    }
}
