//! A gate between a source and its emulator: lets requests through, or answers in the provider's place.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A request as the gate sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What the gate answers in the provider's place.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// How an answer gets lost on its way back: what was asked for has happened.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// Another one comes instead, such as 500 of a proxy in between.
    Status(u16),
    /// The connection ends in the middle of it.
    Cut,
    /// It comes when nobody waits for it any more.
    Late(Duration),
}

type Meddle = Arc<dyn Fn(&Asked) -> Option<Answer> + Send + Sync>;
type Lose = Arc<dyn Fn(&Asked) -> Option<Loss> + Send + Sync>;

/// A proxy on loopback that ends with the test.
#[derive(Clone)]
pub struct Gate {
    /// `http://127.0.0.1:port`: what the source is told as the provider's address.
    pub url: String,
    inner: Arc<Inner>,
}

struct Inner {
    target: String,
    http: reqwest::Client,
    meddle: Mutex<Option<Meddle>>,
    lose: Mutex<Option<Lose>>,
    passed: AtomicU64,
    answered: AtomicU64,
}

impl Gate {
    /// Stands in front of `target`, such as `http://127.0.0.1:5000`.
    pub async fn before(target: &str) -> Gate {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let target = target.trim_end_matches('/').to_owned();
        let counts = (AtomicU64::new(0), AtomicU64::new(0));
        let (meddle, lose) = (Mutex::new(None), Mutex::new(None));
        let inner = Arc::new(Inner { target, http, meddle, lose, passed: counts.0, answered: counts.1 });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(pass).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Gate { url, inner }
    }

    /// From now on `meddle` may answer each request; what it does not answer goes through.
    pub fn meddle(&self, meddle: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) {
        *self.inner.meddle.lock().unwrap() = Some(Arc::new(meddle));
    }

    /// Everything is answered so until `heal`.
    pub fn refuse(&self, answer: Answer) {
        self.meddle(move |_| Some(answer.clone()));
    }

    /// From now on each request goes through, and `lose` may keep its answer back.
    pub fn lose(&self, lose: impl Fn(&Asked) -> Option<Loss> + Send + Sync + 'static) {
        *self.inner.lose.lock().unwrap() = Some(Arc::new(lose));
    }

    pub fn heal(&self) {
        *self.inner.meddle.lock().unwrap() = None;
        *self.inner.lose.lock().unwrap() = None;
    }

    /// Requests that went through, and requests that the gate answered.
    pub fn counts(&self) -> (u64, u64) {
        (self.inner.passed.load(Ordering::Relaxed), self.inner.answered.load(Ordering::Relaxed))
    }
}

async fn pass(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let asked = Asked { method: parts.method, uri: parts.uri, headers: parts.headers, body };
    let meddle = inner.meddle.lock().unwrap().clone();
    if let Some(answer) = meddle.and_then(|meddle| meddle(&asked)) {
        inner.answered.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::builder().status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        return response.body(answer.body.into()).unwrap();
    }
    inner.passed.fetch_add(1, Ordering::Relaxed);
    let lose = inner.lose.lock().unwrap().clone();
    let loss = lose.and_then(|lose| lose(&asked));
    let path = asked.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("{}{path}", inner.target);
    let sent = inner.http.request(asked.method, url).headers(asked.headers).body(asked.body).send().await;
    match loss {
        None => {}
        Some(Loss::Status(status)) => return Response::builder().status(status).body(Body::empty()).unwrap(),
        Some(Loss::Cut) => {
            // More is promised than comes.
            let cut = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
            return Response::builder().header("content-length", "99").body(Body::from_stream(cut)).unwrap();
        }
        Some(Loss::Late(late)) => tokio::time::sleep(late).await,
    }
    match sent {
        Err(e) => (StatusCode::BAD_GATEWAY, e.to_string()).into_response(),
        Ok(answer) => {
            let (status, headers) = (answer.status(), answer.headers().clone());
            let body = answer.bytes().await.unwrap_or_default();
            let mut response = Response::new(body.into());
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            response.headers_mut().remove("transfer-encoding");
            response
        }
    }
}
