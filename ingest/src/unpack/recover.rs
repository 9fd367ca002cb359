//! The ends of values, good and bad: how much goes with a bad one, and where reading goes on.

use super::Run;
use crate::decode::Rejected;
use crate::scan::{Scanner, Step};
use prunella_schemas::RejectReason;
use prunella_schemas::limits::RECORD_BYTES_MAX;
use std::io::{self, Read};

impl<R: Read> Run<'_, R> {
    /// A complete value at the beginning of the window. Nothing else may stand on its last line.
    pub(super) fn whole(&mut self, end: usize) -> io::Result<()> {
        let mut next = end;
        while matches!(self.window.byte(next)?, Some(b' ' | b'\t' | b'\r')) && next <= end + RECORD_BYTES_MAX
        {
            next += 1;
        }
        match self.window.byte(next)? {
            None | Some(b'\n') if end > RECORD_BYTES_MAX => {
                self.tell_too_large();
                self.window.consume(end);
            }
            None | Some(b'\n') => self.deliver(end),
            Some(_) => {
                let line_end = self.window.line_end(next, RECORD_BYTES_MAX + 1)?;
                if line_end > RECORD_BYTES_MAX {
                    self.tell_too_large();
                    self.window.consume(next);
                    return self.window.consume_line();
                }
                let detail = "something follows the value; send one record per line";
                self.reject(line_end, Rejected::new(RejectReason::NotJson, detail, Some(next)));
            }
        }
        Ok(())
    }

    /// What begins the window is no value: rejects its line. Lines that it seemed to take in go with it, up to one
    /// that begins at the margin as a record does, so that a record cut short never hides the next one.
    pub(super) fn flawed(&mut self, at: usize, reason: RejectReason, what: &str) -> io::Result<()> {
        let first = self.window.line_end(0, RECORD_BYTES_MAX + 1)?;
        if first > RECORD_BYTES_MAX {
            self.tell_too_large();
            return self.window.consume_line();
        }
        let mut end = first;
        loop {
            let goes_on = match self.window.byte(end)? {
                None => false,
                Some(byte) if end <= at => !matches!(byte, b'{' | b'['),
                Some(byte) => at >= first && matches!(byte, b' ' | b'\t' | b'}' | b']'),
            };
            let next = if goes_on { self.window.line_end(end, RECORD_BYTES_MAX + 1)? } else { end };
            if next == end || next > RECORD_BYTES_MAX {
                break;
            }
            end = next;
        }
        let cut = at >= end && end == self.window.bytes().len() && self.window.failure().is_some();
        let rejected =
            if cut { self.ended(what) } else { Rejected::new(reason, what, (at < end).then_some(at)) };
        self.reject(end, rejected);
        Ok(())
    }

    /// The value goes on beyond what a record may have. A line is passed as a line, a document by its brackets.
    pub(super) fn oversized(&mut self, scanner: Scanner) -> io::Result<()> {
        let head = self.window.bytes().get(..RECORD_BYTES_MAX).unwrap_or_default();
        let one_line = memchr::memchr(b'\n', head).is_none();
        self.tell_too_large();
        if !one_line {
            self.pass(scanner, |step| matches!(step, Step::Flaw { .. }))?;
        }
        self.window.consume_line()
    }

    /// Lets go of the rest of a value, or until `stop`. `false` when the data ended first.
    pub(super) fn pass(&mut self, mut scanner: Scanner, stop: fn(Step) -> bool) -> io::Result<bool> {
        loop {
            let step = scanner.next(self.window.bytes());
            self.window.consume(scanner.at());
            scanner.rebase();
            match step {
                Step::Done => return Ok(true),
                Step::More if self.window.grow()? => {}
                Step::More => return Ok(false),
                step if stop(step) => return Ok(true),
                _ => {}
            }
        }
    }
}
