//! An access key of a user: active or not. The user's other keys are part of what is found, so that a new one is seen.

use super::account::{Account, allowed, fault};
use super::target::Identity;
use super::{NOBODY, Setting, lacks};
use crate::fault::Call;
use async_trait::async_trait;
use aws_sdk_iam::types::StatusType;
use prunella_schemas::Step;
use prunella_setting::{Fault, Found};
use serde_json::{Map, Value, json};

const LIST: &str = "iam:ListAccessKeys";
const UPDATE: &str = "iam:UpdateAccessKey";
/// Nobody has it.
const NO_KEY: &str = "AKIAPRUNELLAPREFLIGHT";

pub struct AccessKey;

#[async_trait]
impl Setting for AccessKey {
    fn operations(&self) -> &'static [&'static str] {
        &[LIST, UPDATE]
    }

    async fn check(&self, account: &Account, operation: &'static str) -> Result<(), Fault> {
        let resource = format!("arn:aws:iam::{}:user/*", account.id);
        let call = Call { action: operation, resource: resource.clone() };
        match operation {
            LIST => allowed(&call, account.reading.iam.list_access_keys().user_name(NOBODY).send().await),
            UPDATE => {
                let update = account.reading.iam.update_access_key().user_name(NOBODY).access_key_id(NO_KEY);
                allowed(&call, update.status(StatusType::Inactive).send().await)
            }
            _ => Err(lacks(operation, &resource)),
        }
    }

    fn account_of<'a>(&self, target: &'a str) -> Result<&'a str, Fault> {
        Ok(user(target)?.account)
    }

    async fn find(&self, account: &Account, target: &str) -> Result<Found, Fault> {
        let user = user(target)?;
        let call = Call { action: LIST, resource: user.principal.to_owned() };
        let mut keys = Map::new();
        let mut pages =
            account.reading.iam.list_access_keys().user_name(user.name).into_paginator().items().send();
        while let Some(key) = pages.next().await {
            let key = key.map_err(|e| fault(&call, &e))?;
            let (Some(id), Some(status)) = (key.access_key_id(), key.status()) else { continue };
            keys.insert(id.to_owned(), status.as_str().into());
        }
        let Some(status) = keys.get(user.part).cloned() else {
            return Err(Fault::Missing(format!("user {} has no access key {}", user.name, user.part)));
        };
        let is_ours = account.identity().await?.is(false, user.name);
        Ok(Found {
            value: json!({ "status": status, "keys": keys, "is_ours": is_ours }),
            version: String::new(),
        })
    }

    async fn set(&self, account: &Account, step: &Step, _: &Found) -> Result<String, Fault> {
        let user = user(&step.target)?;
        let status = match step.desired.get("status").and_then(Value::as_str) {
            Some("Active") => StatusType::Active,
            Some("Inactive") => StatusType::Inactive,
            _ => return Err(Fault::Refused("a key is made `Active` or `Inactive`".to_owned())),
        };
        let call = Call { action: UPDATE, resource: user.principal.to_owned() };
        let update = account.writing.iam.update_access_key().user_name(user.name).access_key_id(user.part);
        update.status(status.clone()).send().await.map_err(|e| fault(&call, &e))?;
        Ok(format!("key {} of {} is {status}", user.part, user.name))
    }

    /// Keys that are active and were not there when the step was planned.
    fn opened(&self, step: &Step, found: &Found) -> Vec<String> {
        let Ok(user) = user(&step.target) else { return Vec::new() };
        let Some(known) = step.prior.as_ref().and_then(|prior| prior.get("keys")) else { return Vec::new() };
        let now = found.value.get("keys").and_then(Value::as_object).into_iter().flatten();
        let fresh = now.filter(|(id, status)| *status == "Active" && known.get(id.as_str()).is_none());
        fresh.map(|(id, _)| format!("{}#{id}", user.principal)).collect()
    }
}

/// Keys belong to users alone.
fn user(target: &str) -> Result<Identity<'_>, Fault> {
    let identity = Identity::parse(target)?;
    let no_user = || Fault::Refused(format!("`{target}` is no access key of a user"));
    (!identity.is_role).then_some(identity).ok_or_else(no_user)
}
