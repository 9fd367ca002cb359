//! What a role says over HTTP: whether it lives, whether it can work, its numbers; and for `connect`, intake.

use super::engines::Engines;
use super::sink::{self, Table};
use anyhow::Context;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use prunella_console::INTAKE_REQUESTS_MAX;
use prunella_ingest::{Content, Limits};
use prunella_runtime::connect;
use prunella_runtime::intake::Sender;
use prunella_runtime::log::kafka::{KafkaIntake, Settings, answers};
use prunella_runtime::metrics;
use prunella_runtime::roles::Vitals;
use prunella_schemas::limits::INTAKE_BYTES_MAX;
use prunella_schemas::port::Accepted;
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A server that runs until the process ends.
pub struct Server {
    pub address: SocketAddr,
}

/// The way in of `connect`, and who may use it.
pub struct Door {
    pub intake: KafkaIntake,
    access: prunella_console::Config,
    /// One permit for each body in memory.
    room: Arc<Semaphore>,
}

impl Door {
    pub fn new(intake: KafkaIntake, access: prunella_console::Config) -> Self {
        Door { intake, access, room: Arc::new(Semaphore::new(INTAKE_REQUESTS_MAX)) }
    }
}

#[derive(Clone)]
struct Shared {
    settings: Settings,
    vitals: Vitals,
    sources: connect::Vitals,
    door: Option<Arc<Door>>,
    /// Where the role `sink` writes to, if it runs here.
    table: Option<Table>,
    /// What `respond` and `console` need beside Kafka, if they run here.
    engines: Option<Engines>,
}

/// What the role `console` serves.
pub struct Api {
    pub ports: Box<prunella_console::Ports>,
    pub config: prunella_console::Config,
}

/// What the roles of this process have beside Kafka.
pub struct Beside {
    /// How the sources that are read here are.
    pub sources: connect::Vitals,
    pub door: Option<Door>,
    pub table: Option<Table>,
    pub engines: Option<Engines>,
    pub api: Option<Api>,
}

pub async fn serve(
    address: SocketAddr,
    settings: &Settings,
    vitals: &Vitals,
    beside: Beside,
) -> anyhow::Result<Server> {
    let Beside { sources, door, table, engines, api } = beside;
    let is_open = door.as_ref().is_some_and(|door| door.access.token.is_none());
    anyhow::ensure!(
        !is_open || address.ip().is_loopback(),
        "refusing to take records on {address} without a token: set `api.token_file`, or listen on 127.0.0.1"
    );
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with --listen"))?;
    let address = listener.local_addr().context("cannot read the address that was bound")?;
    let shared = Shared {
        settings: settings.clone(),
        vitals: vitals.clone(),
        sources,
        door: door.map(Arc::new),
        table,
        engines,
    };
    let events = events(&shared, address)?;
    let metrics = Router::new().route("/metrics", get(scrape));
    let router = match api {
        // It has the rest.
        Some(Api { ports, config }) => {
            let config = prunella_console::Config { listen: address, ..config };
            prunella_console::router(*ports, config)?.merge(metrics.with_state(shared))
        }
        None => metrics
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .with_state(shared)
            .merge(events),
    };
    tokio::spawn(async move {
        if let Err(e) = prunella_console::serve(listener, router, std::future::pending()).await {
            tracing::error!(error = %e, "the probes stopped");
        }
    });
    Ok(Server { address })
}

/// Intake, behind the gate that the console has too.
fn events(shared: &Shared, address: SocketAddr) -> anyhow::Result<Router> {
    let routes = Router::new()
        .route("/api/events", post(accept))
        .layer(DefaultBodyLimit::max(INTAKE_BYTES_MAX))
        .with_state(shared.clone());
    match &shared.door {
        Some(door) => {
            let access = prunella_console::Config { listen: address, ..door.access.clone() };
            Ok(prunella_console::guard(routes, access)?)
        }
        None => Ok(routes),
    }
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    let mut missing = shared.vitals.problems();
    let settings = shared.settings.clone();
    let asked = tokio::task::spawn_blocking(move || answers(&settings)).await;
    match asked {
        Ok(Ok(())) => {}
        Ok(Err(e)) => missing.push(format!("kafka: {e}")),
        Err(e) => missing.push(format!("kafka: {e}")),
    }
    if let Some(table) = &shared.table
        && let Err(e) = sink::answers(table).await
    {
        missing.push(format!("clickhouse: {e}"));
    }
    if let Some(engines) = &shared.engines {
        missing.extend(engines.missing().await);
    }
    match missing.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n"),
    }
}

type Answer = Result<(StatusCode, Json<Accepted>), (StatusCode, String)>;

#[derive(Deserialize)]
struct From {
    source: Option<String>,
}

/// Takes a body as `POST /api/events` of the console does: 202 means that all replicas have it.
async fn accept(
    State(shared): State<Shared>,
    Query(from): Query<From>,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    let refuse = |status: StatusCode, text: String| Err((status, text + "\n"));
    let Some(door) = shared.door else {
        return refuse(StatusCode::NOT_FOUND, "records are taken by the role `connect`".to_owned());
    };
    let known: Vec<&str> = prunella_translate::catalog().iter().map(|t| t.name()).collect();
    let Some(source) = from.source.filter(|source| known.contains(&source.as_str())) else {
        let names = known.join(", ");
        return refuse(StatusCode::BAD_REQUEST, format!("say the source, as `?source=` one of {names}"));
    };
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(content) = Content::of_media_type(media_type.unwrap_or_default()) else {
        let detail = "send application/x-ndjson, application/json or application/cloudevents+json";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail.to_owned());
    };
    // Before the body is read, and until it is durable: so many are in memory at most.
    let Ok(permit) = Arc::clone(&door.room).try_acquire_owned() else {
        let detail = format!("{INTAKE_REQUESTS_MAX} batches are being taken in: send this one again");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, detail);
    };
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(e) => return refuse(e.status(), e.body_text()),
    };
    let taken = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let tenant = door.access.tenant.clone();
        let sender = Sender { source, tenant, origin: "http".to_owned() };
        door.intake.take(body.as_ref(), content, &Limits::INTAKE, &sender)
    });
    match taken.await {
        Ok(Ok(accepted)) => Ok((StatusCode::ACCEPTED, Json(accepted))),
        Ok(Err(e)) => refuse(StatusCode::SERVICE_UNAVAILABLE, e.to_string()),
        Err(e) => refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("intake was cut short: {e}")),
    }
}

async fn scrape(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], shared.vitals.metrics() + &shared.sources.metrics())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_console::Token;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    const PATIENCE: Duration = Duration::from_secs(60);

    /// `connect` alone, in front of a broker that nobody asks.
    async fn served(token: Option<&str>) -> SocketAddr {
        let settings = Settings::new("127.0.0.1:9");
        let intake = KafkaIntake::open(&settings, prunella_runtime::clock::wall()).unwrap();
        let token = token.map(|text| Token::new(text).unwrap());
        let access = prunella_console::Config { token, ..Default::default() };
        let beside = Beside {
            sources: connect::Vitals::default(),
            door: Some(Door::new(intake, access)),
            table: None,
            engines: None,
            api: None,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        serve(address, &settings, &Vitals::default(), beside).await.unwrap().address
    }

    /// Sends the head of a request whose body never comes, with further headers.
    async fn post(address: SocketAddr, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let host = if headers.contains("Host:") { String::new() } else { format!("Host: {address}\r\n") };
        let head = format!(
            "POST /api/events?source=ocsf HTTP/1.1\r\n{host}{headers}Content-Length: {INTAKE_BYTES_MAX}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    async fn status(stream: &mut TcpStream) -> String {
        let mut bytes = [0; 12];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
        String::from_utf8_lossy(&bytes[9..]).into_owned()
    }

    #[tokio::test]
    async fn a_page_of_another_site_and_a_stranger_are_refused_before_their_body() {
        let (open, guarded) = (served(None).await, served(Some(TOKEN)).await);
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        for (address, headers, want) in [
            (open, "Origin: https://evil.example\r\n", "403"),
            (open, "Sec-Fetch-Site: cross-site\r\n", "403"),
            (open, "Host: evil.example\r\n", "421"),
            (guarded, "", "401"),
            (guarded, "Authorization: Bearer wrong\r\n", "401"),
            (guarded, &format!("{bearer}Origin: https://evil.example\r\n"), "403"),
        ] {
            assert_eq!(status(&mut post(address, headers).await).await, want, "{headers}");
        }
    }

    #[tokio::test]
    async fn so_many_bodies_are_in_memory_and_no_more() {
        let address = served(None).await;
        let mut held = Vec::new();
        // Each is in progress once the server asks for the body.
        for _ in 0..INTAKE_REQUESTS_MAX {
            let mut stream = post(address, "Expect: 100-continue\r\n").await;
            assert_eq!(status(&mut stream).await, "100");
            held.push(stream);
        }
        assert_eq!(status(&mut post(address, "").await).await, "503");
        let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        assert_eq!(metrics.status(), StatusCode::OK, "its numbers are still there");
    }
}
