//! Accounts: register, log in, stay logged in, log out, and the directory of public keys.

use super::{Shared, base64, json};
use crate::access::Origin;
use crate::accounts::{self, NewUser, UserRow};
use crate::event::Audit;
use crate::password::Verdict;
use crate::policy::{Operation, Role};
use crate::service::Vault;
use crate::throttle::Try;
use crate::token::{ACCESS_MS, Subject};
use crate::wire::{Account, Login, Me, PublicKeys, Publish, Refresh, Register, TokenPair};
use crate::{Error, names};
use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use prunella_schemas::Timestamp;
use prunella_vault_crypto::identity::{PublicKey, Suite};
use zeroize::Zeroizing;

/// Longest sealed identity, in bytes of base64.
const IDENTITY_BYTES_MAX: usize = 4_096;

/// Makes an account. The client makes its keys; the server learns the public halves only.
#[utoipa::path(post, path = "/register", tag = "account", request_body = Register,
    responses((status = 201, body = Account), (status = 409, description = "The name is taken")))]
pub(crate) async fn register(
    State(vault): Shared,
    origin: Origin,
    body: Result<Json<Register>, JsonRejection>,
) -> Result<(StatusCode, Json<Account>), Error> {
    let audit = Audit::new(Operation::Register, origin);
    let made = make_account(&vault, audit.clone(), body).await;
    vault.settle(&audit, made).await.map(|account| (StatusCode::CREATED, Json(account)))
}

async fn make_account(
    vault: &Vault,
    mut audit: Audit,
    body: Result<Json<Register>, JsonRejection>,
) -> Result<Account, Error> {
    let new = json(body)?;
    if !vault.registration {
        return Err(Error::Forbidden);
    }
    names::account(&new.username)?;
    names::password(&new.password)?;
    check_keys(&new.wrap_key, &new.sign_key, &new.sealed_identity)?;
    let password = vault.passwords.hash(Zeroizing::new(new.password)).await?;
    let now = vault.now();
    let mut tx = vault.db.begin().await?;
    let user = NewUser {
        name: &new.username,
        role: Role::User,
        password: &password,
        wrap_key: &new.wrap_key,
        sign_key: &new.sign_key,
        sealed_identity: &new.sealed_identity,
    };
    let id = accounts::add(&mut tx, &user, now).await?;
    audit.user = Some((id.clone(), new.username.clone()));
    audit.subject = audit.user.clone().map(|(id, name)| (id, Some(name)));
    audit.done(&mut tx, now).await?;
    tx.commit().await?;
    vault.posted.notify_one();
    let username = new.username;
    Ok(Account {
        id,
        username,
        role: Role::User,
        token_version: 1,
        locked_until: 0,
        created: now.0,
        rotate_since: 0,
    })
}

/// Whether these are keys at all. Whose they are, their owner's signatures will say.
fn check_keys(wrap: &str, sign: &str, sealed_identity: &str) -> Result<(), Error> {
    if sealed_identity.len() > IDENTITY_BYTES_MAX {
        return Err(Error::TooLarge(IDENTITY_BYTES_MAX as u64));
    }
    base64("sealed_identity", sealed_identity)?;
    PublicKey::parse(Suite::XWing, &base64("wrap_key", wrap)?)
        .map_err(|_| Error::Invalid("wrap_key is not an X-Wing public key".into()))?;
    if base64("sign_key", sign)?.len() != 32 {
        return Err(Error::Invalid("sign_key is not an Ed25519 public key".into()));
    }
    Ok(())
}

/// Publishes the keys of the caller's account, which was imported without any: once. From then on its files can be sealed,
/// and the password is what the client derives from it.
#[utoipa::path(post, path = "/me/keys", tag = "account", request_body = Publish,
    responses((status = 204), (status = 409, description = "The account has keys")))]
pub(crate) async fn publish(
    State(vault): Shared,
    origin: Origin,
    body: Result<Json<Publish>, JsonRejection>,
) -> Result<StatusCode, Error> {
    let mut audit = Audit::new(Operation::PublishKeys, origin);
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        let keys = json(body)?;
        names::password(&keys.password)?;
        check_keys(&keys.wrap_key, &keys.sign_key, &keys.sealed_identity)?;
        let password = vault.passwords.hash(Zeroizing::new(keys.password.clone())).await?;
        let mut tx = vault.db.begin().await?;
        if !accounts::publish_keys(&mut tx, &caller.user.id, &keys, &password).await? {
            return Err(Error::Conflict("the account has keys, and these are not replaced here"));
        }
        audit.done(&mut tx, vault.now()).await?;
        tx.commit().await?;
        vault.posted.notify_one();
        Ok(StatusCode::NO_CONTENT)
    };
    let result = result.await;
    vault.settle(&audit, result).await
}

/// The password form of OAuth 2.0. As much work for accounts that do not exist; 429 with Retry-After after wrong guesses.
#[utoipa::path(post, path = "/login", tag = "account",
    request_body(content = Login, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = TokenPair), (status = 401), (status = 429)))]
pub(crate) async fn login(
    State(vault): Shared,
    origin: Origin,
    body: Result<Form<Login>, FormRejection>,
) -> Result<Json<TokenPair>, Error> {
    let mut audit = Audit::new(Operation::Login, origin);
    let result = log_in(&vault, &mut audit, body).await;
    vault.settle(&audit, result).await.map(Json)
}

async fn log_in(
    vault: &Vault,
    audit: &mut Audit,
    body: Result<Form<Login>, FormRejection>,
) -> Result<TokenPair, Error> {
    let Form(form) =
        body.map_err(|_| Error::Invalid("send grant_type, username and password as a form".into()))?;
    if form.grant_type != "password" {
        return Err(Error::Invalid("grant_type must be `password`".into()));
    }
    names::account(&form.username)?;
    let now = vault.now();
    let user = accounts::by_name(&vault.db, &form.username).await?;
    let known = known_device(vault, audit, user.as_ref()).await?;
    audit.device.clone_from(&known);
    let network = audit.origin.network();
    let is_local = audit.origin.ip.to_canonical().is_loopback();
    let attempt = Try { account: &form.username, network: &network, is_local, device: known.as_deref() };
    audit.user = user.as_ref().map(|user| (user.id.clone(), user.name.clone()));
    audit.subject = Some(match &user {
        Some(user) => (user.id.clone(), Some(user.name.clone())),
        None => (String::new(), Some(form.username.clone())),
    });
    let counted = vault.throttle.begin(&vault.db, &attempt, now).await?;
    let stored = user.as_ref().map(|user| user.password.clone());
    let verdict = match vault.passwords.verify(Zeroizing::new(form.password), stored).await {
        Ok(verdict) => verdict,
        Err(error) => {
            vault.throttle.undo(&vault.db, &counted).await?;
            return Err(error);
        }
    };
    let (Some(user), false) = (user, verdict == Verdict::Wrong) else {
        return Err(Error::Unauthenticated);
    };
    // A right password of a locked account sounds like a wrong one, and is not counted as a guess.
    if user.is_locked(now) {
        vault.throttle.undo(&vault.db, &counted).await?;
        return Err(Error::Unauthenticated);
    }
    if let Verdict::Renewed(hash) = verdict {
        accounts::set_password(&vault.db, &user.id, &hash).await?;
    }
    vault.throttle.succeeded(&vault.db, &attempt, &counted).await?;
    begin(vault, audit, &user, known, now).await
}

/// The device that the request shows, if the account knows it.
async fn known_device(vault: &Vault, audit: &Audit, user: Option<&UserRow>) -> Result<Option<String>, Error> {
    let Some(user) = user else { return Ok(None) };
    let Some(device) = vault.devices.shown(&audit.origin, &user.id) else { return Ok(None) };
    Ok(accounts::knows_device(&vault.db, &device, &user.id).await?.then_some(device))
}

async fn begin(
    vault: &Vault,
    audit: &mut Audit,
    user: &UserRow,
    known: Option<String>,
    now: Timestamp,
) -> Result<TokenPair, Error> {
    let (device, device_token) = match known {
        Some(device) => (device, None),
        None => vault.devices.issue(&user.id).map(|(device, token)| (device, Some(token)))?,
    };
    let mut tx = vault.db.begin().await?;
    if device_token.is_some() {
        accounts::remember_device(&mut tx, &device, &user.id, now).await?;
        audit.note.push(("device", "new".into()));
    }
    audit.device = Some(device.clone());
    let network = audit.origin.network();
    let (session, refresh_token) =
        accounts::begin_session(&mut tx, &vault.tokens, &user.id, &device, &network, now).await?;
    audit.session = Some((session.clone(), Some(now)));
    audit.done(&mut tx, now).await?;
    tx.commit().await?;
    vault.posted.notify_one();
    let subject =
        Subject { user: &user.id, session: &session, version: user.token_version, authenticated: now };
    Ok(TokenPair {
        access_token: vault.tokens.issue(&subject, now)?,
        token_type: "bearer".into(),
        expires_in: ACCESS_MS / 1_000,
        refresh_token,
        device_token: device_token.unwrap_or_default(),
    })
}

/// A new pair of tokens. A refresh token works once; one that was used before ends its session.
#[utoipa::path(post, path = "/token/refresh", tag = "account", request_body = Refresh,
    responses((status = 200, body = TokenPair), (status = 401)))]
pub(crate) async fn refresh(
    State(vault): Shared,
    origin: Origin,
    body: Result<Json<Refresh>, JsonRejection>,
) -> Result<Json<TokenPair>, Error> {
    let mut audit = Audit::new(Operation::Refresh, origin);
    let result = renew(&vault, &mut audit, body).await;
    vault.settle(&audit, result).await.map(Json)
}

async fn renew(
    vault: &Vault,
    audit: &mut Audit,
    body: Result<Json<Refresh>, JsonRejection>,
) -> Result<TokenPair, Error> {
    let shown = json(body)?.refresh_token;
    let (id, secret) = shown.split_once('.').ok_or(Error::Unauthenticated)?;
    let session = accounts::session(&vault.db, id).await?.ok_or(Error::Unauthenticated)?;
    let user = accounts::by_id(&vault.db, &session.user).await?.ok_or(Error::Unauthenticated)?;
    audit.session = Some((session.id.clone(), Some(Timestamp(session.created))));
    audit.user = Some((user.id.clone(), user.name.clone()));
    audit.device = vault.devices.shown(&audit.origin, &user.id);
    let now = vault.now();
    let is_refused = session.refused_until > now.0 || user.is_locked(now);
    if session.ended != 0 || session.expires <= now.0 || is_refused {
        return Err(Error::Unauthenticated);
    }
    let refresh_token = vault.tokens.refresh(&session.id)?;
    let digest = accounts::digest_of_refresh(&refresh_token);
    let mut tx = vault.db.begin().await?;
    if !accounts::swap_refresh(&mut tx, &session.id, &accounts::digest_of(secret), &digest).await? {
        if !vault.tokens.was_issued(&session.id, secret) {
            return Err(Error::Unauthenticated);
        }
        audit.note.push(("reuse", "a refresh token was shown twice: the session is over".into()));
        accounts::end_session(&mut tx, &session.id, now).await?;
        tx.commit().await?;
        return Err(Error::Unauthenticated);
    }
    audit.done(&mut tx, now).await?;
    tx.commit().await?;
    vault.posted.notify_one();
    let authenticated = Timestamp(session.authenticated);
    let subject =
        Subject { user: &user.id, session: &session.id, version: user.token_version, authenticated };
    Ok(TokenPair {
        access_token: vault.tokens.issue(&subject, now)?,
        token_type: "bearer".into(),
        expires_in: ACCESS_MS / 1_000,
        refresh_token,
        device_token: String::new(),
    })
}

/// Ends the session: its tokens count no more.
#[utoipa::path(post, path = "/logout", tag = "account", responses((status = 204)))]
pub(crate) async fn logout(State(vault): Shared, origin: Origin) -> Result<StatusCode, Error> {
    let mut audit = Audit::new(Operation::Logout, origin);
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        let now = vault.now();
        let mut tx = vault.db.begin().await?;
        accounts::end_session(&mut tx, &caller.session.id, now).await?;
        audit.done(&mut tx, now).await?;
        tx.commit().await?;
        vault.posted.notify_one();
        Ok(StatusCode::NO_CONTENT)
    };
    let result = result.await;
    vault.settle(&audit, result).await
}

/// The caller's account.
#[utoipa::path(get, path = "/me", tag = "account", responses((status = 200, body = Me)))]
pub(crate) async fn me(State(vault): Shared, origin: Origin) -> Result<Json<Me>, Error> {
    let mut audit = Audit::new(Operation::Me, origin);
    let result = async {
        let caller = vault.admit(&mut audit).await?;
        vault.record(&audit).await?;
        Ok(Me { account: account(&caller.user), sealed_identity: caller.user.sealed_identity.clone() })
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}

/// The public keys of an account, by name or id. Pin them: who can swap a key here can have files sealed to himself.
#[utoipa::path(get, path = "/keys/{username}", tag = "account", params(("username" = String, Path)),
    responses((status = 200, body = PublicKeys), (status = 404)))]
pub(crate) async fn keys(
    State(vault): Shared,
    origin: Origin,
    Path(username): Path<String>,
) -> Result<Json<PublicKeys>, Error> {
    let mut audit = Audit::new(Operation::Keys, origin);
    let result = async {
        vault.admit(&mut audit).await?;
        let user = match accounts::by_name(&vault.db, &username).await? {
            Some(user) => Some(user),
            None => accounts::by_id(&vault.db, &username).await?,
        };
        let user = user.filter(|user| !user.wrap_key.is_empty()).ok_or(Error::Missing("account"))?;
        audit.subject = Some((user.id.clone(), Some(user.name.clone())));
        vault.record(&audit).await?;
        Ok(public_keys(&user))
    };
    let result = result.await;
    vault.settle(&audit, result).await.map(Json)
}

pub(super) fn account(user: &UserRow) -> Account {
    Account {
        id: user.id.clone(),
        username: user.name.clone(),
        role: user.role,
        token_version: user.token_version,
        locked_until: user.locked_until,
        created: user.created,
        rotate_since: user.rotate_since,
    }
}

pub(super) fn public_keys(user: &UserRow) -> PublicKeys {
    PublicKeys {
        id: user.id.clone(),
        username: user.name.clone(),
        wrap_key: user.wrap_key.clone(),
        sign_key: user.sign_key.clone(),
    }
}
