//! Reading what the store holds: the dashboard, events, threats, plans and receipts.

use crate::params::{EventFilter, NoParams, Params, PathId, PrincipalFilter, ThreatFilter, filter_text};
use crate::{Console, Problem};
use axum::Json;
use axum::extract::State;
use prunella_schemas::port::{Dashboard, Rows};
use prunella_schemas::{Event, Finding, Receipt, Transition};
use serde::Deserialize;

#[derive(Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DashboardFilter {
    /// Absent: all tenants.
    tenant: Option<String>,
}

/// The numbers of the front page.
#[utoipa::path(get, path = "/api/dashboard", tag = "read", params(DashboardFilter),
    responses((status = 200, body = ref("#/components/schemas/Dashboard"))))]
pub(crate) async fn dashboard(
    State(console): State<Console>,
    Params(filter): Params<DashboardFilter>,
) -> Result<Json<Dashboard>, Problem> {
    if let Some(tenant) = &filter.tenant {
        filter_text("tenant", tenant)?;
    }
    Ok(Json(console.ports.store.dashboard(filter.tenant.as_deref()).await?))
}

/// Events, newest first, without `raw_data`: `/api/events/{id}` has it.
#[utoipa::path(get, path = "/api/events", tag = "read", params(EventFilter),
    responses((status = 200, body = ref("#/components/schemas/Events"))))]
pub(crate) async fn events(
    State(console): State<Console>,
    Params(filter): Params<EventFilter>,
) -> Result<Json<Rows<Event>>, Problem> {
    let mut page = console.ports.store.events(&filter.query()?).await?;
    // A page of whole records could be a gigabyte.
    page.rows.iter_mut().for_each(|event| event.raw_data = None);
    Ok(Json(page))
}

/// One event with the record as the source gave it.
#[utoipa::path(get, path = "/api/events/{id}", tag = "read", params(("id" = String, Path, description = "`prunella.event_uid`")),
    responses((status = 200, body = ref("#/components/schemas/Event"))))]
pub(crate) async fn event(
    State(console): State<Console>,
    PathId(id): PathId,
    _: Params<NoParams>,
) -> Result<Json<Event>, Problem> {
    console.ports.store.event(id).await?.map(Json).ok_or_else(|| Problem::missing("event", id))
}

/// Findings, newest first.
#[utoipa::path(get, path = "/api/threats", tag = "read", params(ThreatFilter),
    responses((status = 200, body = ref("#/components/schemas/Findings"))))]
pub(crate) async fn threats(
    State(console): State<Console>,
    Params(filter): Params<ThreatFilter>,
) -> Result<Json<Rows<Finding>>, Problem> {
    Ok(Json(console.ports.store.findings(&filter.query()?).await?))
}

/// One finding.
#[utoipa::path(get, path = "/api/threats/{id}", tag = "read", params(("id" = String, Path, description = "`finding_info.uid`")),
    responses((status = 200, body = ref("#/components/schemas/Finding"))))]
pub(crate) async fn threat(
    State(console): State<Console>,
    PathId(id): PathId,
    _: Params<NoParams>,
) -> Result<Json<Finding>, Problem> {
    console.ports.store.finding(id).await?.map(Json).ok_or_else(|| Problem::missing("threat", id))
}

/// The newest transition of each plan.
#[utoipa::path(get, path = "/api/plans", tag = "respond", params(PrincipalFilter),
    responses((status = 200, body = ref("#/components/schemas/Plans"))))]
pub(crate) async fn plans(
    State(console): State<Console>,
    Params(filter): Params<PrincipalFilter>,
) -> Result<Json<Rows<Transition>>, Problem> {
    Ok(Json(console.ports.store.plans(&filter.query()?).await?))
}

/// Every transition of one plan, in order.
#[utoipa::path(get, path = "/api/plans/{id}", tag = "respond", params(("id" = String, Path, description = "`plan_uid`")),
    responses((status = 200, body = ref("#/components/schemas/Transitions"))))]
pub(crate) async fn plan(
    State(console): State<Console>,
    PathId(id): PathId,
    _: Params<NoParams>,
) -> Result<Json<Vec<Transition>>, Problem> {
    let transitions = console.ports.store.plan(id).await?;
    if transitions.is_empty() { Err(Problem::missing("plan", id)) } else { Ok(Json(transitions)) }
}

/// Receipts, newest first.
#[utoipa::path(get, path = "/api/receipts", tag = "respond", params(PrincipalFilter),
    responses((status = 200, body = ref("#/components/schemas/Receipts"))))]
pub(crate) async fn receipts(
    State(console): State<Console>,
    Params(filter): Params<PrincipalFilter>,
) -> Result<Json<Rows<Receipt>>, Problem> {
    Ok(Json(console.ports.store.receipts(&filter.query()?).await?))
}

/// One receipt.
#[utoipa::path(get, path = "/api/receipts/{id}", tag = "respond",
    params(("id" = String, Path, description = "`prunella.receipt_uid`")),
    responses((status = 200, body = ref("#/components/schemas/Receipt"))))]
pub(crate) async fn receipt(
    State(console): State<Console>,
    PathId(id): PathId,
    _: Params<NoParams>,
) -> Result<Json<Receipt>, Problem> {
    console.ports.store.receipt(id).await?.map(Json).ok_or_else(|| Problem::missing("receipt", id))
}
