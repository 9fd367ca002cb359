//! The API of a running pipeline, as the command line speaks it.

use crate::config::Config;
use anyhow::{Context, bail};
use prunella_runtime::topology::ENDPOINT_FILE;
use serde_json::Value;
use std::time::Duration;

const TIMEOUT_S: u64 = 60;

pub struct Client {
    http: reqwest::Client,
    base: String,
    bearer: Option<String>,
}

impl Client {
    pub fn new(base: &str, bearer: Option<String>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(TIMEOUT_S)).no_proxy().build()?;
        Ok(Client { http, base: base.trim_end_matches('/').to_owned(), bearer })
    }

    /// The pipeline that runs on the data directory; it has left its address there.
    pub fn to_running(config: &Config) -> anyhow::Result<Self> {
        let dir = &config.data_dir;
        let address = std::fs::read_to_string(dir.join(ENDPOINT_FILE));
        let address = address.with_context(|| {
            format!("no pipeline runs on `{}`; start it with `prunella up`", dir.display())
        })?;
        Client::new(address.trim(), bearer(config)?)
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    pub async fn post_body(&self, path: &str, content_type: &str, body: Vec<u8>) -> anyhow::Result<Value> {
        self.send(
            self.http.post(format!("{}{path}", self.base)).header("content-type", content_type).body(body),
        )
        .await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let request = match &self.bearer {
            Some(bearer) => request.bearer_auth(bearer),
            None => request,
        };
        let answer = request
            .send()
            .await
            .with_context(|| format!("cannot reach {}; is the pipeline running?", self.base))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("{} broke off", self.base))?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if !status.is_success() {
            let detail =
                value.get("detail").and_then(Value::as_str).map_or_else(|| value.to_string(), str::to_owned);
            bail!("{} answered {status}: {detail}", self.base);
        }
        Ok(value)
    }
}

pub fn bearer(config: &Config) -> anyhow::Result<Option<String>> {
    let path = &config.api.token_file;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the token file {}", path.display()))?;
    Ok(Some(text.trim().to_owned()))
}
