//! The offline verifier: reads stored entries once, in bounded memory, and says whether they are intact and whether all are there.

use crate::{Checkpoint, Entry, Frontier, Hash, Verifier, genesis};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most problems that a report describes; the first ones say the most.
pub const PROBLEMS_MAX: usize = 32;

/// Whether what is there is what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Integrity {
    Ok,
    Broken,
}

/// Whether all that was written is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Completeness {
    /// The entries reach at least as far as the newest checkpoint. Later ones may have come and gone.
    Ok,
    /// A checkpoint commits to more entries than there are.
    Truncated,
    /// No usable checkpoint was given, so that a cut end would not show.
    Unknown,
}

/// What the verifier found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Entries read, whether good or bad.
    pub entries: u64,
    pub integrity: Integrity,
    pub completeness: Completeness,
    /// Position of the first entry that is not as written. When only a checkpoint's root disagrees, the first entry
    /// that no agreeing checkpoint covers: nothing before it was changed.
    pub first_bad: Option<u64>,
    /// Entries that an agreeing checkpoint commits to. Those after are linked, but nobody has signed them yet.
    pub covered: u64,
    /// In words, at most [`PROBLEMS_MAX`].
    pub problems: Vec<String>,
}

/// Checks stored entries, in order from the first, against checkpoints from anywhere: the ledger's own and anchors.
///
/// Finds edit, insertion, deletion and reordering (by the chain, or by a checkpoint when the chain was rewritten),
/// truncation against a later checkpoint, forks, and checkpoints that the key did not sign. Without `verifier`
/// the signatures are not checked, and a problem says so. Memory grows with the checkpoints, not with the entries.
pub fn verify(
    entries: impl Iterator<Item = Result<Entry, String>>,
    checkpoints: &[String],
    verifier: Option<&Verifier>,
) -> Report {
    let mut audit = Audit::new();
    audit.read_checkpoints(checkpoints, verifier);
    audit.compare_roots();
    for entry in entries {
        match entry {
            Ok(entry) => audit.take(&entry),
            Err(reason) => audit.take_unreadable(&reason),
        }
        audit.compare_roots();
    }
    audit.finish()
}

struct Audit {
    report: Report,
    frontier: Frontier,
    /// What the next entry must link to; `None` when that is not known.
    prev: Option<Hash>,
    /// Distinct roots by size, of the checkpoints not reached yet.
    heads: BTreeMap<u64, BTreeSet<Hash>>,
    newest: Option<u64>,
}

impl Audit {
    fn new() -> Self {
        let report = Report {
            entries: 0,
            integrity: Integrity::Ok,
            completeness: Completeness::Unknown,
            first_bad: None,
            covered: 0,
            problems: Vec::new(),
        };
        Audit { report, frontier: Frontier::new(), prev: None, heads: BTreeMap::new(), newest: None }
    }

    fn read_checkpoints(&mut self, checkpoints: &[String], verifier: Option<&Verifier>) {
        if verifier.is_none() && !checkpoints.is_empty() {
            self.note("signatures of checkpoints were not checked: no verifier key was given".to_owned());
        }
        let mut origin: Option<String> = None;
        for (position, note) in checkpoints.iter().enumerate() {
            let checkpoint = match Checkpoint::open(note, verifier) {
                Ok(checkpoint) => checkpoint,
                Err(error) => {
                    self.broken(None, format!("checkpoint {position}: {error}"));
                    continue;
                }
            };
            let origin = origin.get_or_insert_with(|| checkpoint.origin.clone());
            if *origin != checkpoint.origin {
                let text = format!("checkpoint {position}: of another ledger, `{}`", checkpoint.origin);
                self.broken(None, text);
                continue;
            }
            self.newest = self.newest.max(Some(checkpoint.size));
            self.heads.entry(checkpoint.size).or_default().insert(checkpoint.root);
        }
        self.prev = origin.as_deref().map(genesis);
        let forks: Vec<u64> =
            self.heads.iter().filter(|(_, roots)| roots.len() > 1).map(|(size, _)| *size).collect();
        for size in forks {
            self.broken(None, format!("fork: checkpoints of size {size} have different roots"));
        }
    }

    fn take(&mut self, entry: &Entry) {
        let position = self.report.entries;
        self.report.entries += 1;
        let (hash, leaf) = entry.digests();
        if entry.index != position {
            self.broken(Some(position), format!("entry {position}: its index is {}", entry.index));
        }
        if self.prev.is_some_and(|prev| prev != entry.prev) {
            let of = if position == 0 { "the ledger's origin" } else { "the entry before" };
            self.broken(Some(position), format!("entry {position}: it does not link to {of}"));
        }
        if entry.hash != hash {
            self.broken(Some(position), format!("entry {position}: its hash does not match its content"));
        }
        self.prev = Some(hash);
        self.frontier.append(leaf);
    }

    fn take_unreadable(&mut self, reason: &str) {
        let position = self.report.entries;
        self.report.entries += 1;
        let reason: String = reason.chars().take(200).collect();
        self.broken(Some(position), format!("entry {position}: it cannot be read: {reason}"));
        self.prev = None;
    }

    /// Compares the tree with the checkpoints of its size. Once the chain is broken a root says nothing new.
    fn compare_roots(&mut self) {
        let size = self.report.entries;
        let Some(roots) = self.heads.remove(&size) else { return };
        if self.report.first_bad.is_some() {
            return;
        }
        if roots.contains(&self.frontier.root()) {
            self.report.covered = size;
        } else {
            let first_bad = (size > 0).then_some(self.report.covered);
            self.broken(first_bad, format!("fork: the checkpoint of size {size} commits to another history"));
        }
    }

    fn finish(mut self) -> Report {
        let entries = self.report.entries;
        self.report.completeness = match self.newest {
            None => Completeness::Unknown,
            Some(size) if size > entries => {
                self.note(format!("truncated: a checkpoint commits to {size} entries, {entries} are here"));
                Completeness::Truncated
            }
            Some(_) => Completeness::Ok,
        };
        self.report
    }

    fn broken(&mut self, first_bad: Option<u64>, problem: String) {
        self.report.integrity = Integrity::Broken;
        self.report.first_bad = self.report.first_bad.or(first_bad);
        self.note(problem);
    }

    fn note(&mut self, problem: String) {
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(problem);
        }
    }
}
