//! Reading the ledger: the port for console and command line, a stream of its entries, and the offline verification.

use super::{
    ANCHOR_FILE, Attestor, DATABASE_FILE, ENTRY_COLUMNS, KIND, MIGRATIONS, RECEIPT_KIND, Shared,
    VERIFIER_FILE, entry_of, files,
};
use crate::sqlite::{Readers, StoreError, blocking, describe, open_reader};
use async_trait::async_trait;
use prunella_ledger::{Entry, Ledger, ProofBundle, Report, Verifier, attest};
use prunella_schemas::port::{LedgerView, PortError};
use prunella_schemas::{Id, Message, Receipt, Tenant};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// Entries read at once.
const PAGE_ENTRIES: i64 = 256;

/// Reads beside the writer, sharing its memory. Cheap to clone.
#[derive(Clone)]
pub struct LedgerReader {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
}

impl LedgerReader {
    pub(super) fn new(shared: Arc<Shared>, path: &Path) -> Self {
        LedgerReader { shared, readers: Arc::new(Readers::new(path, KIND, MIGRATIONS)) }
    }

    /// Reads the ledger in `directory` as it is now, whether a process writes to it or not.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(DATABASE_FILE);
        let connection = open_reader(&path, KIND, MIGRATIONS)?;
        connection.execute_batch("BEGIN").map_err(|e| describe(&path, &e))?;
        let missing = || {
            StoreError::Invalid(format!("{} is missing; restore it", directory.join(VERIFIER_FILE).display()))
        };
        let verifier = Verifier::parse(&files::read(&directory.join(VERIFIER_FILE))?.ok_or_else(missing)?)?;
        let ledger = super::load(&connection, &path, verifier.name())?;
        let note = super::check_tail(&connection, &path, &ledger, &verifier)?.unwrap_or_default();
        let published = RwLock::new((ledger.size(), note));
        let shared = Shared { ledger: RwLock::new(ledger), published, verifier };
        Ok(LedgerReader::new(Arc::new(shared), &path))
    }

    pub fn verifier(&self) -> &Verifier {
        &self.shared.verifier
    }

    /// The entry of a kind and id.
    pub async fn entry(&self, kind: &'static str, id: Id) -> Result<Option<Entry>, PortError> {
        let readers = Arc::clone(&self.readers);
        blocking(move || {
            let sql = format!("SELECT {ENTRY_COLUMNS} FROM entry WHERE kind = ?1 AND id = ?2");
            readers.with(|c| c.prepare_cached(&sql)?.query_row(params![kind, id.0], entry_of).optional())
        })
        .await
    }

    fn published(&self) -> (u64, String) {
        self.shared.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Attestor for LedgerReader {
    async fn attested(&self, _: &Tenant, receipt: Id) -> Result<Receipt, PortError> {
        attested(self.entry(RECEIPT_KIND, receipt).await?, self.verifier())
    }
}

/// The receipt of an entry, with its place in the ledger that `verifier` names.
pub(super) fn attested(entry: Option<Entry>, verifier: &Verifier) -> Result<Receipt, PortError> {
    let entry = entry.ok_or_else(|| PortError::Invalid("the ledger does not hold the receipt".into()))?;
    let corrupt = |e: &dyn std::fmt::Display| PortError::Corrupt(format!("entry {}: {e}", entry.index));
    let receipt = Receipt::decode(Receipt::VERSION, &entry.body).map_err(|e| corrupt(&e))?;
    attest(receipt, &entry, verifier.name(), verifier).map_err(|e| corrupt(&e))
}

/// The proof of an entry that logs a receipt, in the ledger as it was when `checkpoint` was signed over `size` entries.
pub(super) fn bundle(
    entry: &Entry,
    ledger: &Ledger,
    (size, checkpoint): (u64, String),
    verifier: &Verifier,
) -> Result<Option<serde_json::Value>, PortError> {
    let id = entry.id;
    if entry.index >= size {
        return Err(PortError::Unavailable(format!("receipt {id} is being signed; ask again")));
    }
    let corrupt = |e: &dyn std::fmt::Display| PortError::Corrupt(format!("no proof for receipt {id}: {e}"));
    let inclusion = ledger.prove_at(entry.index, size).map_err(|e| corrupt(&e))?;
    let receipt = attested(Some(entry.clone()), verifier)?;
    let bundle =
        ProofBundle::new(&receipt, entry, inclusion, checkpoint, verifier).map_err(|e| corrupt(&e))?;
    serde_json::to_value(bundle).map(Some).map_err(|e| corrupt(&e))
}

#[async_trait]
impl LedgerView for LedgerReader {
    async fn checkpoint(&self) -> Result<String, PortError> {
        Ok(self.published().1)
    }

    async fn proof(&self, receipt: Id) -> Result<Option<serde_json::Value>, PortError> {
        let Some(entry) = self.entry(RECEIPT_KIND, receipt).await? else { return Ok(None) };
        let published = self.published();
        let ledger = self.shared.ledger.read().unwrap_or_else(PoisonError::into_inner);
        bundle(&entry, &ledger, published, self.verifier())
    }

    async fn len(&self) -> Result<u64, PortError> {
        Ok(self.published().0)
    }
}

/// The entries of a ledger's file as they are at one moment, in order, whether a process writes to it or not.
pub struct Entries {
    connection: Connection,
    after: i64,
    page: VecDeque<Result<Entry, String>>,
    ended: bool,
}

impl Entries {
    /// Reads the ledger in `directory`, and changes nothing.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(DATABASE_FILE);
        let connection = open_reader(&path, KIND, MIGRATIONS)?;
        // One read transaction, so that all pages are of one moment.
        connection.execute_batch("BEGIN").map_err(|e| describe(&path, &e))?;
        Ok(Entries { connection, after: i64::MIN, page: VecDeque::new(), ended: false })
    }

    /// The signed checkpoints of the same moment, oldest first.
    pub fn checkpoints(&self) -> rusqlite::Result<Vec<String>> {
        let mut statement = self.connection.prepare("SELECT note FROM checkpoint ORDER BY size")?;
        statement.query_map([], |r| r.get(0))?.collect()
    }

    fn turn(&mut self) -> rusqlite::Result<()> {
        let sql = format!("SELECT {ENTRY_COLUMNS} FROM entry WHERE number > ?1 ORDER BY number LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![self.after, PAGE_ENTRIES])?;
        while let Some(row) = rows.next()? {
            self.after = row.get(0)?;
            self.page.push_back(entry_of(row).map_err(|e| e.to_string()));
        }
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty() && !self.ended {
            match self.turn() {
                Ok(()) => self.ended = self.page.is_empty(),
                Err(e) => {
                    self.ended = true;
                    self.page.push_back(Err(e.to_string()));
                }
            }
        }
        self.page.pop_front()
    }
}

/// Verifies the ledger in `directory`, whether a process writes to it or not.
///
/// `trusted` is the key to check by, kept outside; without it the key in the directory is taken, which whoever can
/// rewrite the directory can exchange. `anchors` are checkpoints kept outside.
pub fn verify(
    directory: &Path,
    trusted: Option<&Verifier>,
    anchors: &[String],
) -> Result<Report, StoreError> {
    // Read before the entries: a writer that goes on meanwhile can then only be ahead of it.
    let copy = files::read(&directory.join(ANCHOR_FILE))?;
    let entries = Entries::open(directory)?;
    let verifier = match trusted {
        Some(verifier) => Some(verifier.clone()),
        None => {
            files::read(&directory.join(VERIFIER_FILE))?.map(|text| Verifier::parse(&text)).transpose()?
        }
    };
    let mut checkpoints = entries.checkpoints().map_err(|e| describe(&directory.join(DATABASE_FILE), &e))?;
    checkpoints.extend(copy);
    checkpoints.extend_from_slice(anchors);
    Ok(prunella_ledger::verify(entries, &checkpoints, verifier.as_ref()))
}
