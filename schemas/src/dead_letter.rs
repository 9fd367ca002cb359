//! Dead letter: what could not be read, with its bytes, the reason and the position, so that nothing is lost.

use crate::{Id, Message, Record, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a record was refused. The word is stable and can be counted on; `detail` is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectReason {
    /// Nothing there, or only white space.
    Empty,
    /// Larger than `RECORD_BYTES_MAX`.
    TooLarge,
    /// Nested deeper than `RECORD_DEPTH_MAX`.
    TooDeep,
    /// More object keys than `RECORD_KEYS_MAX`.
    TooManyKeys,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// Not one well-formed JSON value.
    NotJson,
    /// Compressed data that ends early or does not decode.
    BadCompression,
    /// Decompresses to more than the limit allows.
    Bomb,
    /// Well-formed, but not what this source writes.
    Malformed,
    /// No translator of that name.
    UnknownSource,
    /// A message of our own that its reader no longer understands.
    UnknownVersion,
}

/// A refused record. Replaying it means giving `record` to intake again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    pub record: Record,
    pub reason: RejectReason,
    /// What, where and what to do, in words.
    pub detail: String,
    /// Byte offset in the record at which reading stopped, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    pub time: Timestamp,
}

impl Message for DeadLetter {
    const TOPIC: Topic = Topic::Dlq;
    const VERSION: u8 = 1;

    fn id(&self) -> Id {
        Id::derive("dead_letter", &[&self.record.id().0])
    }

    fn key(&self) -> &str {
        &self.record.source
    }
}
