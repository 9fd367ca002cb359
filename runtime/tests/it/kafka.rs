//! The pump over Kafka: a real broker where `cargo xtask services up` has started one, librdkafka's mock for the rest.

use prunella_runtime::log::kafka::{
    FailPoint, Fault, HEADER_SOURCE, KafkaPump, Pace, Replication, Settings, create_topics,
};
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{Delivered, Message, Outbox, Record, Risk, Score, Stage, Tenant, Topic};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message as _, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const PARTITIONS: i32 = 2;
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Numbers what it sees on its partition: any loss, repeat or reordering changes its outputs.
#[derive(Default)]
pub struct Numbering {
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
            let (event_uid, operation) = (Message::id(&input.message), self.seen);
            let (class_uid, tier_change, p_value) = Default::default();
            let score = Score {
                event_uid,
                tenant: tenant.clone(),
                time,
                class_uid,
                operation,
                tier_change,
                p_value,
                leads_to: 0,
            };
            out.push(&score);
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
pub fn broker() -> Option<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let kafka = services.iter().find(|s| s["name"] == "kafka")?;
    Some(kafka["address"].as_str()?.to_owned())
}

#[macro_export]
macro_rules! broker_or_skip {
    () => {
        match $crate::kafka::broker() {
            Some(address) => address,
            None => {
                eprintln!("SKIPPED: no Kafka runs here; `cargo xtask services up` starts one");
                return;
            }
        }
    };
}

/// Settings under a prefix that nobody else has, with small batches and frequent snapshots.
pub fn settings(brokers: &str, name: &str) -> Settings {
    #[allow(clippy::disallowed_methods, reason = "topics of an earlier run must not be met again")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let pace = Pace { batch_messages_max: 16, snapshot_messages_max: 64, snapshot_ms_max: i64::MAX };
    Settings { prefix: format!("test-{name}-{now:x}"), pace, ..Settings::new(brokers) }
}

pub fn create(settings: &Settings) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let spread = Replication { partitions: PARTITIONS, replicas: 1 };
    runtime.block_on(create_topics(settings, spread)).unwrap();
    runtime.block_on(create_topics(settings, spread)).expect("a second time changes nothing");
}

/// As a producer outside would: any client, any key, one header. Every tenth record twice, and one poison.
pub fn produce(brokers: &str, topic: &str, numbers: Range<usize>) -> usize {
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
    let middle = numbers.start.midpoint(numbers.end);
    for n in numbers {
        let (key, body) = (format!("k{}", n % 7), format!("record {n}"));
        send(&key, &body, Some("test"));
        if n % 10 == 0 {
            send(&key, &body, Some("test"));
        }
        if n == middle {
            send(&key, "poison", None);
        }
    }
    producer.flush(PATIENCE).unwrap();
    sent
}

/// Keyed records of one source.
pub fn send(brokers: &str, topic: &str, records: &[(String, String)], source: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("partitioner", "murmur2_random");
    let producer: BaseProducer = config.create().unwrap();
    for (key, body) in records {
        let headers = OwnedHeaders::new().insert(Header { key: HEADER_SOURCE, value: Some(source) });
        let record = BaseRecord { headers: Some(headers), ..BaseRecord::to(topic).key(key).payload(body) };
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Shows every message of a topic.
pub fn read(settings: &Settings, topic: Topic, mut show: impl FnMut(&BorrowedMessage<'_>)) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers).set("group.id", "looking");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(&settings.topic(topic), partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let mut open = PARTITIONS;
    while open > 0 {
        match consumer.poll(PATIENCE) {
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Ok(message)) => show(&message),
            other => panic!("cannot read {topic}: {other:?}"),
        }
    }
}

/// Every message of a topic: its id, and the rest of it. Also how many there are with repeats.
pub fn outputs(settings: &Settings, topic: Topic) -> (BTreeMap<String, (String, Vec<u8>)>, usize) {
    let (mut found, mut all) = (BTreeMap::new(), 0);
    read(settings, topic, |message| {
        let header = message.headers().unwrap().iter().find(|h| h.key == "ce_id").unwrap();
        let content = (text(message.key().unwrap()), message.payload().unwrap().to_vec());
        let earlier = found.insert(text(header.value.unwrap()), content.clone());
        assert!(earlier.is_none_or(|e| e == content), "one id, two contents");
        all += 1;
    });
    (found, all)
}

/// Lives until `done` says so; a life that ends before is followed by another. How many lives there were.
#[allow(clippy::disallowed_methods, reason = "a test that hangs must fail")]
pub fn live_until<S: Stage, F: Fn() -> S + Sync>(pump: &KafkaPump<S, F>, done: impl Fn() -> bool) -> usize {
    let (stop, lives, since) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                lives.fetch_add(1, Ordering::Relaxed);
                if let Err(e) = pump.run(&stop) {
                    let text = e.to_string();
                    assert!(text.contains("injected") || text.contains("new owner"), "{text}");
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
    let sent = produce(&brokers, &input, 0..RECORDS) as u64;
    let pump = KafkaPump::new(calm.clone(), Numbering::default);
    let lives = live_until(&pump, || pump.counts().consumed.load(Ordering::Relaxed) == sent);
    assert_eq!((lives, pump.counts().repeats.load(Ordering::Relaxed)), (1, RECORDS as u64 / 10));
    let (risk, all) = outputs(&calm, Topic::Risk);
    assert_eq!((risk.len(), all), (RECORDS, RECORDS));
    let (letters, _) = outputs(&calm, Topic::Dlq);
    let letter = prunella_schemas::DeadLetter::decode(1, &letters.values().next().unwrap().1).unwrap();
    assert!(letters.len() == 1 && letter.record.body == b"poison", "{letter:?}");
    let said = Said { risk, letters, scores: outputs(&calm, Topic::Scores).0 };
    assert_eq!(said.scores.len(), RECORDS);
    std::thread::scope(|scope| {
        // A stage of one input has no order to write down.
        let is_met = |point: &FailPoint| ![FailPoint::Ahead, FailPoint::Intended].contains(point);
        for point in FailPoint::ALL.into_iter().filter(is_met) {
            let (brokers, input, said) = (&brokers, &input, &said);
            scope.spawn(move || die_at(point, brokers, input, said));
        }
    });
}

type Outputs = BTreeMap<String, (String, Vec<u8>)>;

struct Said {
    risk: Outputs,
    letters: Outputs,
    scores: Outputs,
}

/// Dies there three times, ever later, and then stands still there for a while.
#[allow(clippy::print_stderr, reason = "how much is made again is worth knowing")]
fn die_at(point: FailPoint, brokers: &str, input: &str, said: &Said) {
    const DEATHS: [usize; 3] = [0, 2, 5];
    const STALL: usize = 7;
    let mut struck = settings(brokers, &format!("struck-{point:?}"));
    create(&struck);
    struck.inputs.insert(Topic::Records, input.to_owned());
    let (hits, here) = (Arc::new(AtomicUsize::new(0)), struck.clone());
    let (met, one_at_a_time) = (Arc::clone(&hits), Mutex::new(()));
    struck.fault = Some(Arc::new(move |at, _| {
        if at != point {
            return false;
        }
        let _other_lanes_wait = one_at_a_time.lock().unwrap();
        let hit = hits.fetch_add(1, Ordering::Relaxed);
        if hit == 0 && point == FailPoint::Held {
            let written = |topic| outputs(&here, topic).1;
            assert!(written(Topic::Risk) > 0 && written(Topic::Scores) == 0, "scores ran ahead");
        }
        if hit == STALL {
            std::thread::sleep(Duration::from_secs(5));
        }
        DEATHS.contains(&hit)
    }));
    let pump = KafkaPump::new(struck.clone(), Numbering::default);
    let lives = live_until(&pump, || {
        // A lane claims and restores once in each life.
        let is_rare = matches!(point, FailPoint::Claimed | FailPoint::Restored);
        met.load(Ordering::Relaxed) > if is_rare { DEATHS[1] } else { STALL }
            && outputs(&struck, Topic::Risk).0.len() == said.risk.len()
            && outputs(&struck, Topic::Scores).0.len() == said.scores.len()
            && !outputs(&struck, Topic::Dlq).0.is_empty()
    });
    assert!(lives > 2, "{point:?} was met {lives} times");
    let (risk_now, all) = outputs(&struck, Topic::Risk);
    eprintln!("{point:?}: {lives} lives, {} outputs made again", all - risk_now.len());
    assert!(risk_now == said.risk, "{point:?} changed what was said");
    assert!(outputs(&struck, Topic::Scores).0 == said.scores, "{point:?} changed the scores");
    assert!(outputs(&struck, Topic::Dlq).0 == said.letters, "{point:?} changed the dead letters");
}

/// Users who read, and some who then delete the audit trail: always a finding.
pub fn traffic(users: usize) -> Vec<(String, String)> {
    let mut records = Vec::new();
    let mut record = |user: usize, minute: usize, service: &str, operation: &str| {
        let name = format!("user{user}");
        let record = serde_json::json!({
            "eventVersion": "1.08", "eventTime": format!("2026-03-03T10:{minute:02}:{user:02}Z"),
            "eventID": format!("{name}-{minute}"), "eventName": operation,
            "userIdentity": {
                "type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": "111122223333", "userName": name,
                "arn": format!("arn:aws:iam::111122223333:user/{name}"), "accessKeyId": "AKIAIOSFODNN7EXAMPLE"
            },
            "eventSource": format!("{service}.amazonaws.com"), "awsRegion": "eu-central-1",
            "sourceIPAddress": "198.51.100.7", "userAgent": "aws-cli/2.15.0", "eventType": "AwsApiCall",
            "requestParameters": {"name": "main"}, "recipientAccountId": "111122223333"
        });
        records.push((name, record.to_string()));
    };
    for minute in 0..30 {
        for user in 0..users {
            match (minute, user % 2) {
                (29, 0) => record(user, minute, "cloudtrail", "DeleteTrail"),
                _ => record(user, minute, "s3", "GetObject"),
            }
        }
    }
    records
}

/// Ends what waits for it, also when an assertion fails before.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ingest and detect at once, until the findings are `wanted` many, or for the first time until both have seen all.
fn chain(settings: &Settings, ingest_input: &str, done: impl Fn(u64, u64) -> bool) -> usize {
    let ingest_settings =
        Settings { inputs: BTreeMap::from([(Topic::Records, ingest_input.to_owned())]), ..settings.clone() };
    let ingest = KafkaPump::new(ingest_settings, prunella_ingest::Ingest::new);
    let detect =
        KafkaPump::new(settings.clone(), || prunella_detect::Detect::new(prunella_detect::Config::default()));
    let over = AtomicBool::new(false);
    let (ingested, detected) = (ingest.counts(), detect.counts());
    std::thread::scope(|scope| {
        let _end = End(&over);
        let lives = scope.spawn(|| live_until(&ingest, || over.load(Ordering::Relaxed)));
        let more = live_until(&detect, || {
            done(ingested.consumed.load(Ordering::Relaxed), detected.consumed.load(Ordering::Relaxed))
        });
        over.store(true, Ordering::Relaxed);
        more + lives.join().unwrap()
    })
}

#[test]
fn findings_are_the_same_however_often_ingest_and_detect_die() {
    let brokers = broker_or_skip!();
    let calm = settings(&brokers, "calm-chain");
    create(&calm);
    let input = calm.topic(Topic::Records);
    let records = traffic(40);
    let count = records.len() as u64;
    send(&brokers, &input, &records, "aws.cloudtrail");
    chain(&calm, &input, |ingested, detected| ingested == count && detected == count);
    let (findings, _) = outputs(&calm, Topic::Findings);
    let (events, _) = outputs(&calm, Topic::Events);
    assert_eq!((events.len() as u64, findings.len() >= 20), (count, true), "{} findings", findings.len());
    let mut struck = settings(&brokers, "struck-chain");
    create(&struck);
    let hits = AtomicUsize::new(0);
    struck.fault = Some(Arc::new(move |_, _| {
        let hit = hits.fetch_add(1, Ordering::Relaxed);
        hit % 23 == 7 && hit < 500
    }));
    let lives = chain(&struck, &input, |_, _| {
        outputs(&struck, Topic::Findings).0.len() >= findings.len()
            && outputs(&struck, Topic::Events).0.len() >= events.len()
    });
    let (again, all) = outputs(&struck, Topic::Events);
    eprintln!("{lives} lives, {} events made again, {} findings", all - again.len(), findings.len());
    assert!(lives > 8, "{lives} lives are no test");
    assert!(again == events, "other events");
    assert!(outputs(&struck, Topic::Findings).0 == findings, "other findings");
    assert!(outputs(&struck, Topic::Risk).0 == outputs(&calm, Topic::Risk).0, "another risk");
}

/// Counts claims, and freezes a lane now and then when its outputs are written, until somebody else has claimed its
/// partition: it wakes up replaced, and says what it has.
fn freeze_until_replaced(claims: &Arc<[AtomicUsize; 2]>) -> Fault {
    const FREEZE_MS_MAX: usize = 8_000;
    let (claims, steps) = (Arc::clone(claims), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    Arc::new(move |at, partition| {
        let (claims, steps) = (&claims[partition as usize], &steps[partition as usize]);
        if at == FailPoint::Claimed {
            claims.fetch_add(1, Ordering::Relaxed);
        } else if at == FailPoint::Sent && steps.fetch_add(1, Ordering::Relaxed) % 50 == 10 {
            let before = claims.load(Ordering::Relaxed);
            let is_owner = |_: &usize| claims.load(Ordering::Relaxed) == before;
            let wait = |_| std::thread::sleep(Duration::from_millis(10));
            (0..FREEZE_MS_MAX / 10).take_while(is_owner).for_each(wait);
        }
        false
    })
}

#[test]
fn members_that_come_and_go_lose_nothing() {
    const RECORDS: usize = 3_000;
    let brokers = broker_or_skip!();
    let calm = settings(&brokers, "one");
    create(&calm);
    let mut moved = settings(&brokers, "moved");
    create(&moved);
    let claims = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let claimed = Arc::clone(&claims);
    moved.fault = Some(Arc::new(move |at, partition| {
        if at == FailPoint::Claimed {
            claimed[partition as usize].fetch_add(1, Ordering::Relaxed);
        }
        false
    }));
    let input = calm.topic(Topic::Records);
    let pump = KafkaPump::new(calm.clone(), Numbering::default);
    moved.inputs.insert(Topic::Records, input.clone());
    let visitor = KafkaPump::new(moved.clone(), Numbering::default);
    let frozen = Settings { fault: Some(freeze_until_replaced(&claims)), ..moved.clone() };
    let stayer = KafkaPump::new(frozen, Numbering::default);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = End(&over);
        // One member stays, others come and go while records arrive.
        scope.spawn(|| live_until(&stayer, || over.load(Ordering::Relaxed)));
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let visit = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    let run = scope.spawn(|| visitor.run(&visit));
                    std::thread::sleep(Duration::from_millis(2_500));
                    visit.store(true, Ordering::Relaxed);
                    run.join().unwrap().unwrap();
                });
            }
        });
        for tenth in 0..10 {
            // The last hundred come again each time, often to another member than before.
            let from = (tenth * RECORDS / 10).saturating_sub(100);
            produce(&brokers, &input, from..(tenth + 1) * RECORDS / 10);
            std::thread::sleep(Duration::from_millis(900));
        }
        live_until(&pump, || outputs(&calm, Topic::Risk).0.len() == RECORDS);
        live_until(&KafkaPump::new(calm.clone(), Numbering::default), || {
            outputs(&moved, Topic::Risk).0.len() == RECORDS
        });
    });
    let claims: usize = claims.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let (risk, all) = outputs(&moved, Topic::Risk);
    eprintln!("{claims} claims, {} outputs made again", all - risk.len());
    assert!(claims >= 6, "{claims} claims are no test");
    assert!(risk == outputs(&calm, Topic::Risk).0, "a rebalance changed what was said");
}

/// Far more than an inbox holds, so that partitions are paused and resumed.
#[test]
fn a_backlog_is_worked_off_whole() {
    const RECORDS: usize = 40_000;
    let brokers = broker_or_skip!();
    let here = Settings { pace: Pace::default(), ..settings(&brokers, "backlog") };
    create(&here);
    let records: Vec<_> = (0..RECORDS).map(|n| (format!("k{}", n % 97), format!("record {n}"))).collect();
    send(&brokers, &here.topic(Topic::Records), &records, "test");
    let pump = KafkaPump::new(here.clone(), Numbering::default);
    #[allow(clippy::disallowed_methods, reason = "the rate is worth knowing")]
    let since = Instant::now();
    let produced = || pump.counts().produced.load(Ordering::Relaxed) as usize;
    assert_eq!(live_until(&pump, || produced() == 2 * RECORDS), 1);
    eprintln!("{RECORDS} records in {:?}, from the join to the stop", since.elapsed());
    assert_eq!((outputs(&here, Topic::Risk).1, outputs(&here, Topic::Scores).1), (RECORDS, RECORDS));
}

#[test]
fn a_stop_is_quick_also_when_every_broker_is_gone() {
    let cluster = MockCluster::new(1).unwrap();
    let here = settings(&cluster.bootstrap_servers(), "gone");
    for name in ["records", "risk", "scores", "dlq", "manifest", "snapshots"] {
        cluster.create_topic(&format!("{}.{name}.v1", here.prefix), PARTITIONS, 1).unwrap();
    }
    let sent = produce(&here.brokers, &here.topic(Topic::Records), 0..200) as u64;
    let pump = KafkaPump::new(here, Numbering::default);
    let stop = AtomicBool::new(false);
    #[allow(clippy::disallowed_methods, reason = "the test measures how long a stop takes")]
    std::thread::scope(|scope| {
        let run = scope.spawn(|| pump.run(&stop));
        let since = Instant::now();
        while pump.counts().consumed.load(Ordering::Relaxed) < sent && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(pump.counts().consumed.load(Ordering::Relaxed), sent);
        cluster.broker_down(1).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        let since = Instant::now();
        stop.store(true, Ordering::Relaxed);
        let result = run.join().unwrap();
        eprintln!("stopped after {:?} with {result:?}", since.elapsed());
        assert!(since.elapsed() < Duration::from_secs(10) && result.is_ok(), "{result:?}");
    });
}
