//! The storage class of an object. S3 has no call that sets it: the object is copied onto itself.

use super::Setting;
use super::account::{Account, fault};
use super::target::Place;
use crate::fault::Call;
use async_trait::async_trait;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{MetadataDirective, StorageClass as Class, TaggingDirective};
use prunella_schemas::Step;
use prunella_setting::{Fault, Found};
use serde_json::{Value, json};

const GET: &str = "s3:GetObject";
const PUT: &str = "s3:PutObject";
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/copy-object.html>
const COPY_BYTES_MAX: i64 = 5 * 1024 * 1024 * 1024;

/// What S3 says of an object that must be restored before it can be read.
const ARCHIVED: [&str; 2] = ["InvalidObjectState", "ObjectNotInActiveTierError"];

pub struct StorageClass;

#[async_trait]
impl Setting for StorageClass {
    fn operations(&self) -> &'static [&'static str] {
        &[GET, PUT]
    }

    async fn check(&self, account: &Account, operation: &'static str) -> Result<(), Fault> {
        account.simulate(operation).await
    }

    fn account_of<'a>(&self, target: &'a str) -> Result<&'a str, Fault> {
        Ok(Place::object(target)?.account)
    }

    async fn find(&self, account: &Account, target: &str) -> Result<Found, Fault> {
        let place = Place::object(target)?;
        let head = account.reading.s3.head_object().bucket(place.bucket).key(place.key);
        let head = head.expected_bucket_owner(&account.id).send().await;
        let head = head.map_err(|e| fault(&call(GET, &place), &e))?;
        // S3 leaves the ordinary class unsaid.
        let class = head.storage_class().map_or("STANDARD", Class::as_str);
        let value = json!({
            "storage_class": class,
            "bytes": head.content_length(),
            "is_restored": head.restore().is_some_and(|r| r.contains("ongoing-request=\"false\"")),
        });
        Ok(Found { value, version: head.e_tag().unwrap_or_default().to_owned() })
    }

    async fn set(&self, account: &Account, step: &Step, found: &Found) -> Result<String, Fault> {
        let place = Place::object(&step.target)?;
        let Place { bucket, key, .. } = place;
        let class = step.desired.get("storage_class").and_then(Value::as_str);
        let class = class.ok_or_else(|| Fault::Refused("a `storage_class` is wanted".to_owned()))?;
        if found.value.get("bytes").and_then(Value::as_i64).is_none_or(|bytes| bytes > COPY_BYTES_MAX) {
            return Err(Fault::Refused(format!(
                "{bucket}/{key} is larger than 5 GiB, and not copied in one call"
            )));
        }
        let copy = account.writing.s3.copy_object().bucket(bucket).key(key).copy_source(source(&place));
        let copy = copy.copy_source_if_match(&found.version).storage_class(Class::from(class));
        let copy = copy.metadata_directive(MetadataDirective::Copy).tagging_directive(TaggingDirective::Copy);
        let copy = copy.expected_bucket_owner(&account.id).expected_source_bucket_owner(&account.id);
        match copy.send().await {
            Ok(_) => Ok(format!("{bucket}/{key} is copied onto itself as {class}")),
            Err(e) if e.code().is_some_and(|code| ARCHIVED.contains(&code)) => Err(Fault::Refused(format!(
                "{bucket}/{key} is archived; restore it first (`aws s3api restore-object`), which takes hours"
            ))),
            Err(e) => Err(fault(&call(PUT, &place), &e)),
        }
    }
}

fn call(action: &'static str, place: &Place<'_>) -> Call {
    Call { action, resource: format!("arn:aws:s3:::{}/{}", place.bucket, place.key) }
}

/// As a header has it: everything but the plain letters is escaped.
fn source(place: &Place<'_>) -> String {
    let mut text = format!("{}/", place.bucket);
    for byte in place.key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_escaped() {
        let place = Place { account: "1", bucket: "b", key: "a b/ü+1" };
        assert_eq!(source(&place), "b/a%20b/%C3%BC%2B1");
    }
}
