//! Who we are to Cloud Storage, and the headers that say so.

use google_cloud_auth::credentials::{
    self, CacheableResource, Credentials, anonymous, external_account, service_account,
};
use std::path::{Path, PathBuf};

/// Reading is all that a token of a source is asked for.
const READING: &str = "https://www.googleapis.com/auth/devstorage.read_only";
/// What one who acts may do is decided by its roles.
pub(crate) const ACTING: &str = "https://www.googleapis.com/auth/cloud-platform";

/// How to prove who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Application default credentials: the attached service account, workload identity, or whoever is signed in.
    #[default]
    Default,
    /// A file that holds the key of a service account, or the configuration of a workload identity federation.
    File(PathBuf),
    /// Nobody: for an emulator.
    Anonymous,
}

#[derive(Debug, thiserror::Error)]
pub enum BadAccess {
    #[error("cannot read {0}: {1}")]
    File(PathBuf, String),
    #[error("{0} holds credentials of type `{1}`; give a `service_account` or an `external_account`")]
    Type(PathBuf, String),
    #[error(
        "no credentials to be had: {0}; run `gcloud auth application-default login` or name a `credentials_file`"
    )]
    Credentials(String),
}

impl Access {
    pub(crate) fn credentials(&self) -> Result<Credentials, BadAccess> {
        self.credentials_for(READING)
    }

    pub(crate) fn credentials_for(&self, scope: &str) -> Result<Credentials, BadAccess> {
        let failed = |e: google_cloud_auth::build_errors::Error| BadAccess::Credentials(e.to_string());
        match self {
            Access::Anonymous => Ok(anonymous::Builder::new().build()),
            Access::Default => credentials::Builder::default().with_scopes([scope]).build().map_err(failed),
            Access::File(file) => from_file(file, scope),
        }
    }
}

fn from_file(file: &Path, scope: &str) -> Result<Credentials, BadAccess> {
    let unreadable = |detail: String| BadAccess::File(file.to_owned(), detail);
    let text = std::fs::read(file).map_err(|e| unreadable(e.to_string()))?;
    // The error of the parser would quote the secret.
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|_| unreadable("it is no JSON".to_owned()))?;
    let kind = value.get("type").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
    let built = match kind.as_str() {
        "service_account" => {
            let scopes = service_account::AccessSpecifier::from_scopes([scope]);
            service_account::Builder::new(value).with_access_specifier(scopes).build()
        }
        "external_account" => external_account::Builder::new(value).with_scopes([scope]).build(),
        _ => return Err(BadAccess::Type(file.to_owned(), kind)),
    };
    built.map_err(|e| BadAccess::Credentials(e.to_string()))
}

/// The headers of a request that is not made by the SDK.
pub(crate) async fn headers(
    credentials: &Credentials,
) -> Result<reqwest::header::HeaderMap, google_cloud_gax::error::CredentialsError> {
    match credentials.headers(Default::default()).await? {
        CacheableResource::New { data, .. } => Ok(data),
        // Only said to who shows that it has some already.
        CacheableResource::NotModified => Ok(Default::default()),
    }
}
