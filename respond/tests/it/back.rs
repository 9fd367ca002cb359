//! The way back: what was changed by somebody else stays, and what a person takes back costs the playbook its trust.

use crate::world::*;
use prunella_respond::{Config, Input};
use prunella_schemas::finding::Evidence;
use prunella_schemas::ocsf::{Actor, Session};
use prunella_schemas::plan::{Order, Outcome, PlanState, Reply};
use prunella_schemas::{Finding, Timestamp};

const LOCK: &str = "
id: lock
match: { techniques: [T1110] }
actions: [{ action: account.lock, mode: auto }]";

fn principal(n: usize) -> String {
    format!("aws:user:arn:aws:iam::1:user/u{n}")
}

fn account(who: &str, value: i64, version: u64) -> Reply {
    state("account", who, serde_json::json!({ "value": value, "version": version }))
}

/// A lock on `who` that was seen to hold.
fn locked(world: &mut World, who: &str) {
    world.find(who, "T1110");
    world.reply(account(who, 0, 0));
    if world.last().to == PlanState::AwaitingApproval {
        world.approve("eve");
    }
    world.reply(done());
    world.reply(refused_call());
    assert_eq!(world.last().to, PlanState::Verified, "{}", world.last().why);
}

fn value(world: &World) -> i64 {
    world.last().plan.steps[0].desired["value"].as_i64().unwrap()
}

#[test]
fn a_thousand_locks_are_all_restored_or_reported_as_a_conflict() {
    let mut config = auto();
    config.budgets.tenant.max = 10_000;
    config.budgets.playbook.max = 10_000;
    config.budgets.global.max = 10_000;
    let mut world = World::new(config, &[LOCK]);
    let mut locks = Vec::new();
    for n in 0..1_000 {
        let who = principal(n);
        locked(&mut world, &who);
        locks.push((who, value(&world)));
    }
    world.tick(5 * 3_600_000);
    let (mut restored, mut conflicts) = (0, 0);
    for (n, (who, value)) in locks.iter().enumerate() {
        let of = |world: &World| world.sent.iter().rev().find(|t| t.plan.principal == *who).unwrap().clone();
        let asked = of(&world);
        assert!(matches!(asked.order, Some(Order::Read { .. })), "{}", asked.why);
        // Somebody else has changed every seventh; every eleventh changes between reading and writing.
        let found = if n % 7 == 0 { value + 1 } else { *value };
        world.reply_to(asked.plan_uid, asked.sequence, account(who, found, 1));
        let undo = of(&world);
        if let Some(Order::Undo { steps, .. }) = &undo.order {
            assert_eq!(
                (&steps[0].desired["value"], steps[0].prior.as_ref().unwrap()["version"].as_u64()),
                (&0.into(), Some(1))
            );
            let outcome = match n % 11 {
                0 => Outcome::Conflict { detail: "version 2".into() },
                _ => Outcome::Done { detail: "restored".into() },
            };
            world.reply_to(undo.plan_uid, undo.sequence, Reply::Undone { outcomes: vec![outcome] });
            let check = of(&world);
            if check.order.is_some() {
                world.reply_to(check.plan_uid, check.sequence, account(who, 0, 2));
            }
        }
        let end = of(&world);
        assert_eq!(end.plan.action, "account.lock");
        assert!(end.receipt.is_some(), "{}", end.why);
        match end.to {
            PlanState::Expired => restored += 1,
            PlanState::Conflict => conflicts += 1,
            other => panic!("{other:?}: {}", end.why),
        }
    }
    let changed = (0..1_000).filter(|n| n % 7 == 0 || n % 11 == 0).count();
    assert_eq!((restored, conflicts, world.stage.open_plans()), (1_000 - changed, changed, 0));
}

#[test]
fn an_undo_that_is_not_seen_to_hold_is_tried_again() {
    let mut world = World::new(auto(), &[LOCK]);
    locked(&mut world, ANN);
    let value = value(&world);
    world.tick(5 * 3_600_000);
    for _ in 0..5 {
        world.reply(account(ANN, value, 1));
        world.reply(undone());
    }
    world.reply(account(ANN, value, 1));
    assert_eq!(world.last().to, PlanState::Escalated, "{}", world.last().why);
}

#[test]
fn a_target_changed_since_it_was_planned_is_never_overwritten() {
    let mut world = World::new(auto(), &[LOCK]);
    world.find(ANN, "T1110");
    world.reply(account(ANN, 0, 4));
    assert_eq!(world.last().plan.steps[0].prior.as_ref().unwrap()["version"], 4);
    world.reply(Reply::Applied { outcomes: vec![Outcome::Conflict { detail: "version 5".into() }] });
    assert_eq!((world.last().to, world.stage.open_plans()), (PlanState::Conflict, 0));
    assert!(world.last().receipt.is_some());
}

#[test]
fn one_roll_back_by_a_person_demotes_the_playbook_in_that_tenant_until_three_held() {
    let mut config = auto();
    config.breaker.rollbacks.max = 100;
    let mut world = World::new(config, &[LOCK, REVOKE]);
    let run = |world: &mut World, n: usize| {
        let who = principal(n);
        let before = world.sent.len();
        world.find(&who, "T1110");
        for _ in 0..2 {
            let reads: Vec<_> = world.sent[before..]
                .iter()
                .filter(|t| matches!(t.order, Some(Order::Read { .. })))
                .cloned()
                .collect();
            for t in reads {
                let answer = match t.plan.action.as_str() {
                    "account.lock" => account(&who, 0, 0),
                    _ => state("prunella", &who, serde_json::json!({ "not_before": 0 })),
                };
                world.reply_to(t.plan_uid, t.sequence, answer);
            }
        }
        let of = |action: &str| {
            world
                .sent
                .iter()
                .rev()
                .find(|t| t.plan.principal == who && t.plan.action == action)
                .unwrap()
                .clone()
        };
        (of("account.lock"), of("tokens.revoke"))
    };
    let (lock, revoke) = run(&mut world, 0);
    assert_eq!((lock.to, revoke.to), (PlanState::Approved, PlanState::Approved));
    world.reply_to(lock.plan_uid, lock.sequence, done());
    let probe = world.last().clone();
    world.reply_to(probe.plan_uid, probe.sequence, refused_call());
    world.roll_back("eve");
    for n in 1..=3 {
        world.now += 700_000;
        let (lock, revoke) = run(&mut world, n);
        assert_eq!(
            (lock.to, revoke.to),
            (PlanState::AwaitingApproval, PlanState::Approved),
            "{n}: the other playbook acts on"
        );
        assert!(lock.why.contains("took a plan of playbook lock back"), "{}", lock.why);
        let at = Timestamp(world.now);
        let (tenant, plan_uid) = (prunella_schemas::Tenant::default(), lock.plan_uid);
        let digest = Some(lock.plan.digest);
        world.command(prunella_schemas::Command::Approve { tenant, plan_uid, by: "eve".into(), at, digest });
        let sent = world.last().clone();
        world.reply_to(sent.plan_uid, sent.sequence, done());
        let probe = world.last().clone();
        world.reply_to(probe.plan_uid, probe.sequence, refused_call());
    }
    world.now += 700_000;
    assert_eq!(run(&mut world, 4).0.to, PlanState::Approved, "it has climbed again");
}

#[test]
fn an_approval_is_for_the_steps_that_were_looked_at() {
    let mut world = World::new(auto(), &[REVOKE_ASKS]);
    world.find(ANN, "T1078");
    world.reply(tokens(0));
    let plan = world.last().plan.clone();
    let approve = |world: &mut World, digest| {
        let (tenant, at) = (prunella_schemas::Tenant::default(), Timestamp(world.now));
        let command =
            prunella_schemas::Command::Approve { tenant, plan_uid: plan.uid, by: "eve".into(), at, digest };
        world.command(command);
        world.last().to
    };
    assert_eq!(approve(&mut world, Some(plan.uid)), PlanState::AwaitingApproval);
    assert!(world.last().why.contains("other steps"), "{}", world.last().why);
    assert_eq!(approve(&mut world, Some(plan.digest)), PlanState::Approved);
}

#[test]
fn what_is_approved_late_speaks_of_the_newest_evidence() {
    let mut world = World::new(auto(), &[REVOKE_ASKS]);
    world.find(ANN, "T1078");
    world.reply(tokens(0));
    let digest = world.last().plan.digest;
    world.now += 600_000;
    world.find(ANN, "T1078");
    let newest = world.now;
    world.now += 600_000;
    world.approve_what_was_seen(digest);
    let Some(Order::Apply { steps, .. }) = &world.last().order else { panic!("{}", world.last().why) };
    assert_eq!(steps[0].desired["not_before"], newest);
}

#[test]
fn a_restriction_that_was_held_lasts_from_when_it_is_let_go() {
    let mut world = World::new(auto(), &[LOCK]);
    let who = principal(1);
    world.find(&who, "T1110");
    world.reply(account(&who, 0, 0));
    assert_eq!(world.last().to, PlanState::Approved);
    world.reply(failed(prunella_respond::KILL_SWITCH_ENGAGED));
    assert_eq!(world.last().to, PlanState::AwaitingApproval, "{}", world.last().why);
    world.now += 600_000;
    world.approve("eve");
    let Some(Order::Apply { steps, .. }) = &world.last().order else { panic!("{}", world.last().why) };
    assert_eq!(steps[0].desired["value"], world.now + world.config.restriction_ms);
}

#[test]
fn a_restriction_that_ends_while_a_switch_is_set_is_taken_back_after_it() {
    let mut world = World::new(auto(), &[HARDEN]);
    world.find(ANN, "T1486");
    world.reply(tier(1));
    world.reply(done());
    world.reply(refused_call());
    world.tick(world.config.restriction_ms);
    for _ in 0..20 {
        world.reply(tier(3));
        assert!(matches!(world.last().order, Some(Order::Undo { .. })), "{}", world.last().why);
        world.reply(failed(prunella_respond::KILL_SWITCH_ENGAGED));
        world.tick(10_000);
    }
    world.reply(tier(3));
    world.reply(undone());
    world.reply(tier(1));
    assert_eq!(world.last().to, PlanState::Expired, "{}", world.last().why);
}

#[test]
fn an_open_breaker_lets_one_trial_through() {
    let mut config = Config { reply_wait_ms: 3_000_000, ..auto() };
    config.breaker.half_open_ms = 60_000;
    let mut world = World::new(config, &[LOCK]);
    let mut next = 0;
    let mut run = |world: &mut World| {
        next += 1;
        let who = principal(next);
        world.find(&who, "T1110");
        world.reply(account(&who, 0, 0));
        world.last().clone()
    };
    for _ in 0..3 {
        assert_eq!(run(&mut world).to, PlanState::Approved);
        world.reply(failed("denied"));
    }
    assert_eq!(run(&mut world).to, PlanState::AwaitingApproval, "open");
    world.now += 60_000;
    let trial = run(&mut world);
    assert_eq!(trial.to, PlanState::Approved, "half open");
    assert_eq!(run(&mut world).to, PlanState::AwaitingApproval, "one trial at a time");
    world.reply_to(trial.plan_uid, trial.sequence, failed("denied"));
    assert_eq!(run(&mut world).to, PlanState::AwaitingApproval, "open again");
    world.now += 600_000;
    let trial = run(&mut world);
    world.reply_to(trial.plan_uid, trial.sequence, done());
    let probe = world.last().clone();
    world.reply_to(probe.plan_uid, probe.sequence, refused_call());
    assert_eq!(run(&mut world).to, PlanState::Approved, "closed");
    assert_eq!(run(&mut world).to, PlanState::Approved, "closed");
}

fn with_session(mut finding: Finding, created: i64) -> Finding {
    let session = Session { created_time: Some(Timestamp(created)), ..Session::default() };
    let actor = Actor { session: Some(session), ..Actor::default() };
    finding.evidences = vec![Evidence { actor: Some(actor), src_endpoint: None }];
    finding
}

#[test]
fn an_attacker_who_is_back_with_a_new_session_is_revoked_again_and_one_who_knocks_is_not() {
    let mut world = World::new(auto(), &[REVOKE]);
    let find = |world: &mut World, created: i64| {
        let finding = world.finding(ANN, "T1110");
        world.deliver(Input::Finding(Box::new(with_session(finding, created))));
    };
    find(&mut world, BEGIN - 5_000);
    world.reply(tokens(0));
    world.reply(done());
    world.reply(refused_call());
    let first = world.last().clone();
    assert_eq!(first.to, PlanState::Verified);
    for _ in 0..10 {
        world.now += 1_000;
        find(&mut world, BEGIN - 5_000);
    }
    assert_eq!(
        world.last().plan_uid,
        first.plan_uid,
        "ten findings about refused calls are no second revocation"
    );
    world.now += 1_000;
    find(&mut world, BEGIN + 8_000);
    let again = world.now;
    world.reply(tokens(BEGIN));
    let Some(Order::Apply { steps, key }) = &world.last().order else { panic!("{}", world.last().why) };
    assert_eq!(steps[0].desired["not_before"], again);
    assert_ne!(*key, first.plan.action_key);
    assert_eq!(world.last().plan.incident, first.plan.incident);
    // A third session while the second revocation is still being probed.
    world.reply(done());
    world.now += 2_000;
    find(&mut world, again + 500);
    let third = world.now;
    let probe =
        world.sent.iter().rev().find(|t| matches!(t.order, Some(Order::Probe { .. }))).unwrap().clone();
    world.reply_to(probe.plan_uid, probe.sequence, refused_call());
    let Some(Order::Apply { steps, .. }) = &world.last().order else { panic!("{}", world.last().why) };
    assert_eq!(steps[0].desired["not_before"], third);
}

#[test]
fn credentials_made_for_others_are_an_escape_and_the_action_follows() {
    let mut world = World::new(auto(), &[REVOKE]);
    world.find(ANN, "T1110");
    world.reply(tokens(0));
    world.reply(done());
    let probe = world.last().clone();
    assert!(matches!(probe.order, Some(Order::Probe { since, .. }) if since.0 > 0 && since.0 < BEGIN));
    let spread = || Reply::Probed {
        probe: prunella_schemas::plan::Probe::Escaped {
            detail: "CreateAccessKey for bob".into(),
            last_accepted: Some(Timestamp(BEGIN + 4)),
            successors: vec![BOB.to_owned()],
        },
    };
    world.reply_to(probe.plan_uid, probe.sequence, spread());
    let states: Vec<PlanState> =
        world.sent.iter().filter(|t| t.plan_uid == probe.plan_uid).map(|t| t.to).collect();
    assert_eq!(states[4..], [PlanState::Escaped, PlanState::Propagating]);
    let bob = world.last().clone();
    assert_eq!((bob.plan.principal.as_str(), bob.plan.incident), (BOB, probe.plan.incident));
    world.reply(state("prunella", BOB, serde_json::json!({ "not_before": 0 })));
    assert_eq!(world.last().to, PlanState::Approved);
    // The same answer again is nothing new, and the first plan can still be verified.
    for reply in [spread(), refused_call()] {
        let probe = world.sent.iter().rev().find(|t| t.plan_uid == probe.plan_uid).unwrap().clone();
        world.reply_to(probe.plan_uid, probe.sequence, reply);
    }
    assert_eq!((world.last().to, world.last().plan_uid), (PlanState::Verified, probe.plan_uid));
    let plans: std::collections::BTreeSet<_> = world.sent.iter().map(|t| t.plan_uid).collect();
    assert_eq!(plans.len(), 2);
}

fn by_hand(world: &mut World, by: &str, playbook: &str) {
    let finding = Box::new(world.finding(ANN, "T9999"));
    let (tenant, at, playbook) =
        (prunella_schemas::Tenant::default(), Timestamp(world.now), playbook.to_owned());
    world.command(prunella_schemas::Command::Respond { tenant, finding, playbook, by: by.to_owned(), at });
}

#[test]
fn by_hand_it_passes_the_guard_and_somebody_else_approves() {
    let mut world = World::new(auto(), &[REVOKE_ASKS]);
    by_hand(&mut world, "dana", "no-such-playbook");
    by_hand(&mut world, " ", "revoke-asks");
    assert!(world.sent.is_empty());
    by_hand(&mut world, "dana", "revoke-asks");
    world.reply(tokens(0));
    assert_eq!(
        (world.last().to, world.last().plan.proposed_by.as_str()),
        (PlanState::AwaitingApproval, "dana")
    );
    world.approve("Dana");
    assert_eq!(world.last().to, PlanState::AwaitingApproval);
    assert!(world.last().why.contains("they proposed it"), "{}", world.last().why);
    world.approve("eve");
    world.reply(done());
    world.reply(refused_call());
    let first = world.last().clone();
    assert_eq!(first.to, PlanState::Verified);
    by_hand(&mut world, "dana", "revoke-asks");
    world.reply(tokens(BEGIN));
    assert_ne!(
        (world.last().plan_uid, world.last().plan.action_key),
        (first.plan_uid, first.plan.action_key)
    );
}

#[test]
fn by_hand_a_playbook_that_acts_by_itself_asks_as_well() {
    let mut world = World::new(auto(), &[REVOKE, REVOKE_ASKS]);
    by_hand(&mut world, "dana", "revoke");
    world.reply(tokens(0));
    assert_eq!(world.last().to, PlanState::AwaitingApproval, "{}", world.last().why);
    world.approve("dana");
    assert_eq!(world.last().to, PlanState::AwaitingApproval);
    // Nor does it let go what another playbook asks for.
    let mut world = World::new(auto(), &[REVOKE, REVOKE_ASKS]);
    world.find(ANN, "T1078");
    world.reply(tokens(0));
    by_hand(&mut world, "dana", "revoke");
    assert_eq!(world.last().to, PlanState::AwaitingApproval, "{}", world.last().why);
    assert!(world.sent.iter().all(|t| t.to != PlanState::Approved));
}

#[test]
fn by_hand_nothing_goes_further_than_the_configuration_lets_it() {
    let mut world = World::new(Config::default(), &[REVOKE]);
    by_hand(&mut world, "dana", "revoke");
    world.reply(tokens(0));
    assert_eq!(world.last().to, PlanState::DryRun);
}

#[test]
fn one_part_of_the_principals_is_the_most_that_an_hour_may_reach() {
    let mut config = auto();
    config.budgets.tenant = prunella_respond::Budget { max: 3, window_ms: 60_000 };
    config.budgets.principals_percent = 10;
    config.reply_wait_ms = 20 * 86_400_000;
    config.budgets.playbook.max = 1_000;
    let mut world = World::new(config, &[LOCK]);
    let census = |world: &mut World, count: u64| {
        let (principals, at) = ([("default".to_owned(), count)].into(), Timestamp(world.now));
        world.command(prunella_schemas::Command::Census { principals, at });
    };
    let acted = |world: &mut World, from: usize| {
        let mut acted = 0;
        for n in from..from + 20 {
            let who = principal(n);
            world.now += 61_000;
            world.find(&who, "T1110");
            world.reply(account(&who, 0, 0));
            acted += usize::from(world.last().to == PlanState::Approved);
        }
        acted
    };
    census(&mut world, 50);
    assert_eq!(acted(&mut world, 0), 5, "a tenth of fifty");
    assert!(world.last().why.contains("10 % of 50"), "{}", world.last().why);
    world.now += 3_600_000;
    census(&mut world, 4);
    assert_eq!(acted(&mut world, 100), 3, "at least what the budget allows at once");
    world.now += 3_600_000;
    census(&mut world, 10_000);
    assert_eq!(acted(&mut world, 200), 20);
}
