//! Watch: sees when a principal's entropy leaves its own baseline for good.

use super::logarithm::BIT;

/// Readings after which the mean and the spread forget the oldest at the same pace.
const MEMORY_READINGS: u32 = 256;
/// After so many readings the extremes move one step back towards the mean.
const RELAX_READINGS: u16 = 64;
/// A step of the extremes: 1/32 bit. 255 of them are more than any entropy of a byte.
const STEP: u32 = BIT / 32;
/// Finer than the readings, so that a small difference still moves a slow mean.
const FINE_BITS: u32 = 8;

/// The slack of one stream: how far out a reading must be to count as departing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slack {
    /// Readings that are only learnt.
    pub warm_up: u16,
    /// Mean absolute deviations from the mean, in quarters.
    pub spread_quarters: u16,
}

/// One stream's baseline and cumulated departure from it. 16 bytes.
///
/// Two one-sided CUSUM (Page 1954) in bits. A reading departs where it lies beyond both the mean by some deviations and
/// everything read before: people work in bursts, so that the spread alone says little. What departs is not learnt;
/// when it passes without a call, the extreme is moved by what was tolerated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Watch {
    /// In 1/2^24 bits.
    mean: u32,
    /// Mean absolute deviation, in 1/2^24 bits.
    spread: u32,
    /// In steps.
    fall: u16,
    /// In steps.
    rise: u16,
    readings: u16,
    /// In steps.
    lowest: u8,
    /// In steps.
    highest: u8,
}

impl Watch {
    /// Of the saved form.
    pub const BYTES: usize = 16;

    /// Takes a reading in, in 1/65,536 bits.
    pub fn read_in(&mut self, bits: u32, slack: &Slack) {
        if self.readings < slack.warm_up {
            return self.learn(bits);
        }
        let (low, high) = self.edges(slack);
        let below = low.saturating_sub(bits) / STEP;
        let above = bits.saturating_sub(high) / STEP;
        if below == 0 && self.fall > 0 {
            self.lowest = self.lowest.saturating_sub(self.fall.min(255) as u8);
        }
        if above == 0 && self.rise > 0 {
            self.highest = self.highest.saturating_add(self.rise.min(255) as u8);
        }
        self.fall = if below == 0 { 0 } else { self.fall.saturating_add(below as u16) };
        self.rise = if above == 0 { 0 } else { self.rise.saturating_add(above as u16) };
        if below == 0 && above == 0 {
            self.learn(bits);
        }
    }

    /// Bits cumulated below the baseline, in 1/65,536.
    pub fn fall(&self) -> u32 {
        u32::from(self.fall) * STEP
    }

    /// Bits cumulated above the baseline, in 1/65,536.
    pub fn rise(&self) -> u32 {
        u32::from(self.rise) * STEP
    }

    /// The usual reading, in 1/65,536 bits.
    pub fn usual(&self) -> u32 {
        self.mean >> FINE_BITS
    }

    /// What departed was called: what comes now may be the new usual, and is learnt afresh.
    pub fn reset(&mut self) {
        *self = Watch::default();
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.mean.to_le_bytes());
        out.extend_from_slice(&self.spread.to_le_bytes());
        for word in [self.fall, self.rise, self.readings] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&[self.lowest, self.highest]);
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (mean, rest) = bytes.split_first_chunk::<4>()?;
        let (spread, rest) = rest.split_first_chunk::<4>()?;
        let [fall, fall_high, rise, rise_high, readings, readings_high, lowest, highest] = *rest else {
            return None;
        };
        Some(Watch {
            mean: u32::from_le_bytes(*mean),
            spread: u32::from_le_bytes(*spread),
            fall: u16::from_le_bytes([fall, fall_high]),
            rise: u16::from_le_bytes([rise, rise_high]),
            readings: u16::from_le_bytes([readings, readings_high]),
            lowest,
            highest,
        })
    }

    /// Readings between the two are as usual.
    fn edges(&self, slack: &Slack) -> (u32, u32) {
        let far = (u64::from(self.spread >> FINE_BITS) * u64::from(slack.spread_quarters) / 4) as u32;
        let lowest = u32::from(self.lowest) * STEP;
        let highest = (u32::from(self.highest) + 1) * STEP;
        (lowest.min(self.usual().saturating_sub(far)), highest.max(self.usual().saturating_add(far)))
    }

    fn learn(&mut self, bits: u32) {
        let step = (bits / STEP).min(255) as u8;
        if self.readings == 0 {
            *self = Watch { mean: bits << FINE_BITS, lowest: step, highest: step, ..Watch::default() };
        }
        self.readings = match self.readings {
            // Past the memory only the remainder counts, for the pace at which the extremes relax.
            u16::MAX => u16::MAX - RELAX_READINGS + 1,
            readings => readings + 1,
        };
        let weight = u32::from(self.readings).min(MEMORY_READINGS);
        let fine = bits << FINE_BITS;
        self.mean = towards(self.mean, fine, weight);
        self.spread = towards(self.spread, self.mean.abs_diff(fine), weight);
        self.lowest = self.lowest.min(step);
        self.highest = self.highest.max(step);
        if self.readings % RELAX_READINGS == 0 {
            let usual = (self.usual() / STEP).min(255) as u8;
            self.lowest += u8::from(self.lowest < usual);
            self.highest -= u8::from(self.highest > usual);
        }
    }
}

fn towards(from: u32, to: u32, weight: u32) -> u32 {
    if to >= from { from + (to - from) / weight } else { from - (from - to) / weight }
}

const _: () = assert!(size_of::<Watch>() == Watch::BYTES);
