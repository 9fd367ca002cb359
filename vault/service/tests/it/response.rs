//! The response's hand on the vault: each action once, and what became of the thief.

use crate::server::{PASSWORD, Server, get, put};
use prunella_schemas::plan::{EvidenceKind, Outcome, Probe, Read};
use prunella_schemas::port::Effector;
use prunella_schemas::{Id, Step, Tenant};
use prunella_vault::client::{Bounds, Client};
use prunella_vault::effect::{
    HARDEN, LOCK, PROVIDER, RESET_TRUST, REVOKE_TOKENS, ROTATE, SUSPEND_GRANTS, VaultEffector,
};
use prunella_vault::wire::TierName;
use serde_json::{Value, json};
use std::sync::Arc;

fn step(operation: &str, target: &str, desired: Value) -> Step {
    let (provider, operation, target) = (PROVIDER.into(), operation.into(), target.into());
    Step { provider, operation, target, desired, prior: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_is_refused_and_the_probe_says_so() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    let effector = VaultEffector::new(Arc::clone(&server.vault));
    let tenant = Tenant::default();
    let event = server.events("upload", 1).await.remove(0);
    let target = format!("ocsf:user:vault:{}", event["actor"]["user"]["uid"].as_str().unwrap());
    let mut thief = Client::new(&server.base, alice.memory.clone()).unwrap();
    assert!(get(&mut thief, "file").await.is_ok());

    let revoke = step(REVOKE_TOKENS, &target, json!({}));
    let key = Id::derive("test", &[b"1"]);
    let read = Read { provider: PROVIDER.into(), operation: REVOKE_TOKENS.into(), target: target.clone() };
    let version =
        async || effector.read(&tenant, &read).await.unwrap().value["token_version"].as_i64().unwrap();
    assert_eq!(version().await, 1);
    let before = server.clock.now();
    assert!(matches!(effector.apply(&tenant, &revoke, key).await, Outcome::Done { .. }));
    let applied = server.clock.now();
    assert!(matches!(effector.apply(&tenant, &revoke, key).await, Outcome::Done { .. }));
    assert_eq!(version().await, 2, "the same action twice is one");
    let held = effector.probe(&tenant, &revoke, &target, applied).await;
    assert!(matches!(held, Probe::Held { evidence: EvidenceKind::ConfigurationRead, .. }), "{held:?}");

    assert!(get(&mut thief, "file").await.unwrap_err().is_status(401));
    alice.login("alice", PASSWORD).await.unwrap();
    assert!(get(&mut alice, "file").await.is_ok(), "a new session is no escape");
    let held = effector.probe(&tenant, &revoke, &target, applied).await;
    let Probe::Held { evidence: EvidenceKind::RefusedCall, last_accepted, .. } = &held else {
        panic!("{held:?}")
    };
    assert!(last_accepted.is_some_and(|at| at < before));

    // Had it been accepted afterwards, the probe would say so.
    let early =
        effector.probe(&tenant, &revoke, &target, prunella_schemas::Timestamp(before.0 - 10_000)).await;
    assert!(
        !matches!(early, Probe::Held { evidence: EvidenceKind::RefusedCall, .. }) || early != held,
        "{early:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_holds_and_can_be_taken_back() {
    let server = Server::start().await;
    let (mut alice, mut bob) = (server.user("alice").await, server.user("bob").await);
    let info = put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    alice.share("file", "bob", Bounds::default()).await.unwrap();
    let effector = VaultEffector::new(Arc::clone(&server.vault));
    let (tenant, target) = (Tenant::default(), info.owner.clone());
    let mut turn = 0_u8;
    let mut apply = async |operation: &str, desired: Value| {
        turn += 1;
        effector.apply(&tenant, &step(operation, &target, desired), Id::derive("test", &[&[turn]])).await
    };
    let done = |outcome: Outcome| assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");

    done(apply(SUSPEND_GRANTS, json!({"until": i64::MAX})).await);
    assert!(get(&mut bob, &info.id).await.unwrap_err().is_status(404));
    assert!(get(&mut alice, "file").await.is_ok());
    done(apply(SUSPEND_GRANTS, json!({"until": 0})).await);
    assert!(get(&mut bob, &info.id).await.is_ok());

    done(apply(LOCK, json!({"until": i64::MAX})).await);
    assert!(get(&mut alice, "file").await.unwrap_err().is_status(401));
    assert!(get(&mut bob, &info.id).await.unwrap_err().is_status(404), "of a locked owner");
    done(apply(LOCK, json!({"until": 0})).await);
    assert!(get(&mut alice, "file").await.is_ok());

    done(apply(RESET_TRUST, json!({})).await);
    assert!(get(&mut alice, "file").await.unwrap_err().to_string().contains("fresh proof"));
    alice.login("alice", PASSWORD).await.unwrap();
    assert!(get(&mut alice, "file").await.is_ok());

    let applied = server.clock.now();
    done(apply(HARDEN, json!({})).await);
    done(apply(ROTATE, json!({})).await);
    let harden = step(HARDEN, &target, json!({}));
    let held = async {
        while !matches!(effector.probe(&tenant, &harden, &target, applied).await, Probe::Held { .. }) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), held).await.unwrap();
    assert_eq!(alice.list("").await.unwrap().0[0].1.tier, TierName::High);
    assert_eq!(get(&mut alice, "file").await.unwrap(), b"content");
    assert_eq!(get(&mut bob, &info.id).await.unwrap(), b"content");

    assert!(matches!(apply("tokens.grant", json!({})).await, Outcome::Failed { .. }));
    assert!(matches!(apply(LOCK, json!({})).await, Outcome::Failed { .. }), "a lock without an end");
    let nobody = effector.apply(&tenant, &step(LOCK, "nobody", json!({"until": 1})), Id::default()).await;
    assert!(matches!(nobody, Outcome::Failed { .. }));
}
