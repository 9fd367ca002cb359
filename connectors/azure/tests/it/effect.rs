//! Steps on Azurite by the real SDK: a container closed, a blob archived, and both given back.

use crate::bench::{ACCOUNT, Azurite, bench, put, refusal};
use azure_storage_blob::models::{
    AccessPolicy, BlobContainerClientSetAccessPolicyOptions, PublicAccessType, SignedIdentifier,
    SignedIdentifiers,
};
use prunella_azure::effect::{GET_ACL, GET_PROPERTIES, SET_ACL, SET_TIER, open};
use prunella_contract::{Asked, Loss};
use prunella_schemas::plan::{Outcome, Probe, Read};
use prunella_schemas::port::{Configured, Effector};
use prunella_schemas::{Id, Step, Tenant, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

fn effector(azurite: &Azurite) -> Arc<dyn Effector> {
    let endpoint = format!("{}/{ACCOUNT}", azurite.gate.url);
    let configured = Configured {
        name: "files".into(),
        kind: "azure".into(),
        tenant: Tenant::default(),
        settings: json!({ "endpoint": endpoint, "shared_key_file": azurite.key_file }),
        clock: prunella_runtime::clock::wall(),
    };
    open(vec![configured]).unwrap()
}

async fn read(azure: &Arc<dyn Effector>, operation: &str, target: &str) -> Value {
    let what = Read { provider: "azure".into(), operation: operation.into(), target: target.into() };
    azure.read(&Tenant::default(), &what).await.unwrap().value
}

async fn apply(azure: &Arc<dyn Effector>, step: &Step) -> (&'static str, String) {
    match azure.apply(&Tenant::default(), step, Id::default()).await {
        Outcome::Done { detail } => ("done", detail),
        Outcome::Unknown { detail } => ("unknown", detail),
        Outcome::Failed { detail } => ("failed", detail),
        Outcome::Conflict { detail } => ("conflict", detail),
    }
}

async fn stands(azure: &Arc<dyn Effector>, step: &Step) -> bool {
    let probe = azure.probe(&Tenant::default(), step, "", Timestamp::ZERO).await;
    matches!(probe, Probe::Held { .. })
}

fn step(operation: &str, target: &str, desired: Value, prior: Value) -> Step {
    let prior = Some(prior);
    Step { provider: "azure".into(), operation: operation.into(), target: target.into(), desired, prior }
}

async fn policies(azurite: &Azurite) -> Vec<Option<String>> {
    let told = azurite.client.get_access_policy(None).await.unwrap().into_model().unwrap();
    told.items.unwrap_or_default().into_iter().map(|item| item.id).collect()
}

#[tokio::test]
async fn a_container_is_closed_and_opened_again_and_its_policies_stay() {
    let Some(azurite) = bench().await else { return };
    let azure = effector(&azurite);
    let policy = AccessPolicy { permission: Some("r".into()), ..Default::default() };
    let item = SignedIdentifier { id: Some("auditors".into()), access_policy: Some(policy) };
    let list = SignedIdentifiers { items: Some(vec![item]) };
    let open = BlobContainerClientSetAccessPolicyOptions {
        access: Some(PublicAccessType::Container),
        ..Default::default()
    };
    azurite.client.set_access_policy(list.try_into().unwrap(), Some(open)).await.unwrap();
    let target = format!("azure:container:{ACCOUNT}:{}", azurite.container);
    let before = read(&azure, GET_ACL, &target).await;
    assert_eq!(before, json!({ "public_access": "container" }));
    let close = step(SET_ACL, &target, json!({ "public_access": "none" }), before.clone());
    let (outcome, why) = apply(&azure, &close).await;
    assert_eq!(outcome, "done", "{why}");
    assert!(stands(&azure, &close).await);
    assert_eq!(policies(&azurite).await, [Some("auditors".to_owned())]);
    let found = read(&azure, GET_ACL, &target).await;
    assert_eq!(found, json!({ "public_access": "none" }));
    let back = step(SET_ACL, &target, before, found.clone());
    let unplanned =
        step(SET_ACL, &target, json!({ "public_access": "blob" }), json!({ "public_access": "container" }));
    assert_eq!(apply(&azure, &unplanned).await.0, "conflict");
    assert_eq!(apply(&azure, &back).await.0, "done");
    assert_eq!(read(&azure, GET_ACL, &target).await, json!({ "public_access": "container" }));
    assert!(!stands(&azure, &close).await);
    assert_eq!(policies(&azurite).await, [Some("auditors".to_owned())]);

    let is_write =
        |asked: &Asked| asked.method == "PUT" && asked.uri.query().is_some_and(|q| q.contains("comp=acl"));
    for (answer, want) in [
        (refusal(412, "ConditionNotMet", ""), "conflict"),
        (refusal(403, "AuthorizationPermissionMismatch", ""), "failed"),
        (refusal(500, "InternalError", ""), "unknown"),
        (refusal(503, "ServerBusy", ""), "unknown"),
    ] {
        azurite.gate.meddle(move |asked| is_write(asked).then(|| answer.clone()));
        let (outcome, why) = apply(&azure, &close).await;
        assert_eq!(outcome, want, "{why}");
    }
    azurite.gate.heal();
    azurite.gate.lose(move |asked| is_write(asked).then_some(Loss::Status(504)));
    assert_eq!(apply(&azure, &close).await.0, "unknown");
    azurite.gate.heal();
    assert_eq!(read(&azure, GET_ACL, &target).await, found, "it happened all the same");
}

#[tokio::test]
async fn a_blob_is_archived_and_comes_back() {
    let Some(azurite) = bench().await else { return };
    let azure = effector(&azurite);
    put(&azurite.client, "2026/march.txt", "pay").await;
    let target = format!("azure:blob:{ACCOUNT}:{}/2026/march.txt", azurite.container);
    let before = read(&azure, GET_PROPERTIES, &target).await;
    assert_eq!(before["tier"], "Hot");
    let archive = step(SET_TIER, &target, json!({ "tier": "Archive" }), before);
    let (outcome, why) = apply(&azure, &archive).await;
    assert_eq!(outcome, "done", "{why}");
    assert!(stands(&azure, &archive).await);
    let back = step(SET_TIER, &target, json!({ "tier": "Hot" }), read(&azure, GET_PROPERTIES, &target).await);
    let (outcome, why) = apply(&azure, &back).await;
    assert_eq!(outcome, "done", "{why}");
    assert!(stands(&azure, &back).await, "on its way out of the archive counts as out");
}

#[tokio::test]
async fn what_is_not_there_or_not_configured_is_said() {
    let Some(azurite) = bench().await else { return };
    let azure = effector(&azurite);
    for operation in [GET_ACL, SET_ACL, GET_PROPERTIES, SET_TIER] {
        azure.preflight(operation).await.unwrap();
    }
    assert!(azure.preflight("DeleteContainer").await.is_err());
    let absent = format!("azure:container:{ACCOUNT}:nobody-has-this");
    assert_eq!(read(&azure, GET_ACL, &absent).await, Value::Null);
    let closed = || json!({ "public_access": "none" });
    for (target, says) in [
        (absent.as_str(), "no such container"),
        ("azure:container:another:payroll", "another is not configured"),
        ("azure:container:prunella:*", "names no container"),
        ("", "names no container"),
    ] {
        let (outcome, why) = apply(&azure, &step(SET_ACL, target, closed(), json!({}))).await;
        assert_eq!((outcome, why.contains(says)), ("failed", true), "{target}: {why}");
    }
}
