//! The log between the stages: batches of messages in one total order, and the positions of their readers.
//!
//! A batch is a row. A stage's step commits what it read (its position), what it wrote, and now and then a snapshot,
//! in one transaction; so a crash leaves either all of a step or nothing of it.

mod frame;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
pub mod sqlite;

use prunella_schemas::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use prunella_schemas::{Posted, Timestamp, Topic};
use std::time::Duration;

/// Position before the first batch.
pub const START: i64 = 0;

/// Messages that became durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Place in the total order of all topics, from 1.
    pub sequence: i64,
    /// When it became durable. Never runs backwards.
    pub at: Timestamp,
    pub topic: Topic,
    pub messages: Vec<Posted>,
}

/// How much to read at once. At least one batch is returned if there is one, however large.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    pub messages_max: usize,
    pub bytes_max: usize,
    /// Do not read past this sequence.
    pub until: i64,
}

/// One transaction of one reader.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Whose position moves; `None` for an append from outside, such as intake.
    pub reader: Option<String>,
    /// Everything up to this sequence is consumed.
    pub position: i64,
    pub outputs: Vec<Posted>,
    /// The reader's memory as of `position`.
    pub snapshot: Option<Vec<u8>>,
    /// Whether the caller will tell somebody outside that it is durable: then it is synced to the disk first.
    pub durable: bool,
}

/// A snapshot and the position it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    pub position: i64,
    pub bytes: Vec<u8>,
}

/// How far back the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Batches older than this may go, once every reader is past them.
    pub age_ms_max: i64,
    /// The oldest batches go when all together are larger than this, once every reader is past them.
    pub bytes_max: u64,
}

/// What the world did to the log.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LogError {
    #[error("the log cannot grow: {0}; free space and it goes on by itself")]
    Full(String),
    #[error("the log is damaged: {0}; move the data directory aside and restore it from a backup")]
    Corrupt(String),
    #[error("the log cannot be used: {0}")]
    Unavailable(String),
}

/// The log. Blocking: its readers are threads of their own.
pub trait Log: Send + Sync {
    /// Batches of `topics` after `after`, in order.
    fn read(&self, topics: &[Topic], after: i64, portion: Portion) -> Result<Vec<Batch>, LogError>;
    /// One transaction. Returns the sequence of the last batch written, or the head when nothing was.
    fn commit(&self, commit: Commit) -> Result<i64, LogError>;
    /// Where a reader stands; `START` when it never committed.
    fn position(&self, reader: &str) -> Result<i64, LogError>;
    /// A reader's snapshots, newest first; at most two are kept.
    fn snapshots(&self, reader: &str) -> Result<Vec<Saved>, LogError>;
    /// The newest sequence.
    fn head(&self) -> i64;
    /// Waits until the head is past `after`, or the time is over. Returns the head.
    fn wait(&self, after: i64, at_most: Duration) -> i64;
    /// Messages of `topics` after `position`.
    fn lag(&self, topics: &[Topic], position: i64) -> Result<u64, LogError>;
    /// Drops what retention allows and every reader named in `readers` has consumed and snapshotted, the oldest
    /// first. Returns batches dropped; there may be more to drop until it returns 0.
    fn retain(&self, retention: Retention, now: Timestamp, readers: &[&str]) -> Result<u64, LogError>;

    /// Makes messages from outside durable.
    fn append(&self, outputs: Vec<Posted>) -> Result<i64, LogError> {
        self.commit(Commit { outputs, durable: true, ..Commit::default() })
    }
}

/// Splits what one commit wrote into batches: one per topic, in order of first appearance, each of bounded size.
fn group(outputs: &[Posted]) -> Vec<(Topic, Vec<&Posted>)> {
    let mut groups: Vec<(Topic, Vec<&Posted>, usize)> = Vec::new();
    for posted in outputs {
        let size = posted.bytes.len();
        match groups.iter_mut().rev().find(|(topic, ..)| *topic == posted.topic) {
            Some((_, messages, bytes))
                if messages.len() < BATCH_MESSAGES_MAX && *bytes + size <= BATCH_BYTES_MAX =>
            {
                *bytes += size;
                messages.push(posted);
            }
            _ => groups.push((posted.topic, vec![posted], size)),
        }
    }
    groups.into_iter().map(|(topic, messages, _)| (topic, messages)).collect()
}
