//! Entropy: how predictable a principal is, kept exactly and in whole numbers.
//!
//! A fall means automation, a rise enumeration. Neither is an attack by itself: alone they lead to a step-up
//! verification, never to a refusal.

mod logarithm;
mod rolling;
mod shift;
mod stream;
mod watch;

pub use logarithm::BIT;
pub use rolling::{CELLS, Rolling, WINDOW};
pub use shift::{Direction, Shift, Which};
pub use stream::{SYMBOLS, Stream};
pub use watch::Watch;

/// Events between two readings: half a ring, so that two successive readings share only half of what they see.
pub const HOP: usize = SYMBOLS / 2;

/// When a departure is called a shift. The defaults are measured on a bursty background (`benches/entropy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Readings that are only learnt; there is one every [`HOP`] events.
    pub warm_up: u16,
    /// Fall of [`Which::Steps`], in cumulated 1/65,536 bits, ...
    pub steps: u32,
    /// ... and in percent of what is left of the entropy: who becomes a bit more orderly is no bot.
    pub steps_percent: u32,
    /// Rise of [`Which::Operations`], in cumulated 1/65,536 bits.
    pub operations: u32,
    /// Fall of [`Which::Gaps`], in cumulated 1/65,536 bits.
    pub gaps: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { warm_up: 192, steps: BIT / 2, steps_percent: 250, operations: 5 * BIT / 4, gaps: BIT }
    }
}

/// The three entropies of one principal: of its operations, of its steps from one to the next, and of the gaps between
/// events.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Streams {
    operations: Stream,
    gaps: Stream,
    watches: [Watch; 3],
}

impl Streams {
    /// Of the saved form.
    pub const BYTES: usize = 2 * Stream::BYTES + 3 * Watch::BYTES;

    /// Takes an event in: the symbol of its operation and `log2(1 + gap in ms)`, rounded.
    pub fn learn(&mut self, operation: u8, gap: u8, limits: &Limits) -> Option<Shift> {
        self.operations.push(operation);
        self.gaps.push(gap);
        if !self.operations.at_hop() {
            return None;
        }
        let bits = self.readings();
        for (watch, bits) in self.watches.iter_mut().zip(bits) {
            watch.take(bits, limits.warm_up);
        }
        let shift = self.called(limits)?;
        self.watches.iter_mut().for_each(Watch::reset);
        Some(shift)
    }

    /// How far the most extreme of the three has departed from its own baseline, in units of the default limit (a
    /// model's feature must not change with the settings); negative: towards predictability. 0 while too little is
    /// known.
    pub fn departure(&self) -> f32 {
        let shares = self.shares(&Limits::default());
        shares
            .into_iter()
            .map(|(_, share)| share)
            .max_by(|one, other| one.abs().total_cmp(&other.abs()))
            .unwrap_or(0.0)
    }

    pub fn operations(&self) -> &Stream {
        &self.operations
    }

    pub fn gaps(&self) -> &Stream {
        &self.gaps
    }

    pub fn watches(&self) -> &[Watch; 3] {
        &self.watches
    }

    /// The three entropies as they stand, in 1/65,536 bits.
    pub fn readings(&self) -> [u32; 3] {
        [self.operations.entropy(), self.operations.entropy_of_steps(), self.gaps.entropy()]
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        self.operations.write(out);
        self.gaps.write(out);
        self.watches.iter().for_each(|watch| watch.write(out));
    }

    /// Refuses what [`Streams::write`] cannot have written.
    pub fn read(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (operations, rest) = bytes.split_at_checked(Stream::BYTES)?;
        let (gaps, rest) = rest.split_at_checked(Stream::BYTES)?;
        let mut watches = [Watch::default(); 3];
        for (watch, bytes) in watches.iter_mut().zip(rest.chunks_exact(Watch::BYTES)) {
            *watch = Watch::read(bytes)?;
        }
        Some(Streams { operations: Stream::read(operations)?, gaps: Stream::read(gaps)?, watches })
    }

    fn called(&self, limits: &Limits) -> Option<Shift> {
        let (stream, share) = self.shares(limits).into_iter().find(|(_, share)| share.abs() >= 1.0)?;
        let direction = if share < 0.0 { Direction::Fall } else { Direction::Rise };
        let watch = &self.watches[stream as usize % self.watches.len()];
        Some(Shift { stream, direction, bits_now: watch.newest(), bits_usual: watch.usual() })
    }

    /// How much of its limit each has reached, negative for a fall. One direction of each says something: few different
    /// operations are a day's work, and so are gaps of all kinds.
    fn shares(&self, limits: &Limits) -> [(Which, f32); 3] {
        let [operations, steps, gaps] = &self.watches;
        let share = |bits: u32, limit: u32| bits as f32 / limit.max(1) as f32;
        let left = u64::from(steps.newest()) * u64::from(limits.steps_percent) / 100;
        [
            (Which::Steps, -share(steps.fall(), limits.steps.max(left.min(u64::from(u32::MAX)) as u32))),
            (Which::Operations, share(operations.rise(), limits.operations)),
            (Which::Gaps, -share(gaps.fall(), limits.gaps)),
        ]
    }
}

const _: () = assert!(size_of::<Streams>() <= 168);
