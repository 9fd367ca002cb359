//! The terms of an entropy, in whole numbers.

use crate::log2::fine;

/// One bit, in the fixed point of this module.
pub const BIT: u32 = crate::log2::ONE;

/// Symbols of the longest window.
pub const WINDOW_MAX: usize = 1_024;

/// `c * log2 c` for the count `c`, in 1/65,536, rounded.
pub static TERMS: [u32; WINDOW_MAX + 1] = terms();

const fn terms() -> [u32; WINDOW_MAX + 1] {
    let mut terms = [0; WINDOW_MAX + 1];
    let mut count = 2;
    while count <= WINDOW_MAX {
        terms[count] = ((count as u64 * fine(count as u32) + (1 << 23)) >> 24) as u32;
        count += 1;
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_rounded_real_numbers() {
        for (count, term) in TERMS.iter().enumerate().skip(1) {
            let real = count as f64 * (count as f64).log2() * f64::from(BIT);
            assert!((f64::from(*term) - real).abs() < 0.501, "{count}: {term} {real}");
        }
        assert_eq!((TERMS[0], TERMS[1]), (0, 0));
    }
}
