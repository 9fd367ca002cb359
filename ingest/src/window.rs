//! The window: the part of a stream that is being looked at, which grows at its end and is let go at its beginning.

use crate::gzip::{Got, Source};
use prunella_schemas::RejectReason;
use std::io::{self, Read};

/// Bytes asked of the source at once.
const READ_BYTES: usize = 64 * 1024;

pub(crate) struct Window<R: Read> {
    source: Source<R>,
    buffer: Vec<u8>,
    /// The window is `buffer[start..end]`.
    start: usize,
    end: usize,
    /// Position of the window in the stream, after decompression.
    offset: u64,
    /// Line on which the window begins, from 1.
    line: u64,
    ended: bool,
    failure: Option<(RejectReason, String)>,
}

impl<R: Read> Window<R> {
    pub fn new(source: Source<R>) -> Self {
        Window {
            source,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            line: 1,
            ended: false,
            failure: None,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn line(&self) -> u64 {
        self.line
    }

    /// The first compressed bytes, for a stream of which nothing else is at hand.
    pub fn compressed_head(&self) -> &[u8] {
        self.source.head()
    }

    /// Why the stream ended before its time, if it did.
    pub fn failure(&self) -> Option<&(RejectReason, String)> {
        self.failure.as_ref()
    }

    /// Grows the window. `false` when the stream has ended.
    pub fn grow(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        // Moving is paid for by the bytes let go since the last move.
        if self.start > self.end - self.start {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() < self.end + READ_BYTES {
            self.buffer.resize(self.end + READ_BYTES, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.source.read(room)? {
            Got::Bytes(n) => self.end += n,
            Got::End => self.ended = true,
            Got::Failed(reason, detail) => {
                self.ended = true;
                self.failure = Some((reason, detail));
            }
        }
        Ok(!self.ended)
    }

    /// Lets go of the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.end - self.start);
        let gone = self.buffer.get(self.start..self.start + n).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', gone).count() as u64;
        self.offset += n as u64;
        self.start += n;
    }

    /// The byte at `at`, growing the window as needed. `None` at the end of the stream.
    pub fn byte(&mut self, at: usize) -> io::Result<Option<u8>> {
        loop {
            if let Some(&byte) = self.bytes().get(at) {
                return Ok(Some(byte));
            }
            if !self.grow()? {
                return Ok(None);
            }
        }
    }

    /// The end of the line that holds `from`, after its line feed; the end of the stream; or `max` at the latest.
    pub fn line_end(&mut self, from: usize, max: usize) -> io::Result<usize> {
        let mut searched = from;
        loop {
            let rest = self.bytes().get(searched..).unwrap_or_default();
            if let Some(feed) = memchr::memchr(b'\n', rest) {
                return Ok((searched + feed + 1).min(max));
            }
            searched = searched.max(self.bytes().len());
            if searched >= max {
                return Ok(max);
            }
            if !self.grow()? {
                return Ok(searched);
            }
        }
    }

    /// Lets go of everything up to and with the next line feed.
    pub fn consume_line(&mut self) -> io::Result<()> {
        loop {
            match memchr::memchr(b'\n', self.bytes()) {
                Some(feed) => {
                    self.consume(feed + 1);
                    return Ok(());
                }
                None => self.consume(usize::MAX),
            }
            if !self.grow()? {
                return Ok(());
            }
        }
    }
}
