//! Watch: sees when a principal's entropy leaves its own baseline for good.

/// When a departure is called a shift.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {}

/// An entropy that left its baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Automation, or predictability.
    Fall,
    /// Enumeration.
    Rise,
}

/// One stream's baseline and cumulated departure from it. 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Watch([u32; 4]);

impl Watch {
    pub const BYTES: usize = 16;

    pub fn write(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.chunks_exact(4).map(|word| Some(u32::from_le_bytes(word.try_into().ok()?)));
        let mut word = || words.next()?;
        Some(Watch([word()?, word()?, word()?, word()?]))
    }
}
