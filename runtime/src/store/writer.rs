//! The one writer of the store: a batch of rows, their counts and the log position, in one transaction.

use super::row::{Kind, Row, kind_of};
use crate::sqlite::{StoreError, damaged, describe, fold, used_bytes};
use prunella_schemas::{Id, Timestamp};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, TransactionBehavior, params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows that retention deletes in one transaction, so that the sink is never kept waiting for long.
const RETAIN_ROWS_MAX: usize = 2_000;
/// Most rows that one retention deletes; whoever calls it comes back soon when it deleted so many.
pub const SHED_ROWS_MAX: u64 = 25 * RETAIN_ROWS_MAX as u64;
/// Plans in these states may still be approved, taken back or expire, for as long as approval and restriction may last:
/// whoever decides on one must find it.
const PLANS_OPEN: &str = "'planned', 'awaiting_approval', 'approved', 'unknown', 'propagating', 'verified', 'escaped', 'escalated'";
const PLAN_OPEN_MS_MAX: i64 = 60 * 86_400_000;
/// Pages kept in memory, in KiB: the indexes by id and principal are written all over.
const CACHE_KIB_MAX: i64 = 64 * 1024;
/// Pages of the write-ahead log before they are copied into the file: a page written often is then copied once.
const CHECKPOINT_PAGES: i64 = 16 * 1024;
/// The write-ahead log keeps its size between checkpoints: cutting it and growing it again costs more than the space.
const JOURNAL_BYTES_MAX: i64 = 256 * 1024 * 1024;

/// The blocking writer. The sink owns it; a second one waits for the first one's transaction.
pub struct StoreWriter {
    path: PathBuf,
    connection: Connection,
}

/// How many rows of a batch were new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub new: u64,
    pub repeated: u64,
}

/// How many rows retention deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    pub by_age: u64,
    pub by_size: u64,
}

impl StoreWriter {
    /// Opens or makes the store at `path`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = crate::sqlite::open(path, super::sqlite::KIND, super::sqlite::MIGRATIONS)?;
        let set = |name: &str, value: i64| connection.pragma_update(None, name, value);
        set("cache_size", -CACHE_KIB_MAX)
            .and_then(|()| set("wal_autocheckpoint", CHECKPOINT_PAGES))
            .and_then(|()| set("journal_size_limit", JOURNAL_BYTES_MAX))
            .map_err(|e| describe(path, &e))?;
        Ok(StoreWriter { path: path.to_owned(), connection })
    }

    /// Up to which sequence of the log everything is stored; 0 when nothing is.
    pub fn position(&self) -> Result<i64, StoreError> {
        let sql = "SELECT position FROM reader WHERE name = 'sink'";
        let position = self.connection.query_row(sql, [], |r| r.get(0)).optional();
        position.map(Option::unwrap_or_default).map_err(|e| describe(&self.path, &e))
    }

    /// Stores a batch and the position after it: all of it or nothing. A row that is there already stays as it is.
    pub fn write(&mut self, batch: &[Row<'_>], position: i64) -> Result<Written, StoreError> {
        self.transact(|transaction| {
            let mut tallies = Tallies::default();
            let mut written = Written::default();
            for row in batch {
                let new = insert(transaction, row, &mut tallies)?;
                if new { written.new += 1 } else { written.repeated += 1 }
            }
            tallies.save(transaction)?;
            let sql = "INSERT INTO reader VALUES ('sink', ?1) ON CONFLICT DO UPDATE SET position = excluded.position";
            transaction.prepare_cached(sql)?.execute([position])?;
            Ok(written)
        })
    }

    /// Marks a dead letter as replayed, unless its record was refused again at or after `replayed`. Says whether it was
    /// there and not yet marked.
    pub fn resolve_dead_letter(&mut self, id: Id, replayed: Timestamp) -> Result<bool, StoreError> {
        self.transact(|transaction| {
            let sql = "UPDATE dead_letter SET replayed = 1 WHERE uid = ?1 AND time < ?2 AND NOT replayed RETURNING tenant";
            let values = params![id.0, replayed.0];
            let tenant: Option<String> = transaction.query_row(sql, values, |r| r.get(0)).optional()?;
            let mut tallies = Tallies::default();
            if let Some(tenant) = &tenant {
                tallies.count(tenant, "dead_letter", "", -1);
            }
            tallies.save(transaction)?;
            Ok(tenant.is_some())
        })
    }

    /// Deletes what became durable before `older_than`, then the oldest events until the rest fits into `bytes_max`; at
    /// most about `SHED_ROWS_MAX` rows.
    pub fn retain(&mut self, older_than: Timestamp, bytes_max: u64) -> Result<Shed, StoreError> {
        let mut shed = Shed::default();
        for table in ["event", "finding", "receipt", "dead_letter", "plan"] {
            loop {
                let deleted = self.transact(|t| shed_rows(t, table, older_than))?;
                shed.by_age += deleted as u64;
                if deleted < RETAIN_ROWS_MAX || shed.by_age >= SHED_ROWS_MAX {
                    break;
                }
            }
        }
        while shed.by_age + shed.by_size < SHED_ROWS_MAX
            && used_bytes(&self.connection).map_err(|e| describe(&self.path, &e))? > bytes_max
        {
            let deleted = self.transact(|t| shed_rows(t, "event", Timestamp(i64::MAX)))?;
            if deleted == 0 {
                break;
            }
            shed.by_size += deleted as u64;
        }
        Ok(shed)
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let path = &self.path;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let result = transaction.and_then(|transaction| {
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        });
        result.map_err(|e| describe(path, &e))
    }
}

impl Drop for StoreWriter {
    fn drop(&mut self) {
        fold(&self.connection);
    }
}

/// Changes of the counts by one transaction, written once at its end.
#[derive(Default)]
struct Tallies {
    rows: BTreeMap<(String, &'static str, String), i64>,
    minutes: BTreeMap<(Timestamp, String), i64>,
}

impl Tallies {
    fn count(&mut self, tenant: &str, kind: &'static str, word: &str, by: i64) {
        *self.rows.entry((tenant.to_owned(), kind, word.to_owned())).or_default() += by;
    }

    /// Takes back what a deleted event or finding was counted under.
    fn forget(&mut self, tenant: &str, table: &str, version: u8, bytes: &[u8]) {
        match kind_of(table, version, bytes) {
            Some(Kind::Event { minute }) => {
                *self.minutes.entry((minute, tenant.to_owned())).or_default() -= 1;
            }
            Some(Kind::Finding { tallies }) => {
                tallies.iter().for_each(|(kind, word)| self.count(tenant, kind, word, -1));
            }
            _ => {}
        }
        self.count(tenant, if table == "event" { "event" } else { "finding" }, "", -1);
    }

    fn save(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let sql =
            "INSERT INTO tally VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows";
        let mut statement = transaction.prepare_cached(sql)?;
        for ((tenant, kind, word), by) in &self.rows {
            statement.execute(params![tenant, kind, word, by])?;
        }
        let sql = "INSERT INTO minute VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET events = events + excluded.events";
        let mut statement = transaction.prepare_cached(sql)?;
        for ((minute, tenant), by) in &self.minutes {
            statement.execute(params![minute.0, tenant, by])?;
        }
        Ok(())
    }
}

/// JSON is UTF-8, so it is bound as text without being looked at again.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

fn insert(transaction: &Transaction<'_>, row: &Row<'_>, tallies: &mut Tallies) -> rusqlite::Result<bool> {
    let new = match &row.kind {
        Kind::Event { minute } => {
            let new = insert_plain(
                transaction,
                row,
                "INSERT OR IGNORE INTO event VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)",
            )?;
            if new {
                tallies.count(&row.tenant, "event", "", 1);
                *tallies.minutes.entry((*minute, row.tenant.to_string())).or_default() += 1;
            }
            new
        }
        Kind::Finding { tallies: words } => {
            let new = insert_plain(
                transaction,
                row,
                "INSERT OR IGNORE INTO finding VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)",
            )?;
            if new {
                tallies.count(&row.tenant, "finding", "", 1);
                words.iter().for_each(|(kind, word)| tallies.count(&row.tenant, kind, word, 1));
            }
            new
        }
        Kind::Receipt => {
            let new = insert_plain(
                transaction,
                row,
                "INSERT OR IGNORE INTO receipt VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)",
            )?;
            tallies.count(&row.tenant, "receipt", "", i64::from(new));
            new
        }
        Kind::DeadLetter => insert_dead_letter(transaction, row, tallies)?,
        Kind::Transition { sequence, state } => insert_transition(transaction, row, *sequence, state)?,
        Kind::Risk { score, heat } => {
            // Of two changes within one grain of provider time the higher stands: a rise is what people must see.
            let sql = "INSERT INTO risk VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET time = excluded.time, \
                       score = excluded.score, heat = excluded.heat WHERE (excluded.time, excluded.score) > (time, score)";
            let values = params![row.tenant, row.principal, row.time.0, score, heat];
            transaction.prepare_cached(sql)?.execute(values)? == 1
        }
    };
    Ok(new)
}

fn insert_plain(transaction: &Transaction<'_>, row: &Row<'_>, sql: &str) -> rusqlite::Result<bool> {
    let inserted = transaction.prepare_cached(sql)?.execute(params![
        row.uid.0,
        row.time.0,
        row.origin.0,
        row.tenant,
        row.principal,
        row.operation,
        row.severity,
        row.version,
        Text(row.bytes)
    ])?;
    Ok(inserted == 1)
}

/// A record that was replayed and refused again is listed again.
fn insert_dead_letter(
    transaction: &Transaction<'_>,
    row: &Row<'_>,
    tallies: &mut Tallies,
) -> rusqlite::Result<bool> {
    let known: Option<(i64, bool)> = transaction
        .prepare_cached("SELECT time, replayed FROM dead_letter WHERE uid = ?1")?
        .query_row([row.uid.0], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    match known {
        Some((time, replayed)) if row.time.0 > time => {
            tallies.count(&row.tenant, "dead_letter", "", i64::from(replayed));
            let sql = "UPDATE dead_letter SET time = ?2, origin = ?3, operation = ?4, version = ?5, bytes = ?6, \
                       replayed = 0 WHERE uid = ?1";
            let values =
                params![row.uid.0, row.time.0, row.origin.0, row.operation, row.version, Text(row.bytes)];
            transaction.prepare_cached(sql)?.execute(values)?;
            Ok(replayed)
        }
        Some(_) => Ok(false),
        None => {
            tallies.count(&row.tenant, "dead_letter", "", 1);
            insert_plain(transaction, row, "INSERT INTO dead_letter VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,0)")
        }
    }
}

fn insert_transition(
    transaction: &Transaction<'_>,
    row: &Row<'_>,
    sequence: u32,
    state: &str,
) -> rusqlite::Result<bool> {
    let sql = "INSERT OR IGNORE INTO transition VALUES (?1, ?2, ?3, ?4)";
    let values = params![row.uid.0, sequence, row.version, Text(row.bytes)];
    let new = transaction.prepare_cached(sql)?.execute(values)? == 1;
    if new {
        let sql = "INSERT INTO plan VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11) ON CONFLICT (uid) DO UPDATE SET \
                   time = excluded.time, origin = excluded.origin, version = excluded.version, bytes = excluded.bytes, \
                   sequence = excluded.sequence, state = excluded.state WHERE excluded.sequence > sequence";
        transaction.prepare_cached(sql)?.execute(params![
            row.uid.0,
            row.time.0,
            row.origin.0,
            row.tenant,
            row.principal,
            row.operation,
            row.severity,
            row.version,
            Text(row.bytes),
            sequence,
            state
        ])?;
    }
    Ok(new)
}

/// Deletes the oldest rows of a table, in the order they came, and takes them out of the counts.
fn shed_rows(transaction: &Transaction<'_>, table: &str, older_than: Timestamp) -> rusqlite::Result<usize> {
    let (state, open) = match table {
        "plan" => {
            (", state", format!("AND (state NOT IN ({PLANS_OPEN}) OR origin < ?1 - {PLAN_OPEN_MS_MAX})"))
        }
        _ => ("", String::new()),
    };
    let sql = format!(
        "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM (SELECT rowid, origin{state} FROM {table} ORDER BY rowid LIMIT {RETAIN_ROWS_MAX}) \
         WHERE origin < ?1 {open}) RETURNING tenant, uid, version, bytes, {}",
        if table == "dead_letter" { "replayed" } else { "0" }
    );
    let mut tallies = Tallies::default();
    let mut deleted = 0;
    {
        let mut statement = transaction.prepare_cached(&sql)?;
        let mut rows = statement.query([older_than.0])?;
        while let Some(row) = rows.next()? {
            deleted += 1;
            let tenant = row.get_ref(0)?.as_str().map_err(damaged)?;
            match table {
                "event" | "finding" => {
                    let bytes = row.get_ref(3)?.as_bytes().map_err(damaged)?;
                    tallies.forget(tenant, table, row.get(2)?, bytes);
                }
                "receipt" => tallies.count(tenant, "receipt", "", -1),
                "dead_letter" => {
                    tallies.count(tenant, "dead_letter", "", i64::from(row.get::<_, bool>(4)?) - 1);
                }
                _ => {
                    let uid: [u8; 16] = row.get(1)?;
                    transaction
                        .prepare_cached("DELETE FROM transition WHERE plan_uid = ?1")?
                        .execute([uid])?;
                }
            }
        }
    }
    tallies.save(transaction)?;
    transaction.prepare_cached("DELETE FROM minute WHERE events <= 0")?.execute([])?;
    transaction.prepare_cached("DELETE FROM tally WHERE rows <= 0")?.execute([])?;
    Ok(deleted)
}
