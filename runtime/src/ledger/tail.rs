//! Whether the end of a stored ledger is what its newest checkpoint says, whatever it is stored in.

use prunella_ledger::{Checkpoint, Entry, Ledger, Verifier, genesis};

/// Checks that the newest entry is whole and linked, and that the newest checkpoint is of this very tree. Gives its note,
/// `None` for a ledger that never had an entry. `newest` are the last two entries, the last one first.
pub(super) fn check(
    newest: &[Entry],
    note: Option<String>,
    ledger: &Ledger,
    verifier: &Verifier,
) -> Result<Option<String>, String> {
    let size = ledger.size();
    if let Some(last) = newest.first() {
        let prev = newest.get(1).map_or_else(|| genesis(ledger.origin()), |e| e.hash);
        if last.index + 1 != size {
            return Err("entries are missing".to_owned());
        }
        if !last.is_sealed() || last.prev != prev {
            return Err("the newest entry was changed".to_owned());
        }
    }
    match &note {
        None if size == 0 => Ok(None),
        None => Err("its checkpoints are missing".to_owned()),
        Some(text) => {
            let checkpoint = Checkpoint::open(text, Some(verifier)).map_err(|e| e.to_string())?;
            if checkpoint.size != size || ledger.tree().root(size) != Some(checkpoint.root) {
                return Err("its entries are not those that the newest checkpoint signs".to_owned());
            }
            Ok(note)
        }
    }
}
