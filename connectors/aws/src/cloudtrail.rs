//! `aws.cloudtrail`: the records of CloudTrail, from a trail's bucket, by its queue, or from the event history.

mod check;
mod digest;
mod history;
mod layout;
mod listing;
mod notice;
mod object;
mod place;
mod queue;
mod settings;

pub use settings::{From, Settings};

use self::digest::Auditor;
use self::history::History;
use self::listing::Listing;
use self::object::{Bucket, Fetch, newest_of};
use self::queue::Queue;
use crate::client;
use async_trait::async_trait;
use aws_config::SdkConfig;
use prunella_schemas::Tenant;
use prunella_schemas::port::{
    Checkup, Clock, Configured, Cursor, Fetched, Page, Source, SourceError, Upload,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The kind, as the configuration names it.
pub const KIND: &str = "aws.cloudtrail";
/// The translator that reads the records.
const SOURCE: &str = "aws.cloudtrail";
/// How often a caught-up bucket is listed, in milliseconds.
const LIST_EVERY_MS: u64 = 60_000;

/// One source of CloudTrail records.
pub struct CloudTrail {
    name: String,
    settings: Settings,
    config: SdkConfig,
    bucket: Bucket,
    way: Way,
}

enum Way {
    Bucket(Listing),
    Queue(Queue),
    History(History),
}

impl CloudTrail {
    /// By the credentials that the machine has. Nothing is asked of AWS yet.
    pub async fn open(configured: Configured) -> Result<Self, SourceError> {
        let settings = Settings::parse(configured.settings)?;
        let config = client::load(&settings).await;
        CloudTrail::over(config, configured.name, configured.tenant, settings, configured.clock)
    }

    /// Over a configuration of the SDK that is there already.
    pub fn over(
        config: SdkConfig,
        name: String,
        tenant: Tenant,
        settings: Settings,
        clock: Clock,
    ) -> Result<Self, SourceError> {
        let bucket = Bucket { client: client::s3(&config), settings: settings.clone() };
        let way = match settings.from {
            From::Bucket => {
                let auditor = if settings.digests { Some(auditor(&config, &settings)?) } else { None };
                Way::Bucket(Listing::new(bucket.clone(), tenant, clock, auditor))
            }
            From::Queue => Way::Queue(Queue::new(aws_sdk_sqs::Client::new(&config), bucket.clone(), tenant)),
            From::History => {
                let client = aws_sdk_cloudtrail::Client::new(&config);
                Way::History(History::new(client, settings.clone(), tenant, clock))
            }
        };
        Ok(CloudTrail { name, settings, config, bucket, way })
    }
}

#[async_trait]
impl Source for CloudTrail {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, cursor: &Cursor) -> Result<Page, SourceError> {
        match &self.way {
            Way::Bucket(listing) => listing.read(cursor).await,
            Way::Queue(queue) => queue.read(cursor).await,
            Way::History(history) => history.read(cursor).await,
        }
    }

    async fn acknowledge(&self, cursor: &Cursor) -> Result<(), SourceError> {
        match &self.way {
            Way::Queue(queue) => queue.acknowledge(cursor).await,
            Way::Bucket(_) | Way::History(_) => Ok(()),
        }
    }

    fn every_ms(&self) -> u64 {
        match &self.way {
            // Waiting is the queue's: a long poll.
            Way::Queue(_) if self.settings.wait_s > 0 => 0,
            _ => LIST_EVERY_MS,
        }
    }

    async fn check(&self) -> Checkup {
        check::check(self).await
    }
}

fn auditor(config: &SdkConfig, settings: &Settings) -> Result<Auditor, SourceError> {
    let path = &settings.digest_keys_file;
    let supplied = match path.as_os_str().is_empty() {
        true => String::new(),
        false => std::fs::read_to_string(path)
            .map_err(|e| SourceError::Invalid(format!("cannot read {}: {e}", path.display())))?,
    };
    Auditor::new(config.clone(), &supplied)
}

/// A log file on its way to intake.
fn body(bucket: &Bucket, tenant: &Tenant, key: &str, fetch: Fetch) -> Fetched {
    let upload = Upload {
        source: SOURCE.to_owned(),
        tenant: tenant.clone(),
        content_type: "application/json".to_owned(),
        content_encoding: "gzip".to_owned(),
        body: fetch.bytes,
        origin: format!("s3://{}/{key}", bucket.settings.bucket),
        is_file: true,
    };
    Fetched { upload, delivered: fetch.delivered, newest: newest_of(key) }
}

/// A poisoned lock only says that another thread panicked; what it guards is replaced as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
