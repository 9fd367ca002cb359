//! Distributed mode: some roles in this process, each a stage over Kafka on threads of its own.

#[cfg(feature = "postgres")]
mod respond;

#[cfg(feature = "postgres")]
pub use respond::Response;

use crate::clock;
use crate::enrich::{self, Keeper};
use crate::log::LogError;
use crate::log::kafka::{KafkaFeed, KafkaPump, Settings};
use crate::metrics::{self, Counts};
use crate::sqlite::lock;
use prunella_detect::correlate::Correlate;
use prunella_ingest::Ingest;
use prunella_schemas::port::Live;
use prunella_schemas::{Stage, Topic};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::broadcast;

/// How long a role waits before it starts again after the world refused it.
const RESTART: Duration = Duration::from_millis(500);
/// The pollers' stacks.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// A stage that runs as a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Ingest,
    Detect,
    Correlate,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Ingest => "ingest",
            Role::Detect => "detect",
            Role::Correlate => "correlate",
        }
    }
}

/// The roles of a process while they run.
pub struct Roles {
    pub vitals: Vitals,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Roles {
    /// Starts every role on a thread of its own. One that the world refuses is started again until `stop`.
    pub fn start(
        settings: &Settings,
        detect: &prunella_detect::Config,
        tables: Option<Keeper>,
        roles: &[Role],
    ) -> std::io::Result<Self> {
        let (stop, vitals) = (Arc::default(), Vitals::default());
        let mut started = Roles { vitals, stop, threads: Vec::new() };
        let shelf = tables.as_ref().map(Keeper::shelf).unwrap_or_default();
        if let Some(keeper) = tables {
            started.spawn_keeper(keeper)?;
        }
        for role in roles {
            match role {
                Role::Ingest => {
                    let shelf = shelf.clone();
                    let make = move || Ingest::enriching(shelf.clone());
                    started.spawn(KafkaPump::new(settings.clone(), make))?;
                }
                Role::Detect => {
                    let config = detect.clone();
                    let make = move || prunella_detect::Detect::new(config.clone());
                    started.spawn(KafkaPump::new(settings.clone(), make))?;
                }
                Role::Correlate => {
                    let config = detect.correlate.clone();
                    let mut settings = settings.clone();
                    settings.inputs.insert(Topic::Findings, settings.findings_by_tenant());
                    let pump = KafkaPump::new(settings, move || Correlate::new(config.clone()));
                    started.spawn(pump.with_ticks(clock::wall(), Correlate::next_due))?;
                }
            }
        }
        Ok(started)
    }

    /// Lets every lane end its step and save itself, and waits for that. Blocks for seconds.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a role had panicked");
            }
        }
    }

    /// Starts the role `sink` beside the others.
    #[cfg(feature = "clickhouse")]
    pub fn start_sink(&mut self, sink: crate::sink::kafka::KafkaSink) -> std::io::Result<()> {
        let troubles = sink.troubles();
        lock(&self.vitals.others).push(Arc::new(move || troubles.all()));
        self.spawn_run(sink.name(), sink.counts(), move |stop| sink.run(stop))
    }

    /// Shows people what happens, while somebody looks.
    pub fn start_feed(&mut self, settings: &Settings, live: broadcast::Sender<Live>) -> std::io::Result<()> {
        let feed = KafkaFeed::new(settings.clone(), live);
        self.spawn_run("feed", feed.counts(), move |stop| feed.run(stop))
    }

    fn spawn<S: Stage + 'static, F: Fn() -> S + Send + Sync + 'static>(
        &mut self,
        pump: KafkaPump<S, F>,
    ) -> std::io::Result<()> {
        self.spawn_run(pump.name(), pump.counts(), move |stop| pump.run(stop))
    }

    /// Keeps the tables of the role `ingest` fresh.
    fn spawn_keeper(&mut self, mut keeper: Keeper) -> std::io::Result<()> {
        let (stop, vitals) = (Arc::clone(&self.stop), self.vitals.clone());
        let body = move || {
            keeper.run(&stop, |looked| match looked {
                Ok(()) => vitals.clear(enrich::KEEPER),
                Err(e) => {
                    tracing::warn!(error = %e, "the tables from before stay in use");
                    vitals.report(enrich::KEEPER, format!("{e}; the tables from before stay in use"));
                }
            });
        };
        self.threads.push(std::thread::Builder::new().name(enrich::KEEPER.into()).spawn(body)?);
        Ok(())
    }

    fn spawn_run(
        &mut self,
        name: &'static str,
        counts: Arc<Counts>,
        run: impl Fn(&AtomicBool) -> Result<(), LogError> + Send + 'static,
    ) -> std::io::Result<()> {
        let (stop, vitals) = (Arc::clone(&self.stop), self.vitals.clone());
        lock(&vitals.stages).push((name, counts));
        let body = move || {
            while !stop.load(Ordering::Relaxed) {
                vitals.clear(name);
                // A panic is a defect of ours. It must be seen, and must not take the role away for good.
                let worked = catch_unwind(AssertUnwindSafe(|| run(&stop)));
                let panicked =
                    |_| Err(LogError::Unavailable("it panicked; please report this with the log".into()));
                if let Err(e) = worked.unwrap_or_else(panicked) {
                    tracing::error!(stage = name, error = %e, "stopped by the world; starting again");
                    vitals.report(name, e.to_string());
                    std::thread::sleep(RESTART);
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(body)?;
        self.threads.push(thread);
        Ok(())
    }
}

/// A stage and its counts.
type Watched = (&'static str, Arc<Counts>);

/// How the roles are, for probes and scrapers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Vitals {
    stages: Arc<Mutex<Vec<Watched>>>,
    problems: Arc<Mutex<BTreeMap<&'static str, String>>>,
    /// Who knows more than that it had to start again.
    others: Arc<Mutex<Vec<Witness>>>,
    /// Who has more for a scrape than the counts of a stage.
    scrapes: Arc<Mutex<Vec<Scrape>>>,
}

type Witness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;
type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

impl Vitals {
    /// What keeps each role from working now.
    pub fn problems(&self) -> Vec<String> {
        let stopped = lock(&self.problems);
        let stopped = stopped.iter().map(|(stage, problem)| format!("{stage}: {problem}"));
        stopped.chain(lock(&self.others).iter().flat_map(|tell| tell())).collect()
    }

    /// What each stage of this process has before it.
    pub fn lag(&self) -> BTreeMap<String, u64> {
        let lag = |(name, counts): &Watched| ((*name).to_owned(), counts.lag.load(Ordering::Relaxed));
        lock(&self.stages).iter().map(lag).collect()
    }

    /// The text of a scrape.
    pub fn metrics(&self) -> String {
        let stages = lock(&self.stages);
        let borrowed: Vec<(&str, &Counts)> =
            stages.iter().map(|(name, counts)| (*name, counts.as_ref())).collect();
        let more = lock(&self.scrapes);
        more.iter().fold(metrics::render(&borrowed), |text, scrape| text + &scrape())
    }

    /// Adds to every scrape what `scrape` says.
    #[cfg(feature = "postgres")]
    fn tells(&self, scrape: impl Fn() -> String + Send + Sync + 'static) {
        lock(&self.scrapes).push(Arc::new(scrape));
    }

    fn report(&self, stage: &'static str, problem: String) {
        lock(&self.problems).insert(stage, problem);
    }

    fn clear(&self, stage: &'static str) {
        lock(&self.problems).remove(stage);
    }
}
