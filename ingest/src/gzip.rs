//! Plain or gzip: tells them apart by their first bytes and inflates within bounds, all members, however they end.

use crate::unpack::Limits;
use flate2::bufread::MultiGzDecoder;
use prunella_schemas::RejectReason;
use std::io::{self, BufReader, Chain, Cursor, Read};

/// Below this many inflated bytes no ratio is suspicious.
const RATIO_FROM_BYTES: u64 = 16 * 1024 * 1024;
/// Inflated bytes per compressed byte beyond which it is a bomb. Logs reach 10 to 30; deflate can reach 1,032.
const RATIO_MAX: u64 = 200;

/// Compressed bytes kept to stand for data that could not be inflated.
const HEAD_BYTES_MAX: usize = 4 * 1024;

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes(usize),
    End,
    /// The compressed data is bad or too large; what came before it stands.
    Failed(RejectReason, String),
}

/// The input with the bytes put back that were looked at.
type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

pub(crate) enum Source<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<Inflate<R>>),
}

pub(crate) struct Inflate<R: Read> {
    decoder: MultiGzDecoder<BufReader<Counted<Whole<R>>>>,
    inflated: u64,
    bytes_max: u64,
}

impl<R: Read> Source<R> {
    pub fn open(mut input: R, limits: &Limits) -> io::Result<Self> {
        let mut magic = Vec::with_capacity(2);
        input.by_ref().take(2).read_to_end(&mut magic)?;
        let gzip = magic == [0x1f, 0x8b];
        let whole = Cursor::new(magic).chain(input);
        if !gzip {
            return Ok(Source::Plain(whole));
        }
        let counted = Counted { inner: whole, bytes: 0, head: Vec::new(), failed: false };
        let decoder = MultiGzDecoder::new(BufReader::new(counted));
        Ok(Source::Gzip(Box::new(Inflate { decoder, inflated: 0, bytes_max: limits.inflated_bytes_max })))
    }

    /// The first compressed bytes; empty for plain input.
    pub fn head(&self) -> &[u8] {
        match self {
            Source::Plain(_) => &[],
            Source::Gzip(inflate) => &inflate.decoder.get_ref().get_ref().head,
        }
    }

    /// Fails only when the input itself fails.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        match self {
            Source::Plain(input) => loop {
                match input.read(buffer) {
                    Ok(0) => return Ok(Got::End),
                    Ok(n) => return Ok(Got::Bytes(n)),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            },
            Source::Gzip(inflate) => inflate.read(buffer),
        }
    }
}

impl<R: Read> Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        let n = loop {
            match self.decoder.read(buffer) {
                Ok(0) => return Ok(Got::End),
                Ok(n) => break n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if self.decoder.get_ref().get_ref().failed => return Err(e),
                Err(e) => {
                    let detail = match e.kind() {
                        io::ErrorKind::UnexpectedEof => "the gzip data ends early".to_owned(),
                        _ => format!("the gzip data is bad: {e}"),
                    };
                    let detail = format!("{detail}, after {} inflated bytes", self.inflated);
                    return Ok(Got::Failed(RejectReason::BadCompression, detail));
                }
            }
        };
        self.inflated += n as u64;
        if self.inflated > self.bytes_max {
            let detail = format!("the gzip data inflates to more than {} bytes", self.bytes_max);
            return Ok(Got::Failed(RejectReason::Bomb, detail));
        }
        let compressed = self.decoder.get_ref().get_ref().bytes;
        if self.inflated > RATIO_FROM_BYTES && self.inflated / RATIO_MAX > compressed {
            let detail = format!(
                "{compressed} bytes of gzip data inflate to {} and more, over {RATIO_MAX} to 1",
                self.inflated
            );
            return Ok(Got::Failed(RejectReason::Bomb, detail));
        }
        Ok(Got::Bytes(n))
    }
}

/// Counts what is read, and remembers whether it was the input, not the decoder, that failed.
struct Counted<R> {
    inner: R,
    bytes: u64,
    /// The first bytes, up to `HEAD_BYTES_MAX`.
    head: Vec<u8>,
    failed: bool,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(n) => {
                self.bytes += n as u64;
                let kept = n.min(HEAD_BYTES_MAX - self.head.len());
                self.head.extend_from_slice(buffer.get(..kept).unwrap_or_default());
                Ok(n)
            }
            Err(e) => {
                self.failed = e.kind() != io::ErrorKind::Interrupted;
                Err(e)
            }
        }
    }
}
