//! Dead letters: listed with their ids, shown with their bytes, given again by hand, running or not.

use crate::program::run;
use crate::records::tampering;
use crate::running::{Running, wait_for};
use prunella_schemas::{DeadLetter, Message};
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

const BODY: &[u8] = b"{\"eventName\":\"DeleteTrail\"\n{\"nothing\":\"of ours\"}\n";

fn letters(up: &Running) -> Vec<Value> {
    up.cli(&["dlq", "list"]).with(0).lines()
}

fn id(letter: &Value) -> String {
    letter["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_dead_letter_is_kept_and_comes_back_as_long_as_its_cause_does() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &[]);
    let sent = up.post(
        "/api/events?source=aws.cloudtrail",
        &[("content-type", "application/x-ndjson")],
        BODY.to_vec(),
    );
    assert_eq!(sent.json(), json!({"accepted": 1, "duplicates": 0, "rejected": 1}));
    let before = wait_for("two dead letters", || Some(letters(&up)).filter(|all| all.len() == 2));
    let malformed = before.iter().find(|l| l["reason"] == "malformed").unwrap();
    let shown = up.cli(&["dlq", "show", &id(malformed), "-o", "json"]).with(0).json();
    assert_eq!(&shown, malformed);
    assert_eq!(shown["record"]["body"], "{\"nothing\":\"of ours\"}");
    let told = up.cli(&["dlq", "show", &id(malformed), "-o", "table"]).with(0).out;
    assert!(told.starts_with("malformed: ") && told.contains("of ours"), "{told}");

    // Given again while its cause stands, it is refused again: listed again, and later than before.
    up.cli(&["dlq", "replay"]).with(3).says(&["--all"]);
    up.cli(&["dlq", "replay", "zz"]).with(2).says(&["dlq list"]);
    let replayed = up.cli(&["dlq", "replay", &id(malformed), "-o", "json"]).with(0).json();
    assert_eq!(replayed, json!({"replayed": 1}));
    let later = |old: &Value, all: &[Value]| {
        all.len() == 2 && all.iter().any(|l| id(l) == id(old) && l["time"].as_i64() > old["time"].as_i64())
    };
    let after = wait_for("its return", || Some(letters(&up)).filter(|all| later(malformed, all)));

    // The same when nothing runs: the records wait on the log for the next start.
    up.stop().0.with(0);
    let data = dir.path().to_str().unwrap();
    let replayed = run(&["dlq", "replay", "--all", "-o", "json", "--data-dir", data]).with(0).json();
    assert_eq!(replayed, json!({"replayed": 2}));
    assert_eq!(run(&["dlq", "list", "--data-dir", data]).with(0).out, "");
    let up = Running::start(&dir, &[]);
    let back = wait_for("both to return", || Some(letters(&up)).filter(|all| all.len() == 2));
    let times = |all: &[Value]| all.iter().map(|l| l["time"].as_i64().unwrap()).max().unwrap();
    assert!(times(&back) > times(&after));
}

#[test]
fn a_dead_letter_whose_cause_is_mended_becomes_an_event_and_is_gone() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &[]);
    let sent = up.post(
        "/api/events?source=aws.cloudtrail",
        &[("content-type", "application/x-ndjson")],
        b"bad\n".to_vec(),
    );
    assert_eq!(sent.status, 202);
    wait_for("a dead letter", || (letters(&up).len() == 1).then_some(()));
    // Nothing mends a translator while a test runs: a record that it reads stands in for one that it reads now.
    let mut mended: DeadLetter = serde_json::from_value(letters(&up).remove(0)).unwrap();
    mended.record.body = tampering("t-1", "eve").to_string().into_bytes();
    let connection = rusqlite::Connection::open(dir.path().join("store.db")).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    let values = (Message::id(&mended).0, serde_json::to_string(&mended).unwrap());
    assert_eq!(connection.execute("UPDATE dead_letter SET uid = ?1, bytes = ?2", values).unwrap(), 1);
    drop(connection);
    up.cli(&["dlq", "replay", "--all"]).with(0);
    up.settle();
    assert_eq!(up.get("/api/events").json()["rows"][0]["metadata"]["uid"], "t-1");
    assert_eq!(
        up.get("/api/threats").json()["rows"].as_array().unwrap().len(),
        1,
        "it is looked at as any other"
    );
    assert_eq!(letters(&up), Vec::<Value>::new());
}
