//! The shape of a stage: a pure function over a batch, with time as data, that can be saved and restored.

use crate::message::{Message, Topic, WireError};
use crate::{Id, Timestamp};

/// A message as a stage receives it.
#[derive(Clone, Debug)]
pub struct Delivered<M> {
    pub message: M,
    /// When the first cause of this message became durable at intake. Latencies count from here.
    pub origin: Timestamp,
    /// When this message itself became durable. It is what a stage may call "now": a replay sees the same value.
    pub at: Timestamp,
}

/// What a stage reads: one message type, or an enum over the topics it consumes.
pub trait Inbound: Sized {
    const TOPICS: &'static [Topic];
    fn decode(topic: Topic, version: u8, bytes: &[u8]) -> Result<Self, WireError>;
    /// The id by which the pump drops repeats at the mouth of the stage.
    fn id(&self) -> Id;
}

impl<M: Message> Inbound for M {
    const TOPICS: &'static [Topic] = &[M::TOPIC];

    fn decode(_: Topic, version: u8, bytes: &[u8]) -> Result<Self, WireError> {
        M::decode(version, bytes)
    }

    fn id(&self) -> Id {
        Message::id(self)
    }
}

/// An encoded message on its way to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub topic: Topic,
    pub version: u8,
    pub id: Id,
    pub key: String,
    pub origin: Timestamp,
    pub bytes: Vec<u8>,
}

impl Posted {
    pub fn new<M: Message>(message: &M, origin: Timestamp) -> Self {
        let (id, key, bytes) = (message.id(), message.key().to_owned(), message.encode());
        Posted { topic: M::TOPIC, version: M::VERSION, id, key, origin, bytes }
    }
}

/// Where a stage puts its results. It remembers which input caused them, so that latency can be traced.
#[derive(Debug, Default)]
pub struct Outbox {
    posted: Vec<Posted>,
    origin: Timestamp,
}

impl Outbox {
    /// Says which input the following messages come from.
    pub fn caused_by<M>(&mut self, input: &Delivered<M>) {
        self.origin = input.origin;
    }

    /// Sets the origin directly, for messages whose cause lies further back than the current input.
    pub fn originating(&mut self, origin: Timestamp) {
        self.origin = origin;
    }

    pub fn push<M: Message>(&mut self, message: &M) {
        self.posted.push(Posted::new(message, self.origin));
    }

    pub fn is_empty(&self) -> bool {
        self.posted.is_empty()
    }

    pub fn len(&self) -> usize {
        self.posted.len()
    }

    pub fn posted(&self) -> &[Posted] {
        &self.posted
    }

    pub fn drain(&mut self) -> Vec<Posted> {
        std::mem::take(&mut self.posted)
    }
}

/// A pure stage. The same inputs in the same order give the same outputs, byte for byte, however they are batched.
pub trait Stage: Send {
    type In: Inbound + Send;

    fn name(&self) -> &'static str;
    fn step(&mut self, batch: &[Delivered<Self::In>], out: &mut Outbox);
    /// The whole memory of the stage. `restore(save())` must give a stage that behaves the same.
    fn save(&self) -> Vec<u8>;
    /// Refuses a snapshot it does not understand, and then keeps the state it had.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), SnapshotError>;
}

/// Why a snapshot was refused; the shell then replays from the start of what the log retains.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SnapshotError {
    #[error("the snapshot of stage `{stage}` has version {version}; this build reads version {expected}")]
    Version { stage: &'static str, version: u32, expected: u32 },
    #[error("the snapshot of stage `{stage}` does not decode: {detail}")]
    Corrupt { stage: &'static str, detail: String },
}
