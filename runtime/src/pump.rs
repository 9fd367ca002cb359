//! The one loop: read a portion of the log, step a stage, commit what it read and what it wrote in one transaction.
//!
//! Recovery is replay. A pump starts from the newest snapshot it can read and steps through what was already
//! consumed with its outputs dropped, because the transaction that moved the position also holds them.

pub use crate::metrics::Counts;

use crate::log::{Batch, Commit, Log, LogError, Portion, START};
use prunella_schemas::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, DEDUPE_IDS_MAX};
use prunella_schemas::{
    DeadLetter, Delivered, Id, Inbound, Outbox, Posted, Record, RejectReason, Stage, Tenant, Timestamp,
};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A snapshot is taken after this many messages ...
pub(crate) const SNAPSHOT_MESSAGES_MAX: u64 = 200_000;
/// ... or after this much time of the log, in milliseconds, if anything was consumed.
pub(crate) const SNAPSHOT_MS_MAX: i64 = 30_000;
/// An idle stage says where it stands after this many batches of others, so that retention can pass it.
const IDLE_BATCHES_MAX: i64 = 256;
/// An idle stage saves a snapshot when its newest one lies this many batches back: retention keeps what comes after it.
const IDLE_SNAPSHOT_BATCHES_MAX: i64 = 1_024;
/// How long an idle pump sleeps before it looks whether it should stop.
const IDLE_MS_MAX: u64 = 100;

/// What one turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Idle,
    Worked { messages: usize },
}

pub struct Pump<S: Stage> {
    stage: S,
    log: Arc<dyn Log>,
    seen: Seen,
    /// Everything up to here has gone through the stage.
    position: i64,
    /// Everything up to here is consumed and its outputs are in the log; behind it, outputs are dropped.
    committed: i64,
    since_snapshot: u64,
    /// The position of the newest snapshot.
    snapshot_position: i64,
    /// When the oldest message that no snapshot covers became durable.
    snapshot_at: Option<Timestamp>,
    counts: Arc<Counts>,
}

impl<S: Stage> Pump<S> {
    /// Restores the stage from its newest readable snapshot. Replay happens in the first turns.
    pub fn open(mut stage: S, log: Arc<dyn Log>) -> Result<Self, LogError> {
        let committed = log.position(stage.name())?;
        let (mut position, mut seen) = (START, Seen::default());
        for saved in log.snapshots(stage.name())? {
            let restored = Seen::split(&saved.bytes).and_then(|(seen, bytes)| match stage.restore(bytes) {
                Ok(()) => Some(seen),
                Err(e) => {
                    tracing::warn!(stage = stage.name(), position = saved.position, error = %e, "snapshot refused");
                    None
                }
            });
            if let Some(restored) = restored {
                (position, seen) = (saved.position, restored);
                break;
            }
        }
        if position < committed {
            tracing::info!(stage = stage.name(), from = position, to = committed, "replaying");
        }
        let counts = Arc::default();
        Ok(Pump {
            stage,
            log,
            seen,
            position,
            committed,
            since_snapshot: 0,
            snapshot_position: position,
            snapshot_at: None,
            counts,
        })
    }

    pub fn stage(&self) -> &S {
        &self.stage
    }

    pub fn position(&self) -> i64 {
        self.position
    }

    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Whether the stage is still re-living what it consumed before a restart.
    pub fn is_replaying(&self) -> bool {
        self.position < self.committed
    }

    /// Reads, steps, commits. Nothing has changed when it fails, except that the stage must be opened again.
    pub fn turn(&mut self) -> Result<Turn, LogError> {
        let replaying = self.is_replaying();
        let until = if replaying { self.committed } else { self.log.head() };
        let portion = Portion { messages_max: BATCH_MESSAGES_MAX, bytes_max: BATCH_BYTES_MAX, until };
        let batches = self.log.read(S::In::TOPICS, self.position, portion)?;
        let Some(last) = batches.last().map(|b| (b.sequence, b.at)) else {
            // What lies between here and the end concerns other stages.
            self.position = self.position.max(until);
            if !replaying && self.position - self.committed >= IDLE_BATCHES_MAX {
                match self.position - self.snapshot_position >= IDLE_SNAPSHOT_BATCHES_MAX {
                    true => self.save(Vec::new())?,
                    false => self.commit(Vec::new(), Timestamp::ZERO)?,
                }
            }
            return Ok(Turn::Idle);
        };
        // Counts from the first batch after the snapshot, replayed or not: else a process that never lives long would
        // replay more at every start.
        self.snapshot_at = self.snapshot_at.or(batches.first().map(|b| b.at));
        let mut out = Outbox::default();
        let messages = batches.iter().map(|b| b.messages.len()).sum();
        let delivered = self.deliver(batches, &mut out);
        self.stage.step(&delivered, &mut out);
        self.position = last.0;
        self.since_snapshot += messages as u64;
        self.counts.consumed.fetch_add(messages as u64, Ordering::Relaxed);
        if !replaying {
            self.commit(out.drain(), last.1)?;
        }
        Ok(Turn::Worked { messages })
    }

    /// Turns until told to stop, then saves a snapshot, so that the next start replays nothing.
    pub fn run(
        &mut self,
        stop: &AtomicBool,
        mut after_turn: impl FnMut(&S, &dyn Log),
    ) -> Result<(), LogError> {
        while !stop.load(Ordering::Relaxed) {
            match self.turn() {
                Ok(turn) => {
                    if !self.is_replaying() {
                        after_turn(&self.stage, self.log.as_ref());
                    }
                    if turn == Turn::Idle {
                        self.log.wait(self.position, Duration::from_millis(IDLE_MS_MAX));
                    }
                }
                // The stage has moved on and the log has not: the caller opens the pump again.
                Err(e) => return Err(e),
            }
        }
        if self.since_snapshot > 0 && !self.is_replaying() {
            self.save(Vec::new())?;
        }
        Ok(())
    }

    fn commit(&mut self, outputs: Vec<Posted>, at: Timestamp) -> Result<(), LogError> {
        let produced = outputs.len() as u64;
        let age_ms = self.snapshot_at.map_or(0, |since| at.since_ms(since));
        // The first commit saves one too: without any, retention would not know that this stage replays from the start.
        let is_first = self.committed == START;
        if is_first || self.since_snapshot >= SNAPSHOT_MESSAGES_MAX || age_ms >= SNAPSHOT_MS_MAX {
            self.save(outputs)?;
        } else {
            let reader = Some(self.stage.name().to_owned());
            let commit = Commit { reader, position: self.position, outputs, snapshot: None, durable: false };
            self.log.commit(commit)?;
            self.committed = self.position;
        }
        self.counts.produced.fetch_add(produced, Ordering::Relaxed);
        Ok(())
    }

    fn save(&mut self, outputs: Vec<Posted>) -> Result<(), LogError> {
        let snapshot = Some(self.seen.join(&self.stage.save()));
        let reader = Some(self.stage.name().to_owned());
        let commit = Commit { reader, position: self.position, outputs, snapshot, durable: false };
        self.log.commit(commit)?;
        self.committed = self.position;
        self.since_snapshot = 0;
        self.snapshot_position = self.position;
        self.snapshot_at = None;
        Ok(())
    }

    fn deliver(&mut self, batches: Vec<Batch>, out: &mut Outbox) -> Vec<Delivered<S::In>> {
        let mut delivered = Vec::new();
        for batch in batches {
            for posted in batch.messages {
                delivered.extend(admit(&mut self.seen, &self.counts, posted, batch.at, out));
            }
        }
        delivered
    }
}

/// The mouth of a stage: drops a repeat, decodes the rest. What does not decode becomes a dead letter: it never stops
/// the stage.
pub(crate) fn admit<M: Inbound>(
    seen: &mut Seen,
    counts: &Counts,
    posted: Posted,
    at: Timestamp,
    out: &mut Outbox,
) -> Option<Delivered<M>> {
    // A message from outside has no cause before it: its own durable intake is the origin.
    let origin = if posted.origin == Timestamp::ZERO { at } else { posted.origin };
    if !seen.first(posted.id) {
        counts.repeats.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    match M::decode(posted.topic, posted.version, &posted.bytes) {
        Ok(message) => Some(Delivered { message, origin, at }),
        Err(e) => {
            counts.undecodable.fetch_add(1, Ordering::Relaxed);
            out.originating(origin);
            out.push(&undecodable(posted, e.to_string(), at));
            None
        }
    }
}

fn undecodable(posted: Posted, detail: String, at: Timestamp) -> DeadLetter {
    let record = Record {
        source: format!("prunella.{}", posted.topic.name()),
        tenant: Tenant::default(),
        received: at,
        origin: format!("log, wire version {}", posted.version),
        body: posted.bytes,
    };
    DeadLetter { record, reason: RejectReason::UnknownVersion, detail, offset: None, time: at }
}

/// The ids a stage has seen, newest last, bounded: the memory that makes redelivery harmless.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    order: VecDeque<Id>,
    ids: HashSet<Id>,
}

impl Seen {
    /// Whether this is the first time, as far as memory goes; remembers it.
    pub(crate) fn first(&mut self, id: Id) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > DEDUPE_IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    pub(crate) fn contains(&self, id: &Id) -> bool {
        self.ids.contains(id)
    }

    /// The ids, then the stage's own snapshot, with a checksum over both.
    pub(crate) fn join(&self, stage: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + self.order.len() * 16 + stage.len());
        bytes.extend_from_slice(&(self.order.len() as u32).to_le_bytes());
        for id in &self.order {
            bytes.extend_from_slice(&id.0);
        }
        bytes.extend_from_slice(stage);
        let checksum = Id::derive("snapshot", &[&bytes]);
        bytes.extend_from_slice(&checksum.0);
        bytes
    }

    pub(crate) fn split(bytes: &[u8]) -> Option<(Seen, &[u8])> {
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(16)?)?;
        if Id::derive("snapshot", &[body]).0 != checksum {
            return None;
        }
        let (count, rest) = body.split_at_checked(4)?;
        let count = u32::from_le_bytes(count.try_into().ok()?) as usize;
        let (ids, stage) = rest.split_at_checked(count.checked_mul(16)?)?;
        let mut seen = Seen::default();
        for id in ids.chunks_exact(16) {
            seen.first(Id(id.try_into().ok()?));
        }
        Some((seen, stage))
    }
}
