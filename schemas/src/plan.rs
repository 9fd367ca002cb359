//! Plan: what we mean to do, the verdict, and the way back; and the messages that carry a plan through its states.

use crate::receipt::Receipt;
use crate::{Id, Message, Tenant, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a playbook may go by itself. A playbook climbs one rung at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Record that it would have matched.
    Observe,
    /// Make the plan and do nothing.
    #[default]
    DryRun,
    /// Wait for a person to sign the plan's id.
    Approve,
    /// Act at once.
    Auto,
}

/// How much an action can reach when it goes wrong. Budgets count disruptive plans only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Tells somebody; changes nothing.
    #[default]
    Notify,
    /// Changes what one principal can do.
    Principal,
    /// Changes what many principals can do.
    Tenant,
}

/// One set-state call: it says what shall hold afterwards, never what to toggle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Which effector carries it out: `prunella`, `webhook`, `aws`, ...
    pub provider: String,
    /// Such as `tokens.set_not_before`.
    pub operation: String,
    /// What it acts on: never empty, never a wildcard.
    pub target: String,
    pub desired: serde_json::Value,
    /// The state found before, so that it can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<serde_json::Value>,
}

impl Step {
    /// Whether what was found has everything that the step desires. It may say more: what a step does not speak of, it does
    /// not set.
    pub fn is_met_by(&self, found: &serde_json::Value) -> bool {
        let Some(desired) = self.desired.as_object() else { return false };
        !desired.is_empty() && desired.iter().all(|(part, value)| found.get(part) == Some(value))
    }

    /// The parts of a state that the step speaks of.
    pub fn spoken_of(&self, state: &serde_json::Value) -> serde_json::Value {
        let parts = self.desired.as_object().into_iter().flat_map(serde_json::Map::keys);
        let kept = parts.filter_map(|part| Some((part.clone(), state.get(part)?.clone())));
        serde_json::Value::Object(kept.collect())
    }
}

/// A question to a provider: the state of one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Read {
    pub provider: String,
    pub operation: String,
    pub target: String,
}

/// The answer to a `Read`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetState {
    pub provider: String,
    pub target: String,
    pub value: serde_json::Value,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// blake3-128 over everything below that decides what would be done.
    pub uid: Id,
    /// blake3-128(tenant, target, kind, incident): ten findings, one action.
    pub action_key: Id,
    pub tenant: Tenant,
    pub principal: String,
    pub incident: Id,
    pub playbook: String,
    /// The action's name, such as `tokens.revoke`.
    pub action: String,
    pub reach: Reach,
    pub mode: Mode,
    /// The finding that opened it, and those that joined.
    pub finding_uids: Vec<Id>,
    /// Why, for people: the finding's message and risk.
    pub reason: String,
    pub steps: Vec<Step>,
    /// The steps that take it back. Empty when nothing needs taking back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<Step>,
    /// How long the provider may take to enforce the change, in milliseconds.
    pub horizon_ms: i64,
    pub created: Timestamp,
    /// When a restriction ends by itself. `None`: it restricts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Wall-clock marks for the receipt's latency budget.
    pub marks: Marks,
    /// What a person approves: blake3-128 over the id, the steps as planned with the state found before, and the way back.
    /// All zeros until the steps are known. An instant in the steps may move forward to newer evidence without changing it.
    #[serde(default)]
    pub digest: Id,
    /// The person who asked for it by hand; they may not approve it. Empty: a playbook did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub proposed_by: String,
}

/// When each thing happened, for the latency budget. Zero: not yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Marks {
    /// When the provider says the last event of the evidence happened.
    pub provider: Timestamp,
    /// When that event became durable at intake.
    pub ingested: Timestamp,
    /// When the finding became durable.
    pub detected: Timestamp,
    pub planned: Timestamp,
    pub applied: Timestamp,
    pub verified: Timestamp,
}

/// `planned -> approved|auto -> applied -> propagating -> verified | escaped -> escalated -> expired | rolled back`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Mode observe: it would have matched.
    Observed,
    /// Mode dry-run: the plan, recorded; nothing is done.
    DryRun,
    /// The guard refused it: budget, protected principal, kill switch, empty target.
    Refused,
    /// Made; its steps are known.
    Planned,
    AwaitingApproval,
    /// Allowed to act, by a person or by mode auto. The ledger holds this before any step is sent.
    Approved,
    Rejected,
    Applied,
    /// The effector does not know whether the step took effect; the provider is being asked.
    Unknown,
    Failed,
    /// Applied; being probed until the horizon.
    Propagating,
    Verified,
    /// The attacker was still accepted after the horizon.
    Escaped,
    /// Handed to a person.
    Escalated,
    Expired,
    RolledBack,
    /// The target is not as it was when planned, or not as we left it: it stays as somebody else made it.
    Conflict,
}

impl PlanState {
    /// Whether nothing more happens to the plan by itself. A verified restriction still expires.
    pub fn is_final(self) -> bool {
        use PlanState::*;
        matches!(
            self,
            Observed | DryRun | Refused | Rejected | Failed | Escalated | Expired | RolledBack | Conflict
        )
    }
}

/// What the response stage asks the shell to do. The shell writes the transition to the ledger first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Ask the provider for the state of targets.
    Read { reads: Vec<Read> },
    /// Carry out the steps. The key makes a repeat harmless.
    Apply { steps: Vec<Step>, key: Id },
    /// Ask whether the steps held, not before `not_before`.
    Probe {
        steps: Vec<Step>,
        principal: String,
        applied: Timestamp,
        not_before: Timestamp,
        /// When the incident began, by event time: credentials made since then count as the attacker's. Zero: do not look.
        #[serde(default)]
        since: Timestamp,
        /// Principals with such credentials that were dealt with.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        known: Vec<String>,
    },
    /// Take the steps back.
    Undo { steps: Vec<Step>, key: Id },
}

/// One move of one plan: a durable ledger entry, and what to do next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Transition {
    pub plan_uid: Id,
    /// 0, 1, 2, ... per plan.
    pub sequence: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PlanState>,
    pub to: PlanState,
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
    /// The plan as it is now.
    pub plan: Plan,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The receipt to sign, at the end of the road. The ledger completes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Box<Receipt>>,
}

impl Message for Transition {
    const TOPIC: Topic = Topic::Plans;
    const VERSION: u8 = 1;

    fn id(&self) -> Id {
        Id::derive("transition", &[&self.plan_uid.0, &self.sequence.to_le_bytes()])
    }

    /// A tenant's plans are one stream: they share budgets, and one ledger.
    fn key(&self) -> &str {
        self.plan.tenant.as_str()
    }
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Done {
        detail: String,
    },
    /// The call may or may not have taken effect: the provider must be read.
    Unknown {
        detail: String,
    },
    Failed {
        detail: String,
    },
    /// Nothing was done: the target is not in the state that the step was planned on.
    Conflict {
        detail: String,
    },
}

/// What kind of proof stands behind "it held". Only the first is called contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// The target refused the attacker.
    RefusedCall,
    /// The setting stands.
    ConfigurationRead,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "probe", rename_all = "snake_case")]
pub enum Probe {
    Held {
        evidence: EvidenceKind,
        detail: String,
        last_accepted: Option<Timestamp>,
    },
    NotYet {
        detail: String,
    },
    /// What would show it cannot be read now, which says nothing about the change.
    Unseen {
        detail: String,
    },
    /// The principal was accepted after the change took effect.
    Escaped {
        detail: String,
        last_accepted: Option<Timestamp>,
        /// Who can act for the attacker now: principals for whom credentials were made since the incident began.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        successors: Vec<String>,
    },
}

/// What the shell reports about an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    State {
        states: Vec<TargetState>,
    },
    /// The provider could not be asked.
    Unreadable {
        detail: String,
    },
    Applied {
        outcomes: Vec<Outcome>,
    },
    Probed {
        probe: Probe,
    },
    Undone {
        outcomes: Vec<Outcome>,
    },
}

/// What reaches the response stage beside findings: operators, replies and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// A person signs a plan's id.
    Approve {
        tenant: Tenant,
        plan_uid: Id,
        by: String,
        at: Timestamp,
        /// The digest that was looked at; with another one the approval does not count. Absent: whatever stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Id>,
    },
    Reject {
        tenant: Tenant,
        plan_uid: Id,
        by: String,
        at: Timestamp,
    },
    RollBack {
        tenant: Tenant,
        plan_uid: Id,
        by: String,
        at: Timestamp,
    },
    /// Stops (`engaged`) or resumes every action.
    KillSwitch {
        engaged: bool,
        by: String,
        at: Timestamp,
    },
    /// The shell's report about the order that transition `sequence` carried.
    Reply {
        plan_uid: Id,
        sequence: u32,
        reply: Reply,
        at: Timestamp,
    },
    /// A person wants a playbook's actions taken about a finding, or about an event in the form of one.
    Respond {
        tenant: Tenant,
        finding: Box<crate::Finding>,
        playbook: String,
        by: String,
        at: Timestamp,
    },
    /// How many principals each tenant has, by its events: the guard's caps are parts of it.
    Census {
        principals: std::collections::BTreeMap<String, u64>,
        at: Timestamp,
    },
    /// Time passed. The shell posts one when the stage has something due.
    Tick {
        at: Timestamp,
    },
}

impl Command {
    /// Whose plans it is about, if it says.
    pub fn tenant(&self) -> Option<&Tenant> {
        match self {
            Command::Approve { tenant, .. }
            | Command::Reject { tenant, .. }
            | Command::RollBack { tenant, .. }
            | Command::Respond { tenant, .. } => Some(tenant),
            Command::KillSwitch { .. }
            | Command::Reply { .. }
            | Command::Census { .. }
            | Command::Tick { .. } => None,
        }
    }

    pub fn at(&self) -> Timestamp {
        match self {
            Command::Approve { at, .. }
            | Command::Reject { at, .. }
            | Command::RollBack { at, .. }
            | Command::KillSwitch { at, .. }
            | Command::Reply { at, .. }
            | Command::Respond { at, .. }
            | Command::Census { at, .. }
            | Command::Tick { at } => *at,
        }
    }
}

impl Message for Command {
    const TOPIC: Topic = Topic::Commands;
    const VERSION: u8 = 1;

    fn id(&self) -> Id {
        Id::derive("command", &[&serde_json::to_vec(self).unwrap_or_default()])
    }

    /// Commands of a tenant keep their order. What concerns every tenant, and a reply, which does not name its tenant, is
    /// keyed by whoever sends it where that makes a difference.
    fn key(&self) -> &str {
        self.tenant().map_or("commands", Tenant::as_str)
    }
}
