//! The ledger as anybody may verify it: the proof bundle of a receipt, and the newest signed checkpoint.

use crate::params::{NoParams, Params, PathId};
use crate::{Console, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::Value;

/// The proof bundle of one receipt, for any offline verifier.
#[utoipa::path(get, path = "/api/receipts/{id}/proof", operation_id = "receipt_proof", tag = "ledger",
    params(("id" = String, Path, description = "`prunella.receipt_uid`")), responses((status = 200, body = Value)))]
pub(crate) async fn proof(
    State(console): State<Console>,
    PathId(id): PathId,
    _: Params<NoParams>,
) -> Result<Json<Value>, Problem> {
    console.ports.ledger.proof(id).await?.map(Json).ok_or_else(|| Problem::missing("proof of a receipt", id))
}

/// The newest checkpoint: a C2SP signed note.
#[utoipa::path(get, path = "/api/ledger/checkpoint", operation_id = "ledger_checkpoint", tag = "ledger",
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn checkpoint(
    State(console): State<Console>,
    _: Params<NoParams>,
) -> Result<impl IntoResponse, Problem> {
    let note = console.ports.ledger.checkpoint().await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note))
}
