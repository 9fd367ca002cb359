//! The pump over a counting stage: exactly once across crashes at every point, repeats dropped, poison set aside.

use prunella_runtime::log::memory::MemoryLog;
use prunella_runtime::log::{Batch, Commit, Log, LogError, Portion, Retention, START, Saved};
use prunella_runtime::pump::{Pump, Turn};
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{Delivered, Message, Outbox, Posted, Record, Risk, Stage, Tenant, Timestamp, Topic};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// Numbers the records it sees: any loss, repeat or reordering changes its outputs.
#[derive(Default)]
struct Counting {
    seen: u64,
}

impl Stage for Counting {
    type In = Record;

    fn name(&self) -> &'static str {
        "counting"
    }

    fn step(&mut self, batch: &[Delivered<Record>], out: &mut Outbox) {
        for input in batch {
            self.seen += 1;
            out.caused_by(input);
            let principal = format!("{}:{}", self.seen, String::from_utf8_lossy(&input.message.body));
            let (tenant, time) = (Tenant::default(), Timestamp(0));
            let (level, previous) = Default::default();
            out.push(&Risk { tenant, principal, score: 0.0, level, previous, time, finding_uid: None });
        }
    }

    fn save(&self) -> Vec<u8> {
        self.seen.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        let bytes = snapshot
            .try_into()
            .map_err(|_| SnapshotError::Corrupt { stage: "counting", detail: "size".into() })?;
        self.seen = u64::from_le_bytes(bytes);
        Ok(())
    }
}

fn record(n: usize) -> Posted {
    let body = format!("{n}").into_bytes();
    let record = Record {
        source: "test".into(),
        tenant: Tenant::default(),
        received: Timestamp(1),
        origin: String::new(),
        body,
    };
    Posted::new(&record, Timestamp::ZERO)
}

fn outputs(log: &dyn Log) -> Vec<String> {
    let all = Portion { messages_max: usize::MAX, bytes_max: usize::MAX, until: i64::MAX };
    let batches = log.read(&[Topic::Risk], START, all).unwrap();
    batches.iter().flat_map(|b| &b.messages).map(|m| m.key.clone()).collect()
}

fn expected(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{}:{n}", n + 1)).collect()
}

fn drain(pump: &mut Pump<Counting>) {
    while pump.turn().unwrap() != Turn::Idle {}
}

/// A log whose commits fail from a given one on, as on a full disk or at a kill: nothing of the commit stays.
struct Failing {
    inner: Arc<MemoryLog>,
    commits_left: AtomicI64,
}

impl Log for Failing {
    fn read(&self, topics: &[Topic], after: i64, portion: Portion) -> Result<Vec<Batch>, LogError> {
        self.inner.read(topics, after, Portion { messages_max: 3, ..portion })
    }
    fn commit(&self, commit: Commit) -> Result<i64, LogError> {
        if self.commits_left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(LogError::Full("injected".into()));
        }
        self.inner.commit(commit)
    }
    fn position(&self, reader: &str) -> Result<i64, LogError> {
        self.inner.position(reader)
    }
    fn snapshots(&self, reader: &str) -> Result<Vec<Saved>, LogError> {
        self.inner.snapshots(reader)
    }
    fn head(&self) -> i64 {
        self.inner.head()
    }
    fn wait(&self, after: i64, at_most: Duration) -> i64 {
        self.inner.wait(after, at_most)
    }
    fn lag(&self, topics: &[Topic], position: i64) -> Result<u64, LogError> {
        self.inner.lag(topics, position)
    }
    fn retain(&self, retention: Retention, now: Timestamp, readers: &[&str]) -> Result<u64, LogError> {
        self.inner.retain(retention, now, readers)
    }
}

/// A clock that jumps, so that some commits carry snapshots and some do not.
fn jumping_log() -> Arc<MemoryLog> {
    let now = AtomicI64::new(0);
    Arc::new(MemoryLog::new(Arc::new(move || Timestamp(now.fetch_add(7_000, Ordering::Relaxed)))))
}

#[test]
fn a_crash_at_every_commit_loses_nothing_and_repeats_nothing() {
    const RECORDS: usize = 40;
    for fail_after in 0..30 {
        let inner = jumping_log();
        for n in 0..RECORDS {
            inner.append(vec![record(n)]).unwrap();
        }
        let failing = Failing { inner: Arc::clone(&inner), commits_left: AtomicI64::new(fail_after) };
        let mut pump = Pump::open(Counting::default(), Arc::new(failing)).unwrap();
        while matches!(pump.turn(), Ok(Turn::Worked { .. })) {}
        drop(pump);
        let mut pump = Pump::open(Counting::default(), Arc::clone(&inner) as Arc<dyn Log>).unwrap();
        drain(&mut pump);
        assert_eq!(outputs(inner.as_ref()), expected(RECORDS), "failed after {fail_after} commits");
    }
}

#[test]
fn a_redelivered_record_is_dropped_also_after_a_restart() {
    let log = jumping_log();
    for n in 0..9 {
        log.append(vec![record(n)]).unwrap();
    }
    let stop = AtomicBool::new(false);
    let mut pump = Pump::open(Counting::default(), Arc::clone(&log) as Arc<dyn Log>).unwrap();
    pump.run(&stop, |_, _| stop.store(true, Ordering::Relaxed)).unwrap();
    drop(pump);
    log.append((0..9).map(record).collect()).unwrap();
    log.append(vec![record(9), record(9)]).unwrap();
    let mut pump = Pump::open(Counting::default(), Arc::clone(&log) as Arc<dyn Log>).unwrap();
    assert!(!pump.is_replaying(), "a clean stop leaves nothing to replay");
    drain(&mut pump);
    assert_eq!(outputs(log.as_ref()), expected(10));
    assert_eq!(pump.counts().repeats.load(Ordering::Relaxed), 10);
}

#[test]
fn a_process_that_never_lives_long_takes_snapshots_too() {
    let log = jumping_log();
    for life in 0..20 {
        log.append(vec![record(life)]).unwrap();
        drain(&mut Pump::open(Counting::default(), Arc::clone(&log) as Arc<dyn Log>).unwrap());
        drain(&mut Pump::open(Counting::default(), Arc::clone(&log) as Arc<dyn Log>).unwrap());
    }
    assert_eq!(outputs(log.as_ref()), expected(20));
    let snapshots = log.snapshots("counting").unwrap();
    let behind = log.position("counting").unwrap() - snapshots.first().map_or(START, |s| s.position);
    assert!(snapshots.len() == 2 && behind < 10, "{behind} batches would be replayed");
}

#[test]
fn retention_keeps_what_a_stage_that_fell_idle_would_replay() {
    let log = jumping_log();
    log.append(vec![record(0)]).unwrap();
    let mut pump = Pump::open(Counting::default(), Arc::clone(&log) as Arc<dyn Log>).unwrap();
    for _ in 0..3_000 {
        drain(&mut pump);
        log.append(vec![Posted { topic: Topic::Manifest, ..record(0) }]).unwrap();
    }
    drain(&mut pump);
    drop(pump);
    let all = Retention { age_ms_max: -1, bytes_max: 0 };
    let dropped = log.retain(all, Timestamp(i64::MAX / 2), &["counting"]).unwrap();
    assert!(dropped > 500, "an idle stage must let it pass: {dropped}");
    log.append(vec![record(1)]).unwrap();
    let mut pump = Pump::open(Counting::default(), Arc::clone(&log) as Arc<dyn Log>).unwrap();
    drain(&mut pump);
    drain(&mut pump);
    assert_eq!(outputs(log.as_ref()).last().unwrap(), "2:1", "it still knows the one before");
}

#[test]
fn a_message_of_a_future_version_becomes_a_dead_letter_and_stops_nobody() {
    let log = jumping_log();
    let future = Posted { version: 200, ..record(77) };
    log.append(vec![record(0), future, record(1)]).unwrap();
    let mut pump = Pump::open(Counting::default(), Arc::clone(&log) as Arc<dyn Log>).unwrap();
    drain(&mut pump);
    assert_eq!(outputs(log.as_ref()), expected(2));
    let all = Portion { messages_max: 9, bytes_max: usize::MAX, until: i64::MAX };
    let dead = log.read(&[Topic::Dlq], START, all).unwrap();
    let letter = prunella_schemas::DeadLetter::decode(1, &dead[0].messages[0].bytes).unwrap();
    assert!(letter.detail.contains("wire version 200"), "{}", letter.detail);
    assert_eq!(letter.record.body, record(77).bytes);
}

#[test]
fn a_damaged_snapshot_falls_back_to_the_one_before() {
    let log = jumping_log();
    for n in 0..20 {
        log.append(vec![record(n)]).unwrap();
    }
    let failing = Failing { inner: Arc::clone(&log), commits_left: AtomicI64::new(i64::MAX) };
    let mut pump = Pump::open(Counting::default(), Arc::new(failing)).unwrap();
    drain(&mut pump);
    let newest = log.snapshots("counting").unwrap().remove(0);
    let mut bytes = newest.bytes;
    bytes[6] ^= 1;
    let reader = Some("counting".to_owned());
    let position = log.position("counting").unwrap();
    log.commit(Commit { reader, position, snapshot: Some(bytes), ..Commit::default() }).unwrap();
    let mut pump = Pump::open(Counting::default(), Arc::clone(&log) as Arc<dyn Log>).unwrap();
    log.append(vec![record(20)]).unwrap();
    drain(&mut pump);
    drain(&mut pump);
    assert_eq!(outputs(log.as_ref()), expected(21));
}
