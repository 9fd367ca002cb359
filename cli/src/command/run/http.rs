//! What a role says over HTTP: whether it lives, whether it can work, and its numbers.

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prunella_runtime::log::kafka::{Settings, answers};
use prunella_runtime::metrics;
use prunella_runtime::roles::Vitals;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// A server that runs until the process ends.
pub struct Server {
    pub address: SocketAddr,
}

#[derive(Clone)]
struct Shared {
    settings: Settings,
    vitals: Vitals,
}

pub async fn serve(address: SocketAddr, settings: &Settings, vitals: &Vitals) -> anyhow::Result<Server> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address with --listen"))?;
    let address = listener.local_addr().context("cannot read the address that was bound")?;
    let shared = Shared { settings: settings.clone(), vitals: vitals.clone() };
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .with_state(shared);
    tokio::spawn(async move {
        if let Err(e) = axum::serve(listener, router).await {
            tracing::error!(error = %e, "the probes stopped");
        }
    });
    Ok(Server { address })
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    let mut missing = shared.vitals.problems();
    let asked = tokio::task::spawn_blocking(move || answers(&shared.settings)).await;
    match asked {
        Ok(Ok(())) => {}
        Ok(Err(e)) => missing.push(format!("kafka: {e}")),
        Err(e) => missing.push(format!("kafka: {e}")),
    }
    match missing.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n"),
    }
}

async fn scrape(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], shared.vitals.metrics())
}
