//! FINDING -> PLAN: playbooks, actions, the guard, and the life of a plan as a state machine that describes and never does.
//!
//! The stage reads findings and commands and writes [`Transition`](prunella_schemas::Transition)s. A transition says what a plan has
//! become and, when something must happen in the world, carries an `Order`; the shell makes the transition durable, carries
//! the order out and answers with `Command::Reply`. Time arrives as data, so a replay makes the same transitions.
//!
//! # Decisions
//! - **Now** is the latest time at which an input became durable (a command counts from its own `at`, but never ahead of the
//!   log). It never runs backwards, whatever order the inputs have. Whatever is due fires before the input itself is looked at.
//! - **Incident**: one per tenant and principal while findings keep coming within `incident_gap_ms` of *event time* (so that
//!   every mode of running finds the same incidents), for at most `incident_ms_max`. Event time ahead of the log counts as now.
//! - **One action per incident**: later findings join the open plan without a transition. Only a finding whose playbook may go
//!   further than the plan did opens a new one, or lets a waiting one act. Rejected, expired and failed stay decided.
//! - **The plan's id** covers the action key, the opening finding, the playbook and the instant T. With T fixed, what a step
//!   desires is decided; the state read later adds only `prior`. Approving the id therefore approves the step.
//! - **`tokens.revoke` has nothing to take back** (the user signs in again) and hence no expiry; nor has a notification.
//!   A notification is finished when `Applied`: it is in the durable outbox, nothing is claimed about its reader, no receipt.
//! - **A guard that says no to automation asks a person** (budget, breaker, protected principal, stale finding, kill switch),
//!   up to `PENDING_MAX` waiting plans; beyond that, and for a target that is empty or a wildcard, the plan is refused.
//!   A person may exceed the budgets of playbook and tenant, never the global one.
//! - **While the kill switch is engaged** no order that changes anything is given, approvals are not counted, and plans that
//!   wait for approval do not expire; on release they have a full approval window again.

pub mod actions;
mod begin;
mod config;
mod guard;
mod life;
mod memory;
mod playbook;
mod recent;
mod reply;
mod stage;
mod verify;

pub use config::{Breaker, Budget, Budgets, Config, Receivers};
pub use guard::KILL_SWITCH_ENGAGED;
pub use playbook::{BUILT_IN, Playbook, Playbooks};
pub use stage::{Input, Respond};

/// Why a configuration or a playbook was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("playbook file `{file}` cannot be read: {detail}")]
    Yaml { file: String, detail: String },
    #[error("playbook `{playbook}` in `{file}`: {detail}")]
    Playbook { file: String, playbook: String, detail: String },
    #[error("respond configuration: {0}")]
    Config(String),
}
