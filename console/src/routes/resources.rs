//! What there is in the clouds, with the risk of each.

use crate::params::{Params, filter_text};
use crate::{Console, Problem};
use axum::Json;
use axum::extract::State;
use prunella_schemas::inventory::{Asset, assets};
use prunella_schemas::port::Rows;
use serde::Deserialize;

#[derive(Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResourceFilter {
    /// Absent: all tenants.
    tenant: Option<String>,
    /// Only these, such as `AWS::S3::Bucket`.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<String>,
}

/// The resources of the newest inventories, the riskiest first.
#[utoipa::path(get, path = "/api/resources", tag = "read", params(ResourceFilter),
    responses((status = 200, body = ref("#/components/schemas/Assets"))))]
pub(crate) async fn resources(
    State(console): State<Console>,
    Params(filter): Params<ResourceFilter>,
) -> Result<Json<Rows<Asset>>, Problem> {
    for (name, text) in [("tenant", &filter.tenant), ("type", &filter.kind)] {
        if let Some(text) = text {
            filter_text(name, text)?;
        }
    }
    let now = (console.ports.clock)();
    let mut rows = assets(console.ports.store.as_ref(), filter.tenant.as_deref(), now).await?;
    if let Some(kind) = &filter.kind {
        rows.retain(|asset| asset.kind == *kind);
    }
    Ok(Json(Rows { rows, next: None }))
}
