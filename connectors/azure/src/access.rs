//! Who we are to a storage account: an identity of Entra ID, a shared access signature, or an account key.

use crate::shared_key::SharedKey;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{ClientOptions, Context, ExponentialRetryOptions, Request, RetryOptions, Url};
use azure_core::time::Duration;
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential,
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use std::path::PathBuf;
use std::sync::Arc;

/// The SDK tries so often and so long before a call counts as failed; the reader comes again later anyway.
const RETRIES_MAX: u32 = 2;
const RETRY_SECONDS_MAX: i64 = 15;

/// How to prove who we are. Secrets stand in files, which are read again for every call, so that a new one counts at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Workload identity where the environment has one, else the managed identity of this machine, else whoever is signed
    /// in with `az` or `azd`.
    #[default]
    Identity,
    /// The user-assigned managed identity with this client id.
    ManagedIdentity(String),
    /// A file that holds a shared access signature: `sv=..&sig=..`.
    SasFile(PathBuf),
    /// A file that holds an account key, in base64.
    SharedKeyFile(PathBuf),
}

/// A storage account and how we reach it.
#[derive(Clone, Debug)]
pub struct Account {
    /// `https://ACCOUNT.blob.core.windows.net/`
    pub endpoint: Url,
    pub access: Access,
    credential: Option<Arc<dyn TokenCredential>>,
    policy: Option<Arc<dyn Policy>>,
}

#[derive(Debug, thiserror::Error)]
pub enum BadAccount {
    #[error("endpoint `{0}` is no URL of a storage account; write https://ACCOUNT.blob.core.windows.net")]
    Endpoint(String),
    #[error("endpoint `{0}` holds a shared access signature; put it into a file and name that as `sas_file`")]
    Secret(String),
    #[error(
        "no identity to be had: {0}; run `az login`, give this machine a managed identity, or name a `sas_file`"
    )]
    Identity(String),
    #[error("name at most one of `client_id`, `sas_file` and `shared_key_file`")]
    Several,
    #[error("`since` is `{0}`; write a time such as 2026-11-01T00:00:00Z")]
    Since(String),
    #[error("container `{0}` has no URL: {1}")]
    Container(String, String),
}

impl Account {
    pub fn new(endpoint: &str, access: Access) -> Result<Self, BadAccount> {
        let bad = || BadAccount::Endpoint(endpoint.chars().take_while(|c| *c != '?').collect());
        let mut url = Url::parse(endpoint).map_err(|_| bad())?;
        if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
            return Err(bad());
        }
        if url.query().is_some() {
            url.set_query(None);
            return Err(BadAccount::Secret(url.into()));
        }
        let account = account_name(&url).ok_or_else(bad)?;
        let policy: Option<Arc<dyn Policy>> = match &access {
            Access::Identity | Access::ManagedIdentity(_) => None,
            Access::SasFile(file) => Some(Arc::new(Sas { file: file.clone() })),
            Access::SharedKeyFile(file) => Some(Arc::new(SharedKey { account, file: file.clone() })),
        };
        let failed = |e: azure_core::Error| BadAccount::Identity(e.to_string());
        let credential: Option<Arc<dyn TokenCredential>> = match &access {
            Access::Identity => Some(Arc::new(Chain::new().map_err(failed)?)),
            Access::ManagedIdentity(client) => {
                let user_assigned_id = Some(UserAssignedId::ClientId(client.clone()));
                let options = ManagedIdentityCredentialOptions { user_assigned_id, ..Default::default() };
                Some(ManagedIdentityCredential::new(Some(options)).map_err(failed)?)
            }
            Access::SasFile(_) | Access::SharedKeyFile(_) => None,
        };
        Ok(Account { endpoint: url, access, credential, policy })
    }

    /// A client of one container.
    pub fn container(&self, name: &str) -> Result<BlobContainerClient, BadAccount> {
        self.container_trying(name, RETRIES_MAX)
    }

    /// The same for calls that change something: sent once, and what became of a lost one is read.
    pub(crate) fn container_once(&self, name: &str) -> Result<BlobContainerClient, BadAccount> {
        self.container_trying(name, 0)
    }

    /// As the endpoint names the account.
    pub(crate) fn name(&self) -> Option<String> {
        account_name(&self.endpoint)
    }

    fn container_trying(&self, name: &str, retries: u32) -> Result<BlobContainerClient, BadAccount> {
        let bad = |detail: &str| BadAccount::Container(name.to_owned(), detail.to_owned());
        let mut url = self.endpoint.clone();
        let mut path = url.path_segments_mut().map_err(|()| bad("the endpoint has no path"))?;
        path.pop_if_empty().push(name);
        drop(path);
        let retry = ExponentialRetryOptions {
            max_retries: retries,
            max_total_elapsed: Duration::seconds(RETRY_SECONDS_MAX),
            ..Default::default()
        };
        let options = BlobContainerClientOptions {
            client_options: ClientOptions {
                per_try_policies: self.policy.iter().cloned().collect(),
                retry: RetryOptions::exponential(retry),
                ..Default::default()
            },
            ..Default::default()
        };
        BlobContainerClient::new(url, self.credential.clone(), Some(options)).map_err(|e| bad(&e.to_string()))
    }
}

/// The first part of the host, or of the path where the host is an address, as with the emulator.
fn account_name(endpoint: &Url) -> Option<String> {
    let host = endpoint.host_str()?;
    let by_path = host == "localhost" || host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    let name = match by_path {
        true => endpoint.path_segments()?.next()?,
        false => host.split('.').next()?,
    };
    (!name.is_empty()).then(|| name.to_owned())
}

/// Puts the signature of the file onto every request.
#[derive(Debug)]
struct Sas {
    file: PathBuf,
}

#[async_trait::async_trait]
impl Policy for Sas {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let signature = read_secret(&self.file).await?;
        let unsigned: Vec<(String, String)> = request.url().query_pairs().into_owned().collect();
        let url = request.url_mut();
        url.set_query(Some(signature.trim_start_matches('?')));
        // A repeated try has the old signature still on it.
        let signed: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        let ours = unsigned.into_iter().filter(|(name, _)| !signed.contains(name));
        url.query_pairs_mut().extend_pairs(ours);
        send_on(ctx, request, next).await
    }
}

pub(crate) async fn send_on(
    ctx: &Context<'_>,
    request: &mut Request,
    next: &[Arc<dyn Policy>],
) -> PolicyResult {
    let Some((first, rest)) = next.split_first() else {
        let kind = azure_core::error::ErrorKind::Other;
        return Err(azure_core::Error::with_message(kind, "no transport behind the policies"));
    };
    first.send(ctx, request, rest).await
}

/// What a file of a secret holds. The error names the file, never its content.
pub(crate) async fn read_secret(file: &PathBuf) -> azure_core::Result<String> {
    match tokio::fs::read_to_string(file).await {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) => {
            let kind = azure_core::error::ErrorKind::Credential;
            Err(azure_core::Error::with_message(kind, format!("cannot read {}: {e}", file.display())))
        }
    }
}

/// The first of several identities that gets a token; that one from then on.
#[derive(Debug)]
struct Chain {
    credentials: Vec<Arc<dyn TokenCredential>>,
    chosen: std::sync::OnceLock<Arc<dyn TokenCredential>>,
}

impl Chain {
    fn new() -> azure_core::Result<Self> {
        let mut credentials: Vec<Arc<dyn TokenCredential>> = Vec::new();
        // Fails where the environment names none, which is the answer to the question.
        if let Ok(workload) = WorkloadIdentityCredential::new(None) {
            credentials.push(workload);
        }
        credentials.push(ManagedIdentityCredential::new(None)?);
        credentials.push(DeveloperToolsCredential::new(None)?);
        Ok(Chain { credentials, chosen: std::sync::OnceLock::new() })
    }
}

#[async_trait::async_trait]
impl TokenCredential for Chain {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if let Some(chosen) = self.chosen.get() {
            return chosen.get_token(scopes, options).await;
        }
        let mut problems = Vec::new();
        for credential in &self.credentials {
            match credential.get_token(scopes, options.clone()).await {
                Ok(token) => {
                    let _ = self.chosen.set(credential.clone());
                    return Ok(token);
                }
                Err(e) => problems.push(e.to_string()),
            }
        }
        let kind = azure_core::error::ErrorKind::Credential;
        Err(azure_core::Error::with_message(
            kind,
            format!("no identity gave a token: {}", problems.join("; ")),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_in_the_host_or_in_the_path() {
        let cases = [
            ("https://logs.blob.core.windows.net", Some("logs")),
            ("https://logs.blob.core.windows.net/", Some("logs")),
            ("http://127.0.0.1:10000/devstoreaccount1", Some("devstoreaccount1")),
            ("http://localhost:10000/devstoreaccount1/", Some("devstoreaccount1")),
            ("http://127.0.0.1:10000/", None),
        ];
        for (endpoint, expected) in cases {
            assert_eq!(account_name(&Url::parse(endpoint).unwrap()).as_deref(), expected, "{endpoint}");
        }
    }

    #[test]
    fn a_secret_in_the_configuration_is_refused_without_being_shown() {
        let access = || Access::SasFile("sas".into());
        for endpoint in
            ["https://logs.blob.core.windows.net/?sv=1&sig=secret", "logs", "ftp://logs/?sig=secret"]
        {
            let refused = Account::new(endpoint, access()).unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
        assert!(Account::new("https://logs.blob.core.windows.net", access()).is_ok());
    }
}
