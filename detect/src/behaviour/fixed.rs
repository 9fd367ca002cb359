//! Fixed: decay in whole numbers, so that what is saved is the same on every machine.

/// Fractional bits of a decayed count: 4,096 is one event.
pub const COUNT_BITS: u32 = 12;
/// One event.
pub const COUNT_ONE: u32 = 1 << COUNT_BITS;

/// `ln(2)^k / k!` for k = 1 to 6, in 2^-32.
const SERIES: [u64; 6] = [2_977_044_472, 1_031_764_991, 238_388_332, 41_309_550, 5_726_720, 661_577];

/// What is left of `value` after `elapsed_ms`, given the time in which half of it goes. Rounded to nearest; the factor
/// is off by less than 1/30,000. Time that runs backwards changes nothing.
#[inline]
pub fn decay(value: u32, elapsed_ms: i64, half_life_ms: u64) -> u32 {
    let elapsed_ms = elapsed_ms.max(0) as u64;
    let halves = elapsed_ms / half_life_ms;
    if value == 0 || elapsed_ms == 0 || halves >= 32 {
        return if halves >= 32 { 0 } else { value };
    }
    let part = ((elapsed_ms % half_life_ms) << 32) / half_life_ms;
    let [first, rest @ ..] = SERIES;
    let inner = rest.iter().rev().fold(0, |sum, term| term - ((sum * part) >> 32));
    let factor = (1u64 << 32) - (((first - ((inner * part) >> 32)) * part) >> 32);
    let left = (u128::from(value) * u128::from(factor)) >> (32 + halves - 1);
    (left as u64).div_ceil(2).min(u64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::decay;

    #[test]
    fn agrees_with_the_library() {
        let half = 41_589;
        for elapsed in [1, 10, 1_000, 20_794, 41_588, 41_589, 41_590, 100_000, 600_000] {
            let want = f64::from(u32::MAX) * (-(elapsed as f64) / half as f64).exp2();
            let got = f64::from(decay(u32::MAX, elapsed, half));
            assert!((got / want - 1.0).abs() < 1.0 / 30_000.0, "{elapsed}: {got} {want}");
        }
    }

    #[test]
    fn time_is_hostile() {
        for (value, elapsed, want) in
            [(7, 0, 7), (7, -1, 7), (7, i64::MIN, 7), (u32::MAX, i64::MAX, 0), (0, 5, 0), (8, 600_000, 4)]
        {
            assert_eq!(decay(value, elapsed, 600_000), want, "{value} {elapsed}");
        }
    }
}
