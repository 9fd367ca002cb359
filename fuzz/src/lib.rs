//! What the fuzz targets share: records made of fuzzed bytes, and what must hold of every event.

use prunella_ingest::normalize;
use prunella_schemas::{Event, Id, Message, Record, RejectReason, Tenant, Timestamp};

const RECEIVED: Timestamp = Timestamp(1_722_429_000_000);

pub fn record(source: &str, body: Vec<u8>) -> Record {
    let tenant = Tenant::default();
    Record { source: source.to_owned(), tenant, received: RECEIVED, origin: String::new(), body }
}

/// The bytes themselves when they begin like JSON; else `template`, each `@` of it replaced by one line of the bytes.
pub fn body(template: &str, data: &[u8]) -> Vec<u8> {
    if data.first().is_some_and(|b| b"{[ \"".contains(b)) {
        return data.to_vec();
    }
    let mut lines = data.split(|b| *b == b'\n');
    let mut body = Vec::with_capacity(template.len() + data.len());
    for (i, part) in template.split('@').enumerate() {
        if i > 0 {
            let line = lines.next().unwrap_or_default();
            body.extend_from_slice(if line.is_empty() { b"null" } else { line });
        }
        body.extend_from_slice(part.as_bytes());
    }
    body
}

/// Ingests a record and checks what must hold whatever it says.
pub fn ingest(record: &Record) -> Vec<Event> {
    let mut events = Vec::new();
    match normalize(record, &mut events) {
        Err(letter) => {
            assert!(events.is_empty());
            assert_eq!(&letter.record, record);
            assert!(!letter.detail.is_empty());
            assert!(letter.offset.is_none_or(|at| at <= record.body.len() as u64), "{letter:?}");
            assert_ne!(letter.reason, RejectReason::UnknownSource);
        }
        Ok(()) => assert!(!events.is_empty()),
    }
    for event in &events {
        let (facts, bytes) = (&event.prunella, event.encode());
        assert_ne!(facts.event_uid, Id::default());
        assert!(!facts.principal.as_str().is_empty());
        assert_eq!(
            (event.tenant(), &*facts.source, facts.received),
            ("default", &*record.source, record.received)
        );
        let back = <Event as Message>::decode(Event::VERSION, &bytes);
        assert_eq!(back.as_ref(), Ok(event), "an event survives the log");
        let mut again = event.clone();
        again.identify();
        assert_eq!(again, *event, "the name of an event follows from the event");
    }
    let mut twice = Vec::new();
    assert_eq!(normalize(record, &mut twice).is_ok(), !events.is_empty());
    assert_eq!(twice, events, "the same record gives the same events");
    events
}
