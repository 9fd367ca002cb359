//! A bucket of the emulator for each test, a gate in front of it, and a source that reads it.

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use prunella_contract::{Answer, Bench, Fault, Gate, Object};
use prunella_gcp::{KIND, open};
use prunella_schemas::port::{Configured, Source};
use prunella_schemas::{Tenant, Timestamp};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const BEGIN: &str = "2026-03-01T00:00:00Z";
const WRITES_MAX: usize = 16;
const MINUTE_MS: i64 = 60_000;

pub struct Gcs {
    pub gate: Gate,
    pub bucket: String,
    address: String,
    http: reqwest::Client,
}

/// `None`, with a loud word, where no emulator runs.
#[allow(clippy::print_stderr, reason = "a skip is never silent")]
pub async fn bench() -> Option<Gcs> {
    static BUCKETS: AtomicU32 = AtomicU32::new(0);
    let Some(address) = running() else {
        eprintln!("SKIPPED: no emulator of Cloud Storage runs here; `cargo xtask services up` starts one");
        return None;
    };
    let gate = Gate::before(&format!("http://{address}")).await;
    let number = BUCKETS.fetch_add(1, Ordering::Relaxed);
    let bucket = format!("logs-{}-{number}-{}", std::process::id(), gate.url.rsplit(':').next().unwrap());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let made = http.post(format!("http://{address}/storage/v1/b?project=p")).json(&json!({ "name": bucket }));
    made.send().await.unwrap().error_for_status().unwrap();
    Some(Gcs { gate, bucket, address, http })
}

fn running() -> Option<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/services/services.json");
    let services: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let found = services.iter().find(|s| s["name"] == "gcs")?;
    Some(found["address"].as_str()?.to_owned())
}

impl Gcs {
    pub fn source_with(&self, settings: &serde_json::Value) -> Arc<dyn Source> {
        let mut all = json!({ "endpoint": self.gate.url, "bucket": self.bucket, "anonymous": true });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let configured = Configured {
            name: "logs".into(),
            kind: KIND.into(),
            tenant: Tenant::default(),
            settings: all,
            clock: prunella_runtime::clock::wall(),
        };
        open(configured).unwrap()
    }

    pub async fn put(&self, name: &str, text: &str) {
        put(&self.http, &self.address, &self.bucket, name, text).await;
    }

    /// What `put` needs, for a thread of its own.
    pub fn writer(&self) -> (String, String) {
        (self.address.clone(), self.bucket.clone())
    }

    async fn write(&self, object: &Object) {
        let mut text: String =
            (object.first..object.first + object.count).map(|n| self.record(n) + "\n").collect();
        if object.cut {
            text.truncate(text.len() * 2 / 3);
        }
        let at = Timestamp::parse(BEGIN).unwrap().plus_ms(i64::from(object.minute) * MINUTE_MS).to_string();
        let (day, hour) = (at.get(..10).unwrap().replace('-', "/"), at.get(11..13).unwrap());
        let log = ["activity", "data_access", "system_event", "policy"][object.minute as usize % 4];
        // Shards, and what comes late.
        let shard = if object.minute % 8 == 7 { "A0:" } else { "S" };
        let name = format!(
            "cloudaudit.googleapis.com/{log}/{day}/{hour}:00:00_{hour}:59:59_{shard}{}.json",
            object.first
        );
        self.put(&name, &text).await;
    }
}

pub async fn put(http: &reqwest::Client, address: &str, bucket: &str, name: &str, text: &str) {
    let mut url = reqwest::Url::parse(&format!("http://{address}/upload/storage/v1/b/{bucket}/o")).unwrap();
    url.query_pairs_mut().append_pair("uploadType", "media").append_pair("name", name);
    let sent = http.post(url).header("content-type", "application/json").body(text.to_owned());
    sent.send().await.unwrap().error_for_status().unwrap();
}

/// As the JSON interface refuses.
pub fn refusal(status: u16, reason: &str, message: &str) -> Answer {
    let error =
        json!({ "code": status, "message": message, "errors": [{ "reason": reason, "message": message }] });
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Answer { status, headers, body: json!({ "error": error }).to_string().into_bytes() }
}

#[async_trait]
impl Bench for Gcs {
    async fn source(&self) -> Arc<dyn Source> {
        self.source_with(&json!({}))
    }

    async fn deliver(&self, objects: &[Object]) {
        let at_once = if objects.len() > 100 { WRITES_MAX } else { 1 };
        let writes = stream::iter(objects.to_vec()).map(|object| async move { self.write(&object).await });
        writes.buffered(at_once).for_each(|()| async {}).await;
    }

    fn record(&self, number: u32) -> String {
        let record = json!({
            "insertId": format!("insert-{number}"),
            "logName": "projects/p/logs/cloudaudit.googleapis.com%2Factivity",
            "timestamp": "2026-03-01T00:00:00Z",
            "protoPayload": { "serviceName": "storage.googleapis.com", "methodName": "storage.buckets.get" },
        });
        record.to_string()
    }

    fn refusal(&self, fault: Fault) -> Answer {
        match fault {
            Fault::Throttled => {
                let mut answer = refusal(429, "rateLimitExceeded", "The object exceeded the rate limit.");
                answer.headers.push(("retry-after".into(), "1".into()));
                answer
            }
            Fault::ExpiredCredentials => refusal(401, "authError", "Invalid Credentials"),
            Fault::ClockSkew => {
                let mut answer = refusal(401, "authError", "Invalid Credentials");
                answer.headers.push(("date".into(), "Wed, 01 Jan 2025 00:00:00 GMT".into()));
                answer
            }
            Fault::Denied => refusal(
                403,
                "forbidden",
                "reader@p.iam.gserviceaccount.com does not have storage.objects.list access to the bucket.",
            ),
        }
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }
}
