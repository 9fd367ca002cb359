//! The embedded log: one SQLite file in WAL mode, one writing thread that groups commits, readers that never block it.

use super::{Batch, Commit, Log, LogError, Portion, Retention, START, Saved, frame, group};
use crate::clock::Clock;
use crate::sqlite::{self, Readers, StoreError, damaged, describe, lock, used_bytes};
use prunella_schemas::{Timestamp, Topic};
use rusqlite::{Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests waiting for the writer; a sender waits when they are full.
const WRITES_MAX: usize = 256;
/// Commits that share one transaction.
const GROUP_MAX: usize = 64;
/// Pages of write-ahead log after which SQLite moves them into the file.
const WAL_PAGES_MAX: i64 = 4_000;
/// Most that one retention drops, so that commits are not kept waiting: what remains goes the next time.
const RETAIN_BATCHES_MAX: usize = 512;
const RETAIN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Snapshots kept per reader: the newest, and one to fall back to.
const SNAPSHOTS_MAX: usize = 2;

const KIND: &str = "log";
const MIGRATIONS: &[&str] = &[include_str!("../../../schemas/sqlite/log/0001.sql")];

pub struct SqliteLog {
    readers: Readers,
    writes: Mutex<Option<SyncSender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

struct Shared {
    head: Mutex<i64>,
    grown: Condvar,
}

struct Request {
    work: Work,
    answer: SyncSender<Result<i64, LogError>>,
}

enum Work {
    Commit(Commit),
    Retain { retention: Retention, now: Timestamp, readers: Vec<String> },
}

impl SqliteLog {
    /// Opens or makes `path`. Refuses a file of another kind or of a newer build.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, LogError> {
        let connection = sqlite::open(path, KIND, MIGRATIONS)?;
        let wrong = |e| LogError::from(describe(path, &e));
        connection.pragma_update(None, "synchronous", "FULL").map_err(wrong)?;
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX).map_err(wrong)?;
        let (head, at) = newest(&connection).map_err(wrong)?;
        let shared = Arc::new(Shared { head: Mutex::new(head), grown: Condvar::new() });
        let (writes, requests) = sync_channel(WRITES_MAX);
        let writer = Writer {
            path: path.to_owned(),
            connection,
            clock,
            at,
            shared: Arc::clone(&shared),
            durable: true,
        };
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(&requests))
            .map_err(|e| LogError::Unavailable(format!("cannot start the log's writer: {e}")))?;
        Ok(SqliteLog {
            readers: Readers::new(path, KIND, MIGRATIONS),
            writes: Mutex::new(Some(writes)),
            writer: Mutex::new(Some(thread)),
            shared,
        })
    }

    fn request(&self, work: Work) -> Result<i64, LogError> {
        let stopped = || LogError::Unavailable("it is closing".into());
        let sender = lock(&self.writes).clone().ok_or_else(stopped)?;
        let (answer, answered) = sync_channel(1);
        sender.send(Request { work, answer }).map_err(|_| stopped())?;
        answered.recv().map_err(|_| stopped())?
    }
}

impl Drop for SqliteLog {
    fn drop(&mut self) {
        lock(&self.writes).take();
        if let Some(thread) = lock(&self.writer).take() {
            // The writer only ends by returning; a panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Log for SqliteLog {
    fn read(&self, topics: &[Topic], after: i64, portion: Portion) -> Result<Vec<Batch>, LogError> {
        let batches = self.readers.with(|connection| {
            let mut statement = connection.prepare_cached(&read_sql(topics))?;
            let mut rows = statement.query(params![after, portion.until])?;
            let (mut out, mut messages, mut bytes) = (Vec::new(), 0, 0);
            while let Some(row) = rows.next()? {
                let count: usize = row.get(3)?;
                let body = row.get_ref(4)?.as_blob().map_err(damaged)?;
                messages += count;
                bytes += body.len();
                if !out.is_empty() && (messages > portion.messages_max || bytes > portion.bytes_max) {
                    break;
                }
                let topic = topic_of(row.get(2)?).map_err(damaged)?;
                let messages = frame::decode(topic, body).map_err(damaged)?;
                out.push(Batch { sequence: row.get(0)?, at: Timestamp(row.get(1)?), topic, messages });
            }
            Ok(out)
        });
        Ok(batches?)
    }

    fn commit(&self, commit: Commit) -> Result<i64, LogError> {
        self.request(Work::Commit(commit))
    }

    fn position(&self, reader: &str) -> Result<i64, LogError> {
        let sql = "SELECT position FROM reader WHERE name = ?1";
        let position = self.readers.with(|c| c.query_row(sql, [reader], |r| r.get(0)).optional())?;
        Ok(position.unwrap_or(START))
    }

    fn snapshots(&self, reader: &str) -> Result<Vec<Saved>, LogError> {
        let sql = "SELECT position, bytes FROM snapshot WHERE reader = ?1 ORDER BY position DESC";
        let saved = self.readers.with(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows =
                statement.query_map([reader], |r| Ok(Saved { position: r.get(0)?, bytes: r.get(1)? }))?;
            rows.collect()
        });
        Ok(saved?)
    }

    fn head(&self) -> i64 {
        *lock(&self.shared.head)
    }

    fn wait(&self, after: i64, at_most: Duration) -> i64 {
        let waited =
            self.shared.grown.wait_timeout_while(lock(&self.shared.head), at_most, |head| *head <= after);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lag(&self, topics: &[Topic], position: i64) -> Result<u64, LogError> {
        let list = topic_list(topics);
        let sql =
            format!("SELECT COALESCE(SUM(count), 0) FROM batch WHERE sequence > ?1 AND topic IN ({list})");
        Ok(self.readers.with(|c| c.prepare_cached(&sql)?.query_row([position], |r| r.get(0)))?)
    }

    fn retain(&self, retention: Retention, now: Timestamp, readers: &[&str]) -> Result<u64, LogError> {
        let readers = readers.iter().map(|r| (*r).to_owned()).collect();
        self.request(Work::Retain { retention, now, readers }).map(i64::unsigned_abs)
    }
}

/// The one thread that writes.
struct Writer {
    path: PathBuf,
    connection: Connection,
    clock: Clock,
    /// The newest `at` given out: it never runs backwards, whatever the wall clock does.
    at: Timestamp,
    shared: Arc<Shared>,
    /// Whether `PRAGMA synchronous` is FULL now.
    durable: bool,
}

impl Writer {
    fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX {
                match requests.try_recv() {
                    Ok(next) => group.push(next),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            self.serve(group);
        }
        sqlite::fold(&self.connection);
    }

    /// Everything that waited shares one transaction and one sync. If it fails as a whole, each is tried alone, so that
    /// one oversized commit cannot fail its neighbours.
    fn serve(&mut self, group: Vec<Request>) {
        let works: Vec<&Work> = group.iter().map(|r| &r.work).collect();
        let results = match self.transact(&works) {
            Ok(sequences) => sequences.into_iter().map(Ok).collect(),
            Err(e) if works.len() == 1 => vec![Err(e)],
            Err(_) => works
                .iter()
                .map(|work| {
                    self.transact(&[work]).map(|sequences| sequences.first().copied().unwrap_or(START))
                })
                .collect::<Vec<_>>(),
        };
        for (request, result) in group.into_iter().zip(results) {
            // The asker may have gone away; its work stands all the same.
            let _ = request.answer.send(result);
        }
    }

    fn transact(&mut self, works: &[&Work]) -> Result<Vec<i64>, LogError> {
        let done = self.try_transact(works);
        let (head, results) = done.map_err(|e| LogError::from(describe(&self.path, &e)))?;
        *lock(&self.shared.head) = head;
        self.shared.grown.notify_all();
        Ok(results)
    }

    fn try_transact(&mut self, works: &[&Work]) -> rusqlite::Result<(i64, Vec<i64>)> {
        let durable = works.iter().any(|w| matches!(w, Work::Commit(c) if c.durable));
        if durable != self.durable {
            let level = if durable { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.durable = durable;
        }
        self.at = self.at.max((self.clock)());
        let mut head = *lock(&self.shared.head);
        let transaction = self.connection.transaction()?;
        let mut results = Vec::with_capacity(works.len());
        for work in works {
            match work {
                Work::Commit(commit) => {
                    head = write(&transaction, commit, self.at, head)?;
                    results.push(head);
                }
                Work::Retain { retention, now, readers } => {
                    results.push(drop_old(&transaction, *retention, *now, readers)?);
                }
            }
        }
        transaction.commit()?;
        Ok((head, results))
    }
}

/// The newest sequence ever given out, and the newest time.
fn newest(connection: &Connection) -> rusqlite::Result<(i64, Timestamp)> {
    let sql = "SELECT COALESCE(MAX(sequence), 0), COALESCE(MAX(at), 0) FROM batch";
    let (stored, at): (i64, i64) = connection.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'batch'";
    let issued: Option<i64> = connection.query_row(sql, [], |r| r.get(0)).optional()?;
    Ok((stored.max(issued.unwrap_or(START)), Timestamp(at)))
}

fn write(connection: &Connection, commit: &Commit, at: Timestamp, mut head: i64) -> rusqlite::Result<i64> {
    for (topic, messages) in group(&commit.outputs) {
        head += 1;
        let sql = "INSERT INTO batch (sequence, topic, at, count, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![head, topic_number(topic), at.0, messages.len(), frame::encode(&messages)];
        connection.prepare_cached(sql)?.execute(values)?;
    }
    let Some(reader) = &commit.reader else { return Ok(head) };
    let sql = "INSERT INTO reader (name, position) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET position = excluded.position";
    connection.prepare_cached(sql)?.execute(params![reader, commit.position])?;
    if let Some(bytes) = &commit.snapshot {
        let sql = "INSERT OR REPLACE INTO snapshot (reader, position, bytes) VALUES (?1, ?2, ?3)";
        connection.execute(sql, params![reader, commit.position, bytes])?;
        let sql = "DELETE FROM snapshot WHERE reader = ?1 AND position NOT IN \
                   (SELECT position FROM snapshot WHERE reader = ?1 ORDER BY position DESC LIMIT ?2)";
        connection.execute(sql, params![reader, SNAPSHOTS_MAX])?;
    }
    Ok(head)
}

fn drop_old(
    connection: &Connection,
    retention: Retention,
    now: Timestamp,
    readers: &[String],
) -> rusqlite::Result<i64> {
    let mut floor = i64::MAX;
    for reader in readers {
        let sql = "SELECT MIN(position) FROM (SELECT position FROM reader WHERE name = ?1 \
                   UNION ALL SELECT position FROM snapshot WHERE reader = ?1)";
        let needed: Option<i64> = connection.query_row(sql, [reader], |r| r.get(0))?;
        floor = floor.min(needed.unwrap_or(START));
    }
    let excess = used_bytes(connection)?.saturating_sub(retention.bytes_max);
    let cutoff = now.plus_ms(-retention.age_ms_max);
    // Neither sequence nor time runs backwards, so what goes is always the head of the log.
    let (mut last, mut bytes) = (START, 0);
    {
        let sql =
            "SELECT sequence, at, LENGTH(bytes) FROM batch WHERE sequence <= ?1 ORDER BY sequence LIMIT ?2";
        let mut statement = connection.prepare_cached(sql)?;
        let mut oldest = statement.query(params![floor, RETAIN_BATCHES_MAX])?;
        while let Some(row) = oldest.next()? {
            let is_old = row.get::<_, i64>(1)? < cutoff.0;
            if bytes >= RETAIN_BYTES_MAX || !(is_old || bytes < excess) {
                break;
            }
            last = row.get(0)?;
            bytes += row.get::<_, u64>(2)?;
        }
    }
    let dropped = connection.execute("DELETE FROM batch WHERE sequence <= ?1", [last])?;
    Ok(i64::try_from(dropped).unwrap_or(i64::MAX))
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Full { .. } => LogError::Full(text),
            StoreError::Corrupt { .. } | StoreError::OtherKind { .. } => LogError::Corrupt(text),
            StoreError::Unavailable { .. }
            | StoreError::Fenced { .. }
            | StoreError::Newer { .. }
            | StoreError::Invalid(_) => LogError::Unavailable(text),
        }
    }
}

/// The number a topic is stored under. Never change one: old files hold them.
fn topic_number(topic: Topic) -> i64 {
    match topic {
        Topic::Records => 1,
        Topic::Events => 2,
        Topic::Scores => 3,
        Topic::Signals => 4,
        Topic::Findings => 5,
        Topic::Risk => 6,
        Topic::Plans => 7,
        Topic::Commands => 8,
        Topic::Receipts => 9,
        Topic::Dlq => 10,
        Topic::Manifest => 11,
    }
}

fn topic_of(number: i64) -> Result<Topic, LogError> {
    Topic::ALL
        .into_iter()
        .find(|t| topic_number(*t) == number)
        .ok_or_else(|| LogError::Corrupt(format!("a batch of unknown topic {number}")))
}

/// Several topics are read in the order of the rows (a `+` hides a column from the index): by the index, all that waits
/// would be sorted, bodies and all, for the few batches of one portion.
fn read_sql(topics: &[Topic]) -> String {
    let (by, list) = (if topics.len() == 1 { "topic" } else { "+topic" }, topic_list(topics));
    format!(
        "SELECT sequence, at, topic, count, bytes FROM batch WHERE sequence > ?1 AND sequence <= ?2 AND {by} IN ({list}) \
         ORDER BY sequence"
    )
}

fn topic_list(topics: &[Topic]) -> String {
    topics.iter().map(|t| topic_number(*t).to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_schemas::{Id, Posted};

    #[test]
    fn a_read_never_sorts_what_waits() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        let check = |topics: &[Topic]| {
            let sql = format!("EXPLAIN QUERY PLAN {}", read_sql(topics));
            let mut statement = connection.prepare(&sql).unwrap();
            let steps = statement.query_map(params![0, i64::MAX], |r| r.get::<_, String>(3)).unwrap();
            let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
            assert!(steps.len() == 1 && steps[0].starts_with("SEARCH"), "{topics:?}: {steps:?}");
        };
        check(&[Topic::Records]);
        check(&[Topic::Findings, Topic::Commands]);
        check(&crate::sink::TOPICS);
    }

    #[test]
    fn retention_comes_in_portions_until_nothing_is_left_to_drop() {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(&folder.path().join("log.db"), Arc::new(|| Timestamp(1))).unwrap();
        let (topic, version, id, origin) = (Topic::Manifest, 1, Id::default(), Timestamp::ZERO);
        let posted = Posted { topic, version, id, key: String::new(), origin, bytes: Vec::new() };
        for _ in 0..RETAIN_BATCHES_MAX + 8 {
            log.commit(Commit { outputs: vec![posted.clone()], ..Commit::default() }).unwrap();
        }
        let (reader, position) = (Some("r".to_owned()), log.head());
        log.commit(Commit { reader, position, ..Commit::default() }).unwrap();
        let retention = Retention { age_ms_max: 1, bytes_max: u64::MAX };
        let dropped: Vec<u64> =
            (0..3).map(|_| log.retain(retention, Timestamp(9), &["r"]).unwrap()).collect();
        assert_eq!(dropped, [RETAIN_BATCHES_MAX as u64, 8, 0]);
    }
}
