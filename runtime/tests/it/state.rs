//! The embedded hot state: durable before visible, monotone, and never a made-up "not revoked".

use prunella_runtime::state::SqliteState;
use prunella_schemas::port::{PortError, State, TokenVersion};
use prunella_schemas::{Tenant, Timestamp};
use tempfile::TempDir;

fn version(principal: &str, not_before: i64, version: u64) -> TokenVersion {
    TokenVersion { principal: principal.to_owned(), not_before: Timestamp(not_before), version }
}

#[tokio::test]
async fn revocations_only_move_forward_and_survive_a_restart() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let (tenant, other) = (Tenant::default(), Tenant::try_from("other".to_owned()).unwrap());
    {
        let state = SqliteState::open(&path).unwrap();
        assert_eq!(state.token_version(&tenant, "a").await, Ok(version("a", 0, 0)), "never revoked");
        let moves = [(100, 100, 1), (50, 100, 1), (100, 100, 1), (200, 200, 2), (0, 200, 2), (-5, 200, 2)];
        for (given, not_before, grown) in moves {
            let want = Ok(version("a", not_before, grown));
            assert_eq!(state.revoke_tokens(&tenant, "a", Timestamp(given)).await, want, "{given}");
            assert_eq!(state.token_version(&tenant, "a").await, want, "{given}");
        }
        assert_eq!(state.revoke_tokens(&tenant, "b", Timestamp(0)).await, Ok(version("b", 0, 0)));
        assert!(matches!(state.revoke_tokens(&tenant, "", Timestamp(9)).await, Err(PortError::Invalid(_))));
        assert_eq!(state.token_version(&other, "a").await, Ok(version("a", 0, 0)), "tenants are apart");
    }
    let state = SqliteState::open(&path).unwrap();
    assert_eq!(state.token_version(&tenant, "a").await, Ok(version("a", 200, 2)));
}

#[tokio::test]
async fn answers_unavailable_until_loaded() {
    let directory = TempDir::new().unwrap();
    let state = SqliteState::unloaded(&directory.path().join("state.db"));
    let tenant = Tenant::default();
    assert!(matches!(state.token_version(&tenant, "a").await, Err(PortError::Unavailable(_))));
    assert!(matches!(state.revoke_tokens(&tenant, "a", Timestamp(1)).await, Err(PortError::Unavailable(_))));
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

#[test]
fn concurrent_revocations_end_at_the_latest() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let state = SqliteState::open(&path).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (1..=50)
            .map(|n| {
                let state = state.clone();
                tokio::spawn(async move { state.revoke_tokens(&Tenant::default(), "a", Timestamp(n)).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let seen = state.token_version(&Tenant::default(), "a").await.unwrap();
        assert_eq!(seen.not_before, Timestamp(50));
        assert!((1..=50).contains(&seen.version));
        let stored = SqliteState::open(&path).unwrap().token_version(&Tenant::default(), "a").await.unwrap();
        assert_eq!(stored, seen);
    });
}

#[tokio::test]
async fn a_setting_is_changed_only_in_the_version_that_was_looked_at() {
    use prunella_schemas::port::{LOCKED_UNTIL, STEP_UP_SINCE, Setting};
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state.db");
    let (tenant, other) = (Tenant::default(), Tenant::try_from("other".to_owned()).unwrap());
    let unloaded = SqliteState::unloaded(&path);
    assert!(matches!(unloaded.account(&tenant, "a").await, Err(PortError::Unavailable(_))));
    {
        let state = SqliteState::open(&path).unwrap();
        for (name, value, expected, want) in [
            (LOCKED_UNTIL, 500, 0, (500, 1)),
            (LOCKED_UNTIL, 500, 0, (500, 1)),
            (LOCKED_UNTIL, 900, 0, (500, 1)),
            (STEP_UP_SINCE, 70, 0, (70, 1)),
            (LOCKED_UNTIL, 0, 1, (0, 2)),
            (LOCKED_UNTIL, 600, 2, (600, 3)),
            ("session/K1", 800, 0, (800, 1)),
            ("session/K2", 800, 0, (800, 1)),
            ("session/K2", 0, 1, (0, 2)),
        ] {
            let want = Setting { value: Timestamp(want.0), version: want.1 };
            assert_eq!(
                state.set(&tenant, "a", name, Timestamp(value), expected).await,
                Ok(want),
                "{name} {value}"
            );
            assert_eq!(state.setting(&tenant, "a", name).await, Ok(want));
        }
        assert!(matches!(
            state.set(&tenant, "", LOCKED_UNTIL, Timestamp(1), 0).await,
            Err(PortError::Invalid(_))
        ));
        assert_eq!(
            state.account(&other, "a").await.unwrap().locked_until,
            Timestamp::ZERO,
            "tenants are apart"
        );
    }
    let account = SqliteState::open(&path).unwrap().account(&tenant, "a").await.unwrap();
    assert_eq!((account.locked_until, account.step_up_since), (Timestamp(600), Timestamp(70)));
    assert_eq!((account.refused_sessions, account.version), (vec!["K1".to_owned()], 3 + 1 + 1 + 2));
}
