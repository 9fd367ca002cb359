//! The response's hand on the vault: each action once, what became of the thief, and the way back.

use crate::server::{PASSWORD, Server, get, put};
use prunella_schemas::plan::{EvidenceKind, Outcome, Probe, Read};
use prunella_schemas::port::Effector;
use prunella_schemas::{Id, Step, Tenant, Timestamp};
use prunella_vault::client::{Bounds, Client};
use prunella_vault::effect::{
    HARDEN, KILL_SESSION, LOCK, PROVIDER, RESET_TRUST, REVOKE_TOKENS, ROTATE, SUSPEND_GRANTS, VaultEffector,
};
use prunella_vault::wire::TierName;
use serde_json::{Value, json};
use std::sync::Arc;

/// An effector that acts on one target, with a new key each time.
struct Hand {
    effector: VaultEffector,
    tenant: Tenant,
    target: String,
    turn: u8,
}

impl Hand {
    fn on(server: &Server, user: &str) -> Self {
        let effector = VaultEffector::new(Arc::clone(&server.vault));
        Hand { effector, tenant: Tenant::default(), target: format!("vault:user:{user}"), turn: 0 }
    }

    async fn read(&self, operation: &str) -> Value {
        let (provider, operation, target) = (PROVIDER.into(), operation.into(), self.target.clone());
        self.effector.read(&self.tenant, &Read { provider, operation, target }).await.unwrap().value
    }

    /// A step as it is planned: with the state that is found.
    async fn step(&self, operation: &str, desired: Value) -> Step {
        let prior = Some(self.read(operation).await);
        let (provider, operation, target) = (PROVIDER.into(), operation.into(), self.target.clone());
        Step { provider, operation, target, desired, prior }
    }

    async fn apply(&mut self, step: &Step) -> Outcome {
        self.turn += 1;
        self.effector.apply(&self.tenant, step, Id::derive("test", &[&[self.turn]])).await
    }

    #[track_caller]
    fn done(outcome: &Outcome) {
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }

    async fn set(&mut self, operation: &str, desired: Value) -> Step {
        let step = self.step(operation, desired).await;
        Self::done(&self.apply(&step).await);
        step
    }

    async fn probe(&self, step: &Step, applied: Timestamp) -> Probe {
        self.effector.probe(&self.tenant, step, &self.target, applied).await
    }
}

fn is_refused_call(probe: &Probe) -> bool {
    matches!(probe, Probe::Held { evidence: EvidenceKind::RefusedCall, .. })
}

fn is_configuration(probe: &Probe) -> bool {
    matches!(probe, Probe::Held { evidence: EvidenceKind::ConfigurationRead, .. })
}

async fn user_id(server: &Server, name: &str) -> String {
    server.user(name).await.me().await.unwrap().account.id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_token_is_refused_and_the_probe_says_so() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let info = put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    let mut hand = Hand::on(&server, &info.owner);
    let mut thief = Client::new(&server.base, alice.memory.clone()).unwrap();
    assert!(get(&mut thief, "file").await.is_ok());

    let before = server.clock.now();
    let step = hand.step(REVOKE_TOKENS, json!({"not_before": before.0})).await;
    assert_eq!(step.prior, Some(json!({"not_before": 0, "version": 1})));
    let early = hand.probe(&step, before).await;
    assert!(matches!(early, Probe::Escaped { .. }), "it does not hold before it was done: {early:?}");
    Hand::done(&hand.apply(&step).await);
    let applied = server.clock.now();
    hand.turn -= 1;
    Hand::done(&hand.apply(&step).await);
    assert_eq!(hand.read(REVOKE_TOKENS).await["version"], 2, "the same action twice is one");
    let held = hand.probe(&step, applied).await;
    assert!(is_configuration(&held), "{held:?}");

    assert!(get(&mut thief, "file").await.unwrap_err().is_status(401));
    alice.login("alice", PASSWORD).await.unwrap();
    assert!(get(&mut alice, "file").await.is_ok(), "a new session is no escape");
    let held = hand.probe(&step, applied).await;
    assert!(is_refused_call(&held), "{held:?}");
    let Probe::Held { last_accepted, .. } = held else { panic!() };
    assert!(last_accepted.is_some_and(|at| at < applied));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restriction_holds_is_taken_back_and_overwrites_nobody() {
    let server = Server::start().await;
    let (mut alice, mut bob) = (server.user("alice").await, server.user("bob").await);
    let info = put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    alice.share("file", "bob", Bounds::default()).await.unwrap();
    let mut hand = Hand::on(&server, &info.owner);

    hand.set(SUSPEND_GRANTS, json!({"value": i64::MAX})).await;
    assert!(get(&mut bob, &info.id).await.unwrap_err().is_status(404));
    assert!(get(&mut alice, "file").await.is_ok());
    hand.set(SUSPEND_GRANTS, json!({"value": 0})).await;
    assert!(get(&mut bob, &info.id).await.is_ok());

    let stale = hand.step(LOCK, json!({"value": 5})).await;
    let lock = hand.set(LOCK, json!({"value": i64::MAX})).await;
    assert!(get(&mut alice, "file").await.unwrap_err().is_status(401));
    assert!(get(&mut bob, &info.id).await.unwrap_err().is_status(404), "of a locked owner");
    let held = hand.probe(&lock, server.clock.now()).await;
    assert!(is_refused_call(&held), "{held:?}");
    assert!(matches!(hand.apply(&stale).await, Outcome::Conflict { .. }), "planned on another state");
    assert_eq!(hand.read(LOCK).await["value"], i64::MAX);
    hand.set(LOCK, json!({"value": 0})).await;
    assert!(get(&mut alice, "file").await.is_ok());
    let over = hand.probe(&lock, server.clock.now()).await;
    assert!(matches!(over, Probe::Escaped { .. }), "{over:?}");

    let session = server.events("upload", 1).await[0]["actor"]["session"]["uid"].clone();
    let account = hand.target.clone();
    hand.target = format!("{account}#{}", session.as_str().unwrap());
    let kill = hand.set(KILL_SESSION, json!({"value": i64::MAX})).await;
    assert!(get(&mut alice, "file").await.unwrap_err().is_status(401));
    assert!(alice.refresh().await.unwrap_err().is_status(401), "nor is it renewed");
    assert!(is_refused_call(&hand.probe(&kill, server.clock.now()).await));
    hand.set(KILL_SESSION, json!({"value": 0})).await;
    assert!(get(&mut alice, "file").await.is_ok());
    hand.target = account;

    let reset = hand.set(RESET_TRUST, json!({"value": server.clock.now().0})).await;
    assert!(get(&mut alice, "file").await.unwrap_err().to_string().contains("fresh proof"));
    assert!(is_refused_call(&hand.probe(&reset, server.clock.now()).await), "a step-up is a refusal");
    alice.login("alice", PASSWORD).await.unwrap();
    assert!(get(&mut alice, "file").await.is_ok());
    assert!(is_refused_call(&hand.probe(&reset, server.clock.now()).await), "who has proven may go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn custody_is_hardened_with_the_user_away() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let info = put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    let mut hand = Hand::on(&server, &info.owner);
    assert_eq!(hand.read(HARDEN).await, json!({"tier": "LOW"}));
    let harden = hand.set(HARDEN, json!({"tier": "HIGH"})).await;
    let now = server.clock.now().0;
    let rotate = hand.set(ROTATE, json!({"since": now})).await;
    let held = async {
        while !is_configuration(&hand.probe(&harden, Timestamp(now)).await) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), held).await.unwrap();
    assert!(is_configuration(&hand.probe(&rotate, Timestamp(now)).await));
    assert_eq!(hand.read(HARDEN).await, json!({"tier": "HIGH"}));
    assert_eq!(alice.list("").await.unwrap().0[0].1.tier, TierName::High);
    assert_eq!(get(&mut alice, "file").await.unwrap(), b"content");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_changes_nothing() {
    let server = Server::start().await;
    let mut hand = Hand::on(&server, &user_id(&server, "alice").await);
    for (operation, desired) in [
        ("tokens.grant", json!({})),
        (LOCK, json!({})),
        (HARDEN, json!({"tier": "LOW"})),
        (ROTATE, json!({"value": 1})),
        (REVOKE_TOKENS, json!({"not_before": "now"})),
    ] {
        let (provider, target) = (PROVIDER.into(), hand.target.clone());
        let step = Step { provider, operation: operation.into(), target, desired, prior: None };
        assert!(matches!(hand.apply(&step).await, Outcome::Failed { .. }), "{operation}");
    }
    assert_eq!(hand.read(LOCK).await["value"], 0);
    assert!(hand.effector.preflight("tokens.grant").await.is_err());
    assert!(hand.effector.preflight(LOCK).await.is_ok());
    hand.target = "vault:user:nobody".into();
    let nobody = Step {
        operation: LOCK.into(),
        target: hand.target.clone(),
        desired: json!({"value": 1}),
        ..Step::default()
    };
    assert!(matches!(hand.apply(&nobody).await, Outcome::Failed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused() {
    let mut server = Server::start().await;
    let second = prunella_vault::Vault::open(server.config().await).await;
    assert!(second.err().is_some_and(|e| e.to_string().contains("another process")));
    server.restart().await;
    assert!(server.user("alice").await.me().await.is_ok());
}
