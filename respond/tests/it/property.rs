//! Whatever order findings, replies, people and time come in, some things never happen.

use crate::world::*;
use proptest::prelude::*;
use prunella_schemas::plan::{Order, PlanState, Reply};
use prunella_schemas::{Command, Id, Stage, Tenant, Timestamp, Transition};
use std::collections::{BTreeMap, BTreeSet};

const ROOT: &str = "aws:root:1";

#[derive(Clone, Debug)]
enum Op {
    Find {
        who: usize,
        what: usize,
    },
    /// Replies to one of the last orders, which may have been answered before.
    Answer {
        back: usize,
        how: usize,
    },
    Approve {
        back: usize,
        by: usize,
    },
    Reject {
        back: usize,
    },
    RollBack {
        back: usize,
    },
    Switch(bool),
    Tick(i64),
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3usize, 0..3usize).prop_map(|(who, what)| Op::Find { who, what }),
        12 => (prop_oneof![4 => Just(0usize), 2 => 0..6usize], 0..12usize).prop_map(|(back, how)| Op::Answer { back, how }),
        4 => (0..4usize, 0..3usize).prop_map(|(back, by)| Op::Approve { back, by }),
        1 => (0..4usize).prop_map(|back| Op::Reject { back }),
        1 => (0..4usize).prop_map(|back| Op::RollBack { back }),
        1 => any::<bool>().prop_map(Op::Switch),
        3 => prop_oneof![Just(60i64), Just(1_000), Just(310_000), Just(1_900_000), Just(15_000_000)].prop_map(Op::Tick),
        1 => Just(Op::Crash),
    ]
}

/// A reply to an order: the right kind mostly, right or wrong in content.
fn reply(order: &Order, how: usize) -> Reply {
    let target = |steps: &[prunella_schemas::Step]| (steps[0].provider.clone(), steps[0].target.clone());
    match (order, how) {
        (_, 0) => refused_call(),
        (_, 1) => unreadable(),
        (Order::Read { reads }, 2..=8) => {
            let value = match (reads[0].provider.as_str(), how) {
                ("test", 2 | 3) => serde_json::json!(3),
                ("test", 4) => serde_json::json!(2),
                ("test", _) => serde_json::json!(1),
                (_, how) => serde_json::json!({ "not_before": if how < 5 { BEGIN * 2 } else { 0 } }),
            };
            state(&reads[0].provider, &reads[0].target, value)
        }
        (Order::Read { .. }, _) => Reply::State { states: vec![] },
        (Order::Apply { .. }, 2..=6) => done(),
        (Order::Apply { .. }, 7) => failed("denied"),
        (Order::Apply { .. }, 8) => failed(prunella_respond::KILL_SWITCH_ENGAGED),
        (Order::Apply { .. }, _) => unknown(),
        (Order::Probe { .. }, 2..=4) => stands(),
        (Order::Probe { applied, .. }, 5..=7) => accepted(applied.0 + 10),
        (Order::Probe { .. }, _) => not_yet(),
        (Order::Undo { steps, .. }, 2..=7) => {
            assert!(!target(steps).1.is_empty());
            undone()
        }
        (Order::Undo { .. }, 8) => Reply::Undone {
            outcomes: vec![prunella_schemas::plan::Outcome::Failed { detail: "denied".into() }],
        },
        (Order::Undo { .. }, _) => Reply::Undone { outcomes: vec![] },
    }
}

/// What the invariants need to know about the past.
#[derive(Default)]
struct Past {
    engaged: bool,
    last: BTreeMap<Id, Transition>,
    apply_keys: BTreeMap<Id, BTreeSet<Id>>,
    closed: BTreeSet<Id>,
    approvals: BTreeMap<Id, BTreeSet<String>>,
}

impl Past {
    fn check(&mut self, t: &Transition) {
        let key = t.plan.action_key;
        let before = self.last.get(&t.plan_uid);
        assert_eq!(t.sequence, before.map_or(0, |b| b.sequence + 1), "sequences have no gap");
        assert_eq!(t.from, before.map(|b| b.to), "every move starts where the last one ended");
        assert!(before.is_none_or(|b| b.at <= t.at), "time does not run backwards");
        match &t.order {
            Some(Order::Apply { key: used, .. }) => {
                assert!(!self.engaged, "an order to apply while the kill switch is engaged");
                assert!(!self.closed.contains(&key), "an order to apply after the key was closed");
                let keys = self.apply_keys.entry(key).or_default();
                keys.insert(*used);
                assert_eq!(keys.len(), 1, "one key for one action");
                assert_eq!(t.to, PlanState::Approved);
                if t.plan.principal == ROOT && t.plan.reach != prunella_schemas::plan::Reach::Notify {
                    let people = self.approvals.get(&t.plan_uid).map_or(0, BTreeSet::len);
                    assert!(people >= 2, "a protected principal with {people} approvals");
                }
            }
            Some(Order::Undo { .. }) => {
                assert!(!self.engaged, "an order to undo while the kill switch is engaged");
                assert!(self.apply_keys.contains_key(&key), "undone but never applied");
            }
            // Only an order makes a plan approved; a note may be written while it is.
            _ => assert!(t.to != PlanState::Approved || t.from == Some(PlanState::Approved)),
        }
        use PlanState as S;
        if matches!(t.to, S::Rejected | S::Expired | S::Failed | S::RolledBack | S::Conflict) {
            self.closed.insert(key);
        }
        if let Some(receipt) = &t.receipt {
            let refused =
                receipt.prunella.evidence == Some(prunella_schemas::plan::EvidenceKind::RefusedCall);
            assert_eq!(receipt.prunella.contained, refused, "contained means refused call");
            let ends =
                [S::Verified, S::Escaped, S::Escalated, S::Failed, S::RolledBack, S::Expired, S::Conflict];
            assert!(ends.contains(&t.to));
            assert_eq!(receipt.prunella.state, Some(t.to));
        }
        self.last.insert(t.plan_uid, t.clone());
    }
}

fn check_invariants(ops: Vec<Op>) {
    let mut world = World::new(auto(), &[REVOKE, REVOKE_ASKS, HARDEN, TELL]);
    let mut past = Past::default();
    for op in ops {
        let before = world.sent.len();
        let recent = |world: &World, back: usize| world.sent.iter().rev().nth(back).map(|t| t.plan_uid);
        world.now += 1;
        let (tenant, at) = (Tenant::default(), Timestamp(world.now));
        match op {
            Op::Find { who, what } => world.find([ANN, BOB, ROOT][who], ["T1110", "T1078", "T1486"][what]),
            Op::Answer { back, how } => {
                let order = world.sent.iter().filter(|t| t.order.is_some()).rev().nth(back).cloned();
                let Some(t) = order else { continue };
                world.reply_to(t.plan_uid, t.sequence, reply(t.order.as_ref().unwrap(), how));
            }
            Op::Approve { back, by } => {
                let Some(plan_uid) = recent(&world, back) else { continue };
                let by = ["eve", "bob", "Eve"][by].to_owned();
                past.approvals.entry(plan_uid).or_default().insert(by.to_lowercase());
                world.command(Command::Approve { tenant, plan_uid, by, at, digest: None });
            }
            Op::Reject { back } => {
                let Some(plan_uid) = recent(&world, back) else { continue };
                world.command(Command::Reject { tenant, plan_uid, by: "eve".into(), at });
            }
            Op::RollBack { back } => {
                let Some(plan_uid) = recent(&world, back) else { continue };
                world.command(Command::RollBack { tenant, plan_uid, by: "eve".into(), at });
            }
            Op::Switch(engaged) => {
                // What fires because its time has come is still under the old setting; only the switch itself is not.
                world.tick(0);
                world.sent[before..].iter().for_each(|t| past.check(t));
                past.engaged = engaged;
                let before = world.sent.len();
                world.kill_switch(engaged);
                world.sent[before..].iter().for_each(|t| past.check(t));
                continue;
            }
            Op::Tick(ms) => world.tick(ms),
            Op::Crash => {
                let snapshot = world.stage.save();
                world.stage = world.fresh();
                world.stage.restore(&snapshot).unwrap();
                assert_eq!(world.stage.save(), snapshot);
            }
        }
        world.sent[before..].iter().for_each(|t| past.check(t));
        let due = world.stage.next_due();
        assert!(due.is_none_or(|d| d.0 > world.now), "nothing due is left over");
    }
    // Left alone, every plan comes to an end: nothing waits for ever.
    if past.engaged {
        past.engaged = false;
        let before = world.sent.len();
        world.kill_switch(false);
        world.sent[before..].iter().for_each(|t| past.check(t));
    }
    for _ in 0..200 {
        let Some(due) = world.stage.next_due() else { break };
        world.now = due.0;
        let before = world.sent.len();
        world.tick(0);
        world.sent[before..].iter().for_each(|t| past.check(t));
    }
    assert_eq!(world.stage.open_plans(), 0, "{}", text(&world.sent, BEGIN));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_inputs_breaks_an_invariant(ops in proptest::collection::vec(op(), 1..80)) {
        check_invariants(ops);
    }
}
