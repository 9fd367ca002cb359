//! The life of a plan, as text: one scenario each.

use crate::world::*;
use expect_test::{Expect, expect};
use prunella_respond::{Config, KILL_SWITCH_ENGAGED};
use prunella_schemas::plan::{Mode, Order, PlanState, Probe, Reply};

const LOCK: &str = "
id: lock
match: { techniques: [T1110] }
actions: [{ action: account.lock, mode: auto }]";

fn check(mut world: World, want: &Expect) {
    want.assert_eq(&world.news());
}

#[test]
fn contained_by_a_refused_call() {
    let mut world = World::new(auto(), &[REVOKE]);
    world.find(ANN, "T1110.001");
    world.reply(tokens(0));
    world.reply(done());
    world.reply(stands());
    world.now += 50;
    world.reply(refused_call());
    assert_eq!(world.stage.open_plans(), 0);
    let receipt = world.last().receipt.clone().unwrap();
    let latency = receipt.prunella.latency;
    assert_eq!((latency.delivery_ms, latency.detect_ms, latency.plan_ms), (Some(80), Some(20), Some(5)));
    assert_eq!((latency.apply_ms, latency.verify_ms, latency.total_ms), (Some(5), Some(60), Some(90)));
    let step = &world.last().plan.steps[0];
    assert_eq!(step.desired, serde_json::json!({ "not_before": BEGIN }));
    assert_eq!(step.prior.as_ref().unwrap()["not_before"], 0);
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
        +5 #1 Planned -> Approved [apply tokens.set_not_before]: mode auto: playbook revoke lets it act by itself
        +10 #2 Approved -> Applied: done
        +10 #3 Applied -> Propagating [probe from 10]: the provider may take 5 s to enforce it; probing
        +15 #4 Propagating -> Propagating [probe from 65]: the setting stands (not_before stands); probing on for a refused call
        +70 #5 Propagating -> Verified: tokens.revoke on aws:user:arn:aws:iam::1:user/ann: contained, the target refused a call (401 for ListBuckets)
        receipt Evict Success, Some(RefusedCall), contained true, last accepted None
    "#]],
    );
}

#[test]
fn verified_by_configuration_at_the_horizon() {
    let mut world = World::new(auto(), &[REVOKE]);
    world.find(ANN, "T1110");
    world.reply(tokens(0));
    world.reply(done());
    probe_to_the_end(&mut world, stands);
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
        +5 #1 Planned -> Approved [apply tokens.set_not_before]: mode auto: playbook revoke lets it act by itself
        +10 #2 Approved -> Applied: done
        +10 #3 Applied -> Propagating [probe from 10]: the provider may take 5 s to enforce it; probing
        +15 #4 Propagating -> Propagating [probe from 65]: the setting stands (not_before stands); probing on for a refused call
        +70 #5 Propagating -> Propagating [probe from 170]: the setting stands (not_before stands); probing on for a refused call
        +175 #6 Propagating -> Propagating [probe from 375]: the setting stands (not_before stands); probing on for a refused call
        +380 #7 Propagating -> Propagating [probe from 780]: the setting stands (not_before stands); probing on for a refused call
        +785 #8 Propagating -> Propagating [probe from 1585]: the setting stands (not_before stands); probing on for a refused call
        +1590 #9 Propagating -> Propagating [probe from 2590]: the setting stands (not_before stands); probing on for a refused call
        +2595 #10 Propagating -> Propagating [probe from 3595]: the setting stands (not_before stands); probing on for a refused call
        +3600 #11 Propagating -> Propagating [probe from 4600]: the setting stands (not_before stands); probing on for a refused call
        +4605 #12 Propagating -> Propagating [probe from 5010]: the setting stands (not_before stands); probing on for a refused call
        +5015 #13 Propagating -> Verified: tokens.revoke on aws:user:arn:aws:iam::1:user/ann: the setting stands; no refused call was seen (not_before stands)
        receipt Evict Success, Some(ConfigurationRead), contained false, last accepted None
    "#]],
    );
}

#[test]
fn escaped_at_the_horizon() {
    let mut world = World::new(auto(), &[REVOKE]);
    world.find(ANN, "T1110");
    world.reply(tokens(0));
    world.reply(done());
    probe_to_the_end(&mut world, || accepted(BEGIN + 4_000));
    check(
        world,
        &expect![[r#"
            +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
            +5 #1 Planned -> Approved [apply tokens.set_not_before]: mode auto: playbook revoke lets it act by itself
            +10 #2 Approved -> Applied: done
            +10 #3 Applied -> Propagating [probe from 10]: the provider may take 5 s to enforce it; probing
            +15 #4 Propagating -> Propagating [probe from 65]: still accepted (GetObject accepted); probing on for a refused call
            +70 #5 Propagating -> Propagating [probe from 170]: still accepted (GetObject accepted); probing on for a refused call
            +175 #6 Propagating -> Propagating [probe from 375]: still accepted (GetObject accepted); probing on for a refused call
            +380 #7 Propagating -> Propagating [probe from 780]: still accepted (GetObject accepted); probing on for a refused call
            +785 #8 Propagating -> Propagating [probe from 1585]: still accepted (GetObject accepted); probing on for a refused call
            +1590 #9 Propagating -> Propagating [probe from 2590]: still accepted (GetObject accepted); probing on for a refused call
            +2595 #10 Propagating -> Propagating [probe from 3595]: still accepted (GetObject accepted); probing on for a refused call
            +3600 #11 Propagating -> Propagating [probe from 4600]: still accepted (GetObject accepted); probing on for a refused call
            +4605 #12 Propagating -> Propagating [probe from 5010]: still accepted (GetObject accepted); probing on for a refused call
            +5015 #13 Propagating -> Escaped: the principal was still accepted after 5 s: GetObject accepted
            receipt Evict Failure, None, contained false, last accepted Some(4000)
            +5015 #14 Escaped -> Planned: escalated: the same again, for everything up to now
            +5015 #15 Planned -> Approved [apply tokens.set_not_before]: mode auto: playbook revoke lets it act by itself
        "#]],
    );
}

#[test]
fn a_long_horizon_is_probed_a_bounded_number_of_times() {
    let horizons_ms = [("tokens.revoke".to_owned(), 3_600_000)].into();
    let mut world = World::new(Config { horizons_ms, ..auto() }, &[REVOKE]);
    world.find(ANN, "T1110");
    world.reply(tokens(0));
    world.reply(done());
    probe_to_the_end(&mut world, stands);
    assert_eq!(world.last().to, PlanState::Verified);
    assert_eq!(world.last().at.0 - BEGIN, 3_600_000 + 15);
    assert!(world.sent.len() < 50, "{} transitions", world.sent.len());
}

#[test]
fn what_cannot_be_seen_is_for_a_person_and_no_failure() {
    let mut world = World::new(auto(), &[LOCK]);
    for n in 0..5 {
        let who = format!("aws:user:arn:aws:iam::1:user/u{n}");
        world.now += 700_000;
        world.find(&who, "T1110");
        world.reply(state("account", &who, serde_json::json!({ "value": 0, "version": 0 })));
        assert_eq!(world.last().to, PlanState::Approved, "{n}: {}", world.last().why);
        world.reply(done());
        while world.last().to == PlanState::Propagating {
            if let Some(Order::Probe { not_before, .. }) = world.last().order {
                world.now = world.now.max(not_before.0);
            }
            let detail = "the store is away".to_owned();
            world.reply(Reply::Probed { probe: Probe::Unseen { detail } });
        }
        assert_eq!(world.last().to, PlanState::Escalated);
        assert!(world.last().why.contains("cannot be seen"), "{}", world.last().why);
    }
}

#[test]
fn not_enforced_at_the_horizon() {
    let mut world = World::new(auto(), &[HARDEN]);
    world.find(ANN, "T1486");
    world.reply(tier(1));
    world.reply(done());
    probe_to_the_end(&mut world, not_yet);
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook harden matches; asking for the state before
        +5 #1 Planned -> Approved [apply tier.set]: mode auto: playbook harden lets it act by itself
        +10 #2 Approved -> Applied: done
        +10 #3 Applied -> Propagating [probe from 10]: the provider may take 100 ms to enforce it; probing
        +15 #4 Propagating -> Propagating [probe from 65]: not yet (no answer); probing on for a refused call
        +70 #5 Propagating -> Propagating [probe from 110]: not yet (no answer); probing on for a refused call
        +115 #6 Propagating -> Propagating [probe from 115]: not yet at the horizon (no answer); asking a last time
        +120 #7 Propagating -> Escalated: not enforced within 100 ms: no answer
        receipt Harden Failure, None, contained false, last accepted None
    "#]],
    );
}

#[test]
fn the_three_lower_modes() {
    for (mode_max, want) in [
        (
            Mode::Observe,
            expect![[r#"
            +0 #0 new -> Observed: mode observe: its playbook matches
        "#]],
        ),
        (
            Mode::DryRun,
            expect![[r#"
            +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
            +5 #1 Planned -> DryRun: mode dry-run: this is what would be done
        "#]],
        ),
        (
            Mode::Approve,
            expect![[r#"
            +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
            +5 #1 Planned -> AwaitingApproval: its playbook asks first
        "#]],
        ),
    ] {
        let mut world = World::new(Config { mode_max, ..Config::default() }, &[REVOKE]);
        world.find(ANN, "T1110");
        if mode_max > Mode::Observe {
            world.reply(tokens(0));
        }
        check(world, &want);
    }
}

#[test]
fn a_dry_run_whose_target_cannot_be_read_still_shows_the_plan() {
    let mut world = World::new(Config::default(), &[REVOKE]);
    world.find(ANN, "T1110");
    for _ in 0..6 {
        world.reply(unreadable());
        world.tick(60_000);
    }
    assert_eq!(world.last().plan.steps.len(), 1);
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
        +60005 #1 Planned -> Planned [read 1]: the target could not be read; asking again (2 of 6)
        +120010 #2 Planned -> Planned [read 1]: the target could not be read; asking again (3 of 6)
        +180015 #3 Planned -> Planned [read 1]: the target could not be read; asking again (4 of 6)
        +240020 #4 Planned -> Planned [read 1]: the target could not be read; asking again (5 of 6)
        +300025 #5 Planned -> Planned [read 1]: the target could not be read; asking again (6 of 6)
        +300030 #6 Planned -> DryRun: mode dry-run, and the state before is not known (connection refused): this is what would be done
    "#]],
    );
}

#[test]
fn approved_by_a_person() {
    let mut world = World::new(auto(), &[REVOKE_ASKS]);
    world.find(ANN, "T1078.004");
    world.reply(tokens(0));
    world.approve(" ");
    world.approve("eve");
    world.approve("eve");
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke-asks matches; asking for the state before
        +5 #1 Planned -> AwaitingApproval: its playbook asks first
        +2005 #2 AwaitingApproval -> Approved [apply tokens.set_not_before]: approved by eve
    "#]],
    );
}

#[test]
fn rejected_and_expired_stay_so() {
    let mut world = World::new(auto(), &[REVOKE_ASKS]);
    world.find(ANN, "T1078");
    world.reply(tokens(0));
    world.reject("eve");
    world.approve("mallory");
    world.find(ANN, "T1078");
    world.find(BOB, "T1078");
    world.reply(state("prunella", BOB, serde_json::json!({ "not_before": 0 })));
    world.tick(30 * 60_000);
    world.approve("mallory");
    assert_eq!(world.stage.open_plans(), 0);
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke-asks matches; asking for the state before
        +5 #1 Planned -> AwaitingApproval: its playbook asks first
        +5 #2 AwaitingApproval -> Rejected: rejected by eve
        +1005 #0 new -> Planned [read 1]: playbook revoke-asks matches; asking for the state before
        +1010 #1 Planned -> AwaitingApproval: its playbook asks first
        +1801010 #2 AwaitingApproval -> Expired: nobody approved it in time
    "#]],
    );
}

#[test]
fn an_unknown_outcome_is_settled_by_reading() {
    let mut world = World::new(auto(), &[REVOKE]);
    world.find(ANN, "T1110");
    world.reply(tokens(0));
    world.reply(unknown());
    world.reply(tokens(0));
    world.reply(unknown());
    world.reply(unreadable());
    world.tick(1_000);
    world.reply(tokens(BEGIN + 1));
    let keys: Vec<_> = world
        .sent
        .iter()
        .filter_map(|t| match &t.order {
            Some(Order::Apply { key, .. }) => Some(*key),
            _ => None,
        })
        .collect();
    assert_eq!(keys, [world.last().plan.action_key; 2]);
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
        +5 #1 Planned -> Approved [apply tokens.set_not_before]: mode auto: playbook revoke lets it act by itself
        +10 #2 Approved -> Unknown [read 1]: whether it took effect is not known: timeout; asking the provider
        +15 #3 Unknown -> Approved [apply tokens.set_not_before]: the provider was read: the step did not take effect; trying again under the same key
        +20 #4 Approved -> Unknown [read 1]: whether it took effect is not known: timeout; asking the provider
        +1025 #5 Unknown -> Unknown [read 1]: the target could not be read; asking again (2 of 6)
        +1030 #6 Unknown -> Applied: the provider was read: the step took effect
        +1030 #7 Applied -> Propagating [probe from 1030]: the provider may take 5 s to enforce it; probing
    "#]],
    );
}

#[test]
fn an_unknown_outcome_that_stays_unknown_goes_to_a_person() {
    let mut world = World::new(auto(), &[REVOKE]);
    world.find(ANN, "T1110");
    world.reply(tokens(0));
    for _ in 0..5 {
        world.reply(unknown());
        world.reply(tokens(0));
    }
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
        +5 #1 Planned -> Approved [apply tokens.set_not_before]: mode auto: playbook revoke lets it act by itself
        +10 #2 Approved -> Unknown [read 1]: whether it took effect is not known: timeout; asking the provider
        +15 #3 Unknown -> Approved [apply tokens.set_not_before]: the provider was read: the step did not take effect; trying again under the same key
        +20 #4 Approved -> Unknown [read 1]: whether it took effect is not known: timeout; asking the provider
        +25 #5 Unknown -> Approved [apply tokens.set_not_before]: the provider was read: the step did not take effect; trying again under the same key
        +30 #6 Approved -> Unknown [read 1]: whether it took effect is not known: timeout; asking the provider
        +35 #7 Unknown -> Approved [apply tokens.set_not_before]: the provider was read: the step did not take effect; trying again under the same key
        +40 #8 Approved -> Unknown [read 1]: whether it took effect is not known: timeout; asking the provider
        +45 #9 Unknown -> Approved [apply tokens.set_not_before]: the provider was read: the step did not take effect; trying again under the same key
        +50 #10 Approved -> Unknown [read 1]: whether it took effect is not known: timeout; asking the provider
        +55 #11 Unknown -> Escalated: the provider was read: the step did not take effect; it was tried 5 times
        receipt Evict Failure, None, contained false, last accepted None
    "#]],
    );
}

#[test]
fn an_order_without_an_answer_is_asked_about() {
    let mut world = World::new(auto(), &[REVOKE]);
    world.find(ANN, "T1110");
    world.tick(5 * 60_000);
    world.tick(1_000);
    world.reply(tokens(0));
    let apply = world.last().clone();
    world.tick(5 * 60_000);
    world.reply_to(apply.plan_uid, apply.sequence, done());
    world.reply(tokens(BEGIN));
    world.tick(5 * 60_000);
    world.reply(refused_call());
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
        +301000 #1 Planned -> Planned [read 1]: the target could not be read; asking again (2 of 6)
        +301005 #2 Planned -> Approved [apply tokens.set_not_before]: mode auto: playbook revoke lets it act by itself
        +601005 #3 Approved -> Unknown [read 1]: whether it took effect is not known: no answer within 5 min; asking the provider
        +601015 #4 Unknown -> Applied: the provider was read: the step took effect
        +601015 #5 Applied -> Propagating [probe from 601015]: the provider may take 5 s to enforce it; probing
        +901015 #6 Propagating -> Propagating [probe from 901015]: not yet at the horizon (no answer within 5 min); asking a last time
        +901020 #7 Propagating -> Verified: tokens.revoke on aws:user:arn:aws:iam::1:user/ann: contained, the target refused a call (401 for ListBuckets)
        receipt Evict Success, Some(RefusedCall), contained true, last accepted None
    "#]],
    );
}

#[test]
fn refused_by_the_provider() {
    let mut world = World::new(auto(), &[REVOKE]);
    world.find(ANN, "T1110");
    world.reply(tokens(0));
    world.reply(failed("no such principal"));
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
        +5 #1 Planned -> Approved [apply tokens.set_not_before]: mode auto: playbook revoke lets it act by itself
        +10 #2 Approved -> Failed: the provider refused it: no such principal
        receipt Evict Failure, None, contained false, last accepted None
    "#]],
    );
}

#[test]
fn a_restriction_ends_by_itself() {
    let mut world = World::new(auto(), &[HARDEN]);
    world.find(ANN, "T1486");
    world.reply(tier(1));
    world.reply(done());
    world.reply(refused_call());
    assert_eq!(world.stage.next_due(), world.last().plan.expires);
    world.tick(4 * 3_600_000);
    world.reply(tier(3));
    world.reply(undone());
    world.reply(tier(1));
    assert_eq!(world.stage.open_plans(), 0);
    check(
        world,
        &expect![[r#"
            +0 #0 new -> Planned [read 1]: playbook harden matches; asking for the state before
            +5 #1 Planned -> Approved [apply tier.set]: mode auto: playbook harden lets it act by itself
            +10 #2 Approved -> Applied: done
            +10 #3 Applied -> Propagating [probe from 10]: the provider may take 100 ms to enforce it; probing
            +15 #4 Propagating -> Verified: tier.harden on aws:user:arn:aws:iam::1:user/ann: contained, the target refused a call (401 for ListBuckets)
            receipt Harden Success, Some(RefusedCall), contained true, last accepted None
            +14400015 #5 Verified -> Verified [read 1]: the restriction ends: asking for the state first
            +14400020 #6 Verified -> Verified [undo to 1]: the restriction ends
            +14400025 #7 Verified -> Verified [read 1]: the restriction ends: restored; reading whether it is as before
            +14400030 #8 Verified -> Expired: the restriction ends: the provider was read: it is as it was before
            receipt Restore Success, Some(ConfigurationRead), contained false, last accepted None
        "#]],
    );
}

#[test]
fn taken_back_by_a_person_while_in_flight() {
    let mut world = World::new(auto(), &[HARDEN]);
    world.find(ANN, "T1486");
    world.reply(tier(1));
    let apply = world.last().clone();
    world.roll_back("eve");
    world.reply_to(apply.plan_uid, apply.sequence, done());
    world.reply(tier(3));
    world.reply(Reply::Undone { outcomes: vec![] });
    world.reply(tier(1));
    check(
        world,
        &expect![[r#"
            +0 #0 new -> Planned [read 1]: playbook harden matches; asking for the state before
            +5 #1 Planned -> Approved [apply tier.set]: mode auto: playbook harden lets it act by itself
            +5 #2 Approved -> Approved: eve wants it taken back: as soon as its outcome is known
            +10 #3 Approved -> Applied: done
            +10 #4 Applied -> Applied [read 1]: taken back by eve: asking for the state first
            +15 #5 Applied -> Applied [undo to 1]: taken back by eve
            +20 #6 Applied -> Applied [read 1]: taken back by eve: asking for the state first
            +25 #7 Applied -> RolledBack: taken back by eve: the provider was read: it is as it was before
            receipt Restore Success, Some(ConfigurationRead), contained false, last accepted None
        "#]],
    );
}

#[test]
fn what_somebody_else_changed_is_left_alone() {
    let mut world = World::new(auto(), &[HARDEN]);
    world.find(ANN, "T1486");
    world.reply(tier(1));
    world.reply(done());
    world.reply(refused_call());
    world.roll_back("eve");
    world.reply(tier(2));
    check(
        world,
        &expect![[r#"
            +0 #0 new -> Planned [read 1]: playbook harden matches; asking for the state before
            +5 #1 Planned -> Approved [apply tier.set]: mode auto: playbook harden lets it act by itself
            +10 #2 Approved -> Applied: done
            +10 #3 Applied -> Propagating [probe from 10]: the provider may take 100 ms to enforce it; probing
            +15 #4 Propagating -> Verified: tier.harden on aws:user:arn:aws:iam::1:user/ann: contained, the target refused a call (401 for ListBuckets)
            receipt Harden Success, Some(RefusedCall), contained true, last accepted None
            +15 #5 Verified -> Verified [read 1]: taken back by eve: asking for the state first
            +20 #6 Verified -> Conflict: it is not as we left it: somebody else changed it since, and it stays as it is
            receipt Harden Failure, None, contained false, last accepted None
        "#]],
    );
}

#[test]
fn nothing_to_take_back() {
    let mut world = World::new(auto(), &[REVOKE, REVOKE_ASKS]);
    world.find(ANN, "T1110");
    world.reply(tokens(0));
    let apply = world.last().clone();
    world.roll_back("eve");
    world.reply_to(apply.plan_uid, apply.sequence, done());
    world.find(BOB, "T1078");
    world.reply(state("prunella", BOB, serde_json::json!({})));
    world.roll_back("eve");
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
        +5 #1 Planned -> Approved [apply tokens.set_not_before]: mode auto: playbook revoke lets it act by itself
        +5 #2 Approved -> Approved: eve wants it taken back: there is nothing to take back
        +10 #3 Approved -> Applied: done
        +10 #4 Applied -> Propagating [probe from 10]: the provider may take 5 s to enforce it; probing
        +10 #0 new -> Planned [read 1]: playbook revoke-asks matches; asking for the state before
        +15 #1 Planned -> AwaitingApproval: its playbook asks first
        +15 #2 AwaitingApproval -> Rejected: taken back by eve before anything was done
    "#]],
    );
}

#[test]
fn the_kill_switch_holds_everything() {
    let mut world = World::new(auto(), &[HARDEN, REVOKE]);
    world.find(ANN, "T1486");
    world.reply(tier(1));
    world.reply(done());
    world.reply(refused_call());
    world.find(BOB, "T1110");
    world.kill_switch(true);
    world.reply(state("prunella", BOB, serde_json::json!({ "not_before": 0 })));
    world.approve("eve");
    world.tick(5 * 3_600_000);
    world.kill_switch(false);
    world.reply(tier(3));
    world.now += 29 * 60_000;
    let waiting = world.sent.iter().rev().find(|t| t.plan.principal == BOB).unwrap().plan_uid;
    let at = prunella_schemas::Timestamp(world.now);
    let tenant = prunella_schemas::Tenant::default();
    world.command(prunella_schemas::Command::Approve {
        tenant,
        plan_uid: waiting,
        by: "eve".into(),
        at,
        digest: None,
    });
    world.reply(failed(KILL_SWITCH_ENGAGED));
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook harden matches; asking for the state before
        +5 #1 Planned -> Approved [apply tier.set]: mode auto: playbook harden lets it act by itself
        +10 #2 Approved -> Applied: done
        +10 #3 Applied -> Propagating [probe from 10]: the provider may take 100 ms to enforce it; probing
        +15 #4 Propagating -> Verified: tier.harden on aws:user:arn:aws:iam::1:user/ann: contained, the target refused a call (401 for ListBuckets)
        receipt Harden Success, Some(RefusedCall), contained true, last accepted None
        +15 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
        +20 #1 Planned -> AwaitingApproval: kill switch engaged
        +1020 #2 AwaitingApproval -> AwaitingApproval: the approval of eve does not count: kill switch engaged
        +18001020 #5 Verified -> Verified: held back: kill switch engaged (the restriction ends)
        +18001020 #6 Verified -> Verified [read 1]: the restriction ends: asking for the state first
        +18001025 #7 Verified -> Verified [undo to 1]: the restriction ends
        +19741025 #8 Verified -> Verified [read 1]: the restriction ends: asking for the state first
        +19741025 #3 AwaitingApproval -> Approved [apply tokens.set_not_before]: approved by eve
        +19741030 #4 Approved -> AwaitingApproval: kill switch engaged before the step was sent
    "#]],
    );
}

#[test]
fn the_kill_switch_stops_what_was_about_to_be_taken_back() {
    let mut world = World::new(auto(), &[HARDEN]);
    world.find(ANN, "T1486");
    world.reply(tier(1));
    world.reply(done());
    world.reply(refused_call());
    world.roll_back("eve");
    world.kill_switch(true);
    world.reply(tier(3));
    assert!(
        world.last().order.is_none() && world.last().why.starts_with("held back"),
        "{}",
        world.last().why
    );
    world.kill_switch(false);
    world.reply(tier(3));
    assert!(matches!(world.last().order, Some(Order::Undo { .. })));
}

#[test]
fn approvals_do_not_expire_while_the_kill_switch_is_engaged() {
    let mut world = World::new(auto(), &[REVOKE_ASKS]);
    world.find(ANN, "T1078");
    world.reply(tokens(0));
    world.kill_switch(true);
    world.tick(3_600_000);
    assert_eq!(world.last().to, PlanState::AwaitingApproval);
    world.kill_switch(false);
    assert_eq!(world.stage.next_due().unwrap().0 - world.now, 30 * 60_000);
    world.tick(30 * 60_000);
    assert_eq!(world.last().to, PlanState::Expired);
}

#[test]
fn a_later_finding_may_go_further() {
    let mut world = World::new(auto(), &[REVOKE, REVOKE_ASKS]);
    world.find(ANN, "T1078");
    world.reply(tokens(0));
    world.find(ANN, "T1078");
    world.find(ANN, "T1110");
    assert_eq!(world.last().plan.finding_uids.len(), 3);
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook revoke-asks matches; asking for the state before
        +5 #1 Planned -> AwaitingApproval: its playbook asks first
        +5 #2 AwaitingApproval -> Approved [apply tokens.set_not_before]: another finding of the incident: playbook revoke lets it act by itself
    "#]],
    );
}

#[test]
fn a_dry_run_gives_way_to_a_playbook_that_goes_further() {
    let dry = "{ id: dry, match: { techniques: [T1078] }, actions: [{ action: tokens.revoke }] }";
    let mut world = World::new(auto(), &[REVOKE, dry]);
    world.find(ANN, "T1078");
    world.reply(tokens(0));
    world.find(ANN, "T1078");
    world.find(ANN, "T1110");
    world.reply(tokens(0));
    assert_ne!(world.sent[0].plan_uid, world.last().plan_uid);
    assert_eq!(world.sent[0].plan.action_key, world.last().plan.action_key);
    check(
        world,
        &expect![[r#"
        +0 #0 new -> Planned [read 1]: playbook dry matches; asking for the state before
        +5 #1 Planned -> DryRun: mode dry-run: this is what would be done
        +5 #0 new -> Planned [read 1]: playbook revoke matches; asking for the state before
        +10 #1 Planned -> Approved [apply tokens.set_not_before]: mode auto: playbook revoke lets it act by itself
    "#]],
    );
}

fn probe_to_the_end(world: &mut World, reply: impl Fn() -> Reply) {
    while let Some(Order::Probe { not_before, .. }) = world.last().order.clone() {
        world.now = world.now.max(not_before.0);
        world.reply(reply());
    }
}

#[test]
fn what_the_vault_keeps_is_set_at_the_vault() {
    const EVE: &str = "vault:user:eve";
    let text = "id: v\nmatch: { techniques: [T1530] }\nactions: [{ action: tokens.revoke, mode: auto }, \
                { action: account.lock, mode: auto }, { action: storage.harden_tier, mode: auto }, \
                { action: keys.rotate, mode: auto }]";
    let mut world = World::new(auto(), &[text]);
    world.find(EVE, "T1530");
    let reads: Vec<_> = world.sent.iter().filter_map(|t| t.order.clone()).collect();
    let found = |operation: &str| match operation {
        "tokens.set_not_before" => serde_json::json!({"not_before": 0, "version": 1}),
        "storage.harden_tier" => serde_json::json!({"tier": "LOW"}),
        "keys.rotate" => serde_json::json!({"since": 5}),
        _ => serde_json::json!({"value": 0, "version": 0}),
    };
    assert_eq!(reads.len(), 4);
    for (order, transition) in reads.into_iter().zip(world.sent.clone()) {
        let Order::Read { reads } = order else { panic!("{order:?}") };
        assert_eq!((reads[0].provider.as_str(), reads[0].target.as_str()), ("vault", EVE));
        world.reply_to(transition.plan_uid, 0, state("vault", EVE, found(&reads[0].operation)));
    }
    let steps: Vec<_> = world.sent.iter().filter(|t| t.to == PlanState::Approved).collect();
    let shown = |t: &&prunella_schemas::Transition| {
        let step = &t.plan.steps[0];
        format!("{} {} {} undo {}", step.provider, step.operation, step.desired, t.plan.undo.len())
    };
    let shown: Vec<String> = steps.iter().map(shown).collect();
    expect![[r#"
        vault tokens.set_not_before {"not_before":1800000000000} undo 0
        vault account.lock {"value":1800014400010} undo 1
        vault storage.harden_tier {"tier":"HIGH"} undo 0
        vault keys.rotate {"since":1800000000000} undo 0"#]]
    .assert_eq(&shown.join("\n"));
    let mut other = World::new(auto(), &[text]);
    other.find(ANN, "T1530");
    assert_eq!(other.sent.len(), 2, "elsewhere nothing is hardened: {:?}", other.states());
}
