//! The vault as something that the response acts on: provider `vault`.
//!
//! Every step says what shall hold; the key of the action makes a repeat harmless. The target is a user's id, or the
//! principal under which the pipeline knows the user (`ocsf:user:vault:<id>`).

use crate::Error;
use crate::access::Origin;
use crate::accounts::{self, UserRow};
use crate::event::Audit;
use crate::hooks;
use crate::policy::Operation;
use crate::service::Vault;
use crate::wire::Hook;
use async_trait::async_trait;
use prunella_schemas::plan::{EvidenceKind, Outcome, Probe, Read, TargetState};
use prunella_schemas::port::{Effector, PortError};
use prunella_schemas::{Id, Step, Tenant, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// The provider word.
pub const PROVIDER: &str = "vault";
/// No token that was issued before counts. `desired`: nothing.
pub const REVOKE_TOKENS: &str = "tokens.revoke";
/// `desired`: `{"until": ms}`; 0 takes the lock back.
pub const LOCK: &str = "account.lock";
/// Sessions and devices must prove themselves anew. `desired`: nothing.
pub const RESET_TRUST: &str = "trust.reset";
/// All files of the user go to HIGH. `desired`: nothing.
pub const HARDEN: &str = "tier.harden";
/// New gate keys for all files of the user. `desired`: nothing.
pub const ROTATE: &str = "gate.rotate";
/// `desired`: `{"until": ms}`; 0 takes it back.
pub const SUSPEND_GRANTS: &str = "grants.suspend";

/// Newest entries of the ledger that a probe looks at.
const PROBE_ENTRIES_MAX: i64 = 2_000;

/// Acts on the vault in this process.
pub struct VaultEffector {
    vault: Arc<Vault>,
}

impl VaultEffector {
    pub fn new(vault: Arc<Vault>) -> Self {
        VaultEffector { vault }
    }

    async fn user(&self, target: &str) -> Result<UserRow, Error> {
        let id = target.rsplit(':').next().unwrap_or_default();
        accounts::by_id(&self.vault.db, id).await?.ok_or(Error::Missing("account"))
    }

    async fn act(&self, step: &Step, key: Id) -> Result<String, Error> {
        let user = self.user(&step.target).await?;
        let until = step.desired.get("until").and_then(Value::as_i64);
        let operation = match (step.operation.as_str(), until) {
            (REVOKE_TOKENS, _) => Operation::RevokeTokens,
            (LOCK, Some(0)) => Operation::Unlock,
            (LOCK, Some(_)) => Operation::Lock,
            (RESET_TRUST, _) => Operation::ResetTrust,
            (HARDEN, _) => Operation::ChangeTier,
            (ROTATE, _) => Operation::Rotate,
            (SUSPEND_GRANTS, Some(_)) => Operation::SuspendGrants,
            _ => {
                return Err(Error::Invalid(format!(
                    "`{}` is no action of the vault, or says no end",
                    step.operation
                )));
            }
        };
        let reason = step.desired.get("reason").and_then(Value::as_str).unwrap_or("response");
        let expires = match until {
            // A suspension that ends at once is one that is taken back.
            Some(0) => 1,
            until => until.unwrap_or(0),
        };
        let action_id = format!("{key}/{}", step.operation);
        let hook = Hook { action_id, reason: reason.to_owned(), expires };
        let mut audit = Audit::new(operation, Origin::own());
        audit.subject = Some((user.id.clone(), Some(user.name.clone())));
        hooks::act(&self.vault, &audit, operation, &user.id, &hook).await?;
        Ok(format!("{} of {}", step.operation, user.name))
    }

    async fn judge(&self, step: &Step, applied: Timestamp) -> Result<Probe, Error> {
        let user = self.user(&step.target).await?;
        let until = step.desired.get("until").and_then(Value::as_i64).unwrap_or(0);
        let progress = self.vault.progress(&user.id).await?;
        let stands = match step.operation.as_str() {
            LOCK => user.locked_until >= until,
            SUSPEND_GRANTS => user.grants_suspended_until >= until,
            RESET_TRUST => user.step_up_since > 0,
            HARDEN | ROTATE if progress.waiting > 0 => {
                return Ok(Probe::NotYet {
                    detail: format!("{} files wait for their turn", progress.waiting),
                });
            }
            _ => true,
        };
        if !stands {
            let detail = format!("`{}` no longer holds", step.operation);
            return Ok(Probe::Escaped { detail, last_accepted: None, successors: Vec::new() });
        }
        let seen = self.seen(&user.id, applied).await?;
        let is_about_access = matches!(step.operation.as_str(), LOCK | REVOKE_TOKENS | RESET_TRUST);
        Ok(match (is_about_access && until_counts(step), seen) {
            (true, Seen { accepted: Some(at), .. }) => Probe::Escaped {
                detail: format!("a session from before was accepted at {at}"),
                last_accepted: Some(at),
                successors: Vec::new(),
            },
            (true, Seen { refused: Some(at), before, .. }) => Probe::Held {
                evidence: EvidenceKind::RefusedCall,
                detail: format!("the vault refused a session from before at {at}"),
                last_accepted: before,
            },
            (_, Seen { before, .. }) => Probe::Held {
                evidence: EvidenceKind::ConfigurationRead,
                detail: match progress.waiting_for_user {
                    0 => format!("`{}` stands", step.operation),
                    n => format!(
                        "`{}` stands; {n} files are split anew when their user opens them",
                        step.operation
                    ),
                },
                last_accepted: before,
            },
        })
    }

    /// What became of the user's sessions that began before `applied`, by the vault's own ledger.
    async fn seen(&self, user: &str, applied: Timestamp) -> Result<Seen, Error> {
        self.vault.log.sequence().await?;
        let mut seen = Seen::default();
        for entry in self.vault.log.newest(PROBE_ENTRIES_MAX).await? {
            let Ok(event) = serde_json::from_slice::<Value>(&entry.body) else { continue };
            if event["actor"]["user"]["uid"] != user {
                continue;
            }
            let is_success = event["status_id"] == 1;
            if entry.time <= applied {
                if is_success {
                    seen.before = seen.before.max(Some(entry.time));
                }
                continue;
            }
            let session = event["actor"]["session"]["uid"].as_str().unwrap_or_default();
            let began = accounts::session_began(&self.vault.db, session).await?;
            if began.is_none_or(|began| began > applied.0) {
                continue;
            }
            let which = if is_success { &mut seen.accepted } else { &mut seen.refused };
            *which = (*which).max(Some(entry.time));
        }
        Ok(seen)
    }
}

/// A lock that was taken back restricts nobody.
fn until_counts(step: &Step) -> bool {
    step.operation != LOCK || step.desired.get("until").and_then(Value::as_i64) != Some(0)
}

/// Calls of sessions from before the change.
#[derive(Default)]
struct Seen {
    /// The last one that was accepted before it.
    before: Option<Timestamp>,
    accepted: Option<Timestamp>,
    refused: Option<Timestamp>,
}

#[async_trait]
impl Effector for VaultEffector {
    fn provider(&self) -> &str {
        PROVIDER
    }

    async fn preflight(&self, operation: &str) -> Result<(), PortError> {
        match operation {
            REVOKE_TOKENS | LOCK | RESET_TRUST | HARDEN | ROTATE | SUSPEND_GRANTS => Ok(()),
            other => Err(PortError::Invalid(format!("`{other}` is no action of the vault"))),
        }
    }

    async fn read(&self, _: &Tenant, what: &Read) -> Result<TargetState, PortError> {
        let user = self.user(&what.target).await.map_err(|e| port(&e))?;
        let progress = self.vault.progress(&user.id).await.map_err(|e| port(&e))?;
        let value = json!({
            "token_version": user.token_version,
            "locked_until": user.locked_until,
            "step_up_since": user.step_up_since,
            "grants_suspended_until": user.grants_suspended_until,
            "files": progress,
        });
        Ok(TargetState { provider: PROVIDER.into(), target: what.target.clone(), value })
    }

    async fn apply(&self, _: &Tenant, step: &Step, key: Id) -> Outcome {
        match self.act(step, key).await {
            Ok(detail) => Outcome::Done { detail },
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
