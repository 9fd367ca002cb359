//! What the reading routes answer, and what they refuse.

use crate::fake::{ALICE, NOW};
use crate::served::Served;
use prunella_schemas::port::{PortError, TokenVersion};
use prunella_schemas::{Id, Message, Timestamp};
use serde_json::json;

#[tokio::test]
async fn health_routes_tell_life_readiness_and_problems_apart() {
    let served = Served::start().await;
    assert_eq!(served.get("/livez").await.text, "ok\n");
    assert_eq!(served.get("/readyz").await.text, "ok\n");
    assert_eq!(served.get("/api/health").await.json()["lag"]["detect"], 12);
    {
        let mut world = served.fake.world();
        world.health.status = "degraded".to_owned();
        world.health.problems = vec!["the disk is 99 % full".to_owned()];
    }
    assert_eq!(served.get("/livez").await.status, 200);
    served.get("/readyz").await.is_problem(503, &["degraded", "the disk is 99 % full"]);
    let health = served.get("/api/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("degraded")));
}

#[tokio::test]
async fn lists_are_pages_and_items_are_whole() {
    let served = Served::start().await;
    let rows = |path: &'static str| {
        let served = &served;
        async move { served.get(path).await.json()["rows"].as_array().unwrap().len() }
    };
    assert_eq!(rows("/api/events").await, 100);
    assert_eq!(rows("/api/events?limit=0").await, 100);
    assert_eq!(rows("/api/events?limit=7").await, 7);
    assert_eq!(rows("/api/events?limit=4000000000").await, 240);
    assert_eq!(rows("/api/threats").await, 3);
    assert_eq!(rows("/api/threats?severity_min=4").await, 2);
    assert_eq!(rows("/api/plans").await, 3);
    assert_eq!(rows("/api/receipts").await, 2);
    assert_eq!(rows("/api/dlq").await, 1);
    let first = served.get("/api/events?limit=7").await.json();
    let second =
        served.get(&format!("/api/events?limit=7&before={}", first["next"].as_str().unwrap())).await.json();
    assert_ne!(first["rows"][0], second["rows"][0]);
    assert!(
        first["rows"].as_array().unwrap().iter().all(|e| e.get("raw_data").is_none()),
        "lists leave the records out"
    );

    let (event, finding, receipt, letter, plan) = {
        let world = served.fake.world();
        let (event, finding) = (world.events[3].clone(), world.findings[0].clone());
        (event, finding, world.receipts[0].clone(), world.letters[0].clone(), world.plans[0].plan_uid)
    };
    let item = |path: String| {
        let served = &served;
        async move { served.get(&path).await.json() }
    };
    assert_eq!(item(format!("/api/events/{}", event.id())).await, json!(event));
    assert_eq!(item(format!("/api/threats/{}", finding.finding_info.uid)).await, json!(finding));
    assert_eq!(item(format!("/api/receipts/{}", receipt.id())).await, json!(receipt));
    assert_eq!(
        item(format!("/api/receipts/{}/proof", receipt.id())).await["receipt_uid"],
        json!(receipt.id())
    );
    let transitions = item(format!("/api/plans/{plan}")).await;
    assert_eq!((&transitions[0]["to"], &transitions[1]["to"]), (&json!("planned"), &json!("verified")));
    let whole = item(format!("/api/dlq/{}", letter.id())).await;
    assert_eq!((&whole["id"], &whole["record"]), (&json!(letter.id()), &json!(letter.record)));
    let row = item("/api/dlq".to_owned()).await["rows"][0].clone();
    assert_eq!(
        (&row["id"], &row["bytes"], &row["reason"]),
        (&json!(letter.id()), &json!(13), &json!("not_json"))
    );
    assert!(row.get("record").is_none());
}

#[tokio::test]
async fn filters_reach_the_store_as_asked() {
    let served = Served::start().await;
    let path = "/api/events?tenant=acme&principal=aws:root:1&operation=GetObject&severity_min=3&since=2026-11-21T10:00:00Z\
                &until=1795255260000&before=c&limit=5000";
    assert_eq!(served.get(path).await.status, 200);
    assert_eq!(served.get("/api/threats?since=2026-11-21T11:00:00%2B01:00").await.status, 200);
    let world = served.fake.world();
    let query = &world.queries[0];
    assert_eq!((query.tenant.as_deref(), query.principal.as_deref()), (Some("acme"), Some("aws:root:1")));
    assert_eq!((query.operation.as_deref(), query.severity_min), (Some("GetObject"), Some(3)));
    assert_eq!((query.since, query.until), (Some(NOW), Some(NOW.plus_ms(60_000))));
    assert_eq!((query.before.as_deref(), query.limit), (Some("c"), 1_000));
    assert_eq!((world.queries[1].since, world.queries[1].limit), (Some(NOW), 100));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_reason() {
    let served = Served::start().await;
    let long = format!("/api/events?principal={}", "a".repeat(5_000));
    let cases: [(&str, &str); 18] = [
        ("/api/events?colour=red", "colour"),
        ("/api/health?x=1", "x"),
        ("/livez?x=1", "x"),
        ("/api/threats?operation=GetObject", "operation"),
        ("/api/receipts?severity_min=1", "severity_min"),
        ("/api/dlq?principal=x", "principal"),
        ("/api/dashboard?since=0", "since"),
        ("/api/dashboard?tenant=", "tenant"),
        ("/api/events?limit=-1", "limit"),
        ("/api/events?limit=many", "limit"),
        ("/api/events?severity_min=9", "0 to 6"),
        ("/api/events?since=yesterday", "RFC 3339"),
        ("/api/events?since=2&until=1", "later"),
        ("/api/events?principal=", "empty"),
        (&long, "longer"),
        ("/api/events?limit=1&limit=2", "limit"),
        ("/api/token-versions", "principal"),
        ("/api/events/not-an-id", "32 hexadecimal digits"),
    ];
    for (path, word) in cases {
        served.get(path).await.is_problem(400, &[word]);
    }
    let nobody = Id::derive("nobody", &[]);
    for path in ["events", "threats", "plans", "receipts", "dlq"] {
        served.get(&format!("/api/{path}/{nobody}")).await.is_problem(404, &[&nobody.to_string()]);
    }
    served.get(&format!("/api/receipts/{nobody}/proof")).await.is_problem(404, &[]);
    served.get("/api/nothing").await.is_problem(404, &["/api/nothing"]);
    served.post("/api/health", &json!({})).await.is_problem(405, &["POST"]);
}

#[tokio::test]
async fn errors_of_the_engines_keep_their_meaning() {
    let served = Served::start().await;
    let fails = |error: PortError| served.fake.world().fails = Some(error);
    let paths = [
        "events",
        "threats",
        "plans",
        "receipts",
        "dlq",
        "dashboard",
        "ledger/checkpoint",
        "token-versions?principal=a",
    ];
    for path in paths {
        fails(PortError::Unavailable("the store is starting".to_owned()));
        let busy = served.get(&format!("/api/{path}")).await;
        busy.is_problem(503, &["the store is starting"]);
        assert_eq!(busy.header("retry-after"), "1");
        fails(PortError::Corrupt("page 7 does not read".to_owned()));
        served.get(&format!("/api/{path}")).await.is_problem(500, &["page 7"]);
        fails(PortError::Invalid("no such cursor".to_owned()));
        served.get(&format!("/api/{path}")).await.is_problem(400, &["no such cursor"]);
    }
}

#[tokio::test]
async fn token_versions_say_exactly_three_things_and_never_guess() {
    let served = Served::start().await;
    let never = served.get(&format!("/api/token-versions?principal={ALICE}")).await;
    assert_eq!(never.json(), json!({"principal": ALICE, "not_before": 0, "version": 0}));
    let version = TokenVersion { principal: ALICE.to_owned(), not_before: Timestamp(1_000), version: 3 };
    served.fake.world().tokens.insert(("default".to_owned(), ALICE.to_owned()), version);
    let revoked = served.get(&format!("/api/token-versions?principal={ALICE}")).await;
    assert_eq!(revoked.json(), json!({"principal": ALICE, "not_before": 1_000, "version": 3}));
    let other = served.get(&format!("/api/token-versions?principal={ALICE}&tenant=acme")).await;
    assert_eq!(other.json()["not_before"], 0);
    served.get("/api/token-versions?principal=a&tenant=A/B").await.is_problem(400, &["not a tenant name"]);
    served.get("/api/token-versions?principal=").await.is_problem(400, &["empty"]);

    served.fake.world().tokens_loaded = false;
    let unknown = served.get(&format!("/api/token-versions?principal={ALICE}")).await;
    unknown.is_problem(503, &["being loaded"]);
    assert!(!unknown.text.contains("not_before"));
}

#[tokio::test]
async fn the_checkpoint_is_a_signed_note_as_text() {
    let served = Served::start().await;
    let note = served.get("/api/ledger/checkpoint").await;
    assert_eq!((note.status, note.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert!(note.text.contains("\n\n\u{2014} "), "{}", note.text);
}
