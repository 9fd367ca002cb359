//! What the service's refusals mean and what to do about each.

use azure_core::error::ErrorKind;
use azure_core::http::StatusCode;
use azure_core::http::headers::HeaderName;
use azure_core::time::{OffsetDateTime, parse_rfc7231};
use prunella_bucket::BucketError;

/// Clocks that are further apart make every signature invalid.
const SKEW_MINUTES_MAX: i64 = 15;
/// The role that may list and read, and nothing else.
pub const ROLE: &str = "Storage Blob Data Reader";

const DATE: HeaderName = HeaderName::from_static("date");
const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");

/// `what` names the call and its target: `list container logs of https://..`.
pub fn explain(what: &str, error: &azure_core::Error) -> BucketError {
    let (status, code, response) = match error.kind() {
        ErrorKind::HttpResponse { status, error_code, raw_response } => {
            (*status, error_code.as_deref().unwrap_or_default(), raw_response.as_deref())
        }
        ErrorKind::Credential => {
            return BucketError::Refused(format!("{what}: no credential: {}", chain(error)));
        }
        ErrorKind::Connection | ErrorKind::Io => {
            let detail = format!("{what}: {}; is the endpoint right, and reachable from here?", chain(error));
            return BucketError::Unavailable(detail);
        }
        ErrorKind::DataConversion | ErrorKind::Other => {
            return BucketError::Unavailable(format!("{what}: {}", chain(error)));
        }
    };
    let header =
        |name: &HeaderName| response.and_then(|r| r.headers().get_optional_str(name)).map(str::to_owned);
    let told = format!("{what}: {} {code}", u16::from(status));
    let advice = advice(code);
    match (u16::from(status), code) {
        (404, "ContainerNotFound" | "ContainerBeingDeleted" | "ResourceNotFound") => {
            BucketError::Absent(format!("{told}: {advice}"))
        }
        (404 | 412 | 416, _) => BucketError::Changed(told),
        (409, "BlobArchived" | "BlobBeingRehydrated" | "BlobUsesCustomerSpecifiedEncryption") => {
            BucketError::Unreadable(format!("{told}: {advice}"))
        }
        (403, "AuthenticationFailed") => {
            let ours = OffsetDateTime::now_utc();
            let theirs = header(&DATE).and_then(|date| parse_rfc7231(&date).ok());
            let skew =
                theirs.map(|theirs| (ours - theirs).whole_minutes()).filter(|m| m.abs() >= SKEW_MINUTES_MAX);
            BucketError::Refused(match skew {
                Some(minutes) => format!(
                    "{told}: this machine's clock is {} minutes {} the service's; set the clock",
                    minutes.abs(),
                    if minutes > 0 { "ahead of" } else { "behind" }
                ),
                None => format!("{told}: {advice}"),
            })
        }
        (400 | 401 | 403 | 409, _) => BucketError::Refused(format!("{told}: {advice}")),
        _ if status == StatusCode::TooManyRequests || code == "ServerBusy" => {
            let wait = header(&RETRY_AFTER).map(|wait| format!("; it asks for {wait} s of rest"));
            BucketError::Unavailable(format!("{told}: throttled{}", wait.unwrap_or_default()))
        }
        _ => BucketError::Unavailable(told),
    }
}

/// <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>
fn advice(code: &str) -> String {
    let text = match code {
        "AuthorizationPermissionMismatch" => {
            return format!(
                "this identity lacks the role `{ROLE}` on the container; a new assignment takes up to 10 minutes"
            );
        }
        "AuthorizationFailure" => {
            "the account's firewall or the signature's scope keeps this machine out; allow its network"
        }
        "AuthorizationSourceIPMismatch" => {
            "the signature is not for this machine's address; make one without `sip`"
        }
        "AuthorizationProtocolMismatch" => "the signature is for https only; use an https endpoint",
        "AuthorizationServiceMismatch" | "AuthorizationResourceTypeMismatch" => {
            "the signature must be for the blob service, its containers and objects (`ss=b&srt=co`)"
        }
        "InsufficientAccountPermissions" => "the signature must allow read and list (`sp=rl`)",
        "AuthenticationFailed" => {
            "the credential is wrong or has expired, or is of another account; make a new signature or key"
        }
        "NoAuthenticationInformation" | "InvalidAuthenticationInfo" => {
            "the service wants a credential; configure an identity, a `sas_file` or a `shared_key_file`"
        }
        "KeyBasedAuthenticationNotPermitted" => {
            "the account allows no keys and no signatures made with them; use an identity"
        }
        "AccountIsDisabled" => "the account is disabled; look at its subscription",
        "PublicAccessNotPermitted" => "the account allows nobody without a credential; configure one",
        "KeyVaultEncryptionKeyNotFound" | "KeyVaultAccessTokenCannotBeAcquired" | "KeyVaultVaultNotFound" => {
            "the account's own key cannot be used; give the account access to its key vault"
        }
        "ContainerNotFound" | "ContainerBeingDeleted" | "ResourceNotFound" => {
            "no such container; diagnostic settings make it with the first record, else look at the account's name"
        }
        "BlobArchived" | "BlobBeingRehydrated" => {
            "it is in the archive tier; rehydrate it into a copy, which is then read"
        }
        "BlobUsesCustomerSpecifiedEncryption" => {
            "it is encrypted with a key that only its writer has; write it with the account's key"
        }
        "AccountRequiresHttps" => "use an https endpoint",
        _ => "look the code up among the error codes of the Blob service",
    };
    text.to_owned()
}

/// The error and what caused it, in one line.
fn chain(error: &azure_core::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace(['\n', '\r'], " ")
}
