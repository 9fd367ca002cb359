//! Upload: streams what the client sealed, checks that its owner signed it, and puts it under a gate. It reads none of it.

use super::body::{Received, receive};
use super::{Shared, files};
use crate::access::{Caller, Origin};
use crate::event::Audit;
use crate::files::{self as rows, Content, FileRow};
use crate::objects::{Key, Kind};
use crate::policy::Operation;
use crate::renew::readers_of;
use crate::service::Vault;
use crate::wire::{FileInfo, TierName};
use crate::{Error, names};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use prunella_vault_crypto::body::Place;
use prunella_vault_crypto::gate::Tier;
use prunella_vault_crypto::manifest::{Expected, Floor, Verified};
use serde::Deserialize;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Name {
    /// How its owner will ask for it; the client may make it say nothing.
    name: String,
    /// Sealed by the client for itself, base64.
    #[serde(default)]
    label: String,
    /// Of a new file; a file that is there keeps its own.
    #[serde(default)]
    tier: Option<TierName>,
}

/// Takes a sealed file or its next version: `object | manifest | length of the manifest (u32, big-endian)`.
///
/// The manifest says which file and version it is; a version that is not the next one is a conflict.
#[utoipa::path(post, path = "/upload", tag = "files", params(Name),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = FileInfo), (status = 409), (status = 413)))]
pub(crate) async fn upload(
    State(vault): Shared,
    origin: Origin,
    query: Result<Query<Name>, QueryRejection>,
    body: Body,
) -> Result<(StatusCode, Json<FileInfo>), Error> {
    let mut audit = Audit::new(Operation::Upload, origin);
    let result = take(&vault, &mut audit, query, body).await;
    vault.settle(&audit, result).await.map(|info| (StatusCode::CREATED, Json(info)))
}

async fn take(
    vault: &Vault,
    audit: &mut Audit,
    query: Result<Query<Name>, QueryRejection>,
    body: Body,
) -> Result<FileInfo, Error> {
    let caller = vault.admit(audit).await?;
    let _permit =
        vault.uploads.try_acquire().map_err(|_| Error::Unavailable("a free place for this upload"))?;
    let Query(asked) = query.map_err(|e| Error::Invalid(e.body_text()))?;
    names::file(&asked.name)?;
    names::label(&asked.label)?;
    let received = receive(body, vault.custody.stores.objects.staging(), vault.upload_bytes_max).await?;
    audit.bytes_in = Some(received.size);
    let claimed =
        Place::parse(&received.head[..]).map_err(|_| Error::Invalid("the object is not sealed".into()))?;
    audit.file = Some((hex::encode(claimed.file.0), received.size));
    let old = rows::by_id(&vault.db, &hex::encode(claimed.file.0)).await?;
    let old = old.map(|old| check_old(old, &caller, &asked.name)).transpose()?;
    let manifest = check_manifest(&received, &caller, claimed, old.as_ref())?;
    let file = place(vault, audit, &caller, &asked, &received, &manifest, old.as_ref()).await?;
    files::info(vault, &file, &caller).await
}

/// A file that is there already must be the caller's, under this very name. Whose else it is, is not said.
fn check_old(old: FileRow, caller: &Caller, name: &str) -> Result<FileRow, Error> {
    if caller.is(&old.owner) && old.name == name {
        Ok(old)
    } else {
        Err(Error::Conflict("another file has this name or this id"))
    }
}

/// The manifest is signed by the caller, follows on what is there, and names the very bytes that came.
fn check_manifest(
    received: &Received,
    caller: &Caller,
    claimed: Place,
    old: Option<&FileRow>,
) -> Result<Verified, Error> {
    let version = old.map_or(1, |old| old.version + 1);
    if claimed.version != version {
        return Err(Error::Conflict("this is not the next version of the file: read it again"));
    }
    let expected = Expected { file: claimed.file, version_min: version, floor: Floor::Classical };
    let refused =
        |_| Error::Invalid("the manifest is not one that the account's key signed for this object".into());
    let manifest =
        Verified::open(&received.manifest, &caller.user.sign_key()?, &expected).map_err(refused)?;
    manifest.check_body(&received.head).map_err(refused)?;
    let previous = old.map_or_else(|| hex::encode([0; 32]), |old| old.blob_sha256.clone());
    if hex::encode(manifest.manifest().previous) != previous {
        return Err(Error::Conflict("the manifest does not follow on the newest one: read the file again"));
    }
    if manifest.manifest().body_sha256 != received.sha256 {
        return Err(Error::Invalid(
            "the object is not the one that the manifest names: it was damaged on its way".into(),
        ));
    }
    Ok(manifest)
}

async fn place(
    vault: &Vault,
    audit: &mut Audit,
    caller: &Caller,
    asked: &Name,
    received: &Received,
    manifest: &Verified,
    old: Option<&FileRow>,
) -> Result<FileRow, Error> {
    let id = manifest.manifest().place.file;
    let tier = old.map_or(asked.tier.map_or(Tier::Low, Tier::from), FileRow::guarded_as);
    let base = old.map_or(0, |old| old.epoch);
    if old.is_none() {
        rows::create(&vault.db, id, &caller.user.id, tier, vault.now().0).await?;
    }
    let readers = readers_of(vault, id, &caller.user).await?;
    let attempt = vault.custody.prepare(id, base, tier, &received.manifest, &readers).await?;
    let body = Key { kind: Kind::Body, file: id, epoch: attempt.at.epoch };
    let content = Content {
        name: &asked.name,
        label: &asked.label,
        version: manifest.manifest().place.version,
        body_epoch: attempt.at.epoch,
        size: received.size,
        blob_sha256: &hex::encode(manifest.hash()),
        body_sha256: &hex::encode(received.sha256),
        now: vault.now().0,
    };
    let committed = async {
        vault.custody.stores.objects.take(body, &received.staged.0).await?;
        let mut tx = vault.db.begin().await?;
        rows::describe(&mut tx, &caller.user.id, id, &content).await?;
        vault.custody.commit(&mut tx, &attempt).await?;
        audit.note.push(("tier", crate::outbox::tier_name(tier).to_owned()));
        audit.note.push(("version", content.version.to_string()));
        audit.done(&mut tx, vault.now()).await?;
        tx.commit().await.map_err(Error::from)
    };
    if let Err(error) = committed.await {
        vault.custody.give_up(&attempt).await;
        return Err(error);
    }
    vault.custody.committed();
    vault.posted.notify_one();
    // A hardening or a rotation that was asked for meanwhile is not in this epoch.
    vault.renewals.notify_one();
    rows::by_id(&vault.db, &hex::encode(id.0)).await?.ok_or(Error::Missing("file"))
}
