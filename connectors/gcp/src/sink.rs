//! One log of a sink's bucket: its listing, and ranges of its objects.
//!
//! A sink writes a file per hour and shard, `LOG/2026/11/21/08:00:00_08:59:59_S0.json`, and what comes late beside it as
//! `.._A0:..json`. Listing is a call of the JSON interface, reading is the SDK's; docs/decisions/0025 says why.

use crate::access::headers;
use crate::error::{Refusal, chain, explain, http_date, no_token, seconds};
use google_cloud_auth::credentials::Credentials;
use google_cloud_gax::error::Error;
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_storage::client::Storage;
use google_cloud_storage::model_ext::ReadRange;
use google_cloud_storage::retry_policy::RetryableErrors;
use prunella_bucket::{Bucket, BucketError, Listed, Listing};
use prunella_schemas::Timestamp;
use prunella_schemas::port::Clock;
use serde::Deserialize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Objects on a page of a listing; the service gives no more.
const PAGE_OBJECTS_MAX: u32 = 1_000;
/// Largest page that is believed, in bytes: names have at most 1,024.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The SDK tries so often before a read counts as failed; the reader comes again later anyway.
const TRIES_MAX: u32 = 3;
/// Longest wait for a page of a listing.
const LIST_MAX: Duration = Duration::from_secs(60);
const FIELDS: &str = "nextPageToken,items(name,size,generation,timeCreated)";

/// How a bucket is reached; all its logs share it.
pub struct Store {
    pub endpoint: reqwest::Url,
    pub bucket: String,
    pub credentials: Credentials,
    pub http: reqwest::Client,
    pub clock: Clock,
    pub storage: OnceCell<Storage>,
}

pub struct Log {
    /// `cloudaudit.googleapis.com/activity/`
    pub prefix: String,
    pub store: Arc<Store>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Objects {
    #[serde(default)]
    items: Vec<Item>,
    next_page_token: Option<String>,
}

/// Whole numbers are text in the JSON interface.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    #[serde(default)]
    size: String,
    #[serde(default)]
    generation: String,
    /// Of this generation; `updated` would also change with the object's storage class.
    time_created: String,
}

impl Store {
    async fn storage(&self) -> Result<&Storage, String> {
        let build = || async {
            let builder = Storage::builder()
                .with_endpoint(self.endpoint.as_str().trim_end_matches('/'))
                .with_credentials(self.credentials.clone())
                .with_retry_policy(RetryableErrors.with_attempt_limit(TRIES_MAX));
            builder.build().await.map_err(|e| chain(&e))
        };
        self.storage.get_or_try_init(build).await
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

impl Log {
    /// At most `objects_max` objects, from where a page before says.
    pub async fn page(&self, from: Option<&str>, objects_max: u32) -> Result<Listing, BucketError> {
        let store = &self.store;
        let what = format!("list gs://{}/{}", store.bucket, self.prefix);
        let unreached = |e: reqwest::Error| {
            BucketError::Unavailable(format!(
                "{what}: {}; is Google reachable from here?",
                chain(&e.without_url())
            ))
        };
        let mut url = store.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["storage", "v1", "b", &store.bucket, "o"]);
        }
        url.query_pairs_mut()
            .append_pair("prefix", &self.prefix)
            .append_pair("maxResults", &objects_max.to_string())
            .append_pair("fields", FIELDS)
            .extend_pairs(from.map(|token| ("pageToken", token)));
        let headers = headers(&store.credentials).await.map_err(|e| no_token(&what, &e))?;
        let asked = store.http.get(url).headers(headers).timeout(LIST_MAX).send().await;
        let mut answer = asked.map_err(unreached)?;
        let status = answer.status();
        let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok());
        let (answered, retry_after_ms) =
            (header("date").and_then(http_date), header("retry-after").and_then(seconds));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreached)? {
            body.extend_from_slice(&chunk);
            if body.len() > PAGE_BYTES_MAX {
                return Err(BucketError::Unavailable(format!("{what}: the answer has no end")));
            }
        }
        if !status.is_success() {
            let refusal = Refusal { status: status.as_u16(), body, date: answered, retry_after_ms };
            return Err(match refusal.explain(&what, store.now()) {
                // Nobody but the operator makes the bucket of a sink.
                BucketError::Absent(text) => BucketError::Refused(text),
                other => other,
            });
        }
        let objects: Objects = serde_json::from_slice(&body)
            .map_err(|e| BucketError::Unavailable(format!("{what}: the answer does not read: {e}")))?;
        let next = objects.next_page_token.filter(|token| !token.is_empty());
        Ok(Listing { objects: objects.items.into_iter().filter_map(listed).collect(), next, answered })
    }

    async fn bytes(&self, object: &Listed, range: &Range<u64>, what: &str) -> Result<Vec<u8>, BucketError> {
        let store = &self.store;
        let failed = |e: Error| explain(what, &e, store.now());
        let storage = store.storage().await;
        let storage = storage.map_err(|e| BucketError::Refused(format!("{what}: {e}")))?;
        let wanted = range.end.saturating_sub(range.start);
        let generation: i64 = object.version.parse().unwrap_or_default();
        let read = storage
            .read_object(format!("projects/_/buckets/{}", store.bucket), &object.name)
            // This very content: another one under the same name is another generation.
            .set_generation(generation)
            .set_read_range(ReadRange::segment(range.start, wanted));
        let mut answer = read.send().await.map_err(failed)?;
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        while let Some(chunk) = answer.next().await {
            bytes.extend_from_slice(&chunk.map_err(failed)?);
            if bytes.len() as u64 > wanted {
                break;
            }
        }
        Ok(bytes)
    }
}

#[async_trait::async_trait]
impl Bucket for Log {
    fn origin(&self, name: &str) -> String {
        format!("gs://{}/{name}", self.store.bucket)
    }

    async fn list(&self, from: Option<&str>) -> Result<Listing, BucketError> {
        self.page(from, PAGE_OBJECTS_MAX).await
    }

    async fn fetch(&self, object: &Listed, range: Range<u64>) -> Result<Vec<u8>, BucketError> {
        let what = format!("read {}", self.origin(&object.name));
        let bytes = self.bytes(object, &range, &what).await?;
        match bytes.len() as u64 == range.end.saturating_sub(range.start) {
            true => Ok(bytes),
            false => {
                let detail = format!("{what}: {} bytes came for {}-{}", bytes.len(), range.start, range.end);
                Err(BucketError::Unavailable(detail))
            }
        }
    }
}

fn listed(item: Item) -> Option<Listed> {
    let modified = Timestamp::parse(&item.time_created)?;
    Some(Listed {
        modified,
        born: Timestamp::ZERO,
        bytes: item.size.parse().ok()?,
        version: item.generation,
        closes: None,
        tells: hour_end(&item.name).map(|end| end.min(modified)),
        name: item.name,
    })
}

/// The end of the time that a name such as `../2026/11/21/08:00:00_08:59:59_S0.json` stands for.
fn hour_end(name: &str) -> Option<Timestamp> {
    let mut folders = name.rsplit('/');
    let (file, day, month, year) = (folders.next()?, folders.next()?, folders.next()?, folders.next()?);
    let end = file.split('_').nth(1)?;
    Timestamp::parse(&format!("{year}-{month}-{day}T{end}Z")).map(|last| last.plus_ms(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_the_hour() {
        let log = "cloudaudit.googleapis.com/activity/2026/11/21";
        let cases = [
            (format!("{log}/08:00:00_08:59:59_S0.json"), Some("2026-11-21T09:00:00Z")),
            (format!("{log}/23:00:00_23:59:59_A0:1763700000_S1.json"), Some("2026-11-22T00:00:00Z")),
            (format!("{log}/08.json"), None),
            ("08:00:00_08:59:59_S0.json".to_owned(), None),
        ];
        for (name, expected) in cases {
            assert_eq!(hour_end(&name), expected.and_then(Timestamp::parse), "{name}");
        }
    }
}
