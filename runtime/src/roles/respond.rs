//! The role `respond`: the stage over Kafka, and beside it an executor for each partition of the plans that it makes.

use super::{RESTART, Roles, Vitals};
use crate::clock;
use crate::effect::{self, preflight};
use crate::executor::{Deeds, Executor, ExecutorError, KillSwitch, Means, READER};
use crate::ledger::postgres::{Database, PostgresLedger};
use crate::log::LogError;
use crate::log::kafka::{KafkaPlans, KafkaPump, Membership, Settings};
use crate::sqlite::{StoreError, lock};
use crate::topology::{DirectoryLock, StartError};
use crate::webhook::{self, Deliverer, Endpoint, Outbox, WebhookEffector};
use prunella_ledger::Signer;
use prunella_respond::{Playbooks, Respond};
use prunella_schemas::Topic;
use prunella_schemas::port::{Effector, State, Store};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::Duration;
use tokio::sync::watch;

/// How long a poll of the group waits.
const POLL: Duration = Duration::from_millis(100);
/// After somebody else has claimed a ledger, whoever still believes to own it waits so long for the group to say better.
const FENCED_TURNS: u32 = 30;

/// Delivered messages are kept so long: one that is forgotten could be sent again.
const DELIVERED_MS_MAX: i64 = 7 * 86_400_000;
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

/// What the role needs beside Kafka.
pub struct Response {
    pub config: prunella_respond::Config,
    pub playbooks: Playbooks,
    /// Holds the outbox and the kill switch of this process, and belongs to it alone.
    pub data_dir: PathBuf,
    pub webhooks: Vec<Endpoint>,
    pub database: Database,
    pub signer: Arc<Signer>,
    pub state: Arc<dyn State>,
    /// Where the events are.
    pub store: Arc<dyn Store>,
    /// Those of the clouds, beside our own.
    pub effectors: Vec<Arc<dyn Effector>>,
}

impl Roles {
    /// Starts the stage, the executors and the deliveries; says what the playbooks name and nobody can carry out.
    pub async fn start_respond(
        &mut self,
        settings: &Settings,
        response: Response,
    ) -> Result<Vec<String>, StartError> {
        let directory = DirectoryLock::take(&response.data_dir)?;
        let stage = global_share(response.config, settings).map_err(StartError::Thread)?;
        let stage = Respond::new(stage, response.playbooks.clone())?;
        let outbox = Outbox::open(&response.data_dir.join("outbox.db"), clock::wall())?;
        let deliverer = Deliverer::new(outbox.clone(), response.webhooks, None)?;
        let message = |p: &'static str| WebhookEffector::new(outbox.clone(), p, deliverer.endpoints(p));
        let messages = webhook::PROVIDERS.map(message);
        let mut effectors = effect::ours(&response.state, &response.store, messages);
        effectors.extend(effect::witnessed(response.effectors, &response.store));
        let lacking = preflight::missing(&effectors, &response.playbooks.calls()).await;
        let (stopping, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Handle::current();
        runtime.spawn(forget_delivered(outbox.clone(), stopped.clone()));
        runtime.spawn(deliverer.run(stopped));
        let switch = KillSwitch::in_directory(&response.data_dir);
        let executors = Executors {
            kill_switch: switch.with_shared(Arc::new(response.database.clone())),
            database: response.database,
            signer: response.signer,
            effectors,
            store: response.store,
            runtime,
            vitals: self.vitals.clone(),
            deeds: Arc::default(),
            troubles: Mutex::default(),
        };
        let mut inputs = settings.clone();
        inputs.inputs.insert(Topic::Findings, settings.findings_by_tenant());
        let pump = KafkaPump::new(inputs, move || stage.fresh());
        let thread = |e: std::io::Error| StartError::Thread(e.to_string());
        self.spawn(pump.with_ticks(clock::wall(), Respond::next_due)).map_err(thread)?;
        let (settings, counts) = (settings.clone(), Arc::clone(&executors.deeds.counts));
        let deeds = Arc::clone(&executors.deeds);
        self.vitals.tells(move || deeds.render((clock::wall())()));
        // Directory and deliveries are let go of when the executors have ended.
        let kept = (directory, stopping);
        let work = move |stop: &AtomicBool| {
            let _ = &kept;
            executors.run(&settings, stop)
        };
        self.spawn_run(READER, counts, work).map_err(thread)?;
        Ok(lacking)
    }
}

/// Messages that ended long ago go, until the role stops.
async fn forget_delivered(outbox: Outbox, mut stopped: watch::Receiver<bool>) {
    while tokio::time::timeout(FORGET_EVERY, stopped.changed()).await.is_err() {
        let (outbox, older_than) = (outbox.clone(), clock::wall()().plus_ms(-DELIVERED_MS_MAX));
        // A write that fails is tried again an hour later.
        if let Ok(Err(e)) = tokio::task::spawn_blocking(move || outbox.retain(older_than)).await {
            tracing::warn!(error = %e, "messages that were delivered long ago could not be forgotten");
        }
    }
}

/// Each partition has a guard of its own, which sees the tenants of that partition and no others. Their shares together
/// are what the configuration allows.
fn global_share(
    mut config: prunella_respond::Config,
    settings: &Settings,
) -> Result<prunella_respond::Config, String> {
    let partitions = settings.partitions(Topic::Plans).map_err(|e| e.to_string())?;
    let global = &mut config.budgets.global;
    global.max = (global.max / partitions).max(global.max.min(1));
    Ok(config)
}

/// What the executors of this process have in common.
struct Executors {
    database: Database,
    signer: Arc<Signer>,
    effectors: Vec<Arc<dyn Effector>>,
    store: Arc<dyn Store>,
    kill_switch: KillSwitch,
    /// Carries out the orders.
    runtime: tokio::runtime::Handle,
    vitals: Vitals,
    deeds: Arc<Deeds>,
    /// What keeps each of them from working now, by its input.
    troubles: Mutex<BTreeMap<String, String>>,
}

impl Executors {
    /// An executor for each partition that the group gives us, until told to stop.
    fn run(&self, settings: &Settings, stop: &AtomicBool) -> Result<(), LogError> {
        let membership = Membership::join(settings)?;
        std::thread::scope(|scope| {
            let mut lanes: BTreeMap<i32, Arc<AtomicBool>> = BTreeMap::new();
            let worked = loop {
                if stop.load(Ordering::Relaxed) {
                    break Ok(());
                }
                let ours = match membership.partitions(POLL) {
                    Ok(ours) => ours,
                    Err(e) => break Err(e),
                };
                for (_, gone) in lanes.extract_if(.., |partition, _| !ours.contains(partition)) {
                    gone.store(true, Ordering::Relaxed);
                }
                for partition in ours {
                    let start = || self.start(scope, membership.plans(partition));
                    lanes.entry(partition).or_insert_with(start);
                }
            };
            lanes.values().for_each(|lane| lane.store(true, Ordering::Relaxed));
            worked
        })
    }

    /// Starts a partition's executor, and starts it again whenever it ends, until the flag is set.
    fn start<'s>(&'s self, scope: &'s Scope<'s, '_>, plans: KafkaPlans) -> Arc<AtomicBool> {
        let (stop, plans) = (Arc::<AtomicBool>::default(), Arc::new(plans));
        let stopped = Arc::clone(&stop);
        scope.spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A panic is a defect of ours. It must be seen, and must not take the partition away for good.
                let worked = catch_unwind(AssertUnwindSafe(|| self.work(&plans, &stopped)));
                let panicked = |_| {
                    let what = "it panicked; please report this with the log".to_owned();
                    Err(ExecutorError::Log(LogError::Unavailable(what)))
                };
                let Err(e) = worked.unwrap_or_else(panicked) else { continue };
                self.report(&plans, &e);
                let is_fenced = matches!(e, ExecutorError::Ledger(StoreError::Fenced { .. }));
                for _ in 0..if is_fenced { FENCED_TURNS } else { 1 } {
                    if !stopped.load(Ordering::Relaxed) {
                        std::thread::sleep(RESTART);
                    }
                }
            }
            self.well(&plans.source());
        });
        stop
    }

    /// Becomes the one writer of the ledgers of a partition, and carries out what comes until told to stop.
    fn work(&self, plans: &Arc<KafkaPlans>, stop: &AtomicBool) -> Result<(), ExecutorError> {
        let (database, signer) = (self.database.clone(), Arc::clone(&self.signer));
        let ledger = PostgresLedger::open(database, signer, &plans.source(), self.runtime.clone())?;
        let (ledger, plans) = (Arc::new(Mutex::new(ledger)), Arc::clone(plans));
        let means = Means {
            effectors: self.effectors.clone(),
            kill_switch: self.kill_switch.clone(),
            store: Some(Arc::clone(&self.store)),
            deeds: Arc::clone(&self.deeds),
        };
        let runtime = self.runtime.clone();
        let mut executor = Executor::open(Arc::clone(&plans) as _, ledger, means, clock::wall(), runtime)?;
        let source = plans.source();
        while !stop.load(Ordering::Relaxed) {
            match executor.run(stop, || self.well(&source)) {
                Ok(()) => {}
                Err(e @ ExecutorError::Ledger(StoreError::Fenced { .. })) => return Err(e),
                // It knows what is under way, so it goes on rather than starting anew.
                Err(e) => {
                    self.report(&plans, &e);
                    std::thread::sleep(RESTART);
                }
            }
        }
        Ok(())
    }

    fn report(&self, plans: &KafkaPlans, error: &ExecutorError) {
        let source = plans.source();
        tracing::error!(source, error = %error, "an executor was stopped by the world; starting again");
        let mut troubles = lock(&self.troubles);
        troubles.insert(source, error.to_string());
        self.tell(&troubles);
    }

    fn well(&self, source: &str) {
        let mut troubles = lock(&self.troubles);
        if troubles.remove(source).is_some() {
            self.tell(&troubles);
        }
    }

    fn tell(&self, troubles: &BTreeMap<String, String>) {
        if troubles.is_empty() {
            return self.vitals.clear(READER);
        }
        let told: Vec<String> = troubles.iter().map(|(source, e)| format!("{source}: {e}")).collect();
        self.vitals.report(READER, told.join("; "));
    }
}
