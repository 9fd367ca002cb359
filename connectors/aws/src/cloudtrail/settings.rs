//! What the configuration says about a source of CloudTrail records.

use prunella_schemas::Timestamp;
use prunella_schemas::port::SourceError;
use serde::Deserialize;
use std::path::PathBuf;

/// Longest look-back for objects that come late, in hours: CloudTrail delivers again for 30 days.
const LATE_HOURS_MAX: u32 = 30 * 24;
/// SQS holds a message back for 12 hours at most.
const VISIBILITY_S_MAX: u32 = 43_200;
const WAIT_S_MAX: u32 = 20;

/// Where the records are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// The log files in a bucket, by listing it.
    #[default]
    Bucket,
    /// The log files in a bucket, by the notifications in a queue.
    Queue,
    /// `LookupEvents`: the last 90 days of management events of one account and region.
    History,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub from: From,
    pub region: String,
    /// The bucket of the trail. Notifications that name another one are not followed.
    pub bucket: String,
    /// What stands before `AWSLogs/`, with its slash; empty: nothing.
    pub prefix: String,
    /// The account that must own the bucket; empty: any.
    pub bucket_owner: String,
    /// The key that encrypts the objects, for the policy that `check` prints; empty: none.
    pub kms_key_arn: String,
    /// Only these; empty: all that are there.
    pub accounts: Vec<String>,
    pub regions: Vec<String>,
    /// RFC 3339. Nothing before it is read; empty: from the beginning.
    pub since: String,
    /// How late an object may come and still be found by listing, in hours.
    pub late_hours: u32,
    /// Check the signed digest files, and that everything they name was read.
    pub digests: bool,
    /// Public keys of digests, one a line: fingerprint, space, DER in base64. Empty: `ListPublicKeys` is asked.
    pub digest_keys_file: PathBuf,
    /// The URL of the queue.
    pub queue: String,
    /// How long a message is ours before the queue gives it to somebody else, in seconds.
    pub visibility_s: u32,
    /// How long an empty queue is waited for, in seconds.
    pub wait_s: u32,
    /// Read insight events from the history too.
    pub insights: bool,
    /// Profile of the AWS configuration; empty: the default chain.
    pub profile: String,
    /// A role to assume; empty: none.
    pub role_arn: String,
    pub external_id: String,
    /// Address of an emulator; empty: AWS.
    pub endpoint: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            from: From::Bucket,
            region: String::new(),
            bucket: String::new(),
            prefix: String::new(),
            bucket_owner: String::new(),
            kms_key_arn: String::new(),
            accounts: Vec::new(),
            regions: Vec::new(),
            since: String::new(),
            late_hours: 24,
            digests: false,
            digest_keys_file: PathBuf::new(),
            queue: String::new(),
            visibility_s: 300,
            wait_s: WAIT_S_MAX,
            insights: true,
            profile: String::new(),
            role_arn: String::new(),
            external_id: String::new(),
            endpoint: String::new(),
        }
    }
}

impl Settings {
    pub fn parse(settings: serde_json::Value) -> Result<Self, SourceError> {
        let settings: Settings =
            serde_json::from_value(settings).map_err(|e| SourceError::Invalid(e.to_string()))?;
        settings.since()?;
        let wrong = |text: &str| Err(SourceError::Invalid(text.to_owned()));
        if settings.region.is_empty() {
            return wrong("set `region`, such as \"eu-central-1\"");
        }
        if settings.from != From::History && settings.bucket.is_empty() {
            return wrong("set `bucket` to the name of the trail's bucket");
        }
        if settings.from == From::Queue && settings.queue.is_empty() {
            return wrong("set `queue` to the URL of the queue");
        }
        if settings.digests && settings.from != From::Bucket {
            return wrong("`digests` are checked where the bucket is listed: set `from = \"bucket\"`");
        }
        if !settings.prefix.is_empty() && !settings.prefix.ends_with('/') {
            return wrong("`prefix` must end in a slash");
        }
        if settings.late_hours > LATE_HOURS_MAX
            || settings.wait_s > WAIT_S_MAX
            || settings.visibility_s > VISIBILITY_S_MAX
        {
            return wrong("at most: `late_hours` 720, `wait_s` 20, `visibility_s` 43200");
        }
        Ok(settings)
    }

    /// Nothing before this is read.
    pub fn since(&self) -> Result<Option<Timestamp>, SourceError> {
        if self.since.is_empty() {
            return Ok(None);
        }
        match Timestamp::parse(&self.since) {
            Some(time) => Ok(Some(time)),
            None => Err(SourceError::Invalid(format!("`since` is no RFC 3339 time: {}", self.since))),
        }
    }

    /// `aws`, `aws-cn` or `aws-us-gov`: what ARNs begin with.
    pub fn partition(&self) -> &'static str {
        match self.region.as_str() {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    pub fn bucket_arn(&self) -> String {
        format!("arn:{}:s3:::{}", self.partition(), self.bucket)
    }

    pub fn object_arn(&self, key: &str) -> String {
        format!("{}/{key}", self.bucket_arn())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        let check = |settings: serde_json::Value, want: &str| {
            let got = Settings::parse(settings).err().map_or("fine".to_owned(), |e| e.to_string());
            assert!(got.contains(want), "{got} lacks {want}");
        };
        use serde_json::json;
        check(json!({"region": "eu-central-1", "bucket": "b"}), "fine");
        check(json!({"region": "eu-central-1", "from": "history"}), "fine");
        check(json!({"bucket": "b"}), "set `region`");
        check(json!({"region": "x"}), "set `bucket`");
        check(json!({"region": "x", "bucket": "b", "from": "queue"}), "set `queue`");
        check(json!({"region": "x", "bucket": "b", "since": "yesterday"}), "no RFC 3339");
        check(json!({"region": "x", "bucket": "b", "late_hours": 721}), "at most");
        check(json!({"region": "x", "bucket": "b", "prefix": "logs"}), "slash");
        check(json!({"region": "x", "bucket": "b", "buckets": 1}), "unknown field `buckets`");
    }
}
