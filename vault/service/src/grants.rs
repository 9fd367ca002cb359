//! Grants: who else may open a file, until when, how often.

use crate::Error;
use crate::access::Caller;
use crate::accounts;
use crate::db::{Database, Tx};
use crate::files::FileRow;
use crate::service::Vault;
use crate::wire::{Share, ShareMode};
use prunella_schemas::Timestamp;
use sqlx::Row;
use sqlx::any::AnyRow;

/// Most grants of one file that count.
pub const GRANTS_MAX: i64 = 64;
/// `downloads_left` of a grant without bound.
const UNBOUND: i64 = -1;

#[derive(Clone)]
pub(crate) struct GrantRow {
    pub id: String,
    pub file: String,
    pub owner: String,
    pub recipient: String,
    pub mode: ShareMode,
    pub expires: i64,
    pub downloads_left: i64,
    /// Of a proxy share: the signed grant, base64, and the sealed key that turns.
    pub signed: String,
    pub rekey: String,
}

const GRANT: &str =
    "SELECT id, file, owner, recipient, mode, expires, downloads_left, signed, rekey FROM grants ";

impl GrantRow {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        let mode = if row.try_get::<String, _>(4)? == "proxy" { ShareMode::Proxy } else { ShareMode::Direct };
        Ok(GrantRow {
            id: row.try_get(0)?,
            file: row.try_get(1)?,
            owner: row.try_get(2)?,
            recipient: row.try_get(3)?,
            mode,
            expires: row.try_get(5)?,
            downloads_left: row.try_get(6)?,
            signed: row.try_get(7)?,
            rekey: row.try_get(8)?,
        })
    }

    fn counts(&self, now: Timestamp) -> bool {
        (self.expires == 0 || now.0 < self.expires) && self.downloads_left != 0
    }

    pub(crate) fn share(&self) -> Share {
        Share {
            id: self.id.clone(),
            file: self.file.clone(),
            owner: self.owner.clone(),
            recipient: self.recipient.clone(),
            mode: self.mode,
            expires: self.expires,
            downloads_left: u32::try_from(self.downloads_left).ok(),
        }
    }
}

/// Why a caller may open a file.
pub(crate) enum Right {
    Owner,
    Granted(GrantRow),
}

impl Vault {
    /// Whether the caller may open the file. No right, a revoked one and no such file sound alike.
    pub(crate) async fn right(&self, caller: &Caller, file: &FileRow) -> Result<Right, Error> {
        if caller.is(&file.owner) {
            return Ok(Right::Owner);
        }
        let missing = Error::Missing("file");
        let now = self.now();
        let owner = accounts::by_id(&self.db, &file.owner).await?.ok_or(missing.clone())?;
        if now.0 < owner.grants_suspended_until || owner.is_locked(now) {
            return Err(missing);
        }
        let found = of_file_for(&self.db, &file.hex(), &caller.user.id).await?;
        found.into_iter().find(|grant| grant.counts(now)).map(Right::Granted).ok_or(missing)
    }
}

pub(crate) async fn of_file_for(db: &Database, file: &str, recipient: &str) -> Result<Vec<GrantRow>, Error> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "{GRANT}WHERE file = $1 AND recipient = $2 AND revoked = 0 ORDER BY created DESC LIMIT $3"
    )));
    let rows = rows.bind(file).bind(recipient).bind(GRANTS_MAX).fetch_all(db.pool()).await?;
    rows.iter().map(GrantRow::read).collect()
}

/// Everybody to whom a file is granted now.
pub(crate) async fn of_file(db: &Database, file: &str, now: Timestamp) -> Result<Vec<GrantRow>, Error> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "{GRANT}WHERE file = $1 AND revoked = 0 ORDER BY id LIMIT $2"
    )));
    let rows = rows.bind(file).bind(GRANTS_MAX).fetch_all(db.pool()).await?;
    let all = rows.iter().map(GrantRow::read).collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().filter(|grant| grant.counts(now)).collect())
}

/// What a user has given and got.
pub(crate) async fn of_user(db: &Database, user: &str, limit: i64) -> Result<Vec<GrantRow>, Error> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "{GRANT}WHERE (owner = $1 OR recipient = $1) AND revoked = 0 ORDER BY created DESC, id LIMIT $2"
    )));
    let rows = rows.bind(user).bind(limit).fetch_all(db.pool()).await?;
    rows.iter().map(GrantRow::read).collect()
}

pub(crate) async fn by_id(db: &Database, id: &str) -> Result<Option<GrantRow>, Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{GRANT}WHERE id = $1 AND revoked = 0")));
    row.bind(id).fetch_optional(db.pool()).await?.map(|row| GrantRow::read(&row)).transpose()
}

pub(crate) async fn add(tx: &mut Tx, grant: &GrantRow, now: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO grants (id, file, owner, recipient, mode, expires, downloads_left, revoked, signed, rekey, created)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $10)",
    )
    .bind(&grant.id)
    .bind(&grant.file)
    .bind(&grant.owner)
    .bind(&grant.recipient)
    .bind(if grant.mode == ShareMode::Proxy { "proxy" } else { "direct" })
    .bind(grant.expires)
    .bind(grant.downloads_left)
    .bind(&grant.signed)
    .bind(&grant.rekey)
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// How often a grant may be used, as a request says it.
pub(crate) fn bound(downloads_max: u32) -> i64 {
    if downloads_max == 0 { UNBOUND } else { i64::from(downloads_max) }
}

/// Ends a grant and forgets the key that turns; false when it had ended.
pub(crate) async fn revoke(tx: &mut Tx, id: &str, now: Timestamp) -> Result<bool, Error> {
    let revoked = sqlx::query("UPDATE grants SET revoked = $1, rekey = '' WHERE id = $2 AND revoked = 0");
    Ok(revoked.bind(now.0).bind(id).execute(&mut **tx).await?.rows_affected() == 1)
}

/// Counts one download; refused when none is left.
pub(crate) async fn use_up(tx: &mut Tx, id: &str) -> Result<(), Error> {
    let used = sqlx::query(
        "UPDATE grants SET downloads_left = CASE WHEN downloads_left > 0 THEN downloads_left - 1 ELSE downloads_left END
         WHERE id = $1 AND revoked = 0 AND downloads_left <> 0",
    );
    let used = used.bind(id).execute(&mut **tx).await?.rows_affected();
    if used == 1 { Ok(()) } else { Err(Error::Missing("file")) }
}
