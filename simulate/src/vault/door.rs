//! The vault's door, as its users knock at it: one request at a time, from an address that a proxy in front tells.

use crate::record::Verdict;
use crate::run::SimulateError;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use std::time::Duration;

/// How long one request may take, in milliseconds.
const REQUEST_MS_MAX: u64 = 30_000;

/// A client at one address. It holds tokens, so it prints nothing of itself.
#[derive(Clone)]
pub struct Visitor {
    http: reqwest::Client,
    base: String,
    pub address: String,
    pub agent: &'static str,
    token: String,
    device: String,
}

/// What the vault answered.
pub struct Answer {
    /// The name that the vault gave the request.
    pub request: String,
    pub verdict: Verdict,
    /// It asked for a fresh proof instead of refusing for good.
    pub asked_to_step_up: bool,
    /// How long it asked to wait, in seconds.
    pub wait_s: u64,
    pub bytes: u64,
}

impl Visitor {
    /// `base` such as `http://127.0.0.1:7766/vault`, which must believe what this machine says of addresses.
    pub fn new(base: &str, address: String, agent: &'static str) -> Result<Self, SimulateError> {
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(REQUEST_MS_MAX)).build();
        let http = http.map_err(|e| unreachable(base, &e))?;
        let (token, device) = (String::new(), String::new());
        Ok(Visitor { http, base: base.to_owned(), address, agent, token, device })
    }

    /// With the same tokens from somewhere else.
    pub fn elsewhere(&self, address: String, agent: &'static str) -> Self {
        Visitor { address, agent, ..self.clone() }
    }

    pub async fn log_in(&mut self, username: &str, secret: &str) -> Result<Answer, SimulateError> {
        // Names and secrets are letters and digits: nothing is to be escaped.
        let form = format!("grant_type=password&username={username}&password={secret}");
        let request = self.http.post(format!("{}/login", self.base));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let (mut answer, body) = self.send(request, false).await?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if answer.verdict == Verdict::Accepted {
            self.token = text("access_token");
            let device = text("device_token");
            if !device.is_empty() {
                self.device = device;
            }
        } else {
            // A wrong password is no word about a session.
            answer.verdict = Verdict::Failed;
        }
        Ok(answer)
    }

    pub async fn list(&self) -> Result<Answer, SimulateError> {
        Ok(self.send(self.http.get(format!("{}/files", self.base)), true).await?.0)
    }

    pub async fn inspect(&self, file: &str) -> Result<Answer, SimulateError> {
        Ok(self.send(self.http.get(format!("{}/files/{file}", self.base)), true).await?.0)
    }

    pub async fn download(&self, file: &str) -> Result<Answer, SimulateError> {
        Ok(self.send(self.http.get(format!("{}/download/{file}", self.base)), true).await?.0)
    }

    async fn send(&self, request: RequestBuilder, signed: bool) -> Result<(Answer, Value), SimulateError> {
        let mut request = request.header("x-forwarded-for", &self.address).header("user-agent", self.agent);
        if signed {
            request = request.bearer_auth(&self.token);
        }
        if !self.device.is_empty() {
            request = request.header("x-vault-device", &self.device);
        }
        let response = request.send().await.map_err(|e| unreachable(&self.base, &e))?;
        let header = |name: &str| header(&response, name);
        let verdict = match response.status().as_u16() {
            200..=299 => Verdict::Accepted,
            401 => Verdict::Refused,
            _ => Verdict::Failed,
        };
        let mut answer = Answer {
            request: header("x-request-id"),
            verdict,
            asked_to_step_up: header("www-authenticate").contains("insufficient_user_authentication"),
            wait_s: header("retry-after").parse().unwrap_or(0),
            bytes: 0,
        };
        // What was taken is taken in full.
        let body = response.bytes().await.map_err(|e| unreachable(&self.base, &e))?;
        answer.bytes = body.len() as u64;
        Ok((answer, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn unreachable(url: &str, error: &reqwest::Error) -> SimulateError {
    SimulateError::Unreachable { url: url.to_owned(), detail: error.to_string() }
}
