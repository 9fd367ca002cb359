//! An inline policy of a user or a role, of one name: its document, or none.

use super::account::{Account, Clients, allowed, fault};
use super::target::Identity;
use super::{NOBODY, Setting, lacks};
use crate::fault::Call;
use async_trait::async_trait;
use prunella_schemas::Step;
use prunella_setting::{Fault, Found};
use serde_json::{Value, json};

const LIST_USER: &str = "iam:ListUserPolicies";
const GET_USER: &str = "iam:GetUserPolicy";
const PUT_USER: &str = "iam:PutUserPolicy";
const DELETE_USER: &str = "iam:DeleteUserPolicy";
const LIST_ROLE: &str = "iam:ListRolePolicies";
const GET_ROLE: &str = "iam:GetRolePolicy";
const PUT_ROLE: &str = "iam:PutRolePolicy";
const DELETE_ROLE: &str = "iam:DeleteRolePolicy";
/// Refused as malformed, so that asking whether it may be put never puts one.
const NO_DOCUMENT: &str = "{}";

pub struct InlinePolicy;

#[async_trait]
impl Setting for InlinePolicy {
    fn operations(&self) -> &'static [&'static str] {
        &[LIST_USER, GET_USER, PUT_USER, DELETE_USER, LIST_ROLE, GET_ROLE, PUT_ROLE, DELETE_ROLE]
    }

    async fn check(&self, account: &Account, operation: &'static str) -> Result<(), Fault> {
        let form = if operation.contains("Role") { "role" } else { "user" };
        let resource = format!("arn:aws:iam::{}:{form}/*", account.id);
        let call = Call { action: operation, resource: resource.clone() };
        let iam = &account.writing.iam;
        let (user, role) = (NOBODY, NOBODY);
        match operation {
            LIST_USER => allowed(&call, iam.list_user_policies().user_name(user).send().await),
            GET_USER => {
                allowed(&call, iam.get_user_policy().user_name(user).policy_name(NOBODY).send().await)
            }
            DELETE_USER => {
                allowed(&call, iam.delete_user_policy().user_name(user).policy_name(NOBODY).send().await)
            }
            PUT_USER => {
                let put = iam.put_user_policy().user_name(user).policy_name(NOBODY);
                allowed(&call, put.policy_document(NO_DOCUMENT).send().await)
            }
            LIST_ROLE => allowed(&call, iam.list_role_policies().role_name(role).send().await),
            GET_ROLE => {
                allowed(&call, iam.get_role_policy().role_name(role).policy_name(NOBODY).send().await)
            }
            DELETE_ROLE => {
                allowed(&call, iam.delete_role_policy().role_name(role).policy_name(NOBODY).send().await)
            }
            PUT_ROLE => {
                let put = iam.put_role_policy().role_name(role).policy_name(NOBODY);
                allowed(&call, put.policy_document(NO_DOCUMENT).send().await)
            }
            _ => Err(lacks(operation, &resource)),
        }
    }

    fn account_of<'a>(&self, target: &'a str) -> Result<&'a str, Fault> {
        Ok(Identity::parse(target)?.account)
    }

    /// By the list first: an identity without the policy is another thing than no identity.
    async fn find(&self, account: &Account, target: &str) -> Result<Found, Fault> {
        let identity = Identity::parse(target)?;
        let document = match names(&account.reading, &identity).await?.iter().any(|n| n == identity.part) {
            true => document(&account.reading, &identity).await?,
            false => Value::Null,
        };
        let is_ours = account.identity().await?.is(identity.is_role, identity.name);
        Ok(Found { value: json!({ "document": document, "is_ours": is_ours }), version: String::new() })
    }

    async fn set(&self, account: &Account, step: &Step, _: &Found) -> Result<String, Fault> {
        let identity = Identity::parse(&step.target)?;
        let Identity { is_role, name, part, .. } = identity;
        let call = |action: &'static str| Call { action, resource: identity.principal.to_owned() };
        let iam = &account.writing.iam;
        let done = match (step.desired.get("document"), is_role) {
            (Some(Value::Null), true) => {
                let sent = iam.delete_role_policy().role_name(name).policy_name(part).send().await;
                sent.map(drop).map_err(|e| fault(&call(DELETE_ROLE), &e))
            }
            (Some(Value::Null), false) => {
                let sent = iam.delete_user_policy().user_name(name).policy_name(part).send().await;
                sent.map(drop).map_err(|e| fault(&call(DELETE_USER), &e))
            }
            (Some(document @ Value::Object(_)), true) => {
                let put = iam.put_role_policy().role_name(name).policy_name(part);
                let sent = put.policy_document(document.to_string()).send().await;
                sent.map(drop).map_err(|e| fault(&call(PUT_ROLE), &e))
            }
            (Some(document @ Value::Object(_)), false) => {
                let put = iam.put_user_policy().user_name(name).policy_name(part);
                let sent = put.policy_document(document.to_string()).send().await;
                sent.map(drop).map_err(|e| fault(&call(PUT_USER), &e))
            }
            _ => Err(Fault::Refused("a policy is a document, or null for none".to_owned())),
        };
        done.map(|()| format!("policy {part} of {name} is as desired"))
    }
}

async fn names(clients: &Clients, identity: &Identity<'_>) -> Result<Vec<String>, Fault> {
    let resource = identity.principal.to_owned();
    match identity.is_role {
        true => {
            let call = Call { action: LIST_ROLE, resource };
            let listed = clients.iam.list_role_policies().role_name(identity.name).into_paginator().items();
            listed.send().collect::<Result<Vec<_>, _>>().await.map_err(|e| fault(&call, &e))
        }
        false => {
            let call = Call { action: LIST_USER, resource };
            let listed = clients.iam.list_user_policies().user_name(identity.name).into_paginator().items();
            listed.send().collect::<Result<Vec<_>, _>>().await.map_err(|e| fault(&call, &e))
        }
    }
}

async fn document(clients: &Clients, identity: &Identity<'_>) -> Result<Value, Fault> {
    let Identity { name, part, principal, .. } = identity;
    let resource = (*principal).to_owned();
    let text = match identity.is_role {
        true => {
            let call = Call { action: GET_ROLE, resource };
            let got = clients.iam.get_role_policy().role_name(*name).policy_name(*part).send().await;
            got.map_err(|e| fault(&call, &e))?.policy_document
        }
        false => {
            let call = Call { action: GET_USER, resource };
            let got = clients.iam.get_user_policy().user_name(*name).policy_name(*part).send().await;
            got.map_err(|e| fault(&call, &e))?.policy_document
        }
    };
    parsed(&text).ok_or_else(|| Fault::Refused(format!("policy {part} of {name} is no JSON")))
}

/// IAM gives documents as URLs have them (RFC 3986).
fn parsed(text: &str) -> Option<Value> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_as_urls_have_it() {
        for (text, want) in [
            ("%7B%22a%22%3A%22b%20c%22%7D", Some(json!({ "a": "b c" }))),
            (r#"{"a":"b c"}"#, Some(json!({ "a": "b c" }))),
            ("%7", None),
            ("%zz", None),
            ("", None),
        ] {
            assert_eq!(parsed(text), want, "{text}");
        }
    }
}
