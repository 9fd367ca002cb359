//! The vault as something that the response acts on: provider `vault`.
//!
//! Every step says what shall hold; the key of the action makes a repeat harmless. The target is the principal under which
//! the pipeline knows a user, `vault:user:<id>`; for one session with `#<session>` after it.

mod probe;

use crate::Error;
use crate::access::Origin;
use crate::accounts::{self, Instant, UserRow};
use crate::event::Audit;
use crate::files as rows;
use crate::hooks::{self, Setting};
use crate::policy::Operation;
use crate::service::Vault;
use crate::wire::Hook;
use async_trait::async_trait;
use prunella_schemas::plan::{Outcome, Probe, Read, TargetState};
use prunella_schemas::port::{Effector, PortError};
use prunella_schemas::{Id, Step, Tenant, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// The provider word.
pub const PROVIDER: &str = "vault";
/// No token that was issued before counts: its version is bumped. `{"not_before": ms}`.
pub const REVOKE_TOKENS: &str = "tokens.set_not_before";
/// `{"value": ms}`: locked until then. 0: not.
pub const LOCK: &str = "account.lock";
/// `{"value": ms}`: who was authenticated before must prove it anew, and devices are forgotten.
pub const RESET_TRUST: &str = "trust.reset";
/// `{"value": ms}`: one session is refused until then.
pub const KILL_SESSION: &str = "session.kill";
/// `{"value": ms}`: what the user shared is closed until then.
pub const SUSPEND_GRANTS: &str = "grants.suspend";
/// `{"tier": "HIGH"}`: all files of the user, those of LOW with the user away.
pub const HARDEN: &str = "storage.harden_tier";
/// `{"since": ms}`: no gate key of the user's files is older.
pub const ROTATE: &str = "keys.rotate";

/// All of them.
const OPERATIONS: [&str; 7] =
    [REVOKE_TOKENS, LOCK, RESET_TRUST, KILL_SESSION, SUSPEND_GRANTS, HARDEN, ROTATE];
/// Written beside every action: who wanted it stands in the pipeline's ledger, under the action's id.
const REASON: &str = "the response";
const HIGH: &str = "HIGH";

/// Acts on the vault in this process.
pub struct VaultEffector {
    vault: Arc<Vault>,
}

/// Whom, or what of them, a step is about.
struct Target<'a> {
    user: &'a str,
    session: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(operation: &str, target: &'a str) -> Self {
        let (target, session) = match target.rsplit_once('#') {
            Some((target, session)) if operation == KILL_SESSION => (target, Some(session)),
            _ => (target, None),
        };
        Target { user: target.rsplit(':').next().unwrap_or_default(), session }
    }

    fn setting(&self, operation: &str) -> Option<Setting<'a>> {
        Some(match operation {
            LOCK => Setting::Account(Instant::LockedUntil),
            RESET_TRUST => Setting::Account(Instant::StepUpSince),
            SUSPEND_GRANTS => Setting::Account(Instant::GrantsSuspendedUntil),
            KILL_SESSION => Setting::Session(self.session?),
            _ => return None,
        })
    }
}

impl VaultEffector {
    pub fn new(vault: Arc<Vault>) -> Self {
        VaultEffector { vault }
    }

    async fn user(&self, target: &Target<'_>) -> Result<UserRow, Error> {
        accounts::by_id(&self.vault.db, target.user).await?.ok_or(Error::Missing("account"))
    }

    /// The state that a step of this operation sets.
    async fn state(&self, operation: &str, target: &Target<'_>) -> Result<Value, Error> {
        let user = self.user(target).await?;
        let db = &self.vault.db;
        // An instant is its own version: whoever finds it unchanged may change it.
        let versioned = |value: i64| json!({"value": value, "version": value});
        Ok(match operation {
            REVOKE_TOKENS => json!({"not_before": user.tokens_not_before, "version": user.token_version}),
            LOCK => versioned(user.locked_until),
            RESET_TRUST => versioned(user.step_up_since),
            SUSPEND_GRANTS => versioned(user.grants_suspended_until),
            KILL_SESSION => {
                let session = accounts::session(db, target.session.unwrap_or_default()).await?;
                let session = session.filter(|session| session.user == user.id);
                versioned(session.ok_or(Error::Missing("session"))?.refused_until)
            }
            HARDEN => json!({"tier": rows::lowest_tier_wanted(db, &user.id).await?}),
            ROTATE => json!({"since": rows::oldest_gate_wanted(db, &user.id).await?}),
            other => return Err(Error::Invalid(format!("`{other}` is no action of the vault"))),
        })
    }

    async fn act(&self, step: &Step, key: Id) -> Result<Outcome, Error> {
        let target = Target::of(&step.operation, &step.target);
        let user = self.user(&target).await?;
        let number = |name: &str| step.desired.get(name).and_then(Value::as_i64);
        let operation = match step.operation.as_str() {
            REVOKE_TOKENS if number("not_before").is_some() => Operation::RevokeTokens,
            HARDEN if step.desired.get("tier").is_some_and(|tier| tier == HIGH) => Operation::ChangeTier,
            ROTATE if number("since").is_some() => Operation::Rotate,
            LOCK if number("value") == Some(0) => Operation::Unlock,
            LOCK if number("value").is_some() => Operation::Lock,
            RESET_TRUST if number("value").is_some() => Operation::ResetTrust,
            SUSPEND_GRANTS if number("value").is_some() => Operation::SuspendGrants,
            KILL_SESSION if number("value").is_some() => Operation::RevokeTokens,
            other => {
                let detail = format!("step `{other}` does not say what to set, or is no action of the vault");
                return Ok(Outcome::Failed { detail });
            }
        };
        let mut audit = Audit::new(operation, Origin::own());
        audit.subject = Some((user.id.clone(), Some(user.name.clone())));
        let (action_id, reason) = (format!("{key}/{}", step.operation), REASON.to_owned());
        let hook = Hook { action_id, reason, expires: number("value").unwrap_or(0) };
        let detail = format!("{} of {}: {}", step.operation, user.name, step.desired);
        let (Some(setting), Some(value)) = (target.setting(&step.operation), number("value")) else {
            hooks::act(&self.vault, &audit, operation, &user.id, &hook).await?;
            return Ok(Outcome::Done { detail });
        };
        let planned_on = step.prior.as_ref().and_then(|prior| prior.get("version")?.as_i64());
        let Some(expected) = planned_on else {
            let detail = format!("step `{}` does not say on which version it was planned", step.operation);
            return Ok(Outcome::Failed { detail });
        };
        match hooks::set(&self.vault, &audit, &user.id, setting, (expected, value), &hook).await? {
            Ok(()) => Ok(Outcome::Done { detail }),
            Err(found) => {
                let (what, who) = (&step.operation, &user.name);
                let detail =
                    format!("`{what}` of {who} is {found}, and was {expected} when this was planned");
                Ok(Outcome::Conflict { detail })
            }
        }
    }
}

#[async_trait]
impl Effector for VaultEffector {
    fn provider(&self) -> &str {
        PROVIDER
    }

    async fn preflight(&self, operation: &str) -> Result<(), PortError> {
        if OPERATIONS.contains(&operation) {
            return Ok(());
        }
        Err(PortError::Invalid(format!("`{operation}` is no action of the vault")))
    }

    async fn read(&self, _: &Tenant, what: &Read) -> Result<TargetState, PortError> {
        let target = Target::of(&what.operation, &what.target);
        let value = self.state(&what.operation, &target).await.map_err(|e| port(&e))?;
        Ok(TargetState { provider: PROVIDER.into(), target: what.target.clone(), value })
    }

    async fn apply(&self, _: &Tenant, step: &Step, key: Id) -> Outcome {
        match self.act(step, key).await {
            Ok(outcome) => outcome,
            Err(error @ Error::Unavailable(_)) => Outcome::Unknown { detail: error.to_string() },
            Err(error @ Error::Conflict(_)) => Outcome::Conflict { detail: error.to_string() },
            Err(error) => Outcome::Failed { detail: error.to_string() },
        }
    }

    async fn probe(&self, _: &Tenant, step: &Step, _: &str, applied: Timestamp) -> Probe {
        match self.judge(step, applied).await {
            Ok(probe) => probe,
            Err(error) => Probe::NotYet { detail: error.to_string() },
        }
    }
}

fn port(error: &Error) -> PortError {
    match error {
        Error::Unavailable(_) => PortError::Unavailable(error.to_string()),
        Error::Full => PortError::Full(error.to_string()),
        Error::Corrupt(_) => PortError::Corrupt(error.to_string()),
        _ => PortError::Invalid(error.to_string()),
    }
}
