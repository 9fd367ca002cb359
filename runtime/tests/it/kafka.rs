//! The pump over Kafka: a real broker where `cargo xtask services up` has started one, librdkafka's mock for the rest.

use prunella_runtime::log::kafka::{
    FailPoint, HEADER_SOURCE, KafkaPump, Pace, Replication, Settings, create_topics,
};
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{Delivered, Message, Outbox, Record, Risk, Stage, Tenant, Topic};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// Numbers what it sees on its partition: any loss, repeat or reordering changes its outputs.
#[derive(Default)]
struct Numbering {
    seen: u64,
}

impl Stage for Numbering {
    type In = Record;

    fn name(&self) -> &'static str {
        "numbering"
    }

    fn step(&mut self, batch: &[Delivered<Record>], out: &mut Outbox) {
        for input in batch {
            self.seen += 1;
            out.caused_by(input);
            let principal = format!("{}:{}", self.seen, String::from_utf8_lossy(&input.message.body));
            let (tenant, time) = (Tenant::default(), input.at);
            let (level, previous) = Default::default();
            out.push(&Risk { tenant, principal, score: 0.0, level, previous, time, finding_uid: None });
        }
    }

    fn save(&self) -> Vec<u8> {
        self.seen.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        let wrong = |_| SnapshotError::Corrupt { stage: "numbering", detail: "size".into() };
        self.seen = u64::from_le_bytes(snapshot.try_into().map_err(wrong)?);
        Ok(())
    }
}

/// The address of the broker that `cargo xtask services up` has started.
fn broker() -> Option<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let kafka = services.iter().find(|s| s["name"] == "kafka")?;
    Some(kafka["address"].as_str()?.to_owned())
}

macro_rules! broker_or_skip {
    () => {
        match broker() {
            Some(address) => address,
            None => {
                eprintln!("SKIPPED: no Kafka runs here; `cargo xtask services up` starts one");
                return;
            }
        }
    };
}

/// Settings under a prefix that nobody else has, with small batches and frequent snapshots.
fn settings(brokers: &str, name: &str) -> Settings {
    #[allow(clippy::disallowed_methods, reason = "topics of an earlier run must not be met again")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let pace = Pace { batch_messages_max: 16, snapshot_messages_max: 64, snapshot_ms_max: i64::MAX };
    Settings { prefix: format!("test-{name}-{now:x}"), pace, ..Settings::new(brokers) }
}

fn create(settings: &Settings) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let spread = Replication { partitions: PARTITIONS, replicas: 1 };
    runtime.block_on(create_topics(settings, spread)).unwrap();
    runtime.block_on(create_topics(settings, spread)).expect("a second time changes nothing");
}

/// As a producer outside would: any client, any key, one header. Every tenth record twice, and one poison.
fn produce(brokers: &str, topic: &str, count: usize) -> usize {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("linger.ms", "1").create().unwrap();
    let mut sent = 0;
    let mut send = |key: &str, body: &str, source: Option<&str>| {
        let headers = source
            .map(|source| OwnedHeaders::new().insert(Header { key: HEADER_SOURCE, value: Some(source) }));
        let record = BaseRecord { headers, ..BaseRecord::to(topic).key(key).payload(body) };
        producer.send(record).map_err(|(e, _)| e).unwrap();
        sent += 1;
    };
    for n in 0..count {
        let (key, body) = (format!("k{}", n % 7), format!("record {n}"));
        send(&key, &body, Some("test"));
        if n % 10 == 0 {
            send(&key, &body, Some("test"));
        }
        if n == count / 2 {
            send(&key, "poison", None);
        }
    }
    producer.flush(PATIENCE).unwrap();
    sent
}

/// Every message of a topic: its id, and the rest of it. Also how many there are with repeats.
fn outputs(settings: &Settings, topic: Topic) -> (BTreeMap<String, (String, Vec<u8>)>, usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers).set("group.id", "looking");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&settings.topic(topic), partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut found, mut all, mut open) = (BTreeMap::new(), 0, PARTITIONS);
    while open > 0 {
        match consumer.poll(PATIENCE) {
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Ok(message)) => {
                let header = message.headers().unwrap().iter().find(|h| h.key == "ce_id").unwrap();
                let id = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
                let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
                let content = (key, message.payload().unwrap().to_vec());
                let earlier = found.insert(id, content.clone());
                assert!(earlier.is_none_or(|e| e == content), "one id, two contents");
                all += 1;
            }
            other => panic!("cannot read {topic}: {other:?}"),
        }
    }
    (found, all)
}

/// Lives until `done` says so; a life that ends before is followed by another. How many lives there were.
#[allow(clippy::disallowed_methods, reason = "a test that hangs must fail")]
fn live_until<S: Stage, F: Fn() -> S + Sync>(pump: &KafkaPump<F>, done: impl Fn() -> bool) -> usize {
    let (stop, lives, since) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                lives.fetch_add(1, Ordering::Relaxed);
                if let Err(e) = pump.run(&stop) {
                    assert!(e.to_string().contains("injected"), "{e}");
                }
            }
        });
        while !done() && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(since.elapsed() < PATIENCE, "not done in time");
    lives.into_inner()
}

#[test]
fn a_death_at_every_point_loses_nothing_and_changes_nothing() {
    const RECORDS: usize = 600;
    let brokers = broker_or_skip!();
    let calm = settings(&brokers, "calm");
    create(&calm);
    let input = calm.topic(Topic::Records);
    let sent = produce(&brokers, &input, RECORDS) as u64;
    let pump = KafkaPump::new(calm.clone(), Numbering::default);
    let lives = live_until(&pump, || pump.counts().consumed.load(Ordering::Relaxed) == sent);
    assert_eq!((lives, pump.counts().repeats.load(Ordering::Relaxed)), (1, RECORDS as u64 / 10));
    let (risk, all) = outputs(&calm, Topic::Risk);
    assert_eq!((risk.len(), all), (RECORDS, RECORDS));
    let (letters, _) = outputs(&calm, Topic::Dlq);
    let letter = prunella_schemas::DeadLetter::decode(1, &letters.values().next().unwrap().1).unwrap();
    assert!(letters.len() == 1 && letter.record.body == b"poison", "{letter:?}");
    for point in FailPoint::ALL {
        let mut struck = settings(&brokers, "struck");
        create(&struck);
        struck.input = Some(input.clone());
        let hits = AtomicUsize::new(0);
        // The first time, and then ever later.
        struck.fault = Some(Arc::new(move |at, _| {
            at == point && [0, 2, 5].contains(&hits.fetch_add(1, Ordering::Relaxed))
        }));
        let pump = KafkaPump::new(struck.clone(), Numbering::default);
        let lives = live_until(&pump, || {
            outputs(&struck, Topic::Risk).0.len() == RECORDS && !outputs(&struck, Topic::Dlq).0.is_empty()
        });
        assert!(lives > 1, "{point:?} was never met");
        let (risk_now, all) = outputs(&struck, Topic::Risk);
        eprintln!("{point:?}: {lives} lives, {} outputs made again", all - risk_now.len());
        assert!(risk_now == risk, "{point:?} changed what was said");
        assert!(outputs(&struck, Topic::Dlq).0 == letters, "{point:?} changed the dead letters");
    }
}
