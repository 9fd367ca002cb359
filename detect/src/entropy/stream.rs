//! Stream: the last 32 symbols, and their entropy, exact at every step.

/// Symbols remembered.
pub const SYMBOLS: usize = 32;

/// A ring of symbols. 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Stream {
    /// Sum of `c * log2 c` over the counts `c` of the symbols in the ring, in 1/65,536.
    sum: u32,
    ring: [u8; SYMBOLS],
    len: u8,
    next: u8,
    _reserved: [u8; 2],
}

impl Stream {
    pub const BYTES: usize = 40;

    pub fn push(&mut self, symbol: u8) {
        let at = usize::from(self.next) % SYMBOLS;
        self.ring[at] = symbol;
        self.next = ((at + 1) % SYMBOLS) as u8;
        self.len = (self.len + 1).min(SYMBOLS as u8);
    }

    pub fn newest(&self) -> Option<u8> {
        let at = (usize::from(self.next) + SYMBOLS - 1) % SYMBOLS;
        (self.len > 0).then(|| self.ring[at])
    }

    /// How often the symbol stands in the ring.
    pub fn count(&self, symbol: u8) -> u32 {
        self.ring.iter().take(self.len()).filter(|known| **known == symbol).count() as u32
    }

    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sum.to_le_bytes());
        out.extend_from_slice(&self.ring);
        out.extend_from_slice(&[self.len, self.next, 0, 0]);
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (sum, rest) = bytes.split_first_chunk::<4>()?;
        let (ring, rest) = rest.split_first_chunk::<SYMBOLS>()?;
        let [len, next, 0, 0] = *rest else { return None };
        let fits = usize::from(len) <= SYMBOLS && usize::from(next) < SYMBOLS;
        fits.then_some(Stream { sum: u32::from_le_bytes(*sum), ring: *ring, len, next, _reserved: [0; 2] })
    }
}
