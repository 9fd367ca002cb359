//! A file's body: a header that says what it is, then one Cobblestone-256 stream that is bound to the header.
//!
//! `"VLT1" | suite u16 | file 16 | version u64 | stream`, numbers big-endian. The key of the stream is
//! `HKDF-Expand-SHA-512(DEK, "vault/body/v1")`, its context the 30 bytes of the header: a body does not open as another
//! file, another version or another suite.

use crate::key::KEY;
use crate::stream::{self, PREFIX};
use crate::{Dek, Error, FileId};
use rand_core::CryptoRng;
use std::ops::Range;
use zeroize::Zeroizing;

pub const HEADER: usize = 30;
/// The header and the prefix of the stream: what must be read before anything else.
pub const HEAD: usize = HEADER + PREFIX;

const MAGIC: &[u8; 4] = b"VLT1";
const COBBLESTONE_256: u16 = 1;

/// Which version of which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: FileId,
    pub version: u64,
}

impl Place {
    fn header(self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let fields = MAGIC
            .iter()
            .copied()
            .chain(COBBLESTONE_256.to_be_bytes())
            .chain(self.file.0)
            .chain(self.version.to_be_bytes());
        header.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        header
    }

    /// Reads a header; which place it names is a claim until the body opens there.
    pub fn parse(object: &[u8]) -> Result<Self, Error> {
        let malformed = Error::Malformed("header of a body");
        let header: &[u8; HEADER] = object.first_chunk().ok_or(malformed)?;
        let (_, rest) = header.split_at(6);
        let (file, version) = rest.split_first_chunk().ok_or(malformed)?;
        let version = u64::from_be_bytes(version.try_into().map_err(|_| malformed)?);
        let place = Self { file: FileId(*file), version };
        if place.header() == *header { Ok(place) } else { Err(malformed) }
    }
}

/// The length of the object for a message of `message_len` bytes.
#[must_use]
pub const fn object_len(message_len: u64) -> u64 {
    HEADER as u64 + stream::sealed_len(message_len)
}

/// The commitment that stands in the head: the manifest names it.
#[must_use]
pub fn commitment(head: &[u8; HEAD]) -> [u8; stream::COMMITMENT] {
    let (_, commitment) = head.split_at(HEAD - stream::COMMITMENT);
    let mut copy = [0; stream::COMMITMENT];
    copy.copy_from_slice(commitment);
    copy
}

/// Begins a body: writes its head to `out` and gives what seals the rest.
pub fn seal(
    dek: &Dek,
    place: Place,
    rng: &mut impl CryptoRng,
    out: &mut Vec<u8>,
) -> Result<stream::Sealer, Error> {
    let header = place.header();
    out.extend_from_slice(&header);
    stream::Sealer::new(&*body_key(dek)?, &header, rng, out)
}

/// Begins to open a body as it comes, from a pipe.
pub fn open(dek: &Dek, place: Place, head: &[u8; HEAD]) -> Result<stream::Opener, Error> {
    let (header, prefix) = split_head(place, head)?;
    stream::Opener::new(&*body_key(dek)?, header, prefix)
}

/// Where the last chunk stands in an object of `object_len` bytes: what [`Reader::new`] wants first.
pub fn last_chunk(object_len: u64) -> Result<Range<u64>, Error> {
    let stream_len = object_len.checked_sub(HEADER as u64).ok_or(Error::Malformed("body"))?;
    let span = stream::Reader::last_chunk(stream_len)?;
    Ok(span.start + HEADER as u64..object_len)
}

/// Opens any span of a body whose length is known.
pub struct Reader(stream::Reader);

impl Reader {
    /// Proves key, place and length before a byte is released.
    pub fn new(
        dek: &Dek,
        place: Place,
        head: &[u8; HEAD],
        object_len: u64,
        last_chunk: &[u8],
    ) -> Result<Self, Error> {
        let (header, prefix) = split_head(place, head)?;
        let stream_len = object_len.checked_sub(HEADER as u64).ok_or(Error::Malformed("body"))?;
        stream::Reader::new(&*body_key(dek)?, header, prefix, stream_len, last_chunk).map(Self)
    }

    /// The length of the message, in bytes; proven.
    #[must_use]
    pub fn message_len(&self) -> u64 {
        self.0.message_len()
    }

    /// Which bytes of the object hold this span of the message.
    #[must_use]
    pub fn span(&self, message: &Range<u64>) -> Range<u64> {
        let span = self.0.span(message);
        span.start + HEADER as u64..span.end + HEADER as u64
    }

    /// Opens a span of the message from the bytes that [`Reader::span`] named; all of it or nothing.
    pub fn read(&self, message: &Range<u64>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.0.read(message, sealed)
    }
}

fn split_head(place: Place, head: &[u8; HEAD]) -> Result<(&[u8], &[u8; PREFIX]), Error> {
    let (header, prefix) = head.split_at(HEADER);
    if Place::parse(header)? != place {
        return Err(Error::Refused);
    }
    Ok((header, prefix.try_into().map_err(|_| Error::Malformed("body"))?))
}

fn body_key(dek: &Dek) -> Result<Zeroizing<[u8; KEY]>, Error> {
    let mut key = Zeroizing::new([0; KEY]);
    stream::expand(dek.expose(), &[b"vault/body/v1"], &mut *key)?;
    Ok(key)
}
