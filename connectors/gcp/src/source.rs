//! Audit logs that a log sink writes into a bucket, as a source.

use crate::access::{Access, BadAccess};
use crate::check;
use crate::sink::{Log, Store};
use async_trait::async_trait;
use prunella_bucket::Reader;
use prunella_schemas::port::{Checkup, Clock, Configured, Cursor, Page, Source, SourceError};
use prunella_schemas::{Tenant, Timestamp};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;

/// The source of this crate, and the translator of its records.
pub const KIND: &str = "gcp.audit";
/// The logs that make up Cloud Audit Logs.
const LOGS: [&str; 4] = ["activity", "data_access", "system_event", "policy"];
const ENDPOINT: &str = "https://storage.googleapis.com";
/// A sink writes once an hour.
const EVERY_MS: u64 = 5 * 60 * 1_000;

/// What the operator says about a sink's bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Without `gs://`.
    pub bucket: String,
    /// The key of a service account, or the configuration of a workload identity federation.
    pub credentials_file: Option<PathBuf>,
    /// Shows no credential; for an emulator.
    #[serde(default)]
    pub anonymous: bool,
    /// Another address of Cloud Storage.
    pub endpoint: Option<String>,
    /// Some of `activity`, `data_access`, `system_event`, `policy`; all of them when empty.
    #[serde(default)]
    pub logs: Vec<String>,
    /// What was written before, such as `2026-11-01T00:00:00Z`, is not read.
    pub since: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    #[error("`bucket` is `{0}`; write the name alone, such as my-audit-logs")]
    Bucket(String),
    #[error("`endpoint` is `{0}`; write https://storage.googleapis.com or leave it out")]
    Endpoint(String),
    #[error("there is no audit log `{0}`; there are {all}", all = LOGS.join(", "))]
    Log(String),
    #[error("`since` is `{0}`; write a time such as 2026-11-01T00:00:00Z")]
    Since(String),
    #[error("name a `credentials_file` or say `anonymous`, not both")]
    Both,
    #[error(transparent)]
    Access(#[from] BadAccess),
    #[error("no HTTP client: {0}")]
    Http(String),
}

/// The audit logs in one bucket.
pub struct Logs {
    name: String,
    reader: Reader<Log>,
}

/// The source that the configuration describes.
pub fn open(configured: Configured) -> Result<Arc<dyn Source>, SourceError> {
    let Configured { name, kind, tenant, settings, clock } = configured;
    let invalid = |detail: String| SourceError::Invalid(format!("source {name}: {detail}"));
    if kind != KIND {
        return Err(invalid(format!("`{kind}` is no source of Google Cloud")));
    }
    let settings = serde_json::from_value(settings).map_err(|e| invalid(e.to_string()))?;
    let logs = Logs::new(name.clone(), tenant, clock, settings).map_err(|e| invalid(e.to_string()))?;
    Ok(Arc::new(logs))
}

impl Logs {
    pub fn new(name: String, tenant: Tenant, clock: Clock, settings: Settings) -> Result<Self, BadSettings> {
        if settings.bucket.is_empty() || settings.bucket.contains(['/', ':']) {
            return Err(BadSettings::Bucket(settings.bucket));
        }
        let endpoint = settings.endpoint.as_deref().unwrap_or(ENDPOINT);
        let url = reqwest::Url::parse(endpoint).map_err(|_| BadSettings::Endpoint(endpoint.to_owned()))?;
        if url.cannot_be_a_base() || url.query().is_some() {
            return Err(BadSettings::Endpoint(endpoint.to_owned()));
        }
        let since = match &settings.since {
            None => Timestamp::ZERO,
            Some(text) => Timestamp::parse(text).ok_or_else(|| BadSettings::Since(text.clone()))?,
        };
        let access = match (settings.credentials_file, settings.anonymous) {
            (Some(_), true) => return Err(BadSettings::Both),
            (Some(file), false) => Access::File(file),
            (None, true) => Access::Anonymous,
            (None, false) => Access::Default,
        };
        if let Some(unknown) = settings.logs.iter().find(|log| !LOGS.contains(&log.as_str())) {
            return Err(BadSettings::Log(unknown.clone()));
        }
        let http = reqwest::Client::builder().build().map_err(|e| BadSettings::Http(e.to_string()))?;
        let store = Arc::new(Store {
            endpoint: url,
            bucket: settings.bucket,
            credentials: access.credentials()?,
            http,
            clock,
            storage: Default::default(),
        });
        let wanted =
            LOGS.into_iter().filter(|log| settings.logs.is_empty() || settings.logs.iter().any(|l| l == log));
        let log = |log: &str| {
            let prefix = format!("cloudaudit.googleapis.com/{log}/");
            (log.to_owned(), Log { prefix, store: Arc::clone(&store) })
        };
        let reader = Reader::new(KIND, tenant, since, wanted.map(log).collect());
        Ok(Logs { name, reader })
    }
}

#[async_trait]
impl Source for Logs {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, cursor: &Cursor) -> Result<Page, SourceError> {
        self.reader.read(cursor).await
    }

    fn every_ms(&self) -> u64 {
        EVERY_MS
    }

    async fn check(&self) -> Checkup {
        check::check(self.reader.buckets().iter().map(|(_, log)| log)).await
    }
}
