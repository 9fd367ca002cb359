//! One container as a bucket: its listing, and ranges of its blobs.

use crate::error::explain;
use azure_core::http::Etag;
use azure_core::http::headers::HeaderName;
use azure_core::time::{OffsetDateTime, parse_rfc7231};
use azure_storage_blob::BlobContainerClient;
use azure_storage_blob::models::{
    BlobClientDownloadOptions, BlobContainerClientListBlobsOptions, BlobItem, BlobType, HttpRange,
};
use futures_util::TryStreamExt;
use prunella_bucket::{Bucket, BucketError, Listed, Listing};
use prunella_schemas::Timestamp;
use std::num::NonZero;
use std::ops::Range;

/// Blobs on a page of a listing; the service gives no more.
const PAGE_BLOBS_MAX: i32 = 5_000;
const HOUR_MS: i64 = 60 * 60 * 1_000;
/// How long after its hour a blob may still get lines. Azure Monitor delivers within minutes, and says up to an hour.
const GRACE_MS: i64 = HOUR_MS;

const DATE: HeaderName = HeaderName::from_static("date");

pub struct Container {
    pub name: String,
    pub client: BlobContainerClient,
}

impl Container {
    fn what(&self, verb: &str) -> String {
        format!("{verb} {}", self.client.url())
    }

    /// At most `blobs_max` blobs, from where a page before says.
    pub async fn page(&self, from: Option<&str>, blobs_max: i32) -> Result<Listing, BucketError> {
        let failed = |e: azure_core::Error| explain(&self.what("list"), e);
        let options = BlobContainerClientListBlobsOptions {
            marker: from.map(str::to_owned),
            maxresults: Some(blobs_max),
            ..Default::default()
        };
        let mut pages = self.client.list_blobs(Some(options)).map_err(failed)?.into_pages();
        let Some(page) = pages.try_next().await.map_err(failed)? else {
            return Ok(Listing::default());
        };
        let answered = page.headers().get_optional_str(&DATE).and_then(|date| parse_rfc7231(date).ok());
        let model = page.into_model().map_err(failed)?;
        Ok(Listing {
            objects: model.blob_items.into_iter().filter_map(listed).collect(),
            next: model.next_marker.filter(|marker| !marker.is_empty()),
            answered: answered.map(timestamp),
        })
    }
}

#[async_trait::async_trait]
impl Bucket for Container {
    fn origin(&self, name: &str) -> String {
        format!("{}/{name}", self.client.url())
    }

    async fn list(&self, from: Option<&str>) -> Result<Listing, BucketError> {
        self.page(from, PAGE_BLOBS_MAX).await
    }

    async fn fetch(&self, object: &Listed, range: Range<u64>) -> Result<Vec<u8>, BucketError> {
        let what = || format!("read {}", self.origin(&object.name));
        let wanted = range.end.saturating_sub(range.start);
        let partition = usize::try_from(wanted).ok().and_then(NonZero::new);
        let options = BlobClientDownloadOptions {
            range: Some(HttpRange::from(range)),
            // What was appended since is no change of what was listed.
            if_match: object.closes.is_none().then(|| Etag::from(object.version.clone())),
            parallel: NonZero::new(1),
            partition_size: partition,
            ..Default::default()
        };
        let blob = self.client.blob_client(&object.name);
        let answer = blob.download(Some(options)).await.map_err(|e| explain(&what(), e))?;
        let born = answer.properties.created_on.map_or(object.born, timestamp);
        if born != object.born {
            return Err(BucketError::Changed(format!("{}: another blob has its name now", what())));
        }
        let bytes = answer.body.collect().await.map_err(|e| explain(&what(), e))?;
        match bytes.len() as u64 == wanted {
            true => Ok(bytes.into()),
            false => {
                let detail = format!("{}: {} bytes came instead of {wanted}", what(), bytes.len());
                Err(BucketError::Unavailable(detail))
            }
        }
    }
}

fn listed(item: BlobItem) -> Option<Listed> {
    let (name, properties) = (item.name?, item.properties?);
    let modified = timestamp(properties.last_modified?);
    let appended = properties.blob_type == Some(BlobType::AppendBlob);
    let hour = hour(&name);
    Some(Listed {
        modified,
        born: properties.creation_time.map_or(Timestamp::ZERO, timestamp),
        bytes: properties.content_length.unwrap_or_default(),
        version: properties.etag.map(|etag| etag.to_string()).unwrap_or_default(),
        closes: appended.then(|| closes(hour, modified)),
        tells: hour.map(|hour| hour.plus_ms(HOUR_MS).min(modified)),
        name,
    })
}

/// When an append blob gets no more. Its hour had begun when it was written, whatever its folder says: what is named for the
/// future must not be held open until then.
fn closes(hour: Option<Timestamp>, modified: Timestamp) -> Timestamp {
    hour.map_or(modified, |hour| hour.min(modified)).plus_ms(HOUR_MS + GRACE_MS)
}

/// The hour that a folder such as `/y=2026/m=11/d=21/h=07/m=00/` stands for.
fn hour(name: &str) -> Option<Timestamp> {
    let folders: Vec<&str> = name.split('/').collect();
    folders.windows(4).find_map(|window| {
        let [year, month, day, hour] = window else { return None };
        let part = |text: &str, prefix: &str, digits: usize| {
            let value = text.strip_prefix(prefix)?;
            (value.len() == digits && value.bytes().all(|b| b.is_ascii_digit())).then(|| value.to_owned())
        };
        let (year, month) = (part(year, "y=", 4)?, part(month, "m=", 2)?);
        let (day, hour) = (part(day, "d=", 2)?, part(hour, "h=", 2)?);
        Timestamp::parse(&format!("{year}-{month}-{day}T{hour}:00:00Z"))
    })
}

fn timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp(i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_held_open_for_its_hour_and_no_longer_than_one_after_it_was_written() {
        let (hour, open_ms) = (Timestamp(1_000_000_000), HOUR_MS + GRACE_MS);
        let check =
            |hour: Option<Timestamp>, modified, want: Timestamp| assert_eq!(closes(hour, modified), want);
        check(Some(hour), hour.plus_ms(HOUR_MS / 2), hour.plus_ms(open_ms));
        check(Some(hour.plus_ms(1_000 * HOUR_MS)), hour, hour.plus_ms(open_ms));
        check(None, hour, hour.plus_ms(open_ms));
    }

    #[test]
    fn the_folder_says_the_hour() {
        let cases = [
            (
                "resourceId=/SUBSCRIPTIONS/A/y=2026/m=11/d=21/h=07/m=00/PT1H.json",
                Some("2026-11-21T07:00:00Z"),
            ),
            ("tenantId=a/y=2026/m=02/d=30/h=07/m=00/PT1H.json", None),
            ("tenantId=a/y=2026/m=2/d=03/h=07/m=00/PT1H.json", None),
            ("y=/m=/d=/h=/PT1H.json", None),
            ("export.json", None),
        ];
        for (name, expected) in cases {
            assert_eq!(hour(name), expected.and_then(Timestamp::parse), "{name}");
        }
    }
}
