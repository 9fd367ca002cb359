//! The ledger on disk: entries, signed checkpoints and pending orders in one SQLite file, with the key and an anchor beside it.

mod files;
mod port;
#[cfg(feature = "postgres")]
pub mod postgres;
mod tail;
mod view;

pub use files::signer;
pub use port::{Attestor, NewEntry, PendingOrder, Sequencer};
pub use view::{Entries, LedgerReader, verify};

use crate::sqlite::{StoreError, describe};
use prunella_ledger::{Checkpoint, Entry, Hash, Ledger, LedgerError, Signer, Verifier};
use prunella_schemas::{Id, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The database, the key, its public half, and the copy of the newest checkpoint, in the ledger's directory.
pub const DATABASE_FILE: &str = "ledger.db";
pub const KEY_FILE: &str = "ledger.key";
pub const VERIFIER_FILE: &str = "ledger.pub";
pub const ANCHOR_FILE: &str = "checkpoint.txt";

/// The kind of the entries that log receipts; proofs are made for these.
pub const RECEIPT_KIND: &str = "receipt";

const KIND: &str = "ledger";
const MIGRATIONS: &[&str] = &[include_str!("../../schemas/sqlite/ledger/0001.sql")];
const ENTRY_COLUMNS: &str = "number, time, kind, id, body, prev, hash";

/// The one writer of the ledger. Blocking; every method that changes something is durable on return.
pub struct LedgerStore {
    directory: PathBuf,
    path: PathBuf,
    connection: Connection,
    signer: Signer,
    shared: Arc<Shared>,
    /// A failed transaction left the memory ahead of the file.
    stale: bool,
}

/// What the writer shows its readers.
struct Shared {
    /// May be ahead of the file while entries are being written; `published` never is.
    ledger: RwLock<Ledger>,
    /// Size and note of the newest durable checkpoint.
    published: RwLock<(u64, String)>,
    verifier: Verifier,
}

impl LedgerStore {
    /// Opens or makes the ledger in `directory`. Refuses one whose end does not fit its checkpoints, or whose key is gone.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(DATABASE_FILE);
        let connection = crate::sqlite::open(&path, KIND, MIGRATIONS)?;
        let fail = |e| describe(&path, &e);
        connection.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
        let size: i64 = connection.query_row("SELECT count(*) FROM entry", [], |r| r.get(0)).map_err(fail)?;
        let signer = signer(directory, size == 0)?;
        let verifier = signer.verifier().clone();
        let ledger = load(&connection, &path, verifier.name())?;
        let note = check_tail(&connection, &path, &ledger, &verifier)?;
        check_anchor(directory, &ledger, &verifier)?;
        let size = ledger.size();
        let note = match note {
            Some(note) => note,
            None => ledger.checkpoint(&signer).map_err(|e| broken(&path, &e))?,
        };
        files::write(&directory.join(ANCHOR_FILE), note.as_bytes(), 0o644)?;
        let shared = Shared { ledger: RwLock::new(ledger), published: RwLock::new((size, note)), verifier };
        let directory = directory.to_owned();
        Ok(LedgerStore { directory, path, connection, signer, shared: Arc::new(shared), stale: false })
    }

    /// A reader that shares this writer's memory. Cheap to clone.
    pub fn reader(&self) -> LedgerReader {
        LedgerReader::new(Arc::clone(&self.shared), &self.path)
    }

    /// The name of the ledger, which is also the name of its key.
    pub fn origin(&self) -> &str {
        self.shared.verifier.name()
    }

    pub fn verifier(&self) -> &Verifier {
        &self.shared.verifier
    }

    /// After a failed append the memory holds entries that the file does not: it is read again.
    fn refresh(&mut self) -> Result<(), StoreError> {
        if self.stale {
            let ledger = load(&self.connection, &self.path, self.origin())?;
            let note = check_tail(&self.connection, &self.path, &ledger, self.verifier())?;
            if let Some(note) = note {
                *self.shared.published.write().unwrap_or_else(PoisonError::into_inner) =
                    (ledger.size(), note);
            }
            *self.shared.ledger.write().unwrap_or_else(PoisonError::into_inner) = ledger;
            self.stale = false;
        }
        Ok(())
    }
}

impl Sequencer for LedgerStore {
    fn position(&self) -> Result<i64, StoreError> {
        let sql = "SELECT position FROM reader WHERE name = 'ledger'";
        let position = self.connection.query_row(sql, [], |r| r.get(0)).optional();
        position.map(Option::unwrap_or_default).map_err(|e| describe(&self.path, &e))
    }

    fn append(&mut self, entries: &[NewEntry], position: i64) -> Result<Vec<Entry>, StoreError> {
        self.refresh()?;
        self.stale = true;
        let (shared, signer, path) = (&self.shared, &self.signer, &self.path);
        let result = transact(&mut self.connection, path, |transaction| {
            let before = shared.ledger.read().unwrap_or_else(PoisonError::into_inner).size();
            let mut out = Vec::with_capacity(entries.len());
            for new in entries {
                out.push(append_one(transaction, &shared.ledger, new)?);
            }
            let sql = "INSERT INTO reader VALUES ('ledger', ?1) ON CONFLICT DO UPDATE SET position = excluded.position";
            transaction.prepare_cached(sql)?.execute([position])?;
            let ledger = shared.ledger.read().unwrap_or_else(PoisonError::into_inner);
            if ledger.size() == before {
                return Ok((out, None));
            }
            let note = ledger.checkpoint(signer).map_err(crate::sqlite::damaged)?;
            let sql = "INSERT INTO checkpoint VALUES (?1, ?2)";
            transaction.prepare_cached(sql)?.execute(params![signed(ledger.size())?, note])?;
            Ok((out, Some((ledger.size(), note))))
        });
        let (out, published) = result?;
        self.stale = false;
        if let Some((size, note)) = published {
            // The entries are durable whatever becomes of the copy; the next append, or the next start, writes it again.
            if let Err(e) = files::write(&self.directory.join(ANCHOR_FILE), note.as_bytes(), 0o644) {
                tracing::error!(error = %e, "cannot write the copy of the ledger's checkpoint");
            }
            *self.shared.published.write().unwrap_or_else(PoisonError::into_inner) = (size, note);
        }
        Ok(out)
    }

    fn pending_orders(&self) -> Result<Vec<PendingOrder>, StoreError> {
        let read = || {
            let mut statement =
                self.connection.prepare_cached("SELECT id, bytes, started FROM pending ORDER BY number")?;
            let order =
                |r: &Row<'_>| Ok(PendingOrder { id: Id(r.get(0)?), bytes: r.get(1)?, started: r.get(2)? });
            statement.query_map([], order)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|e| describe(&self.path, &e))
    }

    fn begin(&mut self, id: Id) -> Result<bool, StoreError> {
        let sql = "UPDATE pending SET started = 1 WHERE id = ?1 AND NOT started";
        transact(&mut self.connection, &self.path, |t| t.prepare_cached(sql)?.execute([id.0])).map(|n| n == 1)
    }

    fn done(&mut self, id: Id) -> Result<bool, StoreError> {
        let sql = "DELETE FROM pending WHERE id = ?1";
        transact(&mut self.connection, &self.path, |t| t.prepare_cached(sql)?.execute([id.0])).map(|n| n == 1)
    }

    fn attestor(&self) -> Arc<dyn Attestor> {
        Arc::new(self.reader())
    }
}

fn append_one(
    transaction: &Transaction<'_>,
    ledger: &RwLock<Ledger>,
    new: &NewEntry,
) -> rusqlite::Result<Entry> {
    let sql = format!("SELECT {ENTRY_COLUMNS} FROM entry WHERE kind = ?1 AND id = ?2");
    let known =
        transaction.prepare_cached(&sql)?.query_row(params![new.kind, new.id.0], entry_of).optional()?;
    if let Some(known) = known {
        return Ok(known);
    }
    let mut ledger = ledger.write().unwrap_or_else(PoisonError::into_inner);
    let entry = ledger.append(new.time, &new.kind, new.id, new.body.clone());
    drop(ledger);
    let number = signed(entry.index)?;
    let sql = "INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let (time, kind, id) = (entry.time.0, &entry.kind, entry.id.0);
    let values = params![number, time, kind, id, entry.body, entry.prev, entry.hash, entry.leaf()];
    transaction.prepare_cached(sql)?.execute(values)?;
    if let Some(order) = &new.order {
        let sql = "INSERT INTO pending (id, number, bytes) VALUES (?1, ?2, ?3)";
        transaction.prepare_cached(sql)?.execute(params![id, number, order])?;
    }
    Ok(entry)
}

fn transact<T>(
    connection: &mut Connection,
    path: &Path,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let result = transaction.and_then(|transaction| {
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    });
    result.map_err(|e| describe(path, &e))
}

/// The ledger's memory from the stored hashes and leaves.
fn load(connection: &Connection, path: &Path, origin: &str) -> Result<Ledger, StoreError> {
    let read = || {
        let mut statement = connection.prepare("SELECT hash, leaf FROM entry ORDER BY number")?;
        let pairs = statement.query_map([], |r| Ok((r.get::<_, Hash>(0)?, r.get::<_, Hash>(1)?)))?;
        pairs.collect::<rusqlite::Result<Vec<_>>>()
    };
    let pairs = read().map_err(|e| describe(path, &e))?;
    Ledger::resume(origin, pairs).map_err(|e| broken(path, &e))
}

/// Whether the newest entry is whole and linked, and the newest checkpoint is of this very tree. Gives its note.
fn check_tail(
    connection: &Connection,
    path: &Path,
    ledger: &Ledger,
    verifier: &Verifier,
) -> Result<Option<String>, StoreError> {
    let read = || {
        let sql = format!("SELECT {ENTRY_COLUMNS} FROM entry ORDER BY number DESC LIMIT 2");
        let mut statement = connection.prepare(&sql)?;
        let newest = statement.query_map([], entry_of)?.collect::<rusqlite::Result<Vec<Entry>>>()?;
        let sql = "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1";
        let note: Option<String> = connection.query_row(sql, [], |r| r.get(0)).optional()?;
        Ok((newest, note))
    };
    let (newest, note) = read().map_err(|e| describe(path, &e))?;
    tail::check(&newest, note, ledger, verifier).map_err(|e| broken(path, &e))
}

/// Whether the ledger still holds what the copy beside it says was signed.
fn check_anchor(directory: &Path, ledger: &Ledger, verifier: &Verifier) -> Result<(), StoreError> {
    let path = directory.join(ANCHOR_FILE);
    let Some(note) = files::read(&path)? else { return Ok(()) };
    let checkpoint = Checkpoint::open(&note, Some(verifier)).map_err(|e| broken(&path, &e))?;
    if checkpoint.size > ledger.size() {
        let (signed, size) = (checkpoint.size, ledger.size());
        return Err(broken(
            &path,
            &format!("it signs {signed} entries and the ledger has {size}: the ledger was cut"),
        ));
    }
    if ledger.tree().root(checkpoint.size) != Some(checkpoint.root) {
        return Err(broken(&path, &"it signs another history than the ledger holds"));
    }
    Ok(())
}

fn broken(path: &Path, detail: &dyn std::fmt::Display) -> StoreError {
    let detail = format!("{detail} (`prunella ledger verify` says where)");
    StoreError::Corrupt { path: path.display().to_string(), detail }
}

fn signed(number: u64) -> rusqlite::Result<i64> {
    i64::try_from(number).map_err(crate::sqlite::damaged)
}

fn entry_of(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let number: i64 = row.get(0)?;
    let index = u64::try_from(number)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(e)))?;
    Ok(Entry {
        index,
        time: Timestamp(row.get(1)?),
        kind: row.get(2)?,
        id: Id(row.get(3)?),
        body: row.get(4)?,
        prev: row.get(5)?,
        hash: row.get(6)?,
    })
}

impl From<LedgerError> for StoreError {
    fn from(error: LedgerError) -> Self {
        StoreError::Invalid(error.to_string())
    }
}
