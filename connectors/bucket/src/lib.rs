//! What is new in a bucket, told by listing it: the part of a source that every cloud's object store shares.
//!
//! A cloud is a [`Bucket`]: it lists and it gives ranges of bytes. [`Reader`] does the rest of `port::Source::read`, and
//! [`Bookmark`] is its bounded memory of what was read.

mod bookmark;
mod clock;
mod portion;
mod reader;
mod sweep;

pub use bookmark::{Bookmark, KNOWN_MAX};
pub use portion::{PORTION_BYTES, WHOLE_BYTES_MAX};
pub use reader::Reader;
pub use sweep::PLAN_OBJECTS_MAX;

use async_trait::async_trait;
use prunella_schemas::Timestamp;
use prunella_schemas::port::SourceError;
use std::ops::Range;

/// An object as a listing shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    /// When its newest content was written, by the provider's clock.
    pub modified: Timestamp,
    /// When it was first written: another one under the same name was born later.
    pub born: Timestamp,
    pub bytes: u64,
    /// Changes with the content: an ETag, a generation.
    pub version: String,
    /// Set for an object that grows at its end, line by line: when it will be complete.
    pub closes: Option<Timestamp>,
    /// Up to when its records tell, if its name says so.
    pub tells: Option<Timestamp>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub objects: Vec<Listed>,
    /// Where the next page begins; absent on the last.
    pub next: Option<String>,
    /// When the provider answered, by its own clock.
    pub answered: Option<Timestamp>,
}

/// A place where a provider writes logs.
#[async_trait]
pub trait Bucket: Send + Sync {
    /// Where an object is, for people: a URL without secrets.
    fn origin(&self, name: &str) -> String;
    async fn list(&self, from: Option<&str>) -> Result<Listing, BucketError>;
    /// Those bytes of the object as it was listed. Of one that has changed since: `Changed`, unless it only grew.
    async fn fetch(&self, object: &Listed, range: Range<u64>) -> Result<Vec<u8>, BucketError>;
}

/// Why a call did not work, told by what is to be done about it. The text says what, where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// There is no such bucket, or not yet.
    #[error("{0}")]
    Absent(String),
    /// The object is not what was listed: gone, or another. The next listing knows.
    #[error("{0}")]
    Changed(String),
    /// This object cannot be read, however often it is tried. Others can.
    #[error("{0}")]
    Unreadable(String),
    /// We ask too often. 0 when the provider names no time.
    #[error("{detail}")]
    Throttled { detail: String, retry_after_ms: u64 },
    /// Trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// Only a change of the configuration or of permissions helps.
    #[error("{0}")]
    Refused(String),
}

impl From<BucketError> for SourceError {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Throttled { detail, retry_after_ms } => {
                SourceError::Throttled { detail, retry_after_ms }
            }
            BucketError::Changed(text) | BucketError::Unavailable(text) => SourceError::Unavailable(text),
            BucketError::Absent(text) | BucketError::Unreadable(text) | BucketError::Refused(text) => {
                SourceError::Refused(text)
            }
        }
    }
}
