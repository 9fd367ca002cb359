//! The embedded pipeline, durable: events a second from intake to decision and to the store, and the latency at 1,000 a second.

#![allow(clippy::print_stdout, reason = "the table is the output")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot run has nothing to report")]

use prunella_ingest::{Content, Limits};
use prunella_runtime::clock;
use prunella_runtime::intake::Sender;
use prunella_runtime::log::{Portion, Retention, START};
use prunella_runtime::topology::{Embedded, Settings};
use prunella_schemas::port::HealthView;
use prunella_schemas::{Tenant, Timestamp, Topic};
use prunella_simulate::Traffic;
use std::path::Path;
use std::time::{Duration, Instant};

const EVENTS: usize = 100_000;
const BODY_RECORDS: usize = 500;
const RATE_PER_S: u64 = 1_000;
const RATE_SECONDS: u64 = 20;
/// Times the simulator's usual rate, so that all records are of one company's two days and time does not jump back.
const SCALE: f64 = 25.0;
/// One record in so many is an attack that is a finding by itself.
const ATTACK_EVERY: usize = 50;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let records = records(EVENTS);
    let bytes: usize = records.iter().map(Vec::len).sum();
    println!(
        "embedded pipeline, SQLite, every intake synced; records of {} bytes on average",
        bytes / records.len()
    );
    throughput(&runtime, &records);
    latency(&runtime, &records);
}

fn throughput(runtime: &tokio::runtime::Runtime, records: &[Vec<u8>]) {
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = start(runtime, folder.path());
    let begin = Instant::now();
    for bodies in records.chunks(BODY_RECORDS) {
        give(&embedded, &bodies.join(&b'\n'));
    }
    let taken = begin.elapsed();
    let decided = wait(runtime, &embedded, &["ingest", "detect"], begin);
    let stored = wait(runtime, &embedded, &["sink"], begin);
    runtime.block_on(embedded.stop());
    let rate = |elapsed: Duration| records.len() as f64 / elapsed.as_secs_f64();
    println!("| {} events | events/s |", records.len());
    println!("|---|---|");
    println!("| durable at intake | {:.0} |", rate(taken));
    println!("| decided (detect has seen them all) | {:.0} |", rate(decided));
    println!("| stored (the store has them all) | {:.0} |", rate(stored));
    println!(
        "| log on disk, bytes an event | {} |",
        size(&folder.path().join("log.db")) / records.len() as u64
    );
    println!(
        "| store on disk, bytes an event | {} |",
        size(&folder.path().join("store.db")) / records.len() as u64
    );
}

fn latency(runtime: &tokio::runtime::Runtime, records: &[Vec<u8>]) {
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = start(runtime, folder.path());
    let begin = Instant::now();
    let mut count = 0;
    for tick in 0..RATE_SECONDS * 100 {
        let due = Duration::from_millis(tick * 10);
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        let body: Vec<Vec<u8>> = (0..RATE_PER_S / 100)
            .map(|_| {
                count += 1;
                if count % ATTACK_EVERY == 0 { attack(count) } else { records[count % records.len()].clone() }
            })
            .collect();
        give(&embedded, &body.join(&b'\n'));
    }
    wait(runtime, &embedded, &["ingest", "detect", "sink"], begin);
    let all = Portion { messages_max: usize::MAX, bytes_max: usize::MAX, until: i64::MAX };
    let findings = embedded.log.read(&[Topic::Findings], START, all).expect("readable");
    let mut spans: Vec<i64> = findings
        .iter()
        .flat_map(|batch| batch.messages.iter().map(|m| batch.at.since_ms(m.origin)))
        .collect();
    spans.sort_unstable();
    runtime.block_on(embedded.stop());
    let at = |q: f64| spans.get(((spans.len().saturating_sub(1)) as f64 * q) as usize).copied().unwrap_or(-1);
    println!();
    println!("| {RATE_PER_S} events/s for {RATE_SECONDS} s, {} findings | ms |", spans.len());
    println!("|---|---|");
    println!("| intake durable to finding durable, p50 | {} |", at(0.5));
    println!("| p99 | {} |", at(0.99));
    println!("| max | {} |", at(1.0));
}

fn start(runtime: &tokio::runtime::Runtime, dir: &Path) -> Embedded {
    let settings = Settings {
        data_dir: dir.to_owned(),
        detect: prunella_detect::Config::default(),
        respond: prunella_respond::Config::default(),
        playbooks: prunella_respond::Playbooks::built_in().expect("valid"),
        webhooks: Vec::new(),
        effectors: Vec::new(),
        public_url: None,
        retention: Retention { age_ms_max: i64::MAX / 2, bytes_max: u64::MAX },
        clock: clock::wall(),
    };
    Embedded::start(settings, runtime.handle()).expect("starts")
}

fn give(embedded: &Embedded, body: &[u8]) {
    let sender =
        Sender { source: "aws.cloudtrail".into(), tenant: Tenant::default(), origin: "bench".into() };
    embedded.intake.take(body, Content::Ndjson, &Limits::INTAKE, &sender).expect("accepted");
}

fn wait(runtime: &tokio::runtime::Runtime, embedded: &Embedded, stages: &[&str], begin: Instant) -> Duration {
    loop {
        let health = runtime.block_on(embedded.health.health());
        if stages.iter().all(|stage| health.lag.get(*stage) == Some(&0)) {
            return begin.elapsed();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Background traffic of the simulator, repeated with new event ids until there is enough.
fn records(count: usize) -> Vec<Vec<u8>> {
    let mut records = Vec::with_capacity(count);
    let mut seed = 1;
    while records.len() < count {
        let traffic = Traffic { scale: SCALE, ..Traffic::new(seed, Timestamp(1_760_000_000_000)) };
        records
            .extend(prunella_simulate::background::background(&traffic).into_iter().map(|d| d.written.body));
        seed += 1;
    }
    records.truncate(count);
    records
}

/// A call that is a finding by itself, by a principal of its own.
fn attack(n: usize) -> Vec<u8> {
    let user = format!("mallory{n}");
    serde_json::to_vec(&serde_json::json!({
        "eventVersion": "1.11", "eventTime": "2025-10-09T08:00:00Z", "eventID": format!("attack-{n}"),
        "eventSource": "cloudtrail.amazonaws.com", "eventName": "StopLogging", "awsRegion": "eu-west-1",
        "sourceIPAddress": "198.51.100.7", "userAgent": "aws-cli/2.17", "requestID": format!("r-{n}"),
        "eventType": "AwsApiCall", "recipientAccountId": "111122223333", "readOnly": false,
        "requestParameters": { "name": "arn:aws:cloudtrail:eu-west-1:111122223333:trail/main" },
        "userIdentity": {
            "type": "IAMUser", "accountId": "111122223333", "principalId": "AIDAEXAMPLE", "userName": user,
            "arn": format!("arn:aws:iam::111122223333:user/{user}"), "accessKeyId": "AKIAEXAMPLE",
        },
    }))
    .unwrap_or_default()
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map(|m| m.len()).unwrap_or_default()
}
