//! A container of Azurite for each test, a gate in front of it, and a source that reads it.

use async_trait::async_trait;
use azure_core::Bytes;
use azure_core::http::RequestContent;
use azure_storage_blob::BlobContainerClient;
use futures_util::stream::{self, StreamExt};
use prunella_azure::{Access, Account, open};
use prunella_contract::{Answer, Bench, Fault, Gate, Object};
use prunella_schemas::port::{Configured, Source};
use prunella_schemas::{Id, Tenant, Timestamp};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

pub const ACCOUNT: &str = "prunella";
/// Hours that are over, so that nothing waits for the end of a line.
const BEGIN: &str = "2026-03-01T00:00:00Z";
const WRITES_MAX: usize = 16;

pub struct Azurite {
    pub gate: Gate,
    pub container: String,
    pub client: Arc<BlobContainerClient>,
    pub key_file: PathBuf,
    pub directory: TempDir,
}

/// `None`, with a loud word, where no emulator runs.
#[allow(clippy::print_stderr, reason = "a skip is never silent")]
pub async fn bench() -> Option<Azurite> {
    let Some((address, key_file)) = running() else {
        eprintln!("SKIPPED: no Azurite runs here; `cargo xtask services up` starts one");
        return None;
    };
    let gate = Gate::before(&format!("http://{address}")).await;
    let directory = tempfile::tempdir().unwrap();
    let container =
        format!("logs-{}", Id::derive("container", &[directory.path().as_os_str().as_encoded_bytes()]));
    let endpoint = format!("http://{address}/{ACCOUNT}");
    let account = Account::new(&endpoint, Access::SharedKeyFile(key_file.clone())).unwrap();
    let client = account.container(&container).unwrap();
    client.create(None).await.unwrap();
    Some(Azurite { gate, container, client: Arc::new(client), key_file, directory })
}

fn running() -> Option<(String, PathBuf)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/services/services.json");
    let services: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let found = services.iter().find(|s| s["name"] == "azurite")?;
    Some((found["address"].as_str()?.to_owned(), PathBuf::from(found["secrets"][ACCOUNT].as_str()?)))
}

impl Azurite {
    /// A source over this container, with other settings on top.
    pub fn source_with(&self, settings: &serde_json::Value) -> Arc<dyn Source> {
        let mut all =
            json!({ "endpoint": format!("{}/{ACCOUNT}", self.gate.url), "containers": [self.container] });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let configured = Configured {
            name: "logs".into(),
            kind: "azure.storage".into(),
            tenant: Tenant::default(),
            settings: all,
            clock: prunella_runtime::clock::wall(),
        };
        open(configured).unwrap()
    }

    pub fn keyed(&self) -> Arc<dyn Source> {
        self.source_with(&json!({ "shared_key_file": self.key_file }))
    }

    pub async fn put(&self, name: &str, text: &str) {
        put(&self.client, name, text).await;
    }

    /// Makes an append blob where there is none, and appends.
    pub async fn append(&self, name: &str, text: &str) {
        let blob = self.client.blob_client(name);
        let appended = blob.append_blob_client();
        if !blob.exists().await.unwrap() {
            appended.create(None).await.unwrap();
        }
        let length = text.len() as u64;
        let content = RequestContent::from(text.as_bytes().to_vec());
        appended.append_block(content, length, None).await.unwrap();
    }

    async fn write(&self, object: &Object) {
        let mut text: String =
            (object.first..object.first + object.count).map(|n| self.record(n) + "\n").collect();
        if object.cut {
            text.truncate(text.len() * 2 / 3);
        }
        let at = Timestamp::parse(BEGIN).unwrap().plus_ms(i64::from(object.minute) * 60_000).to_string();
        let (day, hour, minute) = (at.get(..10).unwrap(), at.get(11..13).unwrap(), at.get(14..16).unwrap());
        let [year, month, day] = day.split('-').collect::<Vec<_>>().try_into().unwrap();
        let folder = format!(
            "resourceId=/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a/blobServices/default/y={year}/m={month}/d={day}/h={hour}/m={minute}"
        );
        let name = format!("{folder}/PT1H-{}.json", object.first);
        // Azure Monitor appends; older exports write whole blobs. Many objects are cheaper whole.
        match object.minute.is_multiple_of(2) && object.count > 1 {
            true => self.append(&name, &text).await,
            false => self.put(&name, &text).await,
        }
    }
}

pub async fn put(client: &BlobContainerClient, name: &str, text: &str) {
    let content = RequestContent::from(Bytes::copy_from_slice(text.as_bytes()).to_vec());
    client.blob_client(name).upload(content, None).await.unwrap();
}

/// As the service refuses.
pub fn refusal(status: u16, code: &str, detail: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{code}.</Message>{detail}</Error>"
    );
    let headers = [("x-ms-error-code", code), ("content-type", "application/xml"), ("x-ms-request-id", "1")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Answer { status, headers, body: body.into_bytes() }
}

#[async_trait]
impl Bench for Azurite {
    async fn source(&self) -> Arc<dyn Source> {
        self.keyed()
    }

    async fn deliver(&self, objects: &[Object]) {
        let at_once = if objects.len() > 100 { WRITES_MAX } else { 1 };
        let writes = stream::iter(objects.to_vec()).map(|object| async move { self.write(&object).await });
        writes.buffered(at_once).for_each(|()| async {}).await;
    }

    fn record(&self, number: u32) -> String {
        let record = json!({
            "time": "2026-03-01T00:00:00.0000000Z",
            "resourceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a/blobServices/default",
            "category": "StorageRead",
            "operationName": "GetBlob",
            "correlationId": format!("00000000-0000-0000-0000-{number:012}"),
            "statusCode": 200,
        });
        record.to_string()
    }

    fn refusal(&self, fault: Fault) -> Answer {
        let expired = "<AuthenticationErrorDetail>Signature not valid in the specified time frame: Start - Expiry \
                       [Sat, 21 Nov 2026 08:00:00 GMT] - Current [Sat, 21 Nov 2026 09:00:00 GMT]</AuthenticationErrorDetail>";
        match fault {
            Fault::Throttled => {
                let mut answer = refusal(503, "ServerBusy", "");
                answer.headers.push(("retry-after".into(), "1".into()));
                answer
            }
            Fault::ExpiredCredentials => refusal(403, "AuthenticationFailed", expired),
            Fault::ClockSkew => {
                let mut answer = refusal(403, "AuthenticationFailed", "");
                answer.headers.push(("date".into(), "Wed, 01 Jan 2025 00:00:00 GMT".into()));
                answer
            }
            Fault::Denied => refusal(403, "AuthorizationPermissionMismatch", ""),
        }
    }

    fn gate(&self) -> &Gate {
        &self.gate
    }
}
