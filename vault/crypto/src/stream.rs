//! C2SP chunked-encryption, instance Cobblestone-256: HKDF-Expand-SHA-512 and AES-256-GCM in chunks of 16 KiB.
//!
//! Source: <https://c2sp.org/chunked-encryption>, commit 5ba5ee8 of July 2026. A stream is
//! `salt 24 | commitment 32 | chunks`, each chunk 16,384 bytes and a tag of 16, the last always shorter, possibly empty.
//! The commitment binds the key: a stream opens under one key and one context only.
//!
//! Three ways to open one: [`open`] for what fits in memory, which releases all or nothing; [`Reader`] for any span of a
//! stream whose length is known, which proves the length before it releases a byte; [`Opener`] for a pipe, which releases
//! a chunk when that chunk is proven and knows about the end only at the end.

use crate::Error;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA512, KeyType, Prk};
use rand_core::CryptoRng;
use std::ops::Range;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

pub const CHUNK: usize = 16 * 1024;
pub const TAG: usize = 16;
/// A full chunk with its tag.
pub const SEALED: usize = CHUNK + TAG;
pub const SALT: usize = 24;
pub const COMMITMENT: usize = 32;
pub const PREFIX: usize = SALT + COMMITMENT;
pub const CHUNKS_MAX: u64 = 1 << 38;

const NONCE: usize = 12;
const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// Seals a whole message that fits in memory.
pub fn seal(
    key: &[u8; 32],
    context: &[u8],
    message: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(sealed_len(message.len() as u64) as usize);
    let mut sealer = Sealer::new(key, context, rng, &mut out)?;
    sealer.write(message, &mut out)?;
    sealer.finish(&mut out)?;
    Ok(out)
}

/// Opens a whole message; all of it or nothing.
pub fn open(key: &[u8; 32], context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (prefix, chunks) = split_prefix(sealed)?;
    let mut out = Zeroizing::new(Vec::with_capacity(chunks.len()));
    let mut opener = Opener::new(key, context, prefix)?;
    opener.write(chunks, &mut out)?;
    opener.finish(&mut out)?;
    Ok(out)
}

/// The length of the stream for a message of `message_len` bytes.
#[must_use]
pub const fn sealed_len(message_len: u64) -> u64 {
    PREFIX as u64 + message_len + (message_len / CHUNK as u64 + 1) * TAG as u64
}

/// Seals a message as it comes; holds at most one chunk.
pub struct Sealer {
    keys: Keys,
    pending: Zeroizing<Vec<u8>>,
    index: u64,
}

impl Sealer {
    /// Begins a stream under a fresh salt and writes its prefix to `out`.
    pub fn new(
        key: &[u8; 32],
        context: &[u8],
        rng: &mut impl CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Self, Error> {
        let mut salt = [0; SALT];
        rng.fill_bytes(&mut salt);
        let keys = Keys::derive(key, &salt, context)?;
        out.extend_from_slice(&salt);
        out.extend_from_slice(&keys.commitment);
        Ok(Self { keys, pending: Zeroizing::new(Vec::with_capacity(CHUNK)), index: 0 })
    }

    /// The commitment to key, salt and context, as it stands in the prefix.
    #[must_use]
    pub fn commitment(&self) -> [u8; COMMITMENT] {
        self.keys.commitment
    }

    /// Appends the chunks that `message` completes to `out`.
    pub fn write(&mut self, mut message: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if !self.pending.is_empty() {
            let (head, rest) = message.split_at(message.len().min(CHUNK - self.pending.len()));
            self.pending.extend_from_slice(head);
            message = rest;
            if self.pending.len() < CHUNK {
                return Ok(());
            }
            self.keys.seal(self.index, &self.pending, out)?;
            self.index += 1;
            self.pending.zeroize();
        }
        let (full, rest) = message.as_chunks::<CHUNK>();
        for chunk in full {
            self.keys.seal(self.index, chunk, out)?;
            self.index += 1;
        }
        self.pending.extend_from_slice(rest);
        Ok(())
    }

    /// Appends the last, short chunk.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.keys.seal(self.index, &self.pending, out)
    }
}

/// Opens a stream as it comes; holds at most one chunk.
///
/// Every byte that it releases is authentic and in its place. Only [`Opener::finish`] knows that none is missing, so
/// nobody acts on the bytes before that. After an error it releases nothing more.
pub struct Opener {
    keys: Keys,
    pending: Vec<u8>,
    index: u64,
    refused: bool,
}

impl Opener {
    /// Checks the commitment; after that, only the chunks can still be wrong.
    pub fn new(key: &[u8; 32], context: &[u8], prefix: &[u8; PREFIX]) -> Result<Self, Error> {
        let keys = Keys::check(key, prefix, context)?;
        Ok(Self { keys, pending: Vec::with_capacity(SEALED), index: 0, refused: false })
    }

    /// Appends what the chunks that `sealed` completes hold to `out`; chunks before a bad one are released.
    pub fn write(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if !self.pending.is_empty() {
            let (head, rest) = sealed.split_at(sealed.len().min(SEALED - self.pending.len()));
            self.pending.extend_from_slice(head);
            sealed = rest;
            if self.pending.len() < SEALED {
                return Ok(());
            }
            let chunk = std::mem::take(&mut self.pending);
            self.release(&chunk, out)?;
            self.pending = chunk;
            self.pending.clear();
        }
        let (full, rest) = sealed.as_chunks::<SEALED>();
        for chunk in full {
            self.release(chunk, out)?;
        }
        self.pending.extend_from_slice(rest);
        Ok(())
    }

    /// Opens the last chunk; refuses a stream that was cut off.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let last = std::mem::take(&mut self.pending);
        self.release(&last, out)
    }

    fn release(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if self.refused {
            return Err(Error::Refused);
        }
        let opened = self.keys.open(self.index, chunk, out);
        self.refused = opened.is_err();
        self.index += 1;
        opened
    }
}

/// Opens any span of a stream whose length is known.
pub struct Reader {
    keys: Keys,
    message_len: u64,
}

impl Reader {
    /// Where the last chunk stands in a stream of `stream_len` bytes: what [`Reader::new`] wants first.
    pub fn last_chunk(stream_len: u64) -> Result<Range<u64>, Error> {
        let chunks = stream_len.checked_sub(PREFIX as u64).ok_or(Error::Malformed("stream"))?;
        let (full, last) = (chunks / SEALED as u64, chunks % SEALED as u64);
        if last < TAG as u64 {
            return Err(Error::Malformed("stream"));
        }
        if full >= CHUNKS_MAX {
            return Err(Error::TooLarge("a stream has at most 2^38 chunks"));
        }
        Ok(stream_len - last..stream_len)
    }

    /// Checks the commitment, and by the last chunk the length: a stream that was cut off or extended ends here.
    pub fn new(
        key: &[u8; 32],
        context: &[u8],
        prefix: &[u8; PREFIX],
        stream_len: u64,
        last_chunk: &[u8],
    ) -> Result<Self, Error> {
        let span = Self::last_chunk(stream_len)?;
        if last_chunk.len() as u64 != span.end - span.start {
            return Err(Error::Malformed("last chunk"));
        }
        let keys = Keys::check(key, prefix, context)?;
        let index = (stream_len - PREFIX as u64) / SEALED as u64;
        let mut proof = Zeroizing::new(Vec::with_capacity(last_chunk.len()));
        keys.open(index, last_chunk, &mut proof)?;
        Ok(Self { keys, message_len: index * CHUNK as u64 + proof.len() as u64 })
    }

    /// The length of the message, in bytes; proven.
    #[must_use]
    pub fn message_len(&self) -> u64 {
        self.message_len
    }

    /// Which bytes of the stream hold this span of the message. The span is cut at the end of the message.
    #[must_use]
    pub fn span(&self, message: &Range<u64>) -> Range<u64> {
        let end = message.end.min(self.message_len);
        let start = message.start.min(end);
        let first = start / CHUNK as u64;
        let after = end.div_ceil(CHUNK as u64).max(first);
        let at = |chunk: u64| (PREFIX as u64 + chunk * SEALED as u64).min(sealed_len(self.message_len));
        at(first)..at(after)
    }

    /// Opens a span of the message from the bytes that [`Reader::span`] named; all of it or nothing.
    pub fn read(&self, message: &Range<u64>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let span = self.span(message);
        if sealed.len() as u64 != span.end - span.start {
            return Err(Error::Malformed("span"));
        }
        let mut out = Zeroizing::new(Vec::with_capacity(sealed.len()));
        let first = (span.start - PREFIX as u64) / SEALED as u64;
        for (index, chunk) in (first..).zip(sealed.chunks(SEALED)) {
            self.keys.open(index, chunk, &mut out)?;
        }
        let end = message.end.min(self.message_len);
        let start = message.start.min(end);
        let skip = (start - (first * CHUNK as u64).min(start)) as usize;
        out.truncate(skip + (end - start) as usize);
        let before = skip.min(out.len());
        out.drain(..before);
        Ok(out)
    }
}

/// The prefix and the chunks of a stream.
pub fn split_prefix(stream: &[u8]) -> Result<(&[u8; PREFIX], &[u8]), Error> {
    stream.split_first_chunk().ok_or(Error::Malformed("stream"))
}

/// HKDF-Expand with SHA-512: a key of its own for each purpose, from a key that is already random.
pub(crate) fn expand(key: &[u8], info: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
    let prk = Prk::new_less_safe(HKDF_SHA512, key);
    prk.expand(info, Length(out.len())).and_then(|okm| okm.fill(out)).map_err(|_| Error::Library)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// What a key, a salt and a context give: the AEAD, the base nonce and the commitment.
struct Keys {
    aead: LessSafeKey,
    base: [u8; NONCE],
    commitment: [u8; COMMITMENT],
}

impl Keys {
    fn derive(key: &[u8; 32], salt: &[u8; SALT], context: &[u8]) -> Result<Self, Error> {
        let mut okm = Zeroizing::new([0; 32 + NONCE + COMMITMENT]);
        expand(key, &[LABEL, salt, context], &mut *okm)?;
        let (aead, rest) = okm.split_at(32);
        let (base, commitment) = rest.split_at(NONCE);
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, aead).map_err(|_| Error::Library)?);
        let base = base.try_into().map_err(|_| Error::Library)?;
        let commitment = commitment.try_into().map_err(|_| Error::Library)?;
        Ok(Self { aead, base, commitment })
    }

    fn check(key: &[u8; 32], prefix: &[u8; PREFIX], context: &[u8]) -> Result<Self, Error> {
        let (salt, commitment) = prefix.split_first_chunk().ok_or(Error::Malformed("stream"))?;
        let keys = Self::derive(key, salt, context)?;
        if bool::from(keys.commitment.ct_eq(commitment)) { Ok(keys) } else { Err(Error::Refused) }
    }

    fn seal(&self, index: u64, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let (nonce, at) = (self.nonce(index)?, out.len());
        out.extend_from_slice(chunk);
        let tag =
            out.get_mut(at..).map(|tail| self.aead.seal_in_place_separate_tag(nonce, Aad::empty(), tail));
        match tag {
            Some(Ok(tag)) => out.extend_from_slice(tag.as_ref()),
            _ => {
                out.truncate(at);
                return Err(Error::Library);
            }
        }
        Ok(())
    }

    fn open(&self, index: u64, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let Some((sealed, tag)) = chunk.split_last_chunk::<TAG>() else { return Err(Error::Refused) };
        let (nonce, at) = (self.nonce(index)?, out.len());
        out.extend_from_slice(sealed);
        let Some(tail) = out.get_mut(at..) else { return Err(Error::Library) };
        if self.aead.open_in_place_separate_tag(nonce, Aad::empty(), tag, tail).is_err() {
            // The library may have decrypted before it saw that the tag is wrong.
            tail.zeroize();
            out.truncate(at);
            return Err(Error::Refused);
        }
        Ok(())
    }

    fn nonce(&self, index: u64) -> Result<Nonce, Error> {
        if index >= CHUNKS_MAX {
            return Err(Error::TooLarge("a stream has at most 2^38 chunks"));
        }
        let mut nonce = self.base;
        let (_, low) = nonce.split_at_mut(NONCE - 8);
        low.iter_mut().zip(index.to_be_bytes()).for_each(|(byte, counter)| *byte ^= counter);
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_stops_at_its_bound() {
        let keys = Keys::derive(&[7; 32], &[0; SALT], b"").unwrap();
        assert!(keys.nonce(CHUNKS_MAX - 1).is_ok());
        assert!(matches!(keys.nonce(CHUNKS_MAX), Err(Error::TooLarge(_))));
        let endless = PREFIX as u64 + CHUNKS_MAX * SEALED as u64 + TAG as u64;
        assert!(matches!(Reader::last_chunk(endless), Err(Error::TooLarge(_))));
        assert!(Reader::last_chunk(endless - SEALED as u64).is_ok());
        assert!(Reader::last_chunk(u64::MAX).is_err());
    }
}
