//! Every crash point: a stage restored from the snapshot of any prefix goes on as if nothing had happened.

use crate::world::*;
use prunella_respond::Input;
use prunella_schemas::plan::Order;
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{Stage, Transition};

/// A day with some of everything.
fn busy_day() -> World {
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

fn open_reads(world: &World) -> Vec<Transition> {
    let last =
        |t: &&Transition| !world.sent.iter().any(|u| u.plan_uid == t.plan_uid && u.sequence > t.sequence);
    world.sent.iter().filter(last).filter(|t| matches!(t.order, Some(Order::Read { .. }))).cloned().collect()
}

#[test]
fn restored_at_any_point_it_goes_on_the_same() {
    let world = busy_day();
    assert!(world.sent.len() > 30, "{}", text(&world.sent, BEGIN));
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
    let world = busy_day();
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
fn a_plan_whose_action_is_gone_goes_to_a_person() {
    let mut world = World::new(auto(), &[HARDEN]);
    world.find(ANN, "T1486");
    let mut stage = prunella_respond::Respond::new(auto(), playbooks(&[])).unwrap();
    stage.restore(&world.stage.save()).unwrap();
    world.stage = stage;
    world.reply(tier(1));
    assert_eq!(world.last().to, prunella_schemas::PlanState::Escalated);
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
