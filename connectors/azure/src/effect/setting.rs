//! Whether a container is public, and in which tier a blob is.

use super::target::Place;
use crate::access::{Account, BadAccount};
use crate::error::explain;
use azure_core::error::ErrorKind;
use azure_core::time::{OffsetDateTime, parse_rfc7231, to_rfc7231};
use azure_storage_blob::models::{
    AccessTier, BlobClientGetPropertiesResultHeaders, BlobContainerClientSetAccessPolicyOptions,
    PublicAccessType, SignedIdentifier, SignedIdentifiers, SignedIdentifiersHeaders,
};
use prunella_bucket::BucketError;
use prunella_setting::{Fault, Found};
use serde_json::json;

/// Nobody reads without a credential, as steps say it.
const NONE: &str = "none";

/// The version is the time of the last change, which Azure compares by the second.
pub async fn acl(account: &Account, place: &Place<'_>) -> Result<Found, Fault> {
    let what = format!("GetContainerACL of {}", place.container);
    let failed = |e| fault(&what, e);
    let asked = account.container(place.container).map_err(|e| bad(&e))?.get_access_policy(None).await;
    let told = asked.map_err(failed)?;
    let public = told.access().map_err(failed)?.map_or(NONE.to_owned(), |access| access.to_string());
    let changed = told.last_modified().map_err(failed)?;
    let version = changed.map(|at| to_rfc7231(&at)).unwrap_or_default();
    Ok(Found { value: json!({ "public_access": public }), version })
}

/// The stored access policies of a container, which are written together with its openness.
pub async fn identifiers(account: &Account, place: &Place<'_>) -> Result<Vec<SignedIdentifier>, Fault> {
    let what = format!("GetContainerACL of {}", place.container);
    let asked = account.container(place.container).map_err(|e| bad(&e))?.get_access_policy(None).await;
    let told = asked.and_then(|answer| answer.into_model()).map_err(|e| fault(&what, e))?;
    Ok(told.items.unwrap_or_default())
}

/// `None` of them within: private. The outer one: not a word that Azure has.
pub fn public_of(word: &str) -> Option<Option<PublicAccessType>> {
    match word {
        NONE => Some(None),
        "blob" => Some(Some(PublicAccessType::Blob)),
        "container" => Some(Some(PublicAccessType::Container)),
        _ => None,
    }
}

/// With the stored access policies as they were. `version` empty: whatever was changed meanwhile.
pub async fn set_public(
    account: &Account,
    place: &Place<'_>,
    public: Option<PublicAccessType>,
    kept: Vec<SignedIdentifier>,
    version: &str,
) -> Result<(), Fault> {
    let what = format!("SetContainerACL of {}", place.container);
    let client = account.container_once(place.container).map_err(|e| bad(&e))?;
    let unchanged: Option<OffsetDateTime> = parse_rfc7231(version).ok();
    let options = BlobContainerClientSetAccessPolicyOptions {
        access: public,
        if_unmodified_since: unchanged,
        ..Default::default()
    };
    let list = SignedIdentifiers { items: (!kept.is_empty()).then_some(kept) };
    let list = list.try_into().map_err(|e| fault(&what, e))?;
    client.set_access_policy(list, Some(options)).await.map(drop).map_err(|e| fault(&what, e))
}

/// A blob on its way out of the archive counts as where it goes.
pub async fn tier(account: &Account, place: &Place<'_>) -> Result<Found, Fault> {
    let what = format!("GetBlobProperties of {}/{}", place.container, place.blob);
    let failed = |e| fault(&what, e);
    let client = account.container(place.container).map_err(|e| bad(&e))?.blob_client(place.blob);
    let told = client.get_properties(None).await.map_err(failed)?;
    let on_its_way = told.archive_status().map_err(failed)?.map(|status| status.to_string());
    let tier = match on_its_way.as_deref().and_then(|status| status.strip_prefix("rehydrate-pending-to-")) {
        Some(goal) => capital(goal),
        None => told.access_tier().map_err(failed)?.unwrap_or_default(),
    };
    Ok(Found {
        value: json!({ "tier": tier, "is_rehydrating": on_its_way.is_some() }),
        version: String::new(),
    })
}

pub async fn set_tier(account: &Account, place: &Place<'_>, tier: &str) -> Result<(), Fault> {
    let what = format!("SetBlobTier of {}/{}", place.container, place.blob);
    let tier = match tier {
        "Hot" => AccessTier::Hot,
        "Cool" => AccessTier::Cool,
        "Cold" => AccessTier::Cold,
        "Archive" => AccessTier::Archive,
        other => return Err(Fault::Refused(format!("{what}: `{other}` is no tier of a block blob"))),
    };
    let client = account.container_once(place.container).map_err(|e| bad(&e))?.blob_client(place.blob);
    client.set_tier(tier, None).await.map(drop).map_err(|e| fault(&what, e))
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

fn bad(e: &BadAccount) -> Fault {
    Fault::Refused(e.to_string())
}

/// What a failed call means for a step.
fn fault(what: &str, error: azure_core::Error) -> Fault {
    let answered = match error.kind() {
        ErrorKind::HttpResponse { status, error_code, .. } => {
            Some((u16::from(*status), error_code.clone().unwrap_or_default()))
        }
        _ => None,
    };
    let told = match explain(what, error) {
        BucketError::Throttled { detail, .. } => return Fault::Unavailable(detail),
        other => other.to_string(),
    };
    match answered {
        None if told.contains("credential") => Fault::Refused(told),
        None => Fault::Lost(told),
        // What a source is told to ask for would not do here.
        Some((403, code)) if code.starts_with("Authorization") => Fault::Refused(format!(
            "{what}: 403 {code}: not allowed; grant `Storage Blob Data Contributor` on the container, or name the account's key"
        )),
        Some((404, _)) => Fault::Missing(told),
        Some((412, _)) => Fault::Changed(told),
        Some((409, code)) if code == "BlobBeingRehydrated" => Fault::Unavailable(told),
        Some((500.., _)) => Fault::Lost(told),
        Some(_) => Fault::Refused(told),
    }
}
