//! What a reply of the shell means to a plan: the read, the outcome of the steps, and the way back.

use crate::guard::{KILL_SWITCH_ENGAGED, span};
use crate::life::{Asked, Desk, Live, TakingBack, Wait};
use prunella_schemas::plan::{EvidenceKind, Mode, Order, Outcome, PlanState, Reply, Step, TargetState};

/// Most reads in a row without an answer before a person is asked.
const READS_MAX: u32 = 6;
/// Wait before the read after the first one that gave no answer; it doubles.
const READ_RETRY_MS: i64 = 1_000;
/// The same while the executor sees a kill switch that the log knows nothing of, such as the file.
const HELD_RETRY_MS: i64 = 10_000;
/// Most orders to apply one plan, all under one key.
const APPLIES_MAX: u32 = 5;
/// Most orders to take one plan back, all under one key.
const UNDOS_MAX: u32 = 5;

impl Live {
    /// Takes the reply to the order of transition `sequence`. A reply to an older order, or of another kind, is late: nothing
    /// happens.
    pub fn replied(&mut self, desk: &mut Desk<'_>, sequence: u32, reply: Reply) {
        let Wait::Reply { asked, sequence: open } = self.wait else { return };
        if sequence != open {
            return;
        }
        match (asked, reply) {
            (Asked::Read, Reply::State { states }) => self.read(desk, &states),
            (Asked::Read, Reply::Unreadable { detail }) => self.unreadable(desk, &detail),
            (Asked::Apply, Reply::Applied { outcomes }) => self.applied(desk, &outcomes),
            (Asked::Probe, Reply::Probed { probe }) => self.probed(desk, probe),
            (Asked::Undo, Reply::Undone { outcomes }) => self.undone(desk, &outcomes),
            _ => {}
        }
    }

    /// No reply came in time: as if the shell had said that it does not know.
    pub fn unanswered(&mut self, desk: &mut Desk<'_>) {
        let Wait::Reply { asked, .. } = self.wait else { return };
        let detail = format!("no answer within {}", span(desk.config.reply_wait_ms));
        match asked {
            Asked::Read => self.unreadable(desk, &detail),
            Asked::Apply => self.applied(desk, &[Outcome::Unknown { detail }]),
            Asked::Probe => self.probed(desk, prunella_schemas::plan::Probe::Unseen { detail }),
            Asked::Undo => self.undone(desk, &[Outcome::Unknown { detail }]),
        }
    }

    fn read(&mut self, desk: &mut Desk<'_>, states: &[TargetState]) {
        let answered = |r: &prunella_schemas::plan::Read| {
            states.iter().any(|s| s.provider == r.provider && s.target == r.target)
        };
        if !self.reads.iter().all(answered) {
            return self.unreadable(desk, "the answer leaves a target out");
        }
        self.unread = 0;
        if self.taking_back.is_some() {
            return self.back(desk, states);
        }
        match self.state {
            Some(PlanState::Planned) => self.decide(desk, states, ""),
            _ => self.settle(desk, states),
        }
    }

    fn unreadable(&mut self, desk: &mut Desk<'_>, detail: &str) {
        self.unread += 1;
        if self.unread < READS_MAX {
            self.wait = Wait::Retry;
            self.due = Some(desk.now.plus_ms(READ_RETRY_MS << (self.unread - 1).min(10)));
            return;
        }
        let planned = self.state == Some(PlanState::Planned);
        if planned && self.plan.mode <= Mode::DryRun {
            return self.decide(desk, &[], &format!(", and the state before is not known ({detail})"));
        }
        let done = if planned { "nothing was done" } else { "whether the step took effect is not known" };
        self.escalate(desk, &format!("the target could not be read {READS_MAX} times: {detail}; {done}"));
    }

    /// Asks again after a read that gave no answer.
    pub fn retry_read(&mut self, desk: &mut Desk<'_>) {
        let why = format!("the target could not be read; asking again ({} of {READS_MAX})", self.unread + 1);
        let state = self.state.unwrap_or(PlanState::Planned);
        self.order(desk, state, &why, self.read_order());
    }

    /// Decides an unknown outcome by what the provider says.
    fn settle(&mut self, desk: &mut Desk<'_>, states: &[TargetState]) {
        if self.all_stand(desk, &self.plan.steps, states) {
            self.took_effect(desk, "the provider was read: the step took effect");
        } else {
            self.apply_again(desk, "the provider was read: the step did not take effect");
        }
    }

    fn apply_again(&mut self, desk: &mut Desk<'_>, why: &str) {
        if desk.guard.engaged {
            return self.hold(desk, &format!("{why}; {KILL_SWITCH_ENGAGED}"));
        }
        if self.applies - self.applies_before >= APPLIES_MAX {
            return self.escalate(desk, &format!("{why}; it was tried {APPLIES_MAX} times"));
        }
        self.approve(desk, &format!("{why}; trying again under the same key"));
    }

    fn applied(&mut self, desk: &mut Desk<'_>, outcomes: &[Outcome]) {
        let tally = Tally::of(outcomes, self.plan.steps.len());
        if tally.held {
            if self.taking_back.is_some() {
                return self.take_back(desk);
            }
            // Whoever releases it later means from then on.
            self.renewing |= !tally.done;
            return self.hold(desk, &format!("{KILL_SWITCH_ENGAGED} before the step was sent"));
        }
        if tally.unknown {
            return self.unknown(desk, &tally.detail);
        }
        if tally.conflict && !tally.done {
            return self.conflict(
                desk,
                &format!("it was changed since it was planned, and stays so: {}", tally.detail),
            );
        }
        if (tally.failed || tally.conflict) && tally.done {
            return self.escalate(desk, &format!("only some of the steps took effect: {}", tally.detail));
        }
        if tally.failed {
            desk.guard.failed(desk.config, &self.plan, desk.now);
            let why = format!("the provider refused it: {}", tally.detail);
            let receipt = self.receipt(desk, PlanState::Failed, false, &why);
            return self.finish(desk, PlanState::Failed, &why, receipt);
        }
        self.took_effect(desk, &tally.detail);
    }

    fn unknown(&mut self, desk: &mut Desk<'_>, detail: &str) {
        let why = format!("whether it took effect is not known: {detail}");
        if self.reads.is_empty() {
            // Nothing to read means harmless to repeat: the key makes it one effect.
            self.pass(desk, PlanState::Unknown, &why);
            return self.apply_again(desk, "there is nothing to read");
        }
        self.order(desk, PlanState::Unknown, &format!("{why}; asking the provider"), self.read_order());
    }

    fn took_effect(&mut self, desk: &mut Desk<'_>, why: &str) {
        self.plan.marks.applied = desk.now;
        // A restriction lasts its full time, however long the approval took.
        self.plan.expires = self.plan.expires.map(|_| desk.now.plus_ms(desk.config.restriction_ms));
        let Some(_) = desk.action.horizon_ms() else {
            return self.end(desk, PlanState::Applied, why);
        };
        self.pass(desk, PlanState::Applied, why);
        if self.taking_back.is_some() {
            return self.take_back(desk);
        }
        self.propagate(desk);
    }

    pub fn escalate(&mut self, desk: &mut Desk<'_>, why: &str) {
        desk.guard.failed(desk.config, &self.plan, desk.now);
        let receipt = self.receipt(desk, PlanState::Escalated, false, why);
        self.finish(desk, PlanState::Escalated, why, receipt);
    }

    /// A person wants it taken back.
    pub fn roll_back(&mut self, desk: &mut Desk<'_>, by: &str) {
        if self.applies == 0 {
            return self.end(
                desk,
                PlanState::Rejected,
                &format!("taken back by {by} before anything was done"),
            );
        }
        if self.plan.undo.is_empty() {
            return self.note(desk, &format!("{by} wants it taken back: there is nothing to take back"));
        }
        if self.taking_back.as_ref().is_some_and(|t| t.by.is_some()) {
            return;
        }
        self.taking_back = Some(TakingBack { by: Some(by.to_owned()), undone: false });
        desk.guard.rolled_back(desk.config, &self.plan, desk.now);
        let sent = matches!(self.state, Some(PlanState::Approved | PlanState::Unknown));
        if sent && matches!(self.wait, Wait::Reply { .. } | Wait::Retry) {
            return self.note(desk, &format!("{by} wants it taken back: as soon as its outcome is known"));
        }
        self.take_back(desk);
    }

    /// The restriction ends.
    pub fn expire(&mut self, desk: &mut Desk<'_>) {
        self.taking_back = Some(TakingBack { by: None, undone: false });
        self.take_back(desk);
    }

    /// Reads first: what somebody else has changed since is left alone.
    pub fn take_back(&mut self, desk: &mut Desk<'_>) {
        if desk.guard.engaged {
            (self.wait, self.due) = (Wait::Release, None);
            return self.note(desk, &format!("held back: {KILL_SWITCH_ENGAGED} ({})", self.back_why()));
        }
        let state = self.state.unwrap_or(PlanState::Applied);
        if let Some(taking_back) = &mut self.taking_back {
            taking_back.undone = false;
        }
        let why = format!("{}: asking for the state first", self.back_why());
        self.order(desk, state, &why, self.read_order());
    }

    fn back(&mut self, desk: &mut Desk<'_>, states: &[TargetState]) {
        if self.all_stand(desk, &self.plan.undo, states) {
            return self.taken_back(desk, "the provider was read: it is as it was before");
        }
        if !self.all_stand(desk, &self.plan.steps, states) {
            return self.conflict(
                desk,
                "it is not as we left it: somebody else changed it since, and it stays as it is",
            );
        }
        if desk.guard.engaged {
            return self.take_back(desk);
        }
        if self.undos >= UNDOS_MAX {
            return self.escalate(desk, &format!("it could not be taken back {UNDOS_MAX} times"));
        }
        self.undos += 1;
        for step in &mut self.plan.undo {
            // What was read just now: the effector must find it so, or leave it.
            step.prior = crate::actions::state_of(states, &step.provider, &step.target).cloned();
        }
        let key = prunella_schemas::Id::derive("undo", &[&self.plan.action_key.0]);
        let order = Order::Undo { steps: self.plan.undo.clone(), key };
        let state = self.state.unwrap_or(PlanState::Applied);
        self.order(desk, state, &self.back_why(), order);
    }

    fn undone(&mut self, desk: &mut Desk<'_>, outcomes: &[Outcome]) {
        let tally = Tally::of(outcomes, self.plan.undo.len());
        if tally.held {
            (self.wait, self.due) = (Wait::Release, None);
            // It was not tried.
            self.undos = self.undos.saturating_sub(1);
            if !desk.guard.engaged {
                // The executor saw the switch before the log did, or it was released meanwhile.
                self.due = Some(desk.now.plus_ms(HELD_RETRY_MS));
            }
            return self.note(desk, &format!("held back: {KILL_SWITCH_ENGAGED} ({})", self.back_why()));
        }
        if tally.unknown {
            return self.take_back(desk);
        }
        if tally.conflict {
            return self
                .conflict(desk, &format!("somebody else changed it, and it stays so: {}", tally.detail));
        }
        if tally.failed {
            return self.escalate(desk, &format!("it could not be taken back: {}", tally.detail));
        }
        if let Some(taking_back) = &mut self.taking_back {
            taking_back.undone = true;
        }
        let state = self.state.unwrap_or(PlanState::Applied);
        let why = format!("{}: {}; reading whether it is as before", self.back_why(), tally.detail);
        self.order(desk, state, &why, self.read_order());
    }

    /// What somebody else has made of the target stays.
    fn conflict(&mut self, desk: &mut Desk<'_>, why: &str) {
        let receipt = self.receipt(desk, PlanState::Conflict, false, why);
        self.finish(desk, PlanState::Conflict, why, receipt);
    }

    fn taken_back(&mut self, desk: &mut Desk<'_>, detail: &str) {
        let by_person = self.taking_back.as_ref().is_some_and(|t| t.by.is_some());
        let to = if by_person { PlanState::RolledBack } else { PlanState::Expired };
        let why = format!("{}: {detail}", self.back_why());
        let mut receipt = self.receipt(desk, to, true, &why);
        if let Some(receipt) = &mut receipt {
            receipt.prunella.evidence = Some(EvidenceKind::ConfigurationRead);
            receipt.prunella.evidence_detail = detail.to_owned();
            receipt.prunella.steps.clone_from(&self.plan.undo);
        }
        self.finish(desk, to, &why, receipt);
    }

    fn back_why(&self) -> String {
        match self.taking_back.as_ref().and_then(|t| t.by.as_deref()) {
            Some(by) => format!("taken back by {by}"),
            None => "the restriction ends".to_owned(),
        }
    }

    fn all_stand(&self, desk: &Desk<'_>, steps: &[Step], states: &[TargetState]) -> bool {
        let stands = |step: &Step| {
            let found = crate::actions::state_of(states, &step.provider, &step.target);
            found.is_some_and(|found| desk.action.stands(step, found))
        };
        steps.iter().all(stands)
    }
}

/// The outcomes of all steps in one.
struct Tally {
    done: bool,
    failed: bool,
    unknown: bool,
    held: bool,
    conflict: bool,
    detail: String,
}

impl Tally {
    fn of(outcomes: &[Outcome], steps: usize) -> Self {
        // The executor stops at the first step that fails: what comes after it was not tried, and is not unknown.
        let stopped = matches!(outcomes.last(), Some(Outcome::Failed { .. } | Outcome::Conflict { .. }));
        let unknown = outcomes.len() < steps && !stopped;
        let mut tally = Tally {
            done: false,
            failed: false,
            unknown,
            held: false,
            conflict: false,
            detail: String::new(),
        };
        let mut details = Vec::new();
        for outcome in outcomes {
            let detail = match outcome {
                Outcome::Done { detail } => {
                    tally.done = true;
                    detail
                }
                Outcome::Unknown { detail } => {
                    tally.unknown = true;
                    detail
                }
                Outcome::Conflict { detail } => {
                    tally.conflict = true;
                    detail
                }
                Outcome::Failed { detail } if detail.starts_with(KILL_SWITCH_ENGAGED) => {
                    tally.held = true;
                    detail
                }
                Outcome::Failed { detail } => {
                    tally.failed = true;
                    detail
                }
            };
            details.push(detail.as_str());
        }
        tally.detail =
            if details.is_empty() { "no outcome was given".to_owned() } else { details.join("; ") };
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_add_up() {
        let done = || Outcome::Done { detail: "d".into() };
        let unknown = || Outcome::Unknown { detail: "u".into() };
        let failed = |detail: &str| Outcome::Failed { detail: detail.into() };
        let check = |outcomes: &[Outcome], want: [bool; 4]| {
            let tally = Tally::of(outcomes, 2);
            assert_eq!([tally.done, tally.failed, tally.unknown, tally.held], want, "{outcomes:?}");
        };
        check(&[done(), done()], [true, false, false, false]);
        check(&[], [false, false, true, false]);
        check(&[done()], [true, false, true, false]);
        check(&[unknown()], [false, false, true, false]);
        check(&[failed("no")], [false, true, false, false]);
        check(&[done(), failed("no")], [true, true, false, false]);
        check(&[done(), unknown()], [true, false, true, false]);
        check(&[failed(KILL_SWITCH_ENGAGED)], [false, false, false, true]);
    }
}
