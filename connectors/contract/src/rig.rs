//! What stands behind a source in the suite: the real loop, the real intake over a log in memory, cursors in a file.

use async_trait::async_trait;
use prunella_runtime::clock;
use prunella_runtime::connect::{
    ConnectError, Counts, Cursors, Feed, Ground, Planned, SqliteCursors, Standing, Tally,
};
use prunella_runtime::executor::KillSwitch;
use prunella_runtime::intake::LogIntake;
use prunella_runtime::log::memory::MemoryLog;
use prunella_runtime::log::{Log, Portion, START};
use prunella_schemas::port::{Checkup, Cursor, Page, PortError, Source, SourceError};
use prunella_schemas::{DeadLetter, Message, Record, Timestamp, Topic};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

/// The world behind the sources of one test.
pub struct Rig {
    log: Arc<dyn Log>,
    directory: TempDir,
    ground: Ground,
    /// Cursors are not kept while it is set, as if the process had been killed before.
    dies_before_the_cursor: Arc<AtomicBool>,
    /// The provider is not told while it is set, as if the process had been killed before.
    pub dies_before_the_acknowledgement: Arc<AtomicBool>,
}

impl Default for Rig {
    fn default() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(clock::wall()));
        let switch = KillSwitch::in_directory(directory.path());
        let intake = Arc::new(LogIntake::open(Arc::clone(&log), clock::wall(), switch).unwrap());
        let dies = Arc::new(AtomicBool::new(false));
        let cursors = SqliteCursors::open(directory.path()).unwrap();
        let cursors = Arc::new(Mortal { inner: cursors, dies: Arc::clone(&dies) });
        let ground = Ground { intake, cursors, clock: clock::wall() };
        Rig {
            log,
            directory,
            ground,
            dies_before_the_cursor: dies,
            dies_before_the_acknowledgement: Arc::default(),
        }
    }
}

impl Rig {
    /// Reads until there is nothing more, as a process that has just started.
    pub async fn run(&self, source: Arc<dyn Source>) -> Result<Tally, ConnectError> {
        self.run_counted(source).await.map(|(tally, _)| tally)
    }

    pub async fn run_counted(&self, source: Arc<dyn Source>) -> Result<(Tally, Standing), ConnectError> {
        let dies = Arc::clone(&self.dies_before_the_acknowledgement);
        let source = Arc::new(Deaf { inner: source, dies });
        let counts = Arc::new(Counts::default());
        let planned = Planned { source, every_ms: Some(0) };
        let mut feed = Feed::new(planned, self.ground.clone(), Arc::clone(&counts));
        let mut total = Tally::default();
        feed.run_once(&mut total).await?;
        Ok((total, counts.standing()))
    }

    /// From now on, a process ends after a page is durable and before its cursor is.
    pub fn kill_before_the_cursor(&self, kill: bool) {
        self.dies_before_the_cursor.store(kill, Ordering::Relaxed);
    }

    /// The length of the cursor as it is kept, in bytes.
    pub fn cursor_bytes(&self) -> usize {
        SqliteCursors::rows(self.directory.path()).unwrap().iter().map(|row| row.cursor.len()).sum()
    }

    /// The bodies of all records on the log, in its order.
    pub fn records(&self) -> Vec<String> {
        let bodies = self.read::<Record>(Topic::Records).into_iter().map(|record| record.body);
        bodies.map(|body| String::from_utf8(body).unwrap()).collect()
    }

    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.read(Topic::Dlq)
    }

    fn read<M: Message>(&self, topic: Topic) -> Vec<M> {
        let portion = Portion { messages_max: 1_000, bytes_max: 1 << 30, until: i64::MAX };
        let (mut after, mut found) = (START, Vec::new());
        loop {
            let batches = self.log.read(&[topic], after, portion).unwrap();
            let Some(last) = batches.last() else { return found };
            after = last.sequence;
            let messages = batches.iter().flat_map(|batch| &batch.messages);
            found.extend(messages.map(|posted| M::decode(M::VERSION, &posted.bytes).unwrap()));
        }
    }
}

struct Mortal {
    inner: SqliteCursors,
    dies: Arc<AtomicBool>,
}

#[async_trait]
impl Cursors for Mortal {
    async fn load(&self, name: &str) -> Result<Cursor, PortError> {
        self.inner.load(name).await
    }

    async fn store(&self, name: &str, cursor: &Cursor, tally: &Tally) -> Result<(), PortError> {
        match self.dies.load(Ordering::Relaxed) {
            true => Err(PortError::Unavailable("killed before the cursor was kept".into())),
            false => self.inner.store(name, cursor, tally).await,
        }
    }

    async fn fails(&self, name: &str, problem: &str, now: Timestamp) -> Result<(), PortError> {
        self.inner.fails(name, problem, now).await
    }
}

/// A source that cannot be told anything while its process is dead.
struct Deaf {
    inner: Arc<dyn Source>,
    dies: Arc<AtomicBool>,
}

#[async_trait]
impl Source for Deaf {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn read(&self, cursor: &Cursor) -> Result<Page, SourceError> {
        self.inner.read(cursor).await
    }

    async fn acknowledge(&self, cursor: &Cursor) -> Result<(), SourceError> {
        if self.dies.load(Ordering::Relaxed) {
            return Err(SourceError::Unavailable("killed before the provider was told".into()));
        }
        self.inner.acknowledge(cursor).await
    }

    async fn check(&self) -> Checkup {
        self.inner.check().await
    }
}
