//! What the service's refusals mean and what to do about each.

use azure_core::error::ErrorKind;
use azure_core::http::headers::HeaderName;
use azure_core::time::{OffsetDateTime, parse_rfc7231};
use azure_storage_blob::StorageError;
use prunella_bucket::BucketError;

/// Clocks that are further apart make every signature invalid.
const SKEW_MINUTES_MAX: i64 = 15;
/// The role that may list and read, and nothing else.
pub const ROLE: &str = "Storage Blob Data Reader";

const DATE: HeaderName = HeaderName::from_static("date");
const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");

/// `what` names the call and its target: `list container logs of https://..`.
pub fn explain(what: &str, error: azure_core::Error) -> BucketError {
    let refusal = match error.kind() {
        ErrorKind::HttpResponse { status, error_code, raw_response } => {
            let header = |name: &HeaderName| {
                raw_response.as_deref().and_then(|r| r.headers().get_optional_str(name)).map(str::to_owned)
            };
            Refusal {
                status: u16::from(*status),
                code: error_code.clone().unwrap_or_default(),
                date: header(&DATE).and_then(|date| parse_rfc7231(&date).ok()),
                retry_after_ms: header(&RETRY_AFTER).and_then(|s| s.parse::<u64>().ok()).map(|s| s * 1_000),
            }
        }
        ErrorKind::Credential => {
            return BucketError::Refused(format!("{what}: no credential: {}", chain(&error)));
        }
        ErrorKind::Connection | ErrorKind::Io => {
            let detail =
                format!("{what}: {}; is the endpoint right, and reachable from here?", chain(&error));
            return BucketError::Unavailable(detail);
        }
        ErrorKind::DataConversion | ErrorKind::Other => {
            return BucketError::Unavailable(format!("{what}: {}", chain(&error)));
        }
    };
    // The service says more about a failed authentication than about anything else.
    let detail = StorageError::try_from(error).ok().and_then(|told| told.authentication_error_detail);
    refusal.explain(what, detail.as_deref())
}

struct Refusal {
    status: u16,
    code: String,
    date: Option<OffsetDateTime>,
    retry_after_ms: Option<u64>,
}

impl Refusal {
    fn explain(&self, what: &str, detail: Option<&str>) -> BucketError {
        let told = format!("{what}: {} {}", self.status, self.code);
        let advice = advice(&self.code);
        match (self.status, self.code.as_str()) {
            (404, "ContainerNotFound" | "ContainerBeingDeleted" | "ResourceNotFound") => {
                BucketError::Absent(format!("{told}: {advice}"))
            }
            (404 | 412 | 416, _) => BucketError::Changed(told),
            (409, "BlobArchived" | "BlobBeingRehydrated" | "BlobUsesCustomerSpecifiedEncryption") => {
                BucketError::Unreadable(format!("{told}: {advice}"))
            }
            (403, "AuthenticationFailed") => {
                let detail = detail.map(|detail| format!(" (the service says: {})", one_line(detail)));
                let why = self.skew().unwrap_or_else(|| advice.to_owned());
                BucketError::Refused(format!("{told}: {why}{}", detail.unwrap_or_default()))
            }
            (400 | 401 | 403 | 409, _) => BucketError::Refused(format!("{told}: {advice}")),
            (429, _) | (_, "ServerBusy") => BucketError::Throttled {
                detail: format!("{told}: the account is asked too often"),
                retry_after_ms: self.retry_after_ms.unwrap_or_default(),
            },
            _ => BucketError::Unavailable(told),
        }
    }

    fn skew(&self) -> Option<String> {
        let minutes = (OffsetDateTime::now_utc() - self.date?).whole_minutes();
        let side = if minutes > 0 { "ahead of" } else { "behind" };
        (minutes.abs() >= SKEW_MINUTES_MAX).then(|| {
            format!("this machine's clock is {} minutes {side} the service's; set the clock", minutes.abs())
        })
    }
}

/// <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>
fn advice(code: &str) -> &'static str {
    match code {
        "AuthorizationPermissionMismatch" => {
            "not allowed: an identity needs the role `Storage Blob Data Reader` on the container (a new assignment takes up to 10 \
             minutes), a signature `sp=rl`"
        }
        "AuthorizationFailure" => {
            "the account's firewall keeps this machine out, or the signature has expired; allow its network, make a new one"
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
        "NoAuthenticationInformation" => {
            "the service wants a credential; configure an identity, a `sas_file` or a `shared_key_file`"
        }
        "InvalidAuthenticationInfo" => "the token has expired or is for another service; sign in again",
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
    }
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
    one_line(&text)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
