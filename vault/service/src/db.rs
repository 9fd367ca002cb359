//! The database: SQLite or PostgreSQL behind one set of statements.

use crate::Error;
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyPool, Executor, Transaction};
use std::path::Path;

/// Most connections at once.
const CONNECTIONS_MAX: u32 = 8;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// The vault's metadata.
#[derive(Clone)]
pub(crate) struct Database {
    pool: AnyPool,
    is_sqlite: bool,
}

pub(crate) type Tx = Transaction<'static, Any>;

impl Database {
    /// SQLite in a file of its own.
    pub(crate) async fn embedded(path: &Path) -> Result<Self, Error> {
        let path = path.to_str().ok_or_else(|| Error::Invalid("the data directory is not UTF-8".into()))?;
        Self::open(&format!("sqlite://{}?mode=rwc", escape(path))).await
    }

    /// `sqlite://` or `postgres://`. Brings the tables up to date.
    pub(crate) async fn open(url: &str) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let is_sqlite = url.starts_with("sqlite:");
        let options = AnyPoolOptions::new().max_connections(CONNECTIONS_MAX).after_connect(move |connection, _| {
            Box::pin(async move {
                if is_sqlite {
                    // A commit is on the disk before anybody is told of it.
                    let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000;";
                    connection.execute(pragmas).await?;
                }
                Ok(())
            })
        });
        let pool = options.connect(url).await?;
        MIGRATIONS.run(&pool).await.map_err(|error| {
            tracing::error!(%error, "the vault's tables");
            Error::Corrupt("the database")
        })?;
        Ok(Database { pool, is_sqlite })
    }

    /// For reading.
    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// For writing.
    pub(crate) async fn begin(&self) -> Result<Tx, Error> {
        // A transaction of SQLite that begins as a reader may find at its first write that it cannot become a writer.
        let begin = if self.is_sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        Ok(self.pool.begin_with(begin).await?)
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.is_sqlite
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// The next value of a counter; in PostgreSQL the row stays locked until the transaction ends, so that the order of the
/// values is that of the commits.
pub(crate) async fn next(tx: &mut Tx, counter: &str) -> Result<i64, Error> {
    let next = sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value");
    Ok(next.bind(counter).fetch_one(&mut **tx).await?)
}

/// A path inside a URL.
fn escape(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn migrations_run_once_and_counters_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("odd # name?.db");
        for round in 1..=2 {
            let db = Database::embedded(&path).await.unwrap();
            let mut tx = db.begin().await.unwrap();
            assert_eq!(next(&mut tx, "outbox").await, Ok(round));
            tx.commit().await.unwrap();
            db.close().await;
        }
        assert!(path.exists());
    }
}
