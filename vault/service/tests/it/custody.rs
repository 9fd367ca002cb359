//! What is stored, and what becomes of it when it is lost, altered or put back.

use crate::server::{PASSWORD, Server, get, noise, put};
use axum::http::Method;
use prunella_vault::client::{Bounds, Client, Memory};
use prunella_vault::wire::{Level, TierName};
use prunella_vault::{Class, OnStep, Step};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const TIERS: [TierName; 3] = [TierName::Low, TierName::Medium, TierName::High];

/// Empties one store, as if it were lost. The database's part is not a file of its own.
async fn lose(server: &Server, store: &str) {
    for file in server.stored(store) {
        std::fs::remove_file(file).unwrap();
    }
    if store == "database" {
        server.tamper("DELETE FROM parts WHERE holder = 'database'").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_store_is_lost_every_file_opens_again() {
    for store in ["objects/p/", "database", "parts/service", "parts/approver", "parts/cold"] {
        let server = Server::start().await;
        let mut alice = server.user("alice").await;
        let mut ids = Vec::new();
        for tier in TIERS {
            ids.push(put(&mut alice, &format!("{tier:?}"), b"content", tier).await.unwrap().id);
        }
        lose(&server, store).await;
        // What is offline by design brings the rest back; a file that still opens is sealed anew all the same.
        let admin = server.admin().await;
        let keys = BTreeMap::from([
            ("cold".to_owned(), server.offline.recovery.to_string()),
            ("approver".to_owned(), server.offline.approver.to_string()),
        ]);
        for (id, tier) in ids.iter().zip(TIERS) {
            if get(&mut alice, id).await.is_ok() {
                continue;
            }
            let recovered = admin.recover(id, &keys).await;
            assert!(recovered.is_ok(), "{store} {tier:?} {recovered:?}");
        }
        for (id, tier) in ids.iter().zip(TIERS) {
            let found = get(&mut alice, id).await;
            assert!(found.is_ok_and(|content| content == b"content"), "{store} lost, {tier:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_altered_nothing_is_released() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let content = noise(100_000);
    let other = put(&mut alice, "other", &noise(100_001)[1..], TierName::Low).await.unwrap();
    for tier in TIERS {
        let info = put(&mut alice, &format!("{tier:?}"), &content, tier).await.unwrap();
        let of = |id: &str, kind: &str| {
            server.stored(kind).into_iter().find(|path| path.display().to_string().contains(id)).unwrap()
        };
        for kind in ["objects/b/", "objects/e/"] {
            let path = of(&info.id, kind);
            let good = std::fs::read(&path).unwrap();
            let another = std::fs::read(of(&other.id, kind)).unwrap();
            let half = good.len() / 2;
            let flip = |at: usize| {
                let mut bad = good.clone();
                bad[at] ^= 1;
                bad
            };
            let mut swapped = good.clone();
            if good.len() > 60_000 {
                let (first, second) = swapped[86..].split_at_mut(16_400);
                first.swap_with_slice(&mut second[..16_400]);
            } else {
                swapped.reverse();
            }
            let longer = [&good[..], b"x"].concat();
            for (what, bad) in [
                ("first byte", flip(0)),
                ("a byte of the file's id", flip(8)),
                ("a byte in the middle", flip(half)),
                ("last byte", flip(good.len() - 1)),
                ("cut", good[..half].to_vec()),
                ("cut by one", good[..good.len() - 1].to_vec()),
                ("longer", longer),
                ("another file's", another.clone()),
                ("chunks swapped", swapped),
                ("empty", Vec::new()),
            ] {
                // The length that the database knows is what is sent; a longer object is sent cut, and is then whole.
                if (what, kind) == ("longer", "objects/b/") {
                    continue;
                }
                std::fs::write(&path, bad).unwrap();
                let mut out = Vec::new();
                let read = async {
                    let found = alice.open(&info.id).await?;
                    alice.read(&found, &mut out, &|_| ()).await
                };
                assert!(read.await.is_err(), "{tier:?} {kind} {what}");
                assert!(out.is_empty(), "{tier:?} {kind} {what}: {} bytes were released", out.len());
            }
            std::fs::write(&path, good).unwrap();
            assert!(get(&mut alice, &info.id).await.unwrap() == content);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_put_back_is_refused() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let info = put(&mut alice, "file", b"old", TierName::Low).await.unwrap();
    let body = server.stored("objects/b/").pop().unwrap();
    let old = std::fs::read(body).unwrap();
    put(&mut alice, "file", b"new", TierName::Low).await.unwrap();
    let newest = server
        .stored("objects/b/")
        .into_iter()
        .find(|path| path.display().to_string().ends_with(".2"))
        .unwrap();
    std::fs::write(newest, old).unwrap();
    let refused = get(&mut alice, &info.id).await.unwrap_err().to_string();
    assert!(refused.contains("not released"), "{refused}");
}

fn holds(folder: &Path, secret: &[u8]) -> bool {
    let files = crate::server::below(folder, "");
    files.iter().any(|path| std::fs::read(path).unwrap().windows(secret.len()).any(|window| window == secret))
}

/// Every store in hand, and the keys of the server with them: neither names nor contents can be read.
#[tokio::test(flavor = "multi_thread")]
async fn with_all_dumps_in_hand_nothing_can_be_read() {
    let mut server = Server::start().await;
    let mut alice = server.user("alice").await;
    let secret = b"the message that nobody else may read";
    for tier in TIERS {
        put(&mut alice, &format!("plans of {tier:?} treason"), secret, tier).await.unwrap();
    }
    server.restart().await;
    for text in [&secret[..], b"treason", PASSWORD.as_bytes()] {
        assert!(!holds(server.dir(), text), "{}", String::from_utf8_lossy(text));
    }
    // The user's name is metadata, and is there: the search does find what is there to be found.
    let is_embedded = server.dir().join("vault.db").exists();
    assert!(holds(server.dir(), b"alice") || !is_embedded);
    let mut mallory = Client::new(&server.base, Memory::default()).unwrap();
    mallory.register("mallory", PASSWORD).await.unwrap();
    mallory.login("mallory", PASSWORD).await.unwrap();
    let id = alice_file(&mut alice, &server).await;
    assert!(get(&mut mallory, &id).await.unwrap_err().is_status(404));
}

async fn alice_file(alice: &mut Client, server: &Server) -> String {
    let mut again = Client::new(&server.base, alice.memory.clone()).unwrap();
    again.login("alice", PASSWORD).await.unwrap();
    again.list("").await.unwrap().0[0].1.id.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_moves_the_body_and_renews_the_gate() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let content = noise(700_000);
    let info = put(&mut alice, "file", &content, TierName::Low).await.unwrap();
    let moved = alice.change_class("file", Class::StandardIa).await.unwrap();
    assert_eq!(moved.class, Class::StandardIa);
    assert_eq!((server.stored("objects/b/").len(), server.stored("objects-ia/b/").len()), (0, 1));
    assert!(get(&mut alice, "file").await.unwrap() == content);
    let renewed = async {
        while alice.list("").await.unwrap().0[0].1.epoch == info.epoch {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.unwrap();
    alice.change_class("file", Class::Standard).await.unwrap();
    assert_eq!((server.stored("objects/b/").len(), server.stored("objects-ia/b/").len()), (1, 0));
    assert!(get(&mut alice, "file").await.unwrap() == content);
    put(&mut alice, "file", b"next", TierName::Low).await.unwrap();
    assert_eq!(get(&mut alice, "file").await.unwrap(), b"next");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_is_lowered_after_a_day_and_a_confirmation_only() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    put(&mut alice, "file", b"content", TierName::High).await.unwrap();
    assert!(alice.change_tier("file", TierName::Low, true).await.unwrap_err().is_status(409), "too soon");
    server.clock.advance(24 * 60 * 60 * 1_000);
    alice.login("alice", PASSWORD).await.unwrap();
    assert!(
        alice.change_tier("file", TierName::Low, false).await.unwrap_err().is_status(409),
        "not confirmed"
    );
    let lower = alice.change_tier("file", TierName::Low, true).await.unwrap();
    assert_eq!(lower.tier, TierName::Low);
    assert_eq!(get(&mut alice, "file").await.unwrap(), b"content");
}

/// Holds the next change that comes to a step, until it is let go.
struct Stop {
    armed: Arc<AtomicBool>,
    reached: UnboundedReceiver<()>,
    go: mpsc::Sender<()>,
}

fn stop_at(at: Step) -> (OnStep, Stop) {
    let armed = Arc::new(AtomicBool::new(false));
    let (reach, reached) = unbounded_channel();
    let (go, wait) = mpsc::channel();
    let (is_armed, wait) = (Arc::clone(&armed), Mutex::new(wait));
    let on_step = Arc::new(move |step: Step| {
        if step == at && is_armed.swap(false, Ordering::SeqCst) {
            reach.send(()).unwrap();
            tokio::task::block_in_place(|| wait.lock().unwrap().recv()).unwrap();
        }
    });
    (on_step, Stop { armed, reached, go })
}

/// Alice puts the next version of `file`; `meanwhile` happens when all of it is written and nothing is committed.
async fn put_while(
    server: &Server,
    alice: &Client,
    mut stop: Stop,
    tier: TierName,
    meanwhile: impl Future<Output = ()>,
) {
    let mut putting = Client::new(&server.base, alice.memory.clone()).unwrap();
    stop.armed.store(true, Ordering::SeqCst);
    let put = tokio::spawn(async move { put(&mut putting, "file", b"next", tier).await.map(drop) });
    stop.reached.recv().await.unwrap();
    meanwhile.await;
    stop.go.send(()).unwrap();
    put.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hardening_is_not_lost_to_an_upload_under_way() {
    let (on_step, stop) = stop_at(Step::ReadBack);
    let server = Server::start_with(on_step).await;
    let mut alice = server.user("alice").await;
    let info = put(&mut alice, "file", b"content", TierName::Medium).await.unwrap();
    let admin = server.admin().await;
    let harden = async {
        assert_eq!(admin.harden(&info.id, TierName::High).await.unwrap().tier_wanted, TierName::High);
    };
    put_while(&server, &alice, stop, TierName::Medium, harden).await;
    let (files, _) = alice.list("").await.unwrap();
    assert_eq!((files[0].1.version, files[0].1.tier_wanted), (2, TierName::High));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_ends_while_an_upload_is_under_way_still_renews_the_gate() {
    let (on_step, stop) = stop_at(Step::ReadBack);
    let server = Server::start_with(on_step).await;
    let (mut alice, _bob) = (server.user("alice").await, server.user("bob").await);
    put(&mut alice, "file", b"content", TierName::Medium).await.unwrap();
    let share = alice.share("file", "bob", Bounds::default()).await.unwrap();
    let unshare = async { alice.unshare(&share.id).await.unwrap() };
    put_while(&server, &alice, stop, TierName::Medium, unshare).await;
    // The epoch that has just come was split for Bob too.
    assert_eq!(alice.rotation("alice").await.unwrap().waiting_for_user, 1);
    assert_eq!(get(&mut alice, "file").await.unwrap(), b"next");
    assert_eq!(alice.rotation("alice").await.unwrap().waiting_for_user, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hardening_that_waits_cannot_be_undone_at_once() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let info = put(&mut alice, "file", b"content", TierName::Medium).await.unwrap();
    server.clock.advance(24 * 60 * 60 * 1_000);
    alice.login("alice", PASSWORD).await.unwrap();
    let admin = server.admin().await;
    admin.harden(&info.id, TierName::High).await.unwrap();
    let undone = alice.change_tier("file", TierName::Medium, true).await;
    assert!(undone.unwrap_err().is_status(409), "the day begins with the hardening");
    server.clock.advance(24 * 60 * 60 * 1_000);
    alice.login("alice", PASSWORD).await.unwrap();
    assert_eq!(
        alice.change_tier("file", TierName::Medium, true).await.unwrap().tier_wanted,
        TierName::Medium
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_move_one_body_leave_it_somewhere() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let content = noise(200_000);
    put(&mut alice, "file", &content, TierName::Medium).await.unwrap();
    let movers = [Class::StandardIa, Class::Standard, Class::StandardIa, Class::Standard].map(|class| {
        let mover = Client::new(&server.base, alice.memory.clone()).unwrap();
        tokio::spawn(async move {
            for _ in 0..15 {
                if let Err(error) = mover.change_class("file", class).await {
                    // Another mover was faster, or the body is where it is no more.
                    assert!(error.is_status(409), "{error}");
                }
            }
        })
    });
    for mover in movers {
        mover.await.unwrap();
    }
    assert!(get(&mut alice, "file").await.unwrap() == content);
    // What the losers wrote goes with their attempts.
    let bodies = || server.stored("objects/b/").len() + server.stored("objects-ia/b/").len();
    let alone = async {
        while bodies() != 1 {
            server.clock.advance(1_000);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), alone).await.unwrap();
    assert!(get(&mut alice, "file").await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_domains_are_kept_as_long_as_a_part_of_anybody_needs_them() {
    let server = Server::start().await;
    let (mut alice, mut bob) = (server.user("alice").await, server.user("bob").await);
    put(&mut alice, "file", b"of alice", TierName::Low).await.unwrap();
    put(&mut bob, "low", b"of bob", TierName::Low).await.unwrap();
    put(&mut bob, "medium", b"of bob", TierName::Medium).await.unwrap();
    let admin = server.admin().await;
    admin.rotate("alice", Level::Kek).await.unwrap();
    assert_eq!(admin.rotation("bob").await.unwrap().waiting_for_user, 1, "the keys are everybody's");
    // A key ring holds sixteen versions, and Bob, who has the first, is away.
    let mut refused = 0;
    for _ in 0..20 {
        match admin.rotate("alice", Level::Kek).await {
            Ok(_) => {}
            Err(error) if error.is_status(409) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0);
    assert_eq!(get(&mut alice, "file").await.unwrap(), b"of alice");
    for name in ["low", "medium"] {
        assert_eq!(get(&mut bob, name).await.unwrap(), b"of bob", "{name}");
    }
    // Bob's opening has renewed his gate: once the old epochs are gone, there is room.
    let room = async {
        while admin.rotate("alice", Level::Kek).await.is_err() {
            server.clock.advance(1_000);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), room).await.unwrap();
    assert_eq!(get(&mut bob, "medium").await.unwrap(), b"of bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn points_that_nobody_has_proven_shut_nobody_out() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let info = put(&mut alice, "file", b"content", TierName::Medium).await.unwrap();
    let admin = server.admin().await;
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let forged = serde_json::json!({"epoch": info.epoch, "points": {"cold": zeros}}).to_string();
    let path = format!("/admin/files/{}/recover", info.id);
    let refused = server.raw(Method::POST, &path, &admin.memory.access_token, forged.into_bytes()).await;
    assert!(refused.0 >= 400, "{refused:?}");
    assert_eq!(get(&mut alice, "file").await.unwrap(), b"content");
}
