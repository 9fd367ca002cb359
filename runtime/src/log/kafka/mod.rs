//! Kafka as the log between the stages: each input partition has a stage of its own, a manifest and snapshots.
//!
//! There is no order over all topics here and no transaction over a step, so this is not a [`Log`](super::Log). What
//! makes a step exact instead is written down in decision 0014.

mod commands;
mod fence;
mod flight;
pub(crate) mod inbox;
mod intake;
pub(crate) mod lane;
mod live;
pub(crate) mod manifest;
mod plans;
mod preflight;
pub(crate) mod producer;
pub(crate) mod pump;
mod reader;
mod snapshot;
mod ticks;
mod topics;
pub(crate) mod wire;

pub use intake::KafkaIntake;
pub use live::KafkaFeed;
pub use plans::{KafkaPlans, Membership};
pub use preflight::{SetupError, answers, check};
pub use pump::KafkaPump;
pub use topics::{Replication, create_topics};
pub use wire::{HEADER_ID, HEADER_ORIGIN, HEADER_SOURCE, HEADER_TYPE, HEADER_VERSION, attributes};

use super::LogError;
use prunella_schemas::limits::BATCH_MESSAGES_MAX;
use prunella_schemas::{Tenant, Topic};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Largest message that is written, in bytes: a dead letter spells out bytes that are no text as numbers.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes that wait in the producer; a sender waits when they are full.
const PRODUCER_KIBIBYTES_MAX: usize = 64 * 1024;
/// Bytes fetched ahead per partition.
const FETCH_KIBIBYTES_MAX: usize = 16 * 1024;
/// A member that is silent for so long has lost its partitions.
const SESSION_MS: u64 = 10_000;

/// How to reach the brokers, and who this is.
#[derive(Clone)]
pub struct Settings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Passed to librdkafka as they are: `security.protocol`, `sasl.mechanism`, `ssl.ca.location`, ...
    pub properties: Vec<(String, String)>,
    /// What our topics start with: `prunella`, unless several installations share a cluster.
    pub prefix: String,
    /// Topics to read that are not the stage's own by name: a topic of records for each tenant, say.
    pub inputs: BTreeMap<Topic, String>,
    /// Whose records the input holds. Never taken from a record.
    pub tenant: Tenant,
    /// Name of this member across restarts, so that a quick one moves no partition.
    pub member: Option<String>,
    pub pace: Pace,
    /// Where tests let the process die.
    pub fault: Option<Fault>,
}

impl Settings {
    pub fn new(brokers: impl Into<String>) -> Self {
        Settings {
            brokers: brokers.into(),
            properties: Vec::new(),
            prefix: "prunella".into(),
            inputs: BTreeMap::new(),
            tenant: Tenant::default(),
            member: None,
            pace: Pace::default(),
            fault: None,
        }
    }

    /// The full name of one of our topics.
    pub fn topic(&self, topic: Topic) -> String {
        self.named(topic.name())
    }

    /// A copy of the findings with the tenant as the key, for a stage that sees a tenant as a whole.
    pub fn findings_by_tenant(&self) -> String {
        self.named("findings-by-tenant")
    }

    /// How many partitions one of our topics has. Blocks.
    pub fn partitions(&self, topic: Topic) -> Result<u32, LogError> {
        let count = reader::partitions(self, &self.topic(topic))?;
        Ok(count.unsigned_abs())
    }

    fn manifest(&self) -> String {
        self.topic(Topic::Manifest)
    }

    fn snapshots(&self) -> String {
        self.named("snapshots")
    }

    fn named(&self, name: &str) -> String {
        format!("{}.{name}.v1", self.prefix)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "prunella");
        // A broker that comes back should be found quickly.
        config.set("reconnect.backoff.max.ms", "2000").set("socket.keepalive.enable", "true");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// One kind of producer for everything we write: the same key lands on the same partition whoever writes it.
    fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
        config.set("compression.codec", "zstd").set("linger.ms", "2");
        config.set("message.max.bytes", MESSAGE_BYTES_MAX.to_string());
        config.set("queue.buffering.max.kbytes", PRODUCER_KIBIBYTES_MAX.to_string());
        // A broker that is away is waited for; whoever waits decides when to give up.
        config.set("message.timeout.ms", "0");
        config
    }

    /// A member of the group of `stage`. Its committed offsets are for lag tools; where to start is in the manifest.
    fn consumer(&self, stage: &str, inputs: usize) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", format!("{}-{stage}", self.prefix)).set("auto.offset.reset", "earliest");
        // Of several topics one member must get the same partition numbers, which only `range` promises.
        let strategy = if inputs > 1 { "range" } else { "cooperative-sticky" };
        config.set("partition.assignment.strategy", strategy);
        config.set("statistics.interval.ms", "500");
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("session.timeout.ms", SESSION_MS.to_string()).set("heartbeat.interval.ms", "1000");
        config.set("queued.max.messages.kbytes", FETCH_KIBIBYTES_MAX.to_string());
        config.set("fetch.message.max.bytes", MESSAGE_BYTES_MAX.to_string());
        config.set("fetch.wait.max.ms", "100").set("check.crcs", "true");
        if let Some(member) = &self.member {
            config.set("group.instance.id", member);
        }
        config
    }
}

/// How much at once. Tests choose small numbers, so that every boundary is met.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub batch_messages_max: usize,
    pub snapshot_messages_max: u64,
    /// In time of the log, milliseconds.
    pub snapshot_ms_max: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            batch_messages_max: BATCH_MESSAGES_MAX,
            snapshot_messages_max: crate::pump::SNAPSHOT_MESSAGES_MAX,
            snapshot_ms_max: crate::pump::SNAPSHOT_MS_MAX,
        }
    }
}

/// Says whether the process dies here, given the partition.
pub type Fault = Arc<dyn Fn(FailPoint, i32) -> bool + Send + Sync>;

/// The moments of a step between which a crash makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailPoint {
    /// The claim is in the manifest.
    Claimed,
    /// The stage is restored; nothing is read yet.
    Restored,
    /// The order of a step over several inputs is on its way to the manifest, behind that of another one.
    Ahead,
    /// The order of a step over several inputs is in the manifest.
    Intended,
    /// The stage has stepped; nothing is written yet.
    Stepped,
    /// Some outputs are on their way, some are not.
    HalfSent,
    /// The outputs of several steps are on their way.
    Overtaken,
    /// Every output of a step but its scores is acknowledged; these are not sent yet.
    Held,
    /// Every output of a step is acknowledged; the manifest does not say so yet.
    Sent,
    /// Some parts of a snapshot are written.
    HalfSaved,
    /// A snapshot is written; the manifest does not name it yet.
    Saved,
    /// The manifest says that the step is done.
    Done,
}

impl FailPoint {
    pub const ALL: [FailPoint; 12] = [
        FailPoint::Claimed,
        FailPoint::Restored,
        FailPoint::Ahead,
        FailPoint::Intended,
        FailPoint::Stepped,
        FailPoint::HalfSent,
        FailPoint::Overtaken,
        FailPoint::Held,
        FailPoint::Sent,
        FailPoint::HalfSaved,
        FailPoint::Saved,
        FailPoint::Done,
    ];
}

/// Why a lane ends before its input does.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It was told to, or it was told long enough ago.
    Stopped,
    /// A test let it die.
    Killed,
    World(LogError),
}

impl From<KafkaError> for Halt {
    fn from(error: KafkaError) -> Self {
        Halt::World(error.into())
    }
}

impl From<KafkaError> for LogError {
    fn from(error: KafkaError) -> Self {
        LogError::Unavailable(format!("Kafka: {error}"))
    }
}
