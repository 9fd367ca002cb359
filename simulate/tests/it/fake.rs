//! A Prunella that is scripted: it keeps what it is given, and answers with what the test wants.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use prunella_schemas::Timestamp;
use prunella_schemas::port::AccountState;
use prunella_simulate::Clock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Default)]
pub struct Script {
    /// Every record given to intake, in order.
    pub records: Vec<Value>,
    /// Answers of `/api/token-versions`; a principal that is not in it has `not_before` 0.
    pub not_before: BTreeMap<String, i64>,
    /// Answers of `/api/account-state`, for every principal.
    pub account: AccountState,
    /// `/api/token-versions` answers 503.
    pub unknown: bool,
    /// Intake answers 503 this often before it accepts.
    pub busy: u32,
    /// Operation of the attacker (by its network) on which the fake finds, revokes and receipts.
    pub find_on: Option<&'static str>,
    /// Operation of the background on which it raises a false alarm, once.
    pub false_alarm_on: Option<&'static str>,
    /// Whether it acts on a finding.
    pub acts: bool,
    pub findings: Vec<Value>,
    pub plans: Vec<Value>,
    pub receipts: Vec<Value>,
}

#[derive(Clone)]
pub struct Fake {
    script: Arc<Mutex<Script>>,
    pub url: String,
}

#[allow(clippy::disallowed_methods, reason = "the test's own clock")]
pub fn clock() -> Clock {
    Arc::new(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        Timestamp(i64::try_from(now.as_millis()).expect("before the year 292 million"))
    })
}

impl Fake {
    pub async fn start(script: Script) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let fake = Fake { script: Arc::new(Mutex::new(script)), url };
        let routes = Router::new()
            .route("/api/events", post(intake))
            .route("/api/token-versions", get(versions))
            .route(
                "/api/account-state",
                get(async |State(fake): State<Fake>| Json(fake.script().account.clone())),
            )
            .route(
                "/api/health",
                get(async || Json(json!({"status": "ok", "lag": {"ingest": 0, "detect": 0}}))),
            )
            .route(
                "/api/threats",
                get(async |State(fake): State<Fake>| Json(json!({"items": fake.script().findings}))),
            )
            .route("/api/plans", get(async |State(fake): State<Fake>| Json(json!(fake.script().plans))))
            .route("/api/receipts", get(async |State(fake): State<Fake>| Json(json!(fake.script().receipts))))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        fake
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test panicked while it held this")
    }
}

async fn versions(
    State(fake): State<Fake>,
    Query(query): Query<BTreeMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let script = fake.script();
    let principal = query.get("principal").cloned().unwrap_or_default();
    if script.unknown {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": "not loaded yet"})));
    }
    let not_before = script.not_before.get(&principal).copied().unwrap_or_default();
    (StatusCode::OK, Json(json!({"principal": principal, "not_before": not_before, "version": 1})))
}

async fn intake(
    State(fake): State<Fake>,
    Query(query): Query<BTreeMap<String, String>>,
    body: String,
) -> StatusCode {
    let mut script = fake.script();
    assert_eq!(query.get("source").map(String::as_str), Some("aws.cloudtrail"));
    if script.busy > 0 {
        script.busy -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    for line in body.lines() {
        let record: Value = serde_json::from_str(line).expect("one JSON object a line");
        let from_attacker = record["sourceIPAddress"].as_str().is_some_and(|ip| ip.starts_with("192.0.2."));
        if from_attacker && script.find_on == record["eventName"].as_str() && script.findings.is_empty() {
            find(&mut script, &record);
        }
        if !from_attacker && script.false_alarm_on == record["eventName"].as_str() {
            script.false_alarm_on = None;
            let uid = record["eventID"].clone();
            script
                .findings
                .push(json!({"finding_info": {"uid": "1".repeat(32), "related_events": [{"uid": uid}]}}));
        }
        script.records.push(record);
    }
    StatusCode::ACCEPTED
}

/// What Prunella would do about `record`, all in one moment.
fn find(script: &mut Script, record: &Value) {
    let now = clock()().0;
    let principal = format!("aws:user:{}", record["userIdentity"]["arn"].as_str().expect("an ARN"));
    let (finding, receipt) = ("f".repeat(32), "e".repeat(32));
    script.findings.push(json!({
        "message": "a principal did what it never did",
        "finding_info": {"uid": finding, "related_events": [{"uid": record["eventID"]}]},
        "prunella": {"finding_uid": finding, "principal": principal},
    }));
    script.findings.push(json!({
        "message": "somebody else did something odd",
        "finding_info": {"uid": "0".repeat(32), "related_events": [{"uid": "not-of-the-attack"}]},
        "prunella": {"finding_uid": "0".repeat(32), "principal": "aws:user:other"},
    }));
    if !script.acts {
        return;
    }
    script.not_before.insert(principal.clone(), now);
    let marks = json!({"provider": now - 9_000, "ingested": now - 30, "detected": now - 20, "planned": now - 15, "applied": now - 10, "verified": now});
    script.plans.push(json!({"plan_uid": "a", "sequence": 4, "to": "verified", "plan": {"uid": "a", "principal": principal}}));
    script.receipts.push(json!({
        "time": now,
        "prunella": {"receipt_uid": receipt, "action": "tokens.revoke", "principal": principal, "finding_uids": [finding],
                     "state": "verified", "evidence": "refused_call", "contained": true, "marks": marks},
    }));
}
