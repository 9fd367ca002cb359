//! What was ever written to the log must still be read: one stored message per topic and wire version.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use prunella_schemas::message::WireError;
use prunella_schemas::ocsf::{API_ACTIVITY, Actor, Api, Cloud, Endpoint, Session, User};
use prunella_schemas::plan::{Mode, Outcome, PlanState, Reach, Step};
use prunella_schemas::risk::RiskLevel;
use prunella_schemas::{
    Command, DeadLetter, Event, Finding, Id, Message, Order, Plan, Principal, Receipt, Record, RejectReason,
    Reply, Risk, Score, Signal, SignalKind, Tenant, Timestamp, Transition,
};
use std::path::Path;

/// Checks the stored bytes of a message against today's type. `UPDATE=1` writes what is missing, never what is there:
/// a file that exists was written by some release, and a new version gets a file of its own.
fn check<M: Message + PartialEq + std::fmt::Debug>(message: &M) {
    let name = format!("{}.v{}.json", M::TOPIC.name(), M::VERSION);
    check_as(&name, message);
}

#[allow(clippy::disallowed_methods, reason = "the switch that writes a missing file")]
fn check_as<M: Message + PartialEq + std::fmt::Debug>(name: &str, message: &M) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/wire").join(name);
    if std::env::var_os("UPDATE").is_some() && !path.exists() {
        std::fs::write(&path, message.encode()).unwrap();
    }
    let stored =
        std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}; run with UPDATE=1 to write it once"));
    let decoded = M::decode(M::VERSION, &stored).unwrap_or_else(|e| panic!("{name} no longer decodes: {e}"));
    assert_eq!(&decoded, message, "{name}");
    assert_eq!(decoded.id(), message.id(), "{name}: the id of a stored message must never change");
    assert_eq!(M::decode(1, &decoded.encode()).unwrap(), decoded, "{name} round trip");
    let newer = M::decode(M::VERSION + 1, &stored);
    assert!(matches!(newer, Err(WireError::Version { .. })), "{name}: a version of the future is refused");
}

fn record() -> Record {
    Record {
        source: "aws.cloudtrail".into(),
        tenant: Tenant::default(),
        received: Timestamp(1_760_000_000_500),
        origin: "trail.json:1".into(),
        body: br#"{"eventName":"StopLogging","note":"\u00e9\n"}"#.to_vec(),
    }
}

fn event() -> Event {
    let mut event = Event::new(API_ACTIVITY, 4, 1, 1);
    event.time = Timestamp(1_760_000_000_000);
    event.metadata.uid = Some("e-1".into());
    event.prunella.source = "aws.cloudtrail".into();
    event.prunella.principal = Principal::from_key("aws:user:arn:aws:iam::1:user/ann");
    let created_time = Some(Timestamp(1_759_999_000_000));
    let session = Some(Session { created_time, is_mfa: Some(false), ..Session::default() });
    let user =
        Some(User { name: Some("ann".into()), credential_uid: Some("AKIA".into()), ..User::default() });
    event.actor = Some(Actor { user, session, ..Actor::default() });
    event.api = Some(Api { operation: "StopLogging".into(), ..Api::default() });
    event.cloud =
        Some(Cloud { provider: "AWS".into(), region: Some("eu-west-1".into()), ..Cloud::default() });
    event.src_endpoint = Some(Endpoint { ip: Some("203.0.113.7".into()), ..Endpoint::default() });
    event.raw_data = Some("{}".into());
    event.identify();
    event
}

fn finding() -> Finding {
    let mut finding = Finding::new(4);
    finding.time = Timestamp(1_760_000_000_000);
    finding.message = "ann called StopLogging".into();
    finding.finding_info.analytic.uid = "audit_log_tampering".into();
    finding.prunella.principal = "aws:user:arn:aws:iam::1:user/ann".into();
    finding.prunella.evidence = vec![event().id()];
    finding.set_risk(72.0);
    finding.identify(b"window");
    finding
}

fn transition() -> Transition {
    let step = Step {
        provider: "prunella".into(),
        operation: "tokens.set_not_before".into(),
        target: "aws:user:arn:aws:iam::1:user/ann".into(),
        desired: serde_json::json!({ "not_before": 1_760_000_001_000_i64 }),
        prior: Some(serde_json::json!({ "not_before": 0, "version": 0 })),
    };
    let plan = Plan {
        uid: Id::derive("plan", &[b"1"]),
        action_key: Id::derive("action", &[b"1"]),
        principal: "aws:user:arn:aws:iam::1:user/ann".into(),
        playbook: "contain".into(),
        action: "tokens.revoke".into(),
        reach: Reach::Principal,
        mode: Mode::Auto,
        finding_uids: vec![finding().id()],
        steps: vec![step.clone()],
        horizon_ms: 5_000,
        created: Timestamp(1_760_000_001_000),
        ..Plan::default()
    };
    let order = Some(Order::Apply { steps: vec![step], key: plan.action_key });
    let (from, to, at) = (Some(PlanState::Planned), PlanState::Approved, Timestamp(1_760_000_001_100));
    Transition {
        plan_uid: plan.uid,
        sequence: 1,
        from,
        to,
        at,
        why: "mode auto".into(),
        plan,
        order,
        receipt: None,
    }
}

#[test]
fn every_message_ever_written_is_still_read() {
    check(&record());
    let binary = Record { body: vec![0xff, 0, 0x80, b'\n'], ..record() };
    let stored = b"{\"source\":\"aws.cloudtrail\",\"tenant\":\"default\",\"received\":1760000000500,\
                   \"origin\":\"trail.json:1\"}\n\xff\0\x80\n";
    assert_eq!(Record::decode(1, stored).unwrap(), binary, "bytes that are no text stay as they are");
    assert_eq!(binary.encode(), stored);
    check(&event());
    check(&finding());
    check(&transition());
    let risk = Risk {
        tenant: Tenant::default(),
        principal: "p".into(),
        score: 72.5,
        level: RiskLevel::High,
        previous: RiskLevel::Low,
        time: Timestamp(1_760_000_000_000),
        finding_uid: Some(finding().id()),
    };
    check(&risk);
    let (event_uid, time) = (event().id(), Timestamp(1_760_000_000_000));
    check(&Score {
        event_uid,
        tenant: Tenant::default(),
        time,
        class_uid: 6003,
        operation: 7,
        tier_change: true,
        p_value: Some(0.25),
        leads_to: 0,
    });
    check(&Signal {
        event_uid,
        tenant: Tenant::default(),
        principal: "p".into(),
        time,
        kind: SignalKind::Forest,
        weight: 20.0,
        detail: "unusual".into(),
        p_value: Some(0.0001),
        proposal: Some(Box::new(finding())),
    });
    let reply = Reply::Applied { outcomes: vec![Outcome::Done { detail: "done".into() }] };
    let (plan_uid, at) = (transition().plan_uid, Timestamp(1_760_000_001_200));
    check(&Command::Reply { plan_uid, sequence: 1, reply, at });
    check_as("commands.tick.v1.json", &Command::Tick { at });
    check_as("commands.kill_switch.v1.json", &Command::KillSwitch { engaged: true, by: "ann".into(), at });
    let (tenant, by, digest) = (Tenant::default(), "ann".to_owned(), Some(plan_uid));
    check_as(
        "commands.approve.v1.json",
        &Command::Approve { tenant: tenant.clone(), plan_uid, by: by.clone(), at, digest },
    );
    let (finding, playbook) = (Box::new(finding()), "contain".to_owned());
    check_as("commands.respond.v1.json", &Command::Respond { tenant, finding, playbook, by, at });
    let principals = [("default".to_owned(), 7)].into();
    check_as("commands.census.v1.json", &Command::Census { principals, at });
    let mut receipt = Receipt::of(&transition().plan, PlanState::Verified, 2, 1, at);
    // The build that wrote the file derived it without the time; what is stored keeps its id.
    receipt.prunella.receipt_uid = "f5f052fe44065e75d3da0f2d6f517bf7".parse().unwrap();
    check(&receipt);
    let (reason, detail, offset) = (RejectReason::NotJson, "expected value".to_owned(), Some(7));
    check(&DeadLetter { record: record(), reason, detail, offset, time: at });
}

/// An approval, a probe and an escape as they were before they could say more.
#[test]
fn what_was_written_before_a_field_existed_has_its_default() {
    let id = "0".repeat(32);
    let approve =
        format!(r#"{{"command":"approve","tenant":"default","plan_uid":"{id}","by":"ann","at":5}}"#);
    let read = Command::decode(1, approve.as_bytes()).unwrap();
    assert!(matches!(read, Command::Approve { digest: None, .. }));
    assert_eq!(read.encode(), approve.as_bytes(), "and its id stays the same");
    let probe: Order =
        serde_json::from_str(r#"{"order":"probe","steps":[],"principal":"p","applied":1,"not_before":2}"#)
            .unwrap();
    assert!(matches!(probe, Order::Probe { since: Timestamp::ZERO, known, .. } if known.is_empty()));
    let escaped: prunella_schemas::plan::Probe =
        serde_json::from_str(r#"{"probe":"escaped","detail":"d","last_accepted":null}"#).unwrap();
    assert!(
        matches!(escaped, prunella_schemas::plan::Probe::Escaped { successors, .. } if successors.is_empty())
    );
}

#[test]
fn what_does_not_decode_says_what_it_was_meant_to_be() {
    let error = Event::decode(1, b"{\"class_uid\":").unwrap_err().to_string();
    assert!(error.contains("topic `events`"), "{error}");
}
