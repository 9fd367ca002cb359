//! Roles as processes over a real broker: the findings are those of `prunella detect`, however often they are killed.

use crate::program::{command, objects, run};
use crate::running::wait_for;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const ROLES: [&str; 3] = ["ingest", "detect", "correlate"];
const KILLS: usize = 12;

/// The address of the broker that `cargo xtask services up` has started.
fn broker() -> Option<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services: Vec<Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
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

/// An installation of its own on the broker: one partition, so that there is one order, as in `prunella detect`.
pub struct Installation {
    pub dir: TempDir,
    brokers: String,
    pub prefix: String,
}

impl Installation {
    pub fn new(brokers: &str, name: &str) -> Self {
        #[allow(clippy::disallowed_methods, reason = "topics of an earlier run must not be met again")]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let here = Installation {
            dir: TempDir::new().unwrap(),
            brokers: brokers.to_owned(),
            prefix: format!("test-{name}-{now:x}"),
        };
        let (brokers, prefix) = (&here.brokers, &here.prefix);
        let text = format!(
            "version = 1\n[kafka]\nbrokers = \"{brokers}\"\ntopic_prefix = \"{prefix}\"\npartitions = 1\n"
        );
        std::fs::write(here.config(), text).unwrap();
        run(&["topics", "create", "--config", here.config().to_str().unwrap()]).with(0);
        here
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("prunella.toml")
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}.v1", self.prefix)
    }

    fn start(&self, role: &str) -> Child {
        let mut process = command(&["run", "--role", role, "--config", self.config().to_str().unwrap()]);
        // A name across restarts: the next life has its partition at once.
        process.env("PRUNELLA_KAFKA__MEMBER", role).stderr(Stdio::null());
        process.spawn().unwrap()
    }

    /// As anybody outside would: one header names the source.
    pub fn produce(&self, records: &[String]) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("partitioner", "murmur2_random");
        let producer: BaseProducer = config.create().unwrap();
        let topic = self.topic("records");
        for record in records {
            let headers =
                OwnedHeaders::new().insert(Header { key: "ce_source", value: Some("aws.cloudtrail") });
            let message = BaseRecord::to(&topic).key("outside").payload(record).headers(headers);
            producer.send(message).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Every message of a topic by its id, and how many there are with repeats.
    pub fn read(&self, name: &str) -> (BTreeMap<String, Vec<u8>>, usize) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", "looking");
        config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic(name), 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let (mut found, mut all) = (BTreeMap::new(), 0);
        loop {
            match consumer.poll(PATIENCE) {
                Some(Err(KafkaError::PartitionEOF(_))) => return (found, all),
                Some(Ok(message)) => {
                    let header = message.headers().unwrap().iter().find(|h| h.key == "ce_id").unwrap();
                    let id = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
                    let bytes = message.payload().unwrap().to_vec();
                    let earlier = found.insert(id, bytes.clone());
                    assert!(earlier.is_none_or(|earlier| earlier == bytes), "one id, two contents");
                    all += 1;
                }
                other => panic!("cannot read {name}: {other:?}"),
            }
        }
    }
}

/// Records of several simulated attacks, of a seed each so that no id comes twice, in the order in which they happened, and what `prunella detect` finds in them.
fn attacks(dir: &Path) -> (Vec<String>, Vec<String>) {
    let mut timed: BTreeMap<(u64, String), String> = BTreeMap::new();
    for (scenario, seed) in [("brute_force", "7"), ("log_tampering", "8"), ("privilege_escalation", "9")] {
        let file = dir.join(scenario);
        let file = file.to_str().unwrap();
        run(&["simulate-attack", "run", scenario, "--seed", seed, "--into", file]);
        let text = std::fs::read_to_string(file).unwrap();
        let events = objects(&run(&["normalize", file, "-o", "ndjson"]).with(0).out);
        assert_eq!(events.len(), text.lines().count());
        for (line, event) in text.lines().zip(&events) {
            let uid = event["prunella"]["event_uid"].as_str().unwrap().to_owned();
            timed.insert((event["time"].as_u64().unwrap(), uid), line.to_owned());
        }
    }
    let records: Vec<String> = timed.into_values().collect();
    let whole = dir.join("whole");
    std::fs::write(&whole, records.join("\n")).unwrap();
    let mut findings: Vec<String> = run(&["detect", whole.to_str().unwrap(), "-o", "ndjson"])
        .with(0)
        .out
        .lines()
        .map(str::to_owned)
        .collect();
    findings.sort();
    (records, findings)
}

/// Small and quick: the same seed gives the same moments of death.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Ends the processes also when an assertion fails.
pub struct Crew(pub Vec<Child>);

impl Drop for Crew {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn findings_are_those_of_detect_however_often_the_roles_are_killed() {
    let brokers = broker_or_skip!();
    let here = Installation::new(&brokers, "roles");
    let (records, wanted) = attacks(here.dir.path());
    assert!(wanted.len() >= 5, "{} findings are no test", wanted.len());
    let mut crew = Crew(ROLES.iter().map(|role| here.start(role)).collect());
    let mut dice = Dice(11);
    let mut killed = [0; ROLES.len()];
    std::thread::scope(|scope| {
        // A stream of half a minute, some of it told twice.
        let producing = scope.spawn(|| {
            for portion in records.chunks(records.len() / 60 + 1) {
                here.produce(portion);
                here.produce(&portion[..portion.len() / 10]);
                std::thread::sleep(Duration::from_millis(450));
            }
        });
        for _ in 0..KILLS {
            std::thread::sleep(Duration::from_millis(1_000 + dice.below(2_500)));
            let which = dice.below(ROLES.len() as u64) as usize;
            crew.0[which].kill().unwrap();
            crew.0[which].wait().unwrap();
            crew.0[which] = here.start(ROLES[which]);
            killed[which] += 1;
        }
        producing.join().unwrap();
    });
    wait_for("all scores", || (here.read("scores").0.len() == records.len()).then_some(()));
    wait_for("all findings", || (here.read("findings").0.len() >= wanted.len()).then_some(()));
    // What would come too much comes soon.
    std::thread::sleep(Duration::from_secs(2));
    let (events, events_written) = here.read("events");
    assert_eq!(events.len(), records.len(), "events");
    let (findings, written) = here.read("findings");
    let mut found: Vec<String> =
        findings.into_values().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    found.sort();
    eprintln!(
        "{} records, {} findings, killed {killed:?} of {ROLES:?}; made again: {} events, {} findings",
        records.len(),
        found.len(),
        events_written - events.len(),
        written - found.len()
    );
    assert!(
        found == wanted,
        "other findings: {} instead of {}\n{found:#?}\n{wanted:#?}",
        found.len(),
        wanted.len()
    );
}

#[test]
fn what_is_wrong_with_the_brokers_is_said_before_the_start() {
    let brokers = broker_or_skip!();
    let here = Installation::new(&brokers, "wrong");
    let config = here.config();
    let check = |lines: &str, words: &[&str]| {
        let (prefix, brokers) = (&here.prefix, &here.brokers);
        let base = "version = 1\n[kafka]\ncreate_topics = false\n";
        let mut text = format!("{base}{lines}");
        for (key, value) in [("topic_prefix", prefix), ("brokers", brokers)] {
            if !lines.contains(key) {
                text = text.replace("[kafka]\n", &format!("[kafka]\n{key} = \"{value}\"\n"));
            }
        }
        std::fs::write(&config, text).unwrap();
        run(&["run", "--role", "ingest", "--config", config.to_str().unwrap()]).with(3).says(words);
    };
    check("brokers = \"127.0.0.1:9\"\n", &["no broker answers at 127.0.0.1:9", "kafka.brokers"]);
    check("topic_prefix = \"nobody\"\n", &["nobody.records.v1 does not exist", "prunella topics create"]);
    check("[kafka.properties]\n\"no.such\" = \"1\"\n", &["no.such", "kafka.properties"]);
    check(
        "[kafka.properties]\n\"security.protocol\" = \"SASL_PLAINTEXT\"\n\"sasl.mechanism\" = \"PLAIN\"\n\
         \"sasl.username\" = \"u\"\n\"sasl.password\" = \"p\"\n",
        &["does not let us in", "kafka.sasl_password_file"],
    );
    check(
        "sasl_username = \"u\"\nsasl_password_file = \"/nonexistent\"\n",
        &["kafka.sasl_password_file", "/nonexistent"],
    );
}
