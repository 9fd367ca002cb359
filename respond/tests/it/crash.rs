//! Every crash point: a stage restored from the snapshot of any prefix goes on as if nothing had happened.

use crate::world::*;
use prunella_respond::Input;
use prunella_schemas::plan::{Order, PlanState, Probe, Reply};
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{Command, Stage, Transition};

/// A day with some of everything, and a hard one after it.
fn busy_day() -> World {
    let mut world = plain_day();
    hard_day(&mut world);
    world
}

fn plain_day() -> World {
    let mut world = World::new(auto(), &[REVOKE, REVOKE_ASKS, HARDEN, TELL]);
    world.find(ANN, "T1110");
    world.reply(done());
    for plan in open_reads(&world) {
        world.reply_to(plan.plan_uid, plan.sequence, tokens(0));
    }
    world.reply(unknown());
    world.reply(unreadable());
    world.tick(1_000);
    world.reply(tokens(BEGIN));
    world.reply(stands());
    world.find(BOB, "T1078");
    let read = open_reads(&world).pop().unwrap();
    world.reply_to(
        read.plan_uid,
        read.sequence,
        state("prunella", BOB, serde_json::json!({ "not_before": 5 })),
    );
    world.approve("eve");
    world.kill_switch(true);
    world.find(ANN, "T1486");
    let read = open_reads(&world).pop().unwrap();
    world.reply_to(read.plan_uid, read.sequence, tier(1));
    world.kill_switch(false);
    world.approve("eve");
    world.reply(done());
    world.tick(10 * 60_000);
    world.reply(refused_call());
    world.tick(5 * 3_600_000);
    world.reply(tier(3));
    world.reply(undone());
    world.reply(tier(1));
    world.tick(86_400_000);
    world
}

/// Escapes, returns, roll-backs, conflicts, and what a person asks for.
fn hard_day(world: &mut World) {
    let (tenant, at) = (prunella_schemas::Tenant::default(), prunella_schemas::Timestamp(world.now));
    world.command(Command::Census { principals: [("default".to_owned(), 9)].into(), at });
    let finding = Box::new(world.finding(ANN, "T9999"));
    let (playbook, by) = ("revoke".to_owned(), "dana".to_owned());
    world.command(Command::Respond { tenant, finding, playbook, by, at });
    let answer = |world: &mut World, reply: Reply| {
        let last = world.sent.iter().rev().find(|t| t.order.is_some() && t.plan.action != "notify.webhook");
        let (plan_uid, sequence) = last.map(|t| (t.plan_uid, t.sequence)).unwrap();
        world.reply_to(plan_uid, sequence, reply);
    };
    answer(world, tokens(BEGIN));
    let waiting = world.sent.iter().rev().find(|t| t.to == PlanState::AwaitingApproval).unwrap();
    let (plan_uid, digest) = (waiting.plan_uid, Some(waiting.plan.digest));
    let (tenant, at) = (prunella_schemas::Tenant::default(), prunella_schemas::Timestamp(world.now));
    world.command(Command::Approve { tenant, plan_uid, by: "eve".into(), at, digest });
    answer(world, done());
    let probe = world.last().clone();
    let (detail, last_accepted, successors) = ("a key".into(), None, vec![BOB.to_owned()]);
    let escaped = Probe::Escaped { detail, last_accepted, successors };
    world.reply_to(probe.plan_uid, probe.sequence, Reply::Probed { probe: escaped });
    let second = world.sent.iter().rev().find(|t| t.plan_uid == probe.plan_uid).unwrap().clone();
    answer(world, state("prunella", BOB, serde_json::json!({ "not_before": 5 })));
    world.reply_to(second.plan_uid, second.sequence, refused_call());
    for (found, by_person) in [(3, true), (2, true), (3, false)] {
        world.now += 2 * 3_600_000;
        world.find(ANN, "T1486");
        answer(world, tier(1));
        if world.sent.iter().rev().any(|t| t.to == PlanState::AwaitingApproval && t.at.0 == world.now) {
            let waiting = world.sent.iter().rev().find(|t| t.to == PlanState::AwaitingApproval).unwrap();
            let (plan_uid, digest) = (waiting.plan_uid, Some(waiting.plan.digest));
            let (tenant, at) = (prunella_schemas::Tenant::default(), prunella_schemas::Timestamp(world.now));
            world.command(Command::Approve { tenant, plan_uid, by: "eve".into(), at, digest });
        }
        answer(world, done());
        answer(world, refused_call());
        if by_person {
            let verified = world.sent.iter().rev().find(|t| t.to == PlanState::Verified).unwrap();
            let (plan_uid, by) = (verified.plan_uid, "eve".to_owned());
            let (tenant, at) = (prunella_schemas::Tenant::default(), prunella_schemas::Timestamp(world.now));
            world.command(Command::RollBack { tenant, plan_uid, by, at });
        } else {
            world.tick(5 * 3_600_000);
        }
        answer(world, tier(found));
        answer(world, undone());
        answer(world, tier(1));
    }
}

fn open_reads(world: &World) -> Vec<Transition> {
    let last =
        |t: &&Transition| !world.sent.iter().any(|u| u.plan_uid == t.plan_uid && u.sequence > t.sequence);
    world.sent.iter().filter(last).filter(|t| matches!(t.order, Some(Order::Read { .. }))).cloned().collect()
}

#[test]
fn restored_at_any_point_it_goes_on_the_same() {
    let world = busy_day();
    assert!(world.sent.len() > 60, "{}", text(&world.sent, BEGIN));
    for state in [
        PlanState::Escaped,
        PlanState::Verified,
        PlanState::Unknown,
        PlanState::Expired,
        PlanState::RolledBack,
        PlanState::Conflict,
        PlanState::AwaitingApproval,
    ] {
        assert!(world.states().contains(&state), "{state:?} is not in {}", text(&world.sent, BEGIN));
    }
    for crash in 0..=world.inputs.len() {
        let mut stage = world.fresh();
        let mut sent: Vec<Transition> = Vec::new();
        for input in &world.inputs[..crash] {
            sent.extend(step(&mut stage, input));
        }
        let snapshot = stage.save();
        let mut stage = world.fresh();
        stage.restore(&snapshot).unwrap();
        assert_eq!(stage.save(), snapshot, "save and restore at {crash}");
        for input in &world.inputs[crash..] {
            sent.extend(step(&mut stage, input));
        }
        assert_eq!(text(&sent, BEGIN), text(&world.sent, BEGIN), "crash after input {crash}");
        assert_eq!(sent, world.sent);
        assert_eq!(stage.save(), world.stage.save());
    }
}

#[test]
fn inputs_repeated_after_a_crash_change_nothing_that_was_done() {
    let world = plain_day();
    for crash in 1..=world.inputs.len() {
        let mut stage = world.fresh();
        let mut applies = 0;
        for input in world.inputs[..crash].iter().chain(&world.inputs[..crash]).chain(&world.inputs[crash..])
        {
            let sent = step(&mut stage, input);
            applies += sent.iter().filter(|t| matches!(t.order, Some(Order::Apply { .. }))).count();
        }
        let undisturbed = world.sent.iter().filter(|t| matches!(t.order, Some(Order::Apply { .. }))).count();
        assert!(applies <= undisturbed, "crash after input {crash}: {applies} instead of {undisturbed}");
    }
}

#[test]
fn batches_do_not_matter() {
    let world = busy_day();
    let mut one = world.fresh();
    let mut out = prunella_schemas::Outbox::default();
    one.step(&world.inputs, &mut out);
    let bytes: Vec<Vec<u8>> = out.drain().into_iter().map(|p| p.bytes).collect();
    let want: Vec<Vec<u8>> = world.sent.iter().map(prunella_schemas::Message::encode).collect();
    assert_eq!(bytes, want);
}

#[test]
fn a_snapshot_of_another_version_or_damaged_is_refused_and_the_state_kept() {
    let world = busy_day();
    let mut stage = world.fresh();
    for input in &world.inputs[..10] {
        step(&mut stage, input);
    }
    let snapshot = stage.save();
    let newer = String::from_utf8(snapshot.clone()).unwrap().replacen("\"version\":2", "\"version\":3", 1);
    let version = SnapshotError::Version { stage: "respond", version: 3, expected: 2 };
    assert_eq!(stage.restore(newer.as_bytes()), Err(version));
    for cut in [0, 1, snapshot.len() / 2, snapshot.len() - 1] {
        assert!(matches!(stage.restore(&snapshot[..cut]), Err(SnapshotError::Corrupt { .. })));
    }
    assert_eq!(stage.save(), snapshot);
}

#[test]
fn a_snapshot_of_version_1_is_read_and_its_plans_go_on() {
    let mut world = World::new(auto(), &[HARDEN]);
    world.find(ANN, "T1486");
    world.reply(tier(1));
    world.reply(done());
    world.reply(refused_call());
    let mut snapshot: serde_json::Value = serde_json::from_slice(&world.stage.save()).unwrap();
    // What version 1 did not know.
    snapshot["version"] = 1.into();
    let memory = &mut snapshot["memory"];
    for name in ["trial", "demoted", "population", "reached"] {
        memory["guard"].as_object_mut().unwrap().remove(name).unwrap();
    }
    for live in memory["plans"].as_object_mut().unwrap().values_mut() {
        for name in ["key", "generation", "evidence", "done", "since", "applies_before", "renewing"] {
            live.as_object_mut().unwrap().remove(name).unwrap();
        }
        live["probing"].as_object_mut().unwrap().remove("successors").unwrap();
        live["plan"].as_object_mut().unwrap().remove("digest").unwrap();
    }
    for seen in memory["keys"].as_object_mut().unwrap().values_mut() {
        for name in ["generation", "done"] {
            seen[1].as_object_mut().unwrap().remove(name).unwrap();
        }
    }
    let mut stage = world.fresh();
    stage.restore(&serde_json::to_vec(&snapshot).unwrap()).unwrap();
    world.stage = stage;
    world.find(ANN, "T1486");
    world.tick(5 * 3_600_000);
    world.reply(tier(3));
    world.reply(undone());
    world.reply(tier(1));
    assert_eq!((world.last().to, world.stage.open_plans()), (PlanState::Expired, 0));
}

#[test]
fn a_plan_whose_action_is_gone_goes_to_a_person() {
    let mut world = World::new(auto(), &[HARDEN]);
    world.find(ANN, "T1486");
    let mut stage = prunella_respond::Respond::new(auto(), playbooks(&[])).unwrap();
    stage.restore(&world.stage.save()).unwrap();
    world.stage = stage;
    world.reply(tier(1));
    assert_eq!(world.last().to, PlanState::Escalated);
    assert_eq!(world.stage.open_plans(), 0);
}

#[test]
fn inputs_come_off_the_wire_with_their_own_ids() {
    use prunella_schemas::{Inbound, Message, Topic};
    let world = busy_day();
    for input in &world.inputs {
        let (topic, bytes, id) = match &input.message {
            Input::Finding(f) => (Topic::Findings, f.encode(), Message::id(f.as_ref())),
            Input::Command(c) => (Topic::Commands, c.encode(), Message::id(c.as_ref())),
        };
        assert_eq!(Inbound::id(&Input::decode(topic, 1, &bytes).unwrap()), id);
        assert!(Input::decode(topic, 9, &bytes).is_err());
        assert!(Input::decode(Topic::Events, 1, &bytes).is_err());
    }
}
