//! Whole runs against the scripted Prunella: the contract's object, and what it says when nothing is found or nobody answers.

use crate::fake::{Fake, Script, clock};
use crate::records::NIGHT;
use prunella_schemas::Timestamp;
use prunella_simulate::background::background;
use prunella_simulate::{Intensity, Options, Progress, Scenario, SimulateError, Traffic, run};
use serde_json::Value;
use std::sync::{Arc, Mutex};

fn options(fake: &Fake, scenario: Scenario) -> Options {
    let options = Options::new(scenario, &fake.url, clock());
    Options {
        scale: 0.05,
        history_hours: 24,
        seed: 7,
        intensity: Intensity::High,
        timeout_ms: 15_000,
        ..options
    }
}

#[tokio::test]
async fn a_run_reports_the_contract() {
    let fake = Fake::start(Script { find_on: Some("GetSecretValue"), acts: true, ..Script::default() }).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let progress = Arc::new(move |progress| listener.lock().expect("not poisoned").push(progress));
    let report = run(Options { progress, ..options(&fake, Scenario::CredentialTheftEnumeration) })
        .await
        .expect("a report");
    let json = serde_json::to_value(&report).expect("an object");
    let records = fake.script().records.len() as u64;
    assert_eq!(json["scenario"], "credential_theft_enumeration");
    assert_eq!(
        json["attack_events"].as_u64().expect("N") + json["background_events"].as_u64().expect("N"),
        records
    );
    assert_eq!(json["detected"], true);
    assert_eq!(json["finding_uids"], serde_json::json!(["f".repeat(32)]));
    assert_eq!(json["findings_on_background"], 1);
    assert_eq!(
        (json["event_to_finding_ms"].as_i64(), json["finding_to_receipt_ms"].as_i64()),
        (Some(10), Some(20))
    );
    assert!(json["last_accepted_ms"].as_i64().is_some_and(|ms| (0..15_000).contains(&ms)), "{json}");
    assert_eq!(json["receipts"], serde_json::json!(["e".repeat(32)]));
    assert_eq!(
        (&json["contained"], &json["verified"], &json["evidence"]),
        (&Value::Bool(true), &Value::Bool(true), &"refused_call".into())
    );
    assert!(report.refused_calls >= 5 && report.accepted_calls > 10, "{report:?}");
    let lines = report.timeline().join("\n");
    for what in [
        "attack event durable",
        "finding",
        "plan",
        "applied",
        "verified",
        "first refused call",
        "last accepted call",
    ] {
        assert!(lines.contains(what), "{what} in\n{lines}");
    }
    let told = told.lock().expect("not poisoned");
    assert!(told.iter().any(|p| matches!(p, Progress::Background { sent, total } if sent == total)));
    assert!(told.contains(&Progress::Receipt { uid: "e".repeat(32) }));
}

#[tokio::test]
async fn the_attack_happens_now_and_now_is_night() {
    let fake = Fake::start(Script { find_on: Some("GetSecretValue"), acts: true, ..Script::default() }).await;
    let begin = clock()();
    run(options(&fake, Scenario::CredentialTheftEnumeration)).await.expect("a report");
    let now = clock()();
    for record in &fake.script().records {
        let time = Timestamp::parse(record["eventTime"].as_str().expect("text")).expect("RFC 3339");
        let attacker = record["sourceIPAddress"].as_str().is_some_and(|ip| ip.starts_with("192.0.2."));
        assert!(time <= now && attacker == (time.plus_ms(1_000) > begin), "{record}");
    }
    for time in [begin, NIGHT, Timestamp(0), Timestamp(86_399_999)] {
        let traffic = Traffic { scale: 0.1, ..Traffic::live(1, time) };
        assert_eq!(time.plus_ms(traffic.zone_ms).0.rem_euclid(86_400_000), 3 * 3_600_000);
        assert!(traffic.zone_ms.abs() <= 43_200_000, "{traffic:?}");
        let users = background(&traffic).into_iter().filter(|d| d.principal.contains(":user/"));
        assert!(users.map(|d| d.time.plus_ms(traffic.zone_ms).hour()).all(|hour| (6..=22).contains(&hour)));
    }
}

#[tokio::test]
async fn a_finding_that_nobody_acts_on_is_detected_and_not_contained() {
    let fake = Fake::start(Script { find_on: Some("StopLogging"), ..Script::default() }).await;
    let report = run(options(&fake, Scenario::LogTampering)).await.expect("a report");
    assert!(report.detected && !report.contained && !report.verified, "{report:?}");
    assert_eq!((report.finding_to_receipt_ms, report.refused_calls), (None, 0));
    assert!(
        report.event_to_finding_ms.is_some()
            && report.last_accepted_ms.is_some()
            && report.receipts.is_empty()
    );
}

#[tokio::test]
async fn what_is_not_found_is_not_detected_and_nobody_is_nobody() {
    let fake = Fake::start(Script::default()).await;
    let report = run(options(&fake, Scenario::LogTampering)).await.expect("a report");
    assert!(
        !report.detected && report.finding_uids.is_empty() && report.event_to_finding_ms.is_none(),
        "{report:?}"
    );
    let fake = Fake::start(Script { false_alarm_on: Some("AttachRolePolicy"), ..Script::default() }).await;
    fake.script()
        .findings
        .push(serde_json::json!({"finding_info": {"uid": "of yesterday", "related_events": []}}));
    let report = run(options(&fake, Scenario::None)).await.expect("a report");
    assert_eq!((report.attack_events, report.findings_on_background, report.detected), (0, 1, false));
    assert_eq!((report.last_accepted_ms, report.principal), (None, None));
}

#[tokio::test]
async fn nobody_there_is_an_error_that_names_the_address() {
    let fake = Fake::start(Script::default()).await;
    let mut options = options(&fake, Scenario::None);
    options.base_url = "http://127.0.0.1:9".to_owned();
    let error = run(options).await.expect_err("nobody listens there");
    assert!(
        matches!(&error, SimulateError::Unreachable { url, .. } if url.contains("127.0.0.1:9")),
        "{error}"
    );
}

#[tokio::test]
async fn a_second_run_counts_only_what_is_new_and_can_be_spawned() {
    let fake = Fake::start(Script { find_on: Some("GetSecretValue"), acts: true, ..Script::default() }).await;
    let first = run(options(&fake, Scenario::CredentialTheftEnumeration)).await.expect("a report");
    // A session from before the revocation is refused from the first call.
    fake.script().not_before.values_mut().for_each(|time| *time += 3_600_000);
    let second = tokio::spawn(run(options(&fake, Scenario::CredentialTheftEnumeration)));
    let second = second.await.expect("no panic").expect("a report");
    assert!(first.detected && !second.detected && second.contained, "{second:?}");
    assert_eq!((second.findings_on_background, second.accepted_calls, second.last_accepted_ms), (0, 0, None));
    let mut ids: Vec<String> =
        fake.script().records.iter().map(|record| record["eventID"].to_string()).collect();
    let total = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), total, "no two records share an id, whatever the run");
}
