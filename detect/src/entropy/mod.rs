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
pub use watch::{Slack, Watch};

/// Events between two readings: half a ring, so that two successive readings share only half of what they see.
pub const HOP: usize = SYMBOLS / 2;

/// When a departure is called a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub slack: Slack,
    /// Bits cumulated by one entropy alone, in 1/65,536.
    pub alone: u32,
    /// Bits cumulated by both operations and steps, in 1/65,536.
    pub together: u32,
    /// A fall of steps is called only down to here, in 1/65,536 bits: predictable, not just more so than usual.
    pub predictable: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            slack: Slack { warm_up: 64, spread_quarters: 6 },
            alone: 3 * BIT / 2,
            together: BIT / 2,
            predictable: BIT,
        }
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
            watch.read_in(bits, &limits.slack);
        }
        let shift = self.called(bits, limits)?;
        self.watches.iter_mut().for_each(Watch::reset);
        Some(shift)
    }

    /// How far the most extreme of the three has departed from its own baseline, in units of the default limit (a
    /// model's feature must not change with the settings); negative: towards predictability. 0 while too little is
    /// known.
    pub fn departure(&self) -> f32 {
        let most = |bits: fn(&Watch) -> u32| self.watches.iter().map(bits).max().unwrap_or(0) as f32;
        let (fall, rise) = (most(Watch::fall), most(Watch::rise));
        let limit = Limits::default().alone as f32;
        if fall > rise { -fall / limit } else { rise / limit }
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

    /// Both the variety of operations and the order of steps, or one entropy alone and far.
    fn called(&self, bits: [u32; 3], limits: &Limits) -> Option<Shift> {
        let [operations, steps, gaps] = &self.watches;
        let shift = |which: usize, stream, direction| {
            let (bits_now, bits_usual) = (bits[which], self.watches[which].usual());
            Some(Shift { stream, direction, bits_now, bits_usual })
        };
        let predictable = bits[1] <= limits.predictable;
        if predictable
            && (steps.fall() >= limits.alone || steps.fall().min(operations.fall()) >= limits.together)
        {
            return shift(1, Which::Steps, Direction::Fall);
        }
        if operations.rise().min(steps.rise()) >= limits.together {
            return shift(0, Which::Operations, Direction::Rise);
        }
        if gaps.fall() >= limits.alone {
            return shift(2, Which::Gaps, Direction::Fall);
        }
        None
    }
}

const _: () = assert!(size_of::<Streams>() <= 168);
