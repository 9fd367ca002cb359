//! What arrives is taken apart byte for byte, in every shape, however the reads fall.

use crate::{good, gzip, record, unpacked};
use prunella_ingest::{Content, Limits, unpack};
use prunella_schemas::RejectReason::{self, *};
use prunella_schemas::limits::RECORD_BYTES_MAX;
use std::io::{self, Read};
use std::ops::ControlFlow;

/// Gives `step` bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(self.0.len()).min(buffer.len());
        buffer[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

fn check(name: &str, content: Content, input: &[u8], want: &[Result<&str, RejectReason>]) {
    let zipped = gzip(input);
    for step in [1, 7, usize::MAX] {
        for bytes in [input, &zipped] {
            let pieces = unpacked(Slow(bytes, step), content);
            let got: Vec<_> = pieces
                .iter()
                .map(|(body, rejected)| match rejected {
                    None => Ok(std::str::from_utf8(body).unwrap()),
                    Some(rejected) => Err(rejected.reason),
                })
                .collect();
            assert_eq!(got, want, "{name}, {step} at a time");
        }
    }
}

#[test]
fn every_shape_gives_its_records() {
    let auto = |name, input: &str, want: &[Result<&str, RejectReason>]| {
        check(name, Content::Auto, input.as_bytes(), want);
    };
    let (a, b) = (Ok(r#"{"a": 1}"#), Ok(r#"{"b":"]}\"{["}"#));
    auto("log file", r#"{"Records":[{"a": 1},{"b":"]}\"{["}]}"#, &[a, b]);
    auto(
        "log file, spread",
        "{ \"x\": [{}], \"Records\" :\n[\n{\"a\": 1} ,\n{\"b\":\"]}\\\"{[\"}\n] , \"y\":{}}\n",
        &[a, b],
    );
    auto("Azure's export", r#"{"records":[{"a": 1},{"b":"]}\"{["}]}"#, &[a, b]);
    auto("values are no records", r#"{"value":[7]}"#, &[Ok(r#"{"value":[7]}"#)]);
    auto("log file without records", r#"{"Records":[]}"#, &[Err(Empty)]);
    auto("two log files", "{\"Records\":[{\"a\": 1}]}\n{\"Records\":[{\"b\":\"]}\\\"{[\"}]}", &[a, b]);
    auto("Records twice", r#"{"Records":[{"a": 1}],"Records":[{"b":"]}\"{["}]}"#, &[a, b]);
    auto("Records within", r#"{"x":{"Records":[{"a": 1}]}}"#, &[Ok(r#"{"x":{"Records":[{"a": 1}]}}"#)]);
    auto("Records of no list", r#"{"Records":{"a":1}}"#, &[Ok(r#"{"Records":{"a":1}}"#)]);
    auto("array", r#"[{"a": 1},{"b":"]}\"{["}]"#, &[a, b]);
    auto("lines", "{\"a\": 1}\n\n  \r\n{\"b\":\"]}\\\"{[\"}\r\n", &[a, b]);
    auto("byte order mark", "\u{feff}{\"a\": 1}", &[a]);
    auto("spread document", "{\n  \"a\":\n  {}\n}\n", &[Ok("{\n  \"a\":\n  {}\n}")]);
    auto("spread documents", "{\n\"a\":[\n{}\n]\n}\n{\"a\": 1}", &[Ok("{\n\"a\":[\n{}\n]\n}"), a]);
    auto("CloudEvent", r#"{"specversion":"1.0","id":"1","source":"/","type":"t","data":{"a": 1}}"#, &[a]);
    auto(
        "batch",
        r#"[{"specversion":"1.0","data_base64":"eyJhIjogMX0="},{"data":{"a": 1},"specversion":"1.0"}]"#,
        &[a, a],
    );
    auto("CloudEvent without data", r#"{"specversion":"1.0","id":"1"}"#, &[Err(Malformed)]);
    check("demanded", Content::CloudEvents, br#"[{"a": 1}]"#, &[Err(Malformed)]);
    check(
        "lines",
        Content::Ndjson,
        b"{\"a\": 1}\n[\n{\"a\": 1}\n{\"a\":\n1}\n",
        &[a, Err(NotJson), a, Err(NotJson), Err(NotJson)],
    );
}

#[test]
fn what_is_broken_does_not_take_its_neighbours_with_it() {
    let auto = |name, input: &str, want: &[Result<&str, RejectReason>]| {
        check(name, Content::Auto, input.as_bytes(), want);
    };
    let (a, b, no) = (Ok("{\"a\":1}"), Ok("{\"b\":2}"), Err(NotJson));
    auto("cut within a string", "{\"x\":\"y\n{\"a\":1}\n{\"b\":2}\n", &[no, a, b]);
    auto("cut after a comma", "{\"x\":1,\n{\"a\":1}\n{\"b\":2}\n", &[no, a, b]);
    auto("cut after a colon", "{\"x\":\n{\"a\":1}\n{\"b\":2}\n", &[no, a, b]);
    auto("cut after a bracket", "{\"x\":[\n{\"a\":1}\n{\"b\":2}\n", &[no, a, b]);
    auto("cut before the end", "{\"a\":1}\n{\"x\":\n{\"b\":2}\n", &[a, no, b]);
    auto("cut at the end", "{\"a\":1}\n{\"b\":2}\n{\"x\":[1,", &[a, b, no]);
    auto("text", "oops\n{\"a\":1}\nERROR: x\n{\"b\":2}\n", &[no, a, no, b]);
    auto("closed twice", "{\"a\":1}}\n{\"b\":2}", &[no, b]);
    auto("a spread document that breaks", "{\n  \"x\": 1\n  \"y\": [\n 2\n  ]\n}\n{\"a\":1}\n", &[no, a]);
    auto("an element that is none", "[{\"a\":1},{\"x\" 1},{\"b\":2}]", &[a, no, b]);
    auto("elements without commas", "[{\"a\":1}{\"b\":2}]", &[a, b]);
    auto("an element closed twice", "{\"Records\":[{\"a\":1}},{\"b\":2}]}", &[a, no, b]);
    auto("an array that never closes", "[{\"a\":1},{\"b\":2}", &[a, b, no]);
    auto("an array cut within an element", "[{\"a\":1},{\"b\":", &[a, no]);
    auto("a log file cut after its records", "{\"Records\":[{\"a\":1}]", &[a, no]);
}

#[test]
fn what_is_too_large_is_kept_in_part_and_passed() {
    let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(3 * RECORD_BYTES_MAX));
    let spread = format!("{{\n\"x\":[{}1]}}", "1,\n".repeat(RECORD_BYTES_MAX));
    let fits = format!("{{\"x\":\"{}\"}}", "x".repeat(RECORD_BYTES_MAX - 8));
    for (name, content, input) in [
        ("line", Content::Auto, format!("{{}}\n{huge}\n{fits}\n{{}}")),
        ("line", Content::Ndjson, format!("{{}}\n{huge}\n{fits}\n{{}}")),
        (
            "line that is no JSON",
            Content::Auto,
            format!("{{}}\n{}\n{fits}\n{{}}", "x".repeat(2 * RECORD_BYTES_MAX)),
        ),
        ("values on a line", Content::Auto, format!("{{}}\n{}\n{fits}\n{{}}", "{}".repeat(RECORD_BYTES_MAX))),
        (
            "values after a document",
            Content::Auto,
            format!("{{}}\n[\n]{{\n}}{}\n{fits}\n{{}}", "{}".repeat(RECORD_BYTES_MAX)),
        ),
        ("element", Content::Auto, format!("[{{}},{huge},{fits},{{}}]")),
        ("element of a log file", Content::Auto, format!("{{\"Records\":[{{}},{huge},{fits},{{}}]}}")),
        ("document", Content::Auto, format!("{{}}\n{spread}\n{fits}\n{{}}")),
    ] {
        let pieces = unpacked(input.as_bytes(), content);
        let reasons: Vec<_> = pieces.iter().map(|(_, r)| r.as_ref().map(|r| r.reason)).collect();
        assert_eq!(reasons, [None, Some(TooLarge), None, None], "{name}");
        assert_eq!((pieces[1].0.len(), pieces[2].0.len()), (RECORD_BYTES_MAX, RECORD_BYTES_MAX), "{name}");
    }
}

#[test]
fn a_line_without_end_is_passed() {
    let line = io::repeat(b'x').take(64 << 20);
    let pieces = unpacked(Read::chain(line, &b"\n{}"[..]), Content::Auto);
    assert_eq!(pieces.len(), 2);
    assert_eq!((pieces[0].0.len(), &pieces[1].0[..]), (RECORD_BYTES_MAX, &b"{}"[..]));
}

#[test]
fn brackets_that_never_close_cost_no_more_than_their_depth() {
    let line = "{\"a\":\n";
    let pieces = unpacked(format!("{}x", line.repeat(20_000)).as_bytes(), Content::Auto);
    assert_eq!(pieces.len(), 20_000);
    assert!(pieces.iter().all(|(body, rejected)| body.starts_with(b"{\"a\":\n") && rejected.is_some()));
    assert_eq!(pieces.iter().map(|(body, _)| body.len()).sum::<usize>(), 20_000 * line.len() + 1);
}

#[test]
fn places_are_told_and_the_receiver_may_stop() {
    let input = format!("{}\n\noops\n{{\"Records\":[\n{},{}]}}", good("1"), good("2"), good("3"));
    let mut places = Vec::new();
    let tally = unpack(input.as_bytes(), Content::Auto, &Limits::INTAKE, &mut |piece| {
        let at = piece.offset as usize;
        assert_eq!(input.as_bytes()[at], piece.body[0]);
        places.push(piece.line);
        match piece.into_record(|body| record("aws.cloudtrail", body)) {
            Ok(record) => assert!(record.body.starts_with(b"{")),
            Err(letter) => assert_eq!((&letter.record.body[..], letter.reason), (&b"oops\n"[..], NotJson)),
        }
        if places.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(places, [1, 3, 5]);
    let tally = tally.unwrap();
    assert_eq!((tally.records, tally.rejects, tally.stopped), (2, 1, true));
}

#[test]
fn input_that_fails_is_an_error_and_not_a_reject() {
    struct Failing(bool);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, false) {
                buffer[..2].copy_from_slice(b"{}");
                return Ok(2);
            }
            Err(io::Error::other("disk gone"))
        }
    }
    let zipped = gzip(good("1").repeat(1_000).as_bytes());
    for input in [Box::new(Failing(true)) as Box<dyn Read>, Box::new(zipped[..200].chain(Failing(false)))] {
        let result = unpack(input, Content::Auto, &Limits::FILE, &mut |_| ControlFlow::Continue(()));
        assert_eq!(result.map_err(|e| e.to_string()), Err("disk gone".to_owned()));
    }
}

#[test]
fn media_types_name_shapes() {
    for (name, want) in [
        ("application/x-ndjson; charset=utf-8", Some(Content::Ndjson)),
        ("application/cloudevents-batch+json", Some(Content::CloudEvents)),
        ("Application/JSON", Some(Content::Auto)),
        ("image/png", None),
    ] {
        assert_eq!(Content::of_media_type(name), want, "{name}");
    }
}
