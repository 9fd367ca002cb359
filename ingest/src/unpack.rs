//! Takes apart what arrives, a file of gigabytes or a request body, into records, byte for byte, in bounded memory.
//!
//! Plain or gzip; a log file such as `{"Records":[...]}`, an array, lines, or one document; CloudEvents 1.0 give up
//! their data. What cannot be taken apart comes out as a reject with its bytes, and what follows it is still read.

mod recover;

use crate::cloudevent;
use crate::decode::Rejected;
use crate::gzip::Source;
use crate::scan::{Scanner, Step, is_space};
use crate::window::Window;
use prunella_schemas::limits::{DOCUMENT_BYTES_MAX, INTAKE_BYTES_MAX, RECORD_BYTES_MAX, RECORD_DEPTH_MAX};
use prunella_schemas::{DeadLetter, Record, RejectReason};
use std::io::{self, Read};
use std::ops::ControlFlow;

/// Where log files keep their records: CloudTrail's, and Azure's exports. Pages of REST interfaces keep theirs in
/// `value`, which is also an ordinary field of ordinary records: translators take those apart.
const ARRAYS: [&[u8]; 2] = [b"Records", b"records"];

/// What the sender says it is. Compression is told by the first bytes, whatever the sender says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Told by the bytes: documents, arrays, log files, lines, and any mixture of them.
    #[default]
    Auto,
    /// One record a line; a line that is no record never takes the next one with it.
    Ndjson,
    /// CloudEvents, single or batch; anything else is a reject.
    CloudEvents,
}

impl Content {
    /// By the media type of an HTTP request. `None` for one that cannot hold records.
    pub fn of_media_type(media_type: &str) -> Option<Content> {
        let name = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/json-lines" => Some(Content::Ndjson),
            "application/cloudevents+json" | "application/cloudevents-batch+json" => {
                Some(Content::CloudEvents)
            }
            ""
            | "application/json"
            | "application/gzip"
            | "application/x-gzip"
            | "application/octet-stream"
            | "text/plain" => Some(Content::Auto),
            _ => None,
        }
    }
}

/// How far compressed data may grow. Plain data passes through in bounded memory, however long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub inflated_bytes_max: u64,
}

impl Limits {
    /// For a request body.
    pub const INTAKE: Limits = Limits { inflated_bytes_max: INTAKE_BYTES_MAX as u64 };
    /// For a file or an object.
    pub const FILE: Limits = Limits { inflated_bytes_max: DOCUMENT_BYTES_MAX as u64 };
}

/// One record, or what could not be one.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    /// The bytes as they arrived. Of what is too large, the first `RECORD_BYTES_MAX`.
    pub body: &'a [u8],
    /// Set when it is no record. Its offset counts from the beginning of `body`.
    pub rejected: Option<Rejected>,
    /// Where it begins, after decompression: line from 1, byte from 0.
    pub line: u64,
    pub offset: u64,
}

impl Piece<'_> {
    /// The record, or the dead letter of what could be none; `record` puts its bytes into one and says where from.
    #[expect(clippy::result_large_err, reason = "a refused record goes on as it is, and seldom")]
    pub fn into_record(self, record: impl FnOnce(Vec<u8>) -> Record) -> Result<Record, DeadLetter> {
        let record = record(self.body.to_vec());
        match self.rejected {
            None => Ok(record),
            Some(rejected) => Err(rejected.into_dead_letter(record)),
        }
    }
}

/// What was given away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub records: u64,
    pub rejects: u64,
    /// Bytes read, after decompression.
    pub bytes: u64,
    /// The receiver wanted no more.
    pub stopped: bool,
}

/// Gives every piece of `input` to `each`, in order, until the end or until `each` breaks.
///
/// Input that holds nothing gives one reject, `Empty`. Fails only when reading `input` itself fails; the pieces given
/// until then stand.
pub fn unpack<R: Read>(
    input: R,
    content: Content,
    limits: &Limits,
    each: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
) -> io::Result<Tally> {
    let window = Window::new(Source::open(input, limits)?);
    let mut run = Run { window, content, each, tally: Tally::default(), failure_told: false };
    run.all()?;
    run.tally.bytes = run.window.offset();
    Ok(run.tally)
}

struct Run<'e, R: Read> {
    window: Window<R>,
    content: Content,
    each: &'e mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    tally: Tally,
    failure_told: bool,
}

impl<R: Read> Run<'_, R> {
    fn all(&mut self) -> io::Result<()> {
        self.window.byte(2)?;
        if self.window.bytes().starts_with("\u{feff}".as_bytes()) {
            self.window.consume(3);
        }
        while !self.tally.stopped {
            match self.skip_space()? {
                None => break,
                Some(_) if self.content == Content::Ndjson => self.line()?,
                Some(b'[') => {
                    self.window.consume(1);
                    self.elements()?;
                }
                Some(_) => self.value()?,
            }
        }
        if self.tally.stopped {
            return Ok(());
        }
        if !self.failure_told && self.window.failure().is_some() {
            let rejected = self.ended("");
            self.reject(0, rejected);
        } else if self.tally.records + self.tally.rejects == 0 {
            self.reject(0, Rejected::new(RejectReason::Empty, "no records in it", None));
        }
        Ok(())
    }

    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            let bytes = self.window.bytes();
            let space = bytes.iter().position(|b| !is_space(*b)).unwrap_or(bytes.len());
            self.window.consume(space);
            match self.window.byte(0)? {
                Some(byte) if is_space(byte) => {}
                other => return Ok(other),
            }
        }
    }

    /// One line, which is one record or none.
    fn line(&mut self) -> io::Result<()> {
        let end = self.window.line_end(0, RECORD_BYTES_MAX + 2)?;
        let line = self.window.bytes().get(..end).unwrap_or_default();
        if line.trim_ascii_end().len() > RECORD_BYTES_MAX {
            self.tell_too_large();
            return self.window.consume_line();
        }
        match alone(line) {
            Ok(()) => self.deliver(end),
            Err(rejected) => {
                let cut = self.window.failure().is_some() && end == self.window.bytes().len();
                let rejected = if cut { self.ended("") } else { rejected };
                self.reject(end, rejected);
            }
        }
        Ok(())
    }

    /// One value that begins a line: a record, or a log file whose [`ARRAYS`] hold records.
    fn value(&mut self) -> io::Result<()> {
        let mut scanner = Scanner::new();
        let (mut log_file, mut named) = (false, false);
        loop {
            match scanner.next(self.window.bytes()) {
                Step::Key { start, end, .. } => {
                    let key = self.window.bytes().get(start..end);
                    named = scanner.depth() == 1 && key.is_some_and(|key| ARRAYS.contains(&key));
                }
                Step::Open { object: false } if named && scanner.depth() == 2 => {
                    self.window.consume(scanner.at());
                    if !self.elements()? {
                        return Ok(());
                    }
                    scanner = Scanner::after_member();
                    (log_file, named) = (true, false);
                }
                // Deeper would also let every line of a hostile file be tried against all that follow it.
                Step::Open { .. } if !log_file && scanner.depth() > RECORD_DEPTH_MAX => {
                    let detail = format!("nested deeper than {RECORD_DEPTH_MAX}");
                    return self.flawed(scanner.at() - 1, RejectReason::TooDeep, &detail);
                }
                Step::Open { .. } | Step::Close { .. } => named = false,
                Step::Flaw { at, what } => return self.flawed(at, RejectReason::NotJson, what),
                Step::Done if log_file => {
                    self.window.consume(scanner.at());
                    return Ok(());
                }
                Step::Done => return self.whole(scanner.at()),
                Step::More if log_file && self.window.bytes().len() > RECORD_BYTES_MAX => {
                    self.window.consume(scanner.at());
                    scanner.rebase();
                }
                Step::More if self.window.bytes().len() > RECORD_BYTES_MAX => return self.oversized(scanner),
                Step::More => {
                    if !self.window.grow()? {
                        let end = self.window.bytes().len();
                        return if scanner.complete() {
                            self.whole(end)
                        } else {
                            self.flawed(end, RejectReason::NotJson, "ends within a value")
                        };
                    }
                }
            }
        }
    }

    /// The records of an array whose bracket is behind. `false` when it never closed.
    fn elements(&mut self) -> io::Result<bool> {
        while !self.tally.stopped {
            match self.skip_space()? {
                None => {
                    let rejected = self.ended("the array of records never closes");
                    self.reject(0, rejected);
                    return Ok(false);
                }
                Some(b']') => {
                    self.window.consume(1);
                    return Ok(true);
                }
                Some(b',') => self.window.consume(1),
                Some(_) => {
                    if !self.element()? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(false)
    }

    /// One element of an array. A flaw inside is its own; brackets tell where the next one begins.
    fn element(&mut self) -> io::Result<bool> {
        let mut scanner = Scanner::new();
        let mut flaw = None;
        loop {
            match scanner.next(self.window.bytes()) {
                Step::Flaw { at, what } => flaw = flaw.or(Some((at, what))),
                Step::Done => break,
                Step::More if self.window.bytes().len() > RECORD_BYTES_MAX => {
                    self.tell_too_large();
                    return self.pass(scanner, |_| false);
                }
                Step::More => {
                    if !self.window.grow()? {
                        let rejected = self.ended("the data ends within a record");
                        self.reject(self.window.bytes().len(), rejected);
                        return Ok(false);
                    }
                }
                Step::Key { .. } | Step::Open { .. } | Step::Close { .. } => {}
            }
        }
        match flaw {
            _ if scanner.at() > RECORD_BYTES_MAX => {
                self.tell_too_large();
                self.window.consume(scanner.at());
            }
            Some((at, what)) => {
                self.reject(scanner.at(), Rejected::new(RejectReason::NotJson, what, Some(at)));
            }
            None => self.deliver(scanner.at()),
        }
        Ok(true)
    }

    /// Gives away the first `end` bytes as a record, or the data of the CloudEvent that they are.
    fn deliver(&mut self, end: usize) {
        let body = self.window.bytes().get(..end).unwrap_or_default().trim_ascii();
        let (line, offset) = (self.window.line(), self.window.offset());
        let malformed = |what: &str| Some(Rejected::new(RejectReason::Malformed, what, None));
        let data = cloudevent::data(body);
        let (body, rejected) = match &data {
            Some(Ok(data)) => (data.as_ref(), None),
            Some(Err(what)) => (body, malformed(what)),
            None if self.content == Content::CloudEvents => (body, malformed("not a CloudEvent 1.0")),
            None => (body, None),
        };
        give(&mut self.tally, self.each, Piece { body, rejected, line, offset });
        self.window.consume(end);
    }

    fn reject(&mut self, end: usize, rejected: Rejected) {
        let body = self.window.bytes().get(..end).unwrap_or_default();
        let body = body.get(..RECORD_BYTES_MAX).unwrap_or(body);
        let rejected = match std::str::from_utf8(body) {
            Err(e) if rejected.reason == RejectReason::NotJson && e.error_len().is_some() => {
                Rejected::new(RejectReason::NotUtf8, "bytes that are not UTF-8", Some(e.valid_up_to()))
            }
            _ => rejected,
        };
        // Failed decompression with no text left over is told with the compressed bytes, so that it can be told apart.
        let body = if body.is_empty() { self.window.compressed_head() } else { body };
        let (line, offset) = (self.window.line(), self.window.offset());
        give(&mut self.tally, self.each, Piece { body, rejected: Some(rejected), line, offset });
        self.window.consume(end);
    }

    /// Rejects the beginning of the window as a record that is too large, and keeps the window as it is.
    fn tell_too_large(&mut self) {
        let bytes = self.window.bytes();
        let body = bytes.get(..RECORD_BYTES_MAX).unwrap_or(bytes);
        let detail =
            format!("more than the {RECORD_BYTES_MAX} bytes that a record may have; the rest is not kept");
        let rejected = Some(Rejected::new(RejectReason::TooLarge, detail, Some(body.len())));
        let (line, offset) = (self.window.line(), self.window.offset());
        give(&mut self.tally, self.each, Piece { body, rejected, line, offset });
    }

    /// Why the data ended where it did: because decompression failed, else for `what`.
    fn ended(&mut self, what: &str) -> Rejected {
        match self.window.failure() {
            Some((reason, detail)) => {
                self.failure_told = true;
                Rejected::new(*reason, detail.clone(), None)
            }
            None => Rejected::new(RejectReason::NotJson, what, None),
        }
    }
}

fn give(tally: &mut Tally, each: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>, piece: Piece<'_>) {
    match piece.rejected {
        None => tally.records += 1,
        Some(_) => tally.rejects += 1,
    }
    tally.stopped |= each(piece).is_break();
}

/// Whether a line is one value and nothing else.
fn alone(line: &[u8]) -> Result<(), Rejected> {
    let not_json = |what: &str, at: usize| Err(Rejected::new(RejectReason::NotJson, what, Some(at)));
    let mut scanner = Scanner::new();
    loop {
        match scanner.next(line) {
            Step::Flaw { at, what } => return not_json(what, at),
            Step::More if !scanner.complete() => return not_json("ends within a value", line.len()),
            Step::Done | Step::More => break,
            Step::Key { .. } | Step::Open { .. } | Step::Close { .. } => {}
        }
    }
    let rest = line.get(scanner.at()..).unwrap_or_default();
    match rest.iter().position(|b| !is_space(*b)) {
        Some(extra) => {
            not_json("something follows the value; send one record per line", scanner.at() + extra)
        }
        None => Ok(()),
    }
}
