//! Whether the process lives, is ready, and how it is.

use crate::params::{NoParams, Params};
use crate::{Console, Problem};
use axum::Json;
use axum::extract::State;
use prunella_schemas::port::Health;

/// Whether the process lives. Needs no token.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn livez(_: Params<NoParams>) -> &'static str {
    "ok\n"
}

/// Whether the process can do all of its work now: 503 names what it cannot.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn readyz(
    State(console): State<Console>,
    _: Params<NoParams>,
) -> Result<&'static str, Problem> {
    let health = console.ports.health.health().await;
    match health.status.as_str() {
        "ok" => Ok("ok\n"),
        status => Err(Problem::busy(format!("{status}: {}", health.problems.join("; ")))),
    }
}

/// How the process is: status, lag per stage, problems, kill switch. Always 200 while it can answer.
#[utoipa::path(get, path = "/api/health", tag = "health",
    responses((status = 200, body = ref("#/components/schemas/Health"))))]
pub(crate) async fn health(State(console): State<Console>, _: Params<NoParams>) -> Json<Health> {
    Json(console.ports.health.health().await)
}
