//! Writing: one idempotent producer for a process, and receipts that say when everything of a step is durable.

use super::inbox::Inbox;
use super::{Halt, Settings};
use crate::log::LogError;
use crate::sqlite::lock;
use prunella_schemas::Timestamp;
use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long a full producer, or a broker that is silent, is waited for before it is asked again whether to give up.
const PATIENCE: Duration = Duration::from_millis(20);

pub struct Outbound {
    producer: ThreadedProducer<Deliveries>,
}

/// One message on its way.
pub struct Parcel<'a> {
    pub topic: &'a str,
    /// By its key where it is `None`.
    pub partition: Option<i32>,
    pub key: &'a str,
    /// `None` deletes the key from a compacted topic.
    pub payload: Option<&'a [u8]>,
    pub headers: Option<OwnedHeaders>,
}

impl Outbound {
    /// For lanes. After a message that no broker takes it writes nothing more: what comes behind must not stand before
    /// it when it is made again.
    pub fn open(settings: &Settings) -> Result<Self, LogError> {
        let mut config = settings.producer();
        config.set("enable.gapless.guarantee", "true");
        Ok(Outbound { producer: ThreadedProducer::from_config_and_context(&config, Deliveries)? })
    }

    /// For messages of which each stands for itself: one that is refused stops no other.
    pub fn open_loose(settings: &Settings) -> Result<Self, LogError> {
        let config = settings.producer();
        Ok(Outbound { producer: ThreadedProducer::from_config_and_context(&config, Deliveries)? })
    }

    /// Hands it to the producer; `receipts` will know what became of it. Waits while the producer is full.
    pub fn send(
        &self,
        parcel: Parcel<'_>,
        receipts: &Arc<Receipts>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(), Halt> {
        let mut record = BaseRecord::<str, [u8], _>::with_opaque_to(parcel.topic, Arc::clone(receipts));
        record = record.key(parcel.key);
        record.payload = parcel.payload;
        record.partition = parcel.partition;
        record.headers = parcel.headers;
        lock(&receipts.state).waiting += 1;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if !give_up() => {
                    record = back;
                    std::thread::sleep(PATIENCE);
                }
                Err((error, _)) => {
                    lock(&receipts.state).waiting -= 1;
                    return match error {
                        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => Err(Halt::Stopped),
                        error => Err(error.into()),
                    };
                }
            }
        }
    }
}

/// What became of the messages of one step.
#[derive(Default)]
pub struct Receipts {
    state: Mutex<State>,
    changed: Condvar,
    /// Whose lane wants to know when it is decided.
    bell: Option<Arc<Inbox>>,
}

#[derive(Default)]
struct State {
    waiting: usize,
    failure: Option<String>,
    first: Option<i64>,
    /// The broker's clock when the first became durable.
    first_at: Option<i64>,
}

impl Receipts {
    /// Receipts that wake the lane of `inbox` when everything is durable, or something is refused.
    pub fn waking(inbox: &Arc<Inbox>) -> Arc<Self> {
        Arc::new(Receipts { bell: Some(Arc::clone(inbox)), ..Receipts::default() })
    }

    /// Waits until everything is durable. The smallest offset written.
    pub fn wait(&self, give_up: &dyn Fn() -> bool) -> Result<Option<i64>, Halt> {
        let mut state = lock(&self.state);
        loop {
            if state.is_settled()? {
                return Ok(state.first);
            }
            if give_up() {
                return Err(Halt::Stopped);
            }
            let waited = self.changed.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The broker's clock when the first of it became durable.
    pub fn first_at(&self) -> Timestamp {
        Timestamp(lock(&self.state).first_at.unwrap_or_default())
    }

    /// Whether everything is durable by now.
    pub fn is_settled(&self) -> Result<bool, Halt> {
        lock(&self.state).is_settled()
    }
}

impl State {
    fn is_settled(&self) -> Result<bool, Halt> {
        match &self.failure {
            Some(failure) => {
                Err(Halt::World(LogError::Unavailable(format!("Kafka took no message: {failure}"))))
            }
            None => Ok(self.waiting == 0),
        }
    }
}

struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Receipts>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipts: Arc<Receipts>) {
        let mut state = lock(&receipts.state);
        state.waiting = state.waiting.saturating_sub(1);
        match result {
            Ok(message) => {
                let offset = message.offset();
                if state.first.is_none_or(|first| offset < first) {
                    (state.first, state.first_at) = (Some(offset), message.timestamp().to_millis());
                }
            }
            Err((error, message)) => state.failure = Some(format!("{}: {error}", message.topic())),
        }
        // A word for each message would cost more than the message.
        let is_decided = state.waiting == 0 || state.failure.is_some();
        drop(state);
        if is_decided {
            receipts.changed.notify_all();
            receipts.bell.iter().for_each(|inbox| inbox.ring());
        }
    }
}
