//! Rolling: the entropy of the last 1,024 symbols of a whole tenant, exact at every step.

use super::logarithm::{BIT, TERMS, WINDOW_MAX};
use super::shift::{Direction, Shift, Which};
use super::stream::correction;
use super::watch::Watch;

/// Symbols remembered.
pub const WINDOW: usize = WINDOW_MAX;
/// Different symbols; a larger alphabet is hashed to so many by the caller.
pub const CELLS: usize = 256;
/// Symbols between two readings.
const HOP: usize = WINDOW / 4;
/// Readings that are only learnt.
const WARM_UP_READINGS: u16 = 64;
/// Bits cumulated at which a departure is called, in 1/65,536.
const LIMIT: u32 = BIT;

/// A ring of symbols, their counts, and a watch over their entropy.
#[derive(Clone, Debug, PartialEq)]
pub struct Rolling {
    ring: Box<[u8; WINDOW]>,
    counts: Box<[u16; CELLS]>,
    /// Sum of `c * log2 c` over the counts `c`, in 1/65,536.
    sum: u32,
    distinct: u16,
    len: u16,
    next: u16,
    watch: Watch,
}

impl Default for Rolling {
    fn default() -> Self {
        Self::new()
    }
}

impl Rolling {
    /// Of the saved form.
    pub const BYTES: usize = 4 + WINDOW + Watch::BYTES;

    pub fn new() -> Self {
        Rolling {
            ring: Box::new([0; WINDOW]),
            counts: Box::new([0; CELLS]),
            sum: 0,
            distinct: 0,
            len: 0,
            next: 0,
            watch: Watch::default(),
        }
    }

    /// Takes a symbol in. A called [`Shift`] names [`Which::Window`].
    pub fn push(&mut self, symbol: u8) -> Option<Shift> {
        self.take_in(symbol);
        if self.len() < WINDOW || !usize::from(self.next).is_multiple_of(HOP) {
            return None;
        }
        let bits_now = self.entropy();
        self.watch.take(bits_now, WARM_UP_READINGS);
        let direction = match (self.watch.fall() >= LIMIT, self.watch.rise() >= LIMIT) {
            (true, _) => Direction::Fall,
            (_, true) => Direction::Rise,
            _ => return None,
        };
        let bits_usual = self.watch.usual();
        self.watch.reset();
        Some(Shift { stream: Which::Window, direction, bits_now, bits_usual })
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Shannon's entropy with the correction of Miller and Madow, in 1/65,536 bits.
    pub fn entropy(&self) -> u32 {
        let n = u32::from(self.len).max(1);
        (TERMS[self.len().min(WINDOW)] - self.sum) / n + correction(u32::from(self.distinct), n)
    }

    /// [`Rolling::entropy`] in bits.
    pub fn entropy_bits(&self) -> f32 {
        self.entropy() as f32 / BIT as f32
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.next.to_le_bytes());
        out.extend_from_slice(&self.ring[..]);
        self.watch.write(out);
    }

    /// Refuses what [`Rolling::write`] cannot have written.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<2>()?;
        let (next, rest) = rest.split_first_chunk::<2>()?;
        let (ring, watch) = rest.split_first_chunk::<WINDOW>()?;
        let (len, next) = (usize::from(u16::from_le_bytes(*len)), usize::from(u16::from_le_bytes(*next)));
        if len > WINDOW || next >= WINDOW || (len < WINDOW && next != len) {
            return None;
        }
        let mut rolling = Rolling { next: (next % WINDOW) as u16, ..Rolling::new() };
        if len < WINDOW {
            rolling.next = 0;
            if ring[len..].iter().any(|symbol| *symbol != 0) {
                return None;
            }
        }
        let start = usize::from(rolling.next);
        for at in 0..len {
            rolling.take_in(ring[(start + at) % WINDOW]);
        }
        rolling.watch = Watch::read(watch)?;
        Some(rolling)
    }

    fn take_in(&mut self, symbol: u8) {
        let at = usize::from(self.next) % WINDOW;
        if self.len() == WINDOW {
            let count = &mut self.counts[usize::from(self.ring[at])];
            self.sum -= TERMS[usize::from(*count)] - TERMS[usize::from(*count) - 1];
            *count -= 1;
            self.distinct -= u16::from(*count == 0);
        } else {
            self.len += 1;
        }
        let count = &mut self.counts[usize::from(symbol)];
        self.sum += TERMS[usize::from(*count) + 1] - TERMS[usize::from(*count)];
        self.distinct += u16::from(*count == 0);
        *count += 1;
        self.ring[at] = symbol;
        self.next = ((at + 1) % WINDOW) as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn incremental_is_what_counting_again_gives(symbols in prop::collection::vec(any::<u8>(), 0..3_000)) {
            let mut rolling = Rolling::new();
            for symbol in &symbols {
                rolling.push(symbol % 37);
            }
            let mut counts = [0usize; CELLS];
            let last = &symbols[symbols.len().saturating_sub(WINDOW)..];
            last.iter().for_each(|symbol| counts[usize::from(symbol % 37)] += 1);
            prop_assert_eq!(rolling.sum, counts.iter().map(|count| TERMS[*count]).sum::<u32>());
            prop_assert_eq!(usize::from(rolling.distinct), counts.iter().filter(|count| **count > 0).count());
            let mut saved = Vec::new();
            rolling.write(&mut saved);
            prop_assert_eq!(saved.len(), Rolling::BYTES);
            prop_assert_eq!(Rolling::read(&saved), Some(rolling));
        }

        #[test]
        fn reading_never_panics(mut bytes in prop::collection::vec(any::<u8>(), Rolling::BYTES), len in 0u16..1_100) {
            bytes[..2].copy_from_slice(&len.to_le_bytes());
            bytes[2..4].copy_from_slice(&(len % 1_024).to_le_bytes());
            prop_assert!(Rolling::read(&bytes).is_none_or(|rolling| rolling.len() == usize::from(len)));
        }
    }
}
