//! What every message on the log has in common: a topic, an id, an ordering key, and a versioned wire form.
//!
//! The wire form is JSON, so that any consumer can read it; the version stands beside the bytes (a column, a
//! Kafka header), never inside attacker-controlled data.

use crate::Id;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// The topics of the log. The full name on Kafka is `prunella.<name>.v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    Records,
    Events,
    Scores,
    Signals,
    Findings,
    Risk,
    Plans,
    Commands,
    Receipts,
    Dlq,
    Manifest,
}

impl Topic {
    pub const ALL: [Topic; 11] = [
        Topic::Records,
        Topic::Events,
        Topic::Scores,
        Topic::Signals,
        Topic::Findings,
        Topic::Risk,
        Topic::Plans,
        Topic::Commands,
        Topic::Receipts,
        Topic::Dlq,
        Topic::Manifest,
    ];

    /// The short name: `records`, `events`, ...
    pub fn name(self) -> &'static str {
        match self {
            Topic::Records => "records",
            Topic::Events => "events",
            Topic::Scores => "scores",
            Topic::Signals => "signals",
            Topic::Findings => "findings",
            Topic::Risk => "risk",
            Topic::Plans => "plans",
            Topic::Commands => "commands",
            Topic::Receipts => "receipts",
            Topic::Dlq => "dlq",
            Topic::Manifest => "manifest",
        }
    }

    pub fn from_name(name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|t| t.name() == name)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prunella.{}.v1", self.name())
    }
}

/// Room for most messages, so that encoding seldom has to move what it has written.
const ENCODED_BYTES_TYPICAL: usize = 4 * 1024;

/// A message on the log.
pub trait Message: Serialize + DeserializeOwned {
    const TOPIC: Topic;
    /// The version that `encode` writes. `decode` must read every version ever written.
    const VERSION: u8;

    /// Derived from content: the same message has the same id however often it is made.
    fn id(&self) -> Id;
    /// Messages with one key keep their order.
    fn key(&self) -> &str;

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENCODED_BYTES_TYPICAL);
        // Every message is a plain struct with string keys, which serde_json cannot fail on; a Vec takes every write.
        match serde_json::to_writer(&mut bytes, self) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    fn decode(version: u8, bytes: &[u8]) -> Result<Self, WireError> {
        if version != Self::VERSION {
            return Err(WireError::Version { topic: Self::TOPIC.name(), version, newest: Self::VERSION });
        }
        let malformed = |detail: String| WireError::Malformed { topic: Self::TOPIC.name(), detail };
        // Checked as a whole, UTF-8 costs a fraction of what it costs string by string.
        let text = std::str::from_utf8(bytes).map_err(|e| malformed(e.to_string()))?;
        serde_json::from_str(text).map_err(|e| malformed(e.to_string()))
    }
}

/// Why bytes of our own log could not be read back.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    #[error(
        "a message of topic `{topic}` has wire version {version}; this build reads up to {newest}: upgrade prunella"
    )]
    Version { topic: &'static str, version: u8, newest: u8 },
    #[error("a message of topic `{topic}` does not decode: {detail}")]
    Malformed { topic: &'static str, detail: String },
}
