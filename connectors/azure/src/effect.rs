//! Storage accounts of Azure as something to act on: what steps name `azure`, by the SDK, one call for each step.
//!
//! Operations are named as the account's own log names them, such as `SetContainerACL`.

mod setting;
mod target;

use crate::access::{Access, Account};
use async_trait::async_trait;
use prunella_schemas::port::{Configured, Effector, SourceError};
use prunella_schemas::{Step, Tenant};
use prunella_setting::{Acting, Cloud, Fault, Found};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use target::Place;

/// What configurations call it, and the provider word of its steps.
pub const KIND: &str = "azure";
pub const GET_ACL: &str = "GetContainerACL";
pub const SET_ACL: &str = "SetContainerACL";
pub const GET_PROPERTIES: &str = "GetBlobProperties";
pub const SET_TIER: &str = "SetBlobTier";
/// A container that nobody has: asking for it shows whether we may, and changes nothing.
const NOBODY: &str = "prunella-preflight-nobody";
/// Most storage accounts that one process acts on.
const ACCOUNTS_MAX: usize = 1_000;

/// What the configuration says about one storage account.
#[derive(Clone, Debug, Deserialize)]
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
}

/// The storage accounts that steps may act on, each for its tenant alone.
struct Azure {
    accounts: Vec<(Tenant, String, Account)>,
}

/// Opens the storage accounts of a configuration as one effector. Nothing is asked of Azure yet.
pub fn open(configured: Vec<Configured>) -> Result<Arc<dyn Effector>, SourceError> {
    if configured.len() > ACCOUNTS_MAX {
        return Err(SourceError::Invalid(format!(
            "more than {ACCOUNTS_MAX} storage accounts are configured"
        )));
    }
    let mut accounts: Vec<(Tenant, String, Account)> = Vec::with_capacity(configured.len());
    for Configured { name, tenant, settings, .. } in configured {
        let invalid = |detail: String| SourceError::Invalid(format!("`{name}`: {detail}"));
        let settings: Settings = serde_json::from_value(settings).map_err(|e| invalid(e.to_string()))?;
        let account = Account::new(&settings.endpoint, settings.access().map_err(invalid)?);
        let account = account.map_err(|e| invalid(e.to_string()))?;
        let id = account.name().unwrap_or_default();
        if accounts.iter().any(|(_, known, _)| *known == id) {
            return Err(invalid(format!("storage account {id} is configured twice")));
        }
        accounts.push((tenant, id, account));
    }
    Ok(Arc::new(Acting(Azure { accounts })))
}

impl Settings {
    fn access(&self) -> Result<Access, String> {
        match (&self.client_id, &self.sas_file, &self.shared_key_file) {
            (None, None, None) => Ok(Access::Identity),
            (Some(client), None, None) => Ok(Access::ManagedIdentity(client.clone())),
            (None, Some(file), None) => Ok(Access::SasFile(file.clone())),
            (None, None, Some(file)) => Ok(Access::SharedKeyFile(file.clone())),
            _ => Err("name at most one of `client_id`, `sas_file` and `shared_key_file`".to_owned()),
        }
    }
}

impl Azure {
    fn place<'a>(&self, tenant: &Tenant, target: &'a str) -> Result<(&Account, Place<'a>), Fault> {
        let place = Place::parse(target)?;
        let is_it = |(whose, id, _): &&(Tenant, String, Account)| whose == tenant && id == place.account;
        match self.accounts.iter().find(is_it) {
            Some((_, _, account)) => Ok((account, place)),
            None => Err(Fault::Refused(format!(
                "storage account {} is not configured under [[effector]] for tenant {tenant}",
                place.account
            ))),
        }
    }
}

#[async_trait]
impl Cloud for Azure {
    fn provider(&self) -> &'static str {
        KIND
    }

    async fn check(&self, operation: &str) -> Result<(), Fault> {
        for (_, _, account) in &self.accounts {
            let place = Place { account: "", container: NOBODY, blob: "none" };
            let tried = match operation {
                GET_ACL => setting::acl(account, &place).await.map(drop),
                SET_ACL => setting::set_public(account, &place, None, Vec::new(), "").await,
                GET_PROPERTIES => setting::tier(account, &place).await.map(drop),
                SET_TIER => setting::set_tier(account, &place, "Hot").await,
                _ => Err(Fault::Refused(format!("`{operation}` is nothing that can be done at Azure"))),
            };
            match tried {
                Ok(()) | Err(Fault::Missing(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    async fn find(&self, tenant: &Tenant, operation: &str, target: &str) -> Result<Found, Fault> {
        let (account, place) = self.place(tenant, target)?;
        match (operation, place.blob.is_empty()) {
            (GET_ACL | SET_ACL, true) => setting::acl(account, &place).await,
            (GET_PROPERTIES | SET_TIER, false) => setting::tier(account, &place).await,
            _ => Err(Fault::Refused(format!("`{operation}` says nothing of `{target}`"))),
        }
    }

    async fn set(&self, tenant: &Tenant, step: &Step, found: &Found) -> Result<String, Fault> {
        let (account, place) = self.place(tenant, &step.target)?;
        let wanted = |part: &str| step.desired.get(part).and_then(|value| value.as_str());
        let bad = || Fault::Refused(format!("`{}` is not what {} sets", step.desired, step.operation));
        match step.operation.as_str() {
            SET_ACL => {
                let public = setting::public_of(wanted("public_access").ok_or_else(bad)?).ok_or_else(bad)?;
                let kept = setting::identifiers(account, &place).await?;
                setting::set_public(account, &place, public, kept, &found.version).await?;
            }
            SET_TIER => setting::set_tier(account, &place, wanted("tier").ok_or_else(bad)?).await?,
            _ => return Err(bad()),
        }
        Ok(format!("{} of {} in {}", step.operation, step.desired, step.target))
    }
}
