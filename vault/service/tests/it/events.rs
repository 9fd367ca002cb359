//! What is told: every operation, allowed or refused, to the pipeline and to the ledger, once and in order.

use crate::server::{PASSWORD, Server, get, put};
use prunella_ledger::{Completeness, Entry, Integrity, Verifier, verify};
use prunella_vault::client::Bounds;
use prunella_vault::wire::TierName;

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_an_event_with_who_what_and_outcome() {
    let server = Server::start().await;
    let (mut alice, mut bob) = (server.user("alice").await, server.user("bob").await);
    let device = alice.memory.device_token.clone();
    let info = put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    get(&mut bob, &info.id).await.unwrap_err();
    let share = alice.share("file", "bob", Bounds::default()).await.unwrap();
    get(&mut bob, &info.id).await.unwrap();
    alice.unshare(&share.id).await.unwrap();
    bob.login("bob", "a wrong password").await.unwrap_err();
    alice.remove("file").await.unwrap();
    alice.logout().await.unwrap();
    for (operation, class, activity, outcomes) in [
        ("register", 3001, 1, vec![1, 1]),
        ("login", 3002, 1, vec![1, 1, 2]),
        ("upload", 6006, 1, vec![1]),
        ("inspect", 6006, 17, vec![1, 2]),
        ("share", 6006, 12, vec![1]),
        ("open", 6006, 14, vec![1, 1]),
        ("download", 6006, 2, vec![1]),
        ("unshare", 6006, 13, vec![1]),
        ("delete", 6006, 4, vec![1]),
        ("logout", 3002, 2, vec![1]),
    ] {
        let events = server.events(operation, outcomes.len()).await;
        let mut got: Vec<_> = events.iter().map(|event| event["status_id"].as_u64().unwrap()).collect();
        got.sort_unstable();
        assert!(got.starts_with(&outcomes) || got.ends_with(&outcomes), "{operation} {got:?}");
        for event in &events {
            assert_eq!(
                (&event["class_uid"], &event["activity_id"]),
                (&class.into(), &activity.into()),
                "{operation}"
            );
            assert_eq!(event["type_uid"], class * 100 + activity);
            assert_eq!(event["actor"]["user"]["account"]["uid"], "vault", "{operation} {event}");
            assert_eq!(event["src_endpoint"]["ip"], "127.0.0.1");
            let text = event.to_string();
            for secret in [&alice.memory.device_token, &bob.memory.device_token] {
                assert!(
                    !secret.is_empty() && !text.contains(secret.as_str()),
                    "{operation} tells a device's token"
                );
            }
            assert!(!text.contains(PASSWORD) && !text.contains("a wrong password"));
            assert!(event["prunella"].is_null() && event["metadata"]["uid"].is_string());
        }
    }
    // A device is known by its name; the token that proves it is a credential.
    let (name, token) = (device.split('.').nth(1).unwrap(), device.as_str());
    for operation in ["login", "upload", "download", "unshare"] {
        for event in server.events(operation, 1).await {
            assert!(!event.to_string().contains(token), "{operation}");
        }
    }
    assert_eq!(server.events("upload", 1).await[0]["src_endpoint"]["uid"], name);
    let download = &server.events("download", 1).await[0];
    assert_eq!(download["file"]["uid"], info.id.as_str());
    assert_eq!(download["traffic"]["bytes_out"], info.size);
    let refused =
        server.events("inspect", 2).await.into_iter().find(|event| event["status_id"] == 2).unwrap();
    assert_eq!(refused["status_code"], "AccessDenied");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_holds_all_of_it_and_shows_what_is_changed() {
    let mut server = Server::start().await;
    let mut alice = server.user("alice").await;
    put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    server.restart().await;
    let mut again = server.client();
    again.memory = alice.memory.clone();
    get(&mut again, "file").await.unwrap();
    let admin = server.admin().await;
    let logs = admin.logs("").await.unwrap();
    let entries: Vec<Entry> =
        logs.entries.iter().map(|e| serde_json::from_value(e.clone()).unwrap()).collect();
    let verifier = Verifier::parse(&logs.verifier_key).unwrap();
    let checkpoints = vec![logs.checkpoint];
    let check = |entries: Vec<Entry>| verify(entries.into_iter().map(Ok), &checkpoints, Some(&verifier));
    let whole = check(entries.clone());
    assert_eq!((whole.integrity, whole.completeness), (Integrity::Ok, Completeness::Ok), "{whole:?}");
    let told: Vec<serde_json::Value> =
        entries.iter().map(|e| serde_json::from_slice(&e.body).unwrap()).collect();
    for operation in ["register", "login", "upload", "download", "admin_logs"] {
        assert!(told.iter().any(|body| body["api"]["operation"] == operation), "{operation}");
    }
    let steps: Vec<_> = told.iter().filter_map(|body| body["step"].as_str()).collect();
    assert!(steps.starts_with(&["intent", "commit"]), "{steps:?}");
    let mut edited = entries.clone();
    edited[3].body[20] ^= 1;
    assert_eq!(check(edited).integrity, Integrity::Broken);
    let mut removed = entries.clone();
    removed.remove(3);
    assert_eq!(check(removed).integrity, Integrity::Broken);
    assert_eq!(check(entries[..entries.len() - 1].to_vec()).completeness, Completeness::Truncated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_ledger_is_whole_whenever_it_is_read() {
    let server = Server::start().await;
    let (alice, admin) = (server.user("alice").await, server.admin().await);
    let busy = tokio::spawn(async move {
        for _ in 0..200 {
            alice.me().await.unwrap();
        }
    });
    for _ in 0..40 {
        let logs = admin.logs("").await.unwrap();
        assert!(logs.next.is_none(), "one page has all of it");
        let entries = logs.entries.into_iter().map(|e| Ok(serde_json::from_value(e).unwrap()));
        let verifier = Verifier::parse(&logs.verifier_key).unwrap();
        let report = verify(entries, &[logs.checkpoint], Some(&verifier));
        assert_eq!((report.integrity, report.completeness), (Integrity::Ok, Completeness::Ok), "{report:?}");
    }
    busy.await.unwrap();
}

#[test]
fn the_description_names_every_route() {
    let document = prunella_vault::openapi();
    let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for route in [
        "/register",
        "/login",
        "/token/refresh",
        "/logout",
        "/me",
        "/me/keys",
        "/upload",
        "/manifest/{filename}",
        "/download/{filename}",
        "/files",
        "/delete/{filename}",
        "/share",
        "/share/{id}",
        "/shares",
        "/rotateKey/{userID}",
        "/admin/users",
        "/admin/logs",
        "/admin/users/{id}/lock",
        "/admin/users/{id}/unlock",
        "/admin/users/{id}/revoke-tokens",
        "/files/{filename}/tier",
        "/files/{filename}/class",
        "/keys/{username}",
        "/log/checkpoint",
    ] {
        assert!(paths.contains(&route), "{route} is not described");
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
}
