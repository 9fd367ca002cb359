//! The API of a running pipeline: pages, intake in every form, and what comes of it.

use crate::records::{FILES, call, gzip, principal, shared, tampering};
use crate::running::Running;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tempfile::TempDir;

const EVENTS: &str = "/api/events?source=aws.cloudtrail";
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn record(event_id: &str) -> Value {
    call(event_id, "2026-01-05T10:00:00Z", "ada", "iam", "ListUsers")
}

#[test]
fn health_page_and_description_are_there() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &[]);
    let health = up.get("/api/health").json();
    assert_eq!((&health["status"], &health["problems"]), (&"ok".into(), &json!([])));
    assert_eq!((up.get("/livez").status, up.get("/readyz").status), (200, 200));
    assert!(up.get("/").text.contains("<html"));
    assert!(up.get("/api/docs").text.contains("swagger"));
    let described = up.get("/openapi.json").json();
    let paths = described["paths"].as_object().unwrap();
    let promised = [
        "/api/health",
        "/api/dashboard",
        "/api/events",
        "/api/threats",
        "/api/threats/{id}",
        "/api/receipts",
    ];
    let more = ["/api/receipts/{id}/proof", "/api/simulate-attack", "/api/token-versions"];
    for path in promised.iter().chain(&more) {
        assert!(paths.contains_key(*path), "{path} is not described");
    }
    let never = up.get("/api/token-versions?principal=nobody").json();
    assert_eq!(never, json!({"principal": "nobody", "not_before": 0, "version": 0}));
    assert_eq!(up.get("/api/nothing").status, 404);
    assert_eq!(up.post("/api/simulate-attack", &[JSON], b"{\"attack_type\":\"nope\"}".to_vec()).status, 400);
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn intake_takes_every_form_and_counts_what_it_knows() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &[]);
    let check = |path: &str, headers: &[(&str, &str)], body: Vec<u8>, want: [u64; 3]| {
        let answer = up.post(path, headers, body);
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert_eq!(answer.json(), json!({"accepted": want[0], "duplicates": want[1], "rejected": want[2]}));
    };
    let lines = format!("{}\n{}\n", record("a"), record("b")).into_bytes();
    check(EVENTS, &[NDJSON], lines.clone(), [2, 0, 0]);
    check(EVENTS, &[NDJSON, ("content-encoding", "gzip")], gzip(&lines), [0, 2, 0]);
    let log_file = json!({"Records": [record("b"), record("c")]}).to_string().into_bytes();
    check("/api/events", &[JSON, ("prunella-source", "aws.cloudtrail")], log_file, [1, 1, 0]);
    let cloud_event = json!({"specversion": "1.0", "id": "1", "source": "s", "type": "aws.cloudtrail", "data": record("d")});
    let structured = ("content-type", "application/cloudevents+json");
    check("/api/events", &[structured], cloud_event.to_string().into_bytes(), [1, 0, 0]);
    let batch = json!([cloud_event]).to_string().into_bytes();
    check("/api/events", &[("content-type", "application/cloudevents-batch+json")], batch, [0, 1, 0]);
    check(EVENTS, &[NDJSON], b"no record\n".to_vec(), [0, 0, 1]);

    up.settle();
    let rows = up.get("/api/events?limit=10").json();
    let mut uids: Vec<&str> =
        rows["rows"].as_array().unwrap().iter().map(|e| e["metadata"]["uid"].as_str().unwrap()).collect();
    uids.sort_unstable();
    assert_eq!(uids, ["a", "b", "c", "d"]);
    let dashboard = up.get("/api/dashboard").json();
    assert_eq!((&dashboard["events"], &dashboard["dead_letters"]), (&4.into(), &1.into()));
}

#[test]
fn intake_refuses_what_it_cannot_take_and_says_what_it_would() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &[]);
    let check = |path: &str, headers: &[(&str, &str)], body: Vec<u8>, status: u16, word: &str| {
        let answer = up.post(path, headers, body);
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{}", answer.text);
    };
    let line = || record("a").to_string().into_bytes();
    check("/api/events?source=nope", &[NDJSON], line(), 400, "aws.cloudtrail");
    check("/api/events", &[NDJSON], line(), 400, "?source=");
    check(EVENTS, &[("content-type", "text/html")], line(), 415, "application/x-ndjson");
    check(EVENTS, &[NDJSON, ("content-encoding", "br")], line(), 415, "gzip");
    let refusal = announced(&up, (16 << 20) + 1);
    assert!(refusal.starts_with("HTTP/1.1 413"), "{refusal}");
    let bomb = up.post(EVENTS, &[NDJSON, ("content-encoding", "gzip")], gzip(&vec![b' '; 64 << 20]));
    assert!(bomb.status == 413 || bomb.json()["rejected"] == 1, "{bomb:?}");
    assert_eq!(up.get("/api/health").json()["status"], "ok");
}

/// Announces a body of `bytes` and sends none of it: what the pipeline says to that.
fn announced(up: &Running, bytes: usize) -> String {
    let address = up.url().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = "Content-Type: application/x-ndjson\r\nConnection: close";
    write!(stream, "POST {EVENTS} HTTP/1.1\r\nHost: {address}\r\n{head}\r\nContent-Length: {bytes}\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn ingest_gives_files_once_however_often_they_come() {
    let Some(attacks) = shared(FILES[3]) else { return };
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &[]);
    let packed = dir.path().join("records.gz");
    std::fs::write(&packed, gzip(&std::fs::read(&attacks).unwrap())).unwrap();
    let packed = packed.to_str().unwrap();
    let counts = |accepted: u64, duplicates: u64| json!({"accepted": accepted, "duplicates": duplicates, "rejected": 0});
    assert_eq!(up.cli(&["ingest", &attacks, "-o", "json"]).with(0).json(), counts(135, 0));
    assert_eq!(up.cli(&["ingest", &attacks, packed, "-o", "json"]).with(0).json(), counts(0, 270));
    let into = crate::program::run(&["ingest", packed, "--into", up.url(), "-o", "json"]).with(0);
    assert_eq!(into.json(), counts(0, 135));
    up.settle();

    // The running pipeline and the offline command agree on what they find.
    let offline = crate::program::run(&["detect", &attacks]).with(0).lines();
    let sorted = |findings: &[Value]| {
        let mut uids: Vec<String> = findings.iter().map(|f| f["finding_info"]["uid"].to_string()).collect();
        uids.sort_unstable();
        uids
    };
    let online = up.cli(&["findings", "list", "-o", "json", "--limit", "1000"]).with(0).json();
    assert_eq!(sorted(online.as_array().unwrap()), sorted(&offline));

    let pretty = dir.path().join("pretty.json");
    std::fs::write(&pretty, serde_json::to_string_pretty(&tampering("t-9", "eve")).unwrap()).unwrap();
    assert_eq!(up.cli(&["ingest", pretty.to_str().unwrap(), "-o", "json"]).with(0).json(), counts(1, 0));
    up.settle();
    let mine = format!("/api/threats?principal={}", principal("eve"));
    assert_eq!(up.get(&mine).json()["rows"].as_array().unwrap().len(), 1);
    up.cli(&["ingest", "--source", "nope", &attacks]).with(3).says(&["nope", "aws.cloudtrail"]);
    up.cli(&["ingest", "no-such-file"]).with(2).says(&["cannot open no-such-file"]);
}

#[test]
fn ingest_without_a_pipeline_says_how_to_start_one() {
    let dir = TempDir::new().unwrap();
    let args = ["ingest", "-", "--data-dir", dir.path().to_str().unwrap()];
    crate::program::run(&args).with(3).says(&["no pipeline runs", "prunella up"]);
    crate::program::run(&["ingest", "-", "--into", "http://127.0.0.1:9"])
        .with(3)
        .says(&["cannot reach http://127.0.0.1:9"]);
}
