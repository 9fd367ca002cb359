//! Every bad input that was thought of, each with the reason it must be given.

use crate::{RECEIVED, events, good, gzip, letters, record, staged, trail, uid, unpacked};
use prunella_ingest::{Content, Ingest, Limits, normalize, unpack};
use prunella_schemas::RejectReason::{self, *};
use prunella_schemas::limits::{RECORD_BYTES_MAX, RECORD_KEYS_MAX};
use prunella_schemas::{Flag, Record};
use std::ops::ControlFlow;

const TRAIL: &str = "aws.cloudtrail";

#[test]
fn records_that_are_refused_say_why() {
    let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let with = |member: String| trail("e1", "ListBuckets", "2024-07-31T12:29:16Z", &(member + ","));
    let keys = |n: usize| (0..n).map(|i| format!("\"k{i}\":0")).collect::<Vec<_>>().join(",");
    let cases: Vec<(&str, Vec<u8>, RejectReason)> = vec![
        ("empty", b"".to_vec(), Empty),
        ("white space", b" \r\n\t".to_vec(), Empty),
        ("byte order mark alone", "\u{feff}".into(), Empty),
        ("text", b"hello".to_vec(), NotJson),
        ("html", b"<html></html>".to_vec(), NotJson),
        ("nested 100k", nested(100_000).into(), TooDeep),
        ("nested 100k in a record", with(format!("\"x\":{}", nested(100_000))).into(), TooDeep),
        ("nested 100k, unclosed", "{\"a\":".repeat(100_000).into(), TooDeep),
        ("huge", with(format!("\"x\":\"{}\"", "x".repeat(RECORD_BYTES_MAX))).into(), TooLarge),
        ("many keys", format!("{{{}}}", keys(RECORD_KEYS_MAX + 1)).into(), TooManyKeys),
        ("invalid UTF-8", [good("e1").as_bytes(), b"\xff"].concat(), NotUtf8),
        ("invalid UTF-8 in a string", b"{\"eventID\":\"\xc3\x28\"}".to_vec(), NotUtf8),
        ("overlong UTF-8", b"{\"eventID\":\"\xc0\x80\"}".to_vec(), NotUtf8),
        ("UTF-8 surrogate", b"{\"eventID\":\"\xed\xa0\x80\"}".to_vec(), NotUtf8),
        ("raw NUL in a string", with("\"x\":\"\0\"".into()).into(), NotJson),
        ("raw NUL after", (good("e1") + "\0").into(), NotJson),
        ("trailing garbage", format!("{}{}", good("e1"), good("e2")).into(), NotJson),
        ("trailing garbage, small", b"{}{}".to_vec(), NotJson),
        ("truncated", good("e1")[..200].into(), NotJson),
        ("bad escape", with(r#""x":"\q""#.into()).into(), NotJson),
        ("bad number", with(r#""x":01"#.into()).into(), NotJson),
        ("NaN", with(r#""x":NaN"#.into()).into(), NotJson),
        ("single quotes", b"{'a':1}".to_vec(), NotJson),
        ("comment", b"{} // x".to_vec(), NotJson),
        ("trailing comma", b"{\"a\":1,}".to_vec(), NotJson),
        ("a duplicate that is no JSON", b"{\"a\":tru,\"a\":1}".to_vec(), NotJson),
        ("number", b"42".to_vec(), Malformed),
        ("null", b"null".to_vec(), Malformed),
        ("array", format!("[{}]", good("e1")).into(), Malformed),
        ("no record", b"{}".to_vec(), Malformed),
    ];
    for (name, body, want) in cases {
        let record = record(TRAIL, body);
        let mut out = Vec::new();
        let letter = normalize(&record, &mut out).expect_err(name);
        assert_eq!(letter.reason, want, "{name}: {}", letter.detail);
        assert_eq!((&letter.record, letter.time, out.len()), (&record, RECEIVED, 0), "{name}");
        assert!(!letter.detail.is_empty() && !letter.detail.ends_with('.'), "{name}: {}", letter.detail);
        assert!(letter.offset.is_none_or(|at| at <= record.body.len() as u64), "{name}: {:?}", letter.offset);
    }
}

#[test]
fn an_unknown_source_names_the_known_ones() {
    let letter =
        normalize(&record("aws.cloudtrial", good("e1")), &mut Vec::new()).expect_err("no such source");
    assert_eq!(letter.reason, UnknownSource);
    assert!(letter.detail.contains("aws.cloudtrail"), "{}", letter.detail);
}

#[test]
fn odd_records_are_kept_and_flagged() {
    let time = "2024-07-31T12:29:16Z";
    let with = |member: &str| trail("e1", "ListBuckets", time, &format!("{member},"));
    let digits = "1".repeat(1_000_000);
    let cases: Vec<(&str, String, Option<Flag>)> = vec![
        ("good", good("e1"), None),
        ("byte order mark", format!("\u{feff}{}", good("e1")), None),
        ("unknown members", with(r#""x":{"y":[1e400,null]}"#), None),
        ("a number of a million digits", with(&format!("\"x\":{digits}")), None),
        ("escaped NUL", with(r#""x":"\u0000""#), None),
        ("duplicate key", with(r#""eventName":"DeleteTrail""#), Some(Flag::DuplicateKey)),
        ("escaped duplicate key", with(r#""event\u004eame":"DeleteTrail""#), Some(Flag::DuplicateKey)),
        ("inner duplicate", with(r#""x":{"a":1,"a":2}"#), Some(Flag::DuplicateKey)),
        ("lone surrogate", with(r#""x":"\ud83d""#), Some(Flag::LoneSurrogate)),
        ("future", trail("e1", "ListBuckets", "2034-07-31T12:29:16Z", ""), Some(Flag::FutureTime)),
        ("1970", trail("e1", "ListBuckets", "1970-01-01T00:00:00Z", ""), Some(Flag::AncientTime)),
    ];
    for (name, body, want) in cases {
        let mut out = Vec::new();
        if let Err(letter) = normalize(&record(TRAIL, body.clone()), &mut out) {
            panic!("{name}: {:?} {}", letter.reason, letter.detail);
        }
        let [event] = out.as_slice() else { panic!("{name}: {} events", out.len()) };
        assert_eq!(event.prunella.flags, Vec::from_iter(want), "{name}");
        assert_eq!(event.operation(), "ListBuckets", "{name}: the last value counts");
        let raw = event.raw_data.as_ref().unwrap().text();
        assert_eq!(raw, body.trim_start_matches('\u{feff}'), "{name}: the bytes as they arrived");
    }
}

#[test]
fn a_forged_id_hides_nothing() {
    let forged = trail("e1", "DeleteTrail", "2024-07-31T12:29:16Z", "");
    let bodies = [good("e1"), forged, good("e2"), good("e1")];
    let records: Vec<Record> = bodies.iter().map(|body| record(TRAIL, body.clone())).collect();
    let events = events(&staged(&mut Ingest::new(), &records, 1));
    let flagged: Vec<bool> = events.iter().map(|e| e.prunella.flags.contains(&Flag::IdCollision)).collect();
    assert_eq!(flagged, [false, true, false, false]);
    assert_ne!(uid(&events[0]), uid(&events[1]));
    assert_eq!(uid(&events[0]), uid(&events[3]));
}

#[test]
fn one_bad_record_stops_nothing() {
    for position in 0..5 {
        let mut records: Vec<Record> = (0..5).map(|i| record(TRAIL, good(&format!("e{i}")))).collect();
        records[position].body = b"\xff\xfe{}".to_vec();
        let posted = staged(&mut Ingest::new(), &records, 2);
        assert_eq!((events(&posted).len(), letters(&posted).len()), (4, 1), "{position}");
        assert_eq!(letters(&posted)[0].record, records[position]);
    }
}

#[test]
fn files_that_are_refused_say_why() {
    let lines: String = (0..100).map(|i| good(&format!("e{i}")) + "\n").collect();
    let whole = gzip(lines.as_bytes());
    let bomb = gzip(&vec![b' '; 20 << 20]);
    let nested = gzip(&vec![b'['; 20 << 20]);
    let corrupt = {
        let mut bytes = whole.clone();
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        bytes
    };
    // (name, input, records, reasons of the rejects)
    let cases: Vec<(&str, Vec<u8>, usize, Vec<RejectReason>)> = vec![
        ("empty", vec![], 0, vec![Empty]),
        ("blank", b"\n\n \n".to_vec(), 0, vec![Empty]),
        ("one byte", vec![0x1f], 0, vec![NotJson]),
        ("empty gzip", gzip(b""), 0, vec![Empty]),
        ("gzip magic alone", vec![0x1f, 0x8b], 0, vec![BadCompression]),
        ("gzip without its trailer", whole[..whole.len() - 8].to_vec(), 100, vec![BadCompression]),
        ("gzip with a bad checksum", corrupt, 100, vec![BadCompression]),
        ("gzip then garbage", [&whole[..], b"garbage"].concat(), 100, vec![BadCompression]),
        ("two members", [whole.clone(), whole.clone()].concat(), 200, vec![]),
        ("gzip bomb", bomb, 0, vec![Bomb]),
        ("gzip bomb, nested", nested, 0, vec![TooLarge, Bomb]),
        ("not JSON", b"hello\nworld".to_vec(), 0, vec![NotJson, NotJson]),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec(), 0, vec![NotUtf8]),
        ("text between", b"{}\noops\n{}\n".to_vec(), 2, vec![NotJson]),
        ("nested 100k", "{\"a\":".repeat(100_000).into(), 0, vec![TooDeep]),
        ("nested 100k in an array", "[".repeat(100_000).into(), 0, vec![NotJson]),
        ("trailing garbage", b"{}{}\n{}".to_vec(), 1, vec![NotJson]),
    ];
    for (name, input, records, reasons) in cases {
        let pieces = unpacked(&input[..], Content::Auto);
        let got: Vec<RejectReason> =
            pieces.iter().filter_map(|(_, r)| r.as_ref()).map(|r| r.reason).collect();
        assert_eq!((pieces.len() - got.len(), got), (records, reasons), "{name}");
    }
}

#[test]
fn gzip_beyond_the_limit_gives_what_came_before() {
    let lines: String = (0..40_000).map(|i| good(&format!("e{i}")) + "\n").collect();
    let limits = Limits { inflated_bytes_max: 1 << 20 };
    let mut reasons = Vec::new();
    let tally = unpack(&gzip(lines.as_bytes())[..], Content::Auto, &limits, &mut |piece| {
        reasons.extend(piece.rejected.map(|r| r.reason));
        ControlFlow::Continue(())
    });
    let tally = tally.unwrap();
    assert_eq!(reasons, [Bomb]);
    assert!(tally.records > 1_000 && tally.bytes <= 1 << 20, "{tally:?}");
}

#[test]
fn an_event_without_an_id_is_named_by_the_bytes_that_arrived() {
    let body = |n: u8| {
        let body = trail("e1", "ListBuckets", "2024-07-31T12:29:16Z", &format!(r#""x":{n},"x":0,"#));
        body.replace(r#""eventID":"e1","#, "")
    };
    let mut out = Vec::new();
    for n in [1, 2, 1] {
        normalize(&record(TRAIL, body(n)), &mut out).unwrap();
    }
    assert_ne!(uid(&out[0]), uid(&out[1]), "what was superseded differs");
    assert_eq!(uid(&out[0]), uid(&out[2]));
    assert_eq!(out[0].prunella.flags, [Flag::MissingId, Flag::DuplicateKey]);
}

#[test]
fn a_truncated_gzip_gives_what_it_held() {
    let lines: String = (0..2_000).map(|i| good(&format!("e{i}")) + "\n").collect();
    let log_file = format!("{{\"Records\":[{}]}}", lines.trim_end().replace('\n', ","));
    for text in [lines, log_file] {
        let whole = gzip(text.as_bytes());
        for cut in [whole.len() / 4, whole.len() / 2, whole.len() - 9] {
            let pieces = unpacked(&whole[..cut], Content::Auto);
            let (last, records) = pieces.split_last().unwrap();
            assert_eq!(last.1.as_ref().map(|r| r.reason), Some(BadCompression));
            assert!(!last.0.is_empty());
            assert!(records.len() > 100 || cut < whole.len() / 3, "{}", records.len());
            for (i, (body, rejected)) in records.iter().enumerate() {
                assert_eq!(
                    (std::str::from_utf8(body), rejected),
                    (Ok(good(&format!("e{i}")).as_str()), &None)
                );
            }
        }
    }
}
