//! `prunella detect`: records in, OCSF Detection Findings out, the same bytes every time.

use crate::program::{fed, objects, run};
use crate::records::{FILES, shared, tampering};
use serde_json::Value;
use std::collections::BTreeSet;

const ARGS: [&str; 5] = ["detect", "--source", "aws.cloudtrail", "-o", "ndjson"];

#[test]
fn published_attacks_are_found_with_evidence_from_the_input_and_nothing_else_is() {
    let Some(attacks) = shared("aws/stratus_detonation.masked.jsonl") else { return };
    let Some(benign) = shared("aws/opensearch_benign.jsonl") else { return };
    let records = objects(&std::fs::read_to_string(&attacks).unwrap());
    let ids: BTreeSet<&str> = records.iter().map(|r| r["eventID"].as_str().unwrap()).collect();
    let findings = run(&[&ARGS[..], &[attacks.as_str()]].concat()).with(0).lines();
    assert!(findings.len() >= 10, "{} findings", findings.len());
    for finding in &findings {
        assert_eq!((&finding["class_uid"], &finding["category_uid"]), (&2004.into(), &2.into()));
        let related = finding["finding_info"]["related_events"].as_array().unwrap();
        assert!((1..=32).contains(&related.len()));
        let known = related.iter().all(|e| ids.contains(e["uid"].as_str().unwrap()));
        assert!(known, "evidence that was not in the input: {related:?}");
        let attacks = finding["finding_info"]["attacks"].as_array().unwrap();
        assert!(attacks.iter().all(|a| a["technique"]["uid"].as_str().unwrap().starts_with('T')));
        assert!(!attacks.is_empty() && !finding["prunella"]["reasons"].as_array().unwrap().is_empty());
    }
    assert_eq!(run(&[&ARGS[..], &[benign.as_str()]].concat()).with(0).out, "");
}

#[test]
fn the_order_of_files_does_not_matter_and_twice_is_the_same_bytes() {
    let files: Vec<String> = FILES.iter().filter_map(|name| shared(name)).collect();
    if files.len() < FILES.len() {
        return;
    }
    let forth: Vec<&str> = files.iter().map(String::as_str).collect();
    let back: Vec<&str> = forth.iter().copied().rev().collect();
    let detect = |files: &[&str]| run(&[&ARGS[..], files].concat()).with(0).out;
    let first = detect(&forth);
    assert!(!first.is_empty());
    assert_eq!(first, detect(&forth));
    assert_eq!(first, detect(&back));
    assert_eq!(first, detect(&[&forth[..], &forth[..]].concat()), "a file given twice counts once");
}

#[test]
fn the_three_formats_say_the_same() {
    let input = format!("{}\n", tampering("t-1", "eve"));
    let with = |format: &str| fed(&["detect", "-o", format, "-"], input.as_bytes()).with(0);
    let lines = with("ndjson").lines();
    assert_eq!(with("json").json(), Value::Array(lines.clone()));
    let (table, uid) = (with("table").out, lines[0]["finding_info"]["uid"].as_str().unwrap());
    assert!(table.contains("SEVERITY") && table.contains(uid), "{table}");
    assert_eq!(lines[0]["finding_info"]["related_events"][0]["uid"], "t-1");
    assert_eq!(fed(&["detect", "-"], input.as_bytes()).with(0).lines(), lines, "a pipe gets NDJSON");
    fed(&["detect", "--fail-on-finding", "-"], input.as_bytes()).with(1);
    let nothing = fed(&["detect", "--fail-on-finding", "-o", "json", "-"], b"{}").with(0);
    assert_eq!(nothing.json(), Value::Array(Vec::new()));
}
