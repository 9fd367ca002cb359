//! The executor: first the ledger, then the deed, then the report.
//!
//! It reads transitions. Each becomes a durable ledger entry before the order it carries is sent to an effector, and
//! what came of the order goes back onto the log as a command. A crash in between is settled by asking the provider.

mod deeds;
mod entries;
mod kill_switch;
mod port;

pub use deeds::Deeds;
pub use kill_switch::{KillSwitch, Switch};
pub use port::{LogPlans, Plans, READER, Taken};

use crate::clock::Clock;
use crate::effect::successors::opened;
use crate::ledger::{Attestor, PendingOrder, Sequencer};
use crate::log::LogError;
use crate::sqlite::{StoreError, lock};
use deeds::Watch;
use entries::{entries_of, is_decision};
use prunella_schemas::plan::{EvidenceKind, Outcome, Probe};
use prunella_schemas::port::{Effector, Store};
use prunella_schemas::{Command, Id, Message, Order, Posted, Reply, Step, Timestamp, Transition};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Orders under way at once; more wait, and the log holds them.
const ORDERS_MAX: usize = 64;
const IDLE_MAX: Duration = Duration::from_millis(100);
/// An idle executor says where it stands after this many batches of others, so that retention can pass it.
const IDLE_BATCHES_MAX: i64 = 256;
/// How long a report waits before it is tried again when the log refuses it, and an order when it could not be begun.
const REPORT_RETRY_MS: u64 = 500;
/// How long a look at a provider or at the events may take: it holds a place that an order to act could have.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Plans whose latest decision is remembered, for orders that waited.
const DECIDED_MAX: usize = 65_536;

#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Ledger(#[from] StoreError),
}

/// With what an executor works, whichever log and ledger it stands on.
pub struct Means {
    /// For each provider one; of two the later.
    pub effectors: Vec<Arc<dyn Effector>>,
    pub kill_switch: KillSwitch,
    /// Where the events are, to look for what an attacker has opened. `None`: nowhere.
    pub store: Option<Arc<dyn Store>>,
    /// Where it counts what it does.
    pub deeds: Arc<Deeds>,
}

/// What orders need to be carried out.
struct Hands {
    plans: Arc<dyn Plans>,
    ledger: Arc<Mutex<dyn Sequencer>>,
    /// Reads beside the writer, without its lock.
    attestor: Arc<dyn Attestor>,
    /// Orders under way in this process.
    flying: Mutex<HashSet<Id>>,
    /// Of each plan, the last transition that left its earlier orders behind.
    decided: Arc<Mutex<BTreeMap<Id, u32>>>,
    /// Some order could not be carried out and is no longer under way: look at the pending ones again.
    again: AtomicBool,
    slots: Semaphore,
    effectors: BTreeMap<String, Arc<dyn Effector>>,
    clock: Clock,
    kill_switch: KillSwitch,
    store: Option<Arc<dyn Store>>,
    deeds: Arc<Deeds>,
    watch: Arc<Watch>,
}

pub struct Executor {
    hands: Arc<Hands>,
    position: i64,
    runtime: tokio::runtime::Handle,
}

impl Executor {
    pub fn open(
        plans: Arc<dyn Plans>,
        ledger: Arc<Mutex<dyn Sequencer>>,
        means: Means,
        clock: Clock,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self, ExecutorError> {
        let (position, attestor) = {
            let mut ledger = lock(&ledger);
            let known = ledger.position()?;
            let start = plans.start(known)?;
            if start != known {
                ledger.append(&[], start)?;
            }
            (start, ledger.attestor())
        };
        let Means { effectors, kill_switch, store, deeds } = means;
        let watch = deeds.watch();
        let effectors = effectors.into_iter().map(|e| (e.provider().to_owned(), e)).collect();
        let (flying, again, slots) = (Mutex::default(), AtomicBool::new(false), Semaphore::new(ORDERS_MAX));
        let hands = Arc::new(Hands {
            plans,
            ledger,
            attestor,
            flying,
            decided: Arc::default(),
            again,
            slots,
            effectors,
            clock,
            kill_switch,
            store,
            deeds,
            watch,
        });
        Ok(Executor { hands, position, runtime })
    }

    /// Carries on what a crash interrupted, then every new transition, until told to stop. Calls `well` whenever it has.
    /// After a failure it can run again; it knows what is under way.
    pub fn run(&mut self, stop: &AtomicBool, well: impl Fn()) -> Result<(), ExecutorError> {
        self.dispatch_pending()?;
        while !stop.load(Ordering::Relaxed) {
            self.turn()?;
            if self.hands.again.swap(false, Ordering::Relaxed) {
                self.dispatch_pending()?;
            }
            well();
        }
        Ok(())
    }

    #[allow(clippy::disallowed_methods, reason = "how long a step takes is the shell's to measure")]
    fn turn(&mut self) -> Result<(), ExecutorError> {
        let taken = self.hands.plans.read(self.position, IDLE_MAX)?;
        if let Some(behind) = taken.behind {
            self.hands.deeds.note_lag(&self.hands.watch, behind);
        }
        if taken.messages.is_empty() {
            if taken.position != self.position {
                self.hands.plans.reached(taken.position)?;
                self.position = taken.position;
            }
            return Ok(());
        }
        let (since, mut entries, mut transitions) = (Instant::now(), Vec::new(), Vec::new());
        for posted in &taken.messages {
            match Transition::decode(posted.version, &posted.bytes) {
                Ok(transition) => {
                    entries.extend(entries_of(&transition, &posted.bytes)?);
                    transitions.push(transition);
                }
                Err(e) => {
                    tracing::error!(id = %posted.id, error = %e, "a transition that does not decode is not carried out");
                }
            }
        }
        // Before they are in the ledger: no order begins behind them.
        self.hands.note_decided(&transitions);
        lock(&self.hands.ledger).append(&entries, taken.position)?;
        self.hands.count(&transitions, taken.messages.len(), since.elapsed());
        self.position = taken.position;
        self.hands.plans.reached(taken.position)?;
        self.dispatch_pending()
    }

    /// Starts whatever is in the ledger without a reply and not under way.
    /// As many as there are open plans, at most; those that must wait for their time or for a slot wait on their own, so
    /// that none holds up the ledger or another.
    fn dispatch_pending(&self) -> Result<(), ExecutorError> {
        let pending = lock(&self.hands.ledger).pending_orders()?;
        let mut new = Vec::new();
        for order in pending {
            if !lock(&self.hands.flying).insert(order.id) {
                continue;
            }
            match Transition::decode(Transition::VERSION, &order.bytes) {
                Ok(transition) => new.push((order, transition)),
                Err(e) => {
                    tracing::error!(id = %order.id, error = %e, "a pending order does not decode; it stays pending");
                }
            }
        }
        self.hands.note_decided(new.iter().map(|(_, transition)| transition));
        for (order, transition) in new {
            let hands = Arc::clone(&self.hands);
            self.runtime.spawn(async move { hands.carry_out(order, transition).await });
        }
        Ok(())
    }
}

/// Why an order is not answered now.
enum Stuck {
    /// Another process writes the ledger by now, and answers it.
    Replaced,
    /// The ledger could not be read or written.
    Later(String),
    /// The plan went on without an answer: whoever waited for one does not any more.
    Superseded,
}

impl Hands {
    /// Counts what was taken and is in the ledger by now.
    fn count(&self, transitions: &[Transition], taken: usize, took: Duration) {
        let counts = &self.deeds.counts;
        counts.consumed.fetch_add(taken as u64, Ordering::Relaxed);
        counts.undecodable.fetch_add((taken - transitions.len()) as u64, Ordering::Relaxed);
        counts.steps.record(took);
        for transition in transitions {
            self.deeds.reached(transition);
            self.watch.note(transition);
        }
    }

    fn note_decided<'a>(&self, transitions: impl IntoIterator<Item = &'a Transition>) {
        let mut decided = lock(&self.decided);
        for transition in transitions.into_iter().filter(|transition| is_decision(transition)) {
            let last = decided.entry(transition.plan_uid).or_default();
            *last = transition.sequence.max(*last);
            if decided.len() > DECIDED_MAX {
                decided.pop_first();
            }
        }
    }

    async fn carry_out(&self, pending: PendingOrder, transition: Transition) {
        match self.settle(&pending, &transition).await {
            Ok(()) => {}
            Err(Stuck::Superseded) => {
                tracing::warn!(id = %pending.id, plan = %transition.plan_uid, "an order came too late and is not carried out");
            }
            // Whoever took over carries it on; it stays under way here, so that nothing is done twice.
            Err(Stuck::Replaced) => return,
            Err(Stuck::Later(e)) => {
                tracing::error!(id = %pending.id, error = %e, "the ledger does not answer; trying again");
                tokio::time::sleep(Duration::from_millis(REPORT_RETRY_MS)).await;
                lock(&self.flying).remove(&pending.id);
                self.again.store(true, Ordering::Relaxed);
                return;
            }
        }
        let done = self.in_ledger(move |ledger| ledger.done(pending.id)).await;
        if let Err(e) = done {
            // It will be carried out once more after a restart, and the answer will be dropped as a repeat.
            tracing::warn!(id = %pending.id, error = %e, "a finished order could not be ticked off");
            return;
        }
        lock(&self.flying).remove(&pending.id);
    }

    /// Reports the receipt of a transition, then carries out its order and reports what came of it.
    async fn settle(&self, pending: &PendingOrder, transition: &Transition) -> Result<(), Stuck> {
        let (origin, tenant) = (transition.plan.marks.ingested, &transition.plan.tenant);
        if let Some(receipt) = &transition.receipt {
            let attested = self.attestor.attested(tenant, receipt.id()).await;
            let receipt = attested.map_err(|e| Stuck::Later(e.to_string()))?;
            self.report(Posted::new(&receipt, origin)).await;
        }
        if let Some(order) = &transition.order {
            let reply = self.obey(pending, transition, order).await?;
            let (plan_uid, sequence, at) = (transition.plan_uid, transition.sequence, (self.clock)());
            let command = Command::Reply { plan_uid, sequence, reply, at };
            // A reply does not name its tenant, and must come to the tenant's partition.
            let key = tenant.as_str().to_owned();
            self.report(Posted { key, ..Posted::new(&command, origin) }).await;
        }
        Ok(())
    }

    /// The ledger is written off the async threads.
    async fn in_ledger<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Sequencer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let ledger = Arc::clone(&self.ledger);
        let worked = tokio::task::spawn_blocking(move || work(&mut *lock(&ledger))).await;
        let cut = |e: tokio::task::JoinError| StoreError::Invalid(format!("a write was cut short: {e}"));
        worked.map_err(cut)?
    }

    async fn obey(
        &self,
        pending: &PendingOrder,
        transition: &Transition,
        order: &Order,
    ) -> Result<Reply, Stuck> {
        if let Order::Probe { not_before, .. } = order {
            self.sleep_until(*not_before).await;
        }
        // Never closed, so there is always a slot to come.
        let _slot = self.slots.acquire().await;
        Ok(match order {
            Order::Read { reads } => self.read(transition, reads).await,
            Order::Apply { steps, key } => {
                Reply::Applied { outcomes: self.act(pending, transition, steps, *key).await? }
            }
            Order::Undo { steps, key } => {
                Reply::Undone { outcomes: self.act(pending, transition, steps, *key).await? }
            }
            Order::Probe { steps, principal, applied, since, known, .. } => {
                let probe = self.probe(transition, steps, principal, *applied).await;
                Reply::Probed { probe: self.opened(transition, principal, *since, known, probe).await }
            }
        })
    }

    async fn read(&self, transition: &Transition, reads: &[prunella_schemas::plan::Read]) -> Reply {
        let mut states = Vec::new();
        for read in reads {
            let Some(effector) = self.effectors.get(&read.provider) else {
                return Reply::Unreadable { detail: not_configured(&read.provider) };
            };
            let state = timeout(LOOK_MAX, effector.read(&transition.plan.tenant, read)).await;
            let why = match state {
                Ok(Ok(state)) => {
                    states.push(state);
                    continue;
                }
                Ok(Err(e)) => e.to_string(),
                Err(_) => no_answer(),
            };
            return Reply::Unreadable { detail: format!("{} of {}: {why}", read.operation, read.target) };
        }
        Reply::State { states }
    }

    /// One outcome per step; after one that is not done, the rest is not tried.
    async fn act(
        &self,
        pending: &PendingOrder,
        transition: &Transition,
        steps: &[Step],
        key: Id,
    ) -> Result<Vec<Outcome>, Stuck> {
        if pending.started {
            let detail = "the process stopped while this was being carried out".to_owned();
            return Ok(vec![Outcome::Unknown { detail }; steps.len()]);
        }
        let (id, decided) = (pending.id, Arc::clone(&self.decided));
        let (plan_uid, sequence) = (transition.plan_uid, transition.sequence);
        let begun = self.in_ledger(move |ledger| {
            let is_late = lock(&decided).get(&plan_uid).is_some_and(|last| *last > sequence);
            if is_late { Ok(None) } else { ledger.begin(id).map(Some) }
        });
        match begun.await {
            Ok(Some(true)) => {}
            Ok(None) => return Err(Stuck::Superseded),
            Ok(Some(false)) => {
                let detail = "it was begun before, or is done".to_owned();
                return Ok(vec![Outcome::Unknown { detail }; steps.len()]);
            }
            Err(StoreError::Fenced { .. }) => return Err(Stuck::Replaced),
            // Whether it counts as begun is not known: if it does, the next try says so and the provider is asked.
            Err(e) => return Err(Stuck::Later(e.to_string())),
        }
        let mut outcomes = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let outcome =
                self.act_once(transition, step, Id::derive("step", &[&key.0, &at.to_le_bytes()])).await;
            let go_on = matches!(outcome, Outcome::Done { .. });
            outcomes.push(outcome);
            if !go_on {
                break;
            }
        }
        Ok(outcomes)
    }

    async fn act_once(&self, transition: &Transition, step: &Step, key: Id) -> Outcome {
        if self.kill_switch.is_engaged_anywhere().await {
            return Outcome::Failed { detail: prunella_respond::KILL_SWITCH_ENGAGED.into() };
        }
        match self.effectors.get(&step.provider) {
            Some(effector) => effector.apply(&transition.plan.tenant, step, key).await,
            None => Outcome::Failed { detail: not_configured(&step.provider) },
        }
    }

    /// The weakest answer of all steps is the answer.
    async fn probe(
        &self,
        transition: &Transition,
        steps: &[Step],
        principal: &str,
        applied: Timestamp,
    ) -> Probe {
        let mut weakest: Option<Probe> = None;
        for step in steps {
            let probe = match self.effectors.get(&step.provider) {
                Some(effector) => {
                    let look = effector.probe(&transition.plan.tenant, step, principal, applied);
                    timeout(LOOK_MAX, look).await.unwrap_or_else(|_| Probe::Unseen { detail: no_answer() })
                }
                None => Probe::NotYet { detail: not_configured(&step.provider) },
            };
            if weakest.as_ref().is_none_or(|known| strength(&probe) < strength(known)) {
                weakest = Some(probe);
            }
        }
        weakest.unwrap_or(Probe::NotYet { detail: "there is no step to probe".into() })
    }

    /// Whatever the first credentials are worth now: who has made others has escaped.
    async fn opened(
        &self,
        transition: &Transition,
        principal: &str,
        since: Timestamp,
        known: &[String],
        probe: Probe,
    ) -> Probe {
        let Some(store) = self.store.as_deref().filter(|_| since > Timestamp::ZERO) else { return probe };
        let look = opened(store, &transition.plan.tenant, principal, since, known);
        match timeout(LOOK_MAX, look).await {
            Ok(Ok(None)) => probe,
            Ok(Ok(Some(opened))) => {
                let last_accepted = match probe {
                    Probe::Held { last_accepted, .. } | Probe::Escaped { last_accepted, .. } => last_accepted,
                    Probe::NotYet { .. } | Probe::Unseen { .. } => None,
                };
                Probe::Escaped { detail: opened.detail, last_accepted, successors: opened.successors }
            }
            Ok(Err(e)) => Probe::Unseen { detail: format!("what was opened cannot be read: {e}") },
            Err(_) => Probe::Unseen { detail: format!("what was opened cannot be read: {}", no_answer()) },
        }
    }

    async fn sleep_until(&self, at: Timestamp) {
        let wait_ms = at.since_ms((self.clock)());
        if wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())).await;
        }
    }

    /// A report that the log refuses is tried again: without it the plan would wait for ever.
    async fn report(&self, posted: Posted) {
        loop {
            let (plans, message) = (Arc::clone(&self.plans), posted.clone());
            match tokio::task::spawn_blocking(move || plans.report(message)).await {
                Ok(Ok(())) => {
                    self.deeds.counts.produced.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(Err(e)) => tracing::error!(error = %e, "a report could not be written; trying again"),
                // The process is stopping; the order is still pending in the ledger.
                Err(_) => return,
            }
            tokio::time::sleep(Duration::from_millis(REPORT_RETRY_MS)).await;
        }
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", LOOK_MAX.as_secs())
}

fn not_configured(provider: &str) -> String {
    format!("no effector for provider `{provider}` is configured")
}

fn strength(probe: &Probe) -> u8 {
    match probe {
        Probe::Escaped { .. } => 0,
        Probe::NotYet { .. } => 1,
        Probe::Unseen { .. } => 2,
        Probe::Held { evidence: EvidenceKind::ConfigurationRead, .. } => 3,
        Probe::Held { evidence: EvidenceKind::RefusedCall, .. } => 4,
    }
}
