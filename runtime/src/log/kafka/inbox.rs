//! Between the thread that polls and the thread of a lane: a bounded queue one way, a few words the other way.

use super::{Halt, wire};
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

/// How long an input that has something waits for one that has nothing, so that what belongs together is taken together.
const GRACE: Duration = Duration::from_millis(50);
/// The same while the input is known to have more, or nothing is known of it yet.
const BEHIND_GRACE: Duration = Duration::from_secs(5);

pub struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// One for each input of the stage.
    queues: Vec<Queue>,
    /// Since when the present state of the queues has been waited for to change.
    since: Option<Instant>,
    /// The lane should be gone by then.
    over_by: Option<Instant>,
    /// Where the lane wants to read each input from, until the poller has taken it.
    start: Option<Vec<i64>>,
    /// How far the lane is, until the poller has taken it.
    progress: Option<Vec<i64>>,
    /// Whether the lane sleeps: to wake one that does not costs more than a message.
    is_asleep: bool,
    /// Something that the lane has sent is decided, and it has not looked yet.
    has_rung: bool,
    has_ended: bool,
    /// Why it ended, until somebody has asked.
    halt: Option<Halt>,
}

#[derive(Default)]
struct Queue {
    /// With the time of the first cause, by which several inputs are merged.
    waiting: VecDeque<(i64, OwnedMessage)>,
    bytes: usize,
    /// The offset of the message that comes next.
    next: i64,
    /// The end of the partition as last heard; `None` since the lane has said where it starts.
    end: Option<i64>,
}

/// What the thread that polls wants to know of a lane.
pub struct Report {
    pub start: Option<Vec<i64>>,
    pub progress: Option<Vec<i64>>,
    /// Of each input.
    pub fills: Vec<Fill>,
    pub has_ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    pub is_full: bool,
    pub has_room: bool,
}

/// A message and the input that it came from.
pub type Taken = (usize, OwnedMessage);

impl Inbox {
    pub fn new(inputs: usize) -> Self {
        let queues = (0..inputs).map(|_| Queue::default()).collect();
        let state = State {
            queues,
            since: None,
            over_by: None,
            start: None,
            progress: None,
            is_asleep: false,
            has_rung: false,
            has_ended: false,
            halt: None,
        };
        Inbox { state: Mutex::new(state), changed: Condvar::new() }
    }

    #[allow(clippy::disallowed_methods, reason = "how long to wait for the world is the shell's to measure")]
    pub fn push(&self, input: usize, message: OwnedMessage) {
        let mut state = lock(&self.state);
        // What comes from one input alone is not merged with anything.
        let origin = if state.queues.len() > 1 { wire::origin(&message) } else { 0 };
        if let Some(queue) = state.queues.get_mut(input) {
            queue.bytes += size(&message);
            queue.next = message.offset() + 1;
            queue.waiting.push_back((origin, message));
            state.since.get_or_insert_with(Instant::now);
        }
        if std::mem::take(&mut state.is_asleep) {
            self.changed.notify_all();
        }
    }

    /// Some of what waits, oldest cause first; nothing when nothing came for `at_most`, when the lane should end, or when
    /// it should look at what it has sent. An input without messages is waited for a moment: it may lag behind the others.
    #[allow(clippy::disallowed_methods, reason = "how long to wait for the world is the shell's to measure")]
    pub fn take(&self, messages_max: usize, bytes_max: usize, at_most: Duration) -> Vec<Taken> {
        let by = Instant::now() + at_most;
        let mut state = lock(&self.state);
        let mut is_patient = true;
        loop {
            let left = by.saturating_duration_since(Instant::now());
            let has_any = state.queues.iter().any(|queue| !queue.waiting.is_empty());
            if state.over_by.is_some() || (!has_any && left.is_zero()) {
                return Vec::new();
            }
            let grace = if state.is_behind() { BEHIND_GRACE } else { GRACE };
            let grace = grace.saturating_sub(state.since.map_or(Duration::ZERO, |since| since.elapsed()));
            is_patient &= !grace.is_zero();
            if has_any && (state.has_all() || !is_patient) {
                break;
            }
            if std::mem::take(&mut state.has_rung) {
                return Vec::new();
            }
            let patience = if has_any { grace } else { left };
            state.is_asleep = true;
            let waited = self.changed.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.is_asleep = false;
        }
        if !is_patient {
            state.believe_empty();
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < messages_max
            && (taken.is_empty() || !is_patient || state.has_all())
            && let Some((input, next)) = state.oldest()
            && (taken.is_empty() || bytes + next <= bytes_max)
        {
            bytes += next;
            taken.extend(state.pop(input));
        }
        state.since = state.queues.iter().any(|queue| !queue.waiting.is_empty()).then(Instant::now);
        taken
    }

    /// What waits of one input before offset `until`, and whether everything before it has come.
    pub fn take_until(
        &self,
        input: usize,
        until: i64,
        messages_max: usize,
        at_most: Duration,
    ) -> (Vec<Taken>, bool) {
        let idle = |state: &mut State| {
            state.is_asleep = state.front(input).is_none() && state.over_by.is_none();
            state.is_asleep
        };
        let waited = self.changed.wait_timeout_while(lock(&self.state), at_most, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let mut taken = Vec::new();
        if state.over_by.is_some() {
            return (taken, false);
        }
        while taken.len() < messages_max && state.front(input).is_some_and(|offset| offset < until) {
            taken.extend(state.pop(input));
        }
        let last = taken.last().map(|(_, message)| message.offset() + 1);
        let is_whole = last == Some(until) || state.front(input).is_some_and(|offset| offset >= until);
        (taken, is_whole)
    }

    /// Wakes the lane: something that it has sent is decided.
    pub fn ring(&self) {
        lock(&self.state).has_rung = true;
        self.changed.notify_all();
    }

    /// Waits until something that the lane has sent is decided, the lane should end, or the time is over.
    pub fn wait_for_ring(&self, at_most: Duration) {
        let idle = |state: &mut State| !state.has_rung && state.over_by.is_none();
        let waited = self.changed.wait_timeout_while(lock(&self.state), at_most, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_rung = false;
    }

    pub fn start_at(&self, offsets: Vec<i64>) {
        let mut state = lock(&self.state);
        for (queue, offset) in state.queues.iter_mut().zip(&offsets) {
            (queue.next, queue.end) = (*offset, None);
        }
        state.start = Some(offsets);
    }

    /// Where the partition of an input ended a moment ago.
    pub fn ends_at(&self, input: usize, end: i64) {
        let mut state = lock(&self.state);
        let was_behind = state.is_behind();
        if let Some(queue) = state.queues.get_mut(input) {
            queue.end = Some(end);
        }
        if was_behind && !state.is_behind() {
            self.changed.notify_all();
        }
    }

    pub fn progressed(&self, end: Vec<i64>) {
        lock(&self.state).progress = Some(end);
    }

    pub fn report(&self) -> Report {
        let mut state = lock(&self.state);
        let fill = |queue: &Queue| {
            let (messages, bytes) = (queue.waiting.len(), queue.bytes);
            Fill {
                is_full: messages >= WAITING_MESSAGES_MAX || bytes >= WAITING_BYTES_MAX,
                has_room: messages <= WAITING_MESSAGES_MAX / 2 && bytes <= WAITING_BYTES_MAX / 2,
            }
        };
        Report {
            fills: state.queues.iter().map(fill).collect(),
            start: state.start.take(),
            progress: state.progress.take(),
            has_ended: state.has_ended,
        }
    }

    /// Tells the lane to end within `patience`: until then it may save what it has, after it gives up.
    #[allow(clippy::disallowed_methods, reason = "how long to wait for the world is the shell's to measure")]
    pub fn close(&self, patience: Duration) {
        let mut state = lock(&self.state);
        let by = Instant::now() + patience;
        state.over_by = Some(state.over_by.map_or(by, |earlier| earlier.min(by)));
        state.queues.iter_mut().for_each(|queue| *queue = Queue::default());
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

impl State {
    fn has_all(&self) -> bool {
        self.queues.iter().all(|queue| !queue.waiting.is_empty())
    }

    /// Whether an input without messages has some on their way, as far as is known. What waits of the others may not
    /// belong before them.
    fn is_behind(&self) -> bool {
        let is_behind = |queue: &Queue| queue.end.is_none_or(|end| queue.next < end);
        self.queues.len() > 1 && self.queues.iter().any(|queue| queue.waiting.is_empty() && is_behind(queue))
    }

    /// What was waited for long enough does not come: not every offset holds a message.
    fn believe_empty(&mut self) {
        for queue in self.queues.iter_mut().filter(|queue| queue.waiting.is_empty()) {
            let end = queue.end.unwrap_or(queue.next);
            (queue.next, queue.end) = (queue.next.max(end), Some(end));
        }
    }

    /// The input whose next message has the oldest cause, and the size of that message.
    fn oldest(&self) -> Option<(usize, usize)> {
        let fronts = self.queues.iter().enumerate();
        let fronts = fronts.filter_map(|(input, queue)| queue.waiting.front().map(|front| (front, input)));
        fronts
            .min_by_key(|((origin, _), input)| (*origin, *input))
            .map(|((_, message), input)| (input, size(message)))
    }

    /// The offset of the next message of an input.
    fn front(&self, input: usize) -> Option<i64> {
        self.queues.get(input)?.waiting.front().map(|(_, message)| message.offset())
    }

    fn pop(&mut self, input: usize) -> Option<Taken> {
        let queue = self.queues.get_mut(input)?;
        let (_, message) = queue.waiting.pop_front()?;
        queue.bytes = queue.bytes.saturating_sub(size(&message));
        Some((input, message))
    }
}

fn size(message: &OwnedMessage) -> usize {
    message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize, offset: i64, at: i64) -> OwnedMessage {
        let at = rdkafka::Timestamp::LogAppendTime(at);
        OwnedMessage::new(Some(vec![0; bytes]), None, String::new(), at, 0, offset, None)
    }

    #[test]
    fn it_is_full_by_bytes_or_messages_and_says_when_there_is_room() {
        let inbox = Inbox::new(1);
        let fill = || inbox.report().fills[0];
        for _ in 0..3 {
            inbox.push(0, message(WAITING_BYTES_MAX / 3 + 1, 0, 0));
        }
        assert_eq!(fill(), Fill { is_full: true, has_room: false });
        assert_eq!(inbox.take(9, 1, Duration::ZERO).len(), 1, "one comes, however large");
        assert_eq!(inbox.take(9, usize::MAX, Duration::ZERO).len(), 2);
        assert_eq!(fill(), Fill { is_full: false, has_room: true });
        (0..WAITING_MESSAGES_MAX).for_each(|_| inbox.push(0, message(0, 0, 0)));
        assert!(fill().is_full);
        inbox.close(Duration::ZERO);
        assert!(inbox.take(9, 9, Duration::ZERO).is_empty() && inbox.is_over());
    }

    #[test]
    fn an_input_that_has_more_is_waited_for() {
        let inbox = Inbox::new(2);
        inbox.start_at(vec![7, 0]);
        inbox.push(0, message(1, 7, 9));
        let take = || inbox.take(1, 99, Duration::from_secs(60)).first().map(|(input, _)| *input);
        let take_while = |act: &(dyn Fn() + Sync)| {
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(GRACE * 4);
                    act();
                });
                take()
            })
        };
        // Nothing is known of the other; then it has one more; then it had nothing when it was asked.
        assert_eq!(take_while(&|| inbox.push(1, message(1, 0, 5))), Some(1));
        inbox.ends_at(1, 2);
        assert_eq!(take_while(&|| inbox.push(1, message(1, 1, 6))), Some(1));
        assert_eq!(take_while(&|| inbox.push(1, message(1, 2, 7))), Some(0));
        // Not every offset holds a message: it is waited for once.
        assert_eq!(take(), Some(1));
        inbox.ends_at(1, 9);
        inbox.push(0, message(1, 8, 10));
        assert_eq!(take(), Some(0));
        assert!(!lock(&inbox.state).is_behind());
    }

    #[test]
    fn inputs_are_merged_by_cause_and_replayed_as_told() {
        let fill = || {
            let inbox = Inbox::new(2);
            (0..2).for_each(|input| inbox.ends_at(input, 2));
            for (input, offset, at) in [(0, 0, 5), (0, 1, 7), (1, 0, 6), (1, 1, 7), (0, 2, 9)] {
                inbox.push(input, message(1, offset, at));
            }
            inbox
        };
        let places = |taken: Vec<Taken>| taken.iter().map(|(i, m)| (*i, m.offset())).collect::<Vec<_>>();
        let inbox = fill();
        assert_eq!(places(inbox.take(9, 99, Duration::ZERO)), [(0, 0), (1, 0), (0, 1), (1, 1)]);
        assert_eq!(places(inbox.take(9, 99, Duration::ZERO)), [(0, 2)], "after the other had its time");
        let inbox = fill();
        let (taken, is_whole) = inbox.take_until(1, 2, 9, Duration::ZERO);
        assert_eq!((places(taken), is_whole), (vec![(1, 0), (1, 1)], true));
        let (taken, is_whole) = inbox.take_until(0, 9, 2, Duration::ZERO);
        assert_eq!((places(taken), is_whole), (vec![(0, 0), (0, 1)], false));
        let (taken, is_whole) = inbox.take_until(0, 2, 9, Duration::ZERO);
        assert_eq!((places(taken), is_whole), (vec![], true), "what comes next lies behind it");
    }
}
