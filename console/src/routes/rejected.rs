//! Dead letters: what could not be read, to look at and to give again.

use crate::params::{NoParams, Params, PathId, TimeFilter};
use crate::{Console, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use prunella_schemas::port::{Accepted, Rows};
use prunella_schemas::{DeadLetter, Id, Message, RejectReason, Tenant, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// A dead letter in a list: everything but its bytes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DeadLetterRow {
    id: Id,
    source: String,
    tenant: Tenant,
    origin: String,
    /// When we got the record.
    received: Timestamp,
    reason: RejectReason,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// When it was refused.
    time: Timestamp,
    /// Size of the record.
    bytes: u64,
}

/// A dead letter with its bytes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DeadLetterWhole {
    id: Id,
    #[serde(flatten)]
    letter: DeadLetter,
}

/// Dead letters, newest first, without their bytes.
#[utoipa::path(get, path = "/api/dlq", operation_id = "dead_letters", tag = "dlq", params(TimeFilter),
    responses((status = 200, body = ref("#/components/schemas/DeadLetters"))))]
pub(crate) async fn list(
    State(console): State<Console>,
    Params(filter): Params<TimeFilter>,
) -> Result<Json<Rows<DeadLetterRow>>, Problem> {
    let page = console.ports.store.dead_letters(&filter.query()?).await?;
    Ok(Json(Rows { rows: page.rows.into_iter().map(row).collect(), next: page.next }))
}

/// One dead letter with its bytes.
#[utoipa::path(get, path = "/api/dlq/{id}", operation_id = "dead_letter", tag = "dlq", params(("id" = String, Path)),
    responses((status = 200, body = ref("#/components/schemas/DeadLetterWhole"))))]
pub(crate) async fn show(
    State(console): State<Console>,
    PathId(id): PathId,
    _: Params<NoParams>,
) -> Result<Json<DeadLetterWhole>, Problem> {
    Ok(Json(DeadLetterWhole { id, letter: find(&console, id).await? }))
}

/// Gives the record of a dead letter to intake again.
#[utoipa::path(post, path = "/api/dlq/{id}/replay", operation_id = "replay_dead_letter", tag = "dlq", params(("id" = String, Path)),
    responses((status = 202, body = ref("#/components/schemas/Accepted"))))]
pub(crate) async fn replay(
    State(console): State<Console>,
    PathId(id): PathId,
    _: Params<NoParams>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let letter = find(&console, id).await?;
    let accepted = console.ports.intake.accept_record(letter.record).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

async fn find(console: &Console, id: Id) -> Result<DeadLetter, Problem> {
    console.ports.store.dead_letter(id).await?.ok_or_else(|| Problem::missing("dead letter", id))
}

fn row(letter: DeadLetter) -> DeadLetterRow {
    let id = letter.id();
    let DeadLetter { record, reason, detail, offset, time } = letter;
    let bytes = record.body.len() as u64;
    let (source, tenant, origin, received) = (record.source, record.tenant, record.origin, record.received);
    DeadLetterRow { id, source, tenant, origin, received, reason, detail, offset, time, bytes }
}
