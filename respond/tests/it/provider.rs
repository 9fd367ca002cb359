//! A provider whose answers get lost: what it counts is what really happened, whatever we were told.

use crate::world::*;
use prunella_respond::Config;
use prunella_schemas::plan::{EvidenceKind, Order, Outcome, PlanState, Probe, Reply, TargetState};
use prunella_schemas::{Command, Id, Stage, Step, Timestamp, Transition};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const LOCK: &str = "
id: lock
match: { techniques: [T1110] }
actions: [{ action: account.lock, mode: auto }]";

/// xorshift64*: the same faults in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % n
    }
}

/// How many of a hundred calls go wrong, and how.
#[derive(Clone, Copy)]
struct Faults {
    /// It happened, and the answer is lost.
    lost: u64,
    /// Nobody knows: half of them happened.
    timeout: u64,
    /// It did not happen, and the answer is a 500.
    error: u64,
}

struct Provider {
    chance: Chance,
    faults: Faults,
    /// By target: the value, its version, and the values it was given.
    targets: BTreeMap<String, (i64, u64, Vec<i64>)>,
    calls: u64,
}

enum Answer {
    Given,
    Missing { happened: bool },
}

impl Provider {
    fn new(faults: Faults) -> Self {
        Provider { chance: Chance(7), faults, targets: BTreeMap::new(), calls: 0 }
    }

    fn luck(&mut self) -> Answer {
        self.calls += 1;
        let Faults { lost, timeout, error } = self.faults;
        match self.chance.below(100) {
            n if n < lost => Answer::Missing { happened: true },
            n if n < lost + timeout => Answer::Missing { happened: self.chance.below(2) == 0 },
            n if n < lost + timeout + error => Answer::Missing { happened: false },
            _ => Answer::Given,
        }
    }

    fn set(&mut self, step: &Step) -> Outcome {
        let target = self.targets.entry(step.target.clone()).or_default();
        let wanted = step.desired["value"].as_i64().unwrap();
        let expected = step.prior.as_ref().unwrap()["version"].as_u64().unwrap();
        if target.0 == wanted {
            return Outcome::Done { detail: "as it is".into() };
        }
        if target.1 != expected {
            return Outcome::Conflict { detail: format!("version {}", target.1) };
        }
        (target.0, target.1) = (wanted, target.1 + 1);
        target.2.push(wanted);
        Outcome::Done { detail: "set".into() }
    }

    fn write(&mut self, step: &Step) -> Vec<Outcome> {
        let answer = self.luck();
        match answer {
            Answer::Given => vec![self.set(step)],
            Answer::Missing { happened } => {
                if happened {
                    self.set(step);
                }
                vec![Outcome::Unknown { detail: "no answer".into() }]
            }
        }
    }

    fn carry_out(&mut self, order: &Order) -> Reply {
        match order {
            Order::Read { reads } => match self.luck() {
                Answer::Missing { .. } => Reply::Unreadable { detail: "no answer".into() },
                Answer::Given => {
                    let (value, version, _) =
                        self.targets.entry(reads[0].target.clone()).or_default().clone();
                    let value: Value = json!({ "value": value, "version": version });
                    let (provider, target) = (reads[0].provider.clone(), reads[0].target.clone());
                    Reply::State { states: vec![TargetState { provider, target, value }] }
                }
            },
            Order::Apply { steps, .. } => Reply::Applied { outcomes: self.write(&steps[0]) },
            Order::Undo { steps, .. } => Reply::Undone { outcomes: self.write(&steps[0]) },
            Order::Probe { .. } => {
                let (detail, last_accepted) = ("401".into(), None);
                Reply::Probed {
                    probe: Probe::Held { evidence: EvidenceKind::RefusedCall, detail, last_accepted },
                }
            }
        }
    }
}

/// Answers every order once, and lets time pass when there is none, until `end`.
fn run(world: &mut World, provider: &mut Provider, answered: &mut usize, end: i64) {
    let mut queue = VecDeque::new();
    loop {
        queue.extend(world.sent[*answered..].iter().filter(|t| t.order.is_some()).cloned());
        *answered = world.sent.len();
        if let Some(t) = queue.pop_front() {
            let t: Transition = t;
            let reply = provider.carry_out(t.order.as_ref().unwrap());
            let (plan_uid, sequence, at) = (t.plan_uid, t.sequence, Timestamp(world.now));
            world.command(Command::Reply { plan_uid, sequence, reply, at });
            continue;
        }
        match world.stage.next_due() {
            Some(due) if due.0 <= end => {
                world.now = world.now.max(due.0);
                world.tick(0);
            }
            _ => return,
        }
    }
}

fn generous() -> Config {
    let mut config = auto();
    for budget in [&mut config.budgets.tenant, &mut config.budgets.playbook, &mut config.budgets.global] {
        budget.max = 10_000;
    }
    (config.breaker.failures.max, config.breaker.rollbacks.max) = (10_000, 10_000);
    config
}

fn principal(n: usize) -> String {
    format!("aws:user:arn:aws:iam::1:user/u{n}")
}

/// The longest time that a plan did not know what had become of its step.
fn longest_unknown_ms(sent: &[Transition]) -> i64 {
    let (mut since, mut longest) = (BTreeMap::<Id, Timestamp>::new(), 0);
    for t in sent {
        if t.to == PlanState::Unknown {
            since.entry(t.plan_uid).or_insert(t.at);
        } else if let Some(from) = since.remove(&t.plan_uid) {
            longest = longest.max(t.at.since_ms(from));
        }
    }
    assert!(since.is_empty(), "{} plans still do not know", since.len());
    longest
}

#[test]
fn answers_that_get_lost_never_become_a_second_effect() {
    for (name, faults) in [
        ("none", Faults { lost: 0, timeout: 0, error: 0 }),
        ("lost", Faults { lost: 30, timeout: 0, error: 0 }),
        ("timeouts", Faults { lost: 0, timeout: 30, error: 0 }),
        ("500s", Faults { lost: 0, timeout: 0, error: 10 }),
        ("all of it", Faults { lost: 30, timeout: 30, error: 10 }),
    ] {
        let (mut world, mut provider, mut answered) =
            (World::new(generous(), &[LOCK]), Provider::new(faults), 0);
        for n in 0..400 {
            world.find(&principal(n), "T1110");
        }
        let locked = world.now + 3_600_000;
        run(&mut world, &mut provider, &mut answered, locked);
        run(&mut world, &mut provider, &mut answered, locked + 6 * 3_600_000);
        let mut ends = BTreeMap::<PlanState, usize>::new();
        let newest: BTreeMap<&str, PlanState> =
            world.sent.iter().map(|t| (t.plan.principal.as_str(), t.to)).collect();
        for n in 0..400 {
            let last = newest[principal(n).as_str()];
            *ends.entry(last).or_default() += 1;
            let given = provider.targets.get(&principal(n)).map_or(&[][..], |t| &t.2[..]);
            assert!(given.len() <= 2, "{name}: {given:?}");
            assert_eq!(
                given.iter().collect::<BTreeSet<_>>().len(),
                given.len(),
                "{name}: set twice {given:?}"
            );
            if last == PlanState::Expired {
                assert!(given.last().is_none_or(|value| *value == 0), "{name}: told as restored: {given:?}");
            }
        }
        let unknown_ms = longest_unknown_ms(&world.sent);
        assert!(unknown_ms <= 300_000, "{name}: {unknown_ms} ms without knowing");
        assert_eq!(world.stage.open_plans(), 0, "{name}: {ends:?}");
        let known = [PlanState::Expired, PlanState::Escalated];
        assert!(ends.keys().all(|state| known.contains(state)), "{name}: {ends:?}");
        if faults.lost + faults.timeout == 0 {
            assert_eq!(ends.get(&PlanState::Expired), Some(&400), "{name}: {ends:?}");
        }
    }
}

#[test]
fn a_hundred_thousand_findings_with_their_copies_are_one_effect_each() {
    let (mut world, mut provider, mut answered) =
        (World::new(generous(), &[LOCK]), Provider::new(Faults { lost: 0, timeout: 0, error: 0 }), 0);
    let mut findings: Vec<_> = (0..10_000)
        .flat_map(|n| std::iter::repeat_n(world.finding(&principal(n % 1_000), "T1110"), 10))
        .collect();
    let mut chance = Chance(11);
    for at in (1..findings.len()).rev() {
        findings.swap(at, usize::try_from(chance.below(at as u64 + 1)).unwrap());
    }
    assert_eq!(findings.len(), 100_000);
    let end = world.now + 60_000;
    for (n, finding) in findings.into_iter().enumerate() {
        world.deliver(prunella_respond::Input::Finding(Box::new(finding)));
        if n % 97 == 0 {
            run(&mut world, &mut provider, &mut answered, end);
        }
        if n == 30_000 || n == 60_000 {
            let snapshot = world.stage.save();
            world.stage = world.fresh();
            world.stage.restore(&snapshot).unwrap();
        }
        world.inputs.clear();
    }
    run(&mut world, &mut provider, &mut answered, end);
    assert_eq!(provider.targets.len(), 1_000);
    assert!(
        provider.targets.values().all(|(_, _, given)| given.len() == 1),
        "an effect is missing or doubled"
    );
    let plans: BTreeSet<Id> = world.sent.iter().map(|t| t.plan_uid).collect();
    assert_eq!(plans.len(), 1_000);
}
