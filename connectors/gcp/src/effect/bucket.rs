//! Whether a bucket can be public, and how what is written to it is stored.
//!
//! By the JSON interface with the SDK's credentials: the SDK's own control client speaks gRPC alone.

use super::{ATTEMPT_MAX, Project, UPDATE_BUCKET};
use crate::access::headers;
use crate::error::{Refusal, no_token, seconds};
use prunella_schemas::Timestamp;
use prunella_setting::{Fault, Found};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Bucket {
    /// Grows with every change of the bucket's own settings.
    metageneration: String,
    iam_configuration: IamConfiguration,
    storage_class: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IamConfiguration {
    public_access_prevention: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tested {
    permissions: Vec<String>,
}

pub async fn check(project: &Project, permission: &str) -> Result<(), Fault> {
    for name in &project.buckets {
        let path = format!("{name}/iam/testPermissions");
        let told = ask(project, reqwest::Method::GET, &path, &[("permissions", permission)], None).await?;
        let tested: Tested = serde_json::from_slice(&told).unwrap_or_default();
        if !tested.permissions.iter().any(|p| p == permission) {
            let detail = format!(
                "{permission} on gs://{name} is not allowed; grant `roles/storage.admin` on the bucket"
            );
            return Err(Fault::Refused(detail));
        }
    }
    Ok(())
}

pub async fn find(project: &Project, name: &str) -> Result<Found, Fault> {
    let told = ask(project, reqwest::Method::GET, name, &[], None).await?;
    let bucket: Bucket = serde_json::from_slice(&told)
        .map_err(|e| Fault::Unavailable(format!("gs://{name}: the answer is no bucket: {e}")))?;
    let prevention = bucket.iam_configuration.public_access_prevention;
    // An older word for the same.
    let prevention =
        prevention.filter(|word| word != "unspecified").unwrap_or_else(|| "inherited".to_owned());
    let value = json!({ "public_access_prevention": prevention, "storage_class": bucket.storage_class });
    Ok(Found { value, version: bucket.metageneration })
}

/// Only if nobody has changed the bucket since it was looked at: the provider itself compares.
pub async fn set(project: &Project, name: &str, desired: &Value, found: &Found) -> Result<String, Fault> {
    let word = |part: &str| desired.get(part).and_then(Value::as_str);
    let body = match (word("public_access_prevention"), word("storage_class")) {
        (Some(prevention @ ("enforced" | "inherited")), None) => {
            json!({ "iamConfiguration": { "publicAccessPrevention": prevention } })
        }
        (None, Some(class @ ("STANDARD" | "NEARLINE" | "COLDLINE" | "ARCHIVE"))) => {
            json!({ "storageClass": class })
        }
        _ => return Err(Fault::Refused(format!("`{desired}` is nothing that a bucket can be"))),
    };
    let unchanged = [("ifMetagenerationMatch", found.version.as_str())];
    ask(project, reqwest::Method::PATCH, name, &unchanged, Some(body)).await?;
    Ok(format!("{UPDATE_BUCKET}: gs://{name} is {desired}"))
}

async fn ask(
    project: &Project,
    method: reqwest::Method,
    path: &str,
    query: &[(&str, &str)],
    body: Option<Value>,
) -> Result<Vec<u8>, Fault> {
    let what = format!("{method} gs://{path}");
    let mut url = project.endpoint.clone();
    url.set_path(&format!("/storage/v1/b/{path}"));
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let headers = headers(&project.credentials).await;
    let headers = headers.map_err(|e| Fault::Refused(no_token(&what, &e).to_string()))?;
    let request = project.http.request(method, url).headers(headers).timeout(ATTEMPT_MAX);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let lost = |e: reqwest::Error| Fault::Lost(format!("{what}: {e}"));
    let answer = request.send().await.map_err(lost)?;
    let status = answer.status().as_u16();
    let retry_after_ms = answer.headers().get("retry-after").and_then(|v| seconds(v.to_str().ok()?));
    let body = answer.bytes().await.map_err(lost)?.to_vec();
    if status < 300 {
        return Ok(body);
    }
    let told =
        Refusal { status, body, date: None, retry_after_ms }.explain(&what, Timestamp::ZERO).to_string();
    Err(match status {
        // What a source is told to ask for would not do here.
        403 => {
            Fault::Refused(format!("{what} is not allowed (403); grant `roles/storage.admin` on the bucket"))
        }
        404 => Fault::Missing(told),
        412 => Fault::Changed(told),
        429 => Fault::Unavailable(told),
        500.. => Fault::Lost(told),
        _ => Fault::Refused(told),
    })
}
