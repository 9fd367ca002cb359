//! Administration: accounts, the log, rotation, recovery. An admin can lock and rotate, and cannot open a file.

use super::files::{Page, page};
use super::{Shared, account, base64, json};
use crate::access::{Caller, Origin};
use crate::accounts::{self, Instant, NewUser, UserRow};
use crate::event::Audit;
use crate::files::{self as rows, FileRow};
use crate::hooks;
use crate::password::check_import;
use crate::policy::{Operation, Role};
use crate::service::Vault;
use crate::wire::{
    Account, Accounts, Hook, Import, Level, Logs, OfflineParts, Progress, RecoverWith, Rotate,
};
use crate::{Error, names};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use prunella_vault_crypto::gate::{Domain, Point, Tier};
use zeroize::Zeroizing;

/// Rotates keys: `gate` those of a user's files, `kek` those of the domains and with them the gates of everybody's files;
/// both go file by file, those of MEDIUM and HIGH when their user opens them next. `identity` is marked here and done by the
/// client. 409: a file still needs the oldest key of the domains that is kept.
#[utoipa::path(post, path = "/rotateKey/{userID}", tag = "custody", params(("userID" = String, Path)),
    request_body = Rotate, responses((status = 202, body = Progress), (status = 404)))]
pub(crate) async fn rotate(
    State(vault): Shared,
    origin: Origin,
    Path(user): Path<String>,
    body: Result<Json<Rotate>, JsonRejection>,
) -> Result<(StatusCode, Json<Progress>), Error> {
    let mut audit = Audit::new(Operation::Rotate, origin);
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        let level = json(body)?.level;
        let user = subject(&vault, &mut audit, &caller, &user).await?;
        if level == Level::Kek {
            if caller.user.role != Role::Admin {
                return Err(Error::Forbidden);
            }
            vault.rotate_keys().await?;
        }
        // Read after the keys are there: what was begun before is done again.
        let now = vault.now();
        let mut tx = vault.db.begin().await?;
        match level {
            Level::Gate => {
                rows::want_rotation_of(&mut tx, &user.id, now.0).await?;
            }
            Level::Kek => {
                rows::want_rotation_of_all(&mut tx, now.0).await?;
            }
            Level::Identity => accounts::set_instant(&mut tx, &user.id, Instant::RotateSince, now.0).await?,
        }
        audit.note.push(("level", format!("{level:?}").to_lowercase()));
        audit.done(&mut tx, now).await?;
        tx.commit().await?;
        vault.posted.notify_one();
        vault.renewals.notify_one();
        vault.progress(&user.id).await
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(|progress| (StatusCode::ACCEPTED, Json(progress)))
}

/// How far the rotation of a user's keys is.
#[utoipa::path(get, path = "/rotateKey/{userID}", tag = "custody", params(("userID" = String, Path)),
    responses((status = 200, body = Progress)))]
pub(crate) async fn progress(
    State(vault): Shared,
    origin: Origin,
    Path(user): Path<String>,
) -> Result<Json<Progress>, Error> {
    let mut audit = Audit::new(Operation::Rotate, origin);
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        let user = subject(&vault, &mut audit, &caller, &user).await?;
        vault.progress(&user.id).await
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}

/// Accounts, by id.
#[utoipa::path(get, path = "/admin/users", tag = "admin", params(Page), responses((status = 200, body = Accounts)))]
pub(crate) async fn users(
    State(vault): Shared,
    origin: Origin,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Accounts>, Error> {
    let mut audit = Audit::new(Operation::AdminUsers, origin);
    let result = async {
        vault.admit(&mut audit).await?;
        let page = page(query)?;
        let found = accounts::page(&vault.db, &page.after, page.rows()).await?;
        let next =
            (found.len() as i64 == page.rows()).then(|| found.last().map(|user| user.id.clone())).flatten();
        vault.record(&audit).await?;
        Ok(Accounts { accounts: found.iter().map(account::account).collect(), next })
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}

/// Takes an account over from another system, with its hash. It has no keys before its client publishes some.
#[utoipa::path(post, path = "/admin/users", tag = "admin", request_body = Import,
    responses((status = 201, body = Account), (status = 409)))]
pub(crate) async fn import(
    State(vault): Shared,
    origin: Origin,
    body: Result<Json<Import>, JsonRejection>,
) -> Result<(StatusCode, Json<Account>), Error> {
    let mut audit = Audit::new(Operation::Import, origin);
    let result = async {
        vault.admit(&mut audit).await?;
        let new = json(body)?;
        names::account(&new.username)?;
        check_import(&new.password_hash)?;
        let now = vault.now();
        let mut tx = vault.db.begin().await?;
        let user = NewUser {
            name: &new.username,
            role: Role::User,
            password: &new.password_hash,
            wrap_key: "",
            sign_key: "",
            sealed_identity: "",
        };
        let id = accounts::add(&mut tx, &user, now).await?;
        audit.subject = Some((id.clone(), Some(new.username.clone())));
        audit.done(&mut tx, now).await?;
        tx.commit().await?;
        vault.posted.notify_one();
        accounts::by_id(&vault.db, &id).await?.as_ref().map(account::account).ok_or(Error::Missing("account"))
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(|account| (StatusCode::CREATED, Json(account)))
}

/// The ledger's entries in order, with its newest signed checkpoint. Reading it is an entry of its own.
#[utoipa::path(get, path = "/admin/logs", tag = "admin", params(Page), responses((status = 200, body = Logs)))]
pub(crate) async fn logs(
    State(vault): Shared,
    origin: Origin,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Logs>, Error> {
    let mut audit = Audit::new(Operation::AdminLogs, origin);
    let result = async {
        vault.admit(&mut audit).await?;
        let page = page(query)?;
        let after = match page.after.as_str() {
            "" => 0,
            text => {
                text.parse().map_err(|_| Error::Invalid("`after` is the `next` of the page before".into()))?
            }
        };
        vault.record(&audit).await?;
        vault.log.sequence().await?;
        // Read before the entries: what is linked meanwhile may be on the page, and nothing that it commits to is missing.
        let checkpoint = vault.log.checkpoint().await?;
        let (entries, last) = vault.log.page(after, page.rows()).await?;
        let is_full = entries.len() as i64 == page.rows();
        let written = |entry| serde_json::to_value(entry).map_err(|_| Error::Corrupt("the ledger"));
        Ok(Logs {
            next: last.filter(|_| is_full).map(|seq| seq.to_string()),
            entries: entries.iter().map(written).collect::<Result<_, _>>()?,
            checkpoint,
            verifier_key: vault.log.verifier_key(),
        })
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}

/// The newest signed checkpoint of the ledger: to be kept where the vault's operator cannot reach it.
#[utoipa::path(get, path = "/log/checkpoint", tag = "admin", responses((status = 200, content_type = "text/plain")))]
pub(crate) async fn checkpoint(State(vault): Shared) -> Result<String, Error> {
    vault.log.checkpoint().await
}

#[utoipa::path(get, path = "/livez", tag = "admin", responses((status = 204)))]
pub(crate) async fn livez() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Refuses every call of an account until `expires` (0: until it is unlocked). The same `action_id` twice is one action.
#[utoipa::path(post, path = "/admin/users/{id}/lock", tag = "admin", params(("id" = String, Path)),
    request_body = Hook, responses((status = 200, body = Account)))]
pub(crate) async fn lock(
    State(vault): Shared,
    origin: Origin,
    Path(id): Path<String>,
    body: Result<Json<Hook>, JsonRejection>,
) -> Result<Json<Account>, Error> {
    hooked(&vault, Audit::new(Operation::Lock, origin), &id, body).await
}

/// Takes a lock back.
#[utoipa::path(post, path = "/admin/users/{id}/unlock", tag = "admin", params(("id" = String, Path)),
    request_body = Hook, responses((status = 200, body = Account)))]
pub(crate) async fn unlock(
    State(vault): Shared,
    origin: Origin,
    Path(id): Path<String>,
    body: Result<Json<Hook>, JsonRejection>,
) -> Result<Json<Account>, Error> {
    hooked(&vault, Audit::new(Operation::Unlock, origin), &id, body).await
}

/// Makes all tokens of an account void, from this call on.
#[utoipa::path(post, path = "/admin/users/{id}/revoke-tokens", tag = "admin", params(("id" = String, Path)),
    request_body = Hook, responses((status = 200, body = Account)))]
pub(crate) async fn revoke_tokens(
    State(vault): Shared,
    origin: Origin,
    Path(id): Path<String>,
    body: Result<Json<Hook>, JsonRejection>,
) -> Result<Json<Account>, Error> {
    hooked(&vault, Audit::new(Operation::RevokeTokens, origin), &id, body).await
}

async fn hooked(
    vault: &Vault,
    mut audit: Audit,
    id: &str,
    body: Result<Json<Hook>, JsonRejection>,
) -> Result<Json<Account>, Error> {
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        let hook = json(body)?;
        let user = subject(vault, &mut audit, &caller, id).await?;
        if audit.operation == Operation::Lock && user.role == Role::Admin {
            return Err(Error::Conflict("an admin is not locked from afar: revoke the tokens instead"));
        }
        hooks::act(vault, &audit, audit.operation, &user.id, &hook).await?;
        accounts::by_id(&vault.db, &user.id)
            .await?
            .as_ref()
            .map(account::account)
            .ok_or(Error::Missing("account"))
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}

/// The account that a request is about, by id or name, if the policy lets the caller act on it.
async fn subject(vault: &Vault, audit: &mut Audit, caller: &Caller, id: &str) -> Result<UserRow, Error> {
    let user = match accounts::by_id(&vault.db, id).await? {
        Some(user) => Some(user),
        None => accounts::by_name(&vault.db, id).await?,
    };
    let user =
        user.filter(|user| vault.may(caller, audit.operation, &user.id)).ok_or(Error::Missing("account"))?;
    audit.subject = Some((user.id.clone(), Some(user.name.clone())));
    Ok(user)
}

/// The offline parts of a file, sealed to the recovery key and to the approver's.
#[utoipa::path(get, path = "/admin/files/{id}/parts", tag = "custody", params(("id" = String, Path)),
    responses((status = 200, body = OfflineParts), (status = 404)))]
pub(crate) async fn offline_parts(
    State(vault): Shared,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<Json<OfflineParts>, Error> {
    let mut audit = Audit::new(Operation::Recover, origin);
    let result = async {
        vault.admit(&mut audit).await?;
        let file = rows::by_id(&vault.db, &id).await?.ok_or(Error::Missing("file"))?;
        audit.about(&file);
        let parts = vault.custody.offline_parts(&file).await?;
        vault.record(&audit).await?;
        Ok(OfflineParts { id, epoch: file.epoch, tier: file.tier.into(), parts })
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}

/// Heals a file that has lost a store: opens its gate with offline parts beside those that are left, and seals it anew.
///
/// 202: that takes the user's part too. The points wait in memory for a quarter of an hour, and the next time that the user
/// opens the file heals it.
#[utoipa::path(post, path = "/admin/files/{id}/recover", tag = "custody", params(("id" = String, Path)),
    request_body = RecoverWith, responses((status = 204), (status = 409)))]
pub(crate) async fn recover(
    State(vault): Shared,
    origin: Origin,
    Path(id): Path<String>,
    body: Result<Json<RecoverWith>, JsonRejection>,
) -> Result<StatusCode, Error> {
    let mut audit = Audit::new(Operation::Recover, origin);
    let result = async {
        vault.admit(&mut audit).await?;
        let with = json(body)?;
        let file = rows::by_id(&vault.db, &id).await?.ok_or(Error::Missing("file"))?;
        audit.about(&file);
        if with.epoch != file.epoch {
            return Err(Error::Conflict("the file's epoch is another by now: read it again"));
        }
        let brought =
            || with.points.iter().map(|(name, text)| point(&file, name, text)).collect::<Result<Vec<_>, _>>();
        match vault.custody.open(&file, brought()?).await {
            Ok(inner) => {
                vault.reseal(&file, &inner, &audit).await?;
                Ok(StatusCode::NO_CONTENT)
            }
            Err(Error::Unavailable(_)) if file.tier != Tier::Low => {
                vault.custody.deposit(file.at(), &brought()?);
                let mut tx = vault.db.begin().await?;
                rows::want_rotation(&mut tx, &file, vault.now().0).await?;
                audit.note.push(("waits", "for the user's part".into()));
                audit.done(&mut tx, vault.now()).await?;
                tx.commit().await?;
                vault.posted.notify_one();
                Ok(StatusCode::ACCEPTED)
            }
            Err(error) => Err(error),
        }
    };
    let result = result.await;
    vault.settle(&audit, result).await
}

/// A point that was opened offline.
fn point(file: &FileRow, name: &str, text: &str) -> Result<Point, Error> {
    let domain = match name {
        "cold" => Domain::Cold,
        "approver" => Domain::Approver,
        _ => return Err(Error::Invalid("points are of `cold` and `approver`".into())),
    };
    let bytes = Zeroizing::new(base64("a point", text)?);
    let value = bytes.as_slice().try_into().map_err(|_| Error::Invalid("a point has 32 bytes".into()))?;
    let point = Point::from_bytes(file.at(), domain, Zeroizing::new(value));
    point.map_err(|_| Error::Invalid("this tier has no such part".into()))
}
