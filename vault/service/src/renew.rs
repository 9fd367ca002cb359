//! Renewals: new epochs for files that are due, with the user away where the tier allows it; and the janitor.

use crate::Error;
use crate::accounts::{self, UserRow};
use crate::custody::{ABORTED, ACTIVE, COMMITTED, ERASED, REPLACED, Reader, Readers};
use crate::event::Audit;
use crate::files::{self, FileRow};
use crate::grants;
use crate::service::Vault;
use crate::wire::Progress;
use futures_util::stream::{self, StreamExt};
use prunella_vault_crypto::FileId;
use prunella_vault_crypto::gate::{Domain, Tier};
use sqlx::Row;

/// Renewals at once.
const RENEWALS_MAX: usize = 8;
/// Files that one round takes.
const ROUND_MAX: i64 = 256;

/// Why a file gets a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewed {
    Now,
    /// The server cannot open the old gate by itself: it waits for the user's part.
    Waits,
}

/// Everybody to whom the user's part is sealed: the owner, and those to whom the file is granted now.
pub(crate) async fn readers_of(vault: &Vault, file: FileId, owner: &UserRow) -> Result<Readers, Error> {
    let since = vault.now().0;
    let mut readers = vec![Reader { user: owner.id.clone(), key: owner.wrap_key()? }];
    for grant in grants::of_file(&vault.db, &hex::encode(file.0), vault.now()).await? {
        if readers.iter().any(|reader| reader.user == grant.recipient) {
            continue;
        }
        if let Some(user) = accounts::by_id(&vault.db, &grant.recipient).await? {
            readers.push(Reader { key: user.wrap_key()?, user: user.id });
        }
    }
    Ok(Readers { since, all: readers })
}

impl Vault {
    /// Gives a file that is due its new epoch, if the server can open the old one alone.
    pub(crate) async fn renew(&self, file: &FileRow, audit: &Audit) -> Result<Renewed, Error> {
        if file.tier != Tier::Low {
            return Ok(Renewed::Waits);
        }
        let inner = self.custody.open(file, Vec::new()).await?;
        self.reseal(file, &inner, audit).await.map(|_| Renewed::Now)
    }

    /// Seals what was opened under a new gate key, in the tier that is wanted. Gives the new epoch.
    pub(crate) async fn reseal(&self, file: &FileRow, inner: &[u8], audit: &Audit) -> Result<u64, Error> {
        let owner = accounts::by_id(&self.db, &file.owner).await?.ok_or(Error::Missing("account"))?;
        let readers = readers_of(self, file.id, &owner).await?;
        let attempt = self.custody.prepare(file.id, file.epoch, file.tier_wanted, inner, &readers).await?;
        let committed = async {
            let mut tx = self.db.begin().await?;
            self.custody.commit(&mut tx, &attempt).await?;
            let mut audit = audit.clone();
            audit.file = Some((file.hex(), file.size));
            audit.note.push(("tier", crate::outbox::tier_name(attempt.at.tier).to_owned()));
            audit.note.push(("epoch", attempt.at.epoch.to_string()));
            audit.done(&mut tx, self.now()).await?;
            tx.commit().await.map_err(Error::from)
        };
        if let Err(error) = committed.await {
            self.custody.give_up(&attempt).await;
            return Err(error);
        }
        self.custody.committed();
        self.posted.notify_one();
        Ok(attempt.at.epoch)
    }

    /// One round over files that are due and can be opened without their users. Gives how many are done; an error, if none is
    /// and one at least is still to be done.
    pub(crate) async fn renew_due(&self, audit: &Audit) -> Result<usize, Error> {
        let rows = sqlx::query(
            "SELECT id FROM files WHERE (rotate_wanted > epoch_since OR tier_wanted <> tier) AND tier = 1
             AND epoch > 0 AND erased = 0 LIMIT $1",
        );
        let rows = rows.bind(ROUND_MAX).fetch_all(self.db.pool()).await?;
        let ids = rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()?;
        let renewed = stream::iter(ids).map(async |id| {
            let Some(file) = files::by_id(&self.db, &id).await?.filter(FileRow::is_due) else {
                return Ok(false);
            };
            // Somebody else may have been faster, without knowing what is wanted: that is a conflict, and another round.
            self.renew(&file, audit).await.map(|done| done == Renewed::Now)
        });
        let done: Vec<Result<bool, Error>> = renewed.buffer_unordered(RENEWALS_MAX).collect().await;
        let count = done.iter().filter(|done| matches!(done, Ok(true))).count();
        match done.into_iter().find_map(Result::err) {
            Some(error) if count == 0 => Err(error),
            _ => Ok(count),
        }
    }

    /// Makes new keys of the domains the newest. Refused where that would cost a key which a part still needs.
    pub(crate) async fn rotate_keys(&self) -> Result<(), Error> {
        let in_use = sqlx::query_scalar("SELECT MIN(keys_since) FROM attempts WHERE state IN ($1, $2, $3)");
        let in_use = in_use.bind(ACTIVE).bind(COMMITTED).bind(REPLACED);
        let in_use: Option<i64> = in_use.fetch_one(self.db.pool()).await?;
        let in_use = in_use.map_or(u32::MAX, |version| u32::try_from(version).unwrap_or(0));
        self.custody.first.rotate(Domain::Objects, in_use).await?;
        self.custody.first.rotate(Domain::Database, in_use).await?;
        self.custody.second.rotate(Domain::Service, in_use).await?;
        Ok(())
    }

    /// How far the renewals of a user's files are.
    pub(crate) async fn progress(&self, user: &str) -> Result<Progress, Error> {
        let count = async |also: &'static str| -> Result<u64, Error> {
            let text =
                format!("SELECT COUNT(*) FROM files WHERE owner = $1 AND epoch > 0 AND erased = 0 {also}");
            let count: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(text)).bind(user).fetch_one(self.db.pool()).await?;
            Ok(count.max(0) as u64)
        };
        const DUE: &str = "AND (rotate_wanted > epoch_since OR tier_wanted <> tier) AND tier = 1";
        const DUE_OF_USER: &str = "AND (rotate_wanted > epoch_since OR tier_wanted <> tier) AND tier > 1";
        Ok(Progress {
            files: count("").await?,
            waiting: count(DUE).await?,
            waiting_for_user: count(DUE_OF_USER).await?,
        })
    }

    /// Ends attempts that take too long, and erases what was aborted, replaced or deleted. Gives how many epochs went.
    pub(crate) async fn tidy(&self) -> Result<usize, Error> {
        let now = self.now().0;
        for (file, epoch) in
            self.epochs("a.state = $1 AND a.started <= $2", ACTIVE, now - self.attempt_ms_max).await?
        {
            if self.custody.abort(file, epoch).await? {
                tracing::warn!(
                    file = hex::encode(file.0),
                    epoch,
                    "an attempt was left behind; its epoch is erased"
                );
            }
        }
        let mut erased = 0;
        for (file, epoch) in self.epochs("a.state = $1 AND a.settled <= $2", ABORTED, now).await? {
            self.custody.erase(file, epoch, ABORTED).await?;
            erased += 1;
        }
        for (file, epoch) in
            self.epochs("a.state = $1 AND a.settled <= $2", REPLACED, now - self.grace_ms).await?
        {
            self.custody.erase(file, epoch, REPLACED).await?;
            erased += 1;
        }
        self.forget_empty(now).await?;
        Ok(erased)
    }

    async fn epochs(
        &self,
        which: &'static str,
        state: &str,
        until: i64,
    ) -> Result<Vec<(FileId, u64)>, Error> {
        let text = format!("SELECT a.file, a.epoch FROM attempts a WHERE {which} LIMIT $3");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text)).bind(state).bind(until).bind(ROUND_MAX);
        let rows = rows.fetch_all(self.db.pool()).await?;
        let read = |row: &sqlx::any::AnyRow| {
            let id = hex::decode(row.try_get::<String, _>(0)?).ok().and_then(|id| id.try_into().ok());
            Ok((FileId(id.ok_or(Error::Corrupt("the database"))?), row.try_get::<i64, _>(1)?.max(0) as u64))
        };
        rows.iter().map(read).collect()
    }

    /// Rows of files that never became visible. Those of deleted files stay, so that no id and no epoch comes back.
    async fn forget_empty(&self, now: i64) -> Result<(), Error> {
        let empty = "epoch = 0 AND created <= $1 AND NOT EXISTS \
                     (SELECT 1 FROM attempts a WHERE a.file = files.id AND a.state <> $2)";
        let mut tx = self.db.begin().await?;
        for text in [
            format!("DELETE FROM attempts WHERE file IN (SELECT id FROM files WHERE {empty})"),
            format!("DELETE FROM files WHERE {empty}"),
        ] {
            let delete = sqlx::query(sqlx::AssertSqlSafe(text)).bind(now - self.attempt_ms_max).bind(ERASED);
            delete.execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }
}
