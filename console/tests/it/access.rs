//! Who may ask: token, host, origin, and what every answer carries.

use crate::served::{Served, TOKEN, answer};
use prunella_console::{Config, ConfigError, Token, router};
use reqwest::Method;
use serde_json::json;

const PROTECTED: [&str; 11] = [
    "/readyz",
    "/api/health",
    "/api/dashboard",
    "/api/events",
    "/api/threats",
    "/api/receipts",
    "/api/token-versions?principal=a",
    "/api/ledger/checkpoint",
    "/openapi.json",
    "/api/docs/",
    "/no/such/route",
];

#[tokio::test]
async fn with_a_token_only_life_and_the_empty_page_are_open() {
    let served = Served::with_token().await;
    for open in ["/livez", "/", "/assets/app.js", "/assets/style.css"] {
        assert_eq!(served.get(open).await.status, 200, "{open}");
    }
    let with =
        |path: &str, value: String| answer(served.request(Method::GET, path).header("authorization", value));
    for path in PROTECTED {
        let refused = served.get(path).await;
        refused.is_problem(401, &["Authorization: Bearer"]);
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        let wrong = [
            format!("Bearer {}", &TOKEN[1..]),
            format!("Bearer {TOKEN}0"),
            format!("Basic {TOKEN}"),
            TOKEN.to_owned(),
        ];
        for wrong in wrong {
            with(path, wrong.clone()).await.is_problem(401, &[]);
        }
        let right = with(path, format!("bearer {TOKEN}")).await;
        assert!(
            right.status == 200 || (path == "/no/such/route" && right.status == 404),
            "{path} {}",
            right.status
        );
    }
    served.post("/api/kill-switch", &json!({"engaged": true, "by": "x"})).await.is_problem(401, &[]);
    assert!(served.fake.world().commands.is_empty());
    assert_eq!(
        answer(served.request(Method::GET, "/livez").header("host", "pod-7.cluster.local")).await.status,
        200
    );
}

#[tokio::test]
async fn without_a_token_only_loopback_names_are_served() {
    let served = Served::start().await;
    let with = |host: String| answer(served.request(Method::GET, "/api/health").header("host", host));
    let port = served.address.port();
    for local in ["127.0.0.1", "localhost", "LOCALHOST", "127.0.0.9", "[::1]"] {
        assert_eq!(with(local.to_owned()).await.status, 200, "{local}");
        assert_eq!(with(format!("{local}:{port}")).await.status, 200, "{local}");
    }
    for strange in
        ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "u@127.0.0.1", "[::2]", ""]
    {
        with(strange.to_owned()).await.is_problem(421, &["not a loopback name"]);
    }
    let rebound = served.request(Method::GET, "/").header("host", "evil.example");
    answer(rebound).await.is_problem(421, &["evil.example"]);
}

/// Even when the listener was bound to more than the configuration says.
#[tokio::test]
async fn without_a_token_other_machines_are_not_served() {
    // No packet is sent: this only asks the kernel which address it would use.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr()).map(|a| a.ip());
    let Some(own) = own.ok().filter(|ip| !ip.is_loopback() && !ip.is_unspecified()) else {
        eprintln!("SKIPPED: this machine has no address but loopback");
        return;
    };
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = router(crate::fake::Fake::sample().ports(), Config::default()).unwrap();
    tokio::spawn(prunella_console::serve(listener, app, std::future::pending()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let from = |ip: std::net::IpAddr| {
        answer(client.get(format!("http://{ip}:{port}/api/health")).header("host", "127.0.0.1"))
    };
    from(own).await.is_problem(403, &[&own.to_string(), "token_file"]);
    assert_eq!(from([127, 0, 0, 1].into()).await.status, 200);
}

#[tokio::test]
async fn other_sites_change_nothing() {
    let origins = vec!["https://ops.example".to_owned()];
    let served = Served::with(Config { origins, ..Config::default() }).await;
    let send = |name: &'static str, value: String| {
        let body = json!({"engaged": true, "by": "x"});
        answer(served.request(Method::POST, "/api/kill-switch").json(&body).header(name, value))
    };
    let own = format!("http://{}", served.address);
    let refused = [
        ("origin", "https://evil.example".to_owned()),
        ("origin", "null".to_owned()),
        ("origin", "http://127.0.0.1:1".to_owned()),
        ("origin", format!("{own}.evil.example")),
        ("sec-fetch-site", "cross-site".to_owned()),
        ("sec-fetch-site", "same-site".to_owned()),
    ];
    for (name, value) in refused {
        send(name, value).await.is_problem(403, &["sent this"]);
    }
    assert!(served.fake.world().commands.is_empty());
    let allowed = [
        ("origin", own),
        ("origin", "https://ops.example".to_owned()),
        ("sec-fetch-site", "same-origin".to_owned()),
        ("sec-fetch-site", "none".to_owned()),
    ];
    for (name, value) in allowed {
        assert_eq!(send(name, value).await.status, 202, "{name}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers() {
    let served = Served::start().await;
    for path in
        ["/", "/livez", "/api/events", "/api/docs/", "/openapi.json", "/no/such/route", "/api/events?x=1"]
    {
        let answer = served.get(path).await;
        let csp = answer.header("content-security-policy");
        assert!(
            csp.starts_with("default-src 'none';") && csp.contains("frame-ancestors 'none'"),
            "{path}: {csp}"
        );
        assert!(
            !csp.contains("script-src 'self' 'unsafe") && !csp.contains("'unsafe-eval'"),
            "{path}: {csp}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert!(!answer.header("cache-control").is_empty(), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
}

#[test]
fn a_token_file_is_read_only_when_nobody_else_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let listen = "0.0.0.0:7420".parse().unwrap();
    let start = || {
        router(
            crate::fake::Fake::sample().ports(),
            Config { listen, token_file: Some(path.clone()), ..Config::default() },
        )
    };
    assert!(matches!(start().err(), Some(ConfigError::TokenFile { .. })));
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(start().err(), Some(ConfigError::TokenFileOpen { path: path.clone(), mode: 0o644 }));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(start().is_ok());
    std::fs::write(&path, "short").unwrap();
    assert_eq!(start().err(), Some(ConfigError::WeakToken));
    assert!(Token::load(&path).is_err());
    let exposed =
        router(crate::fake::Fake::sample().ports(), Config { listen, ..Config::default() }).err().unwrap();
    assert!(exposed.to_string().contains("0.0.0.0:7420 without a token"), "{exposed}");
}

#[test]
fn configuration_reads_from_text_with_defaults_and_refuses_unknown_keys() {
    let read = serde_json::from_value::<Config>;
    let config = read(json!({"listen": "127.0.0.1:9000"})).ok().unwrap();
    assert_eq!((config.listen.port(), config.tenant.as_str()), (9_000, "default"));
    assert!(read(json!({"lisen": "127.0.0.1:9000"})).is_err());
    let shown = serde_json::to_value(Config { token: Token::new(TOKEN).ok(), ..Config::default() }).unwrap();
    assert!(shown.get("token").is_none() && !shown.to_string().contains(TOKEN));
}
