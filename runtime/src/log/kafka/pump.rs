//! The pump over Kafka: the calling thread polls and never waits for a stage; each partition has a thread of its own.

use super::inbox::{Fill, Inbox};
use super::lane::{self, Place};
use super::producer::Outbound;
use super::reader::{is_passing, partitions};
use super::ticks::Due;
use super::{Halt, Settings};
use crate::clock::Clock;
use crate::log::LogError;
use crate::pump::Counts;
use crate::sqlite::lock;
use prunella_schemas::{Inbound, Stage, Timestamp, Topic};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::statistics::Statistics;
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// A stage over the partitions of its topics. `make` gives a new stage for each partition number.
pub struct KafkaPump<S, F> {
    settings: Settings,
    make: F,
    counts: Arc<Counts>,
    due: Option<Due<S>>,
}

impl<S: Stage, F: Fn() -> S + Sync> KafkaPump<S, F> {
    pub fn new(settings: Settings, make: F) -> Self {
        KafkaPump { settings, make, counts: Arc::default(), due: None }
    }

    /// Posts a tick when a stage has something due. The stage has to read commands.
    pub fn with_ticks(self, clock: Clock, next: fn(&S) -> Option<Timestamp>) -> Self {
        KafkaPump { due: Some(Due { next, clock }), ..self }
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
        let body = |place: &Place<'_>| lane::run(place, (self.make)(), self.due.as_ref());
        let (settings, counts) = (&self.settings, self.counts.as_ref());
        Group { settings, name: self.name(), counts, body: &body }.run(S::In::TOPICS, stop)
    }
}

/// A member of a consumer group, and what it does on each partition number that it is given.
pub(crate) struct Group<'a> {
    pub settings: &'a Settings,
    pub name: &'static str,
    pub counts: &'a Counts,
    pub body: &'a (dyn Fn(&Place<'_>) -> Result<(), Halt> + Sync),
}

impl Group<'_> {
    /// Runs the body on a thread for each partition number of the topics, until told to stop or one of them ends.
    pub fn run(&self, topics: &[Topic], stop: &AtomicBool) -> Result<(), LogError> {
        let named = |topic: &Topic| match self.settings.inputs.get(topic) {
            Some(name) => (*topic, name.clone()),
            None => (*topic, self.settings.topic(*topic)),
        };
        let inputs: Vec<(Topic, String)> = topics.iter().map(named).collect();
        self.check_partitions(&inputs)?;
        let manifest_partitions = partitions(self.settings, &self.settings.manifest())?;
        let snapshot_partitions = partitions(self.settings, &self.settings.snapshots())?;
        let out = Outbound::open(self.settings)?;
        let config = self.settings.consumer(self.name, inputs.len());
        let names: Vec<&str> = inputs.iter().map(|(_, name)| name.as_str()).collect();
        let consumer = BaseConsumer::from_config_and_context(&config, Members::new(inputs.len()))?;
        consumer.subscribe(&names)?;
        let result = std::thread::scope(|scope| {
            let mut poller = Poller {
                group: self,
                consumer: &consumer,
                out: &out,
                inputs: &inputs,
                manifest_partitions,
                snapshot_partitions,
                flows: BTreeMap::new(),
                hints: BTreeMap::new(),
                positions: BTreeMap::new(),
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

    /// What belongs together must have the same partition number in every input.
    fn check_partitions(&self, inputs: &[(Topic, String)]) -> Result<(), LogError> {
        let mut first: Option<(&str, i32)> = None;
        for (_, name) in inputs {
            let count = partitions(self.settings, name)?;
            match first {
                Some((other, others)) if others != count => {
                    return Err(LogError::Unavailable(format!(
                        "the topic {name} has {count} partitions and {other} has {others}; they must have the same"
                    )));
                }
                _ => first = Some((name, count)),
            }
        }
        Ok(())
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

struct Poller<'a> {
    group: &'a Group<'a>,
    consumer: &'a BaseConsumer<Members>,
    out: &'a Outbound,
    inputs: &'a [(Topic, String)],
    manifest_partitions: i32,
    snapshot_partitions: i32,
    flows: BTreeMap<Source, Flow>,
    hints: BTreeMap<Source, i64>,
    /// How far each input is, for the lag.
    positions: BTreeMap<Source, i64>,
}

/// Which input, and its partition.
type Source = (usize, i32);

impl<'a> Poller<'a> {
    #[allow(clippy::disallowed_methods, reason = "how often to commit a hint is the shell's to measure")]
    fn run<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>, stop: &AtomicBool) -> Result<(), Halt> {
        let mut hinted = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.poll()?;
            for (partition, inbox) in self.consumer.context().gained() {
                let sources = (0..self.inputs.len()).map(|input| (input, partition));
                self.flows.extend(sources.map(|source| (source, Flow::default())));
                self.start(scope, partition, inbox);
            }
            self.look()?;
            if hinted.elapsed() >= HINT_EVERY {
                hinted = Instant::now();
                self.hint();
                self.note_lag();
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
                    tracing::warn!(stage = self.group.name, error = %e, "Kafka is not well");
                    break;
                }
                Some(Err(e)) => return Err(e.into()),
                Some(Ok(message)) => {
                    let partition = message.partition();
                    let input = self.inputs.iter().position(|(_, name)| name == message.topic());
                    let Some(input) = input else { continue };
                    // What was fetched before the consumer stood where the lane starts is not for the lane.
                    if self.flows.get(&(input, partition)).is_some_and(|flow| flow.is_running)
                        && let Some(inbox) = lanes.get(&partition)
                    {
                        inbox.push(input, message.detach());
                    }
                }
            }
            patience = Duration::ZERO;
        }
        Ok(())
    }

    fn start<'scope>(&self, scope: &'scope Scope<'scope, 'a>, partition: i32, inbox: Arc<Inbox>) {
        let (group, out, inputs) = (self.group, self.out, self.inputs);
        let manifest_partition = partition % self.manifest_partitions;
        let snapshot_partition = partition % self.snapshot_partitions;
        scope.spawn(move || {
            let Group { settings, counts, .. } = *group;
            let place = Place {
                settings,
                out,
                counts,
                inbox: &inbox,
                inputs,
                partition,
                manifest_partition,
                snapshot_partition,
            };
            // A panic is a defect of ours. The group must hear of it, or the partition would wait for ever.
            let worked = catch_unwind(AssertUnwindSafe(|| (group.body)(&place)));
            let panicked = |_| {
                let what =
                    format!("lane {partition} of {} panicked; please report this with the log", group.name);
                Err(Halt::World(LogError::Unavailable(what)))
            };
            inbox.ended(worked.unwrap_or_else(panicked));
        });
    }

    /// Looks at every lane: starts, pauses, resumes its partitions, or ends because it did.
    fn look(&mut self) -> Result<(), Halt> {
        let lanes = self.consumer.context().lanes();
        self.tell_ends(&lanes);
        self.flows.retain(|(_, partition), _| lanes.contains_key(partition));
        self.positions.retain(|(_, partition), _| lanes.contains_key(partition));
        for (partition, inbox) in lanes {
            let report = inbox.report();
            if report.has_ended {
                inbox.result()?;
                return Err(Halt::World(LogError::Unavailable(format!("lane {partition} ended by itself"))));
            }
            let offset = |offsets: &Option<Vec<i64>>, input| offsets.as_ref()?.get(input).copied();
            for (input, fill) in report.fills.into_iter().enumerate() {
                let progress = offset(&report.progress, input);
                let start = offset(&report.start, input);
                self.hints.extend(progress.map(|end| ((input, partition), end)));
                self.positions.extend(progress.or(start).map(|end| ((input, partition), end)));
                self.regulate((input, partition), start, fill)?;
            }
        }
        Ok(())
    }

    /// Lets one partition flow, or not.
    fn regulate(&mut self, (input, partition): Source, start: Option<i64>, fill: Fill) -> Result<(), Halt> {
        let name = self.input(input);
        let flow = self.flows.entry((input, partition)).or_default();
        flow.start = start.or(flow.start);
        let mut list = TopicPartitionList::new();
        list.add_partition(name, partition);
        if let Some(start) = flow.start {
            // It may not be ready for that yet; then the next look tries again.
            if self.consumer.seek(name, partition, Offset::Offset(start), SEEK_MAX).is_ok() {
                self.consumer.resume(&list)?;
                *flow = Flow { is_running: true, ..Flow::default() };
            }
        } else if flow.is_running && !flow.is_paused && fill.is_full {
            self.consumer.pause(&list)?;
            flow.is_paused = true;
        } else if flow.is_paused && fill.has_room {
            self.consumer.resume(&list)?;
            flow.is_paused = false;
        }
        Ok(())
    }

    /// Tells the lanes what was heard of the ends of their inputs since the last time.
    fn tell_ends(&self, lanes: &BTreeMap<i32, Arc<Inbox>>) {
        for ((name, partition), end) in self.consumer.context().news() {
            let input = self.inputs.iter().position(|(_, input)| *input == name);
            if let (Some(input), Some(inbox)) = (input, lanes.get(&partition)) {
                inbox.ends_at(input, end);
            }
        }
    }

    fn input(&self, input: usize) -> &'a str {
        self.inputs.get(input).map_or("", |(_, name)| name)
    }

    /// Commits how far the lanes are: for tools that show the lag, and nothing else.
    fn hint(&mut self) {
        let mut list = TopicPartitionList::new();
        for ((input, partition), end) in std::mem::take(&mut self.hints) {
            // A partition number that came from the library is one that it takes.
            let _ = list.add_partition_offset(self.input(input), partition, Offset::Offset(end));
        }
        if list.count() > 0
            && let Err(e) = self.consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(stage = self.group.name, error = %e, "the hint of the offset was not taken");
        }
    }

    fn note_lag(&self) {
        let ends = self.consumer.context().ends();
        let behind = |((input, partition), position): (&Source, &i64)| {
            let end = ends.get(&(self.input(*input).to_owned(), *partition)).copied().unwrap_or_default();
            u64::try_from(end - position).unwrap_or_default()
        };
        self.group.counts.lag.store(self.positions.iter().map(behind).sum(), Ordering::Relaxed);
    }

    /// Lets every lane save itself, as far as that is possible in time.
    fn end(&mut self, patience: Duration) {
        let lanes = self.consumer.context().lanes();
        lanes.values().for_each(|inbox| inbox.close(patience));
        let mut all_saved = true;
        for (partition, inbox) in lanes {
            all_saved &= inbox.wait_for_end(patience + REVOKE_PATIENCE) && inbox.result().is_ok();
            let ends = inbox.report().progress.into_iter().flatten().enumerate();
            self.hints.extend(ends.map(|(input, end)| ((input, partition), end)));
        }
        // A hint that no broker takes would only keep the consumer from closing.
        if all_saved {
            self.hint();
        }
    }
}

/// The partitions of this member, kept by the callbacks of a rebalance. They run in the thread that polls.
struct Members {
    /// Of the stage.
    inputs: usize,
    lanes: Mutex<BTreeMap<i32, Arc<Inbox>>>,
    gained: Mutex<Vec<(i32, Arc<Inbox>)>>,
    /// The end of each partition of a topic, as the library last heard.
    ends: Mutex<Ends>,
    /// Those that nobody has asked for yet.
    news: Mutex<Ends>,
}

type Ends = BTreeMap<(String, i32), i64>;

impl Members {
    fn new(inputs: usize) -> Self {
        let (lanes, gained) = (Mutex::default(), Mutex::default());
        Members { inputs, lanes, gained, ends: Mutex::default(), news: Mutex::default() }
    }

    fn ends(&self) -> Ends {
        lock(&self.ends).clone()
    }

    fn news(&self) -> Ends {
        std::mem::take(&mut lock(&self.news))
    }

    fn lanes(&self) -> BTreeMap<i32, Arc<Inbox>> {
        lock(&self.lanes).clone()
    }

    fn gained(&self) -> Vec<(i32, Arc<Inbox>)> {
        std::mem::take(&mut lock(&self.gained))
    }
}

impl ClientContext for Members {
    fn stats(&self, statistics: Statistics) {
        let (mut ends, mut news) = (lock(&self.ends), lock(&self.news));
        for (name, topic) in statistics.topics {
            let known = topic.partitions.into_iter().filter(|(_, partition)| partition.hi_offset >= 0);
            let known = known.map(|(number, partition)| ((name.clone(), number), partition.hi_offset));
            news.extend(known);
        }
        ends.extend(news.clone());
    }
}

/// The partition numbers of a list, and how many topics each comes with.
fn numbers(list: &TopicPartitionList) -> BTreeMap<i32, usize> {
    let mut numbers = BTreeMap::new();
    list.elements().iter().for_each(|element| *numbers.entry(element.partition()).or_default() += 1);
    numbers
}

impl ConsumerContext for Members {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        // What was lost has another owner already; what is handed over has one as soon as this returns.
        let patience = if consumer.assignment_lost() { Duration::ZERO } else { REVOKE_PATIENCE };
        let mut leaving = Vec::new();
        for partition in numbers(list).into_keys() {
            for (_, inbox) in lock(&self.gained).extract_if(.., |(gained, _)| *gained == partition) {
                inbox.ended(Ok(()));
            }
            leaving.extend(lock(&self.lanes).remove(&partition));
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
        for (partition, topics) in numbers(list) {
            let inbox = Arc::new(Inbox::new(self.inputs));
            let earlier = lock(&self.lanes).insert(partition, Arc::clone(&inbox));
            // None, unless a partition was lost without a word; its lane must not stay.
            earlier.iter().for_each(|inbox| inbox.close(Duration::ZERO));
            if topics == self.inputs {
                lock(&self.gained).push((partition, inbox));
            } else {
                inbox.ended(Err(Halt::World(LogError::Unavailable(format!(
                    "of partition {partition} this member got {topics} topics of {}; does every member of the group \
                     run the same version?",
                    self.inputs
                )))));
            }
        }
    }
}
