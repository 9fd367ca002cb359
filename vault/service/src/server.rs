//! The server: routes with their description, a bounded number of connections, and the work that goes on beside them.

use crate::access::{Origin, RequestId};
use crate::clock::random_id;
use crate::connections::bounded;
use crate::event::Audit;
use crate::policy::Operation;
use crate::problem::no_such_route;
use crate::service::Vault;
use crate::{Error, routes};
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use prunella_schemas::port::Intake;
use serde_json::{Value, json};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Most requests in progress; further ones are answered 503.
const REQUESTS_MAX: usize = 256;
/// Largest body of a request that is no upload, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long the body of such a request may take to come.
const BODY_WAIT: Duration = Duration::from_secs(20);
/// The one route whose body is streamed: how many at once and how slowly is its own to say.
const UPLOAD: &str = "/upload";
/// How often the janitor comes by.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// How long the outbox waits when the pipeline or the database is away.
const RETRY: Duration = Duration::from_secs(1);

/// Requests in progress, bounded.
#[derive(Clone)]
struct Limit(Arc<Semaphore>);

impl Limit {
    /// A request takes a place once all of it is there: who sends slowly, or nothing, holds a connection and no more.
    async fn pass(self, request: Request, next: Next) -> Result<Response, Error> {
        if request.uri().path() == UPLOAD {
            return Ok(next.run(request).await);
        }
        let request = whole(request).await?;
        let _permit =
            self.0.try_acquire().map_err(|_| Error::Unavailable("a free place for this request"))?;
        Ok(next.run(request).await)
    }
}

async fn whole(request: Request) -> Result<Request, Error> {
    let (head, body) = request.into_parts();
    let slow = |_| Error::Invalid(format!("the body did not come within {} s", BODY_WAIT.as_secs()));
    let body = tokio::time::timeout(BODY_WAIT, to_bytes(body, BODY_BYTES_MAX)).await.map_err(slow)?;
    let body = body.map_err(|_| {
        Error::Invalid(format!("the body broke off, or is larger than {BODY_BYTES_MAX} bytes"))
    })?;
    Ok(Request::from_parts(head, Body::from(body)))
}

/// The whole application.
pub fn router(vault: Arc<Vault>) -> Router {
    let (api, description) = routes::api().split_for_parts();
    let document = Arc::new(document(&description));
    let limit = Limit(Arc::new(Semaphore::new(REQUESTS_MAX)));
    let proxies = vault.proxies.clone();
    api.with_state(vault)
        .route("/openapi.json", get(move || async move { Json(document) }))
        .fallback(no_such_route)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(move |request, next| limit.clone().pass(request, next)))
        .layer(from_fn(seal))
        .layer(from_fn(move |request, next| proxies.clone().look_through(request, next)))
}

/// The vault under `/vault`, beside what `router` serves.
pub fn beside(router: Router, vault: Arc<Vault>) -> Router {
    Router::new().nest("/vault", self::router(vault)).merge(router)
}

/// The OpenAPI 3.1 document, for publishing and for checking drift without a server.
pub fn openapi() -> Value {
    document(&routes::api().split_for_parts().1)
}

fn document(description: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(description).unwrap_or_default();
    document["info"] = json!({
        "title": "Prunella Vault",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Keeps files that their owners sealed, under gates whose custody follows their risk.",
        "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
    });
    document["components"]["securitySchemes"] = json!({
        "password": {"type": "oauth2", "flows": {"password": {"tokenUrl": "login", "refreshUrl": "token/refresh", "scopes": {}}}},
    });
    document["security"] = json!([{"password": []}]);
    document["components"]["schemas"]["Problem"] =
        serde_json::to_value(<crate::problem::Problem as utoipa::PartialSchema>::schema())
            .unwrap_or_default();
    let operations = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in operations.filter_map(Value::as_object_mut).flat_map(|path| path.values_mut()) {
        if let Some(responses) = operation["responses"].as_object_mut() {
            for (status, response) in responses.iter_mut() {
                if response["description"].as_str().is_none_or(str::is_empty) {
                    response["description"] = json!(if status.starts_with('2') { "OK" } else { "Refused" });
                }
            }
            responses.insert(
                "default".into(),
                json!({"description": "What went wrong, and what to do",
                    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}),
            );
        }
    }
    document
}

/// Nothing that the vault says is to be kept, framed or guessed at; each answer names its request.
async fn seal(mut request: Request, next: Next) -> Response {
    let id = random_id();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.extend(HeaderValue::from_str(&id).ok().map(|id| (HeaderName::from_static("x-request-id"), id)));
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Serves until `shutdown` is ready. Sequencing, delivery, renewals and the janitor run beside it.
pub async fn serve(
    vault: Arc<Vault>,
    listener: TcpListener,
    pipeline: Option<Arc<dyn Intake>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = bounded(listener);
    let service = router(Arc::clone(&vault)).into_make_service_with_connect_info::<SocketAddr>();
    let beside = tokio::spawn(work(Arc::clone(&vault), pipeline));
    let served = axum::serve(listener, service).with_graceful_shutdown(shutdown).await;
    beside.abort();
    let _ = beside.await;
    vault.finish(None).await;
    served
}

impl Vault {
    /// The end: what was answered is in the ledger, and with the pipeline if there is one, before we go.
    pub async fn finish(&self, pipeline: Option<&dyn Intake>) {
        let done = async {
            hand_over(self, pipeline).await?;
            self.log.prune(pipeline.is_some()).await
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, "the last entries are linked and handed over at the next start");
        }
        self.close().await;
    }
}

/// What goes on beside the requests, for ever.
pub async fn work(vault: Arc<Vault>, pipeline: Option<Arc<dyn Intake>>) {
    tokio::join!(sequence(&vault, pipeline.as_deref()), renew(&vault), tidy(&vault, pipeline.is_some()));
}

async fn sequence(vault: &Vault, pipeline: Option<&dyn Intake>) {
    loop {
        match hand_over(vault, pipeline).await {
            Ok(()) => vault.posted.notified().await,
            Err(error) => {
                tracing::warn!(%error, "the outbox waits");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Everything that the outbox has: into the ledger, and then to the pipeline.
async fn hand_over(vault: &Vault, pipeline: Option<&dyn Intake>) -> Result<(), Error> {
    while vault.log.sequence().await? > 0 {}
    if let Some(pipeline) = pipeline {
        while vault.log.deliver(pipeline, &vault.tenant).await? > 0 {}
    }
    Ok(())
}

async fn renew(vault: &Vault) {
    let audit = Audit::new(Operation::Rotate, Origin::own());
    loop {
        match vault.renew_due(&audit).await {
            Ok(0) => vault.renewals.notified().await,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "renewals wait");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn tidy(vault: &Vault, has_pipeline: bool) {
    loop {
        let done = async {
            while vault.tidy().await? > 0 {}
            vault.throttle.sweep(&vault.db, vault.now()).await?;
            vault.log.prune(has_pipeline).await
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, "the janitor comes again");
        }
        tokio::time::sleep(TIDY_EVERY).await;
    }
}
