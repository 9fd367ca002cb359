//! Embedded mode: every stage in this process, over SQLite files in one directory, each on a thread of its own.

mod census;
mod directory;
mod health;

pub use self::health::EmbeddedHealth;

pub(crate) use self::directory::DirectoryLock;
use crate::clock::Clock;
use crate::effect::{self, preflight};
use crate::enrich::{self, EnrichError, Keeper};
use crate::executor::{self, Deeds, Executor, ExecutorError, KillSwitch, LogPlans, Means};
use crate::intake::{LogIntake, given_again};
use crate::ledger::{Entries, LedgerReader, LedgerStore, Sequencer};
use crate::log::sqlite::SqliteLog;
use crate::log::{Log, LogError, Retention};
use crate::pump::Pump;
use crate::sink::{self, Sink, SinkError};
use crate::sqlite::StoreError;
use crate::state::{Past, SqliteState};
use crate::store::{SHED_ROWS_MAX, SqliteStore, StoreWriter};
use crate::webhook::{self, Deliverer, Endpoint, Links, Outbox, WebhookEffector, WebhookError};
use prunella_detect::correlate::Correlate;
use prunella_ingest::Ingest;
use prunella_respond::Respond;
use prunella_schemas::port::{Effector, Live, Store};
use prunella_schemas::{Command, DeadLetter, Inbound, Message, Posted, Stage, Timestamp, Topic};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// In the data directory: the address of the running API, and the process that serves it.
pub const ENDPOINT_FILE: &str = "endpoint";
pub const PID_FILE: &str = "pid";

/// Live messages kept for a reader that falls behind; beyond it the reader skips.
const LIVE_MAX: usize = 1_024;
/// How long a stage waits before it starts again after the world refused it.
const RESTART_MS: u64 = 500;
/// A tick for the same due time is posted again after this: the wall clock may have been set back.
const TICK_AGAIN_MS: i64 = 1_000;
/// Time between two rounds of housekeeping.
const HOUSEKEEPING_MS: i64 = 60_000;
/// After a retention that dropped so many batches there may be more to drop at once.
const RETAIN_AGAIN_BATCHES: u64 = 8;
/// Dead letters given again in one batch; each may be as large as a record.
const REPLAY_MESSAGES_MAX: usize = 64;
/// The stages' stacks; serde_json recurses at most RECORD_DEPTH_MAX deep.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// What an embedded pipeline is made of.
pub struct Settings {
    pub data_dir: PathBuf,
    pub enrich: prunella_ingest::enrich::Config,
    pub detect: prunella_detect::Config,
    pub respond: prunella_respond::Config,
    pub playbooks: prunella_respond::Playbooks,
    pub webhooks: Vec<Endpoint>,
    /// What else can be acted on, beside our own state and whom we tell.
    pub effectors: Vec<Arc<dyn Effector>>,
    /// Where people reach the API; links in messages start with it. `None`: no links.
    pub public_url: Option<String>,
    pub retention: Retention,
    pub clock: Clock,
}

/// Why a pipeline did not start. Nothing runs then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot use the data directory `{path}`: {detail}")]
    DataDir { path: String, detail: String },
    #[error("another prunella runs on `{0}`; stop it, or give another --data-dir")]
    Busy(String),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Enrich(#[from] EnrichError),
    #[error(transparent)]
    Respond(#[from] prunella_respond::Error),
    #[error("cannot start a thread: {0}")]
    Thread(String),
}

/// A running pipeline, and the ports to it.
pub struct Embedded {
    pub log: Arc<dyn Log>,
    pub store: Arc<SqliteStore>,
    pub state: Arc<SqliteState>,
    pub ledger: Arc<LedgerReader>,
    pub intake: LogIntake,
    pub live: broadcast::Sender<Live>,
    pub health: EmbeddedHealth,
    /// By which people approve, if there are any.
    pub links: Option<Arc<Links>>,
    stop: Arc<AtomicBool>,
    stop_async: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    deliveries: tokio::task::JoinHandle<()>,
    _directory: DirectoryLock,
}

impl Embedded {
    /// Opens every file, resumes every stage, and lets them run. `runtime` carries out orders and deliveries.
    pub fn start(settings: Settings, runtime: &tokio::runtime::Handle) -> Result<Self, StartError> {
        let directory = DirectoryLock::take(&settings.data_dir)?;
        let file = |name: &str| settings.data_dir.join(name);
        let clock = Arc::clone(&settings.clock);
        let log: Arc<dyn Log> = Arc::new(SqliteLog::open(&file("log.db"), Arc::clone(&clock))?);
        let writer = StoreWriter::open(&file("store.db"))?;
        let store = Arc::new(SqliteStore::open(&file("store.db"))?);
        let ledger = LedgerStore::open(&settings.data_dir)?;
        let state = Arc::new(state(&settings.data_dir, &ledger)?);
        let reader = Arc::new(ledger.reader());
        let kill_switch = KillSwitch::in_directory(&settings.data_dir);
        let intake = LogIntake::open(Arc::clone(&log), Arc::clone(&clock), kill_switch.clone())?
            .with_store(Arc::clone(&store));
        let (live, _) = broadcast::channel(LIVE_MAX);
        let (stop_async, stopped) = watch::channel(false);
        let outbox = Outbox::open(&file("outbox.db"), Arc::clone(&clock))?;
        let links = links(&settings)?;
        let deliverer = Deliverer::new(outbox.clone(), settings.webhooks, links.clone())?;
        let seen: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let message = |p: &'static str| WebhookEffector::new(outbox.clone(), p, deliverer.endpoints(p));
        let mut effectors = effect::ours(&(Arc::clone(&state) as _), &seen, webhook::PROVIDERS.map(message));
        effectors.extend(effect::witnessed(settings.effectors, &seen));
        let lacking = runtime.block_on(preflight::missing(&effectors, &settings.playbooks.calls()));
        let sink = Sink::open(Arc::clone(&log), writer, live.clone())?;
        let health =
            EmbeddedHealth::new(Arc::clone(&log), sink.position(), Arc::clone(&clock), kill_switch.clone());
        health.lacks(&lacking);
        let ledger = Arc::new(Mutex::new(ledger));
        let stop = Arc::new(AtomicBool::new(false));
        let mut crew = Crew { stop: Arc::clone(&stop), health: health.clone(), threads: Vec::new() };
        let plans = Arc::new(LogPlans(Arc::clone(&log)));
        let means = Means { effectors, kill_switch, store: Some(seen), deeds: Arc::<Deeds>::default() };
        let executor = Executor::open(plans, ledger, means, Arc::clone(&clock), runtime.clone())?;
        // Refused here, before anything runs, and only here: what starts once starts always.
        Respond::new(settings.respond.clone(), settings.playbooks.clone())?;
        crew.start_executor(executor)?;
        crew.start_sink(sink, settings.retention)?;
        let (config, playbooks) = (settings.respond, settings.playbooks);
        let respond = move || Respond::new(config.clone(), playbooks.clone()).map_err(|e| e.to_string());
        crew.start_stage(&log, respond, tick(Arc::clone(&clock), Respond::next_due))?;
        let (detect, correlate) = (settings.detect.clone(), settings.detect.correlate);
        let correlate = move || Ok(Correlate::new(correlate.clone()));
        crew.start_stage(&log, correlate, tick(Arc::clone(&clock), Correlate::next_due))?;
        crew.start_stage(&log, move || Ok(prunella_detect::Detect::new(detect.clone())), || |_, _| {})?;
        let keeper = Keeper::open(settings.enrich, &settings.data_dir, Arc::clone(&clock))?;
        crew.start_ingest(&log, keeper)?;
        crew.start_housekeeping(&log, outbox, settings.retention, clock)?;
        crew.start_census(&log, Arc::clone(&store), runtime.clone())?;
        let deliveries = runtime.spawn(deliverer.run(stopped));
        let (threads, ledger) = (crew.threads, reader);
        Ok(Embedded {
            log,
            store,
            state,
            ledger,
            intake,
            live,
            health,
            links,
            stop,
            stop_async,
            threads,
            deliveries,
            _directory: directory,
        })
    }

    /// Stops every stage after its current step, saves what it knows, and waits for it.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        // No receiver left means that deliveries have ended already.
        let _ = self.stop_async.send(true);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a stage had panicked");
                }
            }
        });
        if joined.await.is_err() || self.deliveries.await.is_err() {
            tracing::error!("a task was cut short while stopping");
        }
    }
}

/// Posts a tick when a stage has something due, and again when the stage did not take it as such.
fn tick<S: 'static>(
    clock: Clock,
    next_due: fn(&S) -> Option<Timestamp>,
) -> impl Fn() -> TickFn<S> + Send + 'static {
    move || {
        let (clock, mut posted) = (Arc::clone(&clock), (Timestamp::ZERO, Timestamp::ZERO));
        Box::new(move |stage: &S, log: &dyn Log| {
            let (now, Some(due)) = (clock(), next_due(stage)) else { return };
            let is_answered = posted.0 != due || now.since_ms(posted.1) >= TICK_AGAIN_MS;
            if due <= now && is_answered {
                match log.append(vec![Posted::new(&Command::Tick { at: now }, Timestamp::ZERO)]) {
                    Ok(_) => posted = (due, now),
                    Err(e) => tracing::warn!(error = %e, "a tick could not be written; trying again"),
                }
            }
        })
    }
}

type TickFn<S> = Box<dyn FnMut(&S, &dyn Log) + Send>;

/// The threads of a pipeline while it is put together.
struct Crew {
    stop: Arc<AtomicBool>,
    health: EmbeddedHealth,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Runs `work` on a thread until told to stop; starts it again after a failure, and says so in the health.
    fn start(
        &mut self,
        name: &'static str,
        mut work: impl FnMut(&AtomicBool) -> Result<(), String> + Send + 'static,
    ) -> Result<(), StartError> {
        let (stop, health) = (Arc::clone(&self.stop), self.health.clone());
        let body = move || {
            while !stop.load(Ordering::Relaxed) {
                // A panic is a defect of ours. It must be seen, and must not take the stage away for good.
                let worked = catch_unwind(AssertUnwindSafe(|| work(&stop)));
                match worked.unwrap_or_else(|_| Err("it panicked; please report this with the log".into())) {
                    Ok(()) => health.clear(name),
                    Err(e) => {
                        tracing::error!(stage = name, error = %e, "stopped by the world; starting again");
                        health.report(name, e);
                        std::thread::sleep(Duration::from_millis(RESTART_MS));
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(body);
        self.threads.push(thread.map_err(|e| StartError::Thread(e.to_string()))?);
        Ok(())
    }

    fn start_stage<S, F, T>(
        &mut self,
        log: &Arc<dyn Log>,
        make: F,
        after_turn: impl Fn() -> T + Send + 'static,
    ) -> Result<(), StartError>
    where
        S: Stage + 'static,
        F: Fn() -> Result<S, String> + Send + 'static,
        T: FnMut(&S, &dyn Log),
    {
        let name = make().map_err(StartError::Thread)?.name();
        self.health.watch(name, S::In::TOPICS);
        let (log, health) = (Arc::clone(log), self.health.clone());
        self.start(name, move |stop| {
            let mut pump = Pump::open(make()?, Arc::clone(&log)).map_err(|e| e.to_string())?;
            let mut after_turn = after_turn();
            pump.run(stop, |stage, log| {
                health.clear(name);
                after_turn(stage, log);
            })
            .map_err(|e| e.to_string())
        })
    }

    /// The first stage, and what keeps its tables fresh.
    fn start_ingest(&mut self, log: &Arc<dyn Log>, mut keeper: Keeper) -> Result<(), StartError> {
        let (shelf, health) = (keeper.shelf(), self.health.clone());
        let ingest = move || Ok(Ingest::enriching(shelf.clone()));
        self.start_stage(log, ingest, || |_, _| {})?;
        self.start(enrich::KEEPER, move |stop| {
            keeper.run(stop, |looked| match looked {
                Ok(()) => health.clear(enrich::KEEPER),
                Err(e) => {
                    tracing::warn!(error = %e, "the tables from before stay in use");
                    health.report(enrich::KEEPER, format!("{e}; the tables from before stay in use"));
                }
            });
            Ok(())
        })
    }

    fn start_executor(&mut self, mut executor: Executor) -> Result<(), StartError> {
        self.health.watch(executor::READER, &[Topic::Plans]);
        let health = self.health.clone();
        self.start(executor::READER, move |stop| {
            let well = || health.clear(executor::READER);
            executor.run(stop, well).map_err(|e| e.to_string())
        })
    }

    fn start_sink(&mut self, mut sink: Sink, retention: Retention) -> Result<(), StartError> {
        let (clock, health) = (self.health.clock(), self.health.clone());
        self.start(sink::READER, move |stop| {
            let (mut kept, mut is_more) = (Timestamp::ZERO, false);
            while !stop.load(Ordering::Relaxed) {
                // While there is more to shed than one round takes, storing and shedding take turns.
                let stored = match is_more {
                    true => sink.turn().map(drop),
                    false => sink.run_for(stop, Duration::from_millis(1_000)),
                };
                stored.map_err(|e: SinkError| e.to_string())?;
                health.clear(sink::READER);
                let now = clock();
                if is_more || is_due(kept, now) {
                    let older_than = now.plus_ms(-retention.age_ms_max);
                    let shed = sink.writer().retain(older_than, retention.bytes_max);
                    let shed = shed.map_err(|e| e.to_string())?;
                    (kept, is_more) = (now, shed.by_age + shed.by_size >= SHED_ROWS_MAX);
                }
            }
            sink.hint().map_err(|e| e.to_string())
        })
    }

    fn start_housekeeping(
        &mut self,
        log: &Arc<dyn Log>,
        outbox: Outbox,
        retention: Retention,
        clock: Clock,
    ) -> Result<(), StartError> {
        let log = Arc::clone(log);
        let readers = ["ingest", "detect", "correlate", "respond", sink::READER, executor::READER];
        let mut kept = Timestamp::ZERO;
        self.start("housekeeping", move |stop| {
            std::thread::sleep(Duration::from_millis(RESTART_MS));
            let now = clock();
            if !is_due(kept, now) {
                return Ok(());
            }
            // Portion by portion, so that the log's writer is never kept waiting for long.
            let mut dropped = u64::MAX;
            while dropped >= RETAIN_AGAIN_BATCHES && !stop.load(Ordering::Relaxed) {
                dropped = log.retain(retention, now, &readers).map_err(|e| e.to_string())?;
            }
            outbox.retain(now.plus_ms(-retention.age_ms_max)).map_err(|e| e.to_string())?;
            kept = now;
            Ok(())
        })
    }
}

/// The hot state. A lost file must not mean "never revoked": the ledger is the truth.
fn state(data_dir: &Path, ledger: &LedgerStore) -> Result<SqliteState, StartError> {
    let state = SqliteState::open(&data_dir.join("state.db"))?;
    if state.is_empty() {
        let waiting = || Ok(ledger.pending_orders()?.iter().filter(|o| !o.started).map(|o| o.id).collect());
        state.restore(&Past::read(Entries::open(data_dir)?, waiting)?)?;
    }
    Ok(state)
}

/// The links by which people approve, if it is known where they would reach us.
fn links(settings: &Settings) -> Result<Option<Arc<Links>>, WebhookError> {
    let Some(base) = &settings.public_url else { return Ok(None) };
    let links = Links::new(base, Arc::clone(&settings.clock), settings.respond.approval_ms);
    links
        .map(|links| Some(Arc::new(links)))
        .map_err(|_| WebhookError::Client("there is no randomness".into()))
}

/// Whether it is time to keep house again; also when the wall clock was set back.
fn is_due(kept: Timestamp, now: Timestamp) -> bool {
    !(0..HOUSEKEEPING_MS).contains(&now.since_ms(kept))
}

/// Gives dead letters again when no pipeline runs: their records wait on the log for the next start.
pub fn replay_offline(data_dir: &Path, letters: &[DeadLetter], clock: Clock) -> Result<(), StartError> {
    let _directory = DirectoryLock::take(data_dir)?;
    let now = clock();
    let log = SqliteLog::open(&data_dir.join("log.db"), clock)?;
    let mut writer = StoreWriter::open(&data_dir.join("store.db"))?;
    for portion in letters.chunks(REPLAY_MESSAGES_MAX) {
        log.append(portion.iter().map(|dead| given_again(dead.record.clone(), now)).collect())?;
        for dead in portion {
            writer.resolve_dead_letter(Message::id(dead), now)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::memory::MemoryLog;
    use crate::sqlite::lock;
    use std::sync::atomic::AtomicUsize;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    #[allow(clippy::panic, reason = "the panic is what is tested")]
    fn a_stage_that_panics_is_seen_and_starts_again() {
        let clock: Clock = Arc::new(|| Timestamp(1));
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(Arc::clone(&clock)));
        let switch = KillSwitch::in_directory(Path::new("nowhere"));
        let health = EmbeddedHealth::new(log, Arc::default(), clock, switch);
        let stop = Arc::new(AtomicBool::new(false));
        let mut crew = Crew { stop: Arc::clone(&stop), health: health.clone(), threads: Vec::new() };
        let (lives, problems) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (own, seen) = (Arc::clone(&lives), Arc::clone(&problems));
        let work = move |stop: &AtomicBool| {
            if own.fetch_add(1, Ordering::Relaxed) == 0 {
                panic!("injected");
            }
            *lock(&seen) = health.vitals.look().problems;
            stop.store(true, Ordering::Relaxed);
            Ok(())
        };
        crew.start("test", work).unwrap();
        crew.threads.remove(0).join().unwrap();
        assert_eq!(lives.load(Ordering::Relaxed), 2);
        assert!(lock(&problems)[0].starts_with("test: it panicked"), "{problems:?}");
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_housekeeping() {
        let check = |kept: i64, now: i64, want: bool| {
            assert_eq!(is_due(Timestamp(kept), Timestamp(now)), want, "{kept} {now}");
        };
        check(0, HOUR_MS, true);
        check(HOUR_MS, HOUR_MS + 1, false);
        check(HOUR_MS, HOUR_MS + HOUSEKEEPING_MS, true);
        check(HOUR_MS, 1, true);
    }
}
