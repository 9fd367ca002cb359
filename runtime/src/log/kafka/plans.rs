//! Plans over Kafka, for the executor: one partition read from where its ledger says, and reports by the idempotent producer.

use super::producer::{Outbound, Parcel, Receipts};
use super::reader::{is_passing, reader};
use super::wire::{attributes, read};
use super::{Halt, Settings};
use crate::executor::{Plans, READER, Taken};
use crate::log::LogError;
use crate::sqlite::lock;
use prunella_schemas::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use prunella_schemas::{Posted, Timestamp, Topic};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::{ClientContext, Message, Offset};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long the brokers are waited for before whoever asked is told to try again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the brokers are asked how much there is, and for how long.
const LAG_EVERY: Duration = Duration::from_secs(1);
const LAG_MAX: Duration = Duration::from_millis(500);

/// One partition of the plans, and the way back. A position is the offset of what comes next.
pub struct KafkaPlans {
    settings: Settings,
    topic: String,
    partition: i32,
    out: Arc<Outbound>,
    /// Stands at the offset beside it.
    reader: Mutex<Option<(BaseConsumer, i64)>>,
    /// When the lag was last asked for.
    asked: Mutex<Option<Instant>>,
}

impl KafkaPlans {
    /// The name of this input in the ledger.
    pub fn source(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }

    /// How much is left, by what the brokers said last. Asked for seldom.
    #[allow(clippy::disallowed_methods, reason = "how often to ask is the shell's to measure")]
    fn behind(&self, consumer: &BaseConsumer, position: i64) -> Option<u64> {
        let mut asked = lock(&self.asked);
        if asked.is_some_and(|asked| asked.elapsed() < LAG_EVERY) {
            return None;
        }
        *asked = Some(Instant::now());
        let (_, end) = consumer.fetch_watermarks(&self.topic, self.partition, LAG_MAX).ok()?;
        u64::try_from(end - position).ok()
    }

    fn open(&self, at: i64) -> Result<BaseConsumer, LogError> {
        reader(&self.settings, &self.topic, self.partition, Offset::Offset(at), false).map_err(refused)
    }
}

impl Plans for KafkaPlans {
    /// An end before what is known means another topic under the same name: all of it is new.
    fn start(&self, known: i64) -> Result<i64, LogError> {
        let consumer = self.open(known)?;
        let (first, end) = consumer.fetch_watermarks(&self.topic, self.partition, PATIENCE)?;
        let source = self.source();
        if known > end {
            tracing::error!(
                source,
                known,
                end,
                "the topic was cut or made anew; starting at its first message"
            );
            return Ok(first);
        }
        if known < first {
            tracing::error!(source, from = known, to = first, "the topic lost these before they were read");
            return Ok(first);
        }
        Ok(known)
    }

    #[allow(clippy::disallowed_methods, reason = "how long to wait for the world is the shell's to measure")]
    fn read(&self, after: i64, at_most: Duration) -> Result<Taken, LogError> {
        let mut place = lock(&self.reader);
        let consumer = match place.take() {
            Some((consumer, at)) if at == after => consumer,
            _ => self.open(after)?,
        };
        let (by, mut taken, mut bytes) =
            (Instant::now() + at_most, Taken { position: after, ..Taken::default() }, 0);
        while taken.messages.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
            // What has come is not kept waiting for more.
            let is_first = taken.position == after;
            let patience =
                if is_first { by.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            let message = match consumer.poll(patience) {
                None => break,
                Some(Err(e)) if is_passing(&e) => {
                    tracing::warn!(source = self.source(), error = %e, "Kafka is not well");
                    break;
                }
                Some(Err(e)) => return Err(e.into()),
                Some(Ok(message)) => message.detach(),
            };
            taken.position = message.offset() + 1;
            let at = Timestamp(message.timestamp().to_millis().unwrap_or_default());
            match read(&message, Topic::Plans, &self.settings.tenant, at) {
                Ok(posted) => {
                    bytes += posted.bytes.len();
                    taken.messages.push(posted);
                }
                Err(letter) => {
                    let at = &letter.record.origin;
                    tracing::error!(
                        at,
                        detail = letter.detail,
                        "this is no transition; it is not carried out"
                    );
                }
            }
        }
        taken.behind = self.behind(&consumer, taken.position);
        *place = Some((consumer, taken.position));
        Ok(taken)
    }

    /// The ledger's database knows; nothing is forgotten here because of it.
    fn reached(&self, _: i64) -> Result<(), LogError> {
        Ok(())
    }

    #[allow(clippy::disallowed_methods, reason = "how long to wait for the world is the shell's to measure")]
    fn report(&self, posted: Posted) -> Result<(), LogError> {
        let (since, receipts) = (Instant::now(), Arc::<Receipts>::default());
        let give_up = || since.elapsed() >= PATIENCE;
        let topic = self.settings.topic(posted.topic);
        let parcel = Parcel {
            topic: &topic,
            partition: None,
            key: &posted.key,
            payload: Some(&posted.bytes),
            headers: Some(attributes(&posted, &topic)),
        };
        self.out.send(parcel, &receipts, &give_up).map_err(refused)?;
        receipts.wait(&give_up).map(drop).map_err(refused)
    }
}

/// A member of the group of executors: is told which partitions of the plans are its own.
pub struct Membership {
    settings: Settings,
    consumer: BaseConsumer<Assigned>,
    out: Arc<Outbound>,
}

impl Membership {
    pub fn join(settings: &Settings) -> Result<Self, LogError> {
        let config = settings.consumer(READER, 1);
        let consumer = BaseConsumer::from_config_and_context(&config, Assigned::default())?;
        consumer.subscribe(&[&settings.topic(Topic::Plans)])?;
        // Each report stands for itself, and is tried again by whoever has it: one that is refused for good must not stop
        // the others of the process.
        let out = Arc::new(Outbound::open_loose(settings)?);
        Ok(Membership { settings: settings.clone(), consumer, out })
    }

    pub fn plans(&self, partition: i32) -> KafkaPlans {
        let (settings, out) = (self.settings.clone(), Arc::clone(&self.out));
        let topic = settings.topic(Topic::Plans);
        KafkaPlans { settings, topic, partition, out, reader: Mutex::default(), asked: Mutex::default() }
    }

    /// The partitions that are ours now. To be asked again and again: who is silent has lost them.
    pub fn partitions(&self, at_most: Duration) -> Result<BTreeSet<i32>, LogError> {
        match self.consumer.poll(at_most) {
            Some(Err(e)) if !is_passing(&e) => return Err(e.into()),
            Some(Err(KafkaError::MessageConsumption(code))) => {
                tracing::debug!(%code, "Kafka is not well");
            }
            _ => {}
        }
        Ok(lock(&self.consumer.context().0).clone())
    }
}

/// Kept by the callbacks of a rebalance, which run in the thread that polls.
#[derive(Default)]
struct Assigned(Mutex<BTreeSet<i32>>);

impl ClientContext for Assigned {}

impl ConsumerContext for Assigned {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            let mut partitions = lock(&self.0);
            let gone: BTreeSet<i32> = list.elements().iter().map(|gone| gone.partition()).collect();
            partitions.retain(|partition| !gone.contains(partition));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        // Nothing is read by this consumer: the ledger says from where.
        if let Err(e) = consumer.pause(list) {
            tracing::warn!(error = %e, "the new partitions cannot be paused");
        }
        lock(&self.0).extend(list.elements().iter().map(|gained| gained.partition()));
    }
}

fn refused(halt: Halt) -> LogError {
    match halt {
        Halt::World(e) => e,
        Halt::Stopped | Halt::Killed => {
            let seconds = PATIENCE.as_secs();
            LogError::Unavailable(format!("Kafka acknowledged nothing for {seconds} s"))
        }
    }
}
