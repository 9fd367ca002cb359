//! The log in memory: for tests, and as the plainest statement of what a log must do.

use super::{Batch, Commit, Log, LogError, Portion, Retention, Saved, group};
use crate::clock::Clock;
use prunella_schemas::{Timestamp, Topic};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub struct MemoryLog {
    inner: Mutex<Inner>,
    grown: Condvar,
    clock: Clock,
}

#[derive(Default)]
struct Inner {
    batches: Vec<Batch>,
    head: i64,
    at: Timestamp,
    positions: BTreeMap<String, i64>,
    snapshots: BTreeMap<String, Vec<Saved>>,
}

impl MemoryLog {
    pub fn new(clock: Clock) -> Self {
        MemoryLog { inner: Mutex::default(), grown: Condvar::new(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for MemoryLog {
    fn read(&self, topics: &[Topic], after: i64, portion: Portion) -> Result<Vec<Batch>, LogError> {
        let inner = self.lock();
        let (mut out, mut messages, mut bytes) = (Vec::new(), 0, 0);
        let from = inner.batches.partition_point(|b| b.sequence <= after);
        for batch in inner.batches[from..].iter().filter(|b| topics.contains(&b.topic)) {
            messages += batch.messages.len();
            bytes += batch.messages.iter().map(|m| m.bytes.len()).sum::<usize>();
            let over = messages > portion.messages_max || bytes > portion.bytes_max;
            if batch.sequence > portion.until || (over && !out.is_empty()) {
                break;
            }
            out.push(batch.clone());
        }
        Ok(out)
    }

    fn commit(&self, commit: Commit) -> Result<i64, LogError> {
        let mut inner = self.lock();
        inner.at = inner.at.max((self.clock)());
        for (topic, messages) in group(&commit.outputs) {
            inner.head += 1;
            let messages = messages.into_iter().cloned().collect();
            let batch = Batch { sequence: inner.head, at: inner.at, topic, messages };
            inner.batches.push(batch);
        }
        if let Some(reader) = commit.reader {
            if let Some(bytes) = commit.snapshot {
                let saved = inner.snapshots.entry(reader.clone()).or_default();
                saved.insert(0, Saved { position: commit.position, bytes });
                saved.truncate(2);
            }
            inner.positions.insert(reader, commit.position);
        }
        self.grown.notify_all();
        Ok(inner.head)
    }

    fn position(&self, reader: &str) -> Result<i64, LogError> {
        Ok(self.lock().positions.get(reader).copied().unwrap_or(super::START))
    }

    fn snapshots(&self, reader: &str) -> Result<Vec<Saved>, LogError> {
        Ok(self.lock().snapshots.get(reader).cloned().unwrap_or_default())
    }

    fn head(&self) -> i64 {
        self.lock().head
    }

    fn wait(&self, after: i64, at_most: Duration) -> i64 {
        let waited = self.grown.wait_timeout_while(self.lock(), at_most, |inner| inner.head <= after);
        waited.unwrap_or_else(PoisonError::into_inner).0.head
    }

    fn lag(&self, topics: &[Topic], position: i64) -> Result<u64, LogError> {
        let inner = self.lock();
        let behind = inner.batches.iter().filter(|b| b.sequence > position && topics.contains(&b.topic));
        Ok(behind.map(|b| b.messages.len() as u64).sum())
    }

    fn retain(&self, retention: Retention, now: Timestamp, readers: &[&str]) -> Result<u64, LogError> {
        let mut inner = self.lock();
        let needed = |reader: &&str| {
            let position = inner.positions.get(*reader).copied().unwrap_or(super::START);
            let oldest = inner.snapshots.get(*reader).and_then(|s| s.last()).map(|s| s.position);
            oldest.map_or(position, |oldest| oldest.min(position))
        };
        let floor = readers.iter().map(needed).min().unwrap_or(super::START);
        let size = |b: &Batch| b.messages.iter().map(|m| m.bytes.len() as u64).sum::<u64>();
        let mut excess = inner.batches.iter().map(size).sum::<u64>().saturating_sub(retention.bytes_max);
        let before = inner.batches.len();
        inner.batches.retain(|batch| {
            let old = now.since_ms(batch.at) > retention.age_ms_max;
            let drop = batch.sequence <= floor && (old || excess > 0);
            if drop {
                excess = excess.saturating_sub(size(batch));
            }
            !drop
        });
        Ok((before - inner.batches.len()) as u64)
    }
}
