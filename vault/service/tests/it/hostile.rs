//! What is odd or meant ill: names, sizes, forged tokens, bodies that are not what they say.

use crate::server::{Server, get, noise, put};
use axum::http::Method;
use prunella_vault::client::{Bounds, ClientError};
use prunella_vault::wire::TierName;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_and_sizes_come_back_as_they_were() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let names = [
        "../../etc/passwd",
        "a/b\\c",
        ".",
        "..",
        "naïve 文件 🗂",
        "\u{202e}fdp.exe",
        "line\nbreak",
        "nul\0",
        "%2e%2e%2f",
    ];
    // What the user calls a file never reaches the server, so any name will do.
    for name in names {
        put(&mut alice, name, name.as_bytes(), TierName::Low).await.unwrap();
    }
    for name in names {
        assert_eq!(get(&mut alice, name).await.unwrap(), name.as_bytes());
    }
    for size in [0, 1, 16_383, 16_384, 16_385, 262_143, 262_144, 4 << 20, (4 << 20) + 1, 9_000_000] {
        let content = noise(size);
        put(&mut alice, "size", &content, TierName::Low).await.unwrap();
        assert!(get(&mut alice, "size").await.unwrap() == content, "{size}");
    }
    assert!(!server.dir().join("../etc").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_out_are_refused_by_the_server_itself() {
    let server = Server::start().await;
    let alice = server.user("alice").await;
    let token = &alice.memory.access_token;
    for name in
        ["..%2f..%2fetc%2fpasswd", "%2e%2e", "%2e", "a%5cb", "a%00b", "a%0ab", &"x".repeat(256), "%e2%80%ae"]
    {
        let upload = server.raw(Method::POST, &format!("/upload?name={name}"), token, vec![0; 64]).await;
        assert_eq!(upload.0, 400, "{name} {}", upload.1);
        for route in ["download", "manifest", "files"] {
            let found = server.raw(Method::GET, &format!("/{route}/{name}"), token, Vec::new()).await;
            assert!(matches!(found.0, 400 | 404), "{route} {name} {found:?}");
        }
    }
    for path in
        ["/download/../../../etc/passwd", "/download/..;/vault.db", "/objects/b", "/vault.db", "//etc/passwd"]
    {
        let found = server.raw(Method::GET, path, token, Vec::new()).await;
        assert!(matches!(found.0, 400 | 404), "{path} {found:?}");
        assert!(!found.1.contains("root:"));
    }
    assert!(server.stored("passwd").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_what_they_say_are_refused() {
    let server = Server::start().await;
    let alice = server.user("alice").await;
    let token = &alice.memory.access_token;
    let head = [&b"VLT1\0\x01"[..], &[7; 16], &1_u64.to_be_bytes(), &[0; 56], &[0; 16]].concat();
    let framed =
        |object: &[u8], manifest: &[u8]| [object, manifest, &(manifest.len() as u32).to_be_bytes()].concat();
    for (what, body) in [
        ("nothing", vec![]),
        ("no frame", vec![0xff; 300]),
        ("no object", framed(b"", b"manifest")),
        ("not sealed", framed(&[1; 200], b"manifest")),
        (
            "not signed",
            framed(
                &head,
                b"manifest that nobody signed, which is long enough to hold a signature of 64 bytes",
            ),
        ),
        ("a length beyond the body", [&head[..], &[0, 0, 0xff, 0xff]].concat()),
    ] {
        let refused = server.raw(Method::POST, "/upload?name=x", token, body).await;
        assert_eq!(refused.0, 400, "{what} {}", refused.1);
        assert!(refused.1.contains("/problems/invalid"));
    }
    assert!(server.stored("staging").is_empty(), "nothing is left behind");
    for path in [
        "/upload",
        "/upload?name=",
        "/upload?name=a&tier=URGENT",
        "/upload?name=a&label=%3Cscript%3E",
        "/upload?name=a&x=1",
    ] {
        assert_eq!(server.raw(Method::POST, path, token, framed(&head, b"m")).await.0, 400, "{path}");
    }
    for (path, body) in
        [("/share", "{"), ("/share", "{}"), ("/share", "[]"), ("/token/refresh", "{\"refresh_token\":1}")]
    {
        let refused = server.raw(Method::POST, path, token, body.as_bytes().to_vec()).await;
        assert_eq!(refused.0, 400, "{path} {body} {}", refused.1);
    }
    let large = server.raw(Method::POST, "/share", token, vec![b' '; 1 << 20]).await;
    assert!(matches!(large.0, 400 | 413), "{large:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_ours_open_nothing() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    let token = alice.memory.access_token.clone();
    let [head, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    // {"alg":"none"} and {"alg":"none","kid":"token.1"}
    for forged in [
        String::new(),
        "x".repeat(10_000),
        format!("eyJhbGciOiJub25lIn0.{payload}."),
        format!("eyJhbGciOiJub25lIiwia2lkIjoidG9rZW4uMSJ9.{payload}."),
        format!("eyJhbGciOiJub25lIn0.{payload}.{signature}"),
        format!("{head}.{payload}."),
        format!("{head}.{payload}.{}", signature.chars().rev().collect::<String>()),
        format!("{head}.{}.{signature}", payload.chars().rev().collect::<String>()),
    ] {
        for path in ["/me", "/files", "/download/file", "/shares", "/admin/users"] {
            assert_eq!(server.raw(Method::GET, path, &forged, Vec::new()).await.0, 401, "{path} {forged}");
        }
    }
    assert_eq!(server.raw(Method::GET, "/files", &token, Vec::new()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_uploads_of_one_name_one_wins() {
    let server = Server::start().await;
    let alice = server.user("alice").await;
    for round in 0..5 {
        let name = format!("file {round}");
        let racers = [b"one".to_vec(), b"two".to_vec()].map(|content| {
            let mut racer = server.client();
            racer.memory = alice.memory.clone();
            let name = name.clone();
            tokio::spawn(
                async move { put(&mut racer, &name, &content, TierName::Low).await.map(|_| content) },
            )
        });
        let mut done = Vec::new();
        for racer in racers {
            match racer.await.unwrap() {
                Ok(content) => done.push(content),
                Err(error) => assert!(error.is_status(409), "{error}"),
            }
        }
        assert!(!done.is_empty());
        let mut reader = server.client();
        reader.memory = alice.memory.clone();
        let found = get(&mut reader, &name).await.unwrap();
        assert!(done.contains(&found));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_sent_as_asked_for() {
    let server = Server::start().await;
    let mut alice = server.user("alice").await;
    let info = put(&mut alice, "file", &noise(50_000), TierName::Low).await.unwrap();
    let object = std::fs::read(&server.stored("objects/b/")[0]).unwrap();
    let ask = async |range: &str| {
        let request = reqwest::Client::new().get(format!("{}/download/{}", server.base, info.id));
        let request = request.bearer_auth(&alice.memory.access_token).header("range", range);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    };
    assert_eq!(ask("bytes=0-9").await, (206, object[..10].to_vec()));
    assert_eq!(ask("bytes=-5").await, (206, object[object.len() - 5..].to_vec()));
    assert_eq!(ask("bytes=100-").await, (206, object[100..].to_vec()));
    assert_eq!(ask("bytes=1-2,5-6").await, (200, object.clone()));
    assert_eq!(ask(&format!("bytes={}-", object.len())).await.0, 416);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_swapped_is_noticed() {
    let server = Server::start().await;
    let (mut alice, _bob) = (server.user("alice").await, server.user("bob").await);
    put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    alice.keys("bob").await.unwrap();
    server
        .tamper("UPDATE users SET wrap_key = (SELECT wrap_key FROM users WHERE name = 'alice') WHERE name = 'bob'")
        .await;
    let refused = alice.share("file", "bob", Bounds::default()).await.unwrap_err().to_string();
    assert!(refused.contains("not those that were seen before"), "{refused}");
}

/// The database may list whom it likes: a new version goes to those to whom the owner signed the one before.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_the_owner_never_gave_gets_no_key() {
    let server = Server::start().await;
    let (mut alice, mut bob) = (server.user("alice").await, server.user("bob").await);
    let mut mallory = server.user("mallory").await;
    let info = put(&mut alice, "file", b"content", TierName::Low).await.unwrap();
    alice.share("file", "bob", Bounds::default()).await.unwrap();
    server
        .tamper(
            "INSERT INTO grants (id, file, owner, recipient, mode, expires, downloads_left, revoked, signed, rekey, created)
             SELECT 'forged', file, owner, (SELECT id FROM users WHERE name = 'mallory'), mode, 0, -1, 0, '', '', created
             FROM grants",
        )
        .await;
    put(&mut alice, "file", b"next", TierName::Low).await.unwrap();
    assert_eq!(get(&mut bob, &info.id).await.unwrap(), b"next");
    let refused = get(&mut mallory, &info.id).await.unwrap_err();
    assert!(matches!(refused, ClientError::NotForYou(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_no_body_holds_nobody_up() {
    let server = Server::start().await;
    let alice = server.user("alice").await;
    let token = &alice.memory.access_token;
    let idle = async |count: usize, request: String| {
        let mut connections = Vec::new();
        for _ in 0..count {
            let mut connection = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
            connection.write_all(request.as_bytes()).await.unwrap();
            connections.push(connection);
        }
        connections
    };
    let head = "host: vault\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 100";
    let _idle = idle(300, format!("POST /login HTTP/1.1\r\n{head}\r\n\r\n")).await;
    for _ in 0..20 {
        alice.me().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Uploads have places of their own.
    let upload = format!("POST /upload?name=x HTTP/1.1\r\nauthorization: Bearer {token}\r\n{head}\r\n\r\n");
    let _uploads = idle(70, upload).await;
    let until_full = async {
        while server.raw(Method::POST, "/upload?name=x", token, vec![0; 64]).await.0 != 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(25), until_full).await.unwrap();
    alice.me().await.unwrap();
}
