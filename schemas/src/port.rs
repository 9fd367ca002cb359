//! The ports: what the shell implements so that stages, console and command line need not know which engine is behind.
//!
//! Async, but no runtime: each method returns a future and this crate never polls one.

use crate::plan::{Outcome, Probe, Read, TargetState};
use crate::{Command, DeadLetter, Event, Finding, Id, Receipt, Record, Step, Tenant, Timestamp, Transition};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the world did to us. Whose fault it is, and whether trying again helps, is in the variant.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PortError {
    /// The engine behind the port cannot be reached now; try again later.
    #[error("{0}")]
    Unavailable(String),
    /// The disk or a quota is full; nothing was changed.
    #[error("{0}")]
    Full(String),
    /// The request makes no sense to this port.
    #[error("{0}")]
    Invalid(String),
    /// What was stored is damaged or from another version.
    #[error("{0}")]
    Corrupt(String),
}

/// "Now", handed to whoever must not ask the machine.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A source as the configuration describes it. Each family of connectors has `open(Configured) -> Arc<dyn Source>`.
#[derive(Clone)]
pub struct Configured {
    /// Chosen by the operator; the cursor is kept under it.
    pub name: String,
    /// What it is, such as `aws.cloudtrail`. Records get the name of a translator, which may be another one.
    pub kind: String,
    pub tenant: Tenant,
    /// What this kind alone understands. An unknown key is an error.
    pub settings: serde_json::Value,
    pub clock: Clock,
}

/// Where a source stands: an opaque token of its own, at most [`CURSOR_BYTES_MAX`] long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(pub String);

/// Longest cursor that is kept, in bytes.
pub const CURSOR_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a source gave no page. Which variant it is says what the loop does about it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SourceError {
    /// We ask too often. The next try comes no sooner than `retry_after_ms`; 0 when the provider names no time.
    #[error("{detail}")]
    Throttled { detail: String, retry_after_ms: u64 },
    /// The provider cannot be reached or fails; it may work the next time.
    #[error("{0}")]
    Unavailable(String),
    /// The provider refuses us and goes on refusing until a person changes something: a permission, a credential, a
    /// region, a clock. Says what. Tried again, seldom.
    #[error("{0}")]
    Refused(String),
    /// The settings or the stored cursor make no sense.
    #[error("{0}")]
    Invalid(String),
}

/// What a source has for us, and the cursor after it.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Bodies as the source keeps them: a file of the provider, or lines. Intake takes them apart, so that what cannot be
    /// read is a dead letter and nothing else.
    pub bodies: Vec<Fetched>,
    pub next: Cursor,
    /// Nothing more for now.
    pub caught_up: bool,
    /// What is wrong with single pieces and stops nothing else: an object that may not be decrypted, a message that names
    /// no object, a file that the provider says it wrote and that is not there. One sentence each, for people.
    pub problems: Vec<String>,
    /// The provider's own account of what it wrote, where it gives one: how much of it was checked on this page.
    pub audited: Audited,
}

/// How many files the provider says it wrote, and how many of them were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Audited {
    pub written: u64,
    pub read: u64,
}

/// A body and when it reached which place, so that every delay has an owner.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    pub upload: Upload,
    /// When the provider made it available to us, if it says so.
    pub delivered: Option<Timestamp>,
    /// Up to when it tells, if that can be said without reading it: by its name, or by the provider's listing.
    pub newest: Option<Timestamp>,
}

/// What a dry check of a source found: nothing was read into the log, nothing was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checkup {
    pub steps: Vec<CheckStep>,
    /// The least that the source must be allowed, in the provider's own words (an IAM policy, a list of roles).
    pub policy: String,
}

impl Checkup {
    pub fn is_well(&self) -> bool {
        self.steps.iter().all(|step| step.problem.is_none())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckStep {
    /// What was tried, by the provider's name for it: `s3:ListBucket on arn:aws:s3:::trail`.
    pub what: String,
    /// Why it does not work and what to do about it; absent when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A system we listen to. The cursor moves only after the page is durable.
///
/// It keeps nothing that a restart must know: a page depends on the cursor and the provider alone. Reading a page twice
/// gives what is there twice, and repeats are dropped by the id of the record.
#[async_trait]
pub trait Source: Send + Sync {
    /// The instance, as the configuration names it. Its cursor is kept under this name.
    fn name(&self) -> &str;
    /// The next page, of at most about `INTAKE_BYTES_MAX` bytes of bodies, or one body that is larger.
    /// `Cursor::default()` starts at the beginning.
    async fn read(&self, cursor: &Cursor) -> Result<Page, SourceError>;
    /// Everything before `cursor` is durable: what the provider keeps only for us may go. May be called again, also by a
    /// later process.
    async fn acknowledge(&self, _cursor: &Cursor) -> Result<(), SourceError> {
        Ok(())
    }
    /// How long to wait after a page that caught up, in milliseconds, unless the operator says otherwise.
    fn every_ms(&self) -> u64 {
        60_000
    }
    /// Tests credentials and permissions, each by a call that changes nothing.
    async fn check(&self) -> Checkup;
}

/// A system we act on.
#[async_trait]
pub trait Effector: Send + Sync {
    /// The provider word that steps name: `prunella`, `webhook`, `aws`, ...
    fn provider(&self) -> &str;
    /// Whether it may carry out `operation`, asked at start-up rather than in an incident. `Err` says what is missing.
    async fn preflight(&self, _operation: &str) -> Result<(), PortError> {
        Ok(())
    }
    /// The target as it is now.
    async fn read(&self, tenant: &Tenant, what: &Read) -> Result<TargetState, PortError>;
    /// Makes the desired state hold. The same key twice is one effect.
    async fn apply(&self, tenant: &Tenant, step: &Step, key: Id) -> Outcome;
    /// Whether it held, and by which evidence.
    async fn probe(&self, tenant: &Tenant, step: &Step, principal: &str, applied: Timestamp) -> Probe;
}

/// A body given to intake, as it came over the wire.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// Name of the translator, such as `aws.cloudtrail`.
    pub source: String,
    pub tenant: Tenant,
    /// `application/x-ndjson`, `application/json`, `application/cloudevents+json`, `application/cloudevents-batch+json`.
    pub content_type: String,
    /// `gzip`, or empty.
    pub content_encoding: String,
    pub body: Vec<u8>,
    /// Where it came from, for people.
    pub origin: String,
    /// A file that a source of ours fetched: it may inflate as far as a file may, `DOCUMENT_BYTES_MAX`, where a request
    /// may not go beyond `INTAKE_BYTES_MAX`.
    pub is_file: bool,
}

/// Intake: acknowledged only when durable.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Takes a body apart, makes its records durable and says how many were new. What cannot be taken apart is a dead
    /// letter and counted as rejected.
    async fn accept(&self, upload: Upload) -> Result<Accepted, PortError>;
    /// Gives one record again, such as a dead letter to be replayed.
    async fn accept_record(&self, record: Record) -> Result<Accepted, PortError>;
    /// Makes an operator's command durable.
    async fn command(&self, command: Command) -> Result<(), PortError>;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// Records that were new and are durable now.
    pub accepted: u64,
    /// Records that were durable already.
    pub duplicates: u64,
    /// Pieces of the body that are not records; each is a dead letter.
    pub rejected: u64,
}

/// What the console asks for. Newest first; `before` pages on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Query {
    pub tenant: Option<String>,
    pub principal: Option<String>,
    pub operation: Option<String>,
    pub severity_min: Option<u8>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Page cursor: the `next` of the page before.
    pub before: Option<String>,
    /// At most `QUERY_ROWS_MAX`; 0 means 100.
    pub limit: u32,
}

/// Most rows a query returns.
pub const QUERY_ROWS_MAX: u32 = 1_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rows<T> {
    pub rows: Vec<T>,
    /// Give it as `before` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Rows { rows: Vec::new(), next: None }
    }
}

/// The numbers of the front page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dashboard {
    pub events: u64,
    pub findings: u64,
    pub receipts: u64,
    pub dead_letters: u64,
    /// Findings by severity caption.
    pub findings_by_severity: std::collections::BTreeMap<String, u64>,
    /// Findings by ATT&CK technique id.
    pub findings_by_technique: std::collections::BTreeMap<String, u64>,
    /// The riskiest principals now: `(principal, score)`, riskiest first.
    pub riskiest: Vec<(String, u8)>,
    /// Events per minute over the last hour of events, oldest first: `(minute, count)`.
    pub events_per_minute: Vec<(Timestamp, u64)>,
    pub plans_by_state: std::collections::BTreeMap<String, u64>,
    pub newest_event: Option<Timestamp>,
}

/// Events, findings, plans, receipts and dead letters, as people and probes ask for them.
#[async_trait]
pub trait Store: Send + Sync {
    async fn events(&self, query: &Query) -> Result<Rows<Event>, PortError>;
    async fn event(&self, uid: Id) -> Result<Option<Event>, PortError>;
    async fn findings(&self, query: &Query) -> Result<Rows<Finding>, PortError>;
    async fn finding(&self, uid: Id) -> Result<Option<Finding>, PortError>;
    /// The newest transition of each plan.
    async fn plans(&self, query: &Query) -> Result<Rows<Transition>, PortError>;
    /// Every transition of one plan, in order.
    async fn plan(&self, uid: Id) -> Result<Vec<Transition>, PortError>;
    async fn receipts(&self, query: &Query) -> Result<Rows<Receipt>, PortError>;
    async fn receipt(&self, uid: Id) -> Result<Option<Receipt>, PortError>;
    async fn dead_letters(&self, query: &Query) -> Result<Rows<DeadLetter>, PortError>;
    async fn dead_letter(&self, id: Id) -> Result<Option<DeadLetter>, PortError>;
    async fn dashboard(&self, tenant: Option<&str>) -> Result<Dashboard, PortError>;
}

/// The ledger as readers see it. Proofs are in the text forms of C2SP.
#[async_trait]
#[allow(clippy::len_without_is_empty, reason = "readers ask how long it is, never whether it has begun")]
pub trait LedgerView: Send + Sync {
    /// The newest signed checkpoint, as a C2SP signed note.
    async fn checkpoint(&self) -> Result<String, PortError>;
    /// The proof bundle of one receipt: JSON that `prunella ledger` and any offline verifier can check.
    async fn proof(&self, receipt: Id) -> Result<Option<serde_json::Value>, PortError>;
    async fn len(&self) -> Result<u64, PortError>;
}

/// From when on tokens of a principal are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenVersion {
    pub principal: String,
    /// Accept a token only if it was issued at or after this instant. 0: never revoked.
    pub not_before: Timestamp,
    /// Grows with every revocation.
    pub version: u64,
}

/// What applications must honour about an account beside its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountState {
    pub principal: String,
    /// Refuse every call before this instant. 0: not locked.
    pub locked_until: Timestamp,
    /// Refuse a session until it has shown a second factor at or after this instant. 0: no need.
    pub step_up_since: Timestamp,
    /// Sessions that are refused, by the id of their credential.
    pub refused_sessions: Vec<String>,
    /// Grows with every change.
    pub version: u64,
}

impl AccountState {
    /// What the settings of an account amount to.
    pub fn of<'a>(principal: &str, settings: impl IntoIterator<Item = (&'a String, &'a Setting)>) -> Self {
        let mut state = AccountState { principal: principal.to_owned(), ..AccountState::default() };
        for (name, setting) in settings {
            state.version += setting.version;
            match name.as_str() {
                LOCKED_UNTIL => state.locked_until = setting.value,
                STEP_UP_SINCE => state.step_up_since = setting.value,
                name => {
                    let session =
                        name.strip_prefix(SESSION_PREFIX).filter(|_| setting.value > Timestamp::ZERO);
                    state.refused_sessions.extend(session.map(str::to_owned));
                }
            }
        }
        state
    }
}

/// One thing that an account's state says, with a version of its own, so that two actions do not disturb each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// 0: as if it had never been set.
    pub value: Timestamp,
    pub version: u64,
}

/// Names of an account's settings. `session/<credential id>` names one session.
pub const LOCKED_UNTIL: &str = "locked_until";
pub const STEP_UP_SINCE: &str = "step_up_since";
pub const SESSION_PREFIX: &str = "session/";

/// Hot state: token versions and accounts. Never the truth; the ledger is.
#[async_trait]
pub trait State: Send + Sync {
    /// `Unavailable` while not loaded; never a made-up "not revoked".
    async fn token_version(&self, tenant: &Tenant, principal: &str) -> Result<TokenVersion, PortError>;
    /// Sets `not_before` to the later of what it is and `not_before`; grows `version` if that changed it. Durable on return.
    async fn revoke_tokens(
        &self,
        tenant: &Tenant,
        principal: &str,
        not_before: Timestamp,
    ) -> Result<TokenVersion, PortError>;
    /// `Unavailable` while not loaded; never a made-up "not locked".
    async fn account(&self, _: &Tenant, _: &str) -> Result<AccountState, PortError> {
        Err(PortError::Unavailable("this engine keeps no account states".into()))
    }
    async fn setting(&self, _: &Tenant, _: &str, _: &str) -> Result<Setting, PortError> {
        Err(PortError::Unavailable("this engine keeps no account states".into()))
    }
    /// Sets one setting if it still has version `expected`; answers what it is then. Durable on return. A setting that has
    /// the value already is left alone, whatever its version.
    async fn set(
        &self,
        _: &Tenant,
        _principal: &str,
        _name: &str,
        _value: Timestamp,
        _expected: u64,
    ) -> Result<Setting, PortError> {
        Err(PortError::Unavailable("this engine keeps no account states".into()))
    }
}

/// What a link by which a person approves stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApprovalLink {
    pub plan_uid: Id,
    /// The steps that were shown.
    pub digest: Id,
    pub until: Timestamp,
}

/// Links by which a person without a token approves one plan, once. Errors say why, for that person.
pub trait ApprovalLinks: Send + Sync {
    /// What the token of a link stands for, if it is ours, not used and its time is not up.
    fn open(&self, token: &str) -> Result<ApprovalLink, &'static str>;
    /// The same, and uses it up.
    fn redeem(&self, token: &str) -> Result<ApprovalLink, &'static str>;
}

/// What happens now, for the live feed. Lossy by design: a slow reader skips.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Live {
    Event { event: Box<Event> },
    Finding { finding: Box<Finding> },
    Plan { transition: Box<Transition> },
    Receipt { receipt: Box<Receipt> },
}

/// How the process is, for `/api/health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`, or `degraded` with the reasons in `problems`.
    pub status: String,
    pub version: String,
    pub uptime_ms: u64,
    /// Messages durable but not yet processed, per stage.
    pub lag: std::collections::BTreeMap<String, u64>,
    pub problems: Vec<String>,
    pub kill_switch: bool,
}

#[async_trait]
pub trait HealthView: Send + Sync {
    async fn health(&self) -> Health;
}
