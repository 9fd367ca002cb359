//! Real records: each becomes exactly one valid event.

use crate::{shared, translate, translate_one, valid};
use prunella_schemas::Event;
use serde_json::Value;
use std::collections::BTreeMap;

const FILES: &[(&str, usize)] = &[
    ("aws/c7n_cloudtrail_samples.jsonl", 24),
    ("aws/opensearch_benign.jsonl", 840),
    ("aws/stratus_detonation.jsonl", 135),
    ("aws/stratus_detonation.masked.jsonl", 135),
];

#[test]
fn every_real_record_becomes_one_event() {
    for (file, count) in FILES {
        let Some(text) = shared(file) else { return };
        let events: Vec<Event> = text.lines().map(|line| translate_one("aws.cloudtrail", line)).collect();
        assert_eq!(events.len(), *count, "{file}");
        let mut by_uid: BTreeMap<_, Vec<&Event>> = BTreeMap::new();
        for (event, line) in events.iter().zip(text.lines()) {
            valid::check(event);
            assert_eq!(event.raw_data, Some(line.into()));
            by_uid.entry(event.prunella.event_uid).or_default().push(event);
        }
        let shared_uid: Vec<_> = by_uid.values().filter(|events| events.len() > 1).collect();
        assert!(shared_uid.is_empty(), "{file}: records with one identity: {shared_uid:#?}");
    }
}

#[test]
fn two_records_with_one_event_id_stay_two_events() {
    let Some(text) = shared("aws/c7n_cloudtrail_samples.jsonl") else { return };
    let mut by_native: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for line in text.lines() {
        let event = translate_one("aws.cloudtrail", line);
        by_native.entry(event.metadata.uid.clone().unwrap_or_default()).or_default().push(event);
    }
    let pairs: Vec<_> =
        by_native.into_iter().filter(|(native, events)| !native.is_empty() && events.len() > 1).collect();
    assert_eq!(pairs.len(), 2, "{pairs:?}");
    for (native, events) in pairs {
        assert_ne!(events[0].prunella.event_uid, events[1].prunella.event_uid, "{native}");
    }
}

#[test]
fn every_rule_test_event_is_translated_or_refused_for_a_listed_reason() {
    let Some(text) = shared("rules/panther_cases.jsonl") else { return };
    let (mut translated, mut refused) = (0, BTreeMap::<String, Vec<String>>::new());
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        if !case["log_types"].as_array().is_some_and(|types| types.iter().any(|t| t == "AWS.CloudTrail")) {
            continue;
        }
        match translate("aws.cloudtrail", &case["event"].to_string()) {
            Ok(events) => {
                events.iter().for_each(valid::check);
                translated += events.len();
            }
            Err(error) => {
                assert!(!is_cloudtrail(&case["event"]), "{error}: {}", case["event"]);
                refused.entry(error.detail).or_default().push(case["case_id"].to_string());
            }
        }
    }
    eprintln!("translated {translated}; refused: {refused:#?}");
    assert!(translated >= 290, "only {translated} of the rule tests were translated");
}

/// Rules for several log types carry test events of other providers.
fn is_cloudtrail(event: &Value) -> bool {
    event.get("eventName").is_some_and(Value::is_string)
        || event.get("eventSource").is_some_and(Value::is_string)
}
