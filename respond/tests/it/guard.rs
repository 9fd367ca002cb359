//! The guard: budgets, breaker, protected principals, targets, and how long an incident is.

use crate::world::*;
use prunella_respond::{Budget, Config};
use prunella_schemas::plan::{Order, PlanState};
use prunella_schemas::{Id, Timestamp};
use std::collections::BTreeSet;

fn principal(n: usize) -> String {
    format!("aws:user:arn:aws:iam::1:user/u{n}")
}

fn read_for(world: &mut World, principal: &str) {
    if matches!(world.last().order, Some(Order::Read { .. })) {
        world.reply(state("prunella", principal, serde_json::json!({ "not_before": 0 })));
    }
}

#[test]
fn a_rule_that_fires_on_everybody_stays_within_the_budget() {
    let mut world = World::new(auto(), &[REVOKE]);
    for n in 0..10_000 {
        let who = principal(n);
        world.find(&who, "T1110");
        read_for(&mut world, &who);
        world.now -= 5;
    }
    let count = |state| world.sent.iter().filter(|t| t.to == state).count();
    assert_eq!(count(PlanState::Approved), 5, "the tenant's budget within ten minutes");
    assert_eq!(count(PlanState::AwaitingApproval), 1_024);
    assert_eq!(count(PlanState::Refused), 10_000 - 5 - 1_024);
}

#[test]
fn budgets_slide_and_are_counted_apart() {
    let mut world = World::new(auto(), &[REVOKE]);
    let mut approved = Vec::new();
    for n in 0..30 {
        let who = principal(n);
        world.find(&who, "T1110");
        read_for(&mut world, &who);
        approved.push(world.last().to == PlanState::Approved);
        world.now += 60_000 - 5;
    }
    let at: Vec<usize> = (0..30).filter(|n| approved[*n]).collect();
    assert_eq!(at, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14], "5 in ten minutes, 10 in an hour");
}

#[test]
fn a_person_may_exceed_all_budgets_but_the_global_one() {
    let mut config = auto();
    config.budgets.tenant.max = 0;
    config.budgets.global = Budget { max: 2, window_ms: 600_000 };
    let mut world = World::new(config, &[REVOKE]);
    for (n, want) in [(0, PlanState::Approved), (1, PlanState::Approved), (2, PlanState::AwaitingApproval)] {
        let who = principal(n);
        world.find(&who, "T1110");
        read_for(&mut world, &who);
        assert_eq!(world.last().to, PlanState::AwaitingApproval);
        world.approve("eve");
        assert_eq!(world.last().to, want);
    }
    assert!(world.last().why.contains("does not count"), "{}", world.last().why);
}

#[test]
fn three_failures_open_the_breaker_for_an_hour() {
    let mut world = World::new(auto(), &[REVOKE]);
    let mut run = |n: usize, wait: i64| {
        world.now += wait;
        let who = principal(n);
        world.find(&who, "T1110");
        read_for(&mut world, &who);
        let state = world.last().to;
        if state == PlanState::Approved {
            world.reply(failed("denied"));
        }
        state
    };
    for n in 0..3 {
        assert_eq!(run(n, 1_000), PlanState::Approved);
    }
    assert_eq!(run(3, 1_000), PlanState::AwaitingApproval);
    assert_eq!(run(4, 3_600_000), PlanState::Approved);
}

#[test]
fn protected_principals_need_two_different_persons() {
    let root = "aws:root:1";
    for (people, want) in [
        (vec!["eve"], PlanState::AwaitingApproval),
        (vec!["eve", "EVE", " eve "], PlanState::AwaitingApproval),
        (vec!["eve", "bob"], PlanState::Approved),
    ] {
        let mut world = World::new(auto(), &[REVOKE]);
        world.find(root, "T1110");
        read_for(&mut world, root);
        assert_eq!(world.last().to, PlanState::AwaitingApproval);
        for by in &people {
            world.approve(by);
        }
        assert_eq!(world.last().to, want, "{people:?}");
    }
}

#[test]
fn a_target_that_is_nobody_or_everybody_is_refused() {
    for target in ["", "-", "*", "aws:user:*", "aws:unknown:1:203.0.113.0/24", "aws:account:1"] {
        let mut world = World::new(auto(), &[REVOKE]);
        world.find(target, "T1110");
        world.find(target, "T1110");
        assert_eq!(world.states(), [PlanState::Refused], "{target:?}");
        assert_eq!(world.stage.open_plans(), 0);
    }
}

#[test]
fn another_tenants_approval_does_not_count() {
    let mut world = World::new(auto(), &[REVOKE_ASKS]);
    world.find(ANN, "T1078");
    world.reply(tokens(0));
    let (plan_uid, at) = (world.last().plan_uid, Timestamp(world.now));
    let tenant = prunella_schemas::Tenant::try_from("other".to_owned()).unwrap();
    world.command(prunella_schemas::Command::Approve {
        tenant,
        plan_uid,
        by: "eve".into(),
        at,
        digest: None,
    });
    assert_eq!(world.last().to, PlanState::AwaitingApproval);
}

#[test]
fn an_old_finding_does_not_act_by_itself() {
    let mut world = World::new(auto(), &[REVOKE]);
    let old = finding(ANN, "T1110", BEGIN - 8 * 86_400_000, 1);
    world.deliver(prunella_respond::Input::Finding(Box::new(old)));
    world.reply(tokens(0));
    assert_eq!(world.last().to, PlanState::AwaitingApproval);
}

#[test]
fn ten_copies_of_ten_findings_are_one_plan() {
    let mut world = World::new(auto(), &[REVOKE]);
    let findings: Vec<_> = (0..10).map(|_| world.finding(ANN, "T1110")).collect();
    for round in 0..10 {
        for finding in &findings {
            world.deliver(prunella_respond::Input::Finding(Box::new(finding.clone())));
        }
        match round {
            0 => world.reply(tokens(0)),
            2 => world.reply(done()),
            4 => world.reply(refused_call()),
            _ => {}
        }
    }
    let plans: BTreeSet<Id> = world.sent.iter().map(|t| t.plan_uid).collect();
    let applies = world.sent.iter().filter(|t| matches!(t.order, Some(Order::Apply { .. }))).count();
    assert_eq!((plans.len(), applies, world.last().to), (1, 1, PlanState::Verified));
    assert_eq!(world.last().plan.finding_uids.len(), 10);
}

#[test]
fn an_incident_lasts_while_findings_keep_coming_but_not_for_ever() {
    let minutes = |list: &[i64]| {
        let mut world = World::new(Config::default(), &[REVOKE]);
        for minute in list {
            world.now = BEGIN + minute * 60_000;
            world.find(ANN, "T1110");
            if matches!(world.last().order, Some(Order::Read { .. })) {
                world.reply(tokens(0));
            }
        }
        world.sent.iter().map(|t| t.plan.incident).collect::<BTreeSet<Id>>().len()
    };
    assert_eq!(minutes(&[0, 59, 118]), 1);
    assert_eq!(minutes(&[0, 62]), 2);
    let every_half_hour: Vec<i64> = (0..60).map(|n| n * 30).collect();
    assert_eq!(minutes(&every_half_hour), 2, "a day is the most");
}

#[test]
fn an_event_from_the_future_does_not_keep_an_incident_open() {
    let mut world = World::new(Config::default(), &[REVOKE]);
    let lie = finding(ANN, "T1110", BEGIN + 86_400_000, 99);
    world.deliver(prunella_respond::Input::Finding(Box::new(lie)));
    world.reply(tokens(0));
    world.now += 2 * 3_600_000;
    world.find(ANN, "T1110");
    assert_ne!(world.sent[0].plan.incident, world.last().plan.incident);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let respond =
        |config: Config| prunella_respond::Respond::new(config, playbooks(&[])).err().map(|e| e.to_string());
    let check = |change: fn(&mut Config), want: &str| {
        let mut config = Config::default();
        change(&mut config);
        let error = respond(config).expect(want);
        assert!(error.contains(want), "{error}");
    };
    assert_eq!(respond(Config::default()), None);
    check(|c| c.approval_ms = 0, "`approval_ms` is 0");
    check(|c| c.protected = vec![" ".into()], "none of them empty");
    check(|c| c.receivers.webhook = vec![String::new()], "none of them empty");
    check(|c| c.breaker.failures.max = 0, "`breaker` limits");
    check(|c| c.budgets.global.max = 1_000_000, "at most 10000");
    check(
        |c| c.horizons_ms = [("x".to_owned(), 1)].into(),
        "unknown action `x`; known: tokens.revoke, session.kill, account.lock, trust.reset, storage.harden_tier, keys.rotate, aws.key.deactivate",
    );
    assert!(serde_json::from_str::<Config>(r#"{"budget":{}}"#).is_err(), "unknown keys are errors");
    assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
}
