//! Stages over a real broker, each beside a bare loop that copies the same messages in the same run, and beside the stage
//! without any broker. Needs `cargo xtask services up`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, prints, and may fail"
)]

use prunella_detect::Detect;
use prunella_ingest::Ingest;
use prunella_runtime::log::kafka::{HEADER_SOURCE, KafkaPump, Replication, Settings, create_topics};
use prunella_schemas::{
    Delivered, Event, Message as _, Outbox, Posted, Record, Stage, Tenant, Timestamp, Topic,
};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RECORDS: usize = 200_000;
const USERS: usize = 500;
const PARTITIONS: i32 = 1;
const PATIENCE: Duration = Duration::from_secs(120);
/// Where the bare loops copy to.
const COPY: Topic = Topic::Receipts;

fn main() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let Ok(text) = std::fs::read(path) else {
        eprintln!("SKIPPED: no Kafka runs here; `cargo xtask services up` starts one");
        return;
    };
    let services: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
    let kafka = services.iter().find(|s| s["name"] == "kafka").unwrap();
    let (brokers, broker) = (kafka["address"].as_str().unwrap(), kafka["pid"].as_u64());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let settings = Settings { prefix: format!("bench-{now:x}"), ..Settings::new(brokers) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(create_topics(&settings, Replication { partitions: PARTITIONS, replicas: 1 })).unwrap();
    produce(&settings);
    let detect = || Detect::new(prunella_detect::Config::default());
    let (ingest_alone, detect_alone) = alone(Ingest::default(), detect());
    for turn in 1..=3 {
        // A prefix of its own for the groups, so that each turn starts from the beginning.
        let name = |topic: Topic| format!("{}.{}.v1", settings.prefix, topic.name());
        let bare_records = Cost::of(broker, || copy(&settings, &name(Topic::Records)));
        let mut own = settings.clone();
        own.prefix = format!("{}-{turn}", settings.prefix);
        runtime.block_on(create_topics(&own, Replication { partitions: PARTITIONS, replicas: 1 })).unwrap();
        own.inputs.insert(Topic::Records, name(Topic::Records));
        let ingest = Cost::of(broker, || run(&KafkaPump::new(own.clone(), Ingest::default)));
        let bare_events = Cost::of(broker, || copy(&settings, &own.topic(Topic::Events)));
        let detect = Cost::of(broker, || run(&KafkaPump::new(own.clone(), detect)));
        say(turn, "records -> ingest -> events", &ingest, &bare_records, ingest_alone);
        say(turn, "events -> detect -> findings", &detect, &bare_events, detect_alone);
    }
}

/// What a run took of the wall clock, and of the processors here and at the broker.
struct Cost {
    took: Duration,
    own: Duration,
    broker: Duration,
}

impl Cost {
    fn of(broker: Option<u64>, work: impl FnOnce() -> Duration) -> Self {
        let own = std::process::id();
        let before = (processor(u64::from(own)), broker.map(processor).unwrap_or_default());
        let took = work();
        let broker = broker.map(processor).unwrap_or_default() - before.1;
        Cost { took, own: processor(u64::from(own)) - before.0, broker }
    }
}

/// Time on a processor that a process has had, from `/proc/<pid>/stat` in hundredths of a second.
fn processor(pid: u64) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

/// What each stage takes of a processor when nobody has to fetch or keep anything.
fn alone(mut ingest: Ingest, mut detect: Detect) -> (Duration, Duration) {
    let now = || processor(u64::from(std::process::id()));
    let records: Vec<Vec<u8>> = (0..RECORDS).map(|n| record(n).1.into_bytes()).collect();
    let (mut for_ingest, mut for_detect) = (Duration::ZERO, Duration::ZERO);
    // Large portions: the system counts in hundredths of a second.
    for bodies in records.chunks(RECORDS / 10) {
        let record = |body: &Vec<u8>| Record {
            source: "aws.cloudtrail".into(),
            tenant: Tenant::default(),
            received: Timestamp(1),
            origin: String::new(),
            body: body.clone(),
        };
        let delivered = |message| Delivered { message, origin: Timestamp(1), at: Timestamp(1) };
        let begun = now();
        let batch: Vec<_> = bodies.iter().map(record).map(delivered).collect();
        let mut events = Outbox::default();
        ingest.step(&batch, &mut events);
        let events: Vec<Posted> = events.drain();
        for_ingest += now() - begun;
        let begun = now();
        let decoded = events.iter().map(|e| Event::decode(e.version, &e.bytes).unwrap());
        let batch: Vec<_> =
            decoded.map(|message| Delivered { message, origin: Timestamp(1), at: Timestamp(1) }).collect();
        let mut out = Outbox::default();
        detect.step(&batch, &mut out);
        std::hint::black_box(out.drain());
        for_detect += now() - begun;
    }
    (for_ingest, for_detect)
}

fn say(turn: usize, what: &str, stage: &Cost, bare: &Cost, alone: Duration) {
    let rate = |took: Duration| RECORDS as f64 / took.as_secs_f64();
    let each = |took: Duration| took.as_secs_f64() * 1e6 / RECORDS as f64;
    let percent = 100.0 * rate(stage.took) / rate(bare.took);
    println!(
        "turn {turn}: {what}: {:.0}/s, bare copy {:.0}/s: {percent:.0} %",
        rate(stage.took),
        rate(bare.took)
    );
    println!(
        "    microseconds of processor for each: here {:.1}, at the broker {:.1}; bare {:.1} and {:.1}; the stage \
         alone {:.1}",
        each(stage.own),
        each(stage.broker),
        each(bare.own),
        each(bare.broker),
        each(alone)
    );
}

/// From the first message taken to the last acknowledged.
fn run<S: Stage, F: Fn() -> S + Sync>(pump: &KafkaPump<S, F>) -> Duration {
    let (stop, counts) = (AtomicBool::new(false), pump.counts());
    let consumed = || counts.consumed.load(Ordering::Relaxed) as usize;
    std::thread::scope(|scope| {
        scope.spawn(|| pump.run(&stop).unwrap());
        let begun = Instant::now();
        let (mut first, mut before) = (None, 0);
        while consumed() < RECORDS && begun.elapsed() < PATIENCE {
            if first.is_none() && consumed() > 0 {
                (first, before) = (Some(Instant::now()), consumed());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(consumed(), RECORDS);
        let took = first.unwrap().elapsed();
        stop.store(true, Ordering::Relaxed);
        took.mul_f64(RECORDS as f64 / (RECORDS - before) as f64)
    })
}

/// What anybody would write: poll, send, and wait for the last acknowledgement.
fn copy(settings: &Settings, from: &str) -> Duration {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false");
    config.set("fetch.message.max.bytes", "8388608");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(from, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (producer, to) = (producer(&settings.brokers), settings.topic(COPY));
    let (mut count, mut begun) = (0, None);
    while count < RECORDS {
        let message = consumer.poll(PATIENCE).unwrap().unwrap();
        begun.get_or_insert_with(Instant::now);
        let record = BaseRecord::to(&to).key(message.key().unwrap()).payload(message.payload().unwrap());
        send(&producer, record);
        count += 1;
    }
    producer.flush(PATIENCE).unwrap();
    begun.unwrap().elapsed()
}

/// The same settings as the product's.
fn producer(brokers: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("acks", "all");
    config.set("partitioner", "murmur2_random").set("compression.codec", "zstd").set("linger.ms", "2");
    config.create().unwrap()
}

fn send(producer: &BaseProducer, mut record: BaseRecord<'_, [u8], [u8]>) {
    while let Err((_, back)) = producer.send(record) {
        record = back;
        producer.poll(Duration::from_millis(5));
    }
    producer.poll(Duration::ZERO);
}

fn produce(settings: &Settings) {
    let (producer, topic) = (producer(&settings.brokers), settings.topic(Topic::Records));
    for n in 0..RECORDS {
        let (key, body) = record(n);
        let headers =
            OwnedHeaders::new().insert(Header { key: HEADER_SOURCE, value: Some("aws.cloudtrail") });
        send(&producer, BaseRecord::to(&topic).key(key.as_bytes()).payload(body.as_bytes()).headers(headers));
    }
    producer.flush(PATIENCE).unwrap();
}

/// A CloudTrail record of the usual size.
fn record(n: usize) -> (String, String) {
    let (name, second) = (format!("user{}", n % USERS), n / 20);
    let time = format!(
        "2026-03-{:02}T{:02}:{:02}:{:02}Z",
        3 + second / 86_400,
        second / 3_600 % 24,
        second / 60 % 60,
        second % 60
    );
    let record = serde_json::json!({
        "eventVersion": "1.11", "eventTime": time, "eventID": format!("bench-{n}"),
        "eventName": if n.is_multiple_of(3) { "GetObject" } else { "DescribeInstances" },
        "userIdentity": {
            "type": "IAMUser", "principalId": format!("AIDA{:016}", n % USERS), "accountId": "111122223333",
            "userName": name, "arn": format!("arn:aws:iam::111122223333:user/{name}"),
            "accessKeyId": format!("AKIA{:016}", n % USERS)
        },
        "eventSource": if n.is_multiple_of(3) { "s3.amazonaws.com" } else { "ec2.amazonaws.com" },
        "awsRegion": "eu-central-1", "sourceIPAddress": format!("198.51.100.{}", n % 200),
        "userAgent": "aws-sdk-java/2.29.1 Linux/6.1 OpenJDK_64-Bit_Server_VM/21", "eventType": "AwsApiCall",
        "requestParameters": { "bucketName": "orders", "key": format!("2026/03/{n}.json") },
        "responseElements": null, "requestID": format!("R{n:015}"), "readOnly": true,
        "resources": [{ "type": "AWS::S3::Object", "ARN": format!("arn:aws:s3:::orders/2026/03/{n}.json") }],
        "managementEvent": false, "recipientAccountId": "111122223333", "eventCategory": "Data"
    });
    (name, record.to_string())
}
