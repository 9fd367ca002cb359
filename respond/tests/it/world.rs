//! A small world around the stage: it makes findings, plays the shell, and writes down what it sees as text.

use prunella_respond::actions::{Action, CATALOG, Case, NotApplicable, Steps, state_of};
use prunella_respond::{Config, Input, Playbooks, Receivers, Respond};
use prunella_schemas::finding::{Attack, Named};
use prunella_schemas::plan::{
    EvidenceKind, Mode, Order, Outcome, PlanState, Probe, Reach, Read, Reply, Step, TargetState,
};
use prunella_schemas::{
    Command, Delivered, Finding, Id, Message, Outbox, Stage, Tenant, Timestamp, Transition,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// When the world begins.
pub const BEGIN: i64 = 1_800_000_000_000;
pub const ANN: &str = "aws:user:arn:aws:iam::1:user/ann";
pub const BOB: &str = "aws:user:arn:aws:iam::1:user/bob";

pub const REVOKE: &str = "
id: revoke
match: { techniques: [T1110] }
actions: [{ action: tokens.revoke, mode: auto }]";
pub const REVOKE_ASKS: &str = "
id: revoke-asks
match: { techniques: [T1078] }
actions: [{ action: tokens.revoke, mode: approve }]";
pub const HARDEN: &str = "
id: harden
match: { techniques: [T1486] }
actions: [{ action: tier.harden, mode: auto }]";
pub const TELL: &str = "
id: tell
match: { severity_min: low }
actions: [{ action: notify.webhook }]";

/// An action with a way back, as a restriction of a vault's tier would be.
pub struct Harden;

impl Action for Harden {
    fn name(&self) -> &'static str {
        "tier.harden"
    }
    fn reach(&self) -> Reach {
        Reach::Principal
    }
    fn tactic(&self) -> u8 {
        4
    }
    fn horizon_ms(&self) -> Option<i64> {
        Some(100)
    }
    fn targets(&self, finding: &Finding, _: &Config) -> Vec<String> {
        vec![finding.principal().to_owned()]
    }
    fn needs(&self, target: &str) -> Vec<Read> {
        vec![Read { provider: "test".into(), operation: "tier.set".into(), target: target.into() }]
    }
    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable> {
        let step = |desired: Value, prior: Option<Value>| Step {
            provider: "test".into(),
            operation: "tier.set".into(),
            target: case.target.into(),
            desired,
            prior,
        };
        let found = state_of(states, "test", case.target).cloned();
        if found == Some(json!(3)) {
            return Err(NotApplicable("the tier is the highest already".into()));
        }
        let undo = found.clone().map(|prior| step(prior, None)).into_iter().collect();
        Ok(Steps { steps: vec![step(json!(3), found)], undo })
    }
}

pub fn playbooks(texts: &[&str]) -> Playbooks {
    let files: Vec<(String, &str)> =
        texts.iter().enumerate().map(|(i, t)| (format!("{i}.yaml"), *t)).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(f, t)| (f.as_str(), *t)).collect();
    Playbooks::parse_for(&catalog(), &files).unwrap()
}

pub fn catalog() -> Vec<&'static dyn Action> {
    let mut actions = CATALOG.to_vec();
    actions.push(&Harden);
    actions
}

pub fn auto() -> Config {
    let receivers = Receivers { webhook: vec!["default".to_owned()], ..Receivers::default() };
    Config { mode_max: Mode::Auto, receivers, ..Config::default() }
}

pub struct World {
    pub config: Config,
    pub books: Playbooks,
    pub stage: Respond,
    pub now: i64,
    /// Everything that was delivered, for replays.
    pub inputs: Vec<Delivered<Input>>,
    pub sent: Vec<Transition>,
    findings: u32,
    seen: usize,
}

impl World {
    pub fn new(config: Config, texts: &[&str]) -> Self {
        let books = playbooks(texts);
        let stage = Respond::with_actions(config.clone(), books.clone(), catalog()).unwrap();
        World { config, books, stage, now: BEGIN, inputs: Vec::new(), sent: Vec::new(), findings: 0, seen: 0 }
    }

    pub fn fresh(&self) -> Respond {
        Respond::with_actions(self.config.clone(), self.books.clone(), catalog()).unwrap()
    }

    pub fn deliver(&mut self, message: Input) {
        let at = Timestamp(self.now);
        let input = Delivered { message, origin: Timestamp(self.now - 20), at };
        self.sent.extend(step(&mut self.stage, &input));
        self.inputs.push(input);
    }

    pub fn command(&mut self, command: Command) {
        self.deliver(Input::Command(Box::new(command)));
    }

    /// A finding about `principal` with an ATT&CK technique, that happened now.
    pub fn finding(&mut self, principal: &str, technique: &str) -> Finding {
        self.findings += 1;
        finding(principal, technique, self.now - 100, self.findings)
    }

    pub fn find(&mut self, principal: &str, technique: &str) {
        let finding = self.finding(principal, technique);
        self.deliver(Input::Finding(Box::new(finding)));
    }

    pub fn tick(&mut self, ms: i64) {
        self.now += ms;
        self.command(Command::Tick { at: Timestamp(self.now) });
    }

    pub fn reply(&mut self, reply: Reply) {
        let last = self.sent.iter().rev().find(|t| t.order.is_some()).expect("an order");
        let (plan_uid, sequence) = (last.plan_uid, last.sequence);
        self.reply_to(plan_uid, sequence, reply);
    }

    pub fn reply_to(&mut self, plan_uid: Id, sequence: u32, reply: Reply) {
        self.now += 5;
        self.command(Command::Reply { plan_uid, sequence, reply, at: Timestamp(self.now) });
    }

    pub fn last(&self) -> &Transition {
        self.sent.last().expect("a transition")
    }

    pub fn approve(&mut self, by: &str) {
        let plan_uid = self.last().plan_uid;
        self.now += 1_000;
        let (tenant, at) = (Tenant::default(), Timestamp(self.now));
        self.command(Command::Approve { tenant, plan_uid, by: by.into(), at, digest: None });
    }

    /// Approves the plan that was looked at when it had this digest.
    pub fn approve_what_was_seen(&mut self, digest: Id) {
        let plan_uid = self.last().plan_uid;
        let (tenant, at) = (Tenant::default(), Timestamp(self.now));
        self.command(Command::Approve { tenant, plan_uid, by: "eve".into(), at, digest: Some(digest) });
    }

    pub fn reject(&mut self, by: &str) {
        let plan_uid = self.last().plan_uid;
        let (tenant, at) = (Tenant::default(), Timestamp(self.now));
        self.command(Command::Reject { tenant, plan_uid, by: by.into(), at });
    }

    pub fn roll_back(&mut self, by: &str) {
        let plan_uid = self.last().plan_uid;
        let (tenant, at) = (Tenant::default(), Timestamp(self.now));
        self.command(Command::RollBack { tenant, plan_uid, by: by.into(), at });
    }

    pub fn kill_switch(&mut self, engaged: bool) {
        let at = Timestamp(self.now);
        self.command(Command::KillSwitch { engaged, by: "ops".into(), at });
    }

    /// What was written since the last call, as text.
    pub fn news(&mut self) -> String {
        let text = text(&self.sent[self.seen..], BEGIN);
        self.seen = self.sent.len();
        text
    }

    pub fn states(&self) -> Vec<PlanState> {
        self.sent.iter().map(|t| t.to).collect()
    }
}

pub fn finding(principal: &str, technique: &str, time: i64, number: u32) -> Finding {
    let mut finding = Finding::new(4);
    finding.time = Timestamp(time);
    finding.message = format!("finding {number}");
    finding.finding_info.analytic.uid = "test".into();
    let named = |uid: &str| Named { uid: uid.to_owned().into(), ..Named::default() };
    finding.finding_info.attacks = vec![Attack { technique: named(technique), ..Attack::default() }];
    finding.prunella.principal = principal.to_owned();
    finding.set_risk(75.0);
    finding.identify(&number.to_le_bytes());
    finding
}

/// One input through the stage.
pub fn step(stage: &mut Respond, input: &Delivered<Input>) -> Vec<Transition> {
    let mut out = Outbox::default();
    stage.step(std::slice::from_ref(input), &mut out);
    out.drain().iter().map(|p| Transition::decode(p.version, &p.bytes).unwrap()).collect()
}

pub fn text(transitions: &[Transition], begin: i64) -> String {
    let mut text = String::new();
    for t in transitions {
        let from = t.from.map_or("new".to_owned(), |s| format!("{s:?}"));
        let (at, order) = (t.at.0 - begin, t.order.as_ref().map_or(String::new(), |o| order(o, begin)));
        writeln!(text, "+{} #{} {from} -> {:?}{order}: {}", at, t.sequence, t.to, t.why).unwrap();
        if let Some(receipt) = &t.receipt {
            let f = &receipt.prunella;
            let accepted = f.last_accepted.map(|a| a.0 - begin);
            let (status, activity, contained) = (&receipt.status, &receipt.activity_name, f.contained);
            writeln!(
                text,
                "receipt {activity} {status}, {:?}, contained {contained}, last accepted {accepted:?}",
                f.evidence
            )
            .unwrap();
        }
    }
    text
}

fn order(order: &Order, begin: i64) -> String {
    match order {
        Order::Read { reads } => format!(" [read {}]", reads.len()),
        Order::Apply { steps, .. } => format!(" [apply {}]", steps[0].operation),
        Order::Probe { not_before, .. } => format!(" [probe from {}]", not_before.0 - begin),
        Order::Undo { steps, .. } => format!(" [undo to {}]", steps[0].desired),
    }
}

pub fn tokens(not_before: i64) -> Reply {
    state("prunella", ANN, json!({ "principal": ANN, "not_before": not_before, "version": 1 }))
}

pub fn tier(tier: i64) -> Reply {
    state("test", ANN, json!(tier))
}

pub fn state(provider: &str, target: &str, value: Value) -> Reply {
    Reply::State { states: vec![TargetState { provider: provider.into(), target: target.into(), value }] }
}

pub fn done() -> Reply {
    Reply::Applied { outcomes: vec![Outcome::Done { detail: "done".into() }] }
}

pub fn unknown() -> Reply {
    Reply::Applied { outcomes: vec![Outcome::Unknown { detail: "timeout".into() }] }
}

pub fn failed(detail: &str) -> Reply {
    Reply::Applied { outcomes: vec![Outcome::Failed { detail: detail.into() }] }
}

pub fn undone() -> Reply {
    Reply::Undone { outcomes: vec![Outcome::Done { detail: "restored".into() }] }
}

pub fn unreadable() -> Reply {
    Reply::Unreadable { detail: "connection refused".into() }
}

pub fn refused_call() -> Reply {
    held(EvidenceKind::RefusedCall, "401 for ListBuckets")
}

pub fn stands() -> Reply {
    held(EvidenceKind::ConfigurationRead, "not_before stands")
}

fn held(evidence: EvidenceKind, detail: &str) -> Reply {
    Reply::Probed { probe: Probe::Held { evidence, detail: detail.into(), last_accepted: None } }
}

pub fn not_yet() -> Reply {
    Reply::Probed { probe: Probe::NotYet { detail: "no answer".into() } }
}

pub fn accepted(at: i64) -> Reply {
    let last_accepted = Some(Timestamp(at));
    Reply::Probed {
        probe: Probe::Escaped { detail: "GetObject accepted".into(), last_accepted, successors: Vec::new() },
    }
}
