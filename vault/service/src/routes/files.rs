//! Files: what is there, who may see it, and the ends of it: deletion, tier, class.

use super::body::Staged;
use super::download::{inner, visible};
use super::{Shared, json};
use crate::Error;
use crate::access::{Caller, Origin};
use crate::event::Audit;
use crate::files::{self as rows, Class, FileRow};
use crate::grants::Right;
use crate::objects::Key;
use crate::policy::Operation;
use crate::renew::Renewed;
use crate::service::Vault;
use crate::wire::{ChangeClass, ChangeTier, FileInfo, Files};
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use prunella_vault_crypto::gate::Tier;
use serde::Deserialize;

/// Most rows of a page.
pub const PAGE_MAX: u32 = 1_000;
/// How long a file stays in a tier before it may be lowered, in milliseconds.
pub const DWELL_MS: i64 = 24 * 60 * 60 * 1_000;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// The `next` of the page before.
    #[serde(default)]
    pub after: String,
    /// At most 1,000; 0 means 100.
    #[serde(default)]
    pub limit: u32,
    /// Of files: only the one with this name. That there is none is an empty page, and no refusal.
    #[serde(default)]
    pub name: Option<String>,
}

impl Page {
    pub(super) fn rows(&self) -> i64 {
        i64::from(if self.limit == 0 { 100 } else { self.limit.min(PAGE_MAX) })
    }
}

pub(super) fn page(query: Result<Query<Page>, QueryRejection>) -> Result<Page, Error> {
    query.map(|Query(page)| page).map_err(|e| Error::Invalid(e.body_text()))
}

/// The caller's files, by id.
#[utoipa::path(get, path = "/files", tag = "files", params(Page), responses((status = 200, body = Files)))]
pub(crate) async fn list(
    State(vault): Shared,
    origin: Origin,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Files>, Error> {
    let mut audit = Audit::new(Operation::List, origin);
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        let page = page(query)?;
        let found = match &page.name {
            None => rows::of_owner(&vault.db, &caller.user.id, &page.after, page.rows()).await?,
            Some(name) => Vec::from_iter(rows::own(&vault.db, &caller.user.id, name).await?),
        };
        let next = (found.len() as i64 == page.rows()).then(|| found.last().map(FileRow::hex)).flatten();
        vault.record(&audit).await?;
        Ok(Files { files: found.iter().map(|file| describe(file, None)).collect(), next })
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}

/// One file, with the caller's sealed part of its key where the tier has one.
#[utoipa::path(get, path = "/files/{filename}", tag = "files", params(("filename" = String, Path)),
    responses((status = 200, body = FileInfo), (status = 404)))]
pub(crate) async fn inspect(
    State(vault): Shared,
    origin: Origin,
    Path(filename): Path<String>,
) -> Result<Json<FileInfo>, Error> {
    let mut audit = Audit::new(Operation::Inspect, origin);
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        let (file, _) = visible(&vault, &caller, &filename).await?;
        audit.about(&file);
        vault.record(&audit).await?;
        info(&vault, &file, &caller).await
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}

/// Deletes a file for good: first what opens its gate, then the rest.
#[utoipa::path(delete, path = "/delete/{filename}", tag = "files", params(("filename" = String, Path)),
    responses((status = 204), (status = 404)))]
pub(crate) async fn delete(
    State(vault): Shared,
    origin: Origin,
    Path(filename): Path<String>,
) -> Result<StatusCode, Error> {
    let mut audit = Audit::new(Operation::Delete, origin);
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        let file = own(&vault, &caller, &filename).await?;
        audit.about(&file);
        let now = vault.now();
        let mut tx = vault.db.begin().await?;
        if !rows::forget(&mut tx, &file, now.0).await? {
            return Err(Error::Missing("file"));
        }
        audit.done(&mut tx, now).await?;
        tx.commit().await?;
        vault.posted.notify_one();
        // From here on nothing opens it; should a store be away, the janitor comes back to it.
        if let Err(error) = vault.custody.erase(file.id, file.epoch, crate::custody::REPLACED).await {
            tracing::warn!(%error, "a deleted file is left to the janitor");
        }
        Ok(StatusCode::NO_CONTENT)
    };
    let result = result.await;
    vault.settle(&audit, result).await
}

/// Asks for another tier. A higher one counts at once, and its split follows: at once for LOW, else when the user's part is
/// there (`X-Vault-Part`, or the next time the file is opened). A lower one takes a day's dwell and a confirmation.
#[utoipa::path(post, path = "/files/{filename}/tier", tag = "custody", params(("filename" = String, Path)),
    request_body = ChangeTier, responses((status = 200, body = FileInfo), (status = 202, body = FileInfo), (status = 409)))]
pub(crate) async fn change_tier(
    State(vault): Shared,
    origin: Origin,
    Path(filename): Path<String>,
    headers: HeaderMap,
    body: Result<Json<ChangeTier>, JsonRejection>,
) -> Result<(StatusCode, Json<FileInfo>), Error> {
    let mut audit = Audit::new(Operation::ChangeTier, origin);
    let result = move_tier(&vault, &mut audit, &filename, &headers, body).await;
    vault.settle(&audit, result).await.map(|(status, info)| (status, Json(info)))
}

async fn move_tier(
    vault: &Vault,
    audit: &mut Audit,
    filename: &str,
    headers: &HeaderMap,
    body: Result<Json<ChangeTier>, JsonRejection>,
) -> Result<(StatusCode, FileInfo), Error> {
    let caller = vault.admit(audit).await?;
    let asked = json(body)?;
    let (tier, now) = (Tier::from(asked.tier), vault.now());
    let file = any_or_own(vault, &caller, filename, Operation::ChangeTier).await?;
    audit.about(&file);
    let is_lower = (tier as u8) < file.guarded_as() as u8;
    let since = file.tier_since.max(file.tier_wanted_since);
    if is_lower && (!asked.confirm || now.0 - since < DWELL_MS) {
        return Err(Error::Conflict("a lower tier takes a day in the higher one, and `confirm`"));
    }
    let mut tx = vault.db.begin().await?;
    rows::want_tier(&mut tx, &file, tier, now.0).await?;
    audit.note.push(("tier_wanted", crate::outbox::tier_name(tier).to_owned()));
    audit.done(&mut tx, now).await?;
    tx.commit().await?;
    let file = rows::by_id(&vault.db, &file.hex()).await?.ok_or(Error::Missing("file"))?;
    let renewed = match (file.is_due(), file.tier) {
        (false, _) => Renewed::Now,
        (true, Tier::Low) => match vault.renew(&file, audit).await {
            Ok(renewed) => renewed,
            // What is asked for stands, and whoever was faster did not know of it.
            Err(error) => {
                vault.renewals.notify_one();
                match error {
                    Error::Conflict(_) => Renewed::Waits,
                    error => return Err(error),
                }
            }
        },
        (true, _) if headers.contains_key(crate::wire::PART_HEADER) => {
            vault.reseal(&file, &inner(vault, headers, &file).await?, audit).await?;
            Renewed::Now
        }
        (true, _) => Renewed::Waits,
    };
    let file = rows::by_id(&vault.db, &file.hex()).await?.ok_or(Error::Missing("file"))?;
    let status = if renewed == Renewed::Now { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, describe(&file, None)))
}

/// Moves the body to another class: copied, proven, named, and only then deleted where it was, all versions of it. A class
/// is what storage costs and how soon it answers; it protects nothing. What protects is the new gate key that comes along.
#[utoipa::path(post, path = "/files/{filename}/class", tag = "custody", params(("filename" = String, Path)),
    request_body = ChangeClass, responses((status = 200, body = FileInfo), (status = 404)))]
pub(crate) async fn change_class(
    State(vault): Shared,
    origin: Origin,
    Path(filename): Path<String>,
    body: Result<Json<ChangeClass>, JsonRejection>,
) -> Result<Json<FileInfo>, Error> {
    let mut audit = Audit::new(Operation::ChangeClass, origin);
    let result = move_class(&vault, &mut audit, &filename, body).await;
    vault.settle(&audit, result).await.map(Json)
}

async fn move_class(
    vault: &Vault,
    audit: &mut Audit,
    filename: &str,
    body: Result<Json<ChangeClass>, JsonRejection>,
) -> Result<FileInfo, Error> {
    let caller = vault.admit(audit).await?;
    let class = json(body)?.class;
    let file = any_or_own(vault, &caller, filename, Operation::ChangeClass).await?;
    audit.about(&file);
    if file.class == class {
        vault.record(audit).await?;
        return Ok(describe(&file, None));
    }
    let stores = &vault.custody.stores;
    let (from, to) = match class {
        Class::Standard => (&stores.rare, &stores.objects),
        Class::StandardIa => (&stores.objects, &stores.rare),
    };
    // The copy has a name of its own, by an epoch that nobody else has: whoever moves the body at the same time, neither
    // deletes what the other has written.
    let attempt = vault.custody.reserve_body(&file).await?;
    let moved = async {
        copy(from.as_ref(), to.as_ref(), &file, attempt.at.epoch).await?;
        let now = vault.now();
        let mut tx = vault.db.begin().await?;
        rows::move_body(&mut tx, &file, class, attempt.at.epoch, now.0).await?;
        vault.custody.commit_body(&mut tx, &attempt).await?;
        rows::want_rotation(&mut tx, &file, now.0).await?;
        audit.note.push(("class", class.name().to_owned()));
        audit.done(&mut tx, now).await?;
        tx.commit().await.map_err(Error::from)
    };
    if let Err(error) = moved.await {
        vault.custody.give_up(&attempt).await;
        return Err(error);
    }
    vault.posted.notify_one();
    vault.renewals.notify_one();
    // Nothing names it any more. Should the store be away, the janitor finds it with its epoch.
    if let Err(error) = from.delete(file.body()).await {
        tracing::warn!(%error, "a body that was moved is left to the janitor");
    }
    let file = rows::by_id(&vault.db, &file.hex()).await?.ok_or(Error::Missing("file"))?;
    Ok(describe(&file, None))
}

/// Copies a body, as that of another epoch, and proves the copy by the digest that its owner signed.
async fn copy(
    from: &dyn crate::objects::ObjectStore,
    to: &dyn crate::objects::ObjectStore,
    file: &FileRow,
    epoch: u64,
) -> Result<(), Error> {
    use aws_lc_rs::digest::{Context, SHA256};
    use tokio::io::AsyncWriteExt;
    let failed = |e: std::io::Error| Error::store("the object store", &e);
    let span = from.read(file.body(), 0, file.size).await?;
    let mut span = span.ok_or(Error::Conflict("the file was changed meanwhile: read it again"))?;
    let staged = Staged(to.staging().join(crate::clock::random_id()));
    let mut copy = tokio::fs::File::from_std(crate::objects::create(&staged.0).map_err(failed)?);
    let mut hash = Context::new(&SHA256);
    while let Some((piece, rest)) = span.piece().await.map_err(failed)? {
        hash.update(&piece);
        copy.write_all(&piece).await.map_err(failed)?;
        span = rest;
    }
    copy.flush().await.map_err(failed)?;
    copy.sync_data().await.map_err(failed)?;
    if hex::encode(hash.finish()) != file.body_sha256 {
        return Err(Error::Corrupt("the body"));
    }
    to.take(Key { epoch, ..file.body() }, &staged.0).await
}

/// A file of the caller's own; another's sounds like none.
async fn own(vault: &Vault, caller: &Caller, filename: &str) -> Result<FileRow, Error> {
    match visible(vault, caller, filename).await? {
        (file, Right::Owner) => Ok(file),
        _ => Err(Error::Missing("file")),
    }
}

/// A file of the caller's own, or any by id for whom the policy lets do this to others.
async fn any_or_own(
    vault: &Vault,
    caller: &Caller,
    filename: &str,
    operation: Operation,
) -> Result<FileRow, Error> {
    crate::names::file(filename)?;
    let file = rows::find(&vault.db, &caller.user.id, filename).await?.ok_or(Error::Missing("file"))?;
    if vault.may(caller, operation, &file.owner) { Ok(file) } else { Err(Error::Missing("file")) }
}

pub(super) async fn info(vault: &Vault, file: &FileRow, caller: &Caller) -> Result<FileInfo, Error> {
    let part = match file.tier {
        Tier::Low => None,
        _ => vault.custody.part_of_user(file, &caller.user.id).await?,
    };
    Ok(describe(file, part))
}

pub(super) fn describe(file: &FileRow, part: Option<String>) -> FileInfo {
    FileInfo {
        id: file.hex(),
        name: file.name.clone(),
        label: file.label.clone(),
        owner: file.owner.clone(),
        version: file.version,
        epoch: file.epoch,
        tier: file.tier.into(),
        tier_wanted: file.tier_wanted.into(),
        class: file.class,
        size: file.size,
        changed: file.changed,
        part,
    }
}
