//! The OpenAPI document describes every route, and every reference in it leads somewhere.

use crate::served::Served;
use serde_json::Value;
use std::collections::BTreeSet;

const ROUTES: [&str; 28] = [
    "get /api/dashboard",
    "get /api/dlq",
    "get /api/dlq/{id}",
    "get /api/events",
    "get /api/events/{id}",
    "get /api/health",
    "get /api/ledger/checkpoint",
    "get /api/plans",
    "get /api/plans/{id}",
    "get /api/receipts",
    "get /api/receipts/{id}",
    "get /api/receipts/{id}/proof",
    "get /api/resources",
    "get /api/threats",
    "get /api/threats/{id}",
    "get /api/token-versions",
    "get /api/account-state",
    "post /api/events/{id}/respond",
    "get /livez",
    "get /readyz",
    "get /ws/events",
    "post /api/dlq/{id}/replay",
    "post /api/events",
    "post /api/kill-switch",
    "post /api/plans/{id}/approve",
    "post /api/plans/{id}/reject",
    "post /api/plans/{id}/rollback",
    "post /api/simulate-attack",
];

#[tokio::test]
async fn every_route_is_described() {
    let served = Served::start().await;
    let document = served.get("/openapi.json").await.json();
    assert_eq!(document, prunella_console::openapi());
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    let want: BTreeSet<String> = ROUTES.iter().map(|r| (*r).to_owned()).collect();
    assert_eq!(described, want);
    let mut ids = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values().flat_map(|i| i.as_object().unwrap().values())
    {
        assert!(
            ids.insert(item["operationId"].as_str().unwrap().to_owned()),
            "{} is not unique",
            item["operationId"]
        );
        let answers = item["responses"].as_object().unwrap().values();
        assert!(
            answers.into_iter().all(|r| r["description"].as_str().is_some_and(|d| !d.is_empty())),
            "{item}"
        );
        assert!(item["summary"].as_str().is_some_and(|s| !s.is_empty()), "{item}");
        assert_eq!(
            item["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"],
            "#/components/schemas/Problem"
        );
    }
}

#[tokio::test]
async fn references_lead_to_schemas_of_the_real_types() {
    let document = prunella_console::openapi();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    assert!(references.len() > 30, "{references:?}");
    for reference in &references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads outside"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Event"]["properties"]["class_uid"]["type"], "integer");
    assert_eq!(schemas["Finding"]["properties"]["finding_info"]["$ref"], "#/components/schemas/FindingInfo");
    let version: BTreeSet<&String> =
        schemas["TokenVersion"]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(version.into_iter().collect::<Vec<_>>(), ["not_before", "principal", "version"]);
}

#[tokio::test]
async fn the_docs_page_shows_our_document_from_our_own_files() {
    let served = Served::start().await;
    assert_eq!(served.get("/api/docs").await.header("location"), "/api/docs/");
    let page = served.get("/api/docs/").await;
    assert!(page.status == 200 && page.text.contains("swagger-ui"), "{}", page.text);
    assert!(
        !page.text.contains("http://") && !page.text.contains("https://"),
        "nothing is loaded from elsewhere"
    );
    let start = served.get("/api/docs/swagger-initializer.js").await;
    assert!(start.text.contains("/openapi.json") && !start.text.contains("petstore"), "{}", start.text);
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("$ref", Value::String(reference)) => {
                        references.insert(reference.clone());
                    }
                    _ => collect(value, references),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|v| collect(v, references)),
        _ => {}
    }
}
