//! The role `respond`: the stage over Kafka, and beside it an executor for each partition of the plans that it makes.

use super::{RESTART, Roles, Vitals};
use crate::clock;
use crate::executor::{Executor, ExecutorError, KillSwitch, READER};
use crate::ledger::postgres::{Database, PostgresLedger};
use crate::log::LogError;
use crate::log::kafka::{KafkaPlans, KafkaPump, Membership, Settings};
use crate::sqlite::StoreError;
use prunella_ledger::Signer;
use prunella_respond::Respond;
use prunella_schemas::Topic;
use prunella_schemas::port::{Effector, Store};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::Duration;

/// How long a poll of the group waits.
const POLL: Duration = Duration::from_millis(100);
/// After somebody else has claimed a ledger, whoever still believes to own it waits so long for the group to say better.
const FENCED_TURNS: u32 = 30;

/// What the role needs beside Kafka.
pub struct Response {
    /// Makes the stages, of which each partition gets its own.
    pub stage: Respond,
    pub database: Database,
    pub signer: Arc<Signer>,
    pub effectors: Vec<Arc<dyn Effector>>,
    /// Where the events are.
    pub store: Arc<dyn Store>,
    pub kill_switch: KillSwitch,
    /// Carries out the orders.
    pub runtime: tokio::runtime::Handle,
}

impl Roles {
    /// Starts the stage and the executors.
    pub fn start_respond(&mut self, settings: &Settings, response: Response) -> std::io::Result<()> {
        let stage = response.stage.fresh();
        let mut inputs = settings.clone();
        inputs.inputs.insert(Topic::Findings, settings.findings_by_tenant());
        let pump = KafkaPump::new(inputs, move || stage.fresh());
        self.spawn(pump.with_ticks(clock::wall(), Respond::next_due))?;
        let (settings, vitals) = (settings.clone(), self.vitals.clone());
        self.spawn_work(READER, move |stop| {
            let desk = Desk { response: &response, vitals: &vitals };
            desk.run(&settings, stop)
        })
    }
}

/// The executors of this process.
struct Desk<'a> {
    response: &'a Response,
    vitals: &'a Vitals,
}

impl<'a> Desk<'a> {
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
                    lanes.entry(partition).or_insert_with(|| self.start(scope, membership.plans(partition)));
                }
            };
            lanes.values().for_each(|lane| lane.store(true, Ordering::Relaxed));
            worked
        })
    }

    fn start<'s>(&self, scope: &'s Scope<'s, 'a>, plans: KafkaPlans) -> Arc<AtomicBool> {
        let (stop, plans) = (Arc::<AtomicBool>::default(), Arc::new(plans));
        let (response, vitals, stopped) = (self.response, self.vitals, Arc::clone(&stop));
        scope.spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Err(e) = work(response, vitals, &plans, &stopped) else { continue };
                tracing::error!(source = plans.source(), error = %e, "the executor was stopped; starting again");
                vitals.report(READER, format!("{}: {e}", plans.source()));
                let is_fenced = matches!(e, ExecutorError::Ledger(StoreError::Fenced { .. }));
                for _ in 0..if is_fenced { FENCED_TURNS } else { 1 } {
                    if !stopped.load(Ordering::Relaxed) {
                        std::thread::sleep(RESTART);
                    }
                }
            }
        });
        stop
    }
}

/// Becomes the one writer of the ledgers of a partition, and carries out what comes until told to stop.
fn work(
    response: &Response,
    vitals: &Vitals,
    plans: &Arc<KafkaPlans>,
    stop: &AtomicBool,
) -> Result<(), ExecutorError> {
    let runtime = response.runtime.clone();
    let (database, signer) = (response.database.clone(), Arc::clone(&response.signer));
    let ledger = PostgresLedger::open(database, signer, &plans.source(), runtime.clone())?;
    let mut executor = Executor::open(
        Arc::clone(plans) as _,
        Arc::new(Mutex::new(ledger)),
        response.effectors.clone(),
        clock::wall(),
        response.kill_switch.clone(),
        Some(Arc::clone(&response.store)),
        runtime,
    )?;
    while !stop.load(Ordering::Relaxed) {
        match executor.run(stop, || vitals.clear(READER)) {
            Ok(()) => {}
            Err(e @ ExecutorError::Ledger(StoreError::Fenced { .. })) => return Err(e),
            // It knows what is under way, so it goes on rather than starting anew.
            Err(e) => {
                tracing::error!(source = plans.source(), error = %e, "stopped by the world; going on");
                vitals.report(READER, format!("{}: {e}", plans.source()));
                std::thread::sleep(RESTART);
            }
        }
    }
    Ok(())
}
