//! Where each source stands, in a file of its own, with what the operator asks about it when nothing runs.

use crate::sqlite::{StoreError, blocking, describe, lock, open, open_reader};
use async_trait::async_trait;
use prunella_schemas::Timestamp;
use prunella_schemas::port::{CURSOR_BYTES_MAX, Cursor, PortError};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The file in the data directory.
pub const FILE: &str = "connect.db";
const KIND: &str = "connect";
const MIGRATIONS: &[&str] = &[include_str!("../../../schemas/sqlite/connect/0001.sql")];
/// Longest description of a problem that is kept, in characters.
const PROBLEM_CHARS_MAX: usize = 1_000;

const MOVE: &str = "INSERT INTO source VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, '', 0) ON CONFLICT DO UPDATE \
    SET cursor = excluded.cursor, updated = excluded.updated, newest = max(newest, excluded.newest), \
    bodies = bodies + excluded.bodies, records = records + excluded.records, \
    duplicates = duplicates + excluded.duplicates, rejected = rejected + excluded.rejected, \
    written = written + excluded.written, read = read + excluded.read, problem = '', failing = 0";
const FAIL: &str = "INSERT INTO source VALUES (?1, '', 0, 0, 0, 0, 0, 0, 0, 0, ?2, ?3) ON CONFLICT DO UPDATE \
    SET problem = excluded.problem, failing = CASE failing WHEN 0 THEN excluded.failing ELSE failing END";

/// Where cursors are kept.
#[async_trait]
pub trait Cursors: Send + Sync {
    /// The default cursor for a source that was never read.
    async fn load(&self, name: &str) -> Result<Cursor, PortError>;
    /// Durable on return. `tally` is what was read on the way to `cursor`.
    async fn store(&self, name: &str, cursor: &Cursor, tally: &Tally) -> Result<(), PortError>;
    /// What keeps the source from being read; gone with the next `store`.
    async fn fails(&self, name: &str, problem: &str, now: Timestamp) -> Result<(), PortError>;
}

/// What one page, or all of them, brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub bodies: u64,
    pub records: u64,
    pub duplicates: u64,
    pub rejected: u64,
    /// Files that the provider says it wrote, and how many of them were read.
    pub written: u64,
    pub read: u64,
    /// Up to when the source was read.
    pub newest: Timestamp,
    /// When.
    pub updated: Timestamp,
}

/// One source as the file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    pub name: String,
    #[serde(skip)]
    pub cursor: String,
    #[serde(flatten)]
    pub tally: Tally,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
    #[serde(skip_serializing_if = "is_never")]
    pub failing: Timestamp,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_never(time: &Timestamp) -> bool {
    *time == Timestamp::ZERO
}

/// Cursors in SQLite. Cheap to clone.
#[derive(Clone)]
pub struct SqliteCursors {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl SqliteCursors {
    /// Opens or makes the file in `directory`.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let connection = open(&path, KIND, MIGRATIONS)?;
        // A cursor that a power cut takes back costs no more than reading a page again, but an acknowledged page is gone.
        connection.pragma_update(None, "synchronous", "FULL").map_err(|e| describe(&path, &e))?;
        Ok(SqliteCursors { shared: Arc::new(Shared { path, connection: Mutex::new(connection) }) })
    }

    /// Every source that the file in `directory` knows, by name; also while a pipeline runs. None where there is no file.
    pub fn rows(directory: &Path) -> Result<Vec<Row>, StoreError> {
        let path = directory.join(FILE);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let connection = open_reader(&path, KIND, MIGRATIONS)?;
        read(&connection).map_err(|e| describe(&path, &e))
    }

    async fn with<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || query(&lock(&shared.connection)).map_err(|e| describe(&shared.path, &e))).await
    }
}

#[async_trait]
impl Cursors for SqliteCursors {
    async fn load(&self, name: &str) -> Result<Cursor, PortError> {
        let name = name.to_owned();
        let find = |connection: &Connection| {
            let mut find = connection.prepare_cached("SELECT cursor FROM source WHERE name = ?1")?;
            find.query_row([name], |row| row.get(0)).optional()
        };
        let found: Option<String> = self.with(find).await?;
        Ok(Cursor(found.unwrap_or_default()))
    }

    async fn store(&self, name: &str, cursor: &Cursor, tally: &Tally) -> Result<(), PortError> {
        if cursor.0.len() > CURSOR_BYTES_MAX {
            let detail = format!(
                "the cursor of `{name}` has {} bytes, at most {CURSOR_BYTES_MAX} may be kept",
                cursor.0.len()
            );
            return Err(PortError::Invalid(detail));
        }
        let (name, cursor, t) = (name.to_owned(), cursor.0.clone(), *tally);
        self.with(move |connection| {
            let values = params![
                name,
                cursor,
                t.updated.0,
                t.newest.0,
                t.bodies,
                t.records,
                t.duplicates,
                t.rejected,
                t.written,
                t.read
            ];
            connection.prepare_cached(MOVE)?.execute(values).map(drop)
        })
        .await
    }

    async fn fails(&self, name: &str, problem: &str, now: Timestamp) -> Result<(), PortError> {
        let (name, problem) = (name.to_owned(), problem.chars().take(PROBLEM_CHARS_MAX).collect::<String>());
        self.with(move |connection| {
            connection.prepare_cached(FAIL)?.execute(params![name, problem, now.0]).map(drop)
        })
        .await
    }
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut all = connection.prepare(
        "SELECT name, cursor, updated, newest, bodies, records, duplicates, rejected, written, read, problem, failing \
         FROM source ORDER BY name",
    )?;
    let rows = all.query_map([], |row| {
        let tally = Tally {
            updated: Timestamp(row.get(2)?),
            newest: Timestamp(row.get(3)?),
            bodies: row.get(4)?,
            records: row.get(5)?,
            duplicates: row.get(6)?,
            rejected: row.get(7)?,
            written: row.get(8)?,
            read: row.get(9)?,
        };
        let (problem, failing) = (row.get(10)?, Timestamp(row.get(11)?));
        Ok(Row { name: row.get(0)?, cursor: row.get(1)?, tally, problem, failing })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cursor_is_there_after_a_restart_and_totals_add_up() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(SqliteCursors::rows(dir.path()).unwrap(), []);
        let cursors = SqliteCursors::open(dir.path()).unwrap();
        assert_eq!(cursors.load("trail").await.unwrap(), Cursor::default());
        cursors.fails("trail", "no such bucket", Timestamp(5)).await.unwrap();
        cursors.fails("trail", "still no such bucket", Timestamp(9)).await.unwrap();
        let row = SqliteCursors::rows(dir.path()).unwrap().remove(0);
        assert_eq!((row.problem.as_str(), row.failing), ("still no such bucket", Timestamp(5)));
        let tally = |records, newest, updated| Tally {
            bodies: 1,
            records,
            newest: Timestamp(newest),
            updated: Timestamp(updated),
            ..Tally::default()
        };
        cursors.store("trail", &Cursor("a".into()), &tally(3, 100, 10)).await.unwrap();
        cursors.store("trail", &Cursor("b".into()), &tally(4, 90, 11)).await.unwrap();
        cursors.store("other", &Cursor("x".into()), &Tally::default()).await.unwrap();
        drop(cursors);
        let cursors = SqliteCursors::open(dir.path()).unwrap();
        assert_eq!(cursors.load("trail").await.unwrap(), Cursor("b".into()));
        let row = SqliteCursors::rows(dir.path()).unwrap().remove(1);
        assert_eq!(row.tally, Tally { bodies: 2, ..tally(7, 100, 11) });
        assert_eq!((row.problem.as_str(), row.failing), ("", Timestamp::ZERO));
        let long = Cursor("x".repeat(CURSOR_BYTES_MAX + 1));
        assert!(cursors.store("trail", &long, &Tally::default()).await.is_err());
    }
}
