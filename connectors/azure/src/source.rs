//! Logs that Azure Monitor writes into storage accounts, as sources.

use crate::access::{Access, Account, BadAccount};
use crate::check;
use crate::container::Container;
use async_trait::async_trait;
use prunella_bucket::Reader;
use prunella_schemas::port::{Checkup, Cursor, Page, PortError, Source};
use prunella_schemas::{Tenant, Timestamp};
use serde::Deserialize;

/// What is in the logs, which names their translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Kind {
    #[serde(rename = "azure.activity")]
    Activity,
    #[serde(rename = "azure.signin")]
    Signin,
    #[serde(rename = "azure.audit")]
    Audit,
    #[serde(rename = "azure.storage")]
    Storage,
}

/// One source: the logs of one kind in one storage account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The instance; its cursor is kept under this name.
    pub name: String,
    #[serde(rename = "source")]
    pub kind: Kind,
    #[serde(default)]
    pub tenant: Tenant,
    /// `https://ACCOUNT.blob.core.windows.net`
    pub endpoint: String,
    #[serde(default)]
    pub access: Access,
    /// Instead of the containers into which Azure Monitor writes logs of this kind.
    #[serde(default)]
    pub containers: Vec<String>,
    /// What was written before is not read.
    #[serde(default)]
    pub since: Timestamp,
}

/// The logs of a [`Config`].
pub struct Logs {
    config: Config,
    account: Account,
    reader: Reader<Container>,
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

impl Logs {
    pub fn new(config: Config) -> Result<Self, BadAccount> {
        let account = Account::new(&config.endpoint, config.access.clone())?;
        let own = config.containers.iter().map(String::as_str);
        let names: Vec<&str> = match config.containers.is_empty() {
            true => config.kind.containers().to_vec(),
            false => own.collect(),
        };
        let open = |name: &str| -> Result<(String, Container), BadAccount> {
            let container = Container { name: name.to_owned(), client: account.container(name)? };
            Ok((name.to_owned(), container))
        };
        let containers = names.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let reader = Reader::new(config.kind.source(), config.tenant.clone(), config.since, containers);
        Ok(Logs { config, account, reader })
    }
}

#[async_trait]
impl Source for Logs {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn read(&self, cursor: &Cursor) -> Result<Page, PortError> {
        self.reader.read(cursor).await
    }

    async fn check(&self) -> Checkup {
        let containers = self.reader.buckets().iter().map(|(_, container)| container);
        check::check(&self.account, containers, !self.config.containers.is_empty()).await
    }
}
