//! Fan-out: how many different things a principal touched in the last ten minutes, by linear counting.

use crate::log2::log2;

/// Half of the window: what was touched is forgotten after five to ten minutes.
const HALF_MS: i64 = 5 * 60_000;
const CELLS: u32 = u64::BITS;
/// `64 ln 2`, in 1/65,536.
const CELLS_LN2: u64 = 2_907_270;

/// The bits of the current five minutes and of the five before (Whang, Vander-Zanden, Taylor 1990).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FanOut([u64; 2]);

/// The cell of a thing.
pub fn cell(fingerprint: u64) -> u64 {
    1 << (fingerprint.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58)
}

impl FanOut {
    /// Lets time pass from `before_ms` to `now_ms`.
    pub fn pass(&mut self, before_ms: i64, now_ms: i64) {
        let [current, _] = self.0;
        match now_ms.div_euclid(HALF_MS).saturating_sub(before_ms.div_euclid(HALF_MS)) {
            ..=0 => {}
            1 => self.0 = [0, current],
            _ => self.0 = [0, 0],
        }
    }

    pub fn touch(&mut self, cells: u64) {
        self.0[0] |= cells;
    }

    /// How many different things, were these cells touched as well, in 1/65,536: `-64 ln(empty / 64)`. Off by a tenth;
    /// beyond some 270 it stays at 310.
    pub fn distinct_with(&self, cells: u64) -> u64 {
        let empty = (self.0[0] | self.0[1] | cells).count_zeros();
        // An empty cell too few counts as half of one, since the logarithm of none has no end.
        let filled = log2(2 * u64::from(CELLS)) - log2(u64::from(2 * empty).max(1));
        (u64::from(filled) * CELLS_LN2) >> 16
    }

    pub const BYTES: usize = 16;

    pub fn write(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|bits| out.extend_from_slice(&bits.to_le_bytes()));
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [current, before] = bytes.as_chunks::<8>().0 else { return None };
        Some(FanOut([u64::from_le_bytes(*current), u64::from_le_bytes(*before)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::fingerprint;

    fn things(count: u64) -> u64 {
        (0..count).fold(0, |cells, n| cells | cell(fingerprint(&n.to_le_bytes())))
    }

    #[test]
    fn counts_within_a_quarter() {
        for count in [0u64, 1, 2, 5, 10, 30, 60, 120] {
            let got = FanOut::default().distinct_with(things(count)) as f64 / 65_536.0;
            let slack = 0.25 * count as f64 + 0.1;
            assert!((got - count as f64).abs() <= slack, "{count}: {got}");
        }
        assert_eq!(FanOut::default().distinct_with(u64::MAX) >> 16, 310);
    }

    #[test]
    fn forgets_after_ten_minutes() {
        let mut fan = FanOut::default();
        fan.touch(things(10));
        let full = fan.distinct_with(0);
        fan.pass(0, HALF_MS);
        assert_eq!(fan.distinct_with(0), full);
        fan.pass(HALF_MS, 0);
        assert_eq!(fan.distinct_with(0), full, "time that runs backwards changes nothing");
        fan.pass(HALF_MS, 2 * HALF_MS);
        assert_eq!(fan.distinct_with(0), 0);
        fan.touch(1);
        fan.pass(i64::MIN, i64::MAX);
        assert_eq!(fan, FanOut::default());
    }
}
