//! Poison at every position of a topic: one dead letter each, nothing else is touched, and nobody starts again.

use crate::broker_or_skip;
use crate::kafka::{PARTITIONS, PATIENCE, create, live_until, outputs, settings, traffic};
use prunella_detect::Detect;
use prunella_ingest::Ingest;
use prunella_runtime::log::kafka::{
    HEADER_ID, HEADER_ORIGIN, HEADER_SOURCE, HEADER_VERSION, KafkaPump, Pace, Settings,
};
use prunella_schemas::{DeadLetter, Id, Message, Stage, Topic};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

const USERS: usize = 34;
const POSITIONS: usize = 30 * USERS;
const KINDS: usize = 10;
/// One in so many is larger than any record may be.
const HUGE_EVERY: usize = 250;
const HUGE_BYTES: usize = 1_500_000;

/// A message as it stands on the topic.
struct Sent {
    key: Option<Vec<u8>>,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

fn produce(here: &Settings, topic: Topic, messages: impl IntoIterator<Item = Sent>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &here.brokers).set("partitioner", "murmur2_random");
    let producer: BaseProducer = config.set("message.max.bytes", "8000000").create().unwrap();
    let topic = here.topic(topic);
    for Sent { key, headers, body } in messages {
        let headers = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header { key, value: Some(value.as_slice()) })
        });
        let mut record = BaseRecord::<[u8], [u8]>::to(&topic).payload(&body).headers(headers);
        record.key = key.as_deref();
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(5));
        }
    }
    producer.flush(PATIENCE).unwrap();
}

/// What stands on a topic, in the order of each partition.
fn messages(here: &Settings, topic: Topic) -> Vec<Sent> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &here.brokers)
        .set("group.id", "looking")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.set("enable.auto.commit", "false").create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&here.topic(topic), partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut all, mut open) = (Vec::new(), PARTITIONS);
    while open > 0 {
        let message = match consumer.poll(PATIENCE).unwrap() {
            Err(KafkaError::PartitionEOF(_)) => {
                open -= 1;
                continue;
            }
            message => message.unwrap(),
        };
        let known = [HEADER_ID, HEADER_VERSION, HEADER_ORIGIN];
        let headers = message.headers().unwrap().iter();
        let headers =
            headers.filter_map(|h| Some((known.into_iter().find(|name| *name == h.key)?, h.value?.to_vec())));
        let (key, body) = (message.key().unwrap().to_vec(), message.payload().unwrap().to_vec());
        all.push(Sent { key: Some(key), headers: headers.collect(), body });
    }
    all
}

/// What is no record, no two alike.
fn no_record(n: usize, key: &[u8]) -> Sent {
    let cloudtrail = vec![(HEADER_SOURCE, b"aws.cloudtrail".to_vec())];
    let (headers, body) = match n % KINDS {
        0 => (cloudtrail, format!("no JSON, {n}").into_bytes()),
        1 => (Vec::new(), format!("{{\"without a source\": {n}}}").into_bytes()),
        2 => (vec![(HEADER_SOURCE, Vec::new())], format!("{{\"n\": {n}}}").into_bytes()),
        3 => (vec![(HEADER_SOURCE, b"\xff\xfe".to_vec())], format!("{{\"n\": {n}}}").into_bytes()),
        4 => (vec![(HEADER_SOURCE, b"nobody.knows".to_vec())], format!("{{\"n\": {n}}}").into_bytes()),
        5 => (cloudtrail, [b"[".repeat(100 + n), b"]".repeat(100 + n)].concat()),
        6 => (cloudtrail, [b"{\"name\": \"\xc3\x28".to_vec(), format!("{n}\"}}").into_bytes()].concat()),
        7 => (cloudtrail, format!("{{\"eventName\": \"cut {n}").into_bytes()),
        8 => (cloudtrail, format!("{{}} {{\"two\": {n}}}").into_bytes()),
        _ => {
            let keys: Vec<String> = (0..2_100).map(|k| format!("\"k{k}\": {n}")).collect();
            (cloudtrail, format!("{{{}}}", keys.join(",")).into_bytes())
        }
    };
    let body = if n % HUGE_EVERY == 7 {
        format!("{{\"n\": \"{}\"}}", "x".repeat(HUGE_BYTES + n)).into_bytes()
    } else {
        body
    };
    Sent { key: Some(key.to_vec()), headers, body }
}

/// What nobody but prunella should write to one of its own topics, no two alike.
fn no_event(n: usize, key: &[u8]) -> Sent {
    let id = Id::derive("hostile", &[&n.to_le_bytes()]).to_string().into_bytes();
    let ours = |version: &str, id: Vec<u8>| {
        vec![(HEADER_ID, id), (HEADER_VERSION, version.as_bytes().to_vec()), (HEADER_ORIGIN, b"1".to_vec())]
    };
    let (headers, body, key) = match n % KINDS {
        0 => (Vec::new(), format!("hello {n}"), Some(key)),
        1 => (ours("1", b"no id".to_vec()), format!("{{\"n\": {n}}}"), Some(key)),
        2 => (ours("one", id), format!("{{\"n\": {n}}}"), Some(key)),
        3 => (ours("99", id), format!("{{\"n\": {n}}}"), Some(key)),
        4 => (ours("1", id), format!("no JSON, {n}"), Some(key)),
        5 => (ours("1", id), format!("{{\"n\": {n}}}"), None),
        6 => (ours("1", id), format!("{{\"n\": {n}}}"), Some(&b"\xff\xfe"[..])),
        7 => (ours("1", id), format!("{}{n}", "[".repeat(5_000)), Some(key)),
        8 => (ours("1", id), format!("{{\"time\": \"never\", \"n\": {n}}}"), Some(key)),
        _ => (ours("256", id), format!("{{\"n\": {n}}}"), Some(key)),
    };
    let body = if n % HUGE_EVERY == 7 { "y".repeat(HUGE_BYTES + n) } else { body };
    Sent { key: key.map(<[u8]>::to_vec), headers, body: body.into_bytes() }
}

/// One life, until everything is worked off and nothing lags.
fn work_off<S: Stage>(here: &Settings, make: impl Fn() -> S + Sync, sent: usize) {
    let pump = KafkaPump::new(here.clone(), make);
    let counts = pump.counts();
    let lives = live_until(&pump, || {
        counts.consumed.load(Ordering::Relaxed) == sent as u64 && counts.lag.load(Ordering::Relaxed) == 0
    });
    assert_eq!(lives, 1, "nothing stops for a poison");
}

#[allow(clippy::print_stderr, reason = "what became of the poison is worth knowing")]
fn check_letters(here: &Settings, name: &str) {
    let (letters, all) = outputs(here, Topic::Dlq);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (_, bytes) in letters.values() {
        let letter = DeadLetter::decode(1, bytes).unwrap();
        assert!(!letter.detail.is_empty() && !letter.record.body.is_empty(), "{letter:?}");
        *reasons.entry(format!("{:?}", letter.reason)).or_default() += 1;
    }
    eprintln!("{name}: {reasons:?}");
    assert_eq!((letters.len(), all), (POSITIONS, POSITIONS), "one dead letter for each, {name}");
}

#[test]
fn poison_at_a_thousand_positions_is_a_dead_letter_each_and_nothing_else() {
    let brokers = broker_or_skip!();
    let new = |name: &str| {
        let here =
            Settings { pace: Pace { batch_messages_max: 64, ..Pace::default() }, ..settings(&brokers, name) };
        create(&here);
        here
    };
    let (clean, poisoned) = (new("clean"), new("poisoned"));
    let records = traffic(USERS);
    let good = |(key, body): &(String, String)| {
        let headers = vec![(HEADER_SOURCE, b"aws.cloudtrail".to_vec())];
        Sent { key: Some(key.clone().into_bytes()), headers, body: body.clone().into_bytes() }
    };
    produce(&clean, Topic::Records, records.iter().map(good));
    let both = records.iter().enumerate();
    let both = both.flat_map(|(n, record)| [no_record(n, record.0.as_bytes()), good(record)]);
    produce(&poisoned, Topic::Records, both);
    let detect = || Detect::new(prunella_detect::Config::default());
    std::thread::scope(|scope| {
        scope.spawn(|| work_off(&poisoned, Ingest::default, 2 * POSITIONS));
        work_off(&clean, Ingest::default, POSITIONS);
        work_off(&clean, detect, POSITIONS);
    });
    check_letters(&poisoned, "ingest");
    let events = outputs(&poisoned, Topic::Events);
    assert_eq!((events.0.len(), events.1), (POSITIONS, POSITIONS));
    assert_eq!(outputs(&clean, Topic::Dlq).1, 0);

    let findings = outputs(&clean, Topic::Findings).0;
    assert!(findings.len() >= 10, "{} findings are no test", findings.len());
    let hostile = new("hostile");
    let stolen = messages(&clean, Topic::Events);
    let both = stolen.into_iter().enumerate();
    let both = both.flat_map(|(n, sent)| [no_event(n, sent.key.as_deref().unwrap()), sent]);
    produce(&hostile, Topic::Events, both);
    work_off(&hostile, detect, 2 * POSITIONS);
    check_letters(&hostile, "detect");
    assert!(outputs(&hostile, Topic::Findings).0 == findings, "poison changed the findings");
}
