//! The way from Kafka into ClickHouse, beside a bare consumer that copies the same topic into the same table in the same
//! run. Needs `cargo xtask services up`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock, prints, and may fail"
)]

use prunella_detect::Detect;
use prunella_runtime::log::kafka::{
    FailPoint, HEADER_ID, KafkaPump, Replication, Settings, attributes, create_topics,
};
use prunella_runtime::sink::kafka::KafkaSink;
use prunella_runtime::store::clickhouse::{Located, Rows, Schema, Server, Writer};
use prunella_schemas::{Id, Posted, Record, Tenant, Timestamp, Topic};
use prunella_simulate::Traffic;
use prunella_simulate::background::background;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Of the simulator's usual traffic.
const SCALE: f64 = 40.0;
const PARTITIONS: i32 = 2;
const PATIENCE: Duration = Duration::from_secs(300);
/// Rows of one insert of the bare copy: as many as the sink's.
const INSERT_ROWS: usize = 32_768;

struct Bench {
    runtime: Runtime,
    settings: Settings,
    migrate: Server,
    ingest: Server,
    count: usize,
}

fn main() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services: Vec<Value> =
        std::fs::read(path).map_or(Vec::new(), |bytes| serde_json::from_slice(&bytes).unwrap());
    let found = |name: &str| services.iter().find(|service| service["name"] == name);
    let (Some(kafka), Some(clickhouse)) = (found("kafka"), found("clickhouse")) else {
        eprintln!("SKIPPED: no Kafka and ClickHouse run here; `cargo xtask services up` starts them");
        return;
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let brokers = kafka["address"].as_str().unwrap();
    let server = |user: &str| Server {
        url: format!("http://{}", clickhouse["address"].as_str().unwrap()),
        database: String::new(),
        user: user.to_owned(),
        password: std::fs::read_to_string(clickhouse["secrets"][user].as_str().unwrap())
            .unwrap()
            .trim()
            .to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let settings = Settings { prefix: format!("bench-sink-{now:x}"), ..Settings::new(brokers) };
    let mut bench =
        Bench { runtime, settings, migrate: server("migrate"), ingest: server("ingest"), count: 0 };
    bench.make_topics(&bench.settings);
    let bytes = bench.produce(Timestamp(i64::try_from(now).unwrap()));
    println!("{} events of {} bytes of JSON", bench.count, bytes / bench.count);
    for turn in 1..=2 {
        let bare = bench.copy(turn);
        let sink = bench.run(turn, false);
        let whole = bench.run(turn, true);
        let rate = |took: Duration| bench.count as f64 / took.as_secs_f64();
        let percent = |took: Duration| 100.0 * rate(took) / rate(bare);
        println!("turn {turn}: bare copy {:.0} events/s", rate(bare));
        println!(
            "turn {turn}: events -> sink -> ClickHouse {:.0} events/s: {:.0} %",
            rate(sink),
            percent(sink)
        );
        println!(
            "turn {turn}: events -> detect -> scores, and all of it -> sink -> ClickHouse {:.0} events/s: {:.0} %",
            rate(whole),
            percent(whole)
        );
    }
}

impl Bench {
    fn make_topics(&self, settings: &Settings) {
        let spread = Replication { partitions: PARTITIONS, replicas: 1 };
        self.runtime.block_on(create_topics(settings, spread)).unwrap();
    }

    /// The events of a company's day, as ingest makes them. Their bytes.
    fn produce(&mut self, end: Timestamp) -> usize {
        let mut events = Vec::new();
        for delivery in background(&Traffic { scale: SCALE, ..Traffic::new(7, end) }) {
            let (source, tenant) = ("aws.cloudtrail".to_owned(), Tenant::default());
            let (received, origin) = (delivery.delivered, "bench".to_owned());
            let record = Record { source, tenant, received, origin, body: delivery.written.body };
            prunella_ingest::normalize(&record, &mut events).unwrap();
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.settings.brokers).set("compression.codec", "zstd");
        let producer: BaseProducer = config.set("partitioner", "murmur2_random").create().unwrap();
        let topic = self.settings.topic(Topic::Events);
        let mut bytes = 0;
        for event in &events {
            let posted = Posted::new(event, event.prunella.received);
            bytes += posted.bytes.len();
            let headers = Some(attributes(&posted, &topic));
            let mut record =
                BaseRecord { headers, ..BaseRecord::to(&topic).key(&posted.key).payload(&posted.bytes) };
            while let Err((_, back)) = producer.send(record) {
                record = back;
                producer.poll(Duration::from_millis(5));
            }
        }
        producer.flush(PATIENCE).unwrap();
        self.count = events.len();
        bytes
    }

    /// Tables of their own.
    fn database(&self, name: &str) -> Server {
        let database = format!("prunella_bench_{}_{name}", std::process::id());
        let migrate = Server { database: database.clone(), ..self.migrate.clone() };
        self.runtime.block_on(Schema::of(&migrate).unwrap().apply()).unwrap();
        Server { database, ..self.ingest.clone() }
    }

    fn number(&self, server: &Server, sql: &str) -> usize {
        let client = clickhouse::Client::default().with_url(&server.url).with_database(&server.database);
        let client = client.with_user(&self.migrate.user).with_password(&self.migrate.password);
        let number: u64 = self.runtime.block_on(client.query_raw(sql).fetch_one()).unwrap();
        usize::try_from(number).unwrap()
    }

    fn drop(&self, server: &Server) {
        let client = clickhouse::Client::default().with_url(&server.url);
        let client = client.with_user(&self.migrate.user).with_password(&self.migrate.password);
        self.runtime
            .block_on(client.query_raw(&format!("DROP DATABASE {} SYNC", server.database)).execute())
            .unwrap();
    }

    /// What anybody would write: poll, collect, insert. From the first message to the last acknowledged insert.
    fn copy(&self, turn: usize) -> Duration {
        let server = self.database(&format!("bare{turn}"));
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.settings.brokers).set("group.id", "bare");
        let consumer: BaseConsumer = config.set("enable.auto.commit", "false").create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(&self.settings.topic(Topic::Events), partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        let writer = Writer::new(&server);
        let (mut count, mut begun, mut waiting) = (0, None, Vec::new());
        while count < self.count {
            let message = consumer.poll(PATIENCE).unwrap().unwrap();
            begun.get_or_insert_with(Instant::now);
            waiting.push(located(&message));
            count += 1;
            if waiting.len() == INSERT_ROWS || count == self.count {
                let (rows, _) = Rows::of(Topic::Events, &waiting).unwrap();
                self.runtime.block_on(writer.insert(&format!("bare/{count}"), &rows)).unwrap();
                waiting.clear();
            }
        }
        let took = begun.unwrap().elapsed();
        self.drop(&server);
        took
    }

    /// From the first lane that is ready to read to the last row stored.
    fn run(&self, turn: usize, is_whole: bool) -> Duration {
        let server = self.database(&format!("sink{turn}{is_whole}"));
        let prefix = format!("{}-{turn}-{is_whole}", self.settings.prefix);
        let mut own = Settings { prefix, ..self.settings.clone() };
        self.make_topics(&own);
        own.inputs = BTreeMap::from([(Topic::Events, self.settings.topic(Topic::Events))]);
        // The join of the group, which has nothing to do with the rate, is over when the first lane is ready to read.
        let first = Arc::new(OnceLock::new());
        own.fault = Some({
            let first = Arc::clone(&first);
            Arc::new(move |point, _| {
                if point == FailPoint::Restored {
                    first.get_or_init(Instant::now);
                }
                false
            })
        });
        let sink = KafkaSink::new(own.clone(), &server, self.runtime.handle().clone());
        let detect = KafkaPump::new(own, || Detect::new(prunella_detect::Config::default()));
        let (stop, counts) = (AtomicBool::new(false), sink.counts());
        let wanted = if is_whole { 2 * self.count } else { self.count };
        std::thread::scope(|scope| {
            scope.spawn(|| sink.run(&stop).unwrap());
            if is_whole {
                scope.spawn(|| detect.run(&stop).unwrap());
            }
            let begun = Instant::now();
            while (counts.produced.load(Ordering::Relaxed) as usize) < wanted && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(2));
            }
            let took = first.get().unwrap().elapsed();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(self.number(&server, "SELECT uniqExact(uid) FROM events"), self.count);
            self.drop(&server);
            took
        })
    }
}

/// Its place on the log, its id and its bytes.
fn located(message: &BorrowedMessage<'_>) -> Located {
    let header = message.headers().unwrap().iter().find(|header| header.key == HEADER_ID).unwrap();
    let id: Id = std::str::from_utf8(header.value.unwrap()).unwrap().parse().unwrap();
    let at = Timestamp(message.timestamp().to_millis().unwrap());
    let (key, bytes) = (String::new(), message.payload().unwrap().to_vec());
    let posted = Posted { topic: Topic::Events, version: 1, id, key, origin: at, bytes };
    Located { partition: message.partition(), offset: message.offset(), at, posted }
}
