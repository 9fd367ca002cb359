//! `prunella normalize`: one event per record, only events on stdout, rejects and counts on stderr.

use crate::program::{command, ended, fed, objects, run};
use crate::records::{FILES, call, gzip, shared};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use tempfile::TempDir;

fn three() -> Vec<Value> {
    let record = |n: u32| call(&format!("e-{n}"), "2026-01-05T10:00:00Z", "ada", "iam", "ListUsers");
    (0..3).map(record).collect()
}

fn ndjson(records: &[Value]) -> Vec<u8> {
    records.iter().map(|r| format!("{r}\n")).collect::<String>().into_bytes()
}

fn uids(events: &[Value]) -> Vec<String> {
    events.iter().map(|e| e["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_published_record_becomes_exactly_one_event() {
    for name in FILES {
        let Some(path) = shared(name) else { return };
        let text = std::fs::read_to_string(&path).unwrap();
        let records = objects(&text);
        let ended = run(&["normalize", "--source", "aws.cloudtrail", &path]).with(0);
        let events = ended.lines();
        assert_eq!(events.len(), records.len(), "{name}");
        for (record, event) in records.iter().zip(&events) {
            let record = record.get("detail").filter(|d| d.is_object()).unwrap_or(record);
            assert_eq!(event["metadata"]["uid"], record["eventID"], "{name}");
            assert!(event["class_uid"].is_u64() && event["time"].is_i64(), "{name}: {event}");
        }
        let count = records.len();
        assert_eq!(ended.err.trim_end(), format!("{count} records, {count} events, 0 rejects"));
    }
}

#[test]
fn every_packing_of_the_same_records_gives_the_same_events() {
    let records = three();
    let lines = ndjson(&records);
    let log_file = json!({ "Records": records }).to_string().into_bytes();
    let pretty = serde_json::to_vec_pretty(&json!({ "Records": records })).unwrap();
    let bridge = |r: &Value| {
        json!({"version": "0", "id": "b", "detail-type": "AWS API Call via CloudTrail", "source": "aws.iam",
            "account": "111122223333", "time": "2026-01-05T10:00:01Z", "region": "eu-central-1", "detail": r})
    };
    let bridged = ndjson(&records.iter().map(bridge).collect::<Vec<_>>());
    let array = serde_json::to_vec(&records).unwrap();
    let two_members = [gzip(&ndjson(&records[..1])), gzip(&ndjson(&records[1..]))].concat();
    let packings = [
        ("lines", lines.clone()),
        ("gzip", gzip(&lines)),
        ("gzip of two members", two_members),
        ("log file", log_file.clone()),
        ("gzip log file", gzip(&log_file)),
        ("pretty log file", pretty),
        ("array", array),
        ("EventBridge", bridged),
    ];
    let dir = TempDir::new().unwrap();
    for (name, bytes) in packings {
        let path = dir.path().join("input");
        std::fs::write(&path, &bytes).unwrap();
        for ended in [run(&["normalize", path.to_str().unwrap()]), fed(&["normalize", "-"], &bytes)] {
            let ended = ended.with(0);
            assert_eq!(uids(&ended.lines()), ["e-0", "e-1", "e-2"], "{name}");
            assert_eq!(ended.err, "3 records, 3 events, 0 rejects\n", "{name}");
        }
    }
}

#[test]
fn it_never_dedupes() {
    let twice = [three(), three()].concat();
    let events = fed(&["normalize", "-"], &ndjson(&twice)).with(0).lines();
    assert_eq!(events.len(), 6);
    let names: BTreeSet<String> = events.iter().map(|e| e["prunella"]["event_uid"].to_string()).collect();
    assert_eq!(names.len(), 3, "the same record is the same event");
}

#[test]
fn rejects_go_to_stderr_or_to_a_file_and_only_then_decide_the_exit_code() {
    let input = [b"no json here\n".to_vec(), ndjson(&three()), b"{\"a\":1}\n".to_vec()].concat();
    let check = |rejects: &[Value]| {
        let reasons: Vec<&str> = rejects.iter().map(|r| r["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["not_json", "malformed"]);
        assert_eq!(rejects[0]["record"]["body"].as_str().unwrap().trim_end(), "no json here");
        assert_eq!(rejects[0]["record"]["origin"], "-:1");
        assert_eq!(rejects[1]["record"]["origin"], "-:5");
        assert!(rejects.iter().all(|r| !r["detail"].as_str().unwrap().is_empty()));
    };
    let ended = fed(&["normalize", "-"], &input).with(0);
    assert_eq!(ended.lines().len(), 3);
    check(&ended.rejects());
    assert_eq!(ended.err.lines().last(), Some("5 records, 3 events, 2 rejects"), "counts come last");

    let dir = TempDir::new().unwrap();
    let file = dir.path().join("rejects.ndjson");
    let ended =
        fed(&["normalize", "--fail-on-reject", "--rejects", file.to_str().unwrap(), "-"], &input).with(1);
    assert_eq!(ended.lines().len(), 3);
    assert_eq!(ended.err, "5 records, 3 events, 2 rejects\n");
    check(&objects(&std::fs::read_to_string(&file).unwrap()));
    fed(&["normalize", "--fail-on-reject", "-"], &ndjson(&three())).with(0);
}

#[test]
fn what_cannot_be_done_says_why_and_exits_with_2_or_3() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("input");
    std::fs::write(&file, ndjson(&three())).unwrap();
    let (file, folder) = (file.to_str().unwrap(), dir.path().to_str().unwrap());
    let check = |args: &[&str], code: i32, words: &[&str]| {
        let ended = run(&[&["normalize"], args].concat()).with(code).says(words);
        assert_eq!(ended.out, "");
    };
    check(&["--source", "nope", file], 3, &["unknown source `nope`", "aws.cloudtrail", "ocsf"]);
    check(&["no-such-file"], 2, &["cannot open no-such-file"]);
    check(&[folder], 2, &["is a directory; give its files"]);
    check(&[], 3, &["<FILE>"]);
    check(&["--nope", file], 3, &["--nope"]);
    check(&["--rejects", &format!("{folder}/none/here"), file], 3, &["cannot write"]);
}

#[test]
fn an_ocsf_event_passes_through_and_normalizing_twice_changes_nothing() {
    let once = fed(&["normalize", "-"], &ndjson(&three())).with(0);
    let twice = fed(&["normalize", "--source", "ocsf", "-"], once.out.as_bytes()).with(0);
    assert_eq!(twice.rejects(), Vec::<Value>::new());
    assert_eq!(uids(&once.lines()), uids(&twice.lines()));
    let facts =
        |e: &Value| [&e["class_uid"], &e["time"], &e["actor"], &e["api"]["operation"]].map(Value::clone);
    for (a, b) in once.lines().iter().zip(&twice.lines()) {
        assert_eq!(facts(a), facts(b));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let input = ndjson(&three()).repeat(20_000);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("input");
    std::fs::write(&path, input).unwrap();
    let mut child = command(&["normalize", path.to_str().unwrap()]).spawn().unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
    assert_eq!(first[0], b'{');
}

#[test]
fn a_full_disk_is_an_error_that_says_what_was_not_written() {
    let full = || std::fs::File::options().write(true).open("/dev/full");
    let Ok(device) = full() else {
        eprintln!("SKIPPED: this system has no device that is always full");
        return;
    };
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("input");
    std::fs::write(&path, ndjson(&three())).unwrap();
    let path = path.to_str().unwrap();
    for args in [&["normalize", path][..], &["config", "show"], &["completions", "bash"]] {
        let output = command(args).stdout(full().unwrap()).output().unwrap();
        ended(output).with(2).says(&["cannot write to standard output", "No space left"]);
    }
    drop(device);
    let ended = fed(&["normalize", "--rejects", "/dev/full", "-"], b"no json\n").with(2);
    ended.says(&["cannot write the rejects", "No space left"]);
}
