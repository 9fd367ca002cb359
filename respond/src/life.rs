//! The life of one plan: what it waits for, and how it moves from state to state.

use crate::Config;
use crate::actions::{Action, Case, Occasion, RESTORE, STEPS_MAX};
use crate::guard::{Guard, Verdict, target_fault};
use crate::memory::PENDING_MAX;
use prunella_schemas::plan::{EvidenceKind, Mode, Order, Plan, PlanState, Reach, Read, TargetState};
use prunella_schemas::{Finding, Id, Receipt, Timestamp, Transition};
use serde::{Deserialize, Serialize};

/// Most findings that one plan names.
const FINDINGS_PER_PLAN_MAX: usize = 32;

/// Most times that an action is taken in one incident, the first one included.
pub(crate) const GENERATIONS_MAX: u32 = 16;

/// The action key of a generation: ten findings are one action, and an attacker who is back is another one.
pub(crate) fn generation_key(key: Id, generation: u32) -> Id {
    match generation {
        0 => key,
        n => Id::derive("action again", &[&key.0, &n.to_le_bytes()]),
    }
}

/// What a person approves.
fn digest(plan: &Plan) -> Id {
    let steps = serde_json::to_vec(&(&plan.steps, &plan.undo)).unwrap_or_default();
    Id::derive("plan digest", &[&plan.uid.0, plan.action.as_bytes(), plan.principal.as_bytes(), &steps])
}

/// What an order asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asked {
    Read,
    Apply,
    Probe,
    Undo,
}

/// What a plan waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wait {
    /// Nothing: it is finished and forgotten.
    End,
    /// The shell's reply to the order of transition `sequence`.
    Reply {
        asked: Asked,
        sequence: u32,
    },
    /// Time, then the read is ordered again.
    Retry,
    Approval,
    /// The kill switch, before it can be taken back.
    Release,
    /// The end of the restriction.
    Expiry,
}

/// A finished plan may make room for another one on the same action key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Again {
    #[default]
    Never,
    /// Nothing was decided: a playbook that goes further may.
    IfFurther,
    /// There was no room for it.
    Always,
}

/// An open plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Live {
    pub plan: Plan,
    /// What the action acts on.
    pub target: String,
    /// `None` before the first transition.
    pub state: Option<PlanState>,
    /// Of the next transition.
    pub sequence: u32,
    pub wait: Wait,
    /// When it acts by itself if nothing comes.
    pub due: Option<Timestamp>,
    /// The finding that opened it.
    pub finding: Option<Box<Finding>>,
    pub reads: Vec<Read>,
    pub suppressed: u64,
    /// Reads in a row that gave no answer.
    pub unread: u32,
    /// Orders to apply, and to undo, given so far.
    pub applies: u32,
    pub undos: u32,
    /// How many persons must approve, and who did.
    pub persons: u8,
    pub approvals: Vec<String>,
    pub taking_back: Option<TakingBack>,
    pub probing: Probing,
    pub again: Again,
    /// Names the action of the incident, whatever its generation. Zero in snapshots of older builds: the plan's own key.
    #[serde(default)]
    pub key: Id,
    /// How often the action was taken again in the incident because the attacker came back.
    #[serde(default)]
    pub generation: u32,
    /// When the newest evidence became known; what is sent speaks of this instant.
    #[serde(default)]
    pub evidence: Timestamp,
    /// The evidence that what was sent last speaks of. Zero: nothing was sent.
    #[serde(default)]
    pub done: Timestamp,
    /// When the incident began, by event time.
    #[serde(default)]
    pub since: Timestamp,
    /// Orders to apply given before this generation.
    #[serde(default)]
    pub applies_before: u32,
    /// The steps must be sent again, with their instants moved to the newest evidence.
    #[serde(default)]
    pub renewing: bool,
    /// Principals that the action must reach as well; the stage opens plans for them.
    #[serde(skip)]
    pub wider: Vec<String>,
    /// What has just happened to it that others may want to be told; the stage opens plans for that.
    #[serde(skip)]
    pub news: Option<Occasion>,
    /// What a notification is about, if not a finding alone. It is gone once its steps are known.
    #[serde(skip)]
    pub about: Option<(Occasion, Box<Plan>)>,
}

/// Why a plan is being taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TakingBack {
    /// The person who asked for it; `None` when its time is up.
    pub by: Option<String>,
    /// The effector said that it was undone; what is read now must show it.
    #[serde(default)]
    pub undone: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Probing {
    pub delay_ms: i64,
    /// The horizon has passed, and the last probe was ordered.
    pub last: bool,
    pub last_accepted: Option<Timestamp>,
    /// Principals with credentials that were made since the incident began, and were dealt with.
    #[serde(default)]
    pub successors: Vec<String>,
}

/// What a plan may look at and write on while it moves.
pub(crate) struct Desk<'a> {
    pub config: &'a Config,
    pub action: &'static dyn Action,
    pub guard: &'a mut Guard,
    pub now: Timestamp,
    /// How many plans wait for approval.
    pub pending: usize,
    pub sent: &'a mut Vec<Transition>,
}

impl Live {
    pub fn new(plan: Plan, target: String, finding: Box<Finding>) -> Self {
        Live {
            plan,
            target,
            state: None,
            sequence: 0,
            wait: Wait::End,
            due: None,
            finding: Some(finding),
            reads: Vec::new(),
            suppressed: 0,
            unread: 0,
            applies: 0,
            undos: 0,
            persons: 1,
            approvals: Vec::new(),
            taking_back: None,
            probing: Probing::default(),
            again: Again::Never,
            key: Id::default(),
            generation: 0,
            evidence: Timestamp::ZERO,
            done: Timestamp::ZERO,
            since: Timestamp::ZERO,
            applies_before: 0,
            renewing: false,
            wider: Vec::new(),
            news: None,
            about: None,
        }
    }

    /// Moves to a state and waits for nothing.
    pub fn end(&mut self, desk: &mut Desk<'_>, to: PlanState, why: &str) {
        self.finish(desk, to, why, None);
    }

    /// Moves to a state with a receipt and waits for nothing, or for the end of the restriction.
    pub fn finish(&mut self, desk: &mut Desk<'_>, to: PlanState, why: &str, receipt: Option<Receipt>) {
        self.write(desk, to, why, None, receipt);
        let stands = matches!(to, PlanState::Verified | PlanState::Escalated) && self.applies > 0;
        (self.wait, self.due) = match self.plan.expires {
            Some(expires) if stands && self.taking_back.is_none() => (Wait::Expiry, Some(expires)),
            _ => (Wait::End, None),
        };
        desk.guard.settled(&self.plan, to, !self.approvals.is_empty());
        if to == PlanState::Verified && self.plan.reach != Reach::Notify {
            self.news = Some(Occasion::Held);
        }
    }

    /// Moves to a state on the way to the next one.
    pub fn pass(&mut self, desk: &mut Desk<'_>, to: PlanState, why: &str) {
        self.write(desk, to, why, None, None);
    }

    /// Moves to escaped, whose receipt says that the action did not help.
    pub fn note_escape(&mut self, desk: &mut Desk<'_>, why: &str, receipt: Option<Receipt>) {
        self.write(desk, PlanState::Escaped, why, None, receipt);
    }

    /// Moves to a state with an order, and waits for the reply.
    pub fn order(&mut self, desk: &mut Desk<'_>, to: PlanState, why: &str, order: Order) {
        let asked = match &order {
            Order::Read { .. } => Asked::Read,
            Order::Apply { .. } => Asked::Apply,
            Order::Probe { .. } => Asked::Probe,
            Order::Undo { .. } => Asked::Undo,
        };
        self.wait = Wait::Reply { asked, sequence: self.sequence };
        let from = match &order {
            Order::Probe { not_before, .. } => *not_before.max(&desk.now),
            _ => desk.now,
        };
        self.due = Some(from.plus_ms(desk.config.reply_wait_ms));
        self.write(desk, to, why, Some(order), None);
    }

    /// Writes something down without moving; what the plan waits for stays.
    pub fn note(&mut self, desk: &mut Desk<'_>, why: &str) {
        if let Some(state) = self.state {
            self.write(desk, state, why, None, None);
        }
    }

    pub fn read_order(&self) -> Order {
        Order::Read { reads: self.reads.clone() }
    }

    /// The receipt of the plan in state `to`; none for what only tells somebody.
    pub fn receipt(&self, desk: &Desk<'_>, to: PlanState, success: bool, message: &str) -> Option<Receipt> {
        if self.plan.reach == Reach::Notify {
            return None;
        }
        let undone = matches!(to, PlanState::RolledBack | PlanState::Expired);
        let tactic = if undone { RESTORE } else { desk.action.tactic() };
        let mut receipt = Receipt::of(&self.plan, to, tactic, if success { 1 } else { 2 }, desk.now);
        receipt.message = message.to_owned();
        receipt.prunella.last_accepted = self.probing.last_accepted;
        let ingested = Some(self.plan.marks.ingested).filter(|at| *at != Timestamp::ZERO);
        receipt.prunella.latency.last_accepted_ms =
            self.probing.last_accepted.zip(ingested).map(|(last, from)| last.since_ms(from));
        Some(receipt)
    }

    /// The receipt of a plan whose steps were seen to hold.
    pub fn proof(&self, desk: &Desk<'_>, kind: EvidenceKind, detail: &str, message: &str) -> Option<Receipt> {
        let mut receipt = self.receipt(desk, PlanState::Verified, true, message)?;
        receipt.prunella.evidence = Some(kind);
        receipt.prunella.contained = kind == EvidenceKind::RefusedCall;
        receipt.prunella.evidence_detail = detail.to_owned();
        Some(receipt)
    }

    /// Makes the steps, now that the state of the targets is known, and asks the guard.
    pub fn decide(&mut self, desk: &mut Desk<'_>, states: &[TargetState], remark: &str) {
        let Some(finding) = &self.finding else { return };
        let case = Case {
            finding,
            target: &self.target,
            plan_uid: self.plan.uid,
            incident: self.plan.incident,
            now: self.plan.created,
            restriction_ms: desk.config.restriction_ms,
            suppressed: self.suppressed,
            about: self.about.as_ref().map(|(occasion, plan)| (*occasion, plan.as_ref())),
        };
        let steps = match desk.action.plan(&case, states) {
            Ok(steps) => steps,
            Err(why) => return self.end(desk, PlanState::Refused, &format!("it does not apply: {}", why.0)),
        };
        self.plan.marks.planned = desk.now;
        (self.plan.steps, self.plan.undo) = (steps.steps, steps.undo);
        if !self.plan.undo.is_empty() {
            self.plan.expires = Some(desk.now.plus_ms(desk.config.restriction_ms));
        }
        self.plan.digest = digest(&self.plan);
        if let Some(why) = self.fault() {
            return self.end(desk, PlanState::Refused, &why);
        }
        if self.plan.mode <= Mode::DryRun {
            self.again = Again::IfFurther;
            return self.end(
                desk,
                PlanState::DryRun,
                &format!("mode dry-run{remark}: this is what would be done"),
            );
        }
        self.ask_guard(desk);
    }

    /// What is wrong with the steps. An empty set must never mean "everything".
    fn fault(&self) -> Option<String> {
        let steps = || self.plan.steps.iter().chain(&self.plan.undo);
        if self.plan.steps.is_empty() {
            return Some("the action has no steps".to_owned());
        }
        if steps().count() > STEPS_MAX {
            return Some(format!("the action has more than {STEPS_MAX} steps"));
        }
        if self.reads.is_empty() && !self.plan.undo.is_empty() {
            return Some(
                "the action can be taken back but reads nothing: what to restore is not known".to_owned(),
            );
        }
        steps().find_map(|s| target_fault(self.plan.reach, &s.target)).map(str::to_owned)
    }

    /// Goes ahead, waits for a person, or is refused.
    pub fn ask_guard(&mut self, desk: &mut Desk<'_>) {
        match desk.guard.verdict(desk.config, &self.plan, desk.now) {
            Verdict::Allow => {
                let why = format!("mode auto: playbook {} lets it act by itself", self.plan.playbook);
                self.approve(desk, &why);
            }
            Verdict::Ask { persons, why } => {
                self.persons = self.persons.max(persons);
                self.hold(desk, &why);
            }
            Verdict::Refuse(why) => {
                self.again = Again::Always;
                self.end(desk, PlanState::Refused, &why);
            }
        }
    }

    /// Waits for a person.
    pub fn hold(&mut self, desk: &mut Desk<'_>, why: &str) {
        if desk.pending >= PENDING_MAX && self.applies == 0 {
            self.again = Again::Always;
            return self.end(
                desk,
                PlanState::Refused,
                &format!("{why}; and {PENDING_MAX} plans wait for a person already"),
            );
        }
        self.approvals.clear();
        self.write(desk, PlanState::AwaitingApproval, why, None, None);
        self.wait = Wait::Approval;
        self.due = (!desk.guard.engaged).then(|| desk.now.plus_ms(desk.config.approval_ms));
        if self.plan.reach != Reach::Notify {
            self.news = Some(Occasion::Asked);
        }
    }

    /// Lets it act: the first order to apply counts against the budgets, a repeat under the same key does not.
    pub fn approve(&mut self, desk: &mut Desk<'_>, why: &str) {
        if self.applies == 0 || self.renewing {
            self.renewing = false;
            desk.guard.spend(desk.config, &self.plan, desk.now);
            let until = desk.now.plus_ms(desk.config.restriction_ms);
            desk.action.renew(&mut self.plan.steps, self.evidence, until);
            self.done = self.evidence;
        }
        self.applies += 1;
        let order = Order::Apply { steps: self.plan.steps.clone(), key: self.plan.action_key };
        self.order(desk, PlanState::Approved, why, order);
    }

    /// Sends the steps again, with their instants moved to the newest evidence, under a key of their own: the attacker is
    /// back with something that they did not reach.
    pub fn renew(&mut self, desk: &mut Desk<'_>, why: &str) {
        self.generation += 1;
        self.plan.action_key = generation_key(self.key(), self.generation);
        (self.renewing, self.applies_before) = (true, self.applies);
        self.pass(desk, PlanState::Planned, why);
        self.ask_guard(desk);
    }

    pub fn may_renew(&self) -> bool {
        self.generation + 1 < GENERATIONS_MAX && self.plan.undo.is_empty() && self.plan.mode == Mode::Auto
    }

    pub fn key(&self) -> Id {
        if self.key == Id::default() { self.plan.action_key } else { self.key }
    }

    pub fn awaits_approval(&self) -> bool {
        self.wait == Wait::Approval
    }

    /// Another finding of the same incident. As long as nothing was sent it is newer evidence; afterwards only if it is about
    /// a session that what was sent does not reach.
    pub fn join(&mut self, desk: &Desk<'_>, finding: &Finding) {
        let finding_uid = finding.prunella.finding_uid;
        if self.plan.finding_uids.contains(&finding_uid) {
            return;
        }
        if self.done == Timestamp::ZERO || desk.action.returned(finding, self.done) {
            self.evidence = desk.now;
        }
        if self.plan.finding_uids.len() < FINDINGS_PER_PLAN_MAX {
            self.plan.finding_uids.push(finding_uid);
        }
    }

    /// A playbook that goes further than the one that opened the plan.
    pub fn raise(&mut self, desk: &mut Desk<'_>, mode: Mode, playbook: &str) {
        let waiting = self.awaits_approval();
        if mode <= self.plan.mode || !(waiting || self.state == Some(PlanState::Planned)) {
            return;
        }
        self.plan.mode = mode;
        self.plan.playbook = playbook.to_owned();
        if waiting && desk.guard.verdict(desk.config, &self.plan, desk.now) == Verdict::Allow {
            self.approve(
                desk,
                &format!("another finding of the incident: playbook {playbook} lets it act by itself"),
            );
        }
    }

    fn write(
        &mut self,
        desk: &mut Desk<'_>,
        to: PlanState,
        why: &str,
        order: Option<Order>,
        receipt: Option<Receipt>,
    ) {
        desk.sent.push(Transition {
            plan_uid: self.plan.uid,
            sequence: self.sequence,
            from: self.state,
            to,
            at: desk.now,
            why: why.to_owned(),
            plan: self.plan.clone(),
            order,
            receipt: receipt.map(Box::new),
        });
        self.sequence += 1;
        self.state = Some(to);
    }
}
