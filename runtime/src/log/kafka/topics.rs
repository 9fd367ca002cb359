//! Making the topics with the settings that the protocol relies on.

use super::{MESSAGE_BYTES_MAX, Settings};
use crate::log::LogError;
use prunella_schemas::Topic;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// How a topic is spread over the brokers.
#[derive(Clone, Copy, Debug)]
pub struct Replication {
    /// Of every topic. Never change it: a key would move to another partition, and away from its past.
    pub partitions: i32,
    pub replicas: i32,
}

/// Makes those of our topics that are not there. Those that are stay as they are.
pub async fn create_topics(settings: &Settings, replication: Replication) -> Result<(), LogError> {
    let admin: AdminClient<DefaultClientContext> = settings.client().create()?;
    let bytes = MESSAGE_BYTES_MAX.to_string();
    let names = names(settings);
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|(name, compacted)| {
            let spread = TopicReplication::Fixed(replication.replicas);
            let topic = NewTopic::new(name, replication.partitions, spread)
                .set("max.message.bytes", &bytes)
                // When a message became durable is not for its producer to say.
                .set("message.timestamp.type", "LogAppendTime")
                // "Acknowledged by all" means by all that are in sync, which may be one.
                .set("min.insync.replicas", if replication.replicas > 1 { "2" } else { "1" })
                .set("unclean.leader.election.enable", "false");
            match compacted {
                true => topic
                    .set("cleanup.policy", "compact")
                    .set("segment.bytes", "16777216")
                    .set("min.cleanable.dirty.ratio", "0.2"),
                false => topic,
            }
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    for result in admin.create_topics(&topics, &options).await? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                return Err(LogError::Unavailable(format!("cannot make the topic {name}: {code}")));
            }
        }
    }
    // A broker may say that a topic is made before it knows of it.
    for _ in 0..PATIENCE.as_millis() / BETWEEN_LOOKS.as_millis() {
        let metadata = admin.inner().fetch_metadata(None, PATIENCE)?;
        let is_known =
            |name: &str| metadata.topics().iter().any(|t| t.name() == name && !t.partitions().is_empty());
        if names.iter().all(|(name, _)| is_known(name)) {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Err(LogError::Unavailable("the topics were made, but the brokers do not know them yet; try again".into()))
}

/// Every topic of ours, and whether it keeps the newest of each key instead of the newest of all.
pub fn names(settings: &Settings) -> Vec<(String, bool)> {
    let is_compacted = |topic: Topic| matches!(topic, Topic::Manifest | Topic::Risk);
    let named = Topic::ALL.into_iter().map(|topic| (settings.topic(topic), is_compacted(topic)));
    named.chain([(settings.snapshots(), true), (settings.findings_by_tenant(), false)]).collect()
}
