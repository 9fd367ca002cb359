//! What is stored, and what becomes of it when it is lost, altered or put back.

use crate::server::{PASSWORD, Server, get, noise, put};
use prunella_vault::client::{Client, Memory};
use prunella_vault::wire::TierName;
use std::collections::BTreeMap;
use std::path::Path;

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
    use prunella_vault::Class;
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
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), renewed).await.unwrap();
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
