//! Spans to a collector that takes OTLP over HTTP and reads the bytes by the protocol's own numbers.

use crate::contract::{finding, post};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post as on_post;
use prunella_runtime::trace::otlp::Otlp;
use prunella_runtime::trace::{Share, Span, spans};
use prunella_schemas::{Id, Timestamp};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

/// A field of a protocol buffer: its number, and its bytes or its number.
#[derive(Debug)]
enum Field<'a> {
    Bytes(u64, &'a [u8]),
    Number(u64, u64),
}

fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let number = tag >> 3;
        match tag & 7 {
            0 => fields.push(Field::Number(number, varint(&mut bytes))),
            1 => fields
                .push(Field::Number(number, u64::from_le_bytes(*cut(&mut bytes, 8).as_array().unwrap()))),
            2 => {
                let length = varint(&mut bytes) as usize;
                fields.push(Field::Bytes(number, cut(&mut bytes, length)));
            }
            5 => fields.push(Field::Number(number, cut(&mut bytes, 4)[0].into())),
            other => panic!("wire type {other}"),
        }
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = cut(bytes, 1)[0];
        value |= u64::from(byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            return value;
        }
    }
}

fn cut<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(length);
    *bytes = tail;
    head
}

/// The messages under a field number, taken from each of the messages given.
fn inside(messages: Vec<&[u8]>, wanted: u64) -> Vec<&[u8]> {
    let all = messages.into_iter().flat_map(fields);
    all.filter_map(|field| match field {
        Field::Bytes(number, bytes) if number == wanted => Some(bytes),
        _ => None,
    })
    .collect()
}

/// A span as a collector reads it.
#[derive(Default)]
struct Read {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    start_ns: u64,
    end_ns: u64,
}

/// The spans of an `ExportTraceServiceRequest`.
fn read(request: &[u8]) -> Vec<Read> {
    let spans = inside(inside(inside(vec![request], 1), 2), 2);
    let read = |span: &[u8]| {
        let mut read = Read::default();
        for field in fields(span) {
            match field {
                Field::Bytes(1, bytes) => read.trace = bytes.to_vec(),
                Field::Bytes(2, bytes) => read.id = bytes.to_vec(),
                Field::Bytes(4, bytes) => read.parent = bytes.to_vec(),
                Field::Bytes(5, bytes) => read.name = String::from_utf8(bytes.to_vec()).unwrap(),
                Field::Number(7, number) => read.start_ns = number,
                Field::Number(8, number) => read.end_ns = number,
                _ => {}
            }
        }
        read
    };
    spans.into_iter().map(read).collect()
}

type Heard = mpsc::UnboundedSender<(HeaderMap, Bytes)>;

async fn collect(State(heard): State<Heard>, headers: HeaderMap, body: Bytes) -> StatusCode {
    heard.send((headers, body)).unwrap();
    StatusCode::OK
}

#[tokio::test]
async fn a_collector_hears_every_span_as_it_was_told() {
    let (sender, mut heard) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", on_post(collect)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let otlp = Otlp::open(Some(&endpoint), &tokio::runtime::Handle::current()).unwrap();
    let mut found = finding(1, 5);
    found.prunella.evidence = vec![Id([7; 16])];
    let told = spans(&post(&found), Timestamp(1_700_000_000_250), Share::of(0.0));
    let child = Span { parent: Some(told[0].id), id: [9; 8], name: "below".into(), ..told[0].clone() };
    let told = [told, vec![child]].concat();
    otlp.send(told.clone());
    let (headers, body) = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let read = read(&body);
    assert_eq!(read.len(), 2);
    for (read, told) in read.iter().zip(&told) {
        assert_eq!((read.trace.as_slice(), read.id.as_slice()), (&told.trace[..], &told.id[..]));
        assert_eq!(read.parent, told.parent.map_or(Vec::new(), |parent| parent.to_vec()));
        assert_eq!(
            (read.name.as_str(), read.start_ns, read.end_ns),
            (told.name.as_str(), ns(told.start), ns(told.end))
        );
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    assert!(text.contains("test.rule") && text.contains("service.name"), "{text}");
    assert_eq!(otlp.lost(), 0);
}

fn ns(at: Timestamp) -> u64 {
    at.0 as u64 * 1_000_000
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let otlp = Otlp::open(Some("http://127.0.0.1:9/v1/traces"), &tokio::runtime::Handle::current()).unwrap();
    let told = spans(&post(&finding(1, 5)), Timestamp(1_700_000_000_250), Share::of(0.0));
    for _ in 0..1_000 {
        otlp.send(told.clone());
    }
    // What does not fit is lost at once; what waits, when the collector has not answered.
    assert!(otlp.lost() > 900, "{}", otlp.lost());
    let refused = async {
        let before = otlp.lost();
        while otlp.lost() == before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
}
