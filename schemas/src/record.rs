//! Record: bytes exactly as a source gave them, plus where and when we got them.

use crate::{Id, Message, Tenant, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
