//! Who gets in: tokens, sessions, devices, guesses, roles.

use crate::server::{PASSWORD, Server, get, put};
use axum::http::Method;
use prunella_vault::client::{Client, Memory, Stretched};
use prunella_vault::wire::{Hook, TierName};
use prunella_vault::{ACCESS_MS, FRESH_MS};

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    let old = alice.memory.clone();

    server.clock.advance(ACCESS_MS);
    assert!(alice.me().await.unwrap_err().is_status(401), "expired");
    alice.refresh().await.unwrap();
    assert!(alice.me().await.is_ok());

    // A refresh token that is shown twice ends the session for both of its holders.
    let mut thief = Client::new(&server.base, old).unwrap();
    assert!(thief.refresh().await.unwrap_err().is_status(401));
    assert!(alice.me().await.unwrap_err().is_status(401));
    assert!(alice.refresh().await.unwrap_err().is_status(401));

    alice.login("alice", PASSWORD).await.unwrap();
    let stolen = Client::new(&server.base, alice.memory.clone()).unwrap();
    assert!(stolen.me().await.is_ok());
    let admin = server.admin().await;
    admin.act_on("alice", "revoke-tokens", &Hook::default()).await.unwrap();
    assert!(stolen.me().await.unwrap_err().is_status(401), "of an older version");
    alice.login("alice", PASSWORD).await.unwrap();
    assert_eq!(get(&mut alice, "file").await.unwrap(), b"content");

    // Who knows the session's name, and no token of it, ends nothing.
    let session = alice.memory.refresh_token.split_once('.').unwrap().0.to_owned();
    for secret in ["", "0", &"0".repeat(64), "0.1.0", &format!("{}.1.{}", "0".repeat(64), "0".repeat(64))] {
        let guess = serde_json::json!({"refresh_token": format!("{session}.{secret}")}).to_string();
        assert_eq!(server.raw(Method::POST, "/token/refresh", "", guess.into_bytes()).await.0, 401);
    }
    assert!(alice.refresh().await.is_ok());

    let before = Client::new(&server.base, alice.memory.clone()).unwrap();
    alice.logout().await.unwrap();
    assert!(before.me().await.unwrap_err().is_status(401), "after the log-out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_holds_until_it_ends_and_sounds_like_a_wrong_token() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let admin = server.admin().await;
    let expires = server.clock.now().0 + 60_000;
    let hook = Hook { action_id: "a1".into(), reason: "stolen".into(), expires };
    admin.act_on("alice", "lock", &hook).await.unwrap();
    admin.act_on("alice", "lock", &hook).await.unwrap();
    let refused = alice.me().await.unwrap_err().to_string();
    let forged = server.raw(Method::GET, "/me", "forged", Vec::new()).await;
    assert!(forged.0 == 401 && forged.1.contains(refused.trim_end_matches(" (401)")), "{refused} {forged:?}");
    assert!(alice.login("alice", PASSWORD).await.unwrap_err().is_status(401));
    server.clock.advance(60_000);
    alice.login("alice", PASSWORD).await.unwrap();

    admin.act_on("alice", "lock", &Hook::default()).await.unwrap();
    assert!(alice.me().await.unwrap_err().is_status(401));
    admin.act_on("alice", "unlock", &Hook::default()).await.unwrap();
    assert!(alice.me().await.is_ok());
    // Of two locks the longer one counts.
    admin.act_on("alice", "lock", &Hook::default()).await.unwrap();
    let shorter = Hook { expires: server.clock.now().0 + 60_000, ..Hook::default() };
    admin.act_on("alice", "lock", &shorter).await.unwrap();
    server.clock.advance(60_000);
    assert!(alice.me().await.unwrap_err().is_status(401));
    admin.act_on("alice", "unlock", &Hook::default()).await.unwrap();
    assert!(alice.me().await.is_ok());
    // The first action is done: its id again does nothing, and for something else it is refused.
    admin.act_on("alice", "lock", &Hook { expires: 0, ..hook.clone() }).await.unwrap();
    assert!(alice.me().await.is_ok());
    assert!(admin.act_on("alice", "revoke-tokens", &hook).await.unwrap_err().is_status(409));
    assert!(admin.act_on("admin", "lock", &Hook::default()).await.unwrap_err().is_status(409));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_do_what_the_policy_says() {
    let server = Server::start().await;
    let (mut alice, bob) = (server.user("alice").await, server.user("bob").await);
    let info = put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    let admin = server.admin().await;
    let id = |client: &Client| client.memory.username.clone();
    for (who, method, path, want) in [
        (&bob, Method::GET, "/admin/users".to_owned(), 403),
        (&bob, Method::GET, "/admin/logs".to_owned(), 403),
        (&bob, Method::POST, format!("/admin/users/{}/lock", id(&alice)), 403),
        (&bob, Method::POST, format!("/admin/users/{}/revoke-tokens", id(&alice)), 404),
        (&bob, Method::GET, format!("/rotateKey/{}", id(&alice)), 404),
        (&bob, Method::GET, format!("/files/{}", info.id), 404),
        (&bob, Method::GET, format!("/download/{}", info.id), 404),
        (&bob, Method::GET, "/download/file".to_owned(), 404),
        (&bob, Method::DELETE, format!("/delete/{}", info.id), 404),
        (&admin, Method::GET, format!("/download/{}", info.id), 403),
        (&admin, Method::GET, format!("/manifest/{}", info.id), 403),
        (&admin, Method::GET, "/admin/users".to_owned(), 200),
        (&alice, Method::GET, format!("/rotateKey/{}", id(&alice)), 200),
    ] {
        let request = reqwest::Client::new().request(method.clone(), format!("{}{path}", server.base));
        let request =
            request.bearer_auth(&who.memory.access_token).header("x-vault-device", &who.memory.device_token);
        let answer = request.json(&Hook::default()).send().await.unwrap();
        assert_eq!(answer.status(), want, "{} {method} {path}", id(who));
        if want >= 400 {
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dangerous_takes_a_fresh_proof() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    put(&mut alice, "high", b"content", TierName::High).await.unwrap();
    put(&mut alice, "low", b"content", TierName::Low).await.unwrap();
    server.clock.advance(FRESH_MS);
    assert!(get(&mut alice, "low").await.is_ok());
    let refused = get(&mut alice, "high").await.unwrap_err();
    assert!(refused.is_status(401) && refused.to_string().contains("fresh proof"), "{refused}");
    alice.login("alice", PASSWORD).await.unwrap();
    assert!(get(&mut alice, "high").await.is_ok());

    // A token without the device that it was given to is worth a step-up once the proof is no longer fresh.
    let mut stolen = alice.memory.clone();
    stolen.device_token = String::new();
    let mut thief = Client::new(&server.base, stolen).unwrap();
    assert!(get(&mut thief, "low").await.is_ok(), "one signal, and a fresh proof");
    server.clock.advance(FRESH_MS);
    assert!(get(&mut alice, "low").await.is_ok());
    assert!(get(&mut thief, "low").await.unwrap_err().to_string().contains("fresh proof"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_is_slowed_down_and_the_owner_is_not() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let mut guesser = server.client();
    let mut throttled = 0;
    for i in 0..40 {
        let refused = guesser.login_as("alice", &format!("wrong guess {i}")).await.unwrap_err();
        assert!(refused.is_status(401) || refused.is_status(429), "{refused}");
        throttled += u32::from(refused.is_status(429));
    }
    assert!(throttled >= 30, "{throttled}");
    // From the very same address, but from a device that the account knows.
    alice.login("alice", PASSWORD).await.unwrap();
    // Accounts that do not exist sound the same.
    let mut unknown = Vec::new();
    for i in 0..8 {
        unknown.push(guesser.login_as("nobody", &format!("wrong guess {i}")).await.unwrap_err().to_string());
    }
    assert!(unknown[0].contains("(401)") && unknown[7].contains("(429)"), "{unknown:?}");
    server.clock.advance(16 * 60 * 1_000);
    let auth = Stretched::new("alice", PASSWORD).unwrap().auth;
    guesser.login_as("alice", &auth).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_accounts_log_in_with_their_old_password() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let import =
        |hash: &str| serde_json::json!({"username": "old", "password_hash": hash}).to_string().into_bytes();
    let path = "/admin/users";
    let mut memory = Memory::default();
    memory.device_token.clone_from(&admin.memory.device_token);
    let hash = bcrypt::hash("an old password", 4).unwrap();
    for (hash, want) in [("$1$md5", 400), (hash.as_str(), 201), (hash.as_str(), 409)] {
        let answer = server.raw(Method::POST, path, &admin.memory.access_token, import(hash)).await;
        assert_eq!(answer.0, want, "{hash} {}", answer.1);
    }
    for _ in 0..2 {
        let mut old = server.client();
        old.login_as("old", "an old password").await.unwrap();
        assert!(old.me().await.is_ok());
        assert!(put(&mut old, "file", b"content", TierName::Low).await.is_err(), "it has no keys");
    }
    // With keys of its own it is an account as any other, and the old password is not sent again.
    let mut old = server.client();
    old.login_plain("old", "an old password").await.unwrap();
    put(&mut old, "file", b"content", TierName::Medium).await.unwrap();
    let mut elsewhere = server.client();
    elsewhere.login("old", "an old password").await.unwrap();
    assert_eq!(get(&mut elsewhere, "file").await.unwrap(), b"content");
    assert!(elsewhere.login_as("old", "an old password").await.unwrap_err().is_status(401));
    let keys = serde_json::json!({
        "password": "another password", "wrap_key": elsewhere.keys("old").await.unwrap().wrap_key,
        "sign_key": elsewhere.keys("old").await.unwrap().sign_key,
    });
    let again = keys.to_string().into_bytes();
    let again = server.raw(Method::POST, "/me/keys", &old.memory.access_token, again).await;
    assert_eq!(again.0, 409, "{}", again.1);
}
