//! Looks before the start whether the brokers and the topics are what the protocol relies on, and says what is not.

use super::topics::names;
use super::{MESSAGE_BYTES_MAX, Settings};
use crate::sqlite::lock;
use prunella_schemas::Topic;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// How long the brokers are asked before they count as away, in turns of a second.
const TURNS_MAX: usize = 8;
const TURN: Duration = Duration::from_secs(1);
const ADMIN_MAX: Duration = Duration::from_secs(10);

/// What is wrong with the brokers, the topics or our own settings, and what to do about it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SetupError {
    #[error("no broker answers at {brokers}: {detail}; is Kafka running there? see `kafka.brokers`")]
    Unreachable { brokers: String, detail: String },
    #[error(
        "the broker at {brokers} does not let us in: {detail}; see `kafka.sasl_username`, `kafka.sasl_password_file` \
         and `sasl.mechanism` under [kafka.properties]"
    )]
    Credentials { brokers: String, detail: String },
    #[error(
        "the broker at {brokers} and we do not speak the same protocol: {detail}; `security.protocol` under \
         [kafka.properties] must be what that listener speaks"
    )]
    Protocol { brokers: String, detail: String },
    #[error(
        "we do not trust the certificate of the broker at {brokers}: {detail}; `ssl.ca.location` under \
         [kafka.properties] must name its authority, and `kafka.brokers` the host that it was made out for"
    )]
    Certificate { brokers: String, detail: String },
    #[error("librdkafka does not take the settings: {0}; see [kafka.properties]")]
    Property(String),
    #[error("the topic {0} does not exist; `prunella topics create` makes it")]
    Missing(String),
    #[error(
        "the topic {topic} has {partitions} partitions and {other} has {others}; a key must have the same partition \
         number in all of them: make {topic} anew with {others}"
    )]
    Partitions { topic: String, partitions: usize, other: String, others: usize },
    #[error(
        "the topic {topic} has {name}={is}, and the protocol needs {wanted}; change it with `kafka-configs --alter`"
    )]
    TopicSetting { topic: String, name: &'static str, is: String, wanted: String },
}

/// Checks everything. `Ok` means that a stage can start.
pub async fn check(settings: &Settings) -> Result<(), SetupError> {
    let asked = settings.clone();
    let topics = tokio::task::spawn_blocking(move || partitions(&asked)).await;
    let topics = topics.map_err(|e| unreachable(settings, e.to_string()))??;
    check_partitions(settings, &topics)?;
    check_settings(settings, &topics).await
}

/// Whether a broker answers now; what is missing if not.
pub fn answers(settings: &Settings) -> Result<(), SetupError> {
    ask(settings, 2).map(drop)
}

/// Partitions of each of our topics.
fn partitions(settings: &Settings) -> Result<BTreeMap<String, usize>, SetupError> {
    let metadata = ask(settings, TURNS_MAX)?;
    let known: BTreeMap<_, _> =
        metadata.topics().iter().map(|t| (t.name().to_owned(), t.partitions().len())).collect();
    let mut ours = BTreeMap::new();
    for (name, _) in names(settings) {
        match known.get(&name) {
            Some(count @ 1..) => ours.insert(name, *count),
            _ => return Err(SetupError::Missing(name)),
        };
    }
    Ok(ours)
}

/// Records come from outside and may be spread otherwise; everything else follows one key.
fn check_partitions(settings: &Settings, topics: &BTreeMap<String, usize>) -> Result<(), SetupError> {
    let events = settings.topic(Topic::Events);
    let others = topics.get(&events).copied().unwrap_or_default();
    let records = settings.topic(Topic::Records);
    match topics.iter().find(|(name, count)| **count != others && **name != records) {
        None => Ok(()),
        Some((topic, count)) => {
            Err(SetupError::Partitions { topic: topic.clone(), partitions: *count, other: events, others })
        }
    }
}

async fn check_settings(settings: &Settings, topics: &BTreeMap<String, usize>) -> Result<(), SetupError> {
    let admin: AdminClient<DefaultClientContext> = settings.client().create().map_err(|e| property(&e))?;
    let options = AdminOptions::new().request_timeout(Some(ADMIN_MAX));
    let specifiers: Vec<_> = topics.keys().map(|name| ResourceSpecifier::Topic(name)).collect();
    let described = admin.describe_configs(&specifiers, &options).await;
    let described = described.map_err(|e| unreachable(settings, e.to_string()))?;
    for ((topic, described), compacted) in topics.keys().zip(described).zip(compacted(settings, topics)) {
        // A broker that does not let us look is not thereby wrong.
        let Ok(resource) = described else { continue };
        let wrong = |name: &'static str, fits: &dyn Fn(&str) -> bool, wanted: &str| {
            let value = resource.get(name).and_then(|entry| entry.value.clone());
            match value.filter(|value| !fits(value)) {
                None => Ok(()),
                Some(is) => {
                    let (topic, wanted) = (topic.clone(), wanted.to_owned());
                    Err(SetupError::TopicSetting { topic, name, is, wanted })
                }
            }
        };
        let bytes = MESSAGE_BYTES_MAX.to_string();
        let is_large = |value: &str| value.parse::<usize>().is_ok_and(|is| is >= MESSAGE_BYTES_MAX);
        wrong("max.message.bytes", &is_large, &bytes)?;
        wrong("message.timestamp.type", &|value| value == "LogAppendTime", "LogAppendTime")?;
        if compacted {
            wrong("cleanup.policy", &|value| value.contains("compact"), "compact")?;
        }
    }
    Ok(())
}

fn compacted<'a>(
    settings: &Settings,
    topics: &'a BTreeMap<String, usize>,
) -> impl Iterator<Item = bool> + use<'a> {
    let names: BTreeMap<String, bool> = names(settings).into_iter().collect();
    topics.keys().map(move |topic| names.get(topic).copied().unwrap_or_default())
}

/// The metadata of the cluster, or what kept us from it.
fn ask(settings: &Settings, turns: usize) -> Result<Metadata, SetupError> {
    let mut config = settings.client();
    config.set("group.id", format!("{}-look", settings.prefix));
    // Its hints count here, whatever the process logs otherwise.
    config.set_log_level(RDKafkaLogLevel::Info);
    let client =
        BaseConsumer::from_config_and_context(&config, Complaints::default()).map_err(|e| property(&e))?;
    let mut last = String::new();
    for _ in 0..turns {
        match client.fetch_metadata(None, TURN) {
            Ok(metadata) => return Ok(metadata),
            Err(e) => last = e.to_string(),
        }
        // Serves the errors that came meanwhile.
        while let Some(Err(_)) = client.poll(Duration::ZERO) {}
        let complaints = lock(&client.context().0);
        if let Some((code, detail)) = complaints.iter().find(|(code, detail)| is_telling(*code, detail)) {
            let (brokers, detail) = (settings.brokers.clone(), detail.clone());
            return Err(match code {
                _ if detail.contains(UNTRUSTED) => SetupError::Certificate { brokers, detail },
                _ if detail.contains("SASL") => SetupError::Credentials { brokers, detail },
                Code::Authentication => SetupError::Credentials { brokers, detail },
                _ => SetupError::Protocol { brokers, detail },
            });
        }
        // That all are down is no news.
        if let Some((_, detail)) = complaints.iter().rfind(|(code, _)| *code != Code::AllBrokersDown) {
            last.clone_from(detail);
        }
    }
    Err(match is_cut_off(&last) {
        true => SetupError::Protocol { brokers: settings.brokers.clone(), detail: last },
        false => unreachable(settings, last),
    })
}

/// Somebody listens there and hangs up. It may also be a broker that just starts, so that it is waited for.
fn is_cut_off(detail: &str) -> bool {
    detail.contains("Disconnected")
}

/// OpenSSL's words.
const UNTRUSTED: &str = "certificate verify failed";

/// Waiting mends most complaints, but not these.
fn is_telling(code: Code, detail: &str) -> bool {
    matches!(code, Code::Authentication | Code::SSL | Code::UnsupportedSASLMechanism)
        || detail.contains("might require SSL")
        || detail.contains("might be configured for")
        || detail.contains("mechanism handshake failed")
        || detail.contains("SASL authentication error")
        || detail.contains(UNTRUSTED)
}

fn unreachable(settings: &Settings, detail: String) -> SetupError {
    SetupError::Unreachable { brokers: settings.brokers.clone(), detail }
}

fn property(error: &KafkaError) -> SetupError {
    let text = error.to_string();
    let asks_for_tls = text.contains("OpenSSL not available") || text.contains("ssl");
    SetupError::Property(match asks_for_tls && !cfg!(feature = "kafka-tls") {
        true => format!("{text}; TLS needs a build with `--features kafka-tls`"),
        false => text,
    })
}

/// What the library complains about while it connects.
#[derive(Default)]
struct Complaints(Mutex<Vec<(Code, String)>>);

/// More than these say nothing new.
const COMPLAINTS_MAX: usize = 64;

impl ClientContext for Complaints {
    /// Some failures are only logged.
    fn log(&self, _: RDKafkaLogLevel, kind: &str, text: &str) {
        let mut complaints = lock(&self.0);
        if kind == "FAIL" && complaints.len() < COMPLAINTS_MAX {
            complaints.push((Code::Fail, text.to_owned()));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut complaints = lock(&self.0);
        if let Some(code) = error.rdkafka_error_code().filter(|_| complaints.len() < COMPLAINTS_MAX) {
            complaints.push((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for Complaints {}
