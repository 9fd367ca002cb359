//! `prunella simulate-attack`: every scenario is found, background alone is not, and the report keeps its contract.

use crate::program::{Ended, command, ended, run};
use crate::running::{Running, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

const ATTACKS: [&str; 6] = [
    "brute_force",
    "credential_theft_enumeration",
    "privilege_escalation",
    "log_tampering",
    "s3_exfiltration",
    "ransom_encrypt_delete",
];

fn is_count(value: &Value) -> bool {
    value.is_u64()
}

#[track_caller]
fn keeps_the_contract(report: &Value, scenario: &str) {
    let object = report.as_object().unwrap();
    type Check = fn(&Value) -> bool;
    let optional: Check = |v| v.is_i64() || v.is_null();
    let texts: Check = |v| v.as_array().is_some_and(|all| all.iter().all(Value::is_string));
    let keys: [(&str, Check); 10] = [
        ("scenario", Value::is_string),
        ("attack_events", is_count),
        ("background_events", is_count),
        ("detected", Value::is_boolean),
        ("finding_uids", texts),
        ("findings_on_background", is_count),
        ("event_to_finding_ms", optional),
        ("finding_to_receipt_ms", optional),
        ("last_accepted_ms", optional),
        ("receipts", texts),
    ];
    for (key, check) in keys {
        let value = object.get(key).unwrap_or_else(|| panic!("no `{key}` in {report}"));
        assert!(check(value), "`{key}` is {value}");
    }
    assert_eq!(report["scenario"], scenario);
    let budget = report["background_events"].as_u64().unwrap() / 1_000;
    assert!(report["findings_on_background"].as_u64().unwrap() <= budget, "{report}");
}

/// Two at a time, since each mostly waits.
fn in_pairs(scenarios: &[&'static str]) -> Vec<(&'static str, Ended)> {
    let mut all = Vec::new();
    for pair in scenarios.chunks(2) {
        let start = |name: &&'static str| {
            (*name, command(&["simulate-attack", "run", *name, "--seed", "7", "-o", "json"]).spawn().unwrap())
        };
        let children: Vec<_> = pair.iter().map(start).collect();
        all.extend(
            children.into_iter().map(|(name, child)| (name, ended(child.wait_with_output().unwrap()))),
        );
    }
    all
}

#[test]
fn every_attack_is_found_contained_and_receipted() {
    for (name, ended) in in_pairs(&ATTACKS) {
        let report = ended.with(0).json();
        keeps_the_contract(&report, name);
        assert_eq!(report["detected"], true, "{name}");
        for key in ["finding_uids", "receipts"] {
            assert!(!report[key].as_array().unwrap().is_empty(), "{name}: no {key}");
        }
        for key in ["event_to_finding_ms", "finding_to_receipt_ms"] {
            assert!(
                report[key].as_i64().is_some_and(|ms| (0..10_000).contains(&ms)),
                "{name}: {key} is {}",
                report[key]
            );
        }
        assert!(report["attack_events"].as_u64() > Some(0));
    }
}

#[test]
fn the_demo_heals_and_ends_by_itself() {
    let shown = run(&["demo", "-o", "json"]).with(0);
    let demo = shown.says(&["A pipeline is up", "http://127.0.0.1:"]).json();
    keeps_the_contract(&demo["report"], "brute_force");
    for fact in ["detected", "contained", "verified"] {
        assert_eq!(demo["report"][fact], true, "{fact}");
    }
    assert_eq!((&demo["offline"]["valid"], &demo["rolled_back"]), (&true.into(), &true.into()));
    assert_eq!((&demo["ledger"]["integrity"], &demo["ledger"]["completeness"]), (&"ok".into(), &"ok".into()));
    assert!(
        !demo["findings"].as_array().unwrap().is_empty() && !demo["receipts"].as_array().unwrap().is_empty()
    );
    run(&["demo", "--scenario", "nope"]).with(3).says(&["nope", "brute_force"]);
}

#[test]
fn the_suite_takes_every_containment_back_and_keeps_its_contract() {
    let suite = run(&["simulate-attack", "suite", "--seed", "7", "-o", "json"]).with(0).json();
    assert_eq!((&suite["passed"], &suite["failed"]), (&6.into(), &0.into()), "{suite}");
    let names: Vec<&str> =
        suite["scenarios"].as_array().unwrap().iter().map(|s| s["scenario"].as_str().unwrap()).collect();
    assert_eq!(names, ATTACKS);
    for outcome in suite["scenarios"].as_array().unwrap() {
        let keys: Vec<&String> = outcome.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 7, "{keys:?}");
        for fact in ["detected", "verified", "rolled_back", "ledger_ok"] {
            assert_eq!(outcome[fact], true, "{outcome}");
        }
        assert_eq!(outcome["evidence"], "refused_call", "{outcome}");
        assert!(outcome["last_accepted_ms"].is_i64() || outcome["last_accepted_ms"].is_null());
    }
    run(&["simulate-attack", "list", "-o", "junit"]).with(3).says(&["JUnit"]);
}

#[test]
fn background_alone_raises_next_to_nothing() {
    let report = run(&["simulate-attack", "run", "none", "--seed", "7", "-o", "json"]).with(0).json();
    keeps_the_contract(&report, "none");
    assert_eq!((&report["attack_events"], &report["detected"]), (&0.into(), &false.into()));
    assert!(report["background_events"].as_u64() >= Some(1_000), "{report}");
}

#[test]
fn a_file_of_an_attack_is_native_the_same_for_a_seed_and_found_offline() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, seed: &str| {
        let file = path(name);
        run(&["simulate-attack", "run", "log_tampering", "--seed", seed, "--into", &file, "-o", "json"])
            .with(0);
        file
    };
    let (one, other) = (write("one.jsonl", "7"), write("other.jsonl", "8"));
    let text = std::fs::read_to_string(&one).unwrap();
    assert_ne!(text, std::fs::read_to_string(other).unwrap());
    let records = crate::program::objects(&text);
    assert!(
        records.len() > 1_000 && records.iter().all(|r| r["eventID"].is_string() && r["class_uid"].is_null())
    );
    let ended = run(&["normalize", &one]).with(0);
    assert_eq!((ended.lines().len(), ended.rejects().len()), (records.len(), 0));
    let findings = run(&["detect", &one]).with(0).lines();
    let tampering = |f: &Value| f["finding_info"]["attacks"].to_string().contains("T1562");
    assert!(findings.iter().any(tampering), "{} findings, none about the audit log", findings.len());
}

#[test]
fn an_attack_on_a_running_pipeline_can_be_started_from_outside_and_through_the_api() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &["--response", "auto"]);
    let body = json!({"attack_type": "brute_force", "intensity": "low", "seed": 3}).to_string().into_bytes();
    let started = up.post("/api/simulate-attack", &[("content-type", "application/json")], body);
    assert_eq!((started.status, &started.json()["status"]), (202, &"started".into()), "{}", started.text);
    wait_for("a finding", || {
        let rows = up.get("/api/threats").json();
        (!rows["rows"].as_array().unwrap().is_empty()).then_some(())
    });
}

#[test]
fn what_is_not_known_is_refused_with_what_is() {
    let listed = run(&["simulate-attack", "list"]).with(0).lines();
    let names: Vec<&str> = listed.iter().map(|s| s["scenario"].as_str().unwrap()).collect();
    assert!(ATTACKS.iter().chain(&["none"]).all(|name| names.contains(name)), "{names:?}");
    run(&["simulate-attack", "run", "nope"]).with(3).says(&["nope", "brute_force", "ransom_encrypt_delete"]);
    run(&["simulate-attack", "run", "none", "--intensity", "absurd"]).with(3).says(&["absurd", "medium"]);
    run(&["simulate-attack", "run", "none", "--into", "no/such/folder/file"])
        .with(3)
        .says(&["cannot write no/such/folder/file"]);
    run(&["simulate-attack", "run", "none", "--into", "http://127.0.0.1:9"]).with(3).says(&["127.0.0.1:9"]);
}
