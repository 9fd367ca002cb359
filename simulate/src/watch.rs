//! Watch: Prunella as everybody else sees it, through its API.

use crate::run::SimulateError;
use prunella_schemas::Timestamp;
use prunella_schemas::port::AccountState;
use serde_json::Value;
use std::time::Duration;

/// Most findings, plans or receipts asked for at once.
pub const LIST_MAX: usize = 500;
/// Tries to deliver one batch before giving up; together some ten seconds.
pub const DELIVERY_TRIES_MAX: u32 = 40;
/// The longest wait between two tries, in milliseconds.
const RETRY_MS_MAX: u64 = 250;
/// How long one request may take, in milliseconds.
const REQUEST_MS_MAX: u64 = 10_000;

/// A client of one Prunella. It holds a secret when it has a bearer token, so it prints nothing of itself.
#[derive(Clone)]
pub struct Prunella {
    base: String,
    bearer: Option<String>,
    http: reqwest::Client,
}

impl Prunella {
    /// `base` such as `http://127.0.0.1:7070`.
    pub fn new(base: &str, bearer: Option<String>) -> Result<Self, SimulateError> {
        let http = reqwest::Client::builder().timeout(Duration::from_millis(REQUEST_MS_MAX)).build();
        let http = http.map_err(|source| SimulateError::Unreachable {
            url: base.to_owned(),
            detail: source.to_string(),
        })?;
        Ok(Prunella { base: base.trim_end_matches('/').to_owned(), bearer, http })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn signed(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Gives CloudTrail records to intake, as NDJSON, and waits until they are durable. Back-pressure and a service that
    /// is not there yet are tried again; a refusal is not.
    pub async fn deliver(&self, ndjson: Vec<u8>) -> Result<(), SimulateError> {
        self.deliver_from("aws.cloudtrail", ndjson).await
    }

    /// The same for records of any source.
    pub async fn deliver_from(&self, source: &str, ndjson: Vec<u8>) -> Result<(), SimulateError> {
        let url = self.url(&format!("/api/events?source={source}"));
        let mut why = String::new();
        for attempt in 0..DELIVERY_TRIES_MAX {
            let request =
                self.http.post(&url).header("content-type", "application/x-ndjson").body(ndjson.clone());
            match self.signed(request).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if matches!(answer.status().as_u16(), 408 | 429 | 500..) => {
                    why = answer.status().to_string();
                }
                Ok(answer) => {
                    let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
                    return Err(SimulateError::Answer { url, detail: format!("{status}: {}", head(&body)) });
                }
                Err(error) => why = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis((20 << attempt.min(4)).min(RETRY_MS_MAX))).await;
        }
        Err(SimulateError::Unreachable { url, detail: why })
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, SimulateError> {
        let url = self.url(path);
        let request = self.http.get(with_query(&url, query)?);
        let answer = self.signed(request).send().await;
        let answer =
            answer.map_err(|e| SimulateError::Unreachable { url: url.clone(), detail: e.to_string() })?;
        let status = answer.status();
        let body = answer.text().await.unwrap_or_default();
        if !status.is_success() {
            return Err(SimulateError::Answer { url, detail: format!("{status}: {}", head(&body)) });
        }
        serde_json::from_str(&body)
            .map_err(|e| SimulateError::Answer { url, detail: format!("not JSON: {e}") })
    }

    /// Messages that no stage has handled yet.
    pub async fn lag(&self) -> Result<u64, SimulateError> {
        let health = self.get("/api/health", &[]).await?;
        let lag = health.get("lag").and_then(Value::as_object).ok_or_else(|| SimulateError::Answer {
            url: self.url("/api/health"),
            detail: "no object `lag` in it".to_owned(),
        })?;
        Ok(lag.values().filter_map(Value::as_u64).sum())
    }

    /// From when on a principal's tokens count; `None` when Prunella can't say.
    pub async fn not_before(&self, principal: &str) -> Option<Timestamp> {
        let answer = self.get("/api/token-versions", &[("principal", principal)]).await.ok()?;
        match answer.get("not_before")? {
            Value::String(text) => Timestamp::parse(text),
            number => number.as_i64().map(Timestamp),
        }
    }

    /// What else an account's state asks for; `None` when Prunella can't say.
    pub async fn account(&self, principal: &str) -> Option<AccountState> {
        let answer = self.get("/api/account-state", &[("principal", principal)]).await.ok()?;
        serde_json::from_value(answer).ok()
    }

    /// Sends an operator's word on a plan: `approve`, `reject` or `rollback`.
    pub async fn decide(&self, plan: &str, verb: &str, by: &str) -> Result<(), SimulateError> {
        let url = self.url(&format!("/api/plans/{plan}/{verb}"));
        let request = self.signed(self.http.post(&url).json(&serde_json::json!({ "by": by })));
        let answer = request.send().await;
        let answer =
            answer.map_err(|e| SimulateError::Unreachable { url: url.clone(), detail: e.to_string() })?;
        // The plan may have moved on meanwhile: then there is nothing left to decide.
        if answer.status().is_success() || answer.status().as_u16() == 409 {
            return Ok(());
        }
        let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
        Err(SimulateError::Answer { url, detail: format!("{status}: {}", head(&body)) })
    }

    /// The newest events of a principal since a time, without their records.
    pub async fn events(&self, principal: &str, since: Timestamp) -> Result<Vec<Value>, SimulateError> {
        let (limit, since) = (LIST_MAX.to_string(), since.millis().to_string());
        let query = [("principal", principal), ("since", since.as_str()), ("limit", limit.as_str())];
        let answer = self.get("/api/events", &query).await?;
        let none =
            || SimulateError::Answer { url: self.url("/api/events"), detail: "no list in it".to_owned() };
        rows(answer, "event").ok_or_else(none)
    }

    pub async fn findings(&self) -> Result<Vec<Value>, SimulateError> {
        self.list("/api/threats", "finding").await
    }

    pub async fn plans(&self) -> Result<Vec<Value>, SimulateError> {
        self.list("/api/plans", "transition").await
    }

    pub async fn receipts(&self) -> Result<Vec<Value>, SimulateError> {
        self.list("/api/receipts", "receipt").await
    }

    async fn list(&self, path: &str, inner: &str) -> Result<Vec<Value>, SimulateError> {
        let limit = LIST_MAX.to_string();
        let answer = self.get(path, &[("limit", &limit)]).await?;
        rows(answer, inner)
            .ok_or_else(|| SimulateError::Answer { url: self.url(path), detail: "no list in it".to_owned() })
    }
}

fn with_query(url: &str, query: &[(&str, &str)]) -> Result<reqwest::Url, SimulateError> {
    reqwest::Url::parse_with_params(url, query)
        .map_err(|e| SimulateError::Answer { url: url.to_owned(), detail: format!("not a URL: {e}") })
}

/// The rows of a list: the answer itself or its first member that is an array, each row as it is or under `inner`.
fn rows(answer: Value, inner: &str) -> Option<Vec<Value>> {
    let rows = match answer {
        Value::Array(rows) => rows,
        Value::Object(fields) => fields.into_iter().find_map(|(_, value)| match value {
            Value::Array(rows) => Some(rows),
            _ => None,
        })?,
        _ => return None,
    };
    let unwrapped = |mut row: Value| match row.get_mut(inner) {
        Some(value @ Value::Object(_)) => value.take(),
        _ => row,
    };
    Some(rows.into_iter().map(unwrapped).collect())
}

fn head(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_is_found_bare_or_wrapped() {
        let want = Some(vec![json!({"a": 1})]);
        for answer in [
            json!([{"a": 1}]),
            json!({"items": [{"a": 1}]}),
            json!({"next": null, "receipts": [{"receipt": {"a": 1}, "index": 4}]}),
        ] {
            assert_eq!(rows(answer.clone(), "receipt"), want, "{answer}");
        }
        assert_eq!(rows(json!({"error": "x"}), "receipt"), None);
        assert_eq!(rows(json!("x"), "receipt"), None);
    }
}
