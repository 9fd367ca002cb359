//! What a record costs on its way to an event, step by step, in nanoseconds.
//!
//! `cargo bench -p prunella-ingest --bench decode -- [NAME]`, where NAME is part of a line's name. Each line is the best
//! of several rounds over the same generated records.

#![expect(clippy::print_stdout, reason = "a benchmark reports to the terminal")]

#[path = "../tests/it/mmdb.rs"]
#[allow(dead_code, reason = "the tests write more kinds of values")]
#[allow(clippy::unwrap_used, reason = "it writes what is given here")]
mod mmdb;

use mmdb::{Double, Map, Number, Text, database};
use prunella_ingest::enrich::{
    Attribute, Config, Files, IdentityRule, Memo, Shelf, Table, Tables, Timeline, enrich,
};
use prunella_ingest::{Content, Ingest, Limits, check, normalize, unpack};
use prunella_schemas::limits::BATCH_MESSAGES_MAX;
use prunella_schemas::{Delivered, Event, Outbox, Record, Stage, Tenant, Timestamp};
use prunella_translate::by_name;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Rows of the longest tables.
const TABLE_ROWS: usize = 50_000;
const RECORDS: usize = 4_000;
const ROUNDS: usize = 15;
const RECEIVED: Timestamp = Timestamp(1_722_429_000_000);

fn main() {
    let records: Vec<Record> = (0..RECORDS).map(record).collect();
    let bytes: usize = records.iter().map(|r| r.body.len()).sum();
    println!("{RECORDS} records of {} bytes on average", bytes / RECORDS);

    report("from_utf8", &records, bytes, |r| std::str::from_utf8(&r.body).map_or(0, str::len));
    report("check", &records, bytes, |r| check(&r.body).map_or(0, |c| c.keys));
    report("serde_json to IgnoredAny", &records, bytes, |r| {
        usize::from(serde_json::from_slice::<IgnoredAny>(&r.body).is_ok())
    });
    report("serde_json to a borrowed struct", &records, bytes, |r| {
        serde_json::from_slice::<Borrowed<'_>>(&r.body).map_or(0, |b| b.weight())
    });
    let translator = by_name("aws.cloudtrail");
    let mut out: Vec<Event> = Vec::new();
    report("translate and identify", &records, bytes, |r| {
        out.clear();
        let text = std::str::from_utf8(&r.body).unwrap_or_default();
        translator.is_some_and(|t| t.translate(r, text, &mut out).is_ok()).into()
    });
    let mut out: Vec<Event> = Vec::new();
    report("normalize (check, translate, identify)", &records, bytes, |r| {
        out.clear();
        usize::from(normalize(r, &mut out).is_ok())
    });

    let at = RECEIVED;
    let delivered = |r: &Record| Delivered { message: r.clone(), origin: at, at };
    let batches: Vec<Vec<_>> =
        records.chunks(BATCH_MESSAGES_MAX).map(|batch| batch.iter().map(delivered).collect()).collect();
    let best = best_of("stage (normalize, collisions, encode)", || {
        let (mut stage, mut out) = (Ingest::new(), Outbox::default());
        for batch in &batches {
            stage.step(batch, &mut out);
            black_box(out.drain());
        }
    });
    line("stage (normalize, collisions, encode)", best, bytes);

    enriched(&records, &batches, bytes);

    let lines: Vec<u8> = records.iter().flat_map(|r| [&r.body[..], b"\n"].concat()).collect();
    let bodies: Vec<&str> = records.iter().filter_map(|r| std::str::from_utf8(&r.body).ok()).collect();
    let log_file = format!("{{\"Records\":[{}]}}", bodies.join(",")).into_bytes();
    for (name, content, input) in [
        ("unpack, lines", Content::Ndjson, &lines),
        ("unpack, told by the bytes", Content::Auto, &lines),
        ("unpack, log file", Content::Auto, &log_file),
    ] {
        let best = best_of(name, || {
            let tally = unpack(&input[..], content, &Limits::FILE, &mut |piece| {
                black_box(piece.body);
                ControlFlow::Continue(())
            });
            assert!(tally.is_ok_and(|t| t.records == RECORDS as u64 && t.rejects == 0));
        });
        line(name, best, input.len());
    }
}

/// The same with every kind of table, and what the tables cost alone.
fn enriched(records: &[Record], batches: &[Vec<Delivered<Record>>], bytes: usize) {
    let tables = Arc::new(tables());
    let shelf = Shelf::new(Timeline::of(Arc::clone(&tables)));
    let best = best_of("stage, enriched", || {
        let (mut stage, mut out) = (Ingest::enriching(shelf.clone()), Outbox::default());
        for batch in batches {
            stage.step(batch, &mut out);
            black_box(out.drain());
        }
    });
    line("stage, enriched", best, bytes);
    let mut events = Vec::new();
    assert!(records.iter().all(|r| normalize(r, &mut events).is_ok()), "every record reads");
    for name in ["enrich, addresses known", "enrich, addresses new"] {
        let best = best_of(name, || {
            let mut memo = Memo::default();
            for event in &mut events {
                event.enrichments.clear();
                enrich(event, &tables, &mut memo);
            }
        });
        line(name, best, bytes);
        // From now on every event comes from an address of its own.
        for (n, event) in events.iter_mut().enumerate() {
            let own = format!("203.{}.{}.7", n / 250 % 250, n % 250);
            if let Some(endpoint) = &mut event.src_endpoint {
                (endpoint.ip, endpoint.location, endpoint.autonomous_system) = (Some(own), None, None);
            }
        }
    }
}

/// Every kind of table: databases, blocks of a provider, indicators, people, assets.
fn tables() -> Tables {
    let city = Map(vec![
        ("country", Map(vec![("iso_code", Text("PT"))])),
        ("city", Map(vec![("names", Map(vec![("en", Text("Lisbon"))]))])),
        ("location", Map(vec![("latitude", Double(38.7)), ("longitude", Double(-9.1))])),
    ]);
    let asn = Map(vec![
        ("autonomous_system_number", Number(64_500)),
        ("autonomous_system_organization", Text("Example Telecom")),
    ]);
    let blocks: Vec<String> = (0..TABLE_ROWS / 10)
        .map(|n| {
            format!(
                r#"{{"ip_prefix":"52.{}.{}.0/24","region":"us-east-1","service":"EC2"}}"#,
                n / 250,
                n % 250
            )
        })
        .collect();
    let indicators: Vec<String> = (0..TABLE_ROWS)
        .map(|n| format!("198.{}.{}.7\nevil{n}.example\n", 18 + n / 250 % 2, n % 250))
        .collect();
    let people: Vec<String> = (0..TABLE_ROWS)
        .map(|n| format!("aws:user:arn:aws:iam::123456789012:user/u{n},u{n}@example.com\n"))
        .collect();
    let assets: Vec<String> =
        (0..TABLE_ROWS / 10).map(|n| format!("arn:aws:s3:::reports-{n}*,high,pii\n")).collect();
    let table = |name: &str, bytes: Vec<u8>| vec![Table { name: name.to_owned(), bytes }];
    let files = Files {
        mmdb: [
            table("city", database(vec![("203.0.0.0/8", city)])),
            table("asn", database(vec![("203.0.0.0/8", asn)])),
        ]
        .concat(),
        cloud_ranges: table(
            "aws",
            format!(r#"{{"prefixes":[{}],"ipv6_prefixes":[]}}"#, blocks.join(",")).into(),
        ),
        indicators: table("bad.txt", indicators.concat().into()),
        identities: table("people.csv", format!("principal,entity\n{}", people.concat()).into()),
        assets: table(
            "assets.csv",
            format!("match,criticality,data_class\narn:aws:s3:::reports*,high,pii\n{}", assets.concat())
                .into(),
        ),
    };
    let rule = IdentityRule {
        attribute: Attribute::UserUid,
        pattern: "*:assumed-role/Deploy/{run}".to_owned(),
        entity: "{run}@example.com".to_owned(),
    };
    let config = Config { identity: vec![rule], ..Config::default() };
    match Tables::build(&config, files) {
        Ok(tables) => tables,
        Err(e) => unreachable!("{e}"),
    }
}

fn report(name: &str, records: &[Record], bytes: usize, mut each: impl FnMut(&Record) -> usize) {
    let best = best_of(name, || {
        let sum: usize = records.iter().map(&mut each).sum();
        assert!(black_box(sum) >= records.len(), "{name} failed");
    });
    line(name, best, bytes);
}

fn line(name: &str, best: Option<Duration>, bytes: usize) {
    let Some(best) = best else { return };
    let ns = best.as_nanos() as f64 / RECORDS as f64;
    let rate = bytes as f64 / best.as_secs_f64() / 1e6;
    println!("{name:<40} {ns:>8.0} ns/record {:>10.0} records/s {rate:>7.0} MB/s", 1e9 / ns);
}

/// The best round; `None` when the command line asks for another line.
fn best_of(name: &str, mut round: impl FnMut()) -> Option<Duration> {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return None;
    }
    let timed = |_| {
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
        let start = std::time::Instant::now();
        round();
        start.elapsed()
    };
    (0..ROUNDS).map(timed).min()
}

/// What the least mapping would read, borrowed from the bytes: the yardstick.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Borrowed<'a> {
    event_time: &'a str,
    event_source: &'a str,
    event_name: &'a str,
    aws_region: &'a str,
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: &'a str,
    #[serde(rename = "eventID")]
    event_id: &'a str,
    user_identity: Identity<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    arn: &'a str,
    account_id: &'a str,
}

impl Borrowed<'_> {
    fn weight(&self) -> usize {
        let own = [
            self.event_time,
            self.event_source,
            self.event_name,
            self.aws_region,
            self.source_ip_address,
            self.event_id,
        ];
        let identity = [self.user_identity.kind, self.user_identity.arn, self.user_identity.account_id];
        own.iter().chain(&identity).map(|text| text.len()).sum()
    }
}

/// A CloudTrail record of 1.2 to 1.8 kB; every third one has a session and a long request.
fn record(n: usize) -> Record {
    let session = if n.is_multiple_of(3) {
        r#","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE","arn":"arn:aws:iam::123456789012:role/service/Deploy","accountId":"123456789012","userName":"Deploy"},"webIdFederationData":{},"attributes":{"creationDate":"2024-07-31T11:02:03Z","mfaAuthenticated":"false"}}"#
    } else {
        r#","sessionContext":{"attributes":{"creationDate":"2024-07-31T11:02:03Z","mfaAuthenticated":"true"}}"#
    };
    let kind = if n.is_multiple_of(3) { "AssumedRole" } else { "IAMUser" };
    let body = format!(
        r#"{{"eventVersion":"1.09","userIdentity":{{"type":"{kind}","principalId":"AROAEXAMPLE:deploy-{n}","arn":"arn:aws:sts::123456789012:assumed-role/Deploy/deploy-{n}","accountId":"123456789012","accessKeyId":"ASIAEXAMPLE{n:05}"{session}}},"eventTime":"2024-07-31T12:{:02}:{:02}Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-west-1","sourceIPAddress":"203.0.113.{}","userAgent":"[aws-sdk-go-v2/1.30.3 os/linux lang/go#1.22.5 md/GOOS#linux md/GOARCH#amd64 api/s3#1.58.2]","requestParameters":{{"bucketName":"reports-{}","Host":"reports.s3.eu-west-1.amazonaws.com","key":"2024/07/31/part-{n:08}.parquet"}},"responseElements":null,"additionalEventData":{{"SignatureVersion":"SigV4","CipherSuite":"TLS_AES_128_GCM_SHA256","bytesTransferredIn":0,"AuthenticationMethod":"AuthHeader","x-amz-id-2":"kq2pQv2nU0n5mA8xwqG1Yh1y5m0oEXAMPLE{n}","bytesTransferredOut":{n}}},"requestID":"7Q3EXAMPLE{n:08}","eventID":"0f8fad5b-d9cb-469f-a165-{n:012}","readOnly":true,"resources":[{{"type":"AWS::S3::Object","ARN":"arn:aws:s3:::reports/2024/07/31/part-{n:08}.parquet"}},{{"accountId":"123456789012","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::reports"}}],"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"123456789012","eventCategory":"Data","tlsDetails":{{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"reports.s3.eu-west-1.amazonaws.com"}}}}"#,
        n / 60 % 60,
        n % 60,
        n % 250,
        n % 17,
    );
    let tenant = Tenant::default();
    Record {
        source: "aws.cloudtrail".to_owned(),
        tenant,
        received: RECEIVED,
        origin: String::new(),
        body: body.into(),
    }
}
