//! What Google's refusals mean and what to do about each.

use google_cloud_gax::error::{CredentialsError, Error};
use prunella_bucket::BucketError;
use prunella_schemas::Timestamp;
use serde::Deserialize;

/// The role that may list and read, and nothing else.
pub const ROLE: &str = "roles/storage.objectViewer";
/// A token that is signed by a clock further off is not taken.
const SKEW_MS_MAX: i64 = 5 * 60 * 1_000;
const MINUTE_MS: i64 = 60 * 1_000;

/// An answer of the JSON interface that is not the one asked for.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    pub status: u16,
    pub body: Vec<u8>,
    /// The provider's time.
    pub date: Option<Timestamp>,
    pub retry_after_ms: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    error: Told,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    message: String,
    errors: Vec<Reason>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reason {
    reason: String,
}

impl Refusal {
    /// `what` names the call and its target.
    pub fn explain(&self, what: &str, now: Timestamp) -> BucketError {
        let told: Told = serde_json::from_slice::<Envelope>(&self.body).unwrap_or_default().error;
        let reason = told.errors.first().map(|e| e.reason.as_str()).unwrap_or_default();
        let message = told.message.split_whitespace().collect::<Vec<_>>().join(" ");
        let told = format!("{what}: {} {reason} {message}", self.status);
        let throttled = BucketError::Throttled {
            detail: format!("{told}: the bucket is asked too often"),
            retry_after_ms: self.retry_after_ms.unwrap_or_default(),
        };
        match (self.status, reason) {
            (429, _) | (_, "rateLimitExceeded" | "userRateLimitExceeded" | "quotaExceeded") => throttled,
            (401, _) => BucketError::Refused(match skew(self.date, now) {
                Some(skew) => format!("{told}: {skew}"),
                None => {
                    format!("{told}: the credential is wrong or has expired; sign in again or make a new key")
                }
            }),
            (400, _) if message.contains("customer-supplied encryption key") => {
                BucketError::Unreadable(format!("{told}: only its writer has the key; write it without one"))
            }
            (400, "userProjectMissing") => BucketError::Refused(format!(
                "{told}: the bucket is `requester pays`; turn that off for logs"
            )),
            (403, _) if message.contains("Cloud KMS") => BucketError::Refused(format!(
                "{told}: grant the bucket's service agent roles/cloudkms.cryptoKeyEncrypterDecrypter on that key"
            )),
            (403, _) if message.contains("organization's policy") => {
                BucketError::Refused(format!("{told}: a service perimeter keeps us out; add an ingress rule"))
            }
            (403, _) => BucketError::Refused(format!("{told}: grant `{ROLE}` on the bucket")),
            (404, _) => BucketError::Absent(format!("{told}: no such bucket; is the name right?")),
            (412 | 416, _) => BucketError::Changed(told),
            (400..500, _) => BucketError::Refused(told),
            _ => BucketError::Unavailable(told),
        }
    }
}

/// Why the SDK could not read an object.
pub fn explain(what: &str, error: &Error, now: Timestamp) -> BucketError {
    if let Some(status) = error.http_status_code() {
        let header =
            |name: &str| error.http_headers().and_then(|h| h.get(name)).and_then(|v| v.to_str().ok());
        // The SDK keeps the answer, or what it read in it.
        let told =
            error.status().map(|s| serde_json::json!({ "error": { "message": s.message } }).to_string());
        let body = error.http_payload().map(|payload| payload.to_vec()).or(told.map(String::into_bytes));
        let refusal = Refusal {
            status,
            body: body.unwrap_or_default(),
            date: header("date").and_then(http_date),
            retry_after_ms: header("retry-after").and_then(seconds),
        };
        return match refusal.explain(what, now) {
            BucketError::Absent(text) => BucketError::Changed(text),
            other => other,
        };
    }
    match error.is_authentication() {
        true => BucketError::Refused(format!("{what}: no credential: {}", chain(error))),
        false => BucketError::Unavailable(format!("{what}: {}", chain(error))),
    }
}

/// Why there is no token.
pub fn no_token(what: &str, error: &CredentialsError) -> BucketError {
    let told = format!("{what}: no credential: {}", chain(error));
    match (error.is_transient(), told.contains("iat and exp")) {
        (_, true) => BucketError::Refused(format!("{told}: this machine's clock is wrong; set the clock")),
        (true, _) => BucketError::Unavailable(told),
        (false, _) => BucketError::Refused(told),
    }
}

/// The time of a `Date` header, such as `Sat, 21 Nov 2026 08:00:00 GMT`.
pub fn http_date(text: &str) -> Option<Timestamp> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp(time.timestamp().as_millisecond()))
}

pub fn seconds(text: &str) -> Option<u64> {
    text.trim().parse::<u64>().ok().map(|seconds| seconds.saturating_mul(1_000))
}

fn skew(theirs: Option<Timestamp>, ours: Timestamp) -> Option<String> {
    let ahead_ms = ours.since_ms(theirs?);
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let minutes = ahead_ms.abs() / MINUTE_MS;
    (ahead_ms.abs() >= SKEW_MS_MAX)
        .then(|| format!("this machine's clock is {minutes} minutes {side} Google's; set the clock"))
}

/// The error and what caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        let now = Timestamp::parse("2026-11-21T08:00:00Z").unwrap();
        let body = |reason: &str, message: &str| {
            format!(r#"{{"error":{{"message":"{message}","errors":[{{"reason":"{reason}"}}]}}}}"#)
                .into_bytes()
        };
        let cases = [
            (403, body("forbidden", "does not have storage.objects.list access"), None, "Refused", ROLE),
            (
                403,
                body("forbidden", "Permission denied on Cloud KMS key"),
                None,
                "Refused",
                "cryptoKeyEncrypterDecrypter",
            ),
            (403, body("rateLimitExceeded", ""), None, "Throttled", "too often"),
            (429, Vec::new(), None, "Throttled", "too often"),
            (401, Vec::new(), Some("Sat, 21 Nov 2026 08:00:30 GMT"), "Refused", "expired"),
            (401, Vec::new(), Some("Sat, 21 Nov 2026 09:00:00 GMT"), "Refused", "clock is 60 minutes behind"),
            (404, b"no JSON".to_vec(), None, "Absent", "no such bucket"),
            (503, Vec::new(), None, "Unavailable", "503"),
        ];
        for (status, body, date, variant, says) in cases {
            let refusal = Refusal { status, body, date: date.and_then(http_date), retry_after_ms: None };
            let explained = refusal.explain("list gs://logs", now);
            assert!(format!("{explained:?}").starts_with(variant), "{status}: {explained:?}");
            assert!(explained.to_string().contains(says), "{status}: {explained}");
        }
    }
}
