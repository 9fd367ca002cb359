//! Steps on a peer of our own that checks every request: no emulator keeps public access prevention, or keys of accounts.

use prunella_contract::{Answer, Asked, Gate, Loss};
use prunella_gcp::effect::{DISABLE_KEY, ENABLE_KEY, GET_BUCKET, GET_KEY, KIND, UPDATE_BUCKET, open};
use prunella_schemas::plan::{Outcome, Probe, Read};
use prunella_schemas::port::{Configured, Effector};
use prunella_schemas::{Id, Step, Tenant, Timestamp};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const EMAIL: &str = "ci@acme-prod.iam.gserviceaccount.com";
const KEY: &str = "gcp:service-account:ci@acme-prod.iam.gserviceaccount.com#0a1b";
const BUCKET: &str = "gcp:bucket:payroll";

/// What the provider keeps, and how often it was changed.
struct Kept {
    prevention: String,
    metageneration: u64,
    disabled: bool,
    permissions: Vec<&'static str>,
    writes: u32,
}

struct Peer {
    gate: Gate,
    kept: Arc<Mutex<Kept>>,
    gcp: Arc<dyn Effector>,
}

fn answer(status: u16, body: &Value) -> Answer {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Answer { status, headers, body: body.to_string().into_bytes() }
}

fn refused(status: u16, message: &str) -> Answer {
    answer(status, &json!({ "error": { "code": status, "message": message, "status": "X" } }))
}

impl Kept {
    fn answer(&mut self, asked: &Asked) -> Answer {
        let path = asked.uri.path().replace("%40", "@");
        let query = asked.uri.query().unwrap_or_default();
        let key = format!("/v1/projects/acme-prod/serviceAccounts/{EMAIL}/keys/0a1b");
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        match (asked.method.as_str(), path.as_str()) {
            ("GET", "/storage/v1/b/payroll") => answer(
                200,
                &json!({
                    "name": "payroll", "metageneration": self.metageneration.to_string(), "storageClass": "STANDARD",
                    "iamConfiguration": { "publicAccessPrevention": self.prevention },
                }),
            ),
            ("PATCH", "/storage/v1/b/payroll") => {
                if !query.contains(&format!("ifMetagenerationMatch={}", self.metageneration)) {
                    return refused(412, "At least one of the pre-conditions you specified did not hold.");
                }
                let prevention = body["iamConfiguration"]["publicAccessPrevention"].as_str();
                assert_eq!(body.as_object().map(|o| o.len()), Some(1), "nothing else is set: {body}");
                prevention.unwrap().clone_into(&mut self.prevention);
                self.metageneration += 1;
                self.writes += 1;
                answer(200, &json!({ "name": "payroll" }))
            }
            ("GET", "/storage/v1/b/payroll/iam/testPermissions") => {
                let asked_for = |p: &&&str| query.contains(&format!("permissions={p}"));
                let held: Vec<&&str> = self.permissions.iter().filter(asked_for).collect();
                answer(200, &json!({ "permissions": held }))
            }
            ("GET", path) if path == key => answer(200, &json!({ "name": key, "disabled": self.disabled })),
            ("POST", path) if path == format!("{key}:disable") || path == format!("{key}:enable") => {
                self.disabled = path.ends_with(":disable");
                self.writes += 1;
                answer(200, &json!({}))
            }
            _ => refused(404, "it is not there"),
        }
    }
}

impl Peer {
    async fn new() -> Peer {
        let gate = Gate::before("http://127.0.0.1:9").await;
        let kept = Arc::new(Mutex::new(Kept {
            prevention: "inherited".into(),
            metageneration: 7,
            disabled: false,
            permissions: vec![GET_BUCKET],
            writes: 0,
        }));
        let settings = json!({
            "project": "acme-prod", "buckets": ["payroll"], "anonymous": true, "endpoint": gate.url,
            "iam_endpoint": gate.url,
        });
        let configured = Configured {
            name: "data".into(),
            kind: KIND.into(),
            tenant: Tenant::default(),
            settings,
            clock: prunella_runtime::clock::wall(),
        };
        let peer = Peer { gate, kept, gcp: open(vec![configured]).await.unwrap() };
        peer.serve(|_| None);
        peer
    }

    /// `lost`: what the peer says once it has done what was asked for.
    fn serve(&self, lost: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) {
        let kept = Arc::clone(&self.kept);
        self.gate.meddle(move |asked| {
            let told = kept.lock().unwrap().answer(asked);
            Some(lost(asked).unwrap_or(told))
        });
    }

    async fn read(&self, operation: &str, target: &str) -> Value {
        let what = Read { provider: KIND.into(), operation: operation.into(), target: target.into() };
        self.gcp.read(&Tenant::default(), &what).await.unwrap().value
    }

    async fn apply(&self, step: &Step) -> (&'static str, String) {
        match self.gcp.apply(&Tenant::default(), step, Id::default()).await {
            Outcome::Done { detail } => ("done", detail),
            Outcome::Unknown { detail } => ("unknown", detail),
            Outcome::Failed { detail } => ("failed", detail),
            Outcome::Conflict { detail } => ("conflict", detail),
        }
    }

    async fn stands(&self, step: &Step) -> bool {
        matches!(self.gcp.probe(&Tenant::default(), step, "", Timestamp::ZERO).await, Probe::Held { .. })
    }

    fn writes(&self) -> u32 {
        self.kept.lock().unwrap().writes
    }
}

fn step(operation: &str, target: &str, desired: Value, prior: Value) -> Step {
    let prior = Some(prior);
    Step { provider: KIND.into(), operation: operation.into(), target: target.into(), desired, prior }
}

#[tokio::test]
async fn a_bucket_is_closed_only_if_it_is_as_it_was_looked_at() {
    let peer = Peer::new().await;
    let before = peer.read(GET_BUCKET, BUCKET).await;
    assert_eq!(before["public_access_prevention"], "inherited");
    let close =
        step(UPDATE_BUCKET, BUCKET, json!({ "public_access_prevention": "enforced" }), before.clone());
    // Somebody changes the bucket between our look and our call: the provider compares.
    let kept = Arc::clone(&peer.kept);
    peer.gate.meddle(move |asked| {
        let mut kept = kept.lock().unwrap();
        kept.metageneration += u64::from(asked.method == "PATCH");
        Some(kept.answer(asked))
    });
    let (outcome, why) = peer.apply(&close).await;
    assert_eq!((outcome, peer.writes()), ("conflict", 0), "{why}");
    peer.serve(|asked| (asked.method == "PATCH").then(|| refused(503, "backendError")));
    assert_eq!(peer.apply(&close).await.0, "unknown");
    peer.serve(|_| None);
    assert!(peer.stands(&close).await, "it happened all the same");
    assert_eq!((peer.apply(&close).await.0, peer.writes()), ("done", 1));
    let found = peer.read(GET_BUCKET, BUCKET).await;
    let back = step(UPDATE_BUCKET, BUCKET, close.spoken_of(&before), found);
    assert_eq!((peer.apply(&back).await.0, peer.writes()), ("done", 2));
    assert_eq!(peer.read(GET_BUCKET, BUCKET).await["public_access_prevention"], "inherited");
    assert!(!peer.stands(&close).await);
}

#[tokio::test]
async fn a_key_is_disabled_once_whatever_gets_lost() {
    let peer = Peer::new().await;
    let before = peer.read(GET_KEY, KEY).await;
    assert_eq!(before, json!({ "disabled": false, "is_ours": false }));
    let off = step(DISABLE_KEY, KEY, json!({ "disabled": true }), before);
    peer.serve(|asked| (asked.method == "POST").then(|| refused(503, "unavailable")));
    let (outcome, why) = peer.apply(&off).await;
    assert_eq!((outcome, peer.writes()), ("unknown", 1), "{why}: the SDK did not send it again");
    peer.serve(|_| None);
    assert!(peer.stands(&off).await);
    assert_eq!((peer.apply(&off).await.0, peer.writes()), ("done", 1));
    let back = step(ENABLE_KEY, KEY, json!({ "disabled": false }), peer.read(GET_KEY, KEY).await);
    assert_eq!((peer.apply(&back).await.0, peer.writes()), ("done", 2));
    assert!(!peer.stands(&off).await);
    peer.serve(|asked| (asked.method == "POST").then(|| refused(403, "denied")));
    let (outcome, why) = peer.apply(&off).await;
    assert_eq!((outcome, why.contains("roles/iam.serviceAccountKeyAdmin")), ("failed", true), "{why}");
}

#[tokio::test]
async fn what_is_missing_is_said_and_what_is_not_configured_is_left_alone() {
    let peer = Peer::new().await;
    for operation in [GET_BUCKET, GET_KEY, DISABLE_KEY, ENABLE_KEY] {
        peer.gcp.preflight(operation).await.unwrap();
    }
    let why = peer.gcp.preflight(UPDATE_BUCKET).await.unwrap_err().to_string();
    assert!(why.contains("storage.buckets.update on gs://payroll"), "{why}");
    assert_eq!(peer.writes(), 0);
    let absent = KEY.replace("0a1b", "ffff");
    assert_eq!(peer.read(GET_KEY, &absent).await, Value::Null);
    let disabled = || json!({ "disabled": true });
    for (operation, target, says) in [
        (DISABLE_KEY, absent.as_str(), "not there"),
        (
            DISABLE_KEY,
            "gcp:service-account:ci@another-prod.iam.gserviceaccount.com#0a1b",
            "another-prod is not",
        ),
        (DISABLE_KEY, "gcp:service-account:ci@acme-prod.iam.gserviceaccount.com#*", "names no key"),
        (UPDATE_BUCKET, "gcp:bucket:another", "bucket another is in no `buckets`"),
        (UPDATE_BUCKET, "gcp:bucket:*", "names no bucket"),
    ] {
        let (outcome, why) = peer.apply(&step(operation, target, disabled(), json!({}))).await;
        assert_eq!((outcome, why.contains(says)), ("failed", true), "{target}: {why}");
    }
    assert_eq!(peer.writes(), 0);
    // Nothing answers at all: nothing is known, and nothing is said to be done.
    peer.gate.heal();
    peer.gate.lose(|_| Some(Loss::Status(502)));
    let off = step(DISABLE_KEY, KEY, disabled(), json!({ "disabled": false }));
    assert_eq!(peer.apply(&off).await.0, "unknown");
}
