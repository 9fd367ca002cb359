//! The walk of docs/guide/vault.md: two users, a file, a share, its end, a rotation, and the dumps of all stores.

use crate::server::{Server, get, noise, put, put_in};
use prunella_vault::client::{Bounds, ClientError, Sealed};
use prunella_vault::wire::{Level, TierName};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_of_the_guide() {
    let server = Server::start().await;
    let (mut alice, mut bob) = (server.user("alice").await, server.user("bob").await);
    let content = noise(3 << 20);
    let info = put(&mut alice, "naïve plan 🗂.txt", &content, TierName::Low).await.unwrap();
    assert_eq!((info.version, info.epoch, info.tier), (1, 1, TierName::Low));
    assert!(!info.name.contains("plan"), "the server does not learn the name");
    assert_eq!(get(&mut alice, "naïve plan 🗂.txt").await.unwrap(), content);
    assert_eq!(alice.list("").await.unwrap().0[0].0.as_deref(), Some("naïve plan 🗂.txt"));

    assert!(get(&mut bob, &info.id).await.unwrap_err().is_status(404));
    let share = alice.share("naïve plan 🗂.txt", "bob", Bounds::default()).await.unwrap();
    assert_eq!(get(&mut bob, &info.id).await.unwrap(), content);
    assert_eq!(bob.open(&info.id).await.unwrap().name, "naïve plan 🗂.txt");

    // Harder, and the user is away: who shares it has a part of its key from now on.
    let admin = server.admin().await;
    let hard = admin.harden(&info.id, TierName::High).await.unwrap();
    assert_eq!((hard.tier, hard.epoch), (TierName::High, 3));
    assert_eq!(get(&mut alice, "naïve plan 🗂.txt").await.unwrap(), content);
    assert_eq!(get(&mut bob, &info.id).await.unwrap(), content);

    // A new version is sealed to those who share the file.
    let next = put(&mut alice, "naïve plan 🗂.txt", b"second", TierName::Low).await.unwrap();
    assert_eq!((next.version, next.tier), (2, TierName::High));
    assert_eq!(get(&mut bob, &info.id).await.unwrap(), b"second");

    alice.unshare(&share.id).await.unwrap();
    assert!(get(&mut bob, &info.id).await.unwrap_err().is_status(404));

    // At HIGH a rotation waits for the user, and the next opening does it.
    let waiting = alice.rotate("alice", Level::Gate).await.unwrap();
    assert_eq!((waiting.files, waiting.waiting_for_user), (1, 1));
    assert_eq!(get(&mut alice, "naïve plan 🗂.txt").await.unwrap(), b"second");
    assert_eq!(alice.rotation("alice").await.unwrap().waiting_for_user, 0);
    assert_eq!(get(&mut alice, "naïve plan 🗂.txt").await.unwrap(), b"second");

    alice.remove("naïve plan 🗂.txt").await.unwrap();
    assert!(get(&mut alice, "naïve plan 🗂.txt").await.unwrap_err().is_status(404));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_by_proxy_opens_the_scope_and_nothing_else() {
    let server = Server::start().await;
    let (mut alice, mut bob) = (server.user("alice").await, server.user("bob").await);
    for tier in [TierName::Low, TierName::High] {
        let name = format!("{tier:?}");
        let info = put_in(&mut alice, &name, b"for the project", tier, Some("project")).await.unwrap();
        let outside = put(&mut alice, &format!("{name} private"), b"not for it", tier).await.unwrap();
        assert!(
            alice
                .share_by_proxy(&format!("{name} private"), "project", "bob", Bounds::default())
                .await
                .is_err()
        );
        let bounds = Bounds { downloads_max: 1, expires: 0 };
        let share = alice.share_by_proxy(&name, "project", "bob", bounds).await.unwrap();
        assert_eq!(get(&mut bob, &info.id).await.unwrap(), b"for the project");
        assert!(get(&mut bob, &info.id).await.unwrap_err().is_status(404), "one download was granted");
        assert!(get(&mut bob, &outside.id).await.unwrap_err().is_status(404));
        alice.unshare(&share.id).await.unwrap();
        let share = alice.share_by_proxy(&name, "project", "bob", Bounds::default()).await.unwrap();
        assert_eq!(get(&mut bob, &info.id).await.unwrap(), b"for the project");
        alice.unshare(&share.id).await.unwrap();
        assert!(get(&mut bob, &info.id).await.unwrap_err().is_status(404));
        assert_eq!(get(&mut alice, &name).await.unwrap(), b"for the project");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_version_is_sealed_to_whom_the_one_before_was() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let keys = alice.keys("alice").await.unwrap();
    let offline = prunella_vault::client::public_key(&keys.wrap_key).unwrap();
    let mut next = async |scope: Option<&str>, recovery| {
        let (tier, now) = (TierName::Low, prunella_schemas::Timestamp(1));
        let what = Sealed { name: "file", size: 7, tier, scope, recovery, now };
        alice.put(&what, std::io::Cursor::new(b"content".to_vec()), |_| ()).await.map(|info| info.version)
    };
    let is_refused =
        |put: Result<u64, ClientError>| assert!(matches!(put, Err(ClientError::NotSealedTo(_))), "{put:?}");
    assert_eq!(next(None, None).await.unwrap(), 1);
    assert_eq!(next(Some("project"), None).await.unwrap(), 2);
    is_refused(next(None, None).await);
    is_refused(next(Some("another"), Some(offline.clone())).await);
    assert_eq!(next(Some("project"), Some(offline.clone())).await.unwrap(), 3);
    is_refused(next(Some("project"), None).await);
    assert_eq!(next(Some("project"), Some(offline)).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_a_share_hold() {
    let server = Server::start().await;
    let (mut alice, mut bob) = (server.user("alice").await, server.user("bob").await);
    let info = put(&mut alice, "f", b"content", TierName::Low).await.unwrap();
    let expires = server.clock.now().0 + 60_000;
    alice.share("f", "bob", Bounds { expires, downloads_max: 0 }).await.unwrap();
    assert_eq!(get(&mut bob, &info.id).await.unwrap(), b"content");
    server.clock.advance(60_000);
    assert!(get(&mut bob, &info.id).await.unwrap_err().is_status(404));
    assert!(alice.share("f", "alice", Bounds::default()).await.is_err());
    assert!(alice.share("f", "nobody", Bounds::default()).await.unwrap_err().is_status(404));
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_of_many_files_comes_to_an_end_by_itself() {
    let mut server = Server::start().await;
    let mut alice = server.user("alice").await;
    for i in 0..20 {
        put(&mut alice, &format!("file {i}"), &noise(i * 1_000), TierName::Low).await.unwrap();
    }
    let admin = server.admin().await;
    admin.rotate("alice", Level::Kek).await.unwrap();
    let until_done = async {
        while admin.rotation("alice").await.unwrap().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), until_done).await.unwrap();
    for i in 0..20 {
        assert_eq!(get(&mut alice, &format!("file {i}")).await.unwrap(), noise(i * 1_000));
    }
    // After the grace nothing is left of the old epochs, and a restart finds all as it was.
    server.clock.advance(10_000);
    let gone = async {
        while server.stored("objects/e/").len() != 20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    assert_eq!((server.stored("objects/b/").len(), server.stored("objects/p/").len()), (20, 20));
    server.restart().await;
    let mut again = server.client();
    again.memory = alice.memory.clone();
    assert_eq!(get(&mut again, "file 7").await.unwrap(), noise(7_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_are_counted_however_they_are_asked_for() {
    let server = Server::start().await;
    let (mut alice, mut bob) = (server.user("alice").await, server.user("bob").await);
    let once = Bounds { expires: 0, downloads_max: 1 };
    for (name, size) in [("small", 1_000), ("large", 5 << 20)] {
        let content = noise(size);
        let info = put(&mut alice, name, &content, TierName::Low).await.unwrap();
        let share = alice.share(name, "bob", once).await.unwrap();
        let ask = async |range: &str| {
            let request = reqwest::Client::new().get(format!("{}/download/{}", server.base, info.id));
            let request = request.bearer_auth(&bob.memory.access_token).header("range", range);
            request.send().await.unwrap().status().as_u16()
        };
        assert_eq!((ask("bytes=1-").await, ask("bytes=1-").await), (206, 404), "{name}");
        alice.unshare(&share.id).await.unwrap();
        alice.share(name, "bob", once).await.unwrap();
        assert!(get(&mut bob, &info.id).await.unwrap() == content, "{name}");
        assert!(get(&mut bob, &info.id).await.unwrap_err().is_status(404), "{name}");
    }
}
