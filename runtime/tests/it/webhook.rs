//! Webhooks against a real receiver: signatures, retries, 410, redirects, private addresses, and a crash in between.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prunella_runtime::clock::Clock;
use prunella_runtime::webhook::{
    Channel, Deliverer, Endpoint, Issuer, Outbox, OutboxState, PAYLOAD_BYTES_MAX, RoutingKey, SCHEDULE_MS,
    Secret, WebhookEffector, WebhookError,
};
use prunella_schemas::plan::{Outcome, Probe, Read};
use prunella_schemas::port::Effector;
use prunella_schemas::{Id, Step, Tenant, Timestamp};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

const KEYS: [[u8; 32]; 2] = [[1; 32], [2; 32]];
const WAIT_MS_MAX: u64 = 20_000;

type Request = (HeaderMap, Vec<u8>);

/// A receiver that answers with the statuses it was given, the last one for ever, and keeps what it got.
#[derive(Clone, Default)]
struct Receiver {
    answers: Arc<Mutex<Vec<u16>>>,
    got: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    async fn start(answers: &[u16]) -> (Self, String) {
        let receiver = Receiver { answers: Arc::new(Mutex::new(answers.to_vec())), got: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let own = receiver.clone();
        let hook = post(async move |headers: HeaderMap, body: Bytes| own.take(headers, &body));
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", hook)).await });
        (receiver, url)
    }

    fn take(&self, headers: HeaderMap, body: &[u8]) -> (StatusCode, [(&'static str, &'static str); 1]) {
        self.got.lock().unwrap().push((headers, body.to_vec()));
        let mut answers = self.answers.lock().unwrap();
        let status = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
        (StatusCode::from_u16(status).unwrap(), [("location", "/hook")])
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

struct World {
    _directory: TempDir,
    now: Arc<AtomicI64>,
    outbox: Outbox,
}

impl World {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let now = Arc::new(AtomicI64::new(1_700_000_000_000));
        let outbox = Outbox::open(&directory.path().join("webhook.db"), clock(&now)).unwrap();
        World { _directory: directory, now, outbox }
    }

    /// A new deliverer, as after a restart; it runs until the sender is dropped.
    fn deliver(&self, url: &str, allow_private: bool) -> watch::Sender<bool> {
        let endpoint = Endpoint::new("soc", url, Channel::Webhook(secrets()), allow_private).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(Deliverer::new(self.outbox.clone(), vec![endpoint], None).unwrap().run(stopped));
        stop
    }

    async fn until(&self, id: &str, what: impl Fn(OutboxState, u32) -> bool) {
        for _ in 0..WAIT_MS_MAX / 10 {
            let row = self.outbox.message("soc", id).unwrap().unwrap();
            if what(row.state, row.attempts) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let row = self.outbox.message("soc", id).unwrap().unwrap();
        assert!(what(row.state, row.attempts), "timed out: {row:?}");
    }
}

fn clock(now: &Arc<AtomicI64>) -> Clock {
    let now = Arc::clone(now);
    Arc::new(move || Timestamp(now.load(Ordering::SeqCst)))
}

fn secrets() -> Vec<Secret> {
    KEYS.iter().map(|k| Secret::parse(&format!("whsec_{}", STANDARD.encode(k))).unwrap()).collect()
}

/// HMAC-SHA256 from its definition (RFC 2104), so that the check does not use what it checks.
fn hmac(key: &[u8; 32], text: &[u8]) -> String {
    let sha256 = |parts: [&[u8]; 2]| {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        parts.iter().for_each(|p| context.update(p));
        context.finish()
    };
    let pad = |with: u8| std::array::from_fn::<u8, 64, _>(|i| key.get(i).copied().unwrap_or(0) ^ with);
    let inner = sha256([&pad(0x36), text]);
    STANDARD.encode(sha256([&pad(0x5c), inner.as_ref()]))
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_cannot_be_recorded_for_a_while_do_not_stop_the_deliveries() {
    let world = World::new();
    let file = rusqlite::Connection::open(world._directory.path().join("webhook.db")).unwrap();
    let refuse =
        "CREATE TRIGGER injected BEFORE UPDATE ON message BEGIN SELECT RAISE(ABORT, 'injected'); END";
    file.execute_batch(refuse).unwrap();
    let (receiver, url) = Receiver::start(&[204]).await;
    let ids: Vec<String> = (0..12).map(|n| format!("msg_{n}")).collect();
    ids.iter().for_each(|id| assert!(world.outbox.enqueue("soc", id, b"{}").unwrap()));
    let _stop = world.deliver(&url, true);
    for _ in 0..WAIT_MS_MAX / 10 {
        if receiver.count() >= 8 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    file.execute_batch("DROP TRIGGER injected").unwrap();
    for id in &ids {
        world.until(id, |state, _| state == OutboxState::Delivered).await;
    }
    assert_eq!(receiver.count(), 12, "none is sent twice");
}

#[tokio::test]
async fn a_message_arrives_once_with_a_signature_of_each_secret() {
    let (receiver, url) = Receiver::start(&[204]).await;
    let world = World::new();
    let _stop = world.deliver(&url, true);
    assert!(world.outbox.enqueue("soc", "msg_1", b"{\"a\":1}").unwrap());
    assert!(!world.outbox.enqueue("soc", "msg_1", b"{\"a\":2}").unwrap(), "the same id is the same message");
    world.until("msg_1", |state, _| state == OutboxState::Delivered).await;
    assert!(!world.outbox.enqueue("soc", "msg_1", b"{\"a\":1}").unwrap(), "even when it was delivered");
    tokio::time::sleep(Duration::from_millis(50)).await;

    let got = receiver.got.lock().unwrap().clone();
    let [(headers, body)] = got.as_slice() else { panic!("{} messages", got.len()) };
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap();
    assert_eq!(body, b"{\"a\":1}");
    assert_eq!((header("webhook-id"), header("webhook-timestamp")), ("msg_1", "1700000000"));
    assert_eq!(header("content-type"), "application/json");
    let signed = KEYS.map(|k| format!("v1,{}", hmac(&k, b"msg_1.1700000000.{\"a\":1}"))).join(" ");
    assert_eq!(header("webhook-signature"), signed);
}

#[tokio::test]
async fn a_refused_message_is_tried_again_on_schedule() {
    let (receiver, url) = Receiver::start(&[500, 503, 200]).await;
    let world = World::new();
    let _stop = world.deliver(&url, true);
    world.outbox.enqueue("soc", "msg_1", b"{}").unwrap();
    world.until("msg_1", |_, attempts| attempts == 1).await;
    let row = world.outbox.message("soc", "msg_1").unwrap().unwrap();
    let delay = row.due.0 - world.now.load(Ordering::SeqCst);
    assert!((4_500..=5_500).contains(&delay) && row.detail.contains("500"), "{row:?}");
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(receiver.count(), 1, "not before it is due");
    for attempt in 2..=3 {
        world.now.fetch_add(3_600_000, Ordering::SeqCst);
        world.until("msg_1", |_, attempts| attempts == attempt).await;
    }
    world.until("msg_1", |state, _| state == OutboxState::Delivered).await;
    let stamps: BTreeSet<String> = receiver
        .got
        .lock()
        .unwrap()
        .iter()
        .map(|(h, _)| h["webhook-timestamp"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(stamps.len(), 3, "every attempt is signed anew");
}

#[tokio::test]
async fn a_message_is_given_up_after_the_last_attempt() {
    let (receiver, url) = Receiver::start(&[400]).await;
    let world = World::new();
    world.outbox.enqueue("soc", "msg_1", b"{}").unwrap();
    let _stop = world.deliver(&url, true);
    for attempt in 1..=SCHEDULE_MS.len() as u32 {
        world.until("msg_1", |_, attempts| attempts == attempt).await;
        world.now.fetch_add(30 * 3_600_000, Ordering::SeqCst);
    }
    world.until("msg_1", |state, _| state == OutboxState::Failed).await;
    assert_eq!(receiver.count(), SCHEDULE_MS.len());
    assert_eq!(world.outbox.pending().unwrap(), 0);
    assert_eq!(world.outbox.retain(Timestamp(i64::MAX)).unwrap(), 1);
}

#[tokio::test]
async fn gone_disables_the_endpoint_until_it_is_enabled() {
    let (receiver, url) = Receiver::start(&[410, 200]).await;
    let world = World::new();
    world.outbox.enqueue("soc", "msg_1", b"{}").unwrap();
    let _stop = world.deliver(&url, true);
    world.until("msg_1", |state, _| state == OutboxState::Disabled).await;
    assert_eq!(world.outbox.enqueue("soc", "msg_2", b"{}"), Err(WebhookError::Disabled("soc".into())));
    assert!(world.outbox.enqueue("other", "msg_2", b"{}").unwrap(), "others are not");
    world.outbox.enable("soc").unwrap();
    world.outbox.enqueue("soc", "msg_2", b"{}").unwrap();
    world.until("msg_2", |state, _| state == OutboxState::Delivered).await;
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn redirects_are_a_failure_and_are_not_followed() {
    let (receiver, url) = Receiver::start(&[307]).await;
    let world = World::new();
    world.outbox.enqueue("soc", "msg_1", b"{}").unwrap();
    let _stop = world.deliver(&url, true);
    world.until("msg_1", |_, attempts| attempts == 1).await;
    assert!(
        world.outbox.message("soc", "msg_1").unwrap().unwrap().detail.contains("redirects are not followed")
    );
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn private_addresses_are_refused_by_literal_and_by_name() {
    let refused = |url: &str| {
        Endpoint::new("soc", url, Channel::Webhook(secrets()), false).err().map(|e| e.to_string())
    };
    for url in
        ["https://127.0.0.1/", "https://0x7f.1/", "https://[::ffff:127.0.0.1]/", "https://169.254.169.254/"]
    {
        assert!(refused(url).is_some_and(|e| e.contains("allow_private")), "{url}");
    }
    assert!(refused("http://example.com/").is_some() && refused("https://u:p@example.com/").is_some());
    assert!(refused("https://example.com/").is_none());
    assert!(
        Endpoint::new("soc", "https://example.com/", Channel::Webhook(Vec::new()), false).is_err(),
        "never unsigned"
    );

    let (receiver, url) = Receiver::start(&[200]).await;
    let port = url.rsplit(':').next().unwrap().to_owned();
    let world = World::new();
    world.outbox.enqueue("soc", "msg_1", b"{}").unwrap();
    let _stop = world.deliver(&format!("https://localhost:{port}"), false);
    world.until("msg_1", |_, attempts| attempts == 1).await;
    let detail = world.outbox.message("soc", "msg_1").unwrap().unwrap().detail;
    assert!(detail.contains("resolves to an address that is loopback"), "{detail}");
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn what_was_enqueued_before_a_crash_is_sent_after_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("webhook.db");
    let now = Arc::new(AtomicI64::new(1_700_000_000_000));
    Outbox::open(&path, clock(&now)).unwrap().enqueue("soc", "msg_1", b"{}").unwrap();
    let (receiver, url) = Receiver::start(&[200]).await;
    let world = World { _directory: directory, outbox: Outbox::open(&path, clock(&now)).unwrap(), now };
    let _stop = world.deliver(&url, true);
    world.until("msg_1", |state, _| state == OutboxState::Delivered).await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn many_messages_arrive_each_once() {
    let (receiver, url) = Receiver::start(&[200]).await;
    let world = World::new();
    for n in 0..100 {
        world.outbox.enqueue("soc", &format!("msg_{n}"), b"{}").unwrap();
    }
    let _stop = world.deliver(&url, true);
    for n in 0..100 {
        world.until(&format!("msg_{n}"), |state, _| state == OutboxState::Delivered).await;
    }
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for (headers, _) in receiver.got.lock().unwrap().iter() {
        *times.entry(headers["webhook-id"].to_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(times.len() == 100 && times.values().all(|n| *n == 1), "{times:?}");
}

#[tokio::test]
async fn the_effector_is_done_when_durable_and_holds_when_delivered() {
    let (_, url) = Receiver::start(&[200]).await;
    let world = World::new();
    let effector = WebhookEffector::new(world.outbox.clone(), "webhook", BTreeSet::from(["soc".to_owned()]));
    let (tenant, key) = (Tenant::default(), Id([5; 16]));
    let desired = json!({"type": "alert.created", "data": {"finding": "f"}});
    let step = |target: &str, desired: &serde_json::Value| Step {
        provider: "webhook".into(),
        operation: "alert.created".into(),
        target: target.into(),
        desired: desired.clone(),
        prior: None,
    };
    let soc = step("soc", &desired);
    let probe = async || effector.probe(&tenant, &soc, "p", Timestamp(0)).await;
    assert!(matches!(probe().await, Probe::NotYet { .. }), "nothing applied");
    for _ in 0..2 {
        assert!(matches!(effector.apply(&tenant, &soc, key).await, Outcome::Done { .. }));
    }
    assert_eq!(world.outbox.pending().unwrap(), 1, "the same key is one message");
    assert!(matches!(probe().await, Probe::NotYet { .. }), "not delivered");
    assert!(matches!(effector.apply(&tenant, &step("nobody", &desired), key).await, Outcome::Failed { .. }));
    let huge = step("soc", &json!("x".repeat(PAYLOAD_BYTES_MAX)));
    assert!(matches!(effector.apply(&tenant, &huge, key).await, Outcome::Failed { .. }));

    let _stop = world.deliver(&url, true);
    for _ in 0..WAIT_MS_MAX / 10 {
        if matches!(probe().await, Probe::Held { .. }) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(matches!(probe().await, Probe::Held { .. }));
    let read = Read { provider: "webhook".into(), operation: "endpoint.state".into(), target: "soc".into() };
    let state = effector.read(&tenant, &read).await.unwrap();
    assert_eq!(
        (&state.value["configured"], &state.value["newest"]["state"]),
        (&json!(true), &json!("delivered"))
    );
}

/// A message of a provider, as it reached a receiver.
async fn sent(channel: Channel, body: &serde_json::Value) -> Request {
    let world = World::new();
    let (receiver, url) = Receiver::start(&[202]).await;
    let endpoint = Endpoint::new("soc", &url, channel, true).unwrap();
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(Deliverer::new(world.outbox.clone(), vec![endpoint], None).unwrap().run(stopped));
    world.outbox.enqueue("soc", "msg_1", body.to_string().as_bytes()).unwrap();
    world.until("msg_1", |state, _| state == OutboxState::Delivered).await;
    receiver.got.lock().unwrap()[0].clone()
}

#[tokio::test]
async fn slack_gets_the_message_as_it_is() {
    let body = json!({"text": "hello"});
    let (headers, got) = sent(Channel::Slack, &body).await;
    assert_eq!(
        (headers["content-type"].to_str().unwrap(), got),
        ("application/json", body.to_string().into())
    );
    assert!(!headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn pagerduty_gets_the_key_that_no_log_holds() {
    let key = "R0123456789abcdef0123456789abcde";
    for bad in ["", "short", "R0123456789abcdef0123456789abcd!"] {
        assert!(RoutingKey::parse(bad).is_err(), "{bad}");
    }
    let channel = Channel::PagerDuty(RoutingKey::parse(&format!("{key}\n")).unwrap());
    let body = json!({"event_action": "resolve", "dedup_key": "prunella-1"});
    let (_, got) = sent(channel, &body).await;
    let got: serde_json::Value = serde_json::from_slice(&got).unwrap();
    assert_eq!(got, json!({"event_action": "resolve", "dedup_key": "prunella-1", "routing_key": key}));
}

#[tokio::test]
async fn a_security_event_is_signed_for_its_receiver() {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
    assert!(Issuer::new("i", "a", "k", b"no key").is_err());
    // Made for this test by `openssl genpkey`; they guard nothing.
    let directory = TempDir::new().unwrap();
    for (algorithm, arguments) in [
        (Algorithm::RS256, ["RSA", "rsa_keygen_bits:2048"].as_slice()),
        (Algorithm::ES256, &["EC", "ec_paramgen_curve:P-256"]),
        (Algorithm::EdDSA, &["ED25519"]),
    ] {
        let (private, public) = (directory.path().join("private"), directory.path().join("public"));
        let mut make = std::process::Command::new("openssl");
        make.args(["genpkey", "-quiet", "-algorithm", arguments[0], "-out"]).arg(&private);
        if let Some(option) = arguments.get(1) {
            make.args(["-pkeyopt", option]);
        }
        make.stderr(std::process::Stdio::null());
        assert!(make.status().unwrap().success());
        let mut show = std::process::Command::new("openssl");
        assert!(
            show.args(["pkey", "-pubout", "-in"])
                .arg(&private)
                .arg("-out")
                .arg(&public)
                .status()
                .unwrap()
                .success()
        );
        let issuer = Issuer::new(
            "https://prunella.example",
            "https://idp.example",
            "key-1",
            &std::fs::read(&private).unwrap(),
        );
        let claims = json!({"sub_id": {"format": "opaque", "id": "aws:user:ann"}, "events": {"urn:x": {}}});
        let (headers, token) = sent(Channel::Caep(issuer.unwrap()), &claims).await;
        assert_eq!(headers["content-type"], "application/secevent+jwt");
        let header = decode_header(&token).unwrap();
        assert_eq!(
            (header.alg, header.typ.as_deref(), header.kid.as_deref()),
            (algorithm, Some("secevent+jwt"), Some("key-1"))
        );
        let pem = std::fs::read(&public).unwrap();
        let key = match algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_pem(&pem),
            Algorithm::ES256 => DecodingKey::from_ec_pem(&pem),
            _ => DecodingKey::from_ed_pem(&pem),
        };
        let mut rules = Validation::new(algorithm);
        rules.set_required_spec_claims(&["aud", "iss"]);
        rules.validate_exp = false;
        rules.set_audience(&["https://idp.example"]);
        rules.set_issuer(&["https://prunella.example"]);
        let got = decode::<serde_json::Value>(&token, &key.unwrap(), &rules).unwrap().claims;
        assert_eq!(
            (&got["jti"], &got["events"], &got["iat"]),
            (&json!("msg_1"), &claims["events"], &json!(1_700_000_000))
        );
        assert!(got.get("exp").is_none(), "an event does not expire (RFC 8417, 2.2)");
    }
}
