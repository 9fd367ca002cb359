//! The OpenAPI 3.1 document: routes as utoipa collected them, schemas as schemars derives them from the very types.

use crate::problem::Problem;
use crate::routes::schemas;
use axum::routing::get;
use axum::{Json, Router};
use prunella_schemas::inventory::Asset;
use prunella_schemas::port::{Accepted, AccountState, Dashboard, Health, Live, Rows, TokenVersion};
use prunella_schemas::{Event, Finding, Receipt, Transition};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

const DOCUMENT: &str = "/openapi.json";
const DOCS: &str = "/api/docs";

/// The document and the page that shows it.
pub(crate) fn routes(described: OpenApi) -> Router {
    let document = Arc::new(document(described));
    let config = utoipa_swagger_ui::Config::from(DOCUMENT).validator_url("none").persist_authorization(false);
    let docs: Router = SwaggerUi::new(DOCS).config(config).into();
    docs.route(DOCUMENT, get(move || async move { Json(document) }))
}

pub(crate) fn document(described: OpenApi) -> Value {
    let mut document = serde_json::to_value(described).unwrap_or_default();
    document["info"] = json!({
        "title": "Prunella",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Detects attacks in cloud logs, contains them, proves that the containment held, and hands out signed receipts.",
        "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
    });
    document["components"] = json!({
        "schemas": components(),
        "securitySchemes": {"bearer": {
            "type": "http", "scheme": "bearer",
            "description": "Needed when the console has a token; without one only this machine is served.",
        }},
    });
    document["security"] = json!([{}, {"bearer": []}]);
    if let Some(paths) = document["paths"].as_object_mut() {
        let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
        for operation in operations.filter(|o| o.get("responses").is_some()) {
            describe(&mut operation["responses"]);
            operation["responses"]["default"] = json!({
                "description": "What went wrong, where, and what to do",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            });
        }
    }
    document
}

/// The standard wants a description of every answer; what the status says is enough where a route has no more to say.
fn describe(responses: &mut Value) {
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        if response["description"].as_str().is_none_or(str::is_empty) {
            response["description"] = json!(if status == "202" { "Accepted" } else { "OK" });
        }
    }
}

/// Every schema that a route refers to, under the name by which it does, and what those need in turn.
fn components() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.definitions_path = "/components/schemas".into();
        s.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut named = Map::new();
    name::<Event>(&mut named, &mut generator, "Event");
    name::<Finding>(&mut named, &mut generator, "Finding");
    name::<Transition>(&mut named, &mut generator, "Transition");
    name::<Vec<Transition>>(&mut named, &mut generator, "Transitions");
    name::<Receipt>(&mut named, &mut generator, "Receipt");
    name::<Rows<Event>>(&mut named, &mut generator, "Events");
    name::<Rows<Finding>>(&mut named, &mut generator, "Findings");
    name::<Rows<Asset>>(&mut named, &mut generator, "Assets");
    name::<Rows<Transition>>(&mut named, &mut generator, "Plans");
    name::<Rows<Receipt>>(&mut named, &mut generator, "Receipts");
    name::<Rows<schemas::DeadLetterRow>>(&mut named, &mut generator, "DeadLetters");
    name::<schemas::DeadLetterWhole>(&mut named, &mut generator, "DeadLetterWhole");
    name::<schemas::Decision>(&mut named, &mut generator, "Decision");
    name::<schemas::Request>(&mut named, &mut generator, "Request");
    name::<schemas::Approval>(&mut named, &mut generator, "Approval");
    name::<schemas::KillSwitch>(&mut named, &mut generator, "KillSwitch");
    name::<schemas::Queued>(&mut named, &mut generator, "Queued");
    name::<schemas::SimulatedAttack>(&mut named, &mut generator, "SimulatedAttack");
    name::<Accepted>(&mut named, &mut generator, "Accepted");
    name::<Dashboard>(&mut named, &mut generator, "Dashboard");
    name::<Health>(&mut named, &mut generator, "Health");
    name::<TokenVersion>(&mut named, &mut generator, "TokenVersion");
    name::<AccountState>(&mut named, &mut generator, "AccountState");
    name::<Live>(&mut named, &mut generator, "Live");
    name::<crate::feed::Skipped>(&mut named, &mut generator, "Skipped");
    name::<Problem>(&mut named, &mut generator, "Problem");
    let mut all = generator.take_definitions(true);
    for (alias, schema) in named {
        all.entry(alias).or_insert(schema);
    }
    all
}

fn name<T: JsonSchema>(named: &mut Map<String, Value>, generator: &mut SchemaGenerator, alias: &str) {
    named.insert(alias.to_owned(), generator.subschema_for::<T>().to_value());
}
