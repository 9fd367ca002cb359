//! What the response does to an account: each idempotent, with the id of its action, a reason and an end.

use crate::accounts::{self, Instant};
use crate::event::Audit;
use crate::files as rows;
use crate::policy::Operation;
use crate::service::Vault;
use crate::wire::Hook;
use crate::{Error, db};
use prunella_vault_crypto::gate::Tier;
use sqlx::Row;

/// Longest id of an action and longest reason, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// "Until it is taken back".
const FOREVER: i64 = i64::MAX;

/// Does it, once for each id of an action; an empty id is an action of its own.
pub(crate) async fn act(
    vault: &Vault,
    audit: &Audit,
    operation: Operation,
    user: &str,
    hook: &Hook,
) -> Result<(), Error> {
    if hook.action_id.len() > TEXT_BYTES_MAX || hook.reason.len() > TEXT_BYTES_MAX {
        return Err(Error::Invalid(format!("an action's id and reason have at most {TEXT_BYTES_MAX} bytes")));
    }
    let now = vault.now();
    let mut audit = audit.clone();
    if !hook.reason.is_empty() {
        audit.note.push(("reason", hook.reason.clone()));
    }
    let mut tx = vault.db.begin().await?;
    if !first_time(&mut tx, operation, user, hook, now.0).await? {
        return Ok(());
    }
    let end = if hook.expires == 0 { FOREVER } else { hook.expires };
    match operation {
        Operation::Lock => accounts::set_instant(&mut tx, user, Instant::LockedUntil, end).await?,
        Operation::Unlock => accounts::set_instant(&mut tx, user, Instant::LockedUntil, 0).await?,
        Operation::RevokeTokens => {
            let version = accounts::revoke_tokens(&mut tx, user, now).await?;
            audit.note.push(("token_version", version.to_string()));
        }
        Operation::ResetTrust => {
            accounts::set_instant(&mut tx, user, Instant::StepUpSince, now.0).await?;
            accounts::forget_devices(&mut tx, user).await?;
        }
        Operation::SuspendGrants => {
            accounts::set_instant(&mut tx, user, Instant::GrantsSuspendedUntil, end).await?;
        }
        Operation::ChangeTier => {
            rows::want_tier_of(&mut tx, user, Tier::High, now.0).await?;
        }
        Operation::Rotate => {
            rows::want_rotation_of(&mut tx, user, now.0).await?;
        }
        _ => return Err(Error::Invalid("this is no action on an account".into())),
    }
    audit.done(&mut tx, now).await?;
    tx.commit().await?;
    vault.posted.notify_one();
    vault.renewals.notify_one();
    Ok(())
}

/// What has a value that can be set and taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setting<'a> {
    Account(Instant),
    Session(&'a str),
}

/// Sets it, once for each id of an action, if it still is what was expected; else says what it is.
pub(crate) async fn set(
    vault: &Vault,
    audit: &Audit,
    user: &str,
    setting: Setting<'_>,
    (expected, value): (i64, i64),
    hook: &Hook,
) -> Result<Result<(), i64>, Error> {
    let now = vault.now();
    let mut audit = audit.clone();
    audit.note.push(("reason", hook.reason.clone()));
    let mut tx = vault.db.begin().await?;
    if !first_time(&mut tx, audit.operation, user, hook, now.0).await? {
        return Ok(Ok(()));
    }
    let swapped = match setting {
        Setting::Account(which) => accounts::swap_instant(&mut tx, user, which, expected, value).await?,
        Setting::Session(session) => {
            audit.note.push(("session", session.to_owned()));
            accounts::swap_refusal(&mut tx, session, expected, value).await?
        }
    };
    match swapped {
        Err(found) if found == value => return Ok(Ok(())),
        Err(found) => return Ok(Err(found)),
        Ok(()) => {}
    }
    // Trust that is taken back does not come back to a device.
    if matches!(setting, Setting::Account(Instant::StepUpSince)) {
        accounts::forget_devices(&mut tx, user).await?;
    }
    audit.done(&mut tx, now).await?;
    tx.commit().await?;
    vault.posted.notify_one();
    Ok(Ok(()))
}

/// Writes the action down; false when it was done before. The same id for something else is refused.
async fn first_time(
    tx: &mut db::Tx,
    operation: Operation,
    user: &str,
    hook: &Hook,
    now: i64,
) -> Result<bool, Error> {
    if hook.action_id.is_empty() {
        return Ok(true);
    }
    let added = sqlx::query(
        "INSERT INTO actions (id, operation, target, reason, expires, done) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO NOTHING",
    );
    let added = added
        .bind(&hook.action_id)
        .bind(operation.name())
        .bind(user)
        .bind(&hook.reason)
        .bind(hook.expires)
        .bind(now);
    if added.execute(&mut **tx).await?.rows_affected() == 1 {
        return Ok(true);
    }
    let row = sqlx::query("SELECT operation, target FROM actions WHERE id = $1").bind(&hook.action_id);
    let row = row.fetch_one(&mut **tx).await?;
    if row.try_get::<String, _>(0)? == operation.name() && row.try_get::<String, _>(1)? == user {
        Ok(false)
    } else {
        Err(Error::Conflict("this action id was used for something else"))
    }
}
