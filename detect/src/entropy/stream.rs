//! Stream: the last 32 symbols, and their entropy, exact at every step.

use super::logarithm::{BIT, TERMS};
use crate::log2::log2;

/// Symbols remembered.
pub const SYMBOLS: usize = 32;

/// Prior weight of each possible successor, as a part of one observation: small, since most never follow.
const PRIOR_PARTS: u32 = 16;
/// Prior weight of all successors together: the prior expects as many of them as symbols are remembered.
const PRIOR_ALL: u32 = SYMBOLS as u32 / PRIOR_PARTS;

/// A ring of symbols. 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Stream {
    /// Sum of `c * log2 c` over the counts `c` of the symbols in the ring, in 1/65,536.
    sum: u32,
    ring: [u8; SYMBOLS],
    len: u8,
    next: u8,
    distinct: u8,
    _reserved: u8,
}

impl Stream {
    /// Of the saved form.
    pub const BYTES: usize = 40;

    pub fn push(&mut self, symbol: u8) {
        let at = usize::from(self.next) % SYMBOLS;
        if self.is_full() {
            let before = self.count(self.ring[at]) as usize;
            self.sum -= TERMS[before] - TERMS[before - 1];
            self.distinct -= u8::from(before == 1);
        } else {
            self.len += 1;
        }
        // The place of the symbol that left, or one never filled, must not count for the one that enters.
        self.ring[at] = !symbol;
        let before = self.count(symbol) as usize;
        self.sum += TERMS[before + 1] - TERMS[before];
        self.distinct += u8::from(before == 0);
        self.ring[at] = symbol;
        self.next = ((at + 1) % SYMBOLS) as u8;
    }

    pub fn newest(&self) -> Option<u8> {
        let at = (usize::from(self.next) + SYMBOLS - 1) % SYMBOLS;
        (self.len > 0).then(|| self.ring[at])
    }

    /// How often the symbol stands in the ring.
    pub fn count(&self, symbol: u8) -> u32 {
        // All 32 places are compared, which is one vector instruction, and the unfilled ones, all zero, taken off.
        let mut found = 0u8;
        for known in &self.ring {
            found += u8::from(*known == symbol);
        }
        let unfilled = if symbol == 0 { SYMBOLS as u8 - self.len } else { 0 };
        u32::from(found.saturating_sub(unfilled))
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn is_full(&self) -> bool {
        self.len() == SYMBOLS
    }

    /// The ring is full and the newest symbol ends one of its halves.
    pub(super) fn at_hop(&self) -> bool {
        self.is_full() && usize::from(self.next).is_multiple_of(super::HOP)
    }

    /// Different symbols in the ring.
    pub fn distinct(&self) -> u32 {
        u32::from(self.distinct)
    }

    /// Shannon's entropy of the symbols as they stand, in 1/65,536 bits: `log2 n - S / n`.
    pub fn entropy_plain(&self) -> u32 {
        (TERMS[self.len().min(SYMBOLS)] - self.sum) / u32::from(self.len).max(1)
    }

    /// [`Stream::entropy_plain`] and the correction of Miller and Madow (1955) for what so few symbols cannot show,
    /// `(m - 1) / (2 n ln 2)` bits with `m` different symbols.
    pub fn entropy(&self) -> u32 {
        self.entropy_plain() + correction(self.distinct(), u32::from(self.len))
    }

    /// Renyi's entropy of order 2, in 1/65,536 bits, from the unbiased estimate `sum c (c - 1) / (n (n - 1))` of the
    /// chance that two symbols are the same; `None` while no symbol stands in the ring twice.
    pub fn entropy_of_collisions(&self) -> Option<u32> {
        let n = u32::from(self.len);
        // Summed over places instead of symbols: each of the `c` places of a symbol sees `c - 1` others.
        let same: u32 = self.oldest_first().take(self.len()).map(|symbol| self.count(symbol) - 1).sum();
        (same > 0).then(|| log2(u64::from(n * (n - 1))) - log2(u64::from(same)))
    }

    /// Bits per step needed to tell a symbol from the one before it, in 1/65,536; 0 unless the ring is full.
    ///
    /// This is H(symbol | previous symbol), read directly from the ring: each step is coded by what followed the same
    /// symbol in the *other* steps of the ring (leave one out, with a Dirichlet prior). H(pairs) - H(symbols) would be
    /// cheaper, but in 32 steps hardly a pair occurs twice, so that it falls to nothing for a scan, where everything is
    /// new, just as for a bot, where everything repeats.
    pub fn entropy_of_steps(&self) -> u32 {
        if !self.is_full() {
            return 0;
        }
        let mut symbols = self.ring;
        symbols.rotate_left(usize::from(self.next) % SYMBOLS);
        let (before, after) = (&symbols[..SYMBOLS - 1], &symbols[1..]);
        let mut bits = 0;
        for (from, to) in before.iter().zip(after) {
            let (mut seen, mut same) = (0u8, 0u8);
            for (other_from, other_to) in before.iter().zip(after) {
                let starts = u8::from(other_from == from);
                seen += starts;
                same += starts & u8::from(other_to == to);
            }
            bits += STEP_ALL[usize::from(seen) % SYMBOLS] - STEP_SAME[usize::from(same) % SYMBOLS];
        }
        bits / (SYMBOLS as u32 - 1)
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sum.to_le_bytes());
        out.extend_from_slice(&self.ring);
        out.extend_from_slice(&[self.len, self.next, self.distinct, 0]);
    }

    /// Refuses what [`Stream::write`] cannot have written.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_first_chunk::<4>()?;
        let (ring, rest) = rest.split_first_chunk::<SYMBOLS>()?;
        let [len, next, _, 0] = *rest else { return None };
        if usize::from(len) > SYMBOLS || usize::from(next) >= SYMBOLS {
            return None;
        }
        let filled = if usize::from(len) == SYMBOLS { usize::from(next) } else { 0 };
        let mut stream = Stream { next: filled as u8, ..Stream::default() };
        for at in 0..usize::from(len) {
            stream.push(ring[(filled + at) % SYMBOLS]);
        }
        let mut again = Vec::with_capacity(Self::BYTES);
        stream.write(&mut again);
        (again == bytes).then_some(stream)
    }

    fn oldest_first(&self) -> impl Iterator<Item = u8> {
        let start = if self.is_full() { usize::from(self.next) } else { 0 };
        (0..SYMBOLS).map(move |at| self.ring[(start + at) % SYMBOLS])
    }
}

/// What Miller and Madow add for `distinct` symbols among `n`.
pub(super) fn correction(distinct: u32, n: u32) -> u32 {
    const HALF_PER_LN2: u64 = 47_274;
    (u64::from(distinct.saturating_sub(1)) * HALF_PER_LN2 / u64::from(n).max(1)) as u32
}

/// `log2` of the weight of all other steps from a symbol that `seen` steps start with, and of those among them that go
/// to the same symbol; both shifted by the same constant, so that their difference is the cost of a step in bits.
static STEP_ALL: [u32; SYMBOLS] = step_weights(PRIOR_PARTS * PRIOR_ALL);
static STEP_SAME: [u32; SYMBOLS] = step_weights(1);

const fn step_weights(prior: u32) -> [u32; SYMBOLS] {
    let mut weights = [0; SYMBOLS];
    let mut count = 1;
    while count < SYMBOLS {
        weights[count] = log2((count as u64 - 1) * PRIOR_PARTS as u64 + prior as u64);
        count += 1;
    }
    weights
}

const _: () = assert!(size_of::<Stream>() == Stream::BYTES && BIT == 1 << 16);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn stream(symbols: impl IntoIterator<Item = u8>) -> Stream {
        let mut stream = Stream::default();
        symbols.into_iter().for_each(|symbol| stream.push(symbol));
        stream
    }

    fn bits(fixed: u32) -> f64 {
        f64::from(fixed) / f64::from(BIT)
    }

    proptest! {
        #[test]
        fn incremental_is_what_counting_again_gives(symbols in prop::collection::vec(0u8..9, 0..200)) {
            let last = &symbols[symbols.len().saturating_sub(SYMBOLS)..];
            let mut counts = BTreeMap::new();
            last.iter().for_each(|symbol| *counts.entry(*symbol).or_insert(0usize) += 1);
            let stream = stream(symbols.iter().copied());
            prop_assert_eq!(stream.sum, counts.values().map(|count| TERMS[*count]).sum::<u32>());
            prop_assert_eq!(stream.distinct() as usize, counts.len());
            prop_assert_eq!(stream.newest(), symbols.last().copied());
            for symbol in 0..9 {
                prop_assert_eq!(stream.count(symbol) as usize, counts.get(&symbol).copied().unwrap_or(0));
            }
            let n = last.len() as f64;
            let real: f64 = counts.values().map(|count| *count as f64 / n).map(|p| -p * p.log2()).sum();
            prop_assert!((bits(stream.entropy_plain()) - real).abs() < 1e-3);
            let same: usize = counts.values().map(|count| count * (count - 1)).sum();
            let renyi = stream.entropy_of_collisions().map(bits);
            prop_assert_eq!(renyi.is_some(), same > 0);
            prop_assert!(renyi.is_none_or(|got| (got + (same as f64 / (n * (n - 1.0))).log2()).abs() < 1e-3));
            let mut saved = Vec::new();
            stream.write(&mut saved);
            prop_assert_eq!(Stream::read(&saved), Some(stream));
        }

        #[test]
        fn a_changed_byte_is_refused(symbols in prop::collection::vec(0u8..9, 0..80), at in 0usize..40, flip in 1u8..) {
            let mut saved = Vec::new();
            stream(symbols).write(&mut saved);
            saved[at] ^= flip;
            // Another symbol may leave all counts as they were; what is read must then be what was written.
            if let Some(stream) = Stream::read(&saved) {
                let mut again = Vec::new();
                stream.write(&mut again);
                prop_assert_eq!(again, saved);
            }
        }

        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            prop_assert!(Stream::read(&bytes).is_none_or(|stream| stream.len() <= SYMBOLS));
        }
    }

    #[test]
    fn steps_tell_a_bot_from_a_scan_and_from_a_person() {
        let of = |symbol: fn(u64) -> u8| bits(stream((0..100).map(symbol)).entropy_of_steps());
        let single = of(|_| 7);
        let cycle = of(|n| (n % 3) as u8);
        let long_cycle = of(|n| (n % 24) as u8);
        let scan = of(|n| n as u8);
        let coin = of(|n| ((n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 2) as u8);
        assert!(single < 0.1 && cycle < 0.4, "{single} {cycle}");
        assert!((0.7..1.3).contains(&coin), "{coin}");
        assert!(scan > 4.9 && long_cycle < scan - 1.0, "{scan} {long_cycle}");
    }

    #[test]
    fn a_sum_that_does_not_match_is_refused() {
        let mut saved = Vec::new();
        stream([1, 2, 2, 3]).write(&mut saved);
        saved[0] ^= 1;
        assert_eq!(Stream::read(&saved), None);
    }
}
