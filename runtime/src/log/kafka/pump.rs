//! The pump over Kafka: the calling thread polls and never waits for a stage; each partition has a thread of its own.

use super::inbox::Inbox;
use super::lane::{self, Place};
use super::producer::Outbound;
use super::reader::{is_passing, partitions};
use super::{Halt, Settings};
use crate::log::LogError;
use crate::pump::Counts;
use crate::sqlite::lock;
use prunella_schemas::{Inbound, Stage, Topic};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// How long a poll waits; shorter while a partition waits for room.
const POLL: Duration = Duration::from_millis(20);
const POLL_WHILE_PAUSED: Duration = Duration::from_millis(2);
/// Messages taken from the library between two looks at the lanes.
const POLLS_MAX: usize = 256;
const SEEK_MAX: Duration = Duration::from_secs(1);
const HINT_EVERY: Duration = Duration::from_secs(1);
/// How long a lane may take to save itself when its partition moves, and when the process stops.
const REVOKE_PATIENCE: Duration = Duration::from_secs(2);
const STOP_PATIENCE: Duration = Duration::from_secs(3);
const LEAVE_PATIENCE: Duration = Duration::from_secs(3);

/// A stage over the partitions of one topic. `make` gives a new stage for each partition.
pub struct KafkaPump<F> {
    settings: Settings,
    make: F,
    counts: Arc<Counts>,
}

impl<S: Stage, F: Fn() -> S + Sync> KafkaPump<F> {
    pub fn new(settings: Settings, make: F) -> Self {
        KafkaPump { settings, make, counts: Arc::default() }
    }

    /// The name of the stage.
    pub fn name(&self) -> &'static str {
        (self.make)().name()
    }

    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Works until told to stop. After an error nothing of it is left running; call it again to go on.
    pub fn run(&self, stop: &AtomicBool) -> Result<(), LogError> {
        let name = (self.make)().name();
        let [topic] = S::In::TOPICS else {
            return Err(LogError::Unavailable(format!(
                "stage `{name}` reads several topics, which needs one order"
            )));
        };
        let input = self.settings.input.clone().unwrap_or_else(|| self.settings.topic(*topic));
        partitions(&self.settings, &input)?;
        let manifest_partitions = partitions(&self.settings, &self.settings.manifest())?;
        let snapshot_partitions = partitions(&self.settings, &self.settings.snapshots())?;
        let out = Outbound::open(&self.settings)?;
        let config = self.settings.consumer(name);
        let consumer = BaseConsumer::from_config_and_context(&config, Members::default())?;
        consumer.subscribe(&[&input])?;
        let result = std::thread::scope(|scope| {
            let mut poller = Poller {
                pump: self,
                consumer: &consumer,
                out: &out,
                topic: *topic,
                input: &input,
                manifest_partitions,
                snapshot_partitions,
                flows: BTreeMap::new(),
                hints: BTreeMap::new(),
            };
            let result = poller.run(scope, stop);
            poller.end(if result.is_ok() { STOP_PATIENCE } else { Duration::ZERO });
            result
        });
        leave(consumer);
        match result {
            Ok(()) | Err(Halt::Stopped) => Ok(()),
            Err(Halt::Killed) => Err(LogError::Unavailable("a fault was injected".into())),
            Err(Halt::World(e)) => Err(e),
        }
    }
}

/// Leaves the group. The library waits long for brokers that are away; nobody else has to.
fn leave(consumer: BaseConsumer<Members>) {
    consumer.unsubscribe();
    let (done, left) = std::sync::mpsc::sync_channel::<()>(1);
    let closing = std::thread::Builder::new().name("kafka-leave".into()).spawn(move || {
        drop(consumer);
        // Whoever waited may have gone on.
        let _ = done.send(());
    });
    if closing.is_ok() && left.recv_timeout(LEAVE_PATIENCE).is_err() {
        tracing::warn!("no broker hears that this member leaves; its partitions move when its session ends");
    }
}

/// What the poller knows of one of its partitions.
#[derive(Default)]
struct Flow {
    /// Where the lane wants to start, until the consumer stands there.
    start: Option<i64>,
    is_running: bool,
    is_paused: bool,
}

struct Poller<'a, F> {
    pump: &'a KafkaPump<F>,
    consumer: &'a BaseConsumer<Members>,
    out: &'a Outbound,
    topic: Topic,
    input: &'a str,
    manifest_partitions: i32,
    snapshot_partitions: i32,
    flows: BTreeMap<i32, Flow>,
    hints: BTreeMap<i32, i64>,
}

impl<'a, S: Stage, F: Fn() -> S + Sync> Poller<'a, F> {
    #[allow(clippy::disallowed_methods, reason = "how often to commit a hint is the shell's to measure")]
    fn run<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>, stop: &AtomicBool) -> Result<(), Halt> {
        let mut hinted = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.poll()?;
            for (partition, inbox) in self.consumer.context().gained() {
                self.flows.insert(partition, Flow::default());
                self.start(scope, partition, inbox);
            }
            self.look()?;
            if hinted.elapsed() >= HINT_EVERY {
                hinted = Instant::now();
                self.hint();
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), Halt> {
        let waits = self.flows.values().any(|flow| flow.is_paused);
        let mut patience = if waits { POLL_WHILE_PAUSED } else { POLL };
        let lanes = self.consumer.context().lanes();
        for _ in 0..POLLS_MAX {
            match self.consumer.poll(patience) {
                None => break,
                Some(Err(e)) if is_passing(&e) => {
                    tracing::warn!(topic = self.input, error = %e, "Kafka is not well");
                    break;
                }
                Some(Err(e)) => return Err(e.into()),
                Some(Ok(message)) => {
                    let partition = message.partition();
                    // What was fetched before the consumer stood where the lane starts is not for the lane.
                    if self.flows.get(&partition).is_some_and(|flow| flow.is_running)
                        && let Some(inbox) = lanes.get(&partition)
                    {
                        inbox.push(message.detach());
                    }
                }
            }
            patience = Duration::ZERO;
        }
        Ok(())
    }

    fn start<'scope>(&self, scope: &'scope Scope<'scope, 'a>, partition: i32, inbox: Arc<Inbox>) {
        let (pump, out, topic, input) = (self.pump, self.out, self.topic, self.input);
        let manifest_partition = partition % self.manifest_partitions;
        let snapshot_partition = partition % self.snapshot_partitions;
        scope.spawn(move || {
            let (settings, counts) = (&pump.settings, pump.counts.as_ref());
            let inbox = inbox.as_ref();
            let place = Place {
                settings,
                out,
                counts,
                inbox,
                topic,
                input,
                partition,
                manifest_partition,
                snapshot_partition,
            };
            let result = lane::run(&place, (pump.make)());
            inbox.ended(result);
        });
    }

    /// Looks at every lane: starts, pauses, resumes its partition, or ends because it did.
    fn look(&mut self) -> Result<(), Halt> {
        let lanes = self.consumer.context().lanes();
        self.flows.retain(|partition, _| lanes.contains_key(partition));
        for (partition, inbox) in lanes {
            let report = inbox.report();
            if report.has_ended {
                inbox.result()?;
                return Err(Halt::World(LogError::Unavailable(format!("lane {partition} ended by itself"))));
            }
            self.hints.extend(report.progress.map(|end| (partition, end)));
            let flow = self.flows.entry(partition).or_default();
            flow.start = report.start.or(flow.start);
            let mut list = TopicPartitionList::new();
            list.add_partition(self.input, partition);
            if let Some(start) = flow.start {
                // It may not be ready for that yet; then the next look tries again.
                if self.consumer.seek(self.input, partition, Offset::Offset(start), SEEK_MAX).is_ok() {
                    self.consumer.resume(&list)?;
                    *flow = Flow { is_running: true, ..Flow::default() };
                }
            } else if flow.is_running && !flow.is_paused && report.is_full {
                self.consumer.pause(&list)?;
                flow.is_paused = true;
            } else if flow.is_paused && report.has_room {
                self.consumer.resume(&list)?;
                flow.is_paused = false;
            }
        }
        Ok(())
    }

    /// Commits how far the lanes are: for tools that show the lag, and nothing else.
    fn hint(&mut self) {
        let mut list = TopicPartitionList::new();
        for (partition, end) in std::mem::take(&mut self.hints) {
            // A partition number that came from the library is one that it takes.
            let _ = list.add_partition_offset(self.input, partition, Offset::Offset(end));
        }
        if list.count() > 0
            && let Err(e) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(topic = self.input, error = %e, "the hint of the offset was not taken");
        }
    }

    /// Lets every lane save itself, as far as that is possible in time.
    fn end(&mut self, patience: Duration) {
        let lanes = self.consumer.context().lanes();
        lanes.values().for_each(|inbox| inbox.close(patience));
        let mut all_saved = true;
        for (partition, inbox) in lanes {
            all_saved &= inbox.wait_for_end(patience + REVOKE_PATIENCE) && inbox.result().is_ok();
            self.hints.extend(inbox.report().progress.map(|end| (partition, end)));
        }
        // A hint that no broker takes would only keep the consumer from closing.
        if all_saved {
            self.hint();
        }
    }
}

/// The partitions of this member, kept by the callbacks of a rebalance. They run in the thread that polls.
#[derive(Default)]
struct Members {
    lanes: Mutex<BTreeMap<i32, Arc<Inbox>>>,
    gained: Mutex<Vec<(i32, Arc<Inbox>)>>,
}

impl Members {
    fn lanes(&self) -> BTreeMap<i32, Arc<Inbox>> {
        lock(&self.lanes).clone()
    }

    fn gained(&self) -> Vec<(i32, Arc<Inbox>)> {
        std::mem::take(&mut lock(&self.gained))
    }
}

impl ClientContext for Members {}

impl ConsumerContext for Members {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        // What was lost has another owner already; what is handed over has one as soon as this returns.
        let patience = if consumer.assignment_lost() { Duration::ZERO } else { REVOKE_PATIENCE };
        let mut leaving = Vec::new();
        for element in list.elements() {
            for (_, inbox) in
                lock(&self.gained).extract_if(.., |(partition, _)| *partition == element.partition())
            {
                inbox.ended(Ok(()));
            }
            leaving.extend(lock(&self.lanes).remove(&element.partition()));
        }
        leaving.iter().for_each(|inbox| inbox.close(patience));
        for inbox in leaving {
            if !inbox.wait_for_end(patience) {
                tracing::warn!(
                    "a lane did not end before its partition moved; its successor's claim outranks it"
                );
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        // Nothing is read before the lane says from where.
        if let Err(e) = consumer.pause(list) {
            tracing::warn!(error = %e, "the new partitions cannot be paused");
        }
        for element in list.elements() {
            let inbox = Arc::<Inbox>::default();
            let earlier = lock(&self.lanes).insert(element.partition(), Arc::clone(&inbox));
            // None, unless a partition was lost without a word; its lane must not stay.
            earlier.iter().for_each(|inbox| inbox.close(Duration::ZERO));
            lock(&self.gained).push((element.partition(), inbox));
        }
    }
}
