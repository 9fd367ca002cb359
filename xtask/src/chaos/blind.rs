//! Whether the oracle would notice: copies of a good data directory, each damaged in one way.

use super::oracle::Holdings;
use super::stream::Counts;
use anyhow::{Context, bail};
use rusqlite::Connection;
use std::path::Path;

/// What is done to a copy: which file, and how.
const DAMAGES: [(&str, &str, &str); 10] = [
    ("an event is gone", "store.db", "DELETE FROM event WHERE rowid = (SELECT MAX(rowid) FROM event)"),
    (
        "an event is there twice",
        "store.db",
        "DROP INDEX event_by_uid; INSERT INTO event SELECT * FROM event WHERE rowid = (SELECT MAX(rowid) FROM event)",
    ),
    ("a finding is gone", "store.db", "DELETE FROM finding WHERE rowid = (SELECT MAX(rowid) FROM finding)"),
    (
        "a finding is there twice",
        "store.db",
        "DROP INDEX finding_by_uid; INSERT INTO finding SELECT * FROM finding WHERE rowid = (SELECT MAX(rowid) FROM finding)",
    ),
    (
        "one byte of a finding is another",
        "store.db",
        "UPDATE finding SET bytes = bytes || ' ' WHERE rowid = (SELECT MAX(rowid) FROM finding)",
    ),
    (
        "a dead letter is gone",
        "store.db",
        "DELETE FROM dead_letter WHERE rowid = (SELECT MAX(rowid) FROM dead_letter)",
    ),
    ("events are counted twice", "store.db", "UPDATE tally SET rows = rows + 1 WHERE kind = 'event'"),
    (
        "events are twice on the log",
        "log.db",
        "INSERT INTO batch (topic, at, count, bytes) SELECT topic, at, count, bytes FROM batch WHERE topic = 2 LIMIT 1",
    ),
    (
        "a transition is in the ledger twice",
        "ledger.db",
        "INSERT INTO entry SELECT (SELECT MAX(number) + 1 FROM entry), time, kind, zeroblob(16), body, prev, hash, leaf \
         FROM entry WHERE kind = 'transition' LIMIT 1",
    ),
    (
        "a revocation is forgotten",
        "state.db",
        "DELETE FROM token WHERE principal = (SELECT MAX(principal) FROM token)",
    ),
];

/// Damages copies of `data` one by one. Returns how many damages the oracle noticed: all, or it is an error.
pub fn check(data: &Path, folder: &Path, calm: &Holdings, counts: &Counts) -> anyhow::Result<usize> {
    for (what, file, sql) in DAMAGES {
        let copy = folder.join("damaged");
        std::fs::create_dir_all(&copy)?;
        for name in ["store.db", "log.db", "ledger.db", "state.db"] {
            for name in [name.to_owned(), format!("{name}-wal")] {
                if data.join(&name).exists() {
                    std::fs::copy(data.join(&name), copy.join(&name))
                        .with_context(|| format!("cannot copy {name}"))?;
                }
            }
        }
        let connection = Connection::open(copy.join(file))?;
        connection.execute_batch(sql).with_context(|| format!("cannot damage a copy: {what}"))?;
        drop(connection);
        let held = Holdings::read(&copy)?;
        if held.violations(counts).is_empty() && held.differences(calm).violations.is_empty() {
            bail!("the oracle is blind: {what}, and it did not notice; the copy is in {}", copy.display());
        }
        std::fs::remove_dir_all(&copy)?;
    }
    Ok(DAMAGES.len())
}
