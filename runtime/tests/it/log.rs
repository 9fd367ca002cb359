//! One suite over every log: order, positions, snapshots, portions, retention, and survival of a restart.

use prunella_runtime::log::{Commit, Log, Portion, Retention, START};
use prunella_runtime::log::{memory::MemoryLog, sqlite::SqliteLog};
use prunella_schemas::{Id, Posted, Timestamp, Topic};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const ALL: Portion = Portion { messages_max: usize::MAX, bytes_max: usize::MAX, until: i64::MAX };

fn message(topic: Topic, n: u32) -> Posted {
    let bytes = n.to_le_bytes();
    let id = Id::derive("test", &[&bytes]);
    Posted {
        topic,
        version: 1,
        id,
        key: format!("k{n}"),
        origin: Timestamp(i64::from(n)),
        bytes: bytes.repeat(25),
    }
}

fn by(reader: &str, position: i64, outputs: Vec<Posted>, snapshot: Option<&[u8]>) -> Commit {
    Commit {
        reader: Some(reader.into()),
        position,
        outputs,
        snapshot: snapshot.map(<[u8]>::to_vec),
        durable: false,
    }
}

/// A clock that the test moves.
fn clock(now: &Arc<AtomicI64>) -> prunella_runtime::clock::Clock {
    let now = Arc::clone(now);
    Arc::new(move || Timestamp(now.load(Ordering::Relaxed)))
}

/// Runs a test over each implementation; `reopen` gives the same log after a restart (the memory log has none).
fn over_each(test: impl Fn(&dyn Fn() -> Arc<dyn Log>, &Arc<AtomicI64>)) {
    let now = Arc::new(AtomicI64::new(1_000));
    let memory: Arc<dyn Log> = Arc::new(MemoryLog::new(clock(&now)));
    test(&|| Arc::clone(&memory), &now);
    let now = Arc::new(AtomicI64::new(1_000));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    test(&|| Arc::new(SqliteLog::open(&path, clock(&now)).unwrap()), &now);
}

#[test]
fn what_is_appended_is_read_back_in_one_order() {
    over_each(|open, now| {
        let log = open();
        assert_eq!(log.append(vec![message(Topic::Records, 1), message(Topic::Records, 2)]).unwrap(), 1);
        now.store(900, Ordering::Relaxed);
        let mixed = vec![message(Topic::Events, 3), message(Topic::Dlq, 4), message(Topic::Events, 5)];
        assert_eq!(log.append(mixed).unwrap(), 3);
        drop(log);
        let log = open();
        let batches = log.read(&[Topic::Records, Topic::Events], START, ALL).unwrap();
        let seen: Vec<_> = batches.iter().map(|b| (b.sequence, b.at.0, b.topic, b.messages.len())).collect();
        // The clock ran backwards; the log's time does not.
        assert_eq!(seen, [(1, 1_000, Topic::Records, 2), (2, 1_000, Topic::Events, 2)]);
        assert_eq!(batches[1].messages, [message(Topic::Events, 3), message(Topic::Events, 5)]);
        assert_eq!(log.lag(&[Topic::Events, Topic::Dlq], 2).unwrap(), 1);
        assert_eq!((log.head(), log.wait(0, Duration::ZERO)), (3, 3));
    });
}

#[test]
fn a_portion_is_bounded_and_never_empty_when_there_is_something() {
    over_each(|open, _| {
        let log = open();
        for n in 0..10 {
            log.append(vec![message(Topic::Events, n), message(Topic::Events, 100 + n)]).unwrap();
        }
        let read = |portion| {
            log.read(&[Topic::Events], 2, portion).unwrap().iter().map(|b| b.sequence).collect::<Vec<_>>()
        };
        assert_eq!(read(Portion { messages_max: 1, ..ALL }), [3]);
        assert_eq!(read(Portion { messages_max: 5, ..ALL }), [3, 4]);
        assert_eq!(read(Portion { bytes_max: 590, ..ALL }), [3, 4]);
        assert_eq!(read(Portion { until: 5, ..ALL }), [3, 4, 5]);
        assert_eq!(read(Portion { until: 2, ..ALL }), [0; 0]);
    });
}

#[test]
fn a_commit_moves_the_position_with_outputs_and_snapshot() {
    over_each(|open, _| {
        let log = open();
        log.append(vec![message(Topic::Records, 1)]).unwrap();
        assert_eq!((log.position("ingest").unwrap(), log.snapshots("ingest").unwrap().len()), (START, 0));
        log.commit(by("ingest", 1, vec![message(Topic::Events, 2)], Some(b"one"))).unwrap();
        log.commit(by("ingest", 2, Vec::new(), Some(b"two"))).unwrap();
        log.commit(by("ingest", 3, Vec::new(), Some(b"three"))).unwrap();
        log.commit(by("ingest", 4, Vec::new(), None)).unwrap();
        drop(log);
        let log = open();
        assert_eq!(log.position("ingest").unwrap(), 4);
        let saved: Vec<_> =
            log.snapshots("ingest").unwrap().into_iter().map(|s| (s.position, s.bytes)).collect();
        assert_eq!(saved, [(3, b"three".to_vec()), (2, b"two".to_vec())]);
    });
}

#[test]
fn retention_never_takes_what_a_reader_still_needs() {
    over_each(|open, now| {
        let log = open();
        for n in 0..6 {
            log.append(vec![message(Topic::Events, n)]).unwrap();
        }
        now.store(10_000, Ordering::Relaxed);
        let short = Retention { age_ms_max: 1, bytes_max: u64::MAX };
        let sequences =
            || log.read(&[Topic::Events], START, ALL).unwrap().iter().map(|b| b.sequence).collect::<Vec<_>>();
        assert_eq!(log.retain(short, Timestamp(10_000), &["detect", "sink"]).unwrap(), 0);
        log.commit(by("detect", 4, Vec::new(), Some(b"x"))).unwrap();
        log.commit(by("detect", 6, Vec::new(), None)).unwrap();
        log.commit(by("sink", 5, Vec::new(), None)).unwrap();
        assert_eq!(
            log.retain(short, Timestamp(1_000), &["detect", "sink"]).unwrap(),
            0,
            "nothing is old yet"
        );
        assert_eq!(
            log.retain(short, Timestamp(10_000), &["detect", "sink"]).unwrap(),
            4,
            "the snapshot stands at 4"
        );
        assert_eq!(sequences(), [5, 6]);
        let small = Retention { age_ms_max: i64::MAX / 2, bytes_max: 1 };
        assert_eq!(
            log.retain(small, Timestamp(10_000), &["sink"]).unwrap(),
            1,
            "too large, but 6 is not consumed"
        );
        assert_eq!(
            log.append(vec![message(Topic::Events, 9)]).unwrap(),
            7,
            "a sequence is never given twice"
        );
    });
}

#[test]
fn a_damaged_or_foreign_file_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicI64::new(1));
    let check = |name: &str, bytes: &[u8], want: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = SqliteLog::open(&path, clock(&now)).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(want), "{name}: {error}");
    };
    check("text.db", &[b'x'; 4_096], "damaged");
    let other = folder.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    check("foreign.db", &std::fs::read(&other).unwrap(), "not a prunella log database");
    let newer = folder.path().join("newer.db");
    drop(SqliteLog::open(&newer, clock(&now)).unwrap());
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    check("from-the-future.db", &std::fs::read(&newer).unwrap(), "upgrade prunella");
}

#[test]
fn many_writers_share_one_order() {
    over_each(|open, _| {
        let log = open();
        std::thread::scope(|scope| {
            for writer in 0..8u32 {
                let log = &log;
                scope.spawn(move || {
                    for n in 0..50 {
                        log.append(vec![message(Topic::Events, writer * 1_000 + n)]).unwrap();
                    }
                });
            }
        });
        let batches = log.read(&[Topic::Events], START, ALL).unwrap();
        let sequences: Vec<_> = batches.iter().map(|b| b.sequence).collect();
        assert_eq!(sequences, (1..=400).collect::<Vec<_>>());
        let mut keys: Vec<_> =
            batches.iter().flat_map(|b| b.messages.iter().map(|m| m.key.clone())).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 400);
    });
}
