//! Accounts, sessions and devices, as the database knows them.

use crate::Error;
use crate::access::Origin;
use crate::clock::random_id;
use crate::db::{Database, Tx};
use crate::keyring::Ring;
use crate::policy::Role;
use crate::token::{SESSION_MS, Tokens};
use crate::wire::Publish;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use prunella_schemas::Timestamp;
use prunella_vault_crypto::identity::{PublicKey, Suite, VerifyingKey};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::sync::Arc;

pub(crate) const DEVICE_KEY: &str = "device";

#[derive(Clone)]
pub(crate) struct UserRow {
    pub id: String,
    pub name: String,
    pub role: Role,
    pub password: String,
    pub token_version: i64,
    pub locked_until: i64,
    pub step_up_since: i64,
    pub grants_suspended_until: i64,
    pub rotate_since: i64,
    /// No token from before counts, since when the version says so.
    pub tokens_not_before: i64,
    /// X-Wing, base64. Empty for accounts that were imported and have not published keys.
    pub wrap_key: String,
    /// Ed25519, base64.
    pub sign_key: String,
    pub sealed_identity: String,
    pub created: i64,
}

const USER: &str = "SELECT id, name, role, password, token_version, locked_until, step_up_since, grants_suspended_until, \
                    rotate_since, wrap_key, sign_key, sealed_identity, created, tokens_not_before FROM users ";

impl UserRow {
    pub(crate) fn is_locked(&self, now: Timestamp) -> bool {
        now.0 < self.locked_until
    }

    pub(crate) fn wrap_key(&self) -> Result<PublicKey, Error> {
        let bytes = decode(&self.wrap_key)?;
        PublicKey::parse(Suite::XWing, &bytes)
            .map_err(|_| Error::Conflict("the account has published no keys yet"))
    }

    pub(crate) fn sign_key(&self) -> Result<VerifyingKey, Error> {
        let bytes = decode(&self.sign_key)?.try_into();
        bytes.map(VerifyingKey).map_err(|_| Error::Conflict("the account has published no keys yet"))
    }

    fn read(row: &AnyRow) -> Result<Self, Error> {
        let role: String = row.try_get(2)?;
        Ok(UserRow {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            role: Role::parse(&role).ok_or(Error::Corrupt("the database"))?,
            password: row.try_get(3)?,
            token_version: row.try_get(4)?,
            locked_until: row.try_get(5)?,
            step_up_since: row.try_get(6)?,
            grants_suspended_until: row.try_get(7)?,
            rotate_since: row.try_get(8)?,
            wrap_key: row.try_get(9)?,
            sign_key: row.try_get(10)?,
            sealed_identity: row.try_get(11)?,
            created: row.try_get(12)?,
            tokens_not_before: row.try_get(13)?,
        })
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Error> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| Error::Corrupt("the database"))
}

async fn one(db: &Database, by: &'static str, value: &str) -> Result<Option<UserRow>, Error> {
    let row =
        sqlx::query(sqlx::AssertSqlSafe(format!("{USER}{by}"))).bind(value).fetch_optional(db.pool()).await?;
    row.map(|row| UserRow::read(&row)).transpose()
}

pub(crate) async fn by_id(db: &Database, id: &str) -> Result<Option<UserRow>, Error> {
    one(db, "WHERE id = $1", id).await
}

pub(crate) async fn by_name(db: &Database, name: &str) -> Result<Option<UserRow>, Error> {
    one(db, "WHERE name = $1", name).await
}

/// A page of accounts, by id.
pub(crate) async fn page(db: &Database, after: &str, limit: i64) -> Result<Vec<UserRow>, Error> {
    let page = format!("{USER}WHERE id > $1 ORDER BY id LIMIT $2");
    let rows = sqlx::query(sqlx::AssertSqlSafe(page)).bind(after).bind(limit).fetch_all(db.pool()).await?;
    rows.iter().map(UserRow::read).collect()
}

/// A new account.
pub(crate) struct NewUser<'a> {
    pub name: &'a str,
    pub role: Role,
    pub password: &'a str,
    pub wrap_key: &'a str,
    pub sign_key: &'a str,
    pub sealed_identity: &'a str,
}

/// Adds it and gives its id; a name that is taken is a conflict.
pub(crate) async fn add(tx: &mut Tx, user: &NewUser<'_>, now: Timestamp) -> Result<String, Error> {
    let id = random_id();
    sqlx::query(
        "INSERT INTO users (id, name, role, password, token_version, locked_until, step_up_since, grants_suspended_until,
                            rotate_since, wrap_key, sign_key, sealed_identity, created)
         VALUES ($1, $2, $3, $4, 1, 0, 0, 0, 0, $5, $6, $7, $8)",
    )
    .bind(&id)
    .bind(user.name)
    .bind(user.role.name())
    .bind(user.password)
    .bind(user.wrap_key)
    .bind(user.sign_key)
    .bind(user.sealed_identity)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(id)
}

pub(crate) async fn set_password(db: &Database, id: &str, hash: &str) -> Result<(), Error> {
    sqlx::query("UPDATE users SET password = $1 WHERE id = $2")
        .bind(hash)
        .bind(id)
        .execute(db.pool())
        .await?;
    Ok(())
}

/// Gives an account its keys, with the password that goes along; false when it has some.
pub(crate) async fn publish_keys(
    tx: &mut Tx,
    id: &str,
    keys: &Publish,
    password: &str,
) -> Result<bool, Error> {
    let published = sqlx::query(
        "UPDATE users SET wrap_key = $1, sign_key = $2, sealed_identity = $3, password = $4
         WHERE id = $5 AND wrap_key = '' AND sign_key = ''",
    );
    let published = published.bind(&keys.wrap_key).bind(&keys.sign_key).bind(&keys.sealed_identity);
    Ok(published.bind(password).bind(id).execute(&mut **tx).await?.rows_affected() == 1)
}

/// Makes all tokens of an account void, and its sessions with them.
pub(crate) async fn revoke_tokens(tx: &mut Tx, user: &str, now: Timestamp) -> Result<i64, Error> {
    let bumped = sqlx::query_scalar(
        "UPDATE users SET token_version = token_version + 1, tokens_not_before = $2 WHERE id = $1
         RETURNING token_version",
    );
    let version = bumped
        .bind(user)
        .bind(now.plus_ms(1).0)
        .fetch_optional(&mut **tx)
        .await?
        .ok_or(Error::Missing("account"))?;
    sqlx::query("UPDATE sessions SET ended = $1 WHERE user_id = $2 AND ended = 0")
        .bind(now.0)
        .bind(user)
        .execute(&mut **tx)
        .await?;
    Ok(version)
}

/// Sets one of the account's instants; 0 takes it back.
pub(crate) async fn set_instant(tx: &mut Tx, user: &str, which: Instant, value: i64) -> Result<(), Error> {
    let statement = match which {
        // A lock, and what has begun, only ever becomes later.
        Instant::LockedUntil => {
            "UPDATE users SET locked_until = CASE WHEN locked_until > $1 AND $1 > 0 THEN locked_until ELSE $1 END WHERE id = $2"
        }
        Instant::StepUpSince => {
            "UPDATE users SET step_up_since = CASE WHEN step_up_since > $1 THEN step_up_since ELSE $1 END WHERE id = $2"
        }
        Instant::GrantsSuspendedUntil => "UPDATE users SET grants_suspended_until = $1 WHERE id = $2",
        Instant::RotateSince => "UPDATE users SET rotate_since = $1 WHERE id = $2",
    };
    let set = sqlx::query(statement).bind(value).bind(user).execute(&mut **tx).await?;
    if set.rows_affected() == 1 { Ok(()) } else { Err(Error::Missing("account")) }
}

/// Sets one of the account's instants if it still is `expected`; else says what it is.
pub(crate) async fn swap_instant(
    tx: &mut Tx,
    user: &str,
    which: Instant,
    expected: i64,
    value: i64,
) -> Result<Result<(), i64>, Error> {
    let column = match which {
        Instant::LockedUntil => "locked_until",
        Instant::StepUpSince => "step_up_since",
        Instant::GrantsSuspendedUntil => "grants_suspended_until",
        Instant::RotateSince => "rotate_since",
    };
    swap(tx, "users", column, user, expected, value).await
}

/// The same for how long one session is refused.
pub(crate) async fn swap_refusal(
    tx: &mut Tx,
    session: &str,
    expected: i64,
    value: i64,
) -> Result<Result<(), i64>, Error> {
    swap(tx, "sessions", "refused_until", session, expected, value).await
}

async fn swap(
    tx: &mut Tx,
    table: &'static str,
    column: &'static str,
    id: &str,
    expected: i64,
    value: i64,
) -> Result<Result<(), i64>, Error> {
    let set = format!("UPDATE {table} SET {column} = $1 WHERE id = $2 AND {column} = $3");
    let set = sqlx::query(sqlx::AssertSqlSafe(set)).bind(value).bind(id).bind(expected);
    if set.execute(&mut **tx).await?.rows_affected() == 1 {
        return Ok(Ok(()));
    }
    let found = format!("SELECT {column} FROM {table} WHERE id = $1");
    let found: Option<i64> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(found)).bind(id).fetch_optional(&mut **tx).await?;
    found.map(Err).ok_or(Error::Missing("account"))
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Instant {
    LockedUntil,
    StepUpSince,
    GrantsSuspendedUntil,
    RotateSince,
}

#[derive(Clone)]
pub(crate) struct Session {
    pub id: String,
    pub user: String,
    pub device: String,
    pub network: String,
    pub expires: i64,
    pub ended: i64,
    pub authenticated: i64,
    pub created: i64,
    pub refused_until: i64,
}

pub(crate) async fn session(db: &Database, id: &str) -> Result<Option<Session>, Error> {
    let row = sqlx::query(
        "SELECT id, user_id, device, network, expires, ended, authenticated, created, refused_until
         FROM sessions WHERE id = $1",
    );
    let row = row.bind(id).fetch_optional(db.pool()).await?;
    row.map(|row| {
        Ok(Session {
            id: row.try_get(0)?,
            user: row.try_get(1)?,
            device: row.try_get(2)?,
            network: row.try_get(3)?,
            expires: row.try_get(4)?,
            ended: row.try_get(5)?,
            authenticated: row.try_get(6)?,
            created: row.try_get(7)?,
            refused_until: row.try_get(8)?,
        })
    })
    .transpose()
}

/// What the database knows of a refresh token: the digest of its secret.
pub(crate) fn digest_of_refresh(token: &str) -> String {
    digest_of(token.split_once('.').map_or("", |(_, secret)| secret))
}

pub(crate) fn digest_of(secret: &str) -> String {
    hex::encode(digest(&SHA256, secret.as_bytes()))
}

/// Begins a session and gives its refresh token.
pub(crate) async fn begin_session(
    tx: &mut Tx,
    tokens: &Tokens,
    user: &str,
    device: &str,
    network: &str,
    now: Timestamp,
) -> Result<(String, String), Error> {
    let id = random_id();
    let token = tokens.refresh(&id)?;
    sqlx::query(
        "INSERT INTO sessions (id, user_id, device, network, refresh, expires, ended, authenticated, created)
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $7)",
    )
    .bind(&id)
    .bind(user)
    .bind(device)
    .bind(network)
    .bind(digest_of_refresh(&token))
    .bind(now.plus_ms(SESSION_MS).0)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok((id, token))
}

/// Swaps the refresh token; false when it is not the session's newest.
pub(crate) async fn swap_refresh(tx: &mut Tx, session: &str, old: &str, new: &str) -> Result<bool, Error> {
    let swapped =
        sqlx::query("UPDATE sessions SET refresh = $1 WHERE id = $2 AND refresh = $3 AND ended = 0");
    Ok(swapped.bind(new).bind(session).bind(old).execute(&mut **tx).await?.rows_affected() == 1)
}

pub(crate) async fn end_session(tx: &mut Tx, session: &str, now: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET ended = $1 WHERE id = $2 AND ended = 0")
        .bind(now.0)
        .bind(session)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Device tokens: a random name that the ring's key has signed for one account.
pub(crate) struct Devices {
    ring: Arc<Ring>,
}

impl Devices {
    pub(crate) fn new(ring: Arc<Ring>) -> Self {
        Devices { ring }
    }

    /// A new device of an account: its name and the token that proves it.
    pub(crate) fn issue(&self, user: &str) -> Result<(String, String), Error> {
        let (version, key) = self.ring.newest(DEVICE_KEY)?;
        let device = random_id();
        let tag =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*key), format!("{device}.{user}").as_bytes());
        Ok((device.clone(), format!("{version}.{device}.{}", hex::encode(tag))))
    }

    /// The name of the device that a request shows, if it is one of this account.
    pub(crate) fn shown(&self, origin: &Origin, user: &str) -> Option<String> {
        self.check(origin.device.as_deref()?, user)
    }

    /// The name of the device, if the token is one of this account.
    pub(crate) fn check(&self, token: &str, user: &str) -> Option<String> {
        let mut fields = token.split('.');
        let (version, device, tag) =
            (fields.next()?.parse().ok()?, fields.next()?, hex::decode(fields.next()?).ok()?);
        let key = self.ring.version(DEVICE_KEY, version)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*key);
        let holds = fields.next().is_none()
            && hmac::verify(&key, format!("{device}.{user}").as_bytes(), &tag).is_ok();
        holds.then(|| device.to_owned())
    }
}

pub(crate) async fn remember_device(
    tx: &mut Tx,
    device: &str,
    user: &str,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO devices (id, user_id, first_seen) VALUES ($1, $2, $3)")
        .bind(device)
        .bind(user)
        .bind(now.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Whether the account still trusts the device.
pub(crate) async fn knows_device(db: &Database, device: &str, user: &str) -> Result<bool, Error> {
    let known = sqlx::query("SELECT 1 FROM devices WHERE id = $1 AND user_id = $2").bind(device).bind(user);
    Ok(known.fetch_optional(db.pool()).await?.is_some())
}

/// Forgets all devices of an account: each must prove itself anew.
pub(crate) async fn forget_devices(tx: &mut Tx, user: &str) -> Result<(), Error> {
    sqlx::query("DELETE FROM devices WHERE user_id = $1").bind(user).execute(&mut **tx).await?;
    Ok(())
}
