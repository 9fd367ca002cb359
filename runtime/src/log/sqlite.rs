//! The embedded log: one SQLite file in WAL mode, one writing thread that groups commits, readers that never block it.

use super::{Batch, Commit, Log, LogError, Portion, Retention, START, Saved, frame, group};
use crate::clock::Clock;
use prunella_schemas::{Timestamp, Topic};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests waiting for the writer; a sender waits when they are full.
const WRITES_MAX: usize = 256;
/// Commits that share one transaction.
const GROUP_MAX: usize = 64;
/// Connections kept for readers; one more is opened and closed again when they are all in use.
const READERS_MAX: usize = 8;
/// Snapshots kept per reader: the newest, and one to fall back to.
const SNAPSHOTS_MAX: usize = 2;

const SCHEMA: &str = include_str!("../../../schemas/sqlite/log/0001.sql");
/// `PRAGMA application_id`: "PrLg".
const APPLICATION_ID: i32 = 0x5072_4c67;
const SCHEMA_VERSION: i32 = 1;

pub struct SqliteLog {
    path: PathBuf,
    writes: Mutex<Option<SyncSender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
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
        let connection = open_writer(path)?;
        let newest: (i64, i64) = connection
            .query_row("SELECT COALESCE(MAX(sequence), 0), COALESCE(MAX(at), 0) FROM batch", [], |r| Ok((r.get(0)?, r.get(1)?)))
            .map_err(error)?;
        let issued: Option<i64> = connection
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'batch'", [], |r| r.get(0))
            .optional()
            .map_err(error)?;
        let head = newest.0.max(issued.unwrap_or(START));
        let shared = Arc::new(Shared { head: Mutex::new(head), grown: Condvar::new() });
        let (writes, requests) = sync_channel(WRITES_MAX);
        let writer = Writer { connection, clock, at: Timestamp(newest.1), shared: Arc::clone(&shared), durable: true };
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(&requests))
            .map_err(|e| LogError::Unavailable(format!("cannot start the log's writer: {e}")))?;
        Ok(SqliteLog {
            path: path.to_owned(),
            writes: Mutex::new(Some(writes)),
            writer: Mutex::new(Some(thread)),
            readers: Mutex::default(),
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

    fn with_reader<T>(&self, query: impl FnOnce(&Connection) -> Result<T, LogError>) -> Result<T, LogError> {
        let pooled = lock(&self.readers).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => open_reader(&self.path)?,
        };
        let result = query(&connection);
        let mut readers = lock(&self.readers);
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        result
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
        self.with_reader(|connection| {
            let sql = format!(
                "SELECT sequence, at, topic, count, bytes FROM batch WHERE sequence > ?1 AND sequence <= ?2 AND topic IN ({}) \
                 ORDER BY sequence",
                topic_list(topics)
            );
            let mut statement = connection.prepare_cached(&sql).map_err(error)?;
            let mut rows = statement.query(params![after, portion.until]).map_err(error)?;
            let (mut out, mut messages, mut bytes) = (Vec::new(), 0, 0);
            while let Some(row) = rows.next().map_err(error)? {
                let count: usize = row.get(3).map_err(error)?;
                let body = row.get_ref(4).map_err(error)?.as_blob().map_err(|e| LogError::Corrupt(e.to_string()))?;
                messages += count;
                bytes += body.len();
                if !out.is_empty() && (messages > portion.messages_max || bytes > portion.bytes_max) {
                    break;
                }
                let number: i64 = row.get(2).map_err(error)?;
                let topic = topic_of(number)?;
                let at = Timestamp(row.get(1).map_err(error)?);
                out.push(Batch { sequence: row.get(0).map_err(error)?, at, topic, messages: frame::decode(topic, body)? });
            }
            Ok(out)
        })
    }

    fn commit(&self, commit: Commit) -> Result<i64, LogError> {
        self.request(Work::Commit(commit))
    }

    fn position(&self, reader: &str) -> Result<i64, LogError> {
        self.with_reader(|connection| {
            let sql = "SELECT position FROM reader WHERE name = ?1";
            let position = connection.query_row(sql, [reader], |r| r.get(0)).optional().map_err(error)?;
            Ok(position.unwrap_or(START))
        })
    }

    fn snapshots(&self, reader: &str) -> Result<Vec<Saved>, LogError> {
        self.with_reader(|connection| {
            let sql = "SELECT position, bytes FROM snapshot WHERE reader = ?1 ORDER BY position DESC";
            let mut statement = connection.prepare_cached(sql).map_err(error)?;
            let rows = statement.query_map([reader], |r| Ok(Saved { position: r.get(0)?, bytes: r.get(1)? })).map_err(error)?;
            rows.collect::<Result<_, _>>().map_err(error)
        })
    }

    fn head(&self) -> i64 {
        *lock(&self.shared.head)
    }

    fn wait(&self, after: i64, at_most: Duration) -> i64 {
        let waited = self.shared.grown.wait_timeout_while(lock(&self.shared.head), at_most, |head| *head <= after);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lag(&self, topics: &[Topic], position: i64) -> Result<u64, LogError> {
        self.with_reader(|connection| {
            let sql = format!(
                "SELECT COALESCE(SUM(count), 0) FROM batch WHERE sequence > ?1 AND topic IN ({})",
                topic_list(topics)
            );
            connection.prepare_cached(&sql).and_then(|mut s| s.query_row([position], |r| r.get(0))).map_err(error)
        })
    }

    fn retain(&self, retention: Retention, now: Timestamp, readers: &[&str]) -> Result<u64, LogError> {
        let readers = readers.iter().map(|r| (*r).to_owned()).collect();
        self.request(Work::Retain { retention, now, readers }).map(i64::unsigned_abs)
    }
}

/// The one thread that writes.
struct Writer {
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
                .map(|work| self.transact(&[work]).map(|sequences| sequences.first().copied().unwrap_or(START)))
                .collect::<Vec<_>>(),
        };
        for (request, result) in group.into_iter().zip(results) {
            // The asker may have gone away; its work stands all the same.
            let _ = request.answer.send(result);
        }
    }

    fn transact(&mut self, works: &[&Work]) -> Result<Vec<i64>, LogError> {
        let durable = works.iter().any(|w| matches!(w, Work::Commit(c) if c.durable));
        if durable != self.durable {
            let level = if durable { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", level).map_err(error)?;
            self.durable = durable;
        }
        self.at = self.at.max((self.clock)());
        let mut head = *lock(&self.shared.head);
        let transaction = self.connection.transaction().map_err(error)?;
        let mut results = Vec::with_capacity(works.len());
        for work in works {
            match work {
                Work::Commit(commit) => {
                    head = write(&transaction, commit, self.at, head)?;
                    results.push(head);
                }
                Work::Retain { retention, now, readers } => results.push(drop_old(&transaction, *retention, *now, readers)?),
            }
        }
        transaction.commit().map_err(error)?;
        *lock(&self.shared.head) = head;
        self.shared.grown.notify_all();
        Ok(results)
    }
}

fn write(connection: &Connection, commit: &Commit, at: Timestamp, mut head: i64) -> Result<i64, LogError> {
    for (topic, messages) in group(commit.outputs.clone()) {
        head += 1;
        let sql = "INSERT INTO batch (sequence, topic, at, count, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = connection.prepare_cached(sql).map_err(error)?;
        insert.execute(params![head, topic_number(topic), at.0, messages.len(), frame::encode(&messages)]).map_err(error)?;
    }
    let Some(reader) = &commit.reader else { return Ok(head) };
    let sql = "INSERT INTO reader (name, position) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET position = excluded.position";
    connection.prepare_cached(sql).and_then(|mut s| s.execute(params![reader, commit.position])).map_err(error)?;
    if let Some(bytes) = &commit.snapshot {
        let sql = "INSERT OR REPLACE INTO snapshot (reader, position, bytes) VALUES (?1, ?2, ?3)";
        connection.execute(sql, params![reader, commit.position, bytes]).map_err(error)?;
        let sql = "DELETE FROM snapshot WHERE reader = ?1 AND position NOT IN \
                   (SELECT position FROM snapshot WHERE reader = ?1 ORDER BY position DESC LIMIT ?2)";
        connection.execute(sql, params![reader, SNAPSHOTS_MAX]).map_err(error)?;
    }
    Ok(head)
}

fn drop_old(connection: &Connection, retention: Retention, now: Timestamp, readers: &[String]) -> Result<i64, LogError> {
    let mut floor = i64::MAX;
    for reader in readers {
        let sql = "SELECT MIN(position) FROM (SELECT position FROM reader WHERE name = ?1 \
                   UNION ALL SELECT position FROM snapshot WHERE reader = ?1)";
        let needed: Option<i64> = connection.query_row(sql, [reader], |r| r.get(0)).map_err(error)?;
        floor = floor.min(needed.unwrap_or(START));
    }
    let bytes: i64 =
        connection.query_row("SELECT COALESCE(SUM(LENGTH(bytes)), 0) FROM batch", [], |r| r.get(0)).map_err(error)?;
    let excess = bytes.saturating_sub(i64::try_from(retention.bytes_max).unwrap_or(i64::MAX)).max(0);
    let sql = "DELETE FROM batch WHERE sequence <= ?1 AND (at < ?2 OR sequence IN ( \
               SELECT sequence FROM (SELECT sequence, SUM(LENGTH(bytes)) OVER (ORDER BY sequence) - LENGTH(bytes) AS before FROM batch) \
               WHERE before < ?3))";
    let cutoff = now.plus_ms(-retention.age_ms_max);
    let dropped = connection.execute(sql, params![floor, cutoff.0, excess]).map_err(error)?;
    Ok(i64::try_from(dropped).unwrap_or(i64::MAX))
}

fn open_writer(path: &Path) -> Result<Connection, LogError> {
    let at = |e: rusqlite::Error| match error(e) {
        LogError::Full(e) => LogError::Full(format!("{}: {e}", path.display())),
        LogError::Corrupt(e) => LogError::Corrupt(format!("{}: {e}", path.display())),
        LogError::Unavailable(e) => LogError::Unavailable(format!("{}: {e}", path.display())),
    };
    let mut connection = Connection::open(path).map_err(at)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(at)?;
    let kind: i32 = connection.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(at)?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(at)?;
    if kind != 0 && kind != APPLICATION_ID {
        return Err(LogError::Corrupt(format!("{}: it is another program's database", path.display())));
    }
    if version > SCHEMA_VERSION {
        let detail = format!("{}: written by a newer prunella (format {version}); upgrade prunella", path.display());
        return Err(LogError::Unavailable(detail));
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(at)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(at)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000).map_err(at)?;
    if version < SCHEMA_VERSION {
        let transaction = connection.transaction().map_err(at)?;
        transaction.execute_batch(SCHEMA).map_err(at)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(at)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(at)?;
        transaction.commit().map_err(at)?;
    }
    Ok(connection)
}

fn open_reader(path: &Path) -> Result<Connection, LogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(error)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(error)?;
    Ok(connection)
}

fn error(e: rusqlite::Error) -> LogError {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, DiskFull, NotADatabase, SystemIoFailure};
    match e.sqlite_error_code() {
        // SQLite reports a full file system as an I/O error when the write that fails is not its own page.
        Some(DiskFull) => LogError::Full(e.to_string()),
        Some(DatabaseCorrupt | NotADatabase) => LogError::Corrupt(e.to_string()),
        Some(CannotOpen | SystemIoFailure) | Some(_) | None => LogError::Unavailable(e.to_string()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

fn topic_list(topics: &[Topic]) -> String {
    topics.iter().map(|t| topic_number(*t).to_string()).collect::<Vec<_>>().join(",")
}
