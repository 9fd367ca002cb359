//! Record: bytes exactly as a source gave them, plus where and when we got them.

use crate::message::WireError;
use crate::{Id, Message, Tenant, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One provider record. On Kafka its attributes travel as CloudEvents 1.0 headers (`ce_id`, `ce_source`, `ce_type`, `ce_time`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Name of the translator that reads it, such as `aws.cloudtrail`.
    pub source: String,
    pub tenant: Tenant,
    /// When we got it.
    pub received: Timestamp,
    /// Where we got it: a file and line, an object key, a request id. For people; never part of an identity.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// The bytes, untouched. They need not be UTF-8, nor JSON.
    #[serde(with = "body")]
    #[schemars(with = "String")]
    pub body: Vec<u8>,
}

impl Message for Record {
    const TOPIC: Topic = Topic::Records;
    const VERSION: u8 = 1;

    /// The same bytes from the same source are the same record, whenever and however they arrive.
    fn id(&self) -> Id {
        Id::derive("record", &[self.tenant.as_str().as_bytes(), self.source.as_bytes(), &self.body])
    }

    fn key(&self) -> &str {
        &self.source
    }

    /// One line of JSON for what we know about the record, then its bytes as they came: nothing to escape, twice.
    fn encode(&self) -> Vec<u8> {
        let Record { source, tenant, received, origin, body } = self;
        let head = Head {
            source: source.into(),
            tenant: Cow::Borrowed(tenant),
            received: *received,
            origin: origin.into(),
        };
        let mut bytes = Vec::with_capacity(HEAD_BYTES_TYPICAL + body.len());
        // Plain strings and a number: serde_json cannot fail on them, and a Vec takes every write.
        if serde_json::to_writer(&mut bytes, &head).is_err() {
            return Vec::new();
        }
        bytes.push(b'\n');
        bytes.extend_from_slice(body);
        bytes
    }

    fn decode(version: u8, bytes: &[u8]) -> Result<Self, WireError> {
        let topic = Self::TOPIC.name();
        if version != Self::VERSION {
            return Err(WireError::Version { topic, version, newest: Self::VERSION });
        }
        let malformed = |detail: String| WireError::Malformed { topic, detail };
        let end = bytes
            .iter()
            .position(|b| *b == b'\n')
            .ok_or_else(|| malformed("its first line has no end".into()))?;
        let (head, body) = bytes.split_at(end);
        let head: Head = serde_json::from_slice(head).map_err(|e| malformed(e.to_string()))?;
        let (source, tenant) = (head.source.into_owned(), head.tenant.into_owned());
        let body = body.get(1..).unwrap_or_default().to_vec();
        Ok(Record { source, tenant, received: head.received, origin: head.origin.into_owned(), body })
    }
}

/// Room for most first lines.
const HEAD_BYTES_TYPICAL: usize = 256;

/// The first line of a record on the log.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    source: Cow<'a, str>,
    tenant: Cow<'a, Tenant>,
    received: Timestamp,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    origin: Cow<'a, str>,
}

/// Text stays readable; bytes that are not UTF-8 are written as an array of numbers.
mod body {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Body {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => bytes.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Ok(match Body::deserialize(deserializer)? {
            Body::Text(text) => text.into_bytes(),
            Body::Bytes(bytes) => bytes,
        })
    }
}
