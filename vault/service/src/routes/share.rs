//! Shares: a stanza for one person (direct), or a capsule that the server turns towards one (proxy, experimental).

use super::download::{inner, visible};
use super::{Shared, base64, json};
use crate::access::{Caller, Origin};
use crate::accounts::{self, UserRow};
use crate::clock::random_id;
use crate::custody::Attempt;
use crate::event::Audit;
use crate::files::{self as rows, FileRow};
use crate::grants::{self, GRANTS_MAX, GrantRow, Right};
use crate::policy::Operation;
use crate::renew::readers_of;
use crate::service::Vault;
use crate::wire::{NewShare, Share, ShareMode, Shares};
use crate::{Error, names};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use prunella_vault_crypto::forward::Grant;
use prunella_vault_crypto::gate::Tier;
use prunella_vault_crypto::manifest::{Expected, Floor, Verified};
use prunella_vault_crypto::stanza::Kind;

/// Most shares that one answer lists.
const SHARES_MAX: i64 = 1_000;
/// Longest signed grant, in bytes.
const GRANT_BYTES_MAX: usize = 4_096;

/// Shares a file. Direct: the body has the new manifest, and the file gets a new epoch. Proxy: the body has the signed grant
/// and the key that turns; of MEDIUM and HIGH it takes the caller's part, since the user's part is sealed to the recipient.
#[utoipa::path(post, path = "/share", tag = "shares", request_body = NewShare,
    responses((status = 201, body = Share), (status = 404), (status = 409)))]
pub(crate) async fn share(
    State(vault): Shared,
    origin: Origin,
    headers: HeaderMap,
    body: Result<Json<NewShare>, JsonRejection>,
) -> Result<(StatusCode, Json<Share>), Error> {
    let mut audit = Audit::new(Operation::Share, origin);
    let result = give(&vault, &mut audit, &headers, body).await;
    vault.settle(&audit, result).await.map(|share| (StatusCode::CREATED, Json(share)))
}

async fn give(
    vault: &Vault,
    audit: &mut Audit,
    headers: &HeaderMap,
    body: Result<Json<NewShare>, JsonRejection>,
) -> Result<Share, Error> {
    let caller = vault.admit(audit).await?;
    let asked = json(body)?;
    names::account(&asked.recipient)?;
    let (file, Right::Owner) = visible(vault, &caller, &asked.file).await? else {
        return Err(Error::Missing("file"));
    };
    audit.about(&file);
    vault.admit_to_tier(&caller, file.guarded_as() == Tier::High)?;
    let recipient = accounts::by_name(&vault.db, &asked.recipient).await?.ok_or(Error::Missing("account"))?;
    if caller.is(&recipient.id) {
        return Err(Error::Invalid("a file is its owner's without a share".into()));
    }
    audit.subject = Some((recipient.id.clone(), Some(recipient.name.clone())));
    let now = vault.now();
    if grants::of_file(&vault.db, &file.hex(), now).await?.len() as i64 >= GRANTS_MAX {
        return Err(Error::Conflict("the file is shared with as many as it can be"));
    }
    let mut grant = GrantRow {
        id: random_id(),
        file: file.hex(),
        owner: caller.user.id.clone(),
        recipient: recipient.id.clone(),
        mode: asked.mode,
        expires: asked.expires,
        downloads_left: grants::bound(asked.downloads_max),
        signed: String::new(),
        rekey: String::new(),
    };
    let blob = match asked.mode {
        ShareMode::Direct => Some(check_direct(&caller, &recipient, &file, &asked.manifest)?),
        ShareMode::Proxy => {
            check_proxy(vault, &caller, &recipient, &asked, &mut grant)?;
            None
        }
    };
    let attempt = renewed(vault, headers, &file, &caller, &recipient, blob.as_ref()).await?;
    settle(vault, audit, &file, grant, blob.as_ref(), attempt).await
}

/// The new manifest: of the same body, following on the newest one, with a stanza for the recipient.
fn check_direct(
    caller: &Caller,
    recipient: &UserRow,
    file: &FileRow,
    manifest: &str,
) -> Result<(Verified, Vec<u8>), Error> {
    let blob = base64("manifest", manifest)?;
    let expected = Expected { file: file.id, version_min: file.version, floor: Floor::Classical };
    let refused =
        |_| Error::Invalid("the manifest is not one that the account's key signed for this file".into());
    let verified = Verified::open(&blob, &caller.user.sign_key()?, &expected).map_err(refused)?;
    let manifest = verified.manifest();
    if manifest.place.version != file.version || hex::encode(manifest.previous) != file.blob_sha256 {
        return Err(Error::Conflict("the manifest does not follow on the newest one: read the file again"));
    }
    let fingerprint = recipient.wrap_key()?.fingerprint();
    let is_for = manifest.stanzas.iter().any(|s| s.kind == Kind::Direct && s.recipient == fingerprint);
    if hex::encode(manifest.body_sha256) != file.body_sha256 || !is_for {
        return Err(Error::Invalid(
            "the manifest must name the same body and have a stanza for the recipient".into(),
        ));
    }
    Ok((verified, blob))
}

/// The grant is signed by the owner for this recipient; its terms hold here too.
fn check_proxy(
    vault: &Vault,
    caller: &Caller,
    recipient: &UserRow,
    asked: &NewShare,
    row: &mut GrantRow,
) -> Result<(), Error> {
    let refused =
        || Error::Invalid("the grant is not one that the account's key signed for this recipient".into());
    let blob = base64("grant", &asked.grant)?;
    if blob.len() > GRANT_BYTES_MAX {
        return Err(Error::TooLarge(GRANT_BYTES_MAX as u64));
    }
    let grant = Grant::open(&blob, &caller.user.sign_key()?).map_err(|_| refused())?;
    if grant.recipient != recipient.wrap_key()?.fingerprint() {
        return Err(refused());
    }
    let ends = i64::try_from(grant.terms.expires_ms).unwrap_or(i64::MAX);
    row.expires = if row.expires == 0 { ends } else { row.expires.min(ends) };
    let rekey = zeroize::Zeroizing::new(base64("rekey", &asked.rekey)?);
    let rekey = rekey.as_slice().try_into().map_err(|_| Error::Invalid("a rekey has 32 bytes".into()))?;
    row.rekey = vault.seal_rekey(&row.id, rekey)?;
    row.signed = asked.grant.clone();
    Ok(())
}

/// A new epoch where the share needs one: for a new manifest, and to seal the user's part to one more person.
async fn renewed(
    vault: &Vault,
    headers: &HeaderMap,
    file: &FileRow,
    caller: &Caller,
    recipient: &UserRow,
    blob: Option<&(Verified, Vec<u8>)>,
) -> Result<Option<Attempt>, Error> {
    let opened;
    let inner = match blob {
        Some((_, blob)) => blob.as_slice(),
        None if file.tier == Tier::Low => return Ok(None),
        None => {
            opened = inner(vault, headers, file).await?;
            opened.as_slice()
        }
    };
    let mut readers = readers_of(vault, file.id, &caller.user).await?;
    if readers.all.iter().all(|reader| reader.user != recipient.id) {
        readers.all.push(crate::custody::Reader { user: recipient.id.clone(), key: recipient.wrap_key()? });
    }
    vault.custody.prepare(file.id, file.epoch, file.tier, inner, &readers).await.map(Some)
}

async fn settle(
    vault: &Vault,
    audit: &mut Audit,
    file: &FileRow,
    grant: GrantRow,
    blob: Option<&(Verified, Vec<u8>)>,
    attempt: Option<Attempt>,
) -> Result<Share, Error> {
    let now = vault.now();
    audit.note.push(("grant", grant.id.clone()));
    let committed = async {
        let mut tx = vault.db.begin().await?;
        if let Some((manifest, _)) = blob {
            rows::set_blob(&mut tx, file, &hex::encode(manifest.hash())).await?;
        }
        if let Some(attempt) = &attempt {
            vault.custody.commit(&mut tx, attempt).await?;
        }
        grants::add(&mut tx, &grant, now).await?;
        audit.done(&mut tx, now).await?;
        tx.commit().await.map_err(Error::from)
    };
    let committed = committed.await;
    match (&committed, &attempt) {
        (Ok(()), Some(_)) => vault.custody.committed(),
        (Err(_), Some(attempt)) => vault.custody.give_up(attempt).await,
        _ => {}
    }
    committed?;
    vault.posted.notify_one();
    Ok(grant.share())
}

/// Ends a share: the key that turns is forgotten, and the gate renewed. What its recipient has opened stays opened.
#[utoipa::path(delete, path = "/share/{id}", tag = "shares", params(("id" = String, Path)),
    responses((status = 204), (status = 404)))]
pub(crate) async fn unshare(
    State(vault): Shared,
    origin: Origin,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let mut audit = Audit::new(Operation::Unshare, origin);
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        let missing = Error::Missing("share");
        let grant = grants::by_id(&vault.db, &id).await?.ok_or(missing.clone())?;
        if !vault.may(&caller, Operation::Unshare, &grant.owner) {
            return Err(missing);
        }
        audit.subject = Some((grant.recipient.clone(), None));
        audit.note.push(("grant", grant.id.clone()));
        let file = rows::by_id(&vault.db, &grant.file).await?;
        let now = vault.now();
        let mut tx = vault.db.begin().await?;
        if !grants::revoke(&mut tx, &grant.id, now).await? {
            return Err(missing);
        }
        if let Some(file) = &file {
            audit.about(file);
            rows::want_rotation(&mut tx, file, now.0).await?;
        }
        audit.done(&mut tx, now).await?;
        tx.commit().await?;
        vault.posted.notify_one();
        vault.renewals.notify_one();
        Ok(StatusCode::NO_CONTENT)
    };
    let result = result.await;
    vault.settle(&audit, result).await
}

/// What the caller has given and got, newest first.
#[utoipa::path(get, path = "/shares", tag = "shares", responses((status = 200, body = Shares)))]
pub(crate) async fn shares(State(vault): Shared, origin: Origin) -> Result<Json<Shares>, Error> {
    let mut audit = Audit::new(Operation::Shares, origin);
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        let found = grants::of_user(&vault.db, &caller.user.id, SHARES_MAX).await?;
        vault.record(&audit).await?;
        Ok(Shares { shares: found.iter().map(GrantRow::share).collect() })
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}
