//! The ledger as it grows: it links each entry to the last, keeps the tree, signs its head and proves membership.

use crate::checkpoint::check_origin;
use crate::{Checkpoint, Entry, Hash, LedgerError, Signer, Tree, genesis};
use prunella_schemas::{Id, Timestamp};

/// The head of a ledger whose entries are stored elsewhere. It keeps 64 bytes an entry.
///
/// One writer owns it. An entry counts once the caller has stored it durably; if storing fails, drop the
/// ledger and [`Ledger::resume`] it from what was stored.
#[derive(Clone, Debug)]
pub struct Ledger {
    origin: String,
    head: Hash,
    tree: Tree,
}

impl Ledger {
    /// An empty ledger. `origin` names it for ever, such as `example.org/ledger`.
    pub fn new(origin: &str) -> Result<Self, LedgerError> {
        check_origin(origin)?;
        Ok(Ledger { origin: origin.to_owned(), head: genesis(origin), tree: Tree::new() })
    }

    /// A ledger over what is stored: the hash and the leaf of every entry, in order. It trusts them; [`crate::verify`] does not.
    pub fn resume(
        origin: &str,
        entries: impl IntoIterator<Item = (Hash, Hash)>,
    ) -> Result<Self, LedgerError> {
        let mut ledger = Ledger::new(origin)?;
        ledger.extend(entries);
        Ok(ledger)
    }

    /// Follows a ledger that somebody else writes: the hash and the leaf of every entry after those that it has.
    pub fn extend(&mut self, entries: impl IntoIterator<Item = (Hash, Hash)>) {
        for (hash, leaf) in entries {
            self.head = hash;
            self.tree.append(leaf);
        }
    }

    pub fn append(&mut self, time: Timestamp, kind: &str, id: Id, body: Vec<u8>) -> Entry {
        let (entry, leaf) = Entry::seal_with_leaf(self.head, self.size(), time, kind, id, body);
        self.tree.append(leaf);
        self.head = entry.hash;
        entry
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Hash of the newest entry, or [`genesis`].
    pub fn head(&self) -> Hash {
        self.head
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The signed head at the current size.
    ///
    /// Publish a checkpoint only after its entries are durable: a signed head that is later taken back is a fork.
    pub fn checkpoint(&self, signer: &Signer) -> Result<String, LedgerError> {
        let root = self.tree.root(self.size()).unwrap_or_else(crate::empty_root);
        Checkpoint { origin: self.origin.clone(), size: self.size(), root }.sign(signer)
    }

    /// Proof that entry `index` is in the ledger at its current size.
    pub fn prove(&self, index: u64) -> Result<Vec<Hash>, LedgerError> {
        self.prove_at(index, self.size())
    }

    /// Proof that entry `index` is in the ledger as it was at `size`, for a checkpoint signed then.
    pub fn prove_at(&self, index: u64, size: u64) -> Result<Vec<Hash>, LedgerError> {
        self.tree
            .inclusion(index, size)
            .ok_or(LedgerError::NoSuchEntry { index, size: size.min(self.size()) })
    }

    /// Proof that the ledger at `new` entries extends the ledger at `old` entries.
    pub fn prove_growth(&self, old: u64, new: u64) -> Result<Vec<Hash>, LedgerError> {
        let missing = LedgerError::NoSuchEntry { index: old.max(new), size: self.size() };
        self.tree.consistency(old, new).ok_or(missing)
    }
}
