//! One process for one vault: the second is refused when it opens what the first has open.

use crate::Error;
use crate::db::Database;
use sqlx::AnyConnection;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// Held as long as the vault is open. The operating system, or the database, lets go of it however the process ends.
pub(crate) struct Hold {
    _folder: File,
    /// PostgreSQL: a connection of our own, whose session has the lock.
    _session: Option<AnyConnection>,
}

/// A process that died a moment ago may still have its session.
const TRIES_MAX: u32 = 10;
const RETRY: Duration = Duration::from_millis(200);
const TAKEN: Error =
    Error::Conflict("another process has this vault open: stop it, or give another --data-dir or database");

impl Hold {
    /// `origin` names the vault; several may live in one database.
    pub(crate) async fn take(folder: &Path, db: &Database, origin: &str) -> Result<Self, Error> {
        let store = |e: &std::io::Error| Error::store("the data directory", e);
        let file = File::options().create(true).truncate(false).write(true).open(folder.join("lock"));
        let file = file.map_err(|e| store(&e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(TAKEN),
            Err(std::fs::TryLockError::Error(e)) => return Err(store(&e)),
        }
        Ok(Hold { _folder: file, _session: db.hold(origin).await? })
    }
}

impl Database {
    /// Takes the lock of `name` in PostgreSQL; in SQLite the folder's lock is enough.
    async fn hold(&self, name: &str) -> Result<Option<AnyConnection>, Error> {
        if self.is_sqlite() {
            return Ok(None);
        }
        let digest = crate::accounts::digest_of(name);
        let key = i64::from_str_radix(digest.get(..15).unwrap_or_default(), 16).unwrap_or_default();
        let mut session = self.pool().acquire().await?.detach();
        for _ in 0..TRIES_MAX {
            let taken = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(key);
            if taken.fetch_one(&mut session).await? {
                return Ok(Some(session));
            }
            tokio::time::sleep(RETRY).await;
        }
        Err(TAKEN)
    }
}
