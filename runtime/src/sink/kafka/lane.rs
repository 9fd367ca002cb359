//! One partition number of every topic of the sink on its way into the tables.

use super::KafkaSink;
use super::page::{Line, Page};
use super::table::{Portion, Table, post};
use crate::log::LogError;
use crate::log::kafka::inbox::Taken;
use crate::log::kafka::lane::Place;
use crate::log::kafka::{FailPoint, Halt, wire};
use crate::store::clickhouse::protocol::{Delivery, DeliveryError, Next};
use crate::store::clickhouse::{Located, Rows, portion};
use prunella_schemas::{DeadLetter, Timestamp, Topic};
use rdkafka::Message as _;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A portion is full with the messages of so many steps of a stage, or with these bytes, or when its oldest message has
/// waited for `LINGER`: every insert is a part on the server's disk, and many small ones are what it bears worst.
const PORTION_STEPS: usize = 32;
const PORTION_BYTES_MAX: usize = 16 * 1024 * 1024;
const LINGER: Duration = Duration::from_millis(800);
/// How long a lane without events sleeps before it looks at its other topics.
const IDLE: Duration = Duration::from_millis(20);
/// After so many turns without anything, the manifest is told that nothing is open.
const IDLE_TURNS_MAX: u32 = 50;
/// Between two tries of a portion that the server does not take now; doubled from the first to the last.
const BACK_OFF_MIN: Duration = Duration::from_millis(250);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// From the claim to the end: told to stop, killed by a test, or stopped by the world.
pub fn run(place: &Place<'_>, sink: &KafkaSink) -> Result<(), Halt> {
    let mut lane = Lane::open(place, sink)?;
    place.dies(FailPoint::Restored)?;
    place.inbox.start_at(lane.ends());
    let mut idle_turns = 0;
    while !place.inbox.is_closed() {
        idle_turns = if lane.turn()? { 0 } else { idle_turns + 1 };
        if idle_turns == IDLE_TURNS_MAX {
            lane.rest()?;
        }
    }
    lane.rest()
}

struct Lane<'a> {
    place: &'a Place<'a>,
    sink: &'a KafkaSink,
    page: Rc<Page<'a>>,
    streams: Vec<Stream<'a>>,
}

/// One topic.
struct Stream<'a> {
    topic: Topic,
    name: &'a str,
    delivery: Delivery<Line<'a>, Table<'a>>,
    /// Taken from the inbox and not delivered yet.
    messages: Vec<Located>,
    /// Of what was taken: messages that are none.
    letters: Vec<DeadLetter>,
    bytes: usize,
    since: Option<Instant>,
    /// Behind the last message taken.
    end: i64,
}

impl<'a> Lane<'a> {
    fn open(place: &'a Place<'a>, sink: &'a KafkaSink) -> Result<Self, Halt> {
        let page = Page::claim(place)?;
        place.dies(FailPoint::Claimed)?;
        let stream = |(topic, name): &'a (Topic, String)| {
            let (topic, line) = (*topic, Line { page: Rc::clone(&page), topic: *topic });
            let lane = format!("{}/{name}/{}", sink.name(), place.partition);
            let delivery = Delivery::resume(lane, page.entry(topic), line, Table { sink, place, topic });
            let end = delivery.next().start();
            let (messages, letters) = (Vec::new(), Vec::new());
            Stream { topic, name, delivery, messages, letters, bytes: 0, since: None, end }
        };
        let streams = place.inputs.iter().map(stream).collect();
        Ok(Lane { place, sink, page, streams })
    }

    /// Of each topic: everything before is stored.
    fn ends(&self) -> Vec<i64> {
        self.streams.iter().map(|stream| stream.delivery.next().start()).collect()
    }

    /// Takes what waits of every topic, and delivers what is due. Whether there is anything to do.
    fn turn(&mut self) -> Result<bool, Halt> {
        let (mut has_any, mut patience) = (false, IDLE);
        for input in 0..self.streams.len() {
            has_any |= self.serve(input, patience)?;
            patience = Duration::ZERO;
        }
        Ok(has_any)
    }

    fn serve(&mut self, input: usize, patience: Duration) -> Result<bool, Halt> {
        let place = self.place;
        let Some(stream) = self.streams.get_mut(input) else { return Ok(false) };
        let count_max = place.settings.pace.batch_messages_max * PORTION_STEPS;
        let (until, room) = match stream.delivery.next() {
            // Whatever the one before us thought a portion is.
            Next::Again { end, .. } => (Some(end), usize::MAX),
            Next::From(_) => (None, count_max.saturating_sub(stream.count())),
        };
        let (taken, is_whole) = place.inbox.take_until(input, until.unwrap_or(i64::MAX), room, patience);
        stream.add(taken, place)?;
        let has_any = until.is_some() || stream.since.is_some();
        let is_due = match until {
            Some(_) => is_whole,
            None => {
                stream.count() >= count_max
                    || stream.bytes >= PORTION_BYTES_MAX
                    || stream.since.is_some_and(|since| since.elapsed() >= LINGER)
            }
        };
        if is_due {
            self.deliver(input, until)?;
        }
        Ok(has_any)
    }

    /// Brings a portion into its table, however long that takes.
    fn deliver(&mut self, input: usize, until: Option<i64>) -> Result<(), Halt> {
        let place = self.place;
        let Some(stream) = self.streams.get_mut(input) else { return Ok(()) };
        #[allow(clippy::disallowed_methods, reason = "how long a delivery takes is the shell's to measure")]
        let began = Instant::now();
        place.dies(FailPoint::Stepped)?;
        // What was meant by an open intent goes whole, whatever a portion is now.
        let count = until.map_or_else(|| portion(&stream.messages), |_| stream.messages.len());
        let end = stream.messages.get(count).map_or(until.unwrap_or(stream.end), |next| next.offset);
        let messages = stream.messages.get(..count).unwrap_or_default();
        let Some((rows, mut letters)) = Rows::of(stream.topic, messages) else { return Ok(()) };
        let consumed = (count + stream.letters.len()) as u64;
        letters.append(&mut stream.letters);
        post(place, &letters)?;
        place.dies(FailPoint::HalfSent)?;
        let portion = Portion { messages, rows };
        bring(&mut stream.delivery, (stream.topic, end), &portion, &self.page, self.sink)?;
        place.dies(FailPoint::Sent)?;
        self.sink.trace(portion.messages);
        place.counts.produced.fetch_add(portion.rows.len() as u64, Ordering::Relaxed);
        place.counts.consumed.fetch_add(consumed, Ordering::Relaxed);
        place.counts.steps.record(began.elapsed());
        stream.forget(count);
        place.inbox.progressed(self.ends());
        Ok(())
    }

    /// Says that nothing is open, so that whoever comes next does nothing again.
    fn rest(&mut self) -> Result<(), Halt> {
        for stream in &mut self.streams {
            if let Err(error) = stream.delivery.rest() {
                let text = || Halt::World(LogError::Unavailable(error.to_string()));
                return Err(self.page.halt().unwrap_or_else(text));
            }
        }
        Ok(())
    }
}

/// Tries until the rows are there, or the lane has to end.
fn bring<'a>(
    delivery: &mut Delivery<Line<'a>, Table<'a>>,
    (topic, end): (Topic, i64),
    portion: &Portion<'_>,
    page: &Page<'a>,
    sink: &KafkaSink,
) -> Result<(), Halt> {
    let (place, start) = (page.place, delivery.next().start());
    let is_again = matches!(delivery.next(), Next::Again { .. });
    let (mut back_off, mut is_amended) = (BACK_OFF_MIN, false);
    loop {
        let error = match delivery.deliver(start, end, portion) {
            Ok(()) => break,
            Err(error) => error,
        };
        if let Some(halt) = page.halt() {
            return Err(halt);
        }
        match error {
            // The bounds are those of the intent, so it is what lies between them that changed.
            DeliveryError::Changed { .. } if is_again && !is_amended => {
                tracing::error!(topic = topic.name(), %error, "what is there now is stored");
                delivery.amend(portion);
                is_amended = true;
            }
            DeliveryError::Changed { .. } => {
                return Err(Halt::World(LogError::Corrupt(error.to_string())));
            }
            DeliveryError::Port(error) => {
                tracing::warn!(topic = topic.name(), partition = place.partition, %error, "not stored yet");
                sink.troubles.met(place.partition, error.to_string());
                wait(place, back_off)?;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
    sink.troubles.over(place.partition);
    Ok(())
}

/// A moment, unless the lane should end.
fn wait(place: &Place<'_>, long: Duration) -> Result<(), Halt> {
    for _ in 0..long.as_millis() / LOOK_EVERY.as_millis() {
        if place.inbox.is_closed() {
            return Err(Halt::Stopped);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

impl Stream<'_> {
    fn count(&self) -> usize {
        self.messages.len() + self.letters.len()
    }

    fn add(&mut self, taken: Vec<Taken>, place: &Place<'_>) -> Result<(), Halt> {
        if !taken.is_empty() && self.since.is_none() {
            #[allow(clippy::disallowed_methods, reason = "how long a row waits is the shell's to measure")]
            let now = Instant::now();
            self.since = Some(now);
        }
        for (_, message) in taken {
            let offset = message.offset();
            if offset < self.end {
                return Err(Halt::World(LogError::Corrupt(format!(
                    "the sink stands at offset {} of the topic {}, which gives {offset}: it was made anew; make the \
                     topic of the manifest anew too",
                    self.end, self.name
                ))));
            }
            // Compaction leaves gaps, retention does too, but only where nobody came in time.
            if offset > self.end && self.end > 0 && self.topic != Topic::Risk {
                let (topic, from) = (self.name, self.end);
                tracing::error!(topic, from, to = offset, "the topic lost these before they were stored");
            }
            self.end = offset + 1;
            self.bytes += message.payload().map_or(0, <[u8]>::len);
            let at = Timestamp(message.timestamp().to_millis().unwrap_or_default());
            match wire::read(&message, self.topic, &place.settings.tenant, at) {
                Ok(posted) => {
                    self.messages.push(Located { partition: place.partition, offset, at, posted });
                }
                Err(letter) => self.letters.push(letter),
            }
        }
        Ok(())
    }

    /// The first `count` messages are stored.
    fn forget(&mut self, count: usize) {
        self.messages.drain(..count.min(self.messages.len()));
        self.bytes = self.messages.iter().map(|message| message.posted.bytes.len()).sum();
        if self.messages.is_empty() {
            self.since = None;
        }
    }
}
