//! Dead letters: listed with their ids, shown with their bytes, given again by hand, running or not.

use crate::program::run;
use crate::running::{Running, wait_for};
use serde_json::{Value, json};
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
    let sent = up.post("/api/events?source=aws.cloudtrail", &[("content-type", "application/x-ndjson")], BODY.to_vec());
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
    let sent = up.post("/api/events?source=aws.cloudtrail", &[("content-type", "application/x-ndjson")], BODY.to_vec());
    assert_eq!(sent.status, 202);
    let all = wait_for("two dead letters", || Some(letters(&up)).filter(|all| all.len() == 2));
    // Nothing mends a translator while a test runs, so the stored record is what is mended.
    let connection = rusqlite::Connection::open(dir.path().join("store.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let mended = crate::records::tampering("t-1", "eve").to_string();
    for letter in &all {
        let mut fixed = letter.clone();
        fixed.as_object_mut().unwrap().remove("id");
        fixed["record"]["body"] = mended.clone().into();
        let uid = hex::decode(id(letter)).unwrap();
        let sql = "UPDATE dead_letter SET bytes = ?1 WHERE uid = ?2";
        assert_eq!(connection.execute(sql, (fixed.to_string(), uid)).unwrap(), 1);
    }
    drop(connection);
    let ids: Vec<String> = all.iter().map(id).collect();
    up.cli(&["dlq", "replay", &ids[0]]).with(0);
    up.settle();
    let events = up.get("/api/events").json()["rows"].as_array().unwrap().len();
    assert_eq!(events, 1);
    up.cli(&["dlq", "replay", &ids[1]]).with(0);
    up.settle();
    let events = up.get("/api/events").json()["rows"].as_array().unwrap().len();
    assert_eq!(events, 1, "the same event twice is one");
}
