//! The stage: findings and commands in, transitions out.

use crate::actions::{Action, CATALOG, Occasion, TokensRevoke};
use crate::begin::{approve, open};
use crate::guard::Kept;
use crate::life::{Again, Desk, GENERATIONS_MAX, Live, Wait, generation_key};
use crate::memory::{Memory, PLANS_MAX};
use crate::playbook::Wanted;
use crate::{Config, Error, Playbooks};
use prunella_schemas::message::WireError;
use prunella_schemas::plan::{Marks, Mode, Plan, PlanState, Reach};
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{
    Command, Delivered, Finding, Id, Inbound, Message, Outbox, Stage, Tenant, Timestamp, Topic, Transition,
};
use std::sync::Arc;

/// Longest reason kept on a plan, in characters.
const REASON_CHARS_MAX: usize = 512;
/// Longest name of a person, in bytes.
const PERSON_BYTES_MAX: usize = 256;

/// What the stage reads.
#[derive(Clone, Debug)]
pub enum Input {
    Finding(Box<Finding>),
    Command(Box<Command>),
}

impl Inbound for Input {
    const TOPICS: &'static [Topic] = &[Topic::Findings, Topic::Commands];

    fn decode(topic: Topic, version: u8, bytes: &[u8]) -> Result<Self, WireError> {
        match topic {
            Topic::Findings => {
                <Finding as Message>::decode(version, bytes).map(|f| Input::Finding(Box::new(f)))
            }
            Topic::Commands => {
                <Command as Message>::decode(version, bytes).map(|c| Input::Command(Box::new(c)))
            }
            other => {
                let detail = "the response stage does not read this topic".to_owned();
                Err(WireError::Malformed { topic: other.name(), detail })
            }
        }
    }

    fn id(&self) -> Id {
        match self {
            Input::Finding(finding) => Message::id(finding.as_ref()),
            Input::Command(command) => Message::id(command.as_ref()),
        }
    }
}

/// The response stage.
pub struct Respond {
    config: Config,
    playbooks: Arc<Playbooks>,
    actions: Vec<&'static dyn Action>,
    memory: Memory,
}

impl Respond {
    /// A stage with the actions of the catalog.
    pub fn new(config: Config, playbooks: Playbooks) -> Result<Self, Error> {
        Respond::with_actions(config, playbooks, CATALOG.to_vec())
    }

    /// A stage with other actions. The order is the order of the plans for one finding.
    pub fn with_actions(
        config: Config,
        playbooks: Playbooks,
        actions: Vec<&'static dyn Action>,
    ) -> Result<Self, Error> {
        config.check(&actions)?;
        Ok(Respond { config, playbooks: Arc::new(playbooks), actions, memory: Memory::default() })
    }

    /// A stage as this one was made, without its memory.
    pub fn fresh(&self) -> Self {
        let (config, playbooks, actions) =
            (self.config.clone(), self.playbooks.clone(), self.actions.clone());
        Respond { config, playbooks, actions, memory: Memory::default() }
    }

    /// When the stage has something to do by itself. Once it has passed, the shell posts a `Command::Tick`.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.memory.next_due()
    }

    /// Whether the kill switch is engaged, as far as the log says.
    pub fn kill_switch(&self) -> bool {
        self.memory.guard.engaged
    }

    pub fn open_plans(&self) -> usize {
        self.memory.open_plans()
    }

    fn take(&mut self, input: &Delivered<Input>, sent: &mut Vec<Transition>) {
        let at = match &input.message {
            Input::Finding(_) => input.at,
            Input::Command(command) => command.at().min(input.at),
        };
        self.memory.now = self.memory.now.max(at);
        self.fire_due(sent);
        match &input.message {
            Input::Finding(finding) => self.finding(finding, input.origin, input.at, sent),
            Input::Command(command) => self.command(command, sent),
        }
        self.fire_due(sent);
        self.memory.guard.prune(&self.config, self.memory.now);
        self.memory.forget();
    }

    fn fire_due(&mut self, sent: &mut Vec<Transition>) {
        while let Some(id) = self.memory.first_due() {
            self.with(id, sent, |live, desk| match live.wait {
                Wait::Reply { .. } => live.unanswered(desk),
                Wait::Retry => live.retry_read(desk),
                Wait::Approval => live.end(desk, PlanState::Expired, "nobody approved it in time"),
                Wait::Expiry => live.expire(desk),
                Wait::Release => live.take_back(desk),
                Wait::End => {}
            });
        }
        while let Some(Kept { finding, origin, at, .. }) = self.memory.guard.take_due_notice(self.memory.now)
        {
            self.finding_for(&finding, origin, at, |action| action.reach() == Reach::Notify, sent);
        }
    }

    fn finding(&mut self, finding: &Finding, origin: Timestamp, at: Timestamp, sent: &mut Vec<Transition>) {
        self.finding_for(finding, origin, at, |_| true, sent);
    }

    fn finding_for(
        &mut self,
        finding: &Finding,
        origin: Timestamp,
        at: Timestamp,
        only: impl Fn(&dyn Action) -> bool,
        sent: &mut Vec<Transition>,
    ) {
        let playbooks = Arc::clone(&self.playbooks);
        let mut wanted = playbooks.wanted(finding, &self.actions);
        wanted.retain(|w| w.action.occasions().contains(&Occasion::Found) && only(w.action));
        if !wanted.is_empty() {
            let (incident, since) =
                self.memory.incident(finding, self.config.incident_gap_ms, self.config.incident_ms_max);
            let seen = Some(finding.finding_info.first_seen_time).filter(|first| *first > Timestamp::ZERO);
            let since = seen.map_or(since, |first| since.min(first));
            let marks = Marks { provider: finding.time, ingested: origin, detected: at, ..Marks::default() };
            let case = Circumstances { incident, since, marks, by: "", about: None };
            for wanted in &wanted {
                for target in wanted.action.targets(finding, &self.config) {
                    self.want(finding, wanted, &target, &case, sent);
                }
            }
        }
    }

    /// Tells whoever the playbooks name what has become of a plan.
    fn tell(&mut self, live: &Live, occasion: Occasion, sent: &mut Vec<Transition>) {
        let Some(finding) = &live.finding else { return };
        let playbooks = Arc::clone(&self.playbooks);
        let mut wanted = playbooks.wanted(finding, &self.actions);
        wanted.retain(|w| w.action.occasions().contains(&occasion) && w.action.reach() == Reach::Notify);
        let Marks { provider, ingested, detected, .. } = live.plan.marks;
        let marks = Marks { provider, ingested, detected, ..Marks::default() };
        let about = Some((occasion, live));
        let case = Circumstances { incident: live.plan.incident, since: live.since, marks, by: "", about };
        for wanted in &wanted {
            for target in wanted.action.targets(finding, &self.config) {
                self.want(finding, wanted, &target, &case, sent);
            }
        }
    }

    /// One action on one target for one finding: joins the plan there is, or opens one.
    fn want(
        &mut self,
        f: &Finding,
        wanted: &Wanted<'_>,
        target: &str,
        case: &Circumstances<'_>,
        sent: &mut Vec<Transition>,
    ) {
        let action = wanted.action;
        let mode = match action.reach() {
            Reach::Notify => wanted.mode,
            Reach::Principal | Reach::Tenant => wanted.mode.min(self.config.mode_max),
        };
        let parts = [f.tenant(), target, action.name()].map(str::as_bytes);
        let mut key = Id::derive("action", &[parts[0], parts[1], parts[2], &case.incident.0]);
        if let Some((_, live)) = case.about {
            key = Id::derive("action about", &[&key.0, &live.plan.uid.0, &live.sequence.to_le_bytes()]);
        }
        let mut generation = 0;
        if let Some(seen) = self.memory.seen(key) {
            if seen.open {
                return self.with(seen.plan, sent, |live, desk| {
                    live.join(desk, f);
                    live.raise(desk, mode, wanted.playbook);
                });
            }
            let by_hand = !case.by.is_empty();
            let is_back = seen.done != Timestamp::ZERO && action.returned(f, seen.done);
            generation = seen.generation + u32::from(is_back || by_hand);
            let allowed = match seen.again {
                _ if is_back || by_hand => generation < GENERATIONS_MAX,
                Again::Never => false,
                Again::IfFurther => mode > seen.mode,
                Again::Always => true,
            };
            if !allowed {
                return;
            }
        }
        // How many plans hold is bounded by their own budgets; how many ask is not.
        if action.reach() == Reach::Notify
            && !matches!(case.about, Some((Occasion::Held, _)))
            && !self.memory.guard.may_notify(&self.config, f, case.marks.ingested, self.memory.now)
        {
            return;
        }
        let plan = self.plan(f, action, mode, wanted.playbook, generation_key(key, generation), case);
        let mut live = Live::new(plan, target.to_owned(), Box::new(f.clone()));
        (live.key, live.generation) = (key, generation);
        (live.evidence, live.since) = (self.memory.now, case.since);
        live.about = case.about.map(|(occasion, live)| (occasion, Box::new(live.plan.clone())));
        if action.reach() == Reach::Notify {
            live.suppressed = self.memory.guard.take_suppressed(f.tenant());
        }
        let full = self.memory.open_plans() >= PLANS_MAX;
        let bad_tenant = Tenant::try_from(f.tenant().to_owned()).is_err();
        let mut desk = desk(&self.config, action, &mut self.memory, sent);
        open(&mut live, &mut desk, full, bad_tenant);
        live.about = None;
        self.put(live, sent);
    }

    /// Keeps a plan that has moved, and does what its move calls for elsewhere.
    fn put(&mut self, mut live: Live, sent: &mut Vec<Transition>) {
        let (wider, news) = (std::mem::take(&mut live.wider), live.news.take());
        let moved = (!wider.is_empty() || news.is_some()).then(|| live.clone());
        self.memory.put(live);
        let Some(live) = moved else { return };
        if !wider.is_empty() {
            self.follow(&live, &wider, sent);
        }
        if let Some(occasion) = news {
            self.tell(&live, occasion, sent);
        }
    }

    fn plan(
        &self,
        f: &Finding,
        action: &dyn Action,
        mode: Mode,
        playbook: &str,
        key: Id,
        case: &Circumstances<'_>,
    ) -> Plan {
        let now = self.memory.now;
        let opened_by = f.prunella.finding_uid;
        let uid = Id::derive("plan", &[&key.0, &opened_by.0, playbook.as_bytes(), &now.0.to_le_bytes()]);
        let horizon = self.config.horizons_ms.get(action.name()).copied().or(action.horizon_ms());
        let message: String = f.message.chars().take(REASON_CHARS_MAX).collect();
        Plan {
            uid,
            action_key: key,
            tenant: Tenant::try_from(f.tenant().to_owned()).unwrap_or_default(),
            principal: f.principal().to_owned(),
            incident: case.incident,
            playbook: playbook.to_owned(),
            action: action.name().to_owned(),
            reach: action.reach(),
            mode,
            finding_uids: vec![opened_by],
            reason: format!("{message} (severity {}, risk {} of 100)", f.severity, f.risk_score),
            steps: Vec::new(),
            undo: Vec::new(),
            horizon_ms: horizon.unwrap_or(0),
            created: now,
            expires: None,
            marks: case.marks,
            digest: Id::default(),
            proposed_by: case.by.to_owned(),
        }
    }

    fn command(&mut self, command: &Command, sent: &mut Vec<Transition>) {
        match command {
            Command::Approve { tenant, plan_uid, by, digest, .. } => {
                self.by_person(tenant, *plan_uid, by, sent, |live, desk, by| {
                    approve(live, desk, by, *digest);
                });
            }
            Command::Reject { tenant, plan_uid, by, .. } => {
                self.by_person(tenant, *plan_uid, by, sent, |live, desk, by| {
                    if live.awaits_approval() {
                        live.end(desk, PlanState::Rejected, &format!("rejected by {by}"));
                    }
                });
            }
            Command::RollBack { tenant, plan_uid, by, .. } => {
                self.by_person(tenant, *plan_uid, by, sent, |live, desk, by| live.roll_back(desk, by));
            }
            Command::KillSwitch { engaged, .. } => self.switch(*engaged, sent),
            Command::Reply { plan_uid, sequence, reply, .. } => {
                self.with(*plan_uid, sent, |live, desk| live.replied(desk, *sequence, reply.clone()));
            }
            Command::Respond { tenant, finding, playbook, by, .. } => {
                if finding.tenant() == tenant.as_str() {
                    self.by_hand(finding, playbook, by, sent);
                }
            }
            Command::Census { principals, .. } => self.memory.guard.count(principals),
            Command::Tick { .. } => {}
        }
    }

    /// A person wants what a playbook does, whether it matches or not. Whatever the playbook may do by itself, somebody
    /// else approves; only to be told needs nobody.
    fn by_hand(&mut self, finding: &Finding, playbook: &str, by: &str, sent: &mut Vec<Transition>) {
        let by = by.trim();
        if by.is_empty() || by.len() > PERSON_BYTES_MAX {
            return;
        }
        let playbooks = Arc::clone(&self.playbooks);
        let (gap_ms, ms_max) = (self.config.incident_gap_ms, self.config.incident_ms_max);
        let mut wanted = playbooks.of(playbook, &self.actions);
        wanted.retain(|w| w.action.occasions().contains(&Occasion::Found));
        if !wanted.is_empty() {
            let (incident, since) = self.memory.incident(finding, gap_ms, ms_max);
            let now = self.memory.now;
            let marks = Marks { provider: finding.time, ingested: now, detected: now, ..Marks::default() };
            let case = Circumstances { incident, since, marks, by, about: None };
            for wanted in &wanted {
                let mode = match wanted.action.reach() {
                    Reach::Notify => wanted.mode.max(Mode::Approve),
                    _ => Mode::Approve,
                };
                let wanted = Wanted { mode, ..*wanted };
                for target in wanted.action.targets(finding, &self.config) {
                    self.want(finding, &wanted, &target, &case, sent);
                }
            }
        }
    }

    /// What waits keeps waiting while the switch is engaged; on release it has its full time again.
    fn switch(&mut self, engaged: bool, sent: &mut Vec<Transition>) {
        if self.memory.guard.engaged == engaged {
            return;
        }
        self.memory.guard.engaged = engaged;
        for id in self.memory.plan_ids() {
            self.with(id, sent, |live, desk| match live.wait {
                Wait::Approval if engaged => live.due = None,
                Wait::Approval => live.due = Some(desk.now.plus_ms(desk.config.approval_ms)),
                Wait::Release if engaged => live.due = None,
                Wait::Release => live.take_back(desk),
                _ => {}
            });
        }
    }

    /// Runs a person's command on a plan of their tenant.
    fn by_person(
        &mut self,
        tenant: &Tenant,
        id: Id,
        by: &str,
        sent: &mut Vec<Transition>,
        run: impl FnOnce(&mut Live, &mut Desk<'_>, &str),
    ) {
        let by = by.trim();
        if by.is_empty() || by.len() > PERSON_BYTES_MAX {
            return;
        }
        self.with(id, sent, |live, desk| {
            if live.plan.tenant == *tenant {
                run(live, desk, by);
            }
        });
    }

    /// Runs something on an open plan, if there is one.
    fn with(&mut self, id: Id, sent: &mut Vec<Transition>, run: impl FnOnce(&mut Live, &mut Desk<'_>)) {
        let Some(mut live) = self.memory.take(id) else { return };
        match self.actions.iter().find(|a| a.name() == live.plan.action).copied() {
            Some(action) => run(&mut live, &mut desk(&self.config, action, &mut self.memory, sent)),
            None => {
                // A snapshot of a build that knew more actions. The plan cannot go on; a person must know.
                let mut desk = desk(&self.config, &TokensRevoke, &mut self.memory, sent);
                live.end(&mut desk, PlanState::Escalated, "this build does not know the action");
                live.wait = Wait::End;
            }
        }
        self.put(live, sent);
    }

    /// Takes the action of a plan on principals whose credentials the attacker made, in the same incident.
    fn follow(&mut self, live: &Live, principals: &[String], sent: &mut Vec<Transition>) {
        let action = self.actions.iter().find(|a| a.name() == live.plan.action).copied();
        let (Some(action), Some(finding)) = (action, &live.finding) else { return };
        let wanted = Wanted { action, mode: live.plan.mode, playbook: &live.plan.playbook };
        let marks = Marks { planned: Timestamp::ZERO, applied: Timestamp::ZERO, ..live.plan.marks };
        let case =
            Circumstances { incident: live.plan.incident, since: live.since, marks, by: "", about: None };
        for successor in principals {
            let mut finding = finding.as_ref().clone();
            // A provider that was asked may name the credential that was made, too.
            let (principal, credential) = match successor.split_once('#') {
                Some((principal, credential)) => (principal, Some(credential)),
                None => (successor.as_str(), None),
            };
            principal.clone_into(&mut finding.prunella.principal);
            let users = finding.evidences.iter_mut().filter_map(|e| e.actor.as_mut()?.user.as_mut());
            if let Some(credential) = credential {
                users.for_each(|user| user.credential_uid = Some(credential.to_owned()));
            }
            for target in action.targets(&finding, &self.config) {
                self.want(&finding, &wanted, &target, &case, sent);
            }
        }
    }
}

/// What a plan is made in.
struct Circumstances<'a> {
    incident: Id,
    /// When the incident began, by event time.
    since: Timestamp,
    marks: Marks,
    /// The person who asked for it by hand; empty: a playbook did.
    by: &'a str,
    /// What has become of which plan, when it is that what is told.
    about: Option<(Occasion, &'a Live)>,
}

fn desk<'a>(
    config: &'a Config,
    action: &'static dyn Action,
    memory: &'a mut Memory,
    sent: &'a mut Vec<Transition>,
) -> Desk<'a> {
    Desk { config, action, now: memory.now, pending: memory.pending, guard: &mut memory.guard, sent }
}

impl Stage for Respond {
    type In = Input;

    fn name(&self) -> &'static str {
        "respond"
    }

    fn step(&mut self, batch: &[Delivered<Input>], out: &mut Outbox) {
        let mut sent = Vec::new();
        for input in batch {
            self.take(input, &mut sent);
            for transition in sent.drain(..) {
                // Latency counts from the finding's first cause, also where a reply or a tick made the transition.
                out.originating(transition.plan.marks.ingested);
                out.push(&transition);
            }
        }
    }

    fn save(&self) -> Vec<u8> {
        self.memory.save()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        self.memory = Memory::read(self.name(), snapshot)?;
        Ok(())
    }
}
