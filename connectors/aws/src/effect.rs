//! AWS accounts as something to act on: what steps name `aws`, by the SDK, one call for each step.
//!
//! An operation is an IAM action, such as `iam:UpdateAccessKey`: what a plan shows is what is called, and what a policy must
//! allow.

mod access_key;
mod account;
mod bucket;
mod inline_policy;
mod storage_class;
mod target;

use crate::fault::policy_line;
use account::Account;
use async_trait::async_trait;
use aws_config::SdkConfig;
use prunella_schemas::port::{Configured, Effector, SourceError};
use prunella_schemas::{Step, Tenant};
use prunella_setting::{Acting, Cloud, Fault, Found};
use serde::Deserialize;
use std::sync::Arc;

/// What configurations call it, and the provider word of its steps.
pub const KIND: &str = "aws";
/// A name that nobody has, for calls that must change nothing.
const NOBODY: &str = "prunella-preflight-nobody";
/// Most accounts that one process acts on.
const ACCOUNTS_MAX: usize = 1_000;

/// What the configuration says about one account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The account's twelve digits. Nothing is done in another one.
    pub account: String,
    pub region: String,
    /// Profile of the AWS configuration; empty: the default chain.
    pub profile: String,
    /// A role to assume; empty: none.
    pub role_arn: String,
    pub external_id: String,
    /// Address of an emulator; empty: AWS.
    pub endpoint: String,
}

/// One thing that can be looked at and set.
#[async_trait]
trait Setting: Send + Sync {
    /// The IAM actions that it takes, those that only look included.
    fn operations(&self) -> &'static [&'static str];
    /// Whether one of them is allowed, by a call that changes nothing.
    async fn check(&self, account: &Account, operation: &'static str) -> Result<(), Fault>;
    /// Which account a target is in.
    fn account_of<'a>(&self, target: &'a str) -> Result<&'a str, Fault>;
    async fn find(&self, account: &Account, target: &str) -> Result<Found, Fault>;
    async fn set(&self, account: &Account, step: &Step, found: &Found) -> Result<String, Fault>;
    fn opened(&self, _step: &Step, _found: &Found) -> Vec<String> {
        Vec::new()
    }
}

/// Everything that can be set. A new one is a file here and a word in this list.
const SETTINGS: &[&dyn Setting] = &[
    &access_key::AccessKey,
    &inline_policy::InlinePolicy,
    &bucket::PublicAccess,
    &bucket::Encryption,
    &storage_class::StorageClass,
];

/// The accounts that steps may act on, each for its tenant alone.
struct Aws {
    accounts: Vec<(Tenant, Account)>,
}

/// Opens the accounts of a configuration as one effector. Nothing is asked of AWS yet.
pub async fn open(configured: Vec<Configured>) -> Result<Arc<dyn Effector>, SourceError> {
    if configured.len() > ACCOUNTS_MAX {
        return Err(SourceError::Invalid(format!("more than {ACCOUNTS_MAX} AWS accounts are configured")));
    }
    let mut accounts: Vec<(Tenant, Account)> = Vec::with_capacity(configured.len());
    for Configured { name, tenant, settings, .. } in configured {
        let invalid = |detail: String| SourceError::Invalid(format!("`{name}`: {detail}"));
        let settings: Settings = serde_json::from_value(settings).map_err(|e| invalid(e.to_string()))?;
        let account = Account::open(settings).await.map_err(invalid)?;
        if accounts.iter().any(|(_, known)| known.id == account.id) {
            return Err(invalid(format!("account {} is configured twice", account.id)));
        }
        accounts.push((tenant, account));
    }
    Ok(Arc::new(Acting(Aws { accounts })))
}

/// The same over configurations of the SDK, as tests have them.
pub fn over(accounts: Vec<(Tenant, String, SdkConfig)>) -> Arc<dyn Effector> {
    let accounts = accounts.into_iter().map(|(tenant, id, config)| (tenant, Account::over(id, &config)));
    Arc::new(Acting(Aws { accounts: accounts.collect() }))
}

fn setting(operation: &str) -> Result<(&'static dyn Setting, &'static str), Fault> {
    let named = |setting: &&'static dyn Setting| {
        let operation = setting.operations().iter().find(|known| **known == operation)?;
        Some((*setting, *operation))
    };
    let unknown = || Fault::Refused(format!("`{operation}` is nothing that can be done at AWS"));
    SETTINGS.iter().find_map(named).ok_or_else(unknown)
}

impl Aws {
    /// The account that a target is in, if it is one of the tenant's.
    fn account(&self, tenant: &Tenant, setting: &dyn Setting, target: &str) -> Result<&Account, Fault> {
        let id = setting.account_of(target)?;
        let is_it = |(whose, account): &&(Tenant, Account)| whose == tenant && account.id == id;
        let found = self.accounts.iter().find(is_it).map(|(_, account)| account);
        found.ok_or_else(|| {
            Fault::Refused(format!("account {id} is not configured under [[effector]] for tenant {tenant}"))
        })
    }
}

#[async_trait]
impl Cloud for Aws {
    fn provider(&self) -> &'static str {
        KIND
    }

    async fn check(&self, operation: &str) -> Result<(), Fault> {
        let (setting, operation) = setting(operation)?;
        for (_, account) in &self.accounts {
            account.identity().await?;
            setting.check(account, operation).await?;
        }
        Ok(())
    }

    async fn find(&self, tenant: &Tenant, operation: &str, target: &str) -> Result<Found, Fault> {
        let (setting, _) = setting(operation)?;
        setting.find(self.account(tenant, setting, target)?, target).await
    }

    async fn set(&self, tenant: &Tenant, step: &Step, found: &Found) -> Result<String, Fault> {
        let (setting, operation) = setting(&step.operation)?;
        let account = self.account(tenant, setting, &step.target)?;
        if found.value.get("is_ours").is_some_and(|ours| ours == true) {
            return Err(Fault::Refused(format!("{} is what we act as ourselves", step.target)));
        }
        let done = setting.set(account, step, found).await?;
        Ok(format!("{operation} in {}: {done}", account.id))
    }

    fn opened(&self, step: &Step, found: &Found) -> Vec<String> {
        setting(&step.operation).map(|(setting, _)| setting.opened(step, found)).unwrap_or_default()
    }
}

/// The statement that lets an operation happen, for whoever must add it.
fn lacks(operation: &str, resource: &str) -> Fault {
    Fault::Refused(format!(
        "{operation} is not allowed; the policy lacks {}",
        policy_line(operation, resource)
    ))
}
