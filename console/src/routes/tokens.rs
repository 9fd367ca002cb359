//! Token versions and account states: what an application asks before it accepts a call.

use crate::params::{Params, filter_text};
use crate::{Console, Problem};
use axum::Json;
use axum::extract::State;
use prunella_schemas::Tenant;
use prunella_schemas::port::{AccountState, TokenVersion};
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
    let tenant = tenant_of(&console, &principal, tenant)?;
    Ok(Json(console.ports.state.token_version(&tenant, &principal).await?))
}

/// What an application must honour about an account beside its tokens.
///
/// Refuse every call before `locked_until`; refuse a session whose credential is in `refused_sessions`; refuse a session until
/// it has shown a second factor at or after `step_up_since`. Times are milliseconds since 1970, and 0 asks for nothing. While
/// the state is not loaded the answer is 503, never "not locked": treat it as a refusal.
#[utoipa::path(get, path = "/api/account-state", tag = "tokens", params(TokenQuery),
    responses((status = 200, body = ref("#/components/schemas/AccountState"))))]
pub(crate) async fn account_state(
    State(console): State<Console>,
    Params(TokenQuery { principal, tenant }): Params<TokenQuery>,
) -> Result<Json<AccountState>, Problem> {
    let tenant = tenant_of(&console, &principal, tenant)?;
    Ok(Json(console.ports.state.account(&tenant, &principal).await?))
}

fn tenant_of(console: &Console, principal: &str, tenant: Option<String>) -> Result<Tenant, Problem> {
    filter_text("principal", principal)?;
    match tenant {
        Some(name) => Tenant::try_from(name).map_err(|e| Problem::invalid(e.to_string())),
        None => Ok(console.config.tenant.clone()),
    }
}
