//! One partition of each input and the stage that lives on them: restored, stepped, its outputs made durable, then said to be done.

use super::fence::{Claim, Fence, signature};
use super::flight::Flights;
use super::inbox::{Inbox, Taken};
use super::manifest::{Entry, Kept, Manifest, is_covered};
use super::producer::{Outbound, Receipts};
use super::snapshot::Shelf;
use super::ticks::{Due, Ticks};
use super::{FailPoint, Halt, Settings, wire};
use crate::log::LogError;
use crate::pump::{Counts, Seen, admit};
use prunella_schemas::limits::BATCH_BYTES_MAX;
use prunella_schemas::{Message as _, Outbox, Posted, Stage, Timestamp, Topic};
use rdkafka::Message as _;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a lane without input sleeps before it looks whether it should end.
const IDLE: Duration = Duration::from_millis(100);
/// After so many of these sleeps it saves what no snapshot covers: the topic may forget its inputs.
const IDLE_TURNS_MAX: u32 = 300;
/// Snapshots kept: the newest, and one to fall back to.
const SNAPSHOTS_MAX: usize = 2;
/// After so many runs of its order since the newest snapshot a lane takes another one: every word to the manifest
/// holds them.
const ORDER_RUNS_MAX: usize = 2_048;
/// Steps over several inputs that wait for their order to be durable.
const INTENTS_MAX: usize = 4;

/// What a lane is given.
pub struct Place<'a> {
    pub settings: &'a Settings,
    pub out: &'a Outbound,
    pub counts: &'a Counts,
    pub inbox: &'a Arc<Inbox>,
    /// The inputs as the stage knows them, and their names on Kafka.
    pub inputs: &'a [(Topic, String)],
    pub partition: i32,
    /// Where in the manifest and among the snapshots the lane has its place.
    pub manifest_partition: i32,
    pub snapshot_partition: i32,
}

/// From the claim to the end: told to stop, killed by a test, or stopped by the world.
pub fn run<S: Stage>(place: &Place<'_>, stage: S, due: Option<&Due<S>>) -> Result<(), Halt> {
    let mut lane = Lane::open(place, stage)?;
    let mut ticks = due.map(Ticks::new);
    place.dies(FailPoint::Restored)?;
    place.inbox.start_at(lane.next.clone());
    let mut idle_turns = 0;
    while !place.inbox.is_closed() {
        if let Some(ticks) = &mut ticks
            && lane.is_present()
        {
            ticks.post(&lane.stage, place)?;
        }
        if lane.turn()? {
            idle_turns = 0;
            continue;
        }
        idle_turns += 1;
        if idle_turns == IDLE_TURNS_MAX && lane.has_unsaved() {
            lane.save()?;
        }
    }
    lane.end()
}

impl Place<'_> {
    pub fn dies(&self, point: FailPoint) -> Result<(), Halt> {
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
    fence: Fence,
    manifest: Manifest,
    shelf: Shelf,
    entry: Entry,
    /// What is left of the recorded order: to be followed before anything else is taken.
    plan: VecDeque<(usize, i64)>,
    /// What was taken in an order that is on its way to the manifest.
    intents: VecDeque<Intent>,
    /// Of each input: everything before this offset has gone through the stage; before `entry.end`, its outputs are
    /// durable too.
    next: Vec<i64>,
    /// The steps between the two.
    flights: Flights<'a>,
    /// The newest time of an input. What a stage calls now never runs backwards.
    at: Timestamp,
    /// Snapshots taken under this claim.
    number: u64,
    since_snapshot: u64,
    runs_since_snapshot: usize,
    /// When the oldest input that no snapshot covers became durable.
    snapshot_at: Option<Timestamp>,
    /// What became of the last word to the manifest.
    said: Arc<Receipts>,
    /// Whether the manifest was not told yet how far the lane is.
    is_behind: bool,
}

/// Messages that the stage may step through when the order in which they were taken is durable.
struct Intent {
    messages: Vec<Taken>,
    receipts: Arc<Receipts>,
}

impl<'a, S: Stage> Lane<'a, S> {
    /// Claims the lane and restores the stage from the newest readable snapshot. Replay happens in the first steps.
    fn open(place: &'a Place<'a>, mut stage: S) -> Result<Self, Halt> {
        let (settings, give_up) = (place.settings, || place.inbox.is_over());
        let first = place.inputs.first().map_or("", |(_, name)| name);
        let name = format!("{}/{first}/{}", stage.name(), place.partition);
        let (topic, partition) = (settings.snapshots(), place.snapshot_partition);
        let shelf = Shelf { topic, partition, lane: name.clone() };
        let (mut manifest, entry) =
            Manifest::claim(settings, place.out, name, place.manifest_partition, &give_up)?;
        place.dies(FailPoint::Claimed)?;
        let mut entry: Entry = entry.unwrap_or_default();
        entry.end.resize(place.inputs.len(), 0);
        // Our outputs outrank those of an earlier owner who sleeps, and so must our word: without one, what it still
        // says when it wakes would count for the next owner, and readers have dropped what it speaks of.
        let said = Arc::<Receipts>::default();
        manifest.say(&entry, place.out, &said, &give_up)?;
        said.wait(&give_up)?;
        let (mut next, mut at) = (vec![0; place.inputs.len()], Timestamp::ZERO);
        let (mut seen, mut fence) = (Seen::default(), Fence::default());
        for kept in &entry.snapshots {
            let bytes = shelf.get(settings, kept, &give_up)?;
            if let Some(restored) = bytes.and_then(|bytes| restore(&mut stage, &bytes)) {
                next.clone_from(&kept.next);
                next.resize(place.inputs.len(), 0);
                at = kept.at;
                (seen, fence) = restored;
                break;
            }
            tracing::warn!(lane = shelf.lane, next = ?kept.next, "snapshot refused");
        }
        tracing::info!(lane = shelf.lane, epoch = manifest.epoch, from = ?next, to = ?entry.end, "claimed");
        let plan = entry.order.iter().copied().filter(|run| !is_covered(run, &next)).collect();
        let claim = Claim { epoch: manifest.epoch, at: manifest.claimed_at };
        let flights = Flights::new(place, signature(&shelf.lane, claim));
        Ok(Lane {
            place,
            stage,
            seen,
            fence,
            manifest,
            shelf,
            entry,
            plan,
            intents: VecDeque::new(),
            next,
            flights,
            at,
            number: 0,
            since_snapshot: 0,
            runs_since_snapshot: 0,
            snapshot_at: None,
            said,
            is_behind: false,
        })
    }

    /// Takes what comes next and steps through it. Whether there was something to do.
    fn turn(&mut self) -> Result<bool, Halt> {
        let (inbox, messages_max) = (self.place.inbox, self.place.settings.pace.batch_messages_max);
        let is_working = self.settle()?;
        if self.flights.is_full() || self.intents.len() >= INTENTS_MAX {
            inbox.wait_for_ring(IDLE);
            return Ok(true);
        }
        let Some((input, until)) = self.plan.front().copied() else {
            let messages = inbox.take(messages_max, BATCH_BYTES_MAX, IDLE);
            let has_some = !messages.is_empty();
            match self.place.inputs.len() {
                _ if !has_some => {}
                1 => self.step(messages)?,
                _ => self.intend(messages)?,
            }
            return Ok(has_some || is_working);
        };
        let (messages, is_whole) = inbox.take_until(input, until, messages_max, IDLE);
        let has_some = !messages.is_empty();
        if has_some {
            self.step(messages)?;
        }
        if is_whole {
            self.plan.pop_front();
        }
        Ok(has_some || is_whole)
    }

    /// Does what has become possible, without waiting for anything: tells the manifest what landed, and steps through
    /// what may be. Whether something is on its way still.
    fn settle(&mut self) -> Result<bool, Halt> {
        loop {
            let landed = self.flights.land()?;
            self.landed(landed);
            // Behind a word that is on its way another one can wait: it will say more.
            if self.is_behind && self.said.is_settled()? {
                self.say()?;
            }
            let is_ready = match self.intents.front() {
                Some(intent) => !self.flights.is_full() && intent.receipts.is_settled()?,
                None => false,
            };
            if !is_ready {
                return Ok(!self.flights.is_empty() || !self.intents.is_empty());
            }
            self.carry_out()?;
        }
    }

    fn landed(&mut self, end: Option<Vec<i64>>) {
        if let Some(end) = end {
            self.place.inbox.progressed(end.clone());
            self.entry.end = end;
            self.is_behind = true;
        }
    }

    /// Whether the stage has stepped through everything that was taken, and what comes is new.
    fn is_present(&self) -> bool {
        self.plan.is_empty() && self.intents.is_empty()
    }

    fn step(&mut self, mut messages: Vec<Taken>) -> Result<(), Halt> {
        self.check_offsets(&messages)?;
        let end = &self.entry.end;
        let is_done = |(input, message): &Taken| end.get(*input).is_some_and(|end| message.offset() < *end);
        let replayed = messages.partition_point(is_done);
        let fresh = messages.split_off(replayed);
        // What these lead to was durable before the manifest said so: it would only be written again.
        self.absorb(&messages);
        if fresh.is_empty() {
            return Ok(());
        }
        #[allow(clippy::disallowed_methods, reason = "how long a step takes is the shell's to measure")]
        let since = Instant::now();
        let outputs = self.absorb(&fresh);
        self.place.dies(FailPoint::Stepped)?;
        self.flights.launch(outputs, self.next.clone(), self.at, since)?;
        let age_ms = self.snapshot_at.map_or(0, |since| self.at.since_ms(since));
        let pace = self.place.settings.pace;
        let is_due = self.entry.snapshots.is_empty()
            || self.since_snapshot >= pace.snapshot_messages_max
            || age_ms >= pace.snapshot_ms_max
            || self.runs_since_snapshot >= ORDER_RUNS_MAX;
        if is_due { self.save() } else { Ok(()) }
    }

    /// The consumer stood at `next`. If older ones come, the topic is another one under the same name.
    fn check_offsets(&self, messages: &[Taken]) -> Result<(), Halt> {
        let is_older =
            |(input, message): &&Taken| self.next.get(*input).is_some_and(|next| message.offset() < *next);
        let Some((input, message)) = messages.iter().find(is_older) else { return Ok(()) };
        let (lane, offset, next) = (&self.shelf.lane, message.offset(), self.next.get(*input));
        Err(Halt::World(LogError::Corrupt(format!(
            "lane {lane} stands at offset {} and its topic {} gives {offset}: the topic was made anew; make the \
             topics of the manifest and the snapshots anew too",
            next.copied().unwrap_or_default(),
            message.topic()
        ))))
    }

    /// Kafka does not say which of two inputs came first. Says in which order they will be stepped through; that is done
    /// when it is durable and the lane still ours: whoever owns it next does the same.
    fn intend(&mut self, messages: Vec<Taken>) -> Result<(), Halt> {
        self.check_offsets(&messages)?;
        let runs = self.entry.order.len();
        for (input, message) in &messages {
            self.entry.record(*input, message.offset());
        }
        self.runs_since_snapshot += self.entry.order.len() - runs;
        let receipts = Receipts::waking(self.place.inbox);
        let give_up = || self.place.inbox.is_over();
        self.manifest.say(&self.entry, self.place.out, &receipts, &give_up)?;
        self.is_behind = false;
        self.intents.push_back(Intent { messages, receipts });
        match self.intents.len() {
            1 => Ok(()),
            _ => self.place.dies(FailPoint::Ahead),
        }
    }

    /// Steps through what was taken first of what waits.
    fn carry_out(&mut self) -> Result<(), Halt> {
        let Some(Intent { messages, receipts }) = self.intents.pop_front() else { return Ok(()) };
        let give_up = || self.place.inbox.is_over();
        if let Some(offset) = receipts.wait(&give_up)? {
            self.manifest.confirm(self.place.settings, offset, &give_up)?;
        }
        self.place.dies(FailPoint::Intended)?;
        self.step(messages)
    }

    /// Lets the stage step through the messages. What it wants to say to the world.
    fn absorb(&mut self, messages: &[Taken]) -> Vec<Posted> {
        let (mut out, mut delivered) = (Outbox::default(), Vec::with_capacity(messages.len()));
        for (input, message) in messages {
            let (Some(next), Some((topic, name))) =
                (self.next.get_mut(*input), self.place.inputs.get(*input))
            else {
                continue;
            };
            if message.offset() > *next && *next > 0 {
                let (lane, from, to) = (&self.shelf.lane, *next, message.offset());
                tracing::error!(lane, topic = name, from, to, "the topic lost these before they were read");
            }
            *next = message.offset() + 1;
            self.at = self.at.max(Timestamp(message.timestamp().to_millis().unwrap_or_default()));
            self.snapshot_at = self.snapshot_at.or(Some(self.at));
            let counts = self.place.counts;
            if wire::claim(message, *topic).is_some_and(|claim| !self.fence.admits(claim)) {
                counts.repeats.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            match wire::read(message, *topic, &self.place.settings.tenant, self.at) {
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

    /// Tells the manifest how far we are. That needs no waiting: if it is lost, a little is done again.
    fn say(&mut self) -> Result<(), Halt> {
        self.said = Receipts::waking(self.place.inbox);
        let give_up = || self.place.inbox.is_over();
        self.manifest.say(&self.entry, self.place.out, &self.said, &give_up)?;
        self.is_behind = false;
        self.place.dies(FailPoint::Done)
    }

    /// Whether inputs were stepped through that no snapshot covers; never in the middle of a replay.
    fn has_unsaved(&self) -> bool {
        let is_past = self.next.iter().zip(&self.entry.end).all(|(next, end)| next >= end);
        self.since_snapshot > 0 && is_past
    }

    /// A snapshot, then the word to the manifest that names it, then the end of the one that nobody needs any more.
    fn save(&mut self) -> Result<(), Halt> {
        let (place, give_up) = (self.place, || self.place.inbox.is_over());
        // What a snapshot covers is never made again, so all of it must be durable.
        let landed = self.flights.land_all()?;
        self.landed(landed);
        let bytes = self.seen.join(&self.fence.join(self.stage.save()));
        let (epoch, number) = (self.manifest.epoch, self.number);
        let dies = |point| place.dies(point);
        let (first, parts) = self.shelf.put((epoch, number), &bytes, place.out, &give_up, &dies)?;
        place.dies(FailPoint::Saved)?;
        self.number += 1;
        self.entry
            .snapshots
            .insert(0, Kept { next: self.next.clone(), at: self.at, epoch, number, first, parts });
        self.runs_since_snapshot = 0;
        let unneeded = self.entry.snapshots.split_off(self.entry.snapshots.len().min(SNAPSHOTS_MAX));
        self.entry.trim();
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

    /// Leaves the lane so that whoever has it next replays nothing.
    fn end(&mut self) -> Result<(), Halt> {
        let give_up = || self.place.inbox.is_over();
        let landed = self.flights.land_all()?;
        self.landed(landed);
        if self.has_unsaved() {
            self.save()?;
        } else if self.is_behind {
            self.say()?;
        }
        self.said.wait(&give_up).map(drop)
    }
}

/// The stage's memory from `bytes`, and what keeps repeats out; `None` when they cannot be used.
fn restore<S: Stage>(stage: &mut S, bytes: &[u8]) -> Option<(Seen, Fence)> {
    let (seen, saved) = Seen::split(bytes)?;
    let (fence, saved) = Fence::split(saved)?;
    match stage.restore(saved) {
        Ok(()) => Some((seen, fence)),
        Err(e) => {
            tracing::warn!(stage = stage.name(), error = %e, "snapshot refused");
            None
        }
    }
}
