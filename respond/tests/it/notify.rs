//! Notifications: once per incident, finished when applied, capped per tenant with a count of what was held back.

use crate::world::*;
use expect_test::expect;
use prunella_respond::Budget;
use prunella_schemas::plan::{Order, PlanState, Reach};

#[test]
fn told_once_per_incident_and_endpoint() {
    let mut config = auto();
    config.receivers.webhook = vec!["soc".into(), "chat".into()];
    let mut world = World::new(config, &[TELL]);
    world.find(ANN, "T1110");
    world.reply(done());
    world.find(ANN, "T1110");
    let targets: Vec<String> = world
        .sent
        .iter()
        .filter_map(|t| t.order.as_ref())
        .map(|o| match o {
            Order::Apply { steps, .. } => steps[0].target.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(targets, ["soc", "chat"]);
    assert!(world.sent.iter().all(|t| t.receipt.is_none()));
    expect![[r#"
        +0 #0 new -> Planned: playbook tell matches
        +0 #1 Planned -> Approved [apply alert.created]: mode auto: playbook tell lets it act by itself
        +0 #0 new -> Planned: playbook tell matches
        +0 #1 Planned -> Approved [apply alert.created]: mode auto: playbook tell lets it act by itself
        +5 #2 Approved -> Applied: done
    "#]]
    .assert_eq(&world.news());
}

#[test]
fn an_unknown_outcome_is_sent_again_under_the_same_key() {
    let mut world = World::new(auto(), &[TELL]);
    world.find(ANN, "T1110");
    world.reply(unknown());
    world.reply(done());
    expect![[r#"
        +0 #0 new -> Planned: playbook tell matches
        +0 #1 Planned -> Approved [apply alert.created]: mode auto: playbook tell lets it act by itself
        +5 #2 Approved -> Unknown: whether it took effect is not known: timeout
        +5 #3 Unknown -> Approved [apply alert.created]: there is nothing to read; trying again under the same key
        +10 #4 Approved -> Applied: done
    "#]].assert_eq(&world.news());
}

#[test]
fn the_rest_is_held_back_and_counted() {
    let mut config = auto();
    config.budgets.notify = Budget { max: 3, window_ms: 60_000 };
    let mut world = World::new(config, &[TELL]);
    for n in 0..10 {
        let who = format!("aws:user:u{n}");
        let mut finding = world.finding(&who, "T1110");
        finding.severity_id = if n == 7 { 5 } else { 3 };
        world.deliver(prunella_respond::Input::Finding(Box::new(finding)));
    }
    let sent = |world: &World| world.states().iter().filter(|s| **s == PlanState::Approved).count();
    assert_eq!(sent(&world), 3);
    let due = world.stage.next_due().unwrap();
    assert_eq!(due.0, BEGIN + 60_000);
    world.tick(60_000);
    assert_eq!(sent(&world), 4);
    let payload = &world.last().plan.steps[0].desired["data"];
    assert_eq!((&payload["suppressed"], &payload["principal"]), (&7.into(), &"aws:user:u7".into()));
}

#[test]
fn nothing_is_sent_while_the_kill_switch_is_engaged() {
    let mut world = World::new(auto(), &[TELL]);
    world.kill_switch(true);
    world.find(ANN, "T1110");
    world.kill_switch(false);
    world.find(ANN, "T1110");
    use PlanState::*;
    assert_eq!(world.states(), [Planned, Refused, Planned, Approved]);
}

const EVERYBODY: &str = "
id: everybody
match: { severity_min: low }
actions:
  - action: notify.webhook
  - action: notify.slack
  - action: notify.pagerduty
  - action: event.caep";

/// Every receiver there can be, one of each kind.
fn all() -> prunella_respond::Config {
    let mut config = auto();
    for (kind, names) in config.receivers.by_kind() {
        *names = vec![kind.to_owned()];
    }
    config
}

/// Operation and payload of every message that is to be sent, in order.
fn told(world: &World) -> Vec<(String, serde_json::Value)> {
    let orders = world.sent.iter().filter(|t| t.plan.reach == Reach::Notify && t.to == PlanState::Approved);
    let step = |t: &prunella_schemas::Transition| {
        let step = &t.plan.steps[0];
        (format!("{} {}", step.provider, step.operation), step.desired.clone())
    };
    orders.map(step).collect()
}

fn names(told: &[(String, serde_json::Value)]) -> Vec<&str> {
    told.iter().map(|(name, _)| name.as_str()).collect()
}

/// Answers the order of a plan of this action.
fn answer(world: &mut World, action: &str, reply: prunella_schemas::Reply) {
    let last = world.sent.iter().rev().find(|t| t.plan.action == action && t.order.is_some()).unwrap();
    let (plan_uid, sequence) = (last.plan_uid, last.sequence);
    world.reply_to(plan_uid, sequence, reply);
}

#[test]
fn what_held_resolves_the_alert_and_tells_other_systems() {
    let mut world = World::new(all(), &[REVOKE, EVERYBODY]);
    world.find(ANN, "T1110");
    let begun = told(&world);
    assert_eq!(names(&begun), ["webhook alert.created", "slack message.post", "pagerduty event.trigger"]);
    for reply in [tokens(0), done(), refused_call()] {
        answer(&mut world, "tokens.revoke", reply);
    }
    let told = told(&world);
    let after = &told[begun.len()..];
    assert_eq!(names(after), ["slack message.post", "pagerduty event.resolve", "caep event.push"]);
    assert!(after[0].1["text"].as_str().unwrap().contains("carried out"), "{}", after[0].1);
    assert_eq!(after[1].1["dedup_key"], begun[2].1["dedup_key"]);
    assert_eq!(
        (&begun[2].1["event_action"], &after[1].1["event_action"]),
        (&"trigger".into(), &"resolve".into())
    );
    let event = &after[2].1["events"]["https://schemas.openid.net/secevent/caep/event-type/session-revoked"];
    let applied = world.sent.iter().find(|t| t.to == PlanState::Verified).unwrap().plan.marks.applied;
    assert_eq!(event["event_timestamp"], applied.0 / 1_000);
    assert_eq!(after[2].1["sub_id"], serde_json::json!({"format": "opaque", "id": ANN}));
}

#[test]
fn an_attacker_who_is_back_opens_the_alert_again() {
    let mut world = World::new(all(), &[EVERYBODY]);
    world.find(ANN, "T1110");
    let mut back = world.finding(ANN, "T1110");
    let session = serde_json::json!({"actor": {"session": {"created_time": world.now + 1}}});
    back.evidences = vec![serde_json::from_value(session).unwrap()];
    for finding in [world.finding(ANN, "T1110"), back] {
        for action in ["notify.webhook", "notify.slack", "notify.pagerduty"] {
            if world.stage.open_plans() > 0 {
                answer(&mut world, action, done());
            }
        }
        world.deliver(prunella_respond::Input::Finding(Box::new(finding)));
    }
    let triggers = told(&world).iter().filter(|(name, _)| name == "pagerduty event.trigger").count();
    assert_eq!(triggers, 2, "once for the incident, once for the newer session");
}

#[test]
fn a_plan_that_waits_asks_a_person_once() {
    let mut world = World::new(all(), &[REVOKE_ASKS, EVERYBODY]);
    world.find(ANN, "T1078");
    let begun = told(&world).len();
    answer(&mut world, "tokens.revoke", tokens(0));
    let all = told(&world);
    let asked = &all[begun..];
    assert_eq!(names(asked), ["webhook approval.requested", "slack message.post"]);
    let plan = &world.sent.iter().find(|t| t.to == PlanState::AwaitingApproval).unwrap().plan;
    let data = &asked[0].1["data"];
    assert_eq!(
        (&data["plan_uid"], &data["digest"]),
        (&plan.uid.to_string().into(), &plan.digest.to_string().into())
    );
    world.find(ANN, "T1078");
    assert_eq!(told(&world).len(), all.len(), "the same incident asks no second time");
}

#[test]
fn requests_for_approval_count_against_the_budget_of_notifications() {
    let mut config = all();
    config.budgets.notify = Budget { max: 4, window_ms: 60_000 };
    let mut world = World::new(config, &[REVOKE_ASKS, EVERYBODY]);
    for n in 0..50 {
        world.find(&format!("aws:user:u{n}"), "T1078");
        answer(&mut world, "tokens.revoke", tokens(0));
    }
    assert_eq!(told(&world).len(), 4);
}
