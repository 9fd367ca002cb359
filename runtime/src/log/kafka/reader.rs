//! Reading a stretch of one partition from end to end, outside any group: for the manifest and for snapshots.

use super::{Halt, Settings};
use crate::log::LogError;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use std::ops::ControlFlow;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(50);
const METADATA_MAX: Duration = Duration::from_secs(5);

/// Visits messages from `from` on, until the visitor has enough or the partition ends. Waits for a broker that is away.
pub fn read_stretch(
    settings: &Settings,
    topic: &str,
    partition: i32,
    from: Offset,
    give_up: &dyn Fn() -> bool,
    mut visit: impl FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
) -> Result<(), Halt> {
    let consumer = reader(settings, topic, partition, from, true)?;
    while !give_up() {
        match consumer.poll(POLL) {
            Some(Ok(message)) if visit(&message).is_break() => return Ok(()),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(e)) if !is_passing(&e) => return Err(e.into()),
            Some(_) | None => {}
        }
    }
    Err(Halt::Stopped)
}

/// Visits what comes next, also behind the present end, until the visitor has enough.
pub fn read_on(
    consumer: &BaseConsumer,
    give_up: &dyn Fn() -> bool,
    mut visit: impl FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
) -> Result<(), Halt> {
    while !give_up() {
        match consumer.poll(POLL) {
            Some(Ok(message)) if visit(&message).is_break() => return Ok(()),
            Some(Err(e)) if !is_passing(&e) => return Err(e.into()),
            Some(_) | None => {}
        }
    }
    Err(Halt::Stopped)
}

/// A consumer of one partition, outside any group. `ends`: it says so when it is at the end.
pub fn reader(
    settings: &Settings,
    topic: &str,
    partition: i32,
    from: Offset,
    ends: bool,
) -> Result<BaseConsumer, Halt> {
    let mut config = settings.client();
    // Assigned by hand; the library wants a name for the group all the same.
    config.set("group.id", format!("{}-reader", settings.prefix)).set("enable.auto.commit", "false");
    config
        .set("enable.partition.eof", if ends { "true" } else { "false" })
        .set("auto.offset.reset", "earliest");
    config
        .set("fetch.wait.max.ms", "10")
        .set("fetch.message.max.bytes", super::MESSAGE_BYTES_MAX.to_string());
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, from)?;
    consumer.assign(&assignment)?;
    Ok(consumer)
}

/// How many partitions a topic has.
pub fn partitions(settings: &Settings, topic: &str) -> Result<i32, LogError> {
    let consumer: BaseConsumer = settings.client().create()?;
    let metadata = consumer.fetch_metadata(Some(topic), METADATA_MAX)?;
    let count = metadata.topics().first().map_or(0, |t| t.partitions().len());
    match i32::try_from(count) {
        Ok(count @ 1..) => Ok(count),
        _ => Err(LogError::Unavailable(format!("the topic {topic} does not exist; create it first"))),
    }
}

/// Whether the library goes on by itself: brokers come back.
pub fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    let passing = [
        Code::BrokerTransportFailure,
        Code::AllBrokersDown,
        Code::OperationTimedOut,
        Code::Resolve,
        Code::BrokerNotAvailable,
        Code::LeaderNotAvailable,
        Code::NotLeaderForPartition,
        Code::RequestTimedOut,
        Code::NetworkException,
        Code::CoordinatorNotAvailable,
        Code::CoordinatorLoadInProgress,
        Code::NotCoordinator,
        Code::PollExceeded,
    ];
    match error {
        KafkaError::MessageConsumption(code) => passing.contains(code),
        _ => false,
    }
}
