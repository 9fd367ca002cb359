//! One input partition and the stage that lives on it: restored, stepped, its outputs made durable, then said to be done.

use super::inbox::Inbox;
use super::manifest::{Entry, Kept, Manifest};
use super::producer::{Outbound, Parcel, Receipts};
use super::snapshot::Shelf;
use super::{FailPoint, Halt, MESSAGE_BYTES_MAX, Settings, wire};
use crate::log::LogError;
use crate::pump::{Counts, Seen, admit};
use prunella_schemas::limits::BATCH_BYTES_MAX;
use prunella_schemas::{Message, Outbox, Posted, Stage, Timestamp, Topic};
use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a lane without input sleeps before it looks whether it should end.
const IDLE: Duration = Duration::from_millis(100);
/// After so many of these sleeps it saves what no snapshot covers: the topic may forget its inputs.
const IDLE_TURNS_MAX: u32 = 300;
/// Snapshots kept: the newest, and one to fall back to.
const SNAPSHOTS_MAX: usize = 2;

/// What a lane is given.
pub struct Place<'a> {
    pub settings: &'a Settings,
    pub out: &'a Outbound,
    pub counts: &'a Counts,
    pub inbox: &'a Inbox,
    /// The input as the stage knows it, and its name on Kafka.
    pub topic: Topic,
    pub input: &'a str,
    pub partition: i32,
    /// Where in the manifest and among the snapshots the lane has its place.
    pub manifest_partition: i32,
    pub snapshot_partition: i32,
}

/// From the claim to the end: told to stop, killed by a test, or stopped by the world.
pub fn run<S: Stage>(place: &Place<'_>, stage: S) -> Result<(), Halt> {
    let mut lane = Lane::open(place, stage)?;
    place.dies(FailPoint::Restored)?;
    place.inbox.start_at(lane.next);
    let mut idle_turns = 0;
    while !place.inbox.is_closed() {
        let messages = place.inbox.take(place.settings.pace.batch_messages_max, BATCH_BYTES_MAX, IDLE);
        if !messages.is_empty() {
            idle_turns = 0;
            lane.step(messages)?;
            continue;
        }
        idle_turns += 1;
        if idle_turns == IDLE_TURNS_MAX && lane.has_unsaved() {
            lane.save()?;
        }
    }
    // So that whoever has the partition next replays nothing.
    if lane.has_unsaved() {
        lane.save()?;
    }
    lane.said.wait(&|| place.inbox.is_over()).map(|_| ())
}

impl Place<'_> {
    fn dies(&self, point: FailPoint) -> Result<(), Halt> {
        match &self.settings.fault {
            Some(fault) if fault(point, self.partition) => Err(Halt::Killed),
            _ => Ok(()),
        }
    }
}

struct Lane<'a, S: Stage> {
    place: &'a Place<'a>,
    stage: S,
    seen: Seen,
    manifest: Manifest,
    shelf: Shelf,
    entry: Entry,
    /// Every input before this offset has gone through the stage; before `entry.end`, its outputs are durable too.
    next: i64,
    /// The newest time of an input. What a stage calls now never runs backwards.
    at: Timestamp,
    /// Snapshots taken under this claim.
    number: u64,
    since_snapshot: u64,
    /// When the oldest input that no snapshot covers became durable.
    snapshot_at: Option<Timestamp>,
    /// What became of the last word to the manifest.
    said: Arc<Receipts>,
}

impl<'a, S: Stage> Lane<'a, S> {
    /// Claims the lane and restores the stage from the newest readable snapshot. Replay happens in the first steps.
    fn open(place: &'a Place<'a>, mut stage: S) -> Result<Self, Halt> {
        let (settings, give_up) = (place.settings, || place.inbox.is_over());
        let name = format!("{}/{}/{}", stage.name(), place.input, place.partition);
        let (topic, partition) = (settings.snapshots(), place.snapshot_partition);
        let shelf = Shelf { topic, partition, lane: name.clone() };
        let (manifest, entry) =
            Manifest::claim(settings, place.out, name, place.manifest_partition, &give_up)?;
        place.dies(FailPoint::Claimed)?;
        let entry = entry.unwrap_or_default();
        let (mut next, mut at, mut seen) = (0, Timestamp::ZERO, Seen::default());
        for kept in &entry.snapshots {
            let bytes = shelf.get(settings, kept, &give_up)?;
            if let Some(restored) = bytes.and_then(|bytes| restore(&mut stage, &bytes)) {
                (next, at, seen) = (kept.next, kept.at, restored);
                break;
            }
            tracing::warn!(lane = shelf.lane, next = kept.next, "snapshot refused");
        }
        tracing::info!(lane = shelf.lane, epoch = manifest.epoch, from = next, to = entry.end, "claimed");
        Ok(Lane {
            place,
            stage,
            seen,
            manifest,
            shelf,
            entry,
            next,
            at,
            number: 0,
            since_snapshot: 0,
            snapshot_at: None,
            said: Arc::default(),
        })
    }

    fn step(&mut self, mut messages: Vec<OwnedMessage>) -> Result<(), Halt> {
        // The consumer stood at `next`. If older ones come, the topic is another one under the same name.
        if let Some(first) = messages.first().filter(|m| m.offset() < self.next) {
            let (lane, offset, next) = (&self.shelf.lane, first.offset(), self.next);
            return Err(Halt::World(LogError::Corrupt(format!(
                "lane {lane} stands at offset {next} and its topic gives {offset}: the topic was made anew; make the \
                 topics of the manifest and the snapshots anew too"
            ))));
        }
        let replayed = messages.partition_point(|m| m.offset() < self.entry.end);
        let fresh = messages.split_off(replayed);
        // What these lead to was durable before the manifest said so: it would only be written again.
        self.absorb(&messages);
        if fresh.is_empty() {
            return Ok(());
        }
        let outputs = self.absorb(&fresh);
        self.place.dies(FailPoint::Stepped)?;
        self.publish(outputs)?;
        self.entry.end = self.next;
        let age_ms = self.snapshot_at.map_or(0, |since| self.at.since_ms(since));
        let pace = self.place.settings.pace;
        let is_first = self.entry.snapshots.is_empty();
        if is_first || self.since_snapshot >= pace.snapshot_messages_max || age_ms >= pace.snapshot_ms_max {
            self.save()
        } else {
            self.say()
        }
    }

    /// Lets the stage step through the messages. What it wants to say to the world.
    fn absorb(&mut self, messages: &[OwnedMessage]) -> Vec<Posted> {
        let (mut out, mut delivered) = (Outbox::default(), Vec::with_capacity(messages.len()));
        for message in messages {
            if message.offset() > self.next && self.next > 0 {
                let (from, to) = (self.next, message.offset());
                tracing::error!(
                    lane = self.shelf.lane,
                    from,
                    to,
                    "the topic lost these before they were read"
                );
            }
            self.next = message.offset() + 1;
            self.at = self.at.max(Timestamp(message.timestamp().to_millis().unwrap_or_default()));
            self.snapshot_at = self.snapshot_at.or(Some(self.at));
            let counts = self.place.counts;
            match wire::read(message, self.place.topic, &self.place.settings.tenant, self.at) {
                Ok(posted) => delivered.extend(admit(&mut self.seen, counts, posted, self.at, &mut out)),
                Err(letter) if self.seen.first(letter.record.id()) => {
                    counts.undecodable.fetch_add(1, Ordering::Relaxed);
                    out.originating(self.at);
                    out.push(&letter);
                }
                Err(_) => {
                    counts.repeats.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.stage.step(&delivered, &mut out);
        self.since_snapshot += messages.len() as u64;
        self.place.counts.consumed.fetch_add(messages.len() as u64, Ordering::Relaxed);
        out.drain()
    }

    /// Writes the outputs and waits until all of them are durable.
    fn publish(&mut self, outputs: Vec<Posted>) -> Result<(), Halt> {
        let (settings, give_up) = (self.place.settings, || self.place.inbox.is_over());
        let (receipts, count) = (Arc::<Receipts>::default(), outputs.len());
        for (at, posted) in outputs.into_iter().enumerate() {
            let posted = wire::fitted(posted, self.at, MESSAGE_BYTES_MAX - HEADROOM_BYTES);
            let topic = settings.topic(posted.topic);
            let parcel = Parcel {
                topic: &topic,
                partition: None,
                key: &posted.key,
                payload: Some(&posted.bytes),
                headers: Some(wire::attributes(&posted, &topic)),
            };
            self.place.out.send(parcel, &receipts, &give_up)?;
            if at == count / 2 {
                self.place.dies(FailPoint::HalfSent)?;
            }
        }
        receipts.wait(&give_up)?;
        self.place.dies(FailPoint::Sent)?;
        self.place.counts.produced.fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Tells the manifest how far we are. That needs no waiting: if it is lost, a little is done again.
    fn say(&mut self) -> Result<(), Halt> {
        let give_up = || self.place.inbox.is_over();
        self.said.wait(&give_up)?;
        self.said = Arc::default();
        self.manifest.say(&self.entry, self.place.out, &self.said, &give_up)?;
        self.place.dies(FailPoint::Done)?;
        self.place.inbox.progressed(self.entry.end);
        Ok(())
    }

    fn has_unsaved(&self) -> bool {
        self.since_snapshot > 0 && self.next >= self.entry.end
    }

    /// A snapshot, then the word to the manifest that names it, then the end of the one that nobody needs any more.
    fn save(&mut self) -> Result<(), Halt> {
        let (place, give_up) = (self.place, || self.place.inbox.is_over());
        let bytes = self.seen.join(&self.stage.save());
        let (epoch, number) = (self.manifest.epoch, self.number);
        let dies = |point| place.dies(point);
        let (first, parts) = self.shelf.put((epoch, number), &bytes, place.out, &give_up, &dies)?;
        place.dies(FailPoint::Saved)?;
        self.number += 1;
        self.entry.snapshots.insert(0, Kept { next: self.next, at: self.at, epoch, number, first, parts });
        let unneeded = self.entry.snapshots.split_off(self.entry.snapshots.len().min(SNAPSHOTS_MAX));
        self.say()?;
        self.since_snapshot = 0;
        self.snapshot_at = None;
        if !unneeded.is_empty() {
            self.said.wait(&give_up)?;
            for kept in &unneeded {
                self.shelf.drop(kept, place.out, &self.said, &give_up)?;
            }
        }
        Ok(())
    }
}

/// Key and headers of a message, at their largest.
const HEADROOM_BYTES: usize = 16 * 1024;

/// The stage's memory from `bytes`, and the ids it has seen; `None` when they cannot be used.
fn restore<S: Stage>(stage: &mut S, bytes: &[u8]) -> Option<Seen> {
    let (seen, saved) = Seen::split(bytes)?;
    match stage.restore(saved) {
        Ok(()) => Some(seen),
        Err(e) => {
            tracing::warn!(stage = stage.name(), error = %e, "snapshot refused");
            None
        }
    }
}
