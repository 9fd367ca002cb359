//! The process is killed at each step of a change of custody; whatever the step, one readable state is left.

use crate::server;
use crate::server::{ADMIN, ADMIN_PASSWORD, PASSWORD, Server, SetClock, config, get, put};
use prunella_vault::client::{Client, Memory};
use prunella_vault::wire::TierName;
use prunella_vault::{Step, Vault, serve};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// Folder, step and what to do, for the process that dies.
const TASK: &str = "PRUNELLA_VAULT_TEST_TASK";

/// Without a task it does the same and lives, which shows that what dies is a run that would succeed.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_dies() {
    #[allow(clippy::disallowed_methods, reason = "the parent says what to do through the environment")]
    let task = std::env::var(TASK).ok();
    let own = tempfile::tempdir().unwrap();
    let text = task.unwrap_or_else(|| format!("{}|none|harden", own.path().display()));
    let [dir, step, what] = text.split('|').collect::<Vec<_>>().try_into().unwrap();
    let armed = Arc::new(AtomicBool::new(false));
    let clock = SetClock::new();
    let mut config = config(Path::new(dir), &clock).await;
    let (at, is_armed) = (step.to_owned(), Arc::clone(&armed));
    config.on_step = Arc::new(move |step: Step| {
        if is_armed.load(Ordering::SeqCst) && format!("{step:?}") == at {
            // As kill -9: nothing is flushed, nothing is dropped.
            std::process::abort();
        }
    });
    Vault::init(&config, ADMIN, Zeroizing::new(ADMIN_PASSWORD.into())).await.unwrap();
    let vault = Vault::open(config).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(vault, listener, None, std::future::pending()));
    let mut alice = Client::new(&base, Memory::default()).unwrap();
    alice.register("alice", PASSWORD).await.unwrap();
    alice.login("alice", PASSWORD).await.unwrap();
    put(&mut alice, "file", b"the first", TierName::Low).await.unwrap();
    alice.memory.save(&Path::new(dir).join("alice.json")).unwrap();
    armed.store(true, Ordering::SeqCst);
    match what {
        "harden" => drop(alice.change_tier("file", TierName::High, false).await.unwrap()),
        "update" => drop(put(&mut alice, "file", b"the second", TierName::Low).await.unwrap()),
        _ => alice.remove("file").await.unwrap(),
    }
    // Erasing what was replaced is the janitor's, after the grace.
    clock.advance(60_000);
    tokio::time::sleep(std::time::Duration::from_secs(if step == "none" { 0 } else { 7 })).await;
    assert_eq!(get(&mut alice, "file").await.unwrap(), b"the first");
}

async fn check(step: Step, what: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "crash::the_process_that_dies", "--nocapture"]);
    child.env(TASK, format!("{}|{step:?}|{what}", dir.path().display()));
    let died = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    let case = format!("{what} at {step:?}: {}", String::from_utf8_lossy(&died.stderr));
    assert!(!died.status.success() && !case.contains("assertion"), "{case}");

    let clock = SetClock::new();
    clock.advance(24 * 60 * 60 * 1_000);
    let mut settings = config(dir.path(), &clock).await;
    settings.attempt_ms_max = 0;
    let vault = Vault::open(settings).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(vault, listener, None, std::future::pending()));
    let mut alice = Client::new(&base, Memory::load(&dir.path().join("alice.json")).unwrap()).unwrap();
    alice.login("alice", PASSWORD).await.unwrap();
    let is_before = !matches!(step, Step::Committed | Step::PartsErased | Step::Erased);
    let found = get(&mut alice, "file").await;
    match what {
        "remove" => assert!(found.unwrap_err().is_status(404), "{case}"),
        "update" if !is_before => assert_eq!(found.unwrap(), b"the second", "{case}"),
        _ => assert_eq!(found.unwrap(), b"the first", "{case}"),
    }
    // What was asked for is done in the end, and nothing is left of what was begun.
    let gone = async {
        loop {
            let left = |folder: &str| server::below(dir.path(), folder).len();
            let counts = ["objects/b/", "objects/e/", "objects/p/"].map(left);
            if counts == [if what == "remove" { 0 } else { 1 }; 3] {
                break;
            }
            clock.advance(1_000);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), gone)
        .await
        .unwrap_or_else(|_| panic!("left over: {case}"));
    match what {
        "harden" => {
            let (files, _) = alice.list("").await.unwrap();
            assert_eq!(files[0].1.tier, TierName::High, "{case}");
            assert_eq!(get(&mut alice, "file").await.unwrap(), b"the first", "{case}");
        }
        "remove" => {}
        _ => drop(put(&mut alice, "file", b"the third", TierName::Low).await.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hardening_that_is_killed_leaves_the_old_epoch_or_the_new_one() {
    for step in Step::ALL {
        check(step, "harden").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_killed_leaves_the_old_version_or_the_new_one() {
    for step in Step::ALL {
        check(step, "update").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_killed_is_a_deletion() {
    for step in [Step::PartsErased, Step::Erased] {
        check(step, "remove").await;
    }
}

/// Many writers to one file, with the janitor aborting whatever it sees: always readable, never mixed.
#[tokio::test(flavor = "multi_thread")]
async fn rotators_race_each_other_and_the_janitor() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    let mut racers = Vec::new();
    for tier in [TierName::Low, TierName::Low, TierName::Medium, TierName::Medium] {
        let mut racer = server.client();
        racer.memory = alice.memory.clone();
        racers.push(tokio::spawn(async move {
            let mut conflicts = 0;
            for _ in 0..5 {
                let changed = match tier {
                    TierName::Low => put(&mut racer, "file", b"content", tier).await.map(drop),
                    _ => racer.change_tier("file", tier, false).await.map(drop),
                };
                if let Err(error) = changed {
                    assert!(error.is_status(409) || error.is_status(400), "{error}");
                    conflicts += 1;
                }
                match get(&mut racer, "file").await {
                    Ok(content) => assert_eq!(content, b"content"),
                    // The epoch or the version moved on between two requests of one reading.
                    Err(error) => assert!(
                        error.is_status(409)
                            || error.is_status(400)
                            || error.to_string().contains("not released"),
                        "{error}"
                    ),
                }
            }
            conflicts
        }));
    }
    for racer in racers {
        racer.await.unwrap();
    }
    assert_eq!(get(&mut alice, "file").await.unwrap(), b"content");
}
