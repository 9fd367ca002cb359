//! Files as the database knows them: who owns which, in which epoch and tier, and who else may open it.

use crate::Error;
use crate::custody;
use crate::db::{Database, Tx};
use crate::objects::{Key, Kind};
use prunella_vault_crypto::FileId;
use prunella_vault_crypto::gate::{Epoch, Tier};
use sqlx::Row;
use sqlx::any::AnyRow;

/// Where a body lies, and what reading it costs. It protects nothing by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Class {
    Standard,
    StandardIa,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::Standard => "STANDARD",
            Class::StandardIa => "STANDARD_IA",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct FileRow {
    pub id: FileId,
    pub owner: String,
    /// The name under which its owner asks for it; the client makes it, and it may say nothing.
    pub name: String,
    /// The name sealed by the client, for the client.
    pub label: String,
    pub version: u64,
    pub epoch: u64,
    pub body_epoch: u64,
    pub tier: Tier,
    pub tier_since: i64,
    pub class: Class,
    /// Bytes of the sealed body.
    pub size: u64,
    pub blob_sha256: String,
    pub changed: i64,
    pub tier_wanted: Tier,
    /// Since when a higher tier than before is wanted; 0: never raised.
    pub tier_wanted_since: i64,
    pub epoch_since: i64,
    pub rotate_wanted: i64,
    pub body_sha256: String,
}

const COLUMNS: &str = "f.id, f.owner, n.name, f.label, f.version, f.epoch, f.body_epoch, f.tier, f.tier_since, f.class, \
                       f.size, f.blob_sha256, f.changed, f.tier_wanted, f.epoch_since, f.rotate_wanted, f.body_sha256, \
                       f.tier_wanted_since FROM files f JOIN names n ON n.file = f.id";

impl FileRow {
    pub(crate) fn at(&self) -> Epoch {
        Epoch { file: self.id, epoch: self.epoch, tier: self.tier }
    }

    pub(crate) fn body(&self) -> Key {
        Key { kind: Kind::Body, file: self.id, epoch: self.body_epoch }
    }

    /// Whether a new epoch is due.
    pub(crate) fn is_due(&self) -> bool {
        self.tier != self.tier_wanted || self.rotate_wanted > self.epoch_since
    }

    /// The tier by which requests are judged: what was asked for counts before it is done.
    pub(crate) fn guarded_as(&self) -> Tier {
        if self.tier_wanted as u8 > self.tier as u8 { self.tier_wanted } else { self.tier }
    }

    pub(crate) fn hex(&self) -> String {
        hex::encode(self.id.0)
    }

    fn read(row: &AnyRow) -> Result<Self, Error> {
        let damaged = Error::Corrupt("the database");
        let whole = |at: usize| -> Result<u64, Error> { Ok(row.try_get::<i64, _>(at)?.max(0) as u64) };
        let id = hex::decode(row.try_get::<String, _>(0)?).ok().and_then(|id| id.try_into().ok());
        Ok(FileRow {
            id: FileId(id.ok_or(damaged.clone())?),
            owner: row.try_get(1)?,
            name: row.try_get(2)?,
            label: row.try_get(3)?,
            version: whole(4)?,
            epoch: whole(5)?,
            body_epoch: whole(6)?,
            tier: tier(row.try_get(7)?).ok_or(damaged.clone())?,
            tier_since: row.try_get(8)?,
            class: if row.try_get::<String, _>(9)? == Class::Standard.name() {
                Class::Standard
            } else {
                Class::StandardIa
            },
            size: whole(10)?,
            blob_sha256: row.try_get(11)?,
            changed: row.try_get(12)?,
            tier_wanted: tier(row.try_get(13)?).ok_or(damaged)?,
            epoch_since: row.try_get(14)?,
            rotate_wanted: row.try_get(15)?,
            body_sha256: row.try_get(16)?,
            tier_wanted_since: row.try_get(17)?,
        })
    }
}

pub(crate) fn tier(number: i64) -> Option<Tier> {
    [Tier::Low, Tier::Medium, Tier::High].into_iter().find(|tier| *tier as i64 == number)
}

/// The file that a user means: one of the user's own by name, or any by id. Who may open it is asked elsewhere.
pub(crate) async fn find(db: &Database, user: &str, name: &str) -> Result<Option<FileRow>, Error> {
    match own(db, user, name).await? {
        Some(file) => Ok(Some(file)),
        None => by_id(db, name).await,
    }
}

/// A user's own file by name.
pub(crate) async fn own(db: &Database, user: &str, name: &str) -> Result<Option<FileRow>, Error> {
    // The statements are constant; what a client sends is bound.
    let own = format!("SELECT {COLUMNS} WHERE n.owner = $1 AND n.name = $2 AND f.epoch > 0 AND f.erased = 0");
    let row = sqlx::query(sqlx::AssertSqlSafe(own)).bind(user).bind(name).fetch_optional(db.pool()).await?;
    row.map(|row| FileRow::read(&row)).transpose()
}

pub(crate) async fn by_id(db: &Database, id: &str) -> Result<Option<FileRow>, Error> {
    let any = format!("SELECT {COLUMNS} WHERE f.id = $1 AND f.epoch > 0 AND f.erased = 0");
    let row = sqlx::query(sqlx::AssertSqlSafe(any)).bind(id).fetch_optional(db.pool()).await?;
    row.map(|row| FileRow::read(&row)).transpose()
}

/// A page of a user's files, by id.
pub(crate) async fn of_owner(
    db: &Database,
    owner: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<FileRow>, Error> {
    let page = format!(
        "SELECT {COLUMNS} WHERE f.owner = $1 AND f.id > $2 AND f.epoch > 0 AND f.erased = 0 ORDER BY f.id LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(page))
        .bind(owner)
        .bind(after)
        .bind(limit)
        .fetch_all(db.pool())
        .await?;
    rows.iter().map(FileRow::read).collect()
}

/// Makes room for a new file of a tier. It is not visible before its first epoch commits.
pub(crate) async fn create(
    db: &Database,
    id: FileId,
    owner: &str,
    tier: Tier,
    now: i64,
) -> Result<(), Error> {
    let new = sqlx::query(
        "INSERT INTO files (id, owner, label, version, epoch, next_epoch, body_epoch, tier, tier_since, tier_wanted,
                            epoch_since, rotate_wanted, class, size, blob_sha256, body_sha256, created, changed, erased)
         VALUES ($1, $2, '', 0, 0, 1, 0, 1, $3, $4, 0, 0, 'STANDARD', 0, '', '', $3, $3, 0)",
    );
    let new = new.bind(hex::encode(id.0)).bind(owner).bind(now).bind(tier as i64);
    new.execute(db.pool()).await?;
    Ok(())
}

/// What an upload says of its file.
pub(crate) struct Content<'a> {
    pub name: &'a str,
    pub label: &'a str,
    pub version: u64,
    pub body_epoch: u64,
    pub size: u64,
    pub blob_sha256: &'a str,
    pub body_sha256: &'a str,
    pub now: i64,
}

/// Names the new content, in the transaction that commits its epoch.
pub(crate) async fn describe(
    tx: &mut Tx,
    owner: &str,
    file: FileId,
    content: &Content<'_>,
) -> Result<(), Error> {
    let id = hex::encode(file.0);
    give_body_up(tx, &id, content.now).await?;
    sqlx::query(
        "UPDATE files SET label = $1, version = $2, body_epoch = $3, size = $4, blob_sha256 = $5, body_sha256 = $6,
                          class = 'STANDARD' WHERE id = $7",
    )
        .bind(content.label)
        .bind(content.version as i64)
        .bind(content.body_epoch as i64)
        .bind(content.size as i64)
        .bind(content.blob_sha256)
        .bind(content.body_sha256)
        .bind(&id)
        .execute(&mut **tx)
        .await?;
    if content.version == 1 {
        // The primary key refuses the second of two new files with one name.
        sqlx::query("INSERT INTO names (owner, name, file) VALUES ($1, $2, $3)")
            .bind(owner)
            .bind(content.name)
            .bind(&id)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// The epoch that holds the body may have been erased but for it, or be about to: from now on the body goes too.
async fn give_body_up(tx: &mut Tx, id: &str, now: i64) -> Result<(), Error> {
    sqlx::query(
        "UPDATE attempts SET state = $1, settled = $2
         WHERE file = $3 AND state IN ($1, $4) AND epoch = (SELECT body_epoch FROM files WHERE id = $3)",
    )
    .bind(custody::REPLACED)
    .bind(now)
    .bind(id)
    .bind(custody::ERASED)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Asks for a tier, if nobody has asked for another one meanwhile. What is asked for counts at once for who may open the
/// file; the split follows.
pub(crate) async fn want_tier(tx: &mut Tx, file: &FileRow, tier: Tier, now: i64) -> Result<(), Error> {
    let wanted = sqlx::query(
        "UPDATE files SET tier_wanted = $1, tier_wanted_since = CASE WHEN tier_wanted < $1 THEN $4 ELSE tier_wanted_since END
         WHERE id = $2 AND tier_wanted = $3 AND erased = 0",
    );
    let wanted = wanted.bind(tier as i64).bind(file.hex()).bind(file.tier_wanted as i64).bind(now);
    match wanted.execute(&mut **tx).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::Conflict("the file was changed meanwhile: read it again")),
    }
}

/// Asks for a new gate key of one file: an epoch that was begun until now does not do.
pub(crate) async fn want_rotation(tx: &mut Tx, file: &FileRow, now: i64) -> Result<(), Error> {
    let wanted = sqlx::query("UPDATE files SET rotate_wanted = $1 WHERE id = $2");
    wanted.bind(now.max(file.epoch_since) + 1).bind(file.hex()).execute(&mut **tx).await?;
    Ok(())
}

/// Asks for new gate keys of all files of a user.
pub(crate) async fn want_rotation_of(tx: &mut Tx, owner: &str, now: i64) -> Result<u64, Error> {
    let wanted = sqlx::query(
        "UPDATE files SET rotate_wanted = CASE WHEN epoch_since > $1 THEN epoch_since + 1 ELSE $1 + 1 END
         WHERE owner = $2 AND epoch > 0 AND erased = 0",
    );
    Ok(wanted.bind(now).bind(owner).execute(&mut **tx).await?.rows_affected())
}

/// Asks for new gate keys of all files of everybody.
pub(crate) async fn want_rotation_of_all(tx: &mut Tx, now: i64) -> Result<u64, Error> {
    let wanted = sqlx::query(
        "UPDATE files SET rotate_wanted = CASE WHEN epoch_since > $1 THEN epoch_since + 1 ELSE $1 + 1 END
         WHERE epoch > 0 AND erased = 0",
    );
    Ok(wanted.bind(now).execute(&mut **tx).await?.rows_affected())
}

/// Asks for a higher tier of all files of a user; none is lowered.
pub(crate) async fn want_tier_of(tx: &mut Tx, owner: &str, tier: Tier, now: i64) -> Result<u64, Error> {
    let wanted = sqlx::query(
        "UPDATE files SET tier_wanted = $1, tier_wanted_since = $3
         WHERE owner = $2 AND tier_wanted < $1 AND epoch > 0 AND erased = 0",
    );
    Ok(wanted.bind(tier as i64).bind(owner).bind(now).execute(&mut **tx).await?.rows_affected())
}

/// The lowest tier that is wanted of any file of a user; the highest when there is none.
pub(crate) async fn lowest_tier_wanted(db: &Database, owner: &str) -> Result<&'static str, Error> {
    let lowest = "SELECT MIN(tier_wanted) FROM files WHERE owner = $1 AND epoch > 0 AND erased = 0";
    let lowest: Option<i64> = sqlx::query_scalar(lowest).bind(owner).fetch_one(db.pool()).await?;
    let tier = [Tier::Low, Tier::Medium].into_iter().find(|tier| Some(*tier as i64) == lowest);
    Ok(crate::outbox::tier_name(tier.unwrap_or(Tier::High)))
}

/// Since when the oldest gate key of a user's files is, or is to be; the end of time when there is none.
pub(crate) async fn oldest_gate_wanted(db: &Database, owner: &str) -> Result<i64, Error> {
    let oldest = "SELECT MIN(CASE WHEN rotate_wanted > epoch_since THEN rotate_wanted ELSE epoch_since END)
                  FROM files WHERE owner = $1 AND epoch > 0 AND erased = 0";
    let oldest: Option<i64> = sqlx::query_scalar(oldest).bind(owner).fetch_one(db.pool()).await?;
    Ok(oldest.unwrap_or(i64::MAX))
}

/// Names another manifest of the same body, if the old one is still the newest.
pub(crate) async fn set_blob(tx: &mut Tx, file: &FileRow, blob_sha256: &str) -> Result<(), Error> {
    let set =
        sqlx::query("UPDATE files SET blob_sha256 = $1 WHERE id = $2 AND blob_sha256 = $3 AND erased = 0");
    let set = set.bind(blob_sha256).bind(file.hex()).bind(&file.blob_sha256).execute(&mut **tx).await?;
    match set.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::Conflict("the file was changed meanwhile: read it again")),
    }
}

/// Says where the body lies and of which epoch it is now, if it still is where it was.
pub(crate) async fn move_body(
    tx: &mut Tx,
    file: &FileRow,
    class: Class,
    epoch: u64,
    now: i64,
) -> Result<(), Error> {
    let id = file.hex();
    give_body_up(tx, &id, now).await?;
    let moved = sqlx::query(
        "UPDATE files SET class = $1, body_epoch = $2 WHERE id = $3 AND body_epoch = $4 AND erased = 0",
    );
    let moved = moved.bind(class.name()).bind(epoch as i64).bind(&id).bind(file.body_epoch as i64);
    match moved.execute(&mut **tx).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::Conflict("the file was changed meanwhile: read it again")),
    }
}

/// Takes a file's name and its epoch away: from here on nothing opens it. The stores follow.
pub(crate) async fn forget(tx: &mut Tx, file: &FileRow, now: i64) -> Result<bool, Error> {
    let id = file.hex();
    let gone = sqlx::query("UPDATE files SET erased = $1 WHERE id = $2 AND erased = 0").bind(now).bind(&id);
    let was_there = gone.execute(&mut **tx).await?.rows_affected() == 1;
    give_body_up(tx, &id, now).await?;
    // No reader has to be waited for: what is deleted goes at once.
    let replaced =
        sqlx::query("UPDATE attempts SET state = $1, settled = 0 WHERE file = $2 AND state IN ($3, $1)");
    replaced.bind(custody::REPLACED).bind(&id).bind(custody::COMMITTED).execute(&mut **tx).await?;
    for statement in [
        "DELETE FROM names WHERE file = $1",
        "DELETE FROM parts WHERE file = $1",
        "UPDATE grants SET revoked = 1 WHERE file = $1 AND revoked = 0",
    ] {
        sqlx::query(statement).bind(&id).execute(&mut **tx).await?;
    }
    Ok(was_there)
}
