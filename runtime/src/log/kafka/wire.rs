//! Messages as they stand on Kafka: bytes with CloudEvents 1.0 attributes as headers, ours or those of a producer outside.

use prunella_schemas::{DeadLetter, Id, Posted, Record, RejectReason, Tenant, Timestamp, Topic};
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders, OwnedMessage};

/// Names the source of a record: `aws.cloudtrail`, `ocsf`, ... Every producer outside sets it.
pub const HEADER_SOURCE: &str = "ce_source";
/// The id by which repeats are dropped, in hex. Only read on topics that we alone write.
pub const HEADER_ID: &str = "ce_id";
pub const HEADER_TYPE: &str = "ce_type";
/// The wire version of our own messages.
pub const HEADER_VERSION: &str = "prunella_version";
/// When the first cause became durable, in milliseconds since 1970.
pub const HEADER_ORIGIN: &str = "prunella_origin";

/// The lane that wrote the message, and its claim: who reads it drops what comes after its successor's first word.
pub const HEADER_CLAIM: &str = "prunella_claim";

/// The headers of one of our messages.
pub fn attributes(posted: &Posted, topic: &str) -> OwnedHeaders {
    let (id, version, origin) =
        (posted.id.to_string(), posted.version.to_string(), posted.origin.0.to_string());
    let all = [
        ("ce_specversion", "1.0"),
        (HEADER_ID, &id),
        (HEADER_SOURCE, "prunella"),
        (HEADER_TYPE, topic),
        (HEADER_VERSION, &version),
        (HEADER_ORIGIN, &origin),
    ];
    all.iter().fold(OwnedHeaders::new_with_capacity(all.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(*value) })
    })
}

/// The message as the mouth of a stage takes it, or the letter that says why it cannot. `at` is when it became durable.
#[expect(clippy::result_large_err, reason = "a refused message goes on as it is, and seldom")]
pub fn read(
    message: &OwnedMessage,
    topic: Topic,
    tenant: &Tenant,
    at: Timestamp,
) -> Result<Posted, DeadLetter> {
    match topic {
        // Written by anybody: nothing but the name of the source is taken from its headers, least of all an id.
        Topic::Records => foreign(message, tenant, at),
        topic => own(message, topic, at),
    }
}

#[expect(clippy::result_large_err, reason = "a refused message goes on as it is, and seldom")]
fn foreign(message: &OwnedMessage, tenant: &Tenant, at: Timestamp) -> Result<Posted, DeadLetter> {
    let source = header(message, HEADER_SOURCE).filter(|s| !s.is_empty());
    let record = record(message, source.unwrap_or("unknown"), tenant.clone(), at);
    if source.is_none() {
        let detail = format!("no header `{HEADER_SOURCE}` names its source; the producer has to set it");
        let reason = RejectReason::UnknownSource;
        return Err(DeadLetter { record, reason, detail, offset: None, time: at });
    }
    // `Timestamp::ZERO`: its own arrival is the origin.
    Ok(Posted::new(&record, Timestamp::ZERO))
}

#[expect(clippy::result_large_err, reason = "a refused message goes on as it is, and seldom")]
fn own(message: &OwnedMessage, topic: Topic, at: Timestamp) -> Result<Posted, DeadLetter> {
    let read = || {
        let id = header(message, HEADER_ID)?.parse::<Id>().ok()?;
        let version = header(message, HEADER_VERSION)?.parse().ok()?;
        let origin = Timestamp(header(message, HEADER_ORIGIN)?.parse().ok()?);
        let key = String::from_utf8(message.key()?.to_vec()).ok()?;
        Some(Posted { topic, version, id, key, origin, bytes: message.payload()?.to_vec() })
    };
    read().ok_or_else(|| {
        let record = record(message, &format!("prunella.{}", topic.name()), Tenant::default(), at);
        let detail = format!(
            "it lacks a key, a body or one of the headers {HEADER_ID}, {HEADER_VERSION} and {HEADER_ORIGIN}; \
             nobody but prunella should write to this topic"
        );
        DeadLetter { record, reason: RejectReason::UnknownVersion, detail, offset: None, time: at }
    })
}

fn record(message: &OwnedMessage, source: &str, tenant: Tenant, at: Timestamp) -> Record {
    Record {
        source: source.to_owned(),
        tenant,
        received: at,
        origin: format!("{}/{}@{}", message.topic(), message.partition(), message.offset()),
        body: message.payload().unwrap_or_default().to_vec(),
    }
}

/// When the first cause of a message became durable: its own time for one from outside.
pub fn origin(message: &OwnedMessage) -> i64 {
    let said = header(message, HEADER_ORIGIN).and_then(|text| text.parse().ok());
    said.filter(|origin| *origin > 0).or(message.timestamp().to_millis()).unwrap_or_default()
}

/// Under which claim a message was written; of records nothing is taken that names no source.
pub fn claim(message: &OwnedMessage, topic: Topic) -> Option<&str> {
    if topic == Topic::Records { None } else { header(message, HEADER_CLAIM) }
}

/// The last header of that name, if it is text: of two, the later one was added by whoever is nearer to us.
fn header<'a>(message: &'a OwnedMessage, name: &str) -> Option<&'a str> {
    let headers = message.headers()?;
    let last = headers.iter().filter(|h| h.key == name).last()?;
    std::str::from_utf8(last.value?).ok()
}

/// An output that no topic would take becomes a letter that says where the whole lies.
pub fn fitted(posted: Posted, at: Timestamp, bytes_max: usize) -> Posted {
    if posted.bytes.len() <= bytes_max {
        return posted;
    }
    let size = posted.bytes.len();
    let mut body = posted.bytes;
    body.truncate(bytes_max / EXPANSION_MAX);
    let record = Record {
        source: format!("prunella.{}", posted.topic.name()),
        tenant: Tenant::default(),
        received: at,
        origin: posted.id.to_string(),
        body,
    };
    let detail = format!("a message of {size} bytes is more than a topic takes; this is how it starts");
    let letter = DeadLetter { record, reason: RejectReason::TooLarge, detail, offset: None, time: at };
    Posted::new(&letter, posted.origin)
}

/// A byte that is no text takes up to four characters and a comma in JSON; text up to six.
const EXPANSION_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_schemas::Message;

    fn message(headers: &[(&str, &[u8])], payload: &[u8]) -> OwnedMessage {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        let at = rdkafka::Timestamp::LogAppendTime(5);
        OwnedMessage::new(Some(payload.to_vec()), None, "t".into(), at, 3, 9, Some(headers))
    }

    #[test]
    fn a_record_from_outside_needs_its_source_and_gets_no_say_in_anything_else() {
        let check = |headers: &[(&str, &[u8])], want: Result<&str, &str>| {
            let read = read(&message(headers, b"{}"), Topic::Records, &Tenant::default(), Timestamp(7));
            match (read, want) {
                (Ok(posted), Ok(source)) => {
                    let record = Record::decode(posted.version, &posted.bytes).unwrap();
                    assert_eq!((record.source.as_str(), record.body.as_slice()), (source, &b"{}"[..]));
                    assert_eq!((record.origin.as_str(), record.received), ("t/3@9", Timestamp(7)));
                    assert_eq!((posted.id, posted.origin), (Message::id(&record), Timestamp::ZERO));
                }
                (Err(letter), Err(detail)) => {
                    assert_eq!(letter.reason, RejectReason::UnknownSource);
                    assert!(letter.detail.contains(detail), "{}", letter.detail);
                    assert_eq!(letter.record.body, b"{}");
                }
                (got, want) => panic!("{headers:?}: {got:?}, not {want:?}"),
            }
        };
        check(&[("ce_source", b"ocsf")], Ok("ocsf"));
        check(&[("ce_source", b"ocsf"), ("ce_id", b"00"), ("prunella_version", b"9")], Ok("ocsf"));
        check(&[("ce_source", b"a"), ("ce_source", b"b")], Ok("b"));
        check(&[], Err("ce_source"));
        check(&[("ce_source", b"")], Err("ce_source"));
        check(&[("ce_source", b"\xff")], Err("ce_source"));
    }

    #[test]
    fn our_own_messages_round_trip_and_incomplete_ones_are_letters() {
        let bytes = b"body".to_vec();
        let (topic, id, origin) = (Topic::Events, Id([7; 16]), Timestamp(42));
        let posted = Posted { topic, version: 3, id, key: "k".into(), origin, bytes };
        let whole = OwnedMessage::new(
            Some(posted.bytes.clone()),
            Some(b"k".to_vec()),
            "t".into(),
            rdkafka::Timestamp::NotAvailable,
            0,
            0,
            Some(attributes(&posted, "t")),
        );
        assert_eq!(read(&whole, topic, &Tenant::default(), Timestamp(1)), Ok(posted));
        for cut in [whole.clone().set_key(None), whole.clone().set_payload(None), whole.replace_headers(None)]
        {
            let letter = read(&cut, topic, &Tenant::default(), Timestamp(1)).unwrap_err();
            assert_eq!(letter.reason, RejectReason::UnknownVersion);
        }
    }

    #[test]
    fn what_no_topic_takes_is_cut_and_says_so() {
        let whole = Posted {
            topic: Topic::Dlq,
            version: 1,
            id: Id([1; 16]),
            key: "k".into(),
            origin: Timestamp(3),
            bytes: vec![0xff; 100_000],
        };
        assert_eq!(fitted(whole.clone(), Timestamp(5), 100_000), whole);
        let cut = fitted(whole, Timestamp(5), 50_000);
        assert!(cut.bytes.len() <= 50_000 && cut.topic == Topic::Dlq && cut.origin == Timestamp(3));
        let letter = DeadLetter::decode(cut.version, &cut.bytes).unwrap();
        assert_eq!(letter.reason, RejectReason::TooLarge);
        assert!(letter.detail.contains("100000 bytes"), "{}", letter.detail);
    }
}
