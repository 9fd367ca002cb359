//! Input: the published CloudTrail records, where they are at hand, and a few of our own.

use flate2::Compression;
use flate2::write::GzEncoder;
use prunella_runtime::clock;
use prunella_schemas::Timestamp;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// A file of the shared data, or none where that is not at hand, and says so.
#[allow(clippy::disallowed_methods, reason = "tests learn from the environment where the shared data is")]
pub fn shared(name: &str) -> Option<String> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let root = std::env::var("PRUNELLA_SHARED_DATA").unwrap_or_else(|_| default.into());
    let path = PathBuf::from(root).join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there; set PRUNELLA_SHARED_DATA", path.display());
        return None;
    }
    Some(path.to_str().unwrap().to_owned())
}

/// The published files, each with one record a line.
pub const FILES: [&str; 4] = [
    "aws/c7n_cloudtrail_samples.jsonl",
    "aws/opensearch_benign.jsonl",
    "aws/stratus_detonation.jsonl",
    "aws/stratus_detonation.masked.jsonl",
];

pub fn now() -> Timestamp {
    clock::wall()()
}

/// A call of an IAM user, as CloudTrail writes it.
pub fn call(event_id: &str, time: &str, user: &str, service: &str, operation: &str) -> Value {
    json!({
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": "111122223333", "userName": user,
            "arn": format!("arn:aws:iam::111122223333:user/{user}"), "accessKeyId": "AKIAIOSFODNN7EXAMPLE"
        },
        "eventTime": time, "eventSource": format!("{service}.amazonaws.com"), "eventName": operation,
        "awsRegion": "eu-central-1", "sourceIPAddress": "198.51.100.7", "userAgent": "aws-cli/2.15.0",
        "requestParameters": {"name": "arn:aws:cloudtrail:eu-central-1:111122223333:trail/main"},
        "responseElements": null, "requestID": format!("req-{event_id}"), "eventID": event_id, "readOnly": false,
        "eventType": "AwsApiCall", "managementEvent": true, "recipientAccountId": "111122223333",
        "eventCategory": "Management"
    })
}

/// A user who deletes the audit trail a moment ago: always a finding of high severity.
pub fn tampering(event_id: &str, user: &str) -> Value {
    call(event_id, &now().plus_ms(-2_000).to_string(), user, "cloudtrail", "DeleteTrail")
}

/// The principal that such a user is.
pub fn principal(user: &str) -> String {
    format!("aws:user:arn:aws:iam::111122223333:user/{user}")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
