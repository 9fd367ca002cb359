//! What a role says over HTTP: whether it lives, whether it can work, its numbers; and for `connect`, intake.

use super::engines::Engines;
use super::sink::{self, Table};
use anyhow::Context;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use prunella_console::Token;
use prunella_ingest::{Content, Limits};
use prunella_runtime::connect;
use prunella_runtime::intake::Sender;
use prunella_runtime::log::kafka::{KafkaIntake, Settings, answers};
use prunella_runtime::metrics;
use prunella_runtime::roles::Vitals;
use prunella_schemas::Tenant;
use prunella_schemas::limits::INTAKE_BYTES_MAX;
use prunella_schemas::port::Accepted;
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A server that runs until the process ends.
pub struct Server {
    pub address: SocketAddr,
}

/// The way in of `connect`, and who may use it.
pub struct Door {
    pub intake: KafkaIntake,
    pub tenant: Tenant,
    /// `None`: whoever reaches the address, which is a loopback one then.
    pub token: Option<Token>,
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
    let is_open = door.as_ref().is_some_and(|door| door.token.is_none());
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
            .route("/api/events", post(accept))
            .layer(DefaultBodyLimit::max(INTAKE_BYTES_MAX))
            .with_state(shared),
    };
    tokio::spawn(async move {
        if let Err(e) = prunella_console::serve(listener, router, std::future::pending()).await {
            tracing::error!(error = %e, "the probes stopped");
        }
    });
    Ok(Server { address })
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
    body: Bytes,
) -> Answer {
    let refuse = |status: StatusCode, text: String| Err((status, text + "\n"));
    let Some(door) = shared.door else {
        return refuse(StatusCode::NOT_FOUND, "records are taken by the role `connect`".to_owned());
    };
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let presented = text(header::AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default();
    if door.token.as_ref().is_some_and(|token| !token.matches(presented.as_bytes())) {
        return refuse(
            StatusCode::UNAUTHORIZED,
            "present the token of `api.token_file` as a bearer".to_owned(),
        );
    }
    let known: Vec<&str> = prunella_translate::catalog().iter().map(|t| t.name()).collect();
    let Some(source) = from.source.filter(|source| known.contains(&source.as_str())) else {
        let names = known.join(", ");
        return refuse(StatusCode::BAD_REQUEST, format!("say the source, as `?source=` one of {names}"));
    };
    let Some(content) = Content::of_media_type(text(header::CONTENT_TYPE)) else {
        let detail = "send application/x-ndjson, application/json or application/cloudevents+json";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail.to_owned());
    };
    let taken = tokio::task::spawn_blocking(move || {
        let sender = Sender { source, tenant: door.tenant.clone(), origin: "http".to_owned() };
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
