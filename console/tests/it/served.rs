//! A console on a port of its own, and a client for it.

use crate::fake::Fake;
use prunella_console::{Config, Ports, Token, router, serve};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use std::net::SocketAddr;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A served console. It stops when dropped.
pub struct Served {
    pub address: SocketAddr,
    pub fake: Fake,
    pub ports: Ports,
    pub stop: Option<tokio::sync::oneshot::Sender<()>>,
    pub ended: tokio::task::JoinHandle<std::io::Result<()>>,
    client: reqwest::Client,
}

/// An answer, taken whole.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// Asserts that this is a problem of that status whose detail holds all of these words.
    pub fn is_problem(&self, status: u16, words: &[&str]) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        let keys: Vec<&String> = problem.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["detail", "status", "title", "type"]);
        assert_eq!(problem["status"], status);
        for word in words {
            assert!(problem["detail"].as_str().unwrap().contains(word), "`{word}` is not in {problem}");
        }
    }
}

impl Served {
    pub async fn start() -> Self {
        Served::with(Config::default()).await
    }

    pub async fn with_token() -> Self {
        Served::with(Config { token: Token::new(TOKEN).ok(), ..Config::default() }).await
    }

    pub async fn with(config: Config) -> Self {
        let fake = Fake::sample();
        let ports = fake.ports();
        Served::of(fake, ports, config).await
    }

    pub async fn of(fake: Fake, ports: Ports, config: Config) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(ports.clone(), config).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let ended = tokio::spawn(serve(listener, app, async {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Served { address, fake, ports, stop: Some(stop), ended, client }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request(Method::POST, path).json(body)).await
    }

    /// Sends a batch of NDJSON, or whatever else the content type says.
    pub async fn intake(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        answer(self.request(Method::POST, path).header("content-type", content_type).body(body)).await
    }
}

pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}
