//! Intake, operators' commands, replay and simulation.

use crate::fake::{HOSTILE, NOW};
use crate::served::{Served, answer};
use prunella_console::Config;
use prunella_schemas::limits::INTAKE_BYTES_MAX;
use prunella_schemas::port::PortError;
use prunella_schemas::{Command, Id, Message, PlanState, Tenant};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

const NDJSON: &str = "application/x-ndjson";

#[tokio::test]
async fn a_batch_is_acknowledged_with_counts_and_belongs_to_the_configured_tenant() {
    let tenant = Tenant::try_from("acme".to_owned()).unwrap();
    let served = Served::with(Config { tenant: tenant.clone(), ..Config::default() }).await;
    let taken =
        served.intake("/api/events?source=aws.cloudtrail", NDJSON, "{\"tenant\":\"evil\"}\n{}\n").await;
    assert_eq!((taken.status, taken.json()), (202, json!({"accepted": 2, "duplicates": 0, "rejected": 0})));
    let world = served.fake.world();
    let upload = &world.uploads[0];
    assert_eq!((upload.source.as_str(), &upload.tenant), ("aws.cloudtrail", &tenant));
    assert_eq!((upload.content_type.as_str(), upload.content_encoding.as_str()), (NDJSON, ""));
    assert_eq!(
        (upload.origin.as_str(), upload.body.as_slice()),
        ("http:127.0.0.1", &b"{\"tenant\":\"evil\"}\n{}\n"[..])
    );
}

#[tokio::test]
async fn a_source_is_named_by_query_header_or_cloudevent() {
    let served = Served::start().await;
    let event = |kind: &str| {
        json!({"specversion": "1.0", "id": "1", "source": "s", "type": kind, "data": {}}).to_string()
    };
    let send = |path: &'static str, headers: Vec<(&'static str, &'static str)>, body: String| {
        let request =
            headers.into_iter().fold(served.request(Method::POST, path), |r, (k, v)| r.header(k, v));
        answer(request.body(body))
    };
    let ce = ("content-type", "application/cloudevents+json; charset=utf-8");
    let batch = ("content-type", "application/cloudevents-batch+json");
    let json = ("content-type", "application/json");
    let taken = [
        send("/api/events?source=ocsf", vec![json], "{}".to_owned()).await,
        send("/api/events", vec![json, ("prunella-source", "ocsf")], "{}".to_owned()).await,
        send("/api/events", vec![json, ("ce-type", "ocsf"), ("ce-source", "x")], "{}".to_owned()).await,
        send("/api/events", vec![ce], event("ocsf")).await,
        send("/api/events", vec![batch], format!("[{},{}]", event("ocsf"), event("ocsf"))).await,
        send("/api/events?source=ocsf", vec![ce], event("com.example.unknown")).await,
        send("/api/events?source=ocsf", vec![ce, ("content-encoding", "GZIP")], "\u{1f}".to_owned()).await,
    ];
    for answer in &taken {
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    let sources: Vec<String> = served.fake.world().uploads.iter().map(|u| u.source.clone()).collect();
    assert_eq!(sources, vec!["ocsf"; taken.len()]);
    assert_eq!(served.fake.world().uploads[6].content_encoding, "gzip");

    let both = vec![json, ("prunella-source", "ocsf")];
    send("/api/events?source=aws.cloudtrail", both, "{}".to_owned()).await.is_problem(400, &["send one"]);
    send("/api/events", vec![json], "{}".to_owned())
        .await
        .is_problem(400, &["?source=", "aws.cloudtrail, ocsf"]);
    send("/api/events?source=nope", vec![json], "{}".to_owned())
        .await
        .is_problem(400, &["nope", "aws.cloudtrail, ocsf"]);
    send("/api/events", vec![ce], event("nope")).await.is_problem(400, &["?source="]);
    let mixed = format!("[{},{}]", event("ocsf"), event("aws.cloudtrail"));
    send("/api/events", vec![batch], mixed).await.is_problem(400, &["?source="]);
}

#[tokio::test]
async fn intake_refuses_what_it_cannot_read_or_hold() {
    let served = Served::start().await;
    let path = "/api/events?source=ocsf";
    served
        .intake(path, "application/x-www-form-urlencoded", "a=b")
        .await
        .is_problem(415, &["application/x-ndjson"]);
    let zstd = served
        .request(Method::POST, path)
        .header("content-type", NDJSON)
        .header("content-encoding", "zstd")
        .body("x");
    answer(zstd).await.is_problem(415, &["zstd", "gzip"]);
    served.intake(path, NDJSON, vec![b'x'; INTAKE_BYTES_MAX]).await;
    assert_eq!(served.fake.world().uploads.len(), 1, "a body of exactly the limit is taken");
    served.intake(path, NDJSON, vec![b'x'; INTAKE_BYTES_MAX + 1]).await.is_problem(413, &["16777216"]);

    served.fake.world().fails = Some(PortError::Unavailable("the log is read-only".to_owned()));
    let busy = served.intake(path, NDJSON, "{}").await;
    busy.is_problem(503, &["read-only"]);
    assert_eq!(busy.header("retry-after"), "1");
    served.fake.world().fails = Some(PortError::Full("the disk is full".to_owned()));
    served.intake(path, NDJSON, "{}").await.is_problem(507, &["the disk is full"]);
    assert_eq!(served.fake.world().uploads.len(), 1);
}

/// A body sent in chunks states no length; it must be cut all the same.
#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let served = Served::start().await;
    let chunk = |_| Ok::<_, std::io::Error>(vec![b'x'; 1024 * 1024]);
    let endless = futures_util::stream::iter((0..64).map(chunk));
    let request = served.request(Method::POST, "/api/kill-switch").header("content-type", "application/json");
    // The server may answer and close before all is sent; either way nothing is taken.
    if let Ok(response) = request.body(reqwest::Body::wrap_stream(endless)).send().await {
        assert_eq!(response.status(), 413);
    }
    assert!(served.fake.world().commands.is_empty());
}

#[tokio::test]
async fn too_many_batches_at_once_are_turned_away_and_slow_ones_are_cut() {
    let served = Served::with(Config { request_timeout_ms: 1_500, ..Config::default() }).await;
    served.fake.world().intake_ms = 600;
    let path = "/api/events?source=ocsf";
    let all = futures_util::future::join_all((0..24).map(|_| served.intake(path, NDJSON, "{}"))).await;
    let taken = all.iter().filter(|a| a.status == 202).count();
    assert_eq!((taken, all.iter().filter(|a| a.status == 503).count()), (16, 8));
    served.fake.world().intake_ms = 60_000;
    served.intake(path, NDJSON, "{}").await.is_problem(503, &["1500 ms"]);
}

#[tokio::test]
async fn commands_are_queued_for_plans_that_can_take_them() {
    let served = Served::start().await;
    let plan = |to: PlanState| {
        served.fake.world().plans.iter().rev().find(|t| t.to == to).map(|t| t.plan_uid).unwrap()
    };
    let (waiting, verified, dry) =
        (plan(PlanState::AwaitingApproval), plan(PlanState::Verified), plan(PlanState::DryRun));
    let by = json!({"by": " dana "});
    let approved = served.post(&format!("/api/plans/{waiting}/approve"), &by).await;
    let queued = json!({"command": "approve", "plan_uid": waiting, "by": "dana"});
    assert_eq!((approved.status, approved.json()), (202, queued));
    assert_eq!(served.post(&format!("/api/plans/{waiting}/reject"), &by).await.status, 202);
    assert_eq!(served.post(&format!("/api/plans/{verified}/rollback"), &by).await.status, 202);
    assert_eq!(served.post("/api/kill-switch", &json!({"engaged": true, "by": "dana"})).await.status, 202);
    let (tenant, name) = (Tenant::default(), "dana".to_owned());
    let want = vec![
        Command::Approve {
            tenant: tenant.clone(),
            plan_uid: waiting,
            by: name.clone(),
            at: NOW,
            digest: None,
        },
        Command::Reject { tenant: tenant.clone(), plan_uid: waiting, by: name.clone(), at: NOW },
        Command::RollBack { tenant, plan_uid: verified, by: name.clone(), at: NOW },
        Command::KillSwitch { engaged: true, by: name, at: NOW },
    ];
    assert_eq!(served.fake.world().commands, want);

    served
        .post(&format!("/api/plans/{verified}/approve"), &by)
        .await
        .is_problem(409, &["verified", "approved"]);
    served
        .post(&format!("/api/plans/{dry}/rollback"), &by)
        .await
        .is_problem(409, &["dry_run", "rolled back"]);
    served
        .post(&format!("/api/plans/{}/approve", Id::derive("no", &[])), &by)
        .await
        .is_problem(404, &["plan"]);
    let path = format!("/api/plans/{waiting}/approve");
    for bad in [
        json!({}),
        json!({"by": ""}),
        json!({"by": "a\nb"}),
        json!({"by": "x".repeat(129)}),
        json!({"by": "a", "c": 1}),
    ] {
        served.post(&path, &bad).await.is_problem(400, &["by"]);
    }
    served
        .post("/api/kill-switch", &json!({"engaged": "yes", "by": "dana"}))
        .await
        .is_problem(400, &["expected a boolean"]);
    served.intake(&path, "text/plain", "{\"by\":\"dana\"}").await.is_problem(415, &["application/json"]);
    served.intake(&path, "application/json", "{\"by\":").await.is_problem(400, &["does not read"]);
    served.intake(&path, "application/json", vec![b' '; 20_000]).await.is_problem(413, &["16384"]);
    assert_eq!(served.fake.world().commands.len(), 4);
    served.fake.world().fails = Some(PortError::Full("the disk is full".to_owned()));
    served.post("/api/kill-switch", &json!({"engaged": true, "by": "dana"})).await.is_problem(507, &["disk"]);
}

#[tokio::test]
async fn a_playbook_is_started_by_hand_for_an_event_or_a_finding() {
    let served = Served::start().await;
    let (event, finding) = {
        let world = served.fake.world();
        (world.events[0].clone(), world.findings[0].clone())
    };
    let ask = json!({"by": "dana", "playbook": "lock"});
    for (uid, principal) in [
        (event.prunella.event_uid, event.principal().to_owned()),
        (finding.prunella.finding_uid, finding.principal().to_owned()),
    ] {
        let answer = served.post(&format!("/api/events/{uid}/respond"), &ask).await;
        assert_eq!((answer.status, answer.json()), (202, json!({"command": "respond", "by": "dana"})));
        let world = served.fake.world();
        let Some(Command::Respond { tenant, finding, playbook, by, at }) = world.commands.last() else {
            panic!("no command to respond");
        };
        assert_eq!((finding.principal(), finding.tenant(), *at), (principal.as_str(), tenant.as_str(), NOW));
        assert_eq!((playbook.as_str(), by.as_str()), ("lock", "dana"));
        assert!(!finding.prunella.evidence.is_empty());
    }
    let path = format!("/api/events/{}/respond", event.prunella.event_uid);
    served.post(&path, &json!({"by": "dana", "playbook": "nope"})).await.is_problem(400, &["nope", "lock"]);
    served.post(&path, &json!({"by": " ", "playbook": "lock"})).await.is_problem(400, &["by"]);
    let nobody = format!("/api/events/{}/respond", Id::derive("no", &[]));
    served.post(&nobody, &ask).await.is_problem(404, &["event or finding"]);
    assert_eq!(served.fake.world().commands.len(), 2);
}

#[tokio::test]
async fn an_approval_for_other_steps_and_a_roll_back_of_nothing_are_refused_early() {
    let served = Served::start().await;
    let (waiting, verified) = {
        let mut world = served.fake.world();
        world.plans.iter_mut().for_each(|t| t.plan.undo.clear());
        let of = |to: PlanState| world.plans.iter().rev().find(|t| t.to == to).map(|t| t.plan_uid).unwrap();
        (of(PlanState::AwaitingApproval), of(PlanState::Verified))
    };
    let stale = json!({"by": "dana", "digest": Id::derive("stale", &[])});
    served.post(&format!("/api/plans/{waiting}/approve"), &stale).await.is_problem(409, &["other steps"]);
    served
        .post(&format!("/api/plans/{verified}/rollback"), &json!({"by": "dana"}))
        .await
        .is_problem(409, &["nothing to take back"]);
    assert!(served.fake.world().commands.is_empty());
}

#[tokio::test]
async fn a_dead_letter_is_given_again_as_it_was() {
    let served = Served::start().await;
    let letter = served.fake.world().letters[0].clone();
    let again = answer(served.request(Method::POST, &format!("/api/dlq/{}/replay", letter.id()))).await;
    assert_eq!((again.status, again.json()), (202, json!({"accepted": 1, "duplicates": 0, "rejected": 0})));
    assert_eq!(served.fake.world().replayed, vec![letter.record]);
    let nobody = Id::derive("nobody", &[]);
    answer(served.request(Method::POST, &format!("/api/dlq/{nobody}/replay")))
        .await
        .is_problem(404, &["dead letter"]);
}

#[tokio::test]
async fn an_attack_is_started_by_name_and_unknown_names_are_answered_with_the_known() {
    let served = Served::start().await;
    let path = "/api/simulate-attack";
    let started =
        served.post(path, &json!({"attack_type": "brute_force", "intensity": "high", "seed": 7})).await;
    let want = json!({"attack_type": "brute_force", "intensity": "high", "seed": 7});
    assert_eq!((started.status, started.json()), (202, want));
    assert_eq!(served.post(path, &json!({"attack_type": "brute_force"})).await.json()["intensity"], "medium");
    served
        .post(path, &json!({"attack_type": "nope", "intensity": "low"}))
        .await
        .is_problem(400, &["brute_force, log_tampering"]);
    let loud = json!({"attack_type": "brute_force", "intensity": "loud"});
    served.post(path, &loud).await.is_problem(400, &["low, medium, high"]);
    served.post(path, &json!({})).await.is_problem(400, &["attack_type"]);

    let fake = crate::fake::Fake::sample();
    let mut ports = fake.ports();
    ports.simulator = None;
    let without = Served::of(fake, ports, Config::default()).await;
    without
        .post(path, &json!({"attack_type": "brute_force"}))
        .await
        .is_problem(501, &["prunella simulate-attack"]);
}

#[tokio::test]
async fn serving_ends_when_asked_even_while_a_request_is_stuck() {
    let mut served = Served::start().await;
    served.fake.world().intake_ms = 60_000;
    let stuck =
        served.request(Method::POST, "/api/events?source=ocsf").header("content-type", NDJSON).body("{}");
    let stuck = tokio::spawn(stuck.send());
    tokio::time::sleep(Duration::from_millis(200)).await;
    served.stop.take().unwrap().send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(8), &mut served.ended).await;
    assert!(matches!(ended, Ok(Ok(Ok(())))), "{ended:?}");
    stuck.abort();
}

#[tokio::test]
async fn a_link_shows_a_plan_and_approves_it_once_without_a_token() {
    let served = Served::with_token().await;
    let client = reqwest::Client::new();
    let url = format!("http://{}/approve/good", served.address);
    let filled = |by: &str| {
        client.post(&url).header("content-type", "application/x-www-form-urlencoded").body(format!("by={by}"))
    };
    let form = |by: &str| filled(by).send();
    for _ in 0..2 {
        let shown = client.get(&url).send().await.unwrap();
        let policy = shown.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("form-action 'self'") && !policy.contains("script-src"), "{policy}");
        let page = shown.text().await.unwrap();
        assert!(page.contains("<form") && !page.contains(HOSTILE), "{page}");
        assert!(served.fake.world().commands.is_empty(), "looking decides nothing");
    }
    assert_eq!(form("%20").await.unwrap().status(), 400);
    let foreign = filled("dana").header("origin", "https://evil.example").send().await;
    assert_eq!(foreign.unwrap().status(), 403);
    assert_eq!(form("dana").await.unwrap().status(), 202);
    for late in [form("dana").await, form("eve").await, client.get(&url).send().await] {
        assert_eq!(late.unwrap().status(), 410);
    }
    assert_eq!(
        client.get(format!("http://{}/approve/other", served.address)).send().await.unwrap().status(),
        410
    );
    let commands = served.fake.world().commands.clone();
    assert!(
        matches!(&commands[..], [Command::Approve { by, digest: Some(_), .. }] if by == "dana"),
        "{commands:?}"
    );
}
