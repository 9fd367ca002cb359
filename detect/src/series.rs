//! Logarithm and power by series: the C library's differ between platforms, and findings depend on these.

/// Base-2 logarithm of a positive normal number, within 1e-14.
pub(crate) fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7FF) as i32 - 1_023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1_023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    // 2 atanh(t) = ln(mantissa), and |t| < 0.172.
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..11).rev().fold(0.0, |sum, k| sum * t * t + 1.0 / f64::from(2 * k + 1));
    f64::from(exponent) + 2.0 * t * series * std::f64::consts::LOG2_E
}

/// 2^y for y in -1000..=1000, within 1e-14 of its size.
pub(crate) fn exp2(y: f64) -> f64 {
    let y = y.clamp(-1_000.0, 1_000.0);
    let whole = y.round();
    let x = (y - whole) * std::f64::consts::LN_2;
    let series = (1..=14).rev().fold(1.0, |sum, k| 1.0 + sum * x / f64::from(k));
    series * f64::from_bits(((1_023 + whole as i64) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_as_good_as_double_precision_needs() {
        for step in 1..10_000 {
            let x = f64::from(step) * 0.037;
            assert!((log2(x) - x.log2()).abs() < 1e-13, "log2({x})");
            let y = f64::from(step - 5_000) * 0.09;
            assert!((exp2(y) / y.exp2() - 1.0).abs() < 1e-13, "2^{y}");
        }
        assert_eq!((log2(1.0), log2(8.0), exp2(0.0), exp2(-3.0)), (0.0, 3.0, 1.0, 0.125));
    }
}
