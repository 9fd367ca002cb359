//! The hot state: a contract over every engine, and what the embedded one adds: durable before visible.

use prunella_runtime::state::SqliteState;
use prunella_schemas::port::{LOCKED_UNTIL, PortError, STEP_UP_SINCE, Setting, State, TokenVersion};
use prunella_schemas::{Tenant, Timestamp};
use std::sync::Arc;
use tempfile::TempDir;

pub fn other() -> Tenant {
    Tenant::try_from("other".to_owned()).unwrap()
}

pub fn version(principal: &str, not_before: i64, version: u64) -> TokenVersion {
    TokenVersion { principal: principal.to_owned(), not_before: Timestamp(not_before), version }
}

/// Revocations only move forward, and tenants are apart.
pub async fn check_revocations(state: &dyn State) {
    let tenant = Tenant::default();
    assert_eq!(state.token_version(&tenant, "a").await, Ok(version("a", 0, 0)), "never revoked");
    let moves = [(100, 100, 1), (50, 100, 1), (100, 100, 1), (200, 200, 2), (0, 200, 2), (-5, 200, 2)];
    for (given, not_before, grown) in moves {
        let want = Ok(version("a", not_before, grown));
        assert_eq!(state.revoke_tokens(&tenant, "a", Timestamp(given)).await, want, "{given}");
        assert_eq!(state.token_version(&tenant, "a").await, want, "{given}");
    }
    assert_eq!(state.revoke_tokens(&tenant, "b", Timestamp(0)).await, Ok(version("b", 0, 0)));
    assert!(matches!(state.revoke_tokens(&tenant, "", Timestamp(9)).await, Err(PortError::Invalid(_))));
    assert_eq!(state.token_version(&other(), "a").await, Ok(version("a", 0, 0)));
    let hostile = "a:9\u{1F980}\r\n{x}\"*'";
    let now = Timestamp(1_795_000_000_123);
    assert_eq!(state.revoke_tokens(&other(), hostile, now).await, Ok(version(hostile, now.0, 1)));
    assert_eq!(state.token_version(&other(), hostile).await, Ok(version(hostile, now.0, 1)));
}

/// A setting is changed only in the version that was looked at.
pub async fn check_settings(state: &dyn State) {
    let tenant = Tenant::default();
    let check = async |name: &str, value: i64, expected: u64, want: (i64, u64)| {
        let want = Setting { value: Timestamp(want.0), version: want.1 };
        let set = state.set(&tenant, "a", name, Timestamp(value), expected).await;
        assert_eq!(set, Ok(want), "{name} {value}");
        assert_eq!(state.setting(&tenant, "a", name).await, Ok(want));
    };
    check(LOCKED_UNTIL, 500, 0, (500, 1)).await;
    check(LOCKED_UNTIL, 500, 0, (500, 1)).await;
    check(LOCKED_UNTIL, 900, 0, (500, 1)).await;
    check(STEP_UP_SINCE, 70, 0, (70, 1)).await;
    check(LOCKED_UNTIL, 0, 1, (0, 2)).await;
    check(LOCKED_UNTIL, 600, 2, (600, 3)).await;
    check("session/K1", 800, 0, (800, 1)).await;
    check("session/K2", 800, 0, (800, 1)).await;
    check("session/K2", 0, 1, (0, 2)).await;
    let nobody = state.set(&tenant, "", LOCKED_UNTIL, Timestamp(1), 0).await;
    assert!(matches!(nobody, Err(PortError::Invalid(_))));
    let apart = state.account(&other(), "a").await.unwrap();
    assert_eq!((apart.locked_until, apart.version), (Timestamp::ZERO, 0), "tenants are apart");
    check_account(state).await;
}

/// What `check_settings` has left.
pub async fn check_account(state: &dyn State) {
    let account = state.account(&Tenant::default(), "a").await.unwrap();
    assert_eq!((account.locked_until, account.step_up_since), (Timestamp(600), Timestamp(70)));
    assert_eq!((account.refused_sessions, account.version), (vec!["K1".to_owned()], 3 + 1 + 1 + 2));
}

/// Many at once end at the latest.
pub async fn check_concurrency(state: Arc<dyn State>) {
    let tasks: Vec<_> = (1..=50)
        .map(|n| {
            let state = Arc::clone(&state);
            tokio::spawn(async move { state.revoke_tokens(&Tenant::default(), "many", Timestamp(n)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let seen = state.token_version(&Tenant::default(), "many").await.unwrap();
    assert_eq!(seen.not_before, Timestamp(50));
    assert!((1..=50).contains(&seen.version));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_in_a_file_and_survives_a_restart() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let state = SqliteState::open(&path).unwrap();
    check_revocations(&state).await;
    check_settings(&state).await;
    check_concurrency(Arc::new(state.clone())).await;
    let many = state.token_version(&Tenant::default(), "many").await.unwrap();
    drop(state);
    let state = SqliteState::open(&path).unwrap();
    assert_eq!(state.token_version(&Tenant::default(), "a").await, Ok(version("a", 200, 2)));
    assert_eq!(state.token_version(&Tenant::default(), "many").await, Ok(many));
    check_account(&state).await;
}

#[tokio::test]
async fn answers_unavailable_until_loaded() {
    let directory = TempDir::new().unwrap();
    let state = SqliteState::unloaded(&directory.path().join("state.db"));
    let tenant = Tenant::default();
    assert!(matches!(state.token_version(&tenant, "a").await, Err(PortError::Unavailable(_))));
    assert!(matches!(state.revoke_tokens(&tenant, "a", Timestamp(1)).await, Err(PortError::Unavailable(_))));
    assert!(matches!(state.account(&tenant, "a").await, Err(PortError::Unavailable(_))));
    state.load().unwrap();
    assert_eq!(state.token_version(&tenant, "a").await, Ok(version("a", 0, 0)));
}

#[tokio::test]
async fn a_revocation_that_cannot_be_stored_is_an_error_and_not_visible() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let state = SqliteState::open(&path).unwrap();
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("CREATE TRIGGER full BEFORE INSERT ON token BEGIN SELECT RAISE(ABORT, 'no room'); END")
        .unwrap();
    let tenant = Tenant::default();
    assert!(state.revoke_tokens(&tenant, "a", Timestamp(1)).await.is_err());
    assert_eq!(state.token_version(&tenant, "a").await, Ok(version("a", 0, 0)));
    raw.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(state.revoke_tokens(&tenant, "a", Timestamp(1)).await, Ok(version("a", 1, 1)));
}
