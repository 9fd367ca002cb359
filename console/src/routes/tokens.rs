//! Token versions: what an application asks before it accepts a token.

use crate::params::{Params, filter_text};
use crate::{Console, Problem};
use axum::Json;
use axum::extract::State;
use prunella_schemas::Tenant;
use prunella_schemas::port::TokenVersion;
use serde::Deserialize;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TokenQuery {
    /// The whole principal key.
    principal: String,
    /// Absent: the configured tenant.
    #[serde(default)]
    tenant: Option<String>,
}

/// From when on tokens of a principal are accepted.
///
/// Accept a token only if it was issued at or after `not_before` (milliseconds since 1970). A principal that was never
/// revoked has 0. While the state is not loaded the answer is 503, never "not revoked": treat it as a refusal.
#[utoipa::path(get, path = "/api/token-versions", tag = "tokens", params(TokenQuery),
    responses((status = 200, body = ref("#/components/schemas/TokenVersion"))))]
pub(crate) async fn token_versions(
    State(console): State<Console>,
    Params(TokenQuery { principal, tenant }): Params<TokenQuery>,
) -> Result<Json<TokenVersion>, Problem> {
    filter_text("principal", &principal)?;
    let tenant = match tenant {
        Some(name) => Tenant::try_from(name).map_err(|e| Problem::invalid(e.to_string()))?,
        None => console.config.tenant.clone(),
    };
    Ok(Json(console.ports.state.token_version(&tenant, &principal).await?))
}
