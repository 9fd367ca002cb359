//! Record -> Event: one translator per source, each a pure function from a record to OCSF 1.8.0 events.
//!
//! A new source is one file or folder here and one word in [`catalog`].

mod aws;
mod azure;
mod bounded;
mod coverage;
mod endpoint;
mod gcp;
mod lenient;
mod ocsf;
mod seal;
mod vault;

pub use aws::cloudtrail::CloudTrail;
pub use azure::activity::AzureActivity;
pub use azure::audit::AzureAudit;
pub use azure::signin::AzureSignin;
pub use azure::storage::AzureStorage;
pub use coverage::{Coverage, unread};
pub use gcp::audit::GcpAudit;
pub use ocsf::Ocsf;
pub use vault::Vault;

use prunella_schemas::{Event, Record};

/// Reads the records of one source.
pub trait Translate: Send + Sync {
    /// The source's name, such as `aws.cloudtrail`.
    fn name(&self) -> &'static str;

    /// Appends the events of one record. `body` is `record.body`, checked as UTF-8 and bounded by `ingest`.
    /// Nothing is appended when the record is refused.
    fn translate(&self, record: &Record, body: &str, out: &mut Vec<Event>) -> Result<(), Malformed>;
}

/// Every source that can be read.
pub fn catalog() -> &'static [&'static dyn Translate] {
    &[&CloudTrail, &AzureActivity, &AzureSignin, &AzureAudit, &AzureStorage, &GcpAudit, &Ocsf, &Vault]
}

/// The translator of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Translate> {
    catalog().iter().copied().find(|translator| translator.name() == name)
}

/// The part of a translation that only reads the JSON; for measuring what the rest costs.
#[doc(hidden)]
pub fn decode_only(source: &str, body: &str) -> Result<(), Malformed> {
    fn read<'a, T: serde::Deserialize<'a>>(body: &'a str) -> Result<(), Malformed> {
        serde_json::from_str::<T>(body).map(std::hint::black_box).map_err(|e| Malformed::json(body, &e))?;
        Ok(())
    }
    match source {
        "aws.cloudtrail" => read::<aws::cloudtrail::Trail<'_>>(body),
        "azure.activity" => read::<azure::activity::Activity<'_>>(body),
        "azure.audit" => read::<azure::audit::AuditLog<'_>>(body),
        "azure.signin" => read::<azure::signin::SigninLog<'_>>(body),
        "azure.storage" => read::<azure::storage::StorageLog<'_>>(body),
        "gcp.audit" => read::<gcp::audit::LogEntry<'_>>(body),
        _ => read::<serde_json::Value>(body),
    }
}

/// Well-formed or not, it is not what this source writes. `detail` says what, where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Malformed {
    pub detail: String,
    /// Byte offset in the body at which reading stopped, when known.
    pub offset: Option<u64>,
}

impl Malformed {
    fn new(detail: impl Into<String>) -> Self {
        Malformed { detail: detail.into(), offset: None }
    }

    /// What `serde_json` refused in `body`.
    fn json(body: &str, error: &serde_json::Error) -> Self {
        let before: usize =
            body.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let offset = (before + error.column().saturating_sub(1)).min(body.len());
        let detail = format!("the record is not one JSON object: {error}; give one complete record");
        Malformed { detail, offset: Some(offset as u64) }
    }
}
