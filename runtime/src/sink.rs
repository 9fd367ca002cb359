//! The sink: everything on the log that people ask for, copied into the store. Findings never wait for it.

#[cfg(all(feature = "kafka", feature = "clickhouse"))]
pub mod kafka;

use crate::log::{Commit, Log, LogError, Portion};
use crate::sqlite::StoreError;
use crate::store::{Row, StoreWriter};
use prunella_schemas::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use prunella_schemas::port::Live;
use prunella_schemas::{Event, Finding, Message, Posted, Receipt, Topic, Transition};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::broadcast;

/// The name under which the sink's position stands in the log, as a hint for retention and lag.
pub const READER: &str = "sink";
pub const TOPICS: [Topic; 6] =
    [Topic::Events, Topic::Findings, Topic::Risk, Topic::Plans, Topic::Receipts, Topic::Dlq];
/// The indexes by id are written all over: the more rows share a transaction, the fewer pages each of them costs.
const PORTION_MESSAGES_MAX: usize = 8 * BATCH_MESSAGES_MAX;
const PORTION_BYTES_MAX: usize = 4 * BATCH_BYTES_MAX;
/// Turns between two hints to the log.
const HINT_TURNS: u32 = 32;
/// An idle sink says where it stands after this many batches of others, so that retention can pass it.
const IDLE_BATCHES_MAX: i64 = 256;
const IDLE_MS_MAX: u64 = 100;
/// Turns after which the caller gets its turn even when there is always something to store.
const TURNS_PER_RUN_MAX: u32 = 1_000;
/// Messages of one turn shown on the live feed; a feed is for eyes, which cannot follow more.
const LIVE_PER_TURN_MAX: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub struct Sink {
    log: Arc<dyn Log>,
    writer: StoreWriter,
    position: Arc<AtomicI64>,
    live: broadcast::Sender<Live>,
    turns: u32,
}

impl Sink {
    pub fn open(
        log: Arc<dyn Log>,
        writer: StoreWriter,
        live: broadcast::Sender<Live>,
    ) -> Result<Self, SinkError> {
        // After a power cut the store may be ahead of the log, whose lost sequences are then given out again.
        let position = writer.position()?.min(log.head());
        let position = Arc::new(AtomicI64::new(position));
        Ok(Sink { log, writer, position, live, turns: 0 })
    }

    /// Up to where the store holds everything.
    pub fn position(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.position)
    }

    /// Stores one portion; says how many messages it held.
    pub fn turn(&mut self) -> Result<usize, SinkError> {
        let after = self.position.load(Ordering::Relaxed);
        let portion = Portion {
            messages_max: PORTION_MESSAGES_MAX,
            bytes_max: PORTION_BYTES_MAX,
            until: self.log.head(),
        };
        let batches = self.log.read(&TOPICS, after, portion)?;
        let Some(last) = batches.last().map(|b| b.sequence) else {
            if portion.until - after >= IDLE_BATCHES_MAX {
                self.position.store(portion.until, Ordering::Relaxed);
                self.hint()?;
            }
            return Ok(0);
        };
        let messages: Vec<&Posted> = batches.iter().flat_map(|b| &b.messages).collect();
        let mut rows = Vec::with_capacity(messages.len());
        for (posted, at) in batches.iter().flat_map(|b| b.messages.iter().map(|posted| (posted, b.at))) {
            match Row::of(posted) {
                Ok(row) => rows.extend(row.map(|row| row.durable_since(at))),
                // It stays on the log; a store that cannot read it yet must not stop.
                Err(e) => {
                    tracing::error!(topic = posted.topic.name(), id = %posted.id, error = %e, "not stored");
                }
            }
        }
        self.writer.write(&rows, last)?;
        self.position.store(last, Ordering::Relaxed);
        self.show(&messages);
        self.turns += 1;
        if self.turns.is_multiple_of(HINT_TURNS) {
            self.hint()?;
        }
        Ok(messages.len())
    }

    /// Stores what comes until told to stop, or until `at_most` has passed, so that the caller can keep house.
    pub fn run_for(&mut self, stop: &AtomicBool, at_most: Duration) -> Result<(), SinkError> {
        let mut idle = Duration::ZERO;
        for _ in 0..TURNS_PER_RUN_MAX {
            if stop.load(Ordering::Relaxed) || idle >= at_most {
                break;
            }
            if self.turn()? == 0 {
                let step = Duration::from_millis(IDLE_MS_MAX);
                self.log.wait(self.log.head(), step);
                idle += step;
            }
        }
        Ok(())
    }

    pub fn writer(&mut self) -> &mut StoreWriter {
        &mut self.writer
    }

    /// Tells the log how far the store is, so that retention may pass.
    pub fn hint(&self) -> Result<(), SinkError> {
        let position = self.position.load(Ordering::Relaxed);
        self.log.commit(Commit { reader: Some(READER.into()), position, ..Commit::default() })?;
        Ok(())
    }

    fn show(&self, messages: &[&Posted]) {
        if self.live.receiver_count() == 0 {
            return;
        }
        for live in messages.iter().rev().take(LIVE_PER_TURN_MAX).rev().filter_map(|posted| live(posted)) {
            // Nobody listening any more is no error.
            let _ = self.live.send(live);
        }
    }
}

/// As the live feed shows it; what nobody looks at is not shown.
pub(crate) fn live(posted: &Posted) -> Option<Live> {
    let (version, bytes) = (posted.version, posted.bytes.as_slice());
    match posted.topic {
        Topic::Events => {
            Event::decode(version, bytes).ok().map(|event| Live::Event { event: Box::new(event) })
        }
        Topic::Findings => {
            Finding::decode(version, bytes).ok().map(|finding| Live::Finding { finding: Box::new(finding) })
        }
        Topic::Plans => {
            Transition::decode(version, bytes).ok().map(|t| Live::Plan { transition: Box::new(t) })
        }
        Topic::Receipts => {
            Receipt::decode(version, bytes).ok().map(|receipt| Live::Receipt { receipt: Box::new(receipt) })
        }
        _ => None,
    }
}
