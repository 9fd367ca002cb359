//! Watch: sees when a principal's entropy leaves its own baseline for good.

use super::logarithm::BIT;

/// Readings after which the mean forgets the oldest at the same pace.
const MEMORY_READINGS: u32 = 256;
/// After so many readings the extremes move one step back towards the mean: by a bit in 2,048 readings.
const RELAX_READINGS: u16 = 8;
/// A step of what is kept in 16 bits: 1/256 bit.
const STEP: u32 = BIT / 256;
/// Finer than the readings, so that a small difference still moves a slow mean.
const FINE_BITS: u32 = 8;

/// One stream's baseline and cumulated departure from it. 16 bytes.
///
/// Two one-sided CUSUM (Page 1954) in bits, with the extremes of the principal's own past as the reference: people work
/// in bursts, so that a reading many standard deviations from the mean says little, and one beyond everything before it
/// says much. What departs is not learnt; when it passes without a call, the extreme is moved by what was tolerated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Watch {
    /// In 1/2^24 bits.
    mean: u32,
    /// In steps, as all that follow.
    newest: u16,
    fall: u16,
    rise: u16,
    lowest: u16,
    highest: u16,
    readings: u16,
}

impl Watch {
    /// Of the saved form.
    pub const BYTES: usize = 16;

    /// Takes a reading in, in 1/65,536 bits; the first `warm_up` readings are only learnt.
    pub fn take(&mut self, bits: u32, warm_up: u16) {
        self.newest = (bits / STEP).min(u32::from(u16::MAX)) as u16;
        if self.readings < warm_up {
            return self.learn(bits);
        }
        let below = self.lowest.saturating_sub(self.newest);
        let above = self.newest.saturating_sub(self.highest);
        if below == 0 {
            self.lowest = self.lowest.saturating_sub(self.fall);
        }
        if above == 0 {
            self.highest = self.highest.saturating_add(self.rise);
        }
        self.fall = if below == 0 { 0 } else { self.fall.saturating_add(below) };
        self.rise = if above == 0 { 0 } else { self.rise.saturating_add(above) };
        if below == 0 && above == 0 {
            self.learn(bits);
        }
    }

    /// The newest reading, in 1/65,536 bits.
    pub fn newest(&self) -> u32 {
        u32::from(self.newest) * STEP
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
        for word in [self.newest, self.fall, self.rise, self.lowest, self.highest, self.readings] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (mean, rest) = bytes.split_first_chunk::<4>()?;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *rest else { return None };
        let [newest, fall, rise, lowest, highest, readings] =
            [[a, b], [c, d], [e, f], [g, h], [i, j], [k, l]].map(u16::from_le_bytes);
        Some(Watch { mean: u32::from_le_bytes(*mean), newest, fall, rise, lowest, highest, readings })
    }

    fn learn(&mut self, bits: u32) {
        if self.readings == 0 {
            self.mean = bits << FINE_BITS;
            (self.lowest, self.highest) = (self.newest, self.newest);
        }
        self.readings = match self.readings {
            // From then on only the remainder counts, for the pace at which the extremes relax.
            u16::MAX => u16::MAX - RELAX_READINGS + 1,
            readings => readings + 1,
        };
        let weight = u32::from(self.readings).min(MEMORY_READINGS);
        self.mean = towards(self.mean, bits << FINE_BITS, weight);
        self.lowest = self.lowest.min(self.newest);
        self.highest = self.highest.max(self.newest);
        if self.readings.is_multiple_of(RELAX_READINGS) {
            let usual = (self.usual() / STEP) as u16;
            self.lowest += u16::from(self.lowest < usual);
            self.highest -= u16::from(self.highest > usual);
        }
    }
}

fn towards(from: u32, to: u32, weight: u32) -> u32 {
    if to >= from { from + (to - from) / weight } else { from - (from - to) / weight }
}

const _: () = assert!(size_of::<Watch>() == Watch::BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WARM_UP: u16 = 32;

    fn watch(bits: impl IntoIterator<Item = u32>) -> Watch {
        let mut watch = Watch::default();
        bits.into_iter().for_each(|bits| watch.take(bits, WARM_UP));
        watch
    }

    fn usual() -> impl Iterator<Item = u32> {
        (0..64).map(|n| 2 * BIT + n % 8 * BIT / 8)
    }

    #[test]
    fn departures_add_up_and_are_not_learnt() {
        let known = watch(usual());
        // The extremes have relaxed by a step or two since they were set.
        assert!(known.fall() <= 2 * STEP && known.rise() <= 2 * STEP, "{known:?}");
        let fallen = watch(usual().chain([BIT, BIT]));
        assert_eq!(fallen.usual(), known.usual());
        assert!(fallen.fall().abs_diff(2 * BIT) <= 4 * RELAX_READINGS as u32 * STEP, "{fallen:?}");
        let risen = watch(usual().chain([4 * BIT]));
        assert!(risen.rise() > BIT && risen.fall() == 0, "{risen:?}");
    }

    #[test]
    fn what_passes_is_tolerated_the_next_time() {
        let passed = watch(usual().chain([BIT, 5 * BIT / 2, BIT]));
        assert_eq!(passed.fall(), 0, "{passed:?}");
        let again = watch(usual().chain([BIT, 5 * BIT / 2, BIT / 2]));
        assert!(again.fall() > 0 && again.fall() < BIT, "{again:?}");
    }

    #[test]
    fn nothing_departs_while_warming_up() {
        let young = watch(usual().take(usize::from(WARM_UP) - 1).chain([0]));
        assert_eq!((young.fall(), young.newest()), (0, 0));
    }

    #[test]
    fn extremes_relax_towards_the_usual() {
        let long = watch([0, 4 * BIT].into_iter().chain((0..20_000).map(|_| 2 * BIT)));
        assert!(long.lowest > long.highest - 64, "{long:?}");
    }

    proptest! {
        #[test]
        fn any_readings_keep_it_sane_and_are_saved(readings in prop::collection::vec(0u32..8 * BIT, 0..400)) {
            let watch = watch(readings.iter().copied());
            let (least, most) = (readings.iter().min(), readings.iter().max());
            prop_assert!(least.is_none_or(|least| watch.usual() + 1 >= *least));
            prop_assert!(most.is_none_or(|most| watch.usual() <= *most));
            prop_assert!(watch.fall == 0 || watch.rise == 0);
            let mut saved = Vec::new();
            watch.write(&mut saved);
            prop_assert_eq!(Watch::read(&saved), Some(watch));
        }
    }
}
