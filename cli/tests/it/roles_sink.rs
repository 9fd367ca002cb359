//! The role `sink` as a process over a real Kafka and a real ClickHouse: killed, without its server, and set up wrongly.

use crate::program::{command, objects, run};
use crate::proxy::{Fate, Proxy};
use crate::roles::{Crew, Dice, Installation, attacks, broker};
use crate::running::wait_for;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::Duration;

const KILLS: usize = 6;
/// Of what is simulated, so much is left out.
const RECORDS_BEFORE: usize = 13_000;

/// Topics on the broker, tables in the server.
struct Whole {
    kafka: Installation,
    /// `host:port` of ClickHouse, and the files of passwords.
    server: Value,
    database: String,
    runtime: tokio::runtime::Runtime,
}

impl Whole {
    /// `None` where one of the two does not run.
    fn new(name: &str) -> Option<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
        let services: Vec<Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let server = services.into_iter().find(|s| s["name"] == "clickhouse")?;
        let kafka = Installation::new(&broker()?, name);
        let database = format!("prunella_test_{name}_{}", std::process::id());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let here = Whole { kafka, server, database, runtime };
        let address = here.server["address"].as_str().unwrap().to_owned();
        here.configure(&address, "migrate", "");
        run(&["schema", "apply", "--config", here.config()]).with(0);
        here.configure(&address, "ingest", "");
        Some(here)
    }

    fn config(&self) -> &'static str {
        Box::leak(self.kafka.config().to_str().unwrap().to_owned().into_boxed_str())
    }

    /// Writes the configuration; `password` takes the place of the user's file.
    fn configure(&self, address: &str, user: &str, password: &str) {
        let file =
            if password.is_empty() { self.server["secrets"][user].as_str().unwrap() } else { password };
        let (brokers, prefix, database) = (&self.kafka.brokers, &self.kafka.prefix, &self.database);
        let text = format!(
            "version = 1\n[kafka]\nbrokers = \"{brokers}\"\ntopic_prefix = \"{prefix}\"\npartitions = 1\n\
             [clickhouse]\nurl = \"http://{address}\"\ndatabase = \"{database}\"\nuser = \"{user}\"\n\
             password_file = \"{file}\"\n"
        );
        std::fs::write(self.kafka.config(), text).unwrap();
    }

    fn ask(&self, sql: &str) -> String {
        let address = self.server["address"].as_str().unwrap();
        let file = self.server["secrets"]["migrate"].as_str().unwrap();
        let password = std::fs::read_to_string(file).unwrap();
        let request = reqwest::Client::new()
            .post(format!("http://{address}/?database={}", self.database))
            .header("X-ClickHouse-User", "migrate")
            .header("X-ClickHouse-Key", password.trim())
            .body(sql.to_owned());
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            assert!(answer.status().is_success(), "{sql}: {}", answer.text().await.unwrap());
            answer.text().await.unwrap().trim().to_owned()
        })
    }

    fn number(&self, sql: &str) -> usize {
        self.ask(sql).parse().unwrap()
    }

    fn uids(&self, table: &str) -> BTreeSet<String> {
        self.ask(&format!("SELECT lower(hex(uid)) FROM {table} FINAL")).lines().map(str::to_owned).collect()
    }

    /// A sink that says how it is on a port of its own.
    fn sink(&self, port: u16) -> Child {
        let listen = format!("127.0.0.1:{port}");
        let mut process = command(&["run", "--role", "sink", "--listen", &listen, "--config", self.config()]);
        process.env("PRUNELLA_KAFKA__MEMBER", "sink").stderr(Stdio::null()).spawn().unwrap()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ask(&format!("DROP DATABASE {} SYNC", self.database));
        }
    }
}

macro_rules! whole_or_skip {
    ($name:expr) => {
        match Whole::new($name) {
            Some(whole) => whole,
            None => {
                eprintln!("SKIPPED: no Kafka and ClickHouse run here; `cargo xtask services up` starts them");
                return;
            }
        }
    };
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn sql_tells_what_kafka_tells_however_often_the_sink_is_killed() {
    let here = whole_or_skip!("sink");
    // The attacks come last.
    let records = attacks(here.kafka.dir.path()).0.split_off(RECORDS_BEFORE);
    let port = free_port();
    let mut crew = Crew(["ingest", "detect", "correlate"].map(|role| here.kafka.start(role)).into());
    crew.0.push(here.sink(port));
    let mut dice = Dice(5);
    std::thread::scope(|scope| {
        let kafka = &here.kafka;
        let producing = scope.spawn(|| {
            for portion in records.chunks(records.len() / 30 + 1) {
                kafka.produce(portion);
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        for _ in 0..KILLS {
            std::thread::sleep(Duration::from_millis(500 + dice.below(2_000)));
            let sink = crew.0.last_mut().unwrap();
            sink.kill().unwrap();
            sink.wait().unwrap();
            *sink = here.sink(port);
        }
        producing.join().unwrap();
    });
    wait_for("all scores", || (here.kafka.read("scores").0.len() == records.len()).then_some(()));
    wait_for("a finding", || (!here.kafka.read("findings").0.is_empty()).then_some(()));
    for (topic, table) in
        [("events", "events"), ("findings", "findings"), ("risk", "risk"), ("scores", "scores")]
    {
        wait_for(table, || {
            let said: BTreeSet<String> = here.kafka.read(topic).0.into_keys().collect();
            (said == here.uids(table)).then_some(())
        });
    }
    assert_eq!(here.number("SELECT count() FROM events FINAL"), records.len());
    eprintln!("{} events, {} rows", records.len(), here.number("SELECT count() FROM events"));
    run(&["ready", "--listen", &format!("127.0.0.1:{port}")]).with(0);
}

/// Resident memory, in KiB.
fn resident(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn without_its_server_the_sink_says_so_and_its_memory_stays_flat() {
    /// Far more than a lane holds.
    const EVENTS: usize = 100_000;
    let here = whole_or_skip!("flat");
    let proxy = Proxy::before(here.server["address"].as_str().unwrap(), |_| Fate::Whole);
    here.configure(&proxy.address.to_string(), "ingest", "");
    let port = free_port();
    let crew = Crew(vec![here.sink(port)]);
    let ready = || run(&["ready", "--listen", &format!("127.0.0.1:{port}")]);
    wait_for("the start", || (ready().code == 0).then_some(()));
    // One event, many times: how much waits counts, not what it says.
    let (records, _) = attacks(here.kafka.dir.path());
    let file = here.kafka.dir.path().join("one");
    std::fs::write(&file, &records[0]).unwrap();
    let normalized = run(&["normalize", file.to_str().unwrap(), "-o", "ndjson"]).with(0).out;
    let uid = objects(&normalized)[0]["prunella"]["event_uid"].as_str().unwrap().to_owned();
    proxy.set_off(true);
    produce(&here.kafka, normalized.trim(), &uid, EVENTS);
    wait_for("a word about it", || {
        let said = ready();
        (said.code == 3 && said.err.contains("clickhouse:") && said.err.contains("ClickHouse")).then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    let before = resident(&crew.0[0]);
    std::thread::sleep(Duration::from_secs(5));
    let after = resident(&crew.0[0]);
    eprintln!(
        "{} MiB wait; {before} KiB resident, {after} KiB later",
        EVENTS * normalized.len() / 1024 / 1024
    );
    assert!(after < before + 8 * 1024 && after < 400 * 1024, "{before} KiB, then {after} KiB");
    proxy.set_off(false);
    wait_for("the row", || (here.number("SELECT count() FROM events FINAL") == 1).then_some(()));
    wait_for("readiness", || (ready().code == 0).then_some(()));
}

fn produce(kafka: &Installation, body: &str, uid: &str, count: usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.brokers).set("compression.codec", "zstd");
    let producer: BaseProducer = config.create().unwrap();
    let topic = kafka.topic("events");
    for _ in 0..count {
        let all = [("ce_id", uid), ("prunella_version", "1"), ("prunella_origin", "1760000000000")];
        let headers = all.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        });
        let mut record =
            BaseRecord { headers: Some(headers), ..BaseRecord::to(&topic).key("k").payload(body) };
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(5));
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

#[test]
fn what_is_wrong_with_clickhouse_is_said_before_the_start() {
    let here = whole_or_skip!("unset");
    let start = || run(&["run", "--role", "sink", "--config", here.config()]).with(3);
    let address = here.server["address"].as_str().unwrap();
    let wrong = here.kafka.dir.path().join("wrong");
    std::fs::write(&wrong, "guess").unwrap();
    here.configure(address, "ingest", wrong.to_str().unwrap());
    start().says(&["check the user, its password file"]);
    here.configure(address, "ingest", "/nowhere/password");
    start().says(&["clickhouse.password_file"]);
    let text = std::fs::read_to_string(here.config()).unwrap();
    std::fs::write(here.config(), text.split("[clickhouse]").next().unwrap()).unwrap();
    start().says(&["set `clickhouse.url`"]);
    run(&["ready", "--listen", "127.0.0.1:9"]).with(3).says(&["nothing answers at 127.0.0.1:9"]);
}
