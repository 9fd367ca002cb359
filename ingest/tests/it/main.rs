//! Tests of ingest from the outside: bad input, unpacking, properties, and real records.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod enrich;
mod lists;
mod mmdb;
mod properties;
mod real;
mod stage;
mod unpack;

use prunella_ingest::{Content, Limits, Rejected, unpack as run};
use prunella_schemas::{
    DeadLetter, Delivered, Event, Id, Inbound, Message, Outbox, Record, Stage, Tenant, Timestamp, Topic,
};
use std::io::{Read, Write};
use std::ops::ControlFlow;

/// 2024-07-31T12:30:00Z.
const RECEIVED: Timestamp = Timestamp(1_722_429_000_000);

fn record(source: &str, body: impl Into<Vec<u8>>) -> Record {
    let tenant = Tenant::default();
    Record { source: source.to_owned(), tenant, received: RECEIVED, origin: String::new(), body: body.into() }
}

/// A small CloudTrail record; `more` goes in front of its members.
fn trail(id: &str, name: &str, time: &str, more: &str) -> String {
    format!(
        r#"{{{more}"eventVersion":"1.08","userIdentity":{{"type":"IAMUser","principalId":"AIDA1","arn":"arn:aws:iam::123456789012:user/ann","accountId":"123456789012","accessKeyId":"AKIA1","userName":"ann"}},"eventTime":"{time}","eventSource":"s3.amazonaws.com","eventName":"{name}","awsRegion":"us-east-1","sourceIPAddress":"203.0.113.9","userAgent":"aws-cli/2","requestParameters":{{"bucketName":"b"}},"responseElements":null,"requestID":"R1","eventID":"{id}","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"123456789012","eventCategory":"Management"}}"#
    )
}

fn good(id: &str) -> String {
    trail(id, "ListBuckets", "2024-07-31T12:29:16Z", "")
}

type Unpacked = Vec<(Vec<u8>, Option<Rejected>)>;

fn unpacked(input: impl Read, content: Content) -> Unpacked {
    let mut pieces = Vec::new();
    let tally = run(input, content, &Limits::FILE, &mut |piece| {
        pieces.push((piece.body.to_vec(), piece.rejected));
        ControlFlow::Continue(())
    })
    .expect("reading from memory cannot fail");
    let rejects = pieces.iter().filter(|(_, rejected)| rejected.is_some()).count() as u64;
    assert_eq!((tally.records + tally.rejects, tally.rejects), (pieces.len() as u64, rejects));
    pieces
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Runs records through a stage in batches of `size` and gives what it posted.
fn staged(
    stage: &mut impl Stage<In = Record>,
    records: &[Record],
    size: usize,
) -> Vec<prunella_schemas::Posted> {
    let mut out = Outbox::default();
    for (n, batch) in records.chunks(size.max(1)).enumerate() {
        let at = Timestamp(RECEIVED.0 + n as i64);
        let batch: Vec<_> =
            batch.iter().map(|r| Delivered { message: r.clone(), origin: RECEIVED, at }).collect();
        stage.step(&batch, &mut out);
    }
    out.drain()
}

fn events(posted: &[prunella_schemas::Posted]) -> Vec<Event> {
    let events = posted.iter().filter(|p| p.topic == Topic::Events);
    events.map(|p| <Event as Message>::decode(p.version, &p.bytes).unwrap()).collect()
}

fn letters(posted: &[prunella_schemas::Posted]) -> Vec<DeadLetter> {
    let letters = posted.iter().filter(|p| p.topic == Topic::Dlq);
    letters.map(|p| <DeadLetter as Inbound>::decode(p.topic, p.version, &p.bytes).unwrap()).collect()
}

fn uid(event: &Event) -> Id {
    event.prunella.event_uid
}
