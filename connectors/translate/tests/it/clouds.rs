//! All real Azure and Google Cloud records: each well-formed one becomes one valid event, and agrees with Elastic's mapping.

use crate::{record, schema, shared, translate, valid};
use prunella_schemas::Event;
use prunella_translate::{Coverage, by_name};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A record of the shared data, and the source that reads it.
struct Sample {
    file: &'static str,
    name: String,
    source: &'static str,
    json: Value,
}

/// Rules for several log types carry test events of other providers; those are none of ours.
fn samples() -> Option<(Vec<Sample>, Vec<Value>)> {
    let (mut samples, mut foreign) = (Vec::new(), Vec::new());
    let mut add = |file, name: &Value, source, json: &Value| {
        samples.push(Sample { file, name: name.to_string(), source, json: json.clone() });
    };
    for file in ["gcp/c7n_audit_samples.jsonl", "gcp/csa_rule_samples.jsonl", "gcp/plaso_samples.jsonl"] {
        lines(file)?.iter().for_each(|entry| add(file, &entry["insertId"], "gcp.audit", entry));
    }
    for doc in lines("multi/stratus_azure_gcp_entra_docs.jsonl")? {
        add("multi", &doc["technique"], source_of(&doc["event"]).expect("a cloud record"), &doc["event"]);
    }
    for case in lines("rules/panther_cases.jsonl")? {
        let types: Vec<&str> =
            case["log_types"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        if !types.iter().any(|t| ["Azure.Audit", "Azure.MonitorActivity", "GCP.AuditLog"].contains(t)) {
            continue;
        }
        match source_of(&case["event"]) {
            Some(source) => add("panther", &case["case_id"], source, &case["event"]),
            None => foreign.push(case["event"].clone()),
        }
    }
    for pair in lines("pairs/elastic_ecs_2021.jsonl")? {
        let own =
            pair["raw_all"].as_array().map_or_else(|| std::slice::from_ref(&pair["raw"]), Vec::as_slice);
        for raw in own.iter().filter(|_| pair["stream"] != "aws.cloudtrail") {
            add("elastic", &pair["pair_id"], source_of(raw).unwrap_or("azure.activity"), raw);
        }
    }
    Some((samples, foreign))
}

fn lines(file: &str) -> Option<Vec<Value>> {
    Some(shared(file)?.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Which log a record is of, by the fields that only that log has.
fn source_of(event: &Value) -> Option<&'static str> {
    let has =
        |names: &[&str]| names.iter().any(|name| event.get(*name).is_some_and(|value| !value.is_null()));
    if has(&["protoPayload", "protopayload", "methodName"]) {
        return Some("gcp.audit");
    }
    let operation = has(&["operationName", "operationname", "evt"]);
    match event["category"].as_str().unwrap_or_default() {
        category if category.starts_with("Storage") => Some("azure.storage"),
        category if category.ends_with("SignInLogs") => Some("azure.signin"),
        "AuditLogs" => Some("azure.audit"),
        _ if event["resourceId"].as_str().is_some_and(|id| id.ends_with("Microsoft.aadiam")) => {
            Some("azure.audit")
        }
        _ if operation => Some("azure.activity"),
        _ => None,
    }
}

#[test]
fn every_well_formed_record_becomes_one_valid_event() {
    let Some((samples, foreign)) = samples() else { return };
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let mut recommended = BTreeMap::new();
    let mut flags: BTreeMap<String, u32> = BTreeMap::new();
    for sample in &samples {
        let events = translate(sample.source, &sample.json.to_string())
            .unwrap_or_else(|e| panic!("{} {}: {e}", sample.file, sample.name));
        assert_eq!(events.len(), 1, "{}", sample.name);
        valid::check(&events[0]);
        schema::count_recommended(&events[0], &mut recommended);
        events[0]
            .prunella
            .flags
            .iter()
            .for_each(|flag| *flags.entry(format!("{} {flag:?}", sample.source)).or_default() += 1);
        *counts.entry((sample.source, sample.file)).or_default() += 1;
    }
    eprintln!("translated {}: {counts:#?}\nflags {flags:#?}\nrecommended {recommended:#?}", samples.len());
    let total = |source| counts.iter().filter(|((s, _), _)| *s == source).map(|(_, n)| n).sum::<u32>();
    let least = [
        ("azure.activity", 115),
        ("azure.audit", 8),
        ("azure.signin", 13),
        ("azure.storage", 6),
        ("gcp.audit", 170),
    ];
    for (source, least) in least {
        assert!(total(source) >= least, "{source}: only {}", total(source));
    }
    // What is not of these clouds is refused by all of them, and says what is wanted instead.
    for event in &foreign {
        for source in ["azure.activity", "azure.audit", "azure.signin", "azure.storage", "gcp.audit"] {
            if let Err(error) = translate(source, &event.to_string()) {
                assert!(error.detail.contains("send "), "{error}");
            }
        }
    }
    eprintln!("{} rule tests are of other providers", foreign.len());
}

/// Fields that are known to be left in `raw_data`, by the beginning of their path, and why.
const LEFT: &[(&str, &str, &str)] = &[
    ("", "p_", "what Panther adds to a record"),
    ("gcp.audit", "protoPayload.request", "differs with every method; `raw_data` has it"),
    ("gcp.audit", "protoPayload.response", "differs with every method; `raw_data` has it"),
    ("gcp.audit", "protoPayload.metadata", "differs with every service; `raw_data` has it"),
    ("gcp.audit", "protoPayload.serviceData", "differs with every service; `raw_data` has it"),
    ("gcp.audit", "resource.labels", "differs with every resource type; project, place and bucket are read"),
];

#[test]
fn unread_fields_are_reported() {
    let Some((samples, _)) = samples() else { return };
    let mut by_source: BTreeMap<&str, Coverage> = BTreeMap::new();
    for sample in &samples {
        let body = sample.json.to_string();
        let coverage = by_source.entry(sample.source).or_default();
        coverage.add(by_name(sample.source).unwrap(), &record(sample.source, &body), &body).unwrap();
    }
    for (source, coverage) in &by_source {
        let left = |path: &str| {
            LEFT.iter().any(|(of, start, _)| (of.is_empty() || of == source) && path.starts_with(start))
        };
        let unread: Vec<String> = coverage
            .unread()
            .filter(|(path, _)| !left(path))
            .map(|(path, seen)| format!("{path} ({seen})"))
            .collect();
        let read = coverage.read().count();
        eprintln!("{source}: {} records, {read} fields read, unread: {unread:#?}", coverage.records());
        assert!(read >= 15, "{source}: only {read} fields tell something");
        let whole =
            ["time", "timestamp", "operationName", "category", "protoPayload.methodName", "callerIpAddress"];
        for path in whole {
            assert!(coverage.unread().all(|(unread, _)| unread != path), "{source}: `{path}` is not read");
        }
    }
}

/// `(part of the pair id, fact, why)`: where we differ from Elastic's mapping.
const EXPLAINED: &[(&str, &str, &str)] = &[
    ("activitylogs", "country", "Elastic looks the address up; enrichment does so here"),
    ("auditlogs", "resource", "we name what was changed, and Entra itself only as the product"),
    ("signinlogs", "resource", "we name what was signed in to, and Entra itself only as the product"),
    (
        "signinlogs-raw.log#1",
        "ip",
        "the record holds two addresses; we take the sign-in's own, they the envelope's",
    ),
    (
        "signinlogs-raw.log#1",
        "correlation",
        "the record holds two ids; we take the sign-in's own, they the envelope's",
    ),
    (
        "platformlogs-raw",
        "time",
        "an American date, which only old operational logs of Event Hubs have: flagged",
    ),
    ("test-audit.log#6", "outcome", "the end of an operation, without an error"),
];

/// A fact, where ECS holds it, and where OCSF does.
const FACTS: &[(&str, &str, &str)] = &[
    ("action", "/event/action", "/api/operation"),
    ("ip", "/source/ip", "/src_endpoint/ip"),
    ("provider's id", "/event/id", "/metadata/uid"),
    ("service", "/service/name", "/api/service/name"),
    ("user agent", "/user_agent/original", "/http_request/user_agent"),
    ("e-mail", "/user/email", "/actor/user/name"),
    ("user id", "/user/id", "/actor/user/uid"),
    ("project", "/cloud/project/id", "/cloud/project_uid"),
    ("subscription", "/azure/subscription_id", "/cloud/account/uid"),
    ("tenant", "/azure/tenant_id", "/cloud/org/uid"),
    ("correlation", "/azure/correlation_id", "/metadata/correlation_uid"),
    ("city", "/geo/city_name", "/src_endpoint/location/city"),
    ("country", "/geo/country_iso_code", "/src_endpoint/location/country"),
    ("error", "/azure/signinlogs/result_type", "/status_code"),
    ("resource", "/azure/resource/id", "/resources/0/uid"),
];

#[test]
fn elastic_pairs_agree() {
    let Some(pairs) = lines("pairs/elastic_ecs_2021.jsonl") else { return };
    let (mut compared, mut unexplained) = (0, Vec::new());
    let mut used: BTreeSet<&(&str, &str, &str)> = BTreeSet::new();
    for pair in
        pairs.iter().filter(|pair| pair["stream"] != "aws.cloudtrail" && pair["expected_ecs"].is_object())
    {
        let id = pair["pair_id"].as_str().unwrap();
        let source = source_of(&pair["raw"]).unwrap_or("azure.activity");
        let events = translate(source, &pair["raw"].to_string()).unwrap_or_else(|e| panic!("{id}: {e}"));
        let ours = serde_json::to_value(&events[0]).unwrap();
        for (fact, got, want) in compare(&pair["expected_ecs"], &ours, &events[0]) {
            compared += 1;
            if got.to_lowercase() == want.to_lowercase() {
                continue;
            }
            let reason = EXPLAINED.iter().find(|(part, known, _)| id.contains(part) && *known == fact);
            used.extend(reason);
            let line = format!("{id}: {fact}: ours {got}, theirs {want}");
            match reason {
                Some((_, _, why)) => eprintln!("{line} ({why})"),
                None => unexplained.push(line),
            }
        }
    }
    eprintln!("{compared} facts compared");
    assert!(compared >= 100, "only {compared} facts were compared");
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    let stale: Vec<_> = EXPLAINED.iter().filter(|row| !used.contains(row)).collect();
    assert!(stale.is_empty(), "these differences are gone, remove them: {stale:?}");
}

/// `(fact, ours, theirs)` for every fact that they have.
fn compare(ecs: &Value, ours: &Value, event: &Event) -> Vec<(&'static str, String, String)> {
    let text = |value: &Value, path: &str| {
        value.pointer(path).map(|found| found.as_str().map_or_else(|| found.to_string(), str::to_owned))
    };
    let mut facts: Vec<_> = FACTS
        .iter()
        .filter_map(|(fact, theirs, path)| {
            Some((*fact, text(ours, path).unwrap_or_default(), text(ecs, theirs)?))
        })
        .collect();
    let time = prunella_schemas::Timestamp::parse(ecs["@timestamp"].as_str().unwrap()).unwrap();
    facts.push(("time", event.time.to_string(), time.to_string()));
    if let Some(outcome) = text(ecs, "/event/outcome") {
        facts.push(("outcome", event.status.to_string(), outcome.replace("succeeded", "success")));
    }
    facts
}
