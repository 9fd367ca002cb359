//! What is wrong with the brokers or the topics is said in plain words, before the start and after it.

use crate::broker_or_skip;
use crate::kafka::{Numbering, PARTITIONS, PATIENCE, create, live_until, outputs, settings};
use prunella_runtime::log::kafka::{HEADER_SOURCE, KafkaPump, Settings, check};
use prunella_schemas::{Id, Message as _, Risk, Topic};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn admin(here: &Settings) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &here.brokers).create().unwrap()
}

/// Replaces all settings of a topic.
fn alter(here: &Settings, topic: &str, entries: &[(&str, &str)]) {
    let new = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let new = entries.iter().fold(new, |config, (name, value)| config.set(name, value));
    let altered = runtime().block_on(admin(here).alter_configs([&new], &AdminOptions::new())).unwrap();
    altered.into_iter().for_each(|result| drop(result.unwrap()));
}

/// Fails unless the error says all of the words; waits for a broker that is slow to know.
#[track_caller]
#[allow(clippy::disallowed_methods, reason = "a test that hangs must fail")]
fn refused(here: &Settings, words: &[&str]) {
    let since = Instant::now();
    loop {
        let said = runtime().block_on(check(here)).map_err(|e| e.to_string());
        let is_right = said.as_ref().is_err_and(|said| words.iter().all(|word| said.contains(word)));
        if is_right {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{words:?} are not in {said:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn what_is_wrong_with_brokers_and_topics_is_named_with_its_remedy() {
    let brokers = broker_or_skip!();
    let whole = settings(&brokers, "whole");
    create(&whole);
    assert_eq!(runtime().block_on(check(&whole)), Ok(()));
    let with = |properties: &[(&str, &str)]| Settings {
        properties: properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        ..whole.clone()
    };
    refused(&Settings { brokers: "127.0.0.1:9".into(), ..whole.clone() }, &["127.0.0.1:9", "kafka.brokers"]);
    refused(&settings(&brokers, "nobody"), &["does not exist", "prunella topics create"]);
    let tls = if cfg!(feature = "kafka-tls") { "security.protocol" } else { "--features kafka-tls" };
    refused(&with(&[("security.protocol", "SSL")]), &[tls]);
    let sasl = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "u"),
        ("sasl.password", "wrong"),
    ];
    refused(&with(&sasl), &["does not let us in", "kafka.sasl_password_file"]);
    refused(&with(&[("no.such", "1")]), &["no.such", "[kafka.properties]"]);
    let altered = |topic: &str, entries: &[(&str, &str)], words: &[&str]| {
        let here = settings(&brokers, topic);
        create(&here);
        let name = format!("{}.{topic}.v1", here.prefix);
        alter(&here, &name, entries);
        refused(&here, &[&[name.as_str()], words].concat());
    };
    let (size, time) = (("max.message.bytes", "8388608"), ("message.timestamp.type", "LogAppendTime"));
    altered("events", &[("max.message.bytes", "1048588"), time], &["max.message.bytes=1048588", "8388608"]);
    altered("records", &[size], &["message.timestamp.type=CreateTime", "LogAppendTime"]);
    altered("manifest", &[size, time], &["cleanup.policy=delete", "compact"]);
    let here = settings(&brokers, "uneven");
    create(&here);
    let signals = here.topic(Topic::Signals);
    let more = NewPartitions::new(&signals, PARTITIONS as usize + 1);
    runtime().block_on(admin(&here).create_partitions([&more], &AdminOptions::new())).unwrap();
    refused(&here, &[&signals, "has 3 partitions", "has 2", "make"]);
}

/// One output is more than the brokers take: the lane says so, and what came after it must not stand before it when the
/// limit is raised.
#[test]
fn a_message_over_the_brokers_limit_stops_the_lane_and_leaves_no_gap() {
    const RECORDS: usize = 400;
    let brokers = broker_or_skip!();
    let here = settings(&brokers, "limit");
    create(&here);
    let (risk, time) = (here.topic(Topic::Risk), ("message.timestamp.type", "LogAppendTime"));
    alter(&here, &risk, &[("max.message.bytes", "6000"), time]);
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    for n in 0..RECORDS {
        let headers = OwnedHeaders::new().insert(Header { key: HEADER_SOURCE, value: Some("test") });
        // Nothing that compresses well.
        let noise = |at: u64| Id::derive("noise", &[&at.to_le_bytes()]).to_string();
        let large = (0..2_000).map(noise).collect::<String>();
        let body = if n == RECORDS / 2 { large } else { format!("record {n}") };
        let topic = here.topic(Topic::Records);
        let record = BaseRecord::to(&topic).key("k").payload(&body).headers(headers);
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    let pump = KafkaPump::new(here.clone(), Numbering::default);
    let error = pump.run(&AtomicBool::new(false)).unwrap_err().to_string();
    assert!(error.contains(&risk) || error.contains("gap"), "{error}");
    alter(&here, &risk, &[("max.message.bytes", "8388608"), time]);
    live_until(&pump, || outputs(&here, Topic::Risk).0.len() == RECORDS);
    let mut last = [0; PARTITIONS as usize];
    let mut seen = BTreeSet::new();
    for (partition, bytes) in in_order(&here, Topic::Risk) {
        let risk = Risk::decode(1, &bytes).unwrap();
        let number: usize = risk.principal.split(':').next().unwrap().parse().unwrap();
        if seen.insert(number) {
            assert!(number > last[partition], "{number} came after {}", last[partition]);
            last[partition] = number;
        }
    }
}

/// Every message of a topic with its partition, in the order of each.
fn in_order(here: &Settings, topic: Topic) -> Vec<(usize, Vec<u8>)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &here.brokers).set("group.id", "looking");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&here.topic(topic), partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut all, mut open) = (Vec::new(), PARTITIONS);
    while open > 0 {
        match consumer.poll(PATIENCE).unwrap() {
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            message => {
                let message = message.unwrap();
                all.push((message.partition() as usize, message.payload().unwrap().to_vec()));
            }
        }
    }
    all
}
