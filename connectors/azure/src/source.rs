//! Logs that Azure Monitor writes into storage accounts, as sources.

use crate::access::{Access, Account, BadAccount};
use crate::check;
use crate::container::Container;
use async_trait::async_trait;
use prunella_bucket::Reader;
use prunella_schemas::port::{Checkup, Configured, Cursor, Page, Source, SourceError};
use prunella_schemas::{Tenant, Timestamp};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;

/// What is in the logs; it has the name of its translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Activity,
    Signin,
    Audit,
    Storage,
}

/// What the operator says about the logs of one kind in one storage account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `https://ACCOUNT.blob.core.windows.net`
    pub endpoint: String,
    /// The client id of a user-assigned managed identity.
    pub client_id: Option<String>,
    /// A file that holds a shared access signature.
    pub sas_file: Option<PathBuf>,
    /// A file that holds an account key.
    pub shared_key_file: Option<PathBuf>,
    /// Instead of the containers into which Azure Monitor writes logs of this kind.
    #[serde(default)]
    pub containers: Vec<String>,
    /// What was written before, such as `2026-11-01T00:00:00Z`, is not read.
    pub since: Option<String>,
}

/// The logs of one kind in one storage account.
pub struct Logs {
    name: String,
    /// The operator has named the containers.
    named: bool,
    account: Account,
    reader: Reader<Container>,
}

/// The sources of this crate.
pub const KINDS: [Kind; 4] = [Kind::Activity, Kind::Signin, Kind::Audit, Kind::Storage];

/// The source that the configuration describes.
pub fn open(configured: Configured) -> Result<Arc<dyn Source>, SourceError> {
    let Configured { name, kind, tenant, settings, .. } = configured;
    let invalid = |detail: String| SourceError::Invalid(format!("source {name}: {detail}"));
    let found = KINDS.into_iter().find(|known| known.source() == kind);
    let kind = found.ok_or_else(|| invalid(format!("`{kind}` is no source of Azure")))?;
    let settings = serde_json::from_value(settings).map_err(|e| invalid(e.to_string()))?;
    let logs = Logs::new(name.clone(), kind, tenant, settings).map_err(|e| invalid(e.to_string()))?;
    Ok(Arc::new(logs))
}

impl Kind {
    /// The name of the translator.
    pub fn source(self) -> &'static str {
        match self {
            Kind::Activity => "azure.activity",
            Kind::Signin => "azure.signin",
            Kind::Audit => "azure.audit",
            Kind::Storage => "azure.storage",
        }
    }

    /// Where Azure Monitor puts them. It makes a container when it writes to it first.
    pub fn containers(self) -> &'static [&'static str] {
        match self {
            Kind::Activity => &["insights-activity-logs"],
            Kind::Signin => &[
                "insights-logs-signinlogs",
                "insights-logs-noninteractiveusersigninlogs",
                "insights-logs-serviceprincipalsigninlogs",
                "insights-logs-managedidentitysigninlogs",
            ],
            Kind::Audit => &["insights-logs-auditlogs"],
            Kind::Storage => {
                &["insights-logs-storageread", "insights-logs-storagewrite", "insights-logs-storagedelete"]
            }
        }
    }
}

impl Settings {
    fn access(&self) -> Result<Access, BadAccount> {
        match (&self.client_id, &self.sas_file, &self.shared_key_file) {
            (None, None, None) => Ok(Access::Identity),
            (Some(client), None, None) => Ok(Access::ManagedIdentity(client.clone())),
            (None, Some(file), None) => Ok(Access::SasFile(file.clone())),
            (None, None, Some(file)) => Ok(Access::SharedKeyFile(file.clone())),
            _ => Err(BadAccount::Several),
        }
    }
}

impl Logs {
    pub fn new(name: String, kind: Kind, tenant: Tenant, settings: Settings) -> Result<Self, BadAccount> {
        let account = Account::new(&settings.endpoint, settings.access()?)?;
        let since = match &settings.since {
            None => Timestamp::ZERO,
            Some(text) => Timestamp::parse(text).ok_or_else(|| BadAccount::Since(text.clone()))?,
        };
        let named = !settings.containers.is_empty();
        let names = match named {
            true => settings.containers,
            false => kind.containers().iter().map(|name| (*name).to_owned()).collect(),
        };
        let open = |name: String| -> Result<(String, Container), BadAccount> {
            let client = account.container(&name)?;
            Ok((name.clone(), Container { name, client }))
        };
        let containers = names.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let reader = Reader::new(kind.source(), tenant, since, containers);
        Ok(Logs { name, named, account, reader })
    }
}

#[async_trait]
impl Source for Logs {
    fn name(&self) -> &str {
        &self.name
    }

    async fn read(&self, cursor: &Cursor) -> Result<Page, SourceError> {
        self.reader.read(cursor).await
    }

    async fn check(&self) -> Checkup {
        let containers = self.reader.buckets().iter().map(|(_, container)| container);
        check::check(&self.account, containers, self.named).await
    }
}
