//! The bad input that the world has to offer: each a clear reject or a flagged event, an exit code, and no panic.

use crate::program::{Ended, fed};
use crate::records::{call, gzip, now};
use serde_json::Value;

const GOOD: &str = "2026-01-05T10:00:00Z";

fn good(event_id: &str) -> String {
    format!("{}\n", call(event_id, GOOD, "ada", "iam", "ListUsers"))
}

#[track_caller]
fn normalized(input: &[u8], events: usize, reasons: &[&str]) -> Ended {
    let ended = fed(&["normalize", "--fail-on-reject", "-"], input);
    let ended = ended.with(if reasons.is_empty() { 0 } else { 1 });
    assert_eq!(ended.lines().len(), events, "{}", ended.err);
    let rejects = ended.rejects();
    let got: Vec<&str> = rejects.iter().map(|r| r["reason"].as_str().unwrap()).collect();
    assert_eq!(got, reasons);
    let detailed = rejects.iter().all(|r| !r["detail"].as_str().unwrap().is_empty());
    assert!(detailed, "every reject says why: {rejects:?}");
    ended
}

fn flags(event: &Value) -> Vec<&str> {
    let flags = event["prunella"]["flags"].as_array();
    flags.map(|flags| flags.iter().map(|f| f.as_str().unwrap()).collect()).unwrap_or_default()
}

#[test]
fn what_is_no_record_is_a_reject_and_takes_no_other_record_with_it() {
    let around = |middle: &[u8]| [good("a").as_bytes(), middle, b"\n", good("b").as_bytes()].concat();
    let keys: String = (0..3_000).map(|n| format!("\"k{n}\":1,")).collect();
    normalized(b"", 0, &["empty"]);
    normalized(b" \n\n", 0, &["empty"]);
    normalized(&gzip(b""), 0, &["empty"]);
    normalized(&around(b"certainly not json"), 2, &["not_json"]);
    normalized(&around(b"{\"eventName\":"), 2, &["not_json"]);
    normalized(&around(b"{\"a\":1} 7"), 2, &["not_json"]);
    normalized(&around(format!("{{{keys}\"z\":1}}").as_bytes()), 2, &["too_many_keys"]);
    normalized(&around(format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20)).as_bytes()), 2, &["too_large"]);
    normalized(&around(b"{\"eventName\":\"\xff\xfe\"}"), 2, &["not_utf8"]);
    normalized(&around(b"{\"nothing\":\"of ours\"}"), 2, &["malformed"]);
}

#[test]
fn nesting_without_end_is_refused_and_not_recursed_into() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    for nested in [format!("{{\"a\":{}}}", deep(100_000)), objects] {
        let input = format!("{}{nested}\n{}", good("a"), good("b"));
        normalized(input.as_bytes(), 2, &["too_deep"]);
    }
    let never_closed = "{\"a\":".repeat(100_000);
    let ended = fed(&["normalize", "--fail-on-reject", "-"], never_closed.as_bytes()).with(1);
    assert!(ended.out.is_empty() && !ended.rejects().is_empty());
}

#[test]
fn damaged_or_explosive_compression_keeps_what_came_before_it() {
    let lines: String = (0..2_000).map(|n| good(&format!("e-{n}"))).collect();
    let whole = gzip(lines.as_bytes());
    let ended = fed(&["normalize", "--fail-on-reject", "-"], &whole[..whole.len() / 2]).with(1);
    assert!(!ended.lines().is_empty() && ended.lines().len() < 2_000);
    let rejects = ended.rejects();
    assert_eq!(rejects.last().unwrap()["reason"], "bad_compression");

    let mut flipped = whole;
    let at = flipped.len() - 6;
    flipped[at] ^= 0xff;
    let ended = fed(&["normalize", "--fail-on-reject", "-"], &flipped).with(1);
    assert_eq!(ended.rejects().last().unwrap()["reason"], "bad_compression");

    let bomb = gzip(&vec![b' '; 300 << 20]);
    assert!(bomb.len() < 4 << 20);
    normalized(&bomb, 0, &["bomb"]);
}

#[test]
fn what_is_odd_is_kept_and_flagged() {
    let check = |input: String, want: &str| {
        let events = normalized(input.as_bytes(), 1, &[]).lines();
        assert!(flags(&events[0]).contains(&want), "{want} in {:?}", flags(&events[0]));
    };
    let twice = good("a").replacen('{', "{\"eventName\":\"DeleteTrail\",", 1);
    check(twice.clone(), "duplicate_key");
    let event = &normalized(twice.as_bytes(), 1, &[]).lines()[0];
    assert_eq!(event["api"]["operation"], "ListUsers", "the last one counts");
    check(good("a").replace("\"ada\"", "\"\\ud800\""), "lone_surrogate");
    let at = |time: &str| good("a").replace(GOOD, time);
    check(at(&now().plus_ms(3 * 3_600_000).to_string()), "future_time");
    check(at("1970-01-01T00:00:00Z"), "ancient_time");
    check(at("not a time"), "missing_time");
}

#[test]
fn a_forged_event_id_hides_nothing() {
    let (real, forged) = (good("same"), good("same").replace("ListUsers", "CreateAccessKey"));
    let events = normalized(format!("{real}{forged}").as_bytes(), 2, &[]).lines();
    assert_eq!(events[0]["metadata"]["uid"], events[1]["metadata"]["uid"]);
    assert_ne!(events[0]["prunella"]["event_uid"], events[1]["prunella"]["event_uid"]);
}

#[test]
fn a_log_field_cannot_move_the_terminal() {
    let hostile =
        good("a").replace("\"ada\"", "\"\\u001b[2J\\u202eada\"").replace("ListUsers", "DeleteTrail");
    let hostile = hostile.replace("iam.amazonaws.com", "cloudtrail.amazonaws.com");
    let ended = fed(&["detect", "-o", "table", "-"], hostile.as_bytes()).with(0);
    assert!(ended.out.contains("DeleteTrail"), "{}", ended.out);
    assert!(!ended.out.contains(['\u{1b}', '\u{202e}']), "{}", ended.out);
}
