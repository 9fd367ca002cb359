//! What AWS refused, in words that say what to do: the action and its policy line, the right region, the key, the clock.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use prunella_schemas::port::SourceError;
use std::error::Error;

/// A call, as IAM names it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Such as `s3:GetObject`.
    pub action: &'static str,
    /// An ARN, or `*`.
    pub resource: String,
}

/// What a failed call means for whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such object, message or page.
    Gone(String),
    /// It is not the one that was listed any more.
    Changed,
    /// Not allowed on this one; it may be on others.
    Denied(String),
    /// Everything else concerns all calls alike.
    Other(SourceError),
}

impl Trouble {
    /// For a call whose failure concerns the whole source.
    pub fn stops(self) -> SourceError {
        match self {
            Trouble::Gone(text) | Trouble::Denied(text) => SourceError::Refused(text),
            Trouble::Changed => SourceError::Unavailable("what was read has just changed".to_owned()),
            Trouble::Other(error) => error,
        }
    }
}

const THROTTLED: [&str; 9] = [
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "BandwidthLimitExceeded",
];
const EXPIRED: [&str; 4] =
    ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"];
const UNKNOWN_KEY: [&str; 5] = [
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidToken",
];
const DENIED: [&str; 5] = [
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "UnauthorizedOperation",
    "AWS.SimpleQueueService.AccessDenied",
];
const GONE: [&str; 3] = ["NoSuchKey", "NoSuchVersion", "NotFound"];
const NO_PLACE: [&str; 4] =
    ["NoSuchBucket", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "QueueDeletedRecently"];
const OTHER_REGION: [&str; 4] = [
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "TemporaryRedirect",
];

/// Reads the SDK's error.
pub fn explain<E>(call: &Call, error: &SdkError<E, HttpResponse>) -> Trouble
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let raw = error.raw_response();
    let header = |name: &str| raw.and_then(|r| r.headers().get(name)).map(str::to_owned);
    let seen = Seen {
        status: raw.map_or(0, |r| r.status().as_u16()),
        code: error.code().unwrap_or_default().to_owned(),
        message: error.message().unwrap_or_default().to_owned(),
        region: header("x-amz-bucket-region"),
        retry_after_ms: header("retry-after")
            .and_then(|s| s.trim().parse::<u64>().ok())
            .map_or(0, |s| s * 1_000),
    };
    match error {
        SdkError::ServiceError(_) => judge(call, &seen),
        SdkError::ResponseError(_) if seen.status >= 300 => judge(call, &seen),
        _ => {
            let text = DisplayErrorContext(error).to_string();
            let text: String = text.chars().take(DETAIL_CHARS_MAX).collect();
            Trouble::Other(unsent(call, &text))
        }
    }
}

/// Longest text of the SDK that is shown.
const DETAIL_CHARS_MAX: usize = 400;

struct Seen {
    status: u16,
    code: String,
    message: String,
    region: Option<String>,
    retry_after_ms: u64,
}

fn unsent(call: &Call, text: &str) -> SourceError {
    let action = call.action;
    let lower = text.to_ascii_lowercase();
    if lower.contains("credentials") && !lower.contains("timed out") {
        return SourceError::Refused(format!(
            "{action}: no usable credentials; give an instance role, a profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY ({text})"
        ));
    }
    SourceError::Unavailable(format!("{action}: AWS cannot be reached: {text}"))
}

fn judge(call: &Call, seen: &Seen) -> Trouble {
    let Call { action, resource } = call;
    let (code, message) = (seen.code.as_str(), seen.message.as_str());
    let other = |text: String| Trouble::Other(SourceError::Refused(text));
    let is = |codes: &[&str]| codes.contains(&code);
    if is(&THROTTLED) || seen.status == 429 || (seen.status == 503 && code.is_empty()) {
        let detail = format!("{action}: AWS asks us to slow down ({code})");
        return Trouble::Other(SourceError::Throttled { detail, retry_after_ms: seen.retry_after_ms });
    }
    if is(&EXPIRED) {
        return other(format!("{action}: the credentials have expired ({code}); renew them, or use a role"));
    }
    if is(&["RequestTimeTooSkewed"])
        || message.contains("Signature expired")
        || message.contains("Signature not yet current")
    {
        return other(format!(
            "{action}: AWS finds the clock of this machine wrong ({code}: {message}); set it by NTP"
        ));
    }
    if is(&UNKNOWN_KEY) {
        return other(format!("{action}: AWS does not know these credentials ({code}: {message})"));
    }
    if is(&OTHER_REGION) || seen.status == 301 {
        let right = match &seen.region {
            Some(region) => format!("; set `region = \"{region}\"`"),
            None => String::new(),
        };
        return other(format!("{action} on {resource}: it is in another region ({code}: {message}){right}"));
    }
    if code.starts_with("KMS.") || message.contains("kms:Decrypt") {
        let line = policy_line("kms:Decrypt", "the ARN of the key");
        return Trouble::Denied(format!(
            "{action} on {resource}: it is encrypted with a key that may not be used ({code}: {message}); \
             allow it in the key's policy and with {line}"
        ));
    }
    if is(&DENIED) || (seen.status == 403 && code.is_empty()) {
        return Trouble::Denied(format!(
            "{action} on {resource} is not allowed; the policy lacks {}",
            policy_line(action, resource)
        ));
    }
    if is(&["PreconditionFailed"]) || seen.status == 412 {
        return Trouble::Changed;
    }
    if is(&GONE) {
        return Trouble::Gone(format!("{resource} is not there ({code})"));
    }
    if is(&NO_PLACE) || seen.status == 404 {
        return other(format!("{action}: {resource} does not exist ({code}); check its name and `region`"));
    }
    if seen.status >= 500 {
        return Trouble::Other(SourceError::Unavailable(format!(
            "{action}: AWS failed with {} ({code}: {message})",
            seen.status
        )));
    }
    other(format!("{action} on {resource}: {code}: {message} (HTTP {})", seen.status))
}

/// The statement that is missing, ready to be pasted into a policy.
pub fn policy_line(action: &str, resource: &str) -> String {
    serde_json::json!({ "Effect": "Allow", "Action": action, "Resource": resource }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        let call = Call { action: "s3:GetObject", resource: "arn:aws:s3:::trail/a".to_owned() };
        let check = |status: u16, code: &str, message: &str, want: &str| {
            let region = (status == 301).then(|| "eu-west-1".to_owned());
            let seen = Seen { status, code: code.into(), message: message.into(), region, retry_after_ms: 0 };
            let got = match judge(&call, &seen) {
                Trouble::Changed => "changed".to_owned(),
                Trouble::Gone(text) => format!("gone: {text}"),
                Trouble::Denied(text) => format!("denied: {text}"),
                Trouble::Other(e) => format!("{e:?}"),
            };
            assert!(got.contains(want), "{got} lacks {want}");
        };
        check(503, "SlowDown", "", "Throttled");
        check(400, "ExpiredToken", "", "expired");
        check(403, "RequestTimeTooSkewed", "", "clock");
        check(400, "InvalidSignatureException", "Signature expired: 1 is now earlier than 2", "clock");
        check(403, "InvalidAccessKeyId", "", "does not know");
        check(301, "PermanentRedirect", "", "region = \\\"eu-west-1\\\"");
        check(
            403,
            "AccessDenied",
            "",
            r#"denied: s3:GetObject on arn:aws:s3:::trail/a is not allowed; the policy lacks {"Action":"s3:GetObject","Effect":"Allow","Resource":"arn:aws:s3:::trail/a"}"#,
        );
        check(
            403,
            "AccessDenied",
            "not authorized to perform: kms:Decrypt on resource",
            "denied: s3:GetObject on arn:aws:s3:::trail/a: it is encrypted",
        );
        check(400, "KMS.DisabledException", "", "encrypted");
        check(412, "PreconditionFailed", "", "changed");
        check(404, "NoSuchKey", "", "gone");
        check(404, "NoSuchBucket", "", "does not exist");
        check(500, "InternalError", "", "Unavailable");
        check(400, "Odd", "strange", "Odd: strange");
        assert!(matches!(
            unsent(&call, "no providers in chain provided credentials"),
            SourceError::Refused(_)
        ));
        assert!(matches!(unsent(&call, "connection refused"), SourceError::Unavailable(_)));
    }
}
