//! Between the thread that polls and the thread of a lane: a bounded queue one way, a few words the other way.

use super::Halt;
use crate::sqlite::lock;
use prunella_schemas::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use rdkafka::Message;
use rdkafka::message::OwnedMessage;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The partition is paused when so many messages or bytes wait, and resumed at half of it.
const WAITING_MESSAGES_MAX: usize = 4 * BATCH_MESSAGES_MAX;
const WAITING_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<OwnedMessage>,
    bytes: usize,
    /// The lane should be gone by then.
    over_by: Option<Instant>,
    /// Where the lane wants to read from, until the poller has taken it.
    start: Option<i64>,
    /// How far the lane is, until the poller has taken it.
    progress: Option<i64>,
    has_ended: bool,
    /// Why it ended, until somebody has asked.
    halt: Option<Halt>,
}

/// What the thread that polls wants to know of a lane.
#[derive(Default)]
pub struct Report {
    pub start: Option<i64>,
    pub progress: Option<i64>,
    pub is_full: bool,
    pub has_room: bool,
    pub has_ended: bool,
}

impl Inbox {
    pub fn push(&self, message: OwnedMessage) {
        let mut state = lock(&self.state);
        state.bytes += size(&message);
        state.waiting.push_back(message);
        self.changed.notify_all();
    }

    /// Some of what waits, in order; nothing when nothing came for `at_most`, or when the lane should end.
    pub fn take(&self, messages_max: usize, bytes_max: usize, at_most: Duration) -> Vec<OwnedMessage> {
        let state = lock(&self.state);
        let idle = |state: &mut State| state.waiting.is_empty() && state.over_by.is_none();
        let mut state =
            self.changed.wait_timeout_while(state, at_most, idle).unwrap_or_else(PoisonError::into_inner).0;
        if state.over_by.is_some() {
            return Vec::new();
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = state.waiting.front().map(size)
            && taken.len() < messages_max
            && (taken.is_empty() || bytes + next <= bytes_max)
        {
            bytes += next;
            taken.extend(state.waiting.pop_front());
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        taken
    }

    pub fn start_at(&self, offset: i64) {
        lock(&self.state).start = Some(offset);
    }

    pub fn progressed(&self, end: i64) {
        lock(&self.state).progress = Some(end);
    }

    pub fn report(&self) -> Report {
        let mut state = lock(&self.state);
        let (messages, bytes) = (state.waiting.len(), state.bytes);
        Report {
            start: state.start.take(),
            progress: state.progress.take(),
            is_full: messages >= WAITING_MESSAGES_MAX || bytes >= WAITING_BYTES_MAX,
            has_room: messages <= WAITING_MESSAGES_MAX / 2 && bytes <= WAITING_BYTES_MAX / 2,
            has_ended: state.has_ended,
        }
    }

    /// Tells the lane to end within `patience`: until then it may save what it has, after it gives up.
    #[allow(clippy::disallowed_methods, reason = "how long to wait for the world is the shell's to measure")]
    pub fn close(&self, patience: Duration) {
        let mut state = lock(&self.state);
        let by = Instant::now() + patience;
        state.over_by = Some(state.over_by.map_or(by, |earlier| earlier.min(by)));
        state.waiting.clear();
        self.changed.notify_all();
    }

    pub fn is_closed(&self) -> bool {
        lock(&self.state).over_by.is_some()
    }

    #[allow(clippy::disallowed_methods, reason = "how long to wait for the world is the shell's to measure")]
    pub fn is_over(&self) -> bool {
        lock(&self.state).over_by.is_some_and(|by| Instant::now() >= by)
    }

    pub fn ended(&self, result: Result<(), Halt>) {
        let mut state = lock(&self.state);
        state.has_ended = true;
        state.halt = result.err();
        self.changed.notify_all();
    }

    /// Waits until the lane has ended, or the time is over.
    pub fn wait_for_end(&self, at_most: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(lock(&self.state), at_most, |state| !state.has_ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    pub fn result(&self) -> Result<(), Halt> {
        lock(&self.state).halt.take().map_or(Ok(()), Err)
    }
}

fn size(message: &OwnedMessage) -> usize {
    message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_by_bytes_or_messages_and_says_when_there_is_room() {
        let message = |bytes: usize| {
            let at = rdkafka::Timestamp::NotAvailable;
            OwnedMessage::new(Some(vec![0; bytes]), None, String::new(), at, 0, 0, None)
        };
        let inbox = Inbox::default();
        for _ in 0..3 {
            inbox.push(message(WAITING_BYTES_MAX / 3 + 1));
        }
        assert!(inbox.report().is_full && !inbox.report().has_room);
        assert_eq!(inbox.take(9, 1, Duration::ZERO).len(), 1, "one comes, however large");
        assert_eq!(inbox.take(9, usize::MAX, Duration::ZERO).len(), 2);
        assert!(inbox.report().has_room && !inbox.report().is_full);
        (0..WAITING_MESSAGES_MAX).for_each(|_| inbox.push(message(0)));
        assert!(inbox.report().is_full);
        inbox.close(Duration::ZERO);
        assert!(inbox.take(9, 9, Duration::ZERO).is_empty() && inbox.is_over());
    }
}
