//! Notifications: once per incident, finished when applied, capped per tenant with a count of what was held back.

use crate::world::*;
use expect_test::expect;
use prunella_respond::Budget;
use prunella_schemas::plan::{Order, PlanState};

#[test]
fn told_once_per_incident_and_endpoint() {
    let mut config = auto();
    config.webhook_endpoints = vec!["soc".into(), "chat".into()];
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
