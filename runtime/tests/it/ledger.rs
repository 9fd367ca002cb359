//! The ledger on disk: repeats, restarts, orders, proofs, and every way to tamper with the file.

use prunella_ledger::{Completeness, Integrity, ProofBundle, Verifier};
use prunella_runtime::ledger::{Entries, LedgerStore, NewEntry, RECEIPT_KIND, verify};
use prunella_runtime::sqlite::StoreError;
use prunella_schemas::plan::Plan;
use prunella_schemas::port::LedgerView;
use prunella_schemas::{Id, Message, PlanState, Receipt, Timestamp};
use std::path::Path;
use tempfile::TempDir;

fn note(n: u8) -> NewEntry {
    let body = format!("{{\"n\":{n}}}").into_bytes();
    NewEntry { time: Timestamp(i64::from(n)), kind: "transition".into(), id: Id([n; 16]), body, order: None }
}

fn order(n: u8) -> NewEntry {
    NewEntry { order: Some(vec![n; 3]), ..note(n) }
}

fn receipt() -> (Receipt, NewEntry) {
    let plan = Plan {
        uid: Id([9; 16]),
        principal: "aws:user:x".into(),
        action: "tokens.revoke".into(),
        ..Plan::default()
    };
    let receipt = Receipt::of(&plan, PlanState::Verified, 2, 1, Timestamp(50));
    let body = prunella_ledger::receipt_body(&receipt).unwrap();
    let entry =
        NewEntry { time: Timestamp(50), kind: RECEIPT_KIND.into(), id: receipt.id(), body, order: None };
    (receipt, entry)
}

fn filled(directory: &Path) -> LedgerStore {
    let mut store = LedgerStore::open(directory).unwrap();
    for n in 0..5 {
        store.append(&[note(n * 2), note(n * 2 + 1)], i64::from(n)).unwrap();
    }
    store
}

fn raw(directory: &Path, sql: &str) {
    rusqlite::Connection::open(directory.join("ledger.db")).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn entries_survive_a_restart_and_a_repeat_adds_nothing() {
    let directory = TempDir::new().unwrap();
    let first = filled(directory.path()).append(&[], 7).unwrap();
    assert!(first.is_empty());
    let mut store = LedgerStore::open(directory.path()).unwrap();
    assert_eq!(store.position().unwrap(), 7);
    let reader = store.reader();
    let before = reader.checkpoint().await.unwrap();
    let changed = NewEntry { body: b"{}".to_vec(), ..note(3) };
    let entries = store.append(&[changed], 8).unwrap();
    assert_eq!(
        (entries[0].index, entries[0].body.as_slice()),
        (3, b"{\"n\":3}".as_slice()),
        "as it was logged then"
    );
    assert_eq!((reader.len().await.unwrap(), reader.checkpoint().await.unwrap()), (10, before));
    let entries = store.append(&[note(10), note(10)], 9).unwrap();
    assert_eq!(entries.iter().map(|e| e.index).collect::<Vec<_>>(), [10, 10]);
    assert_eq!(reader.len().await.unwrap(), 11);

    let report = verify(directory.path(), Some(store.verifier()), &[]).unwrap();
    assert_eq!(
        (report.entries, report.integrity, report.completeness),
        (11, Integrity::Ok, Completeness::Ok)
    );
    assert_eq!((report.covered, report.first_bad), (11, None));
    drop(store);
    let indexes: Vec<u64> = Entries::open(directory.path()).unwrap().map(|e| e.unwrap().index).collect();
    assert_eq!(indexes, (0..11).collect::<Vec<_>>());
}

#[test]
fn many_entries_are_streamed_in_pages() {
    let directory = TempDir::new().unwrap();
    let mut store = LedgerStore::open(directory.path()).unwrap();
    let entries: Vec<NewEntry> = (0..1_000u32)
        .map(|n| NewEntry {
            id: Id::derive("test", &[&n.to_le_bytes()]),
            kind: "note".into(),
            ..NewEntry::default()
        })
        .collect();
    store.append(&entries, 1).unwrap();
    let mut seen = Entries::open(directory.path()).unwrap();
    seen.next().unwrap().unwrap();
    store.append(&[note(1)], 2).unwrap();
    assert_eq!(seen.count(), 999, "one moment, though the writer goes on");
    assert_eq!(verify(directory.path(), None, &[]).unwrap().entries, 1_001);
}

#[test]
fn orders_are_pending_until_done_and_never_come_back() {
    let directory = TempDir::new().unwrap();
    let pending = |store: &LedgerStore| {
        store
            .pending_orders()
            .unwrap()
            .into_iter()
            .map(|o| (o.id.0[0], o.bytes.len(), o.started))
            .collect::<Vec<_>>()
    };
    {
        let mut store = LedgerStore::open(directory.path()).unwrap();
        store.append(&[order(2), note(3), order(1)], 1).unwrap();
        assert_eq!(pending(&store), [(2, 3, false), (1, 3, false)], "in the order they were logged");
        assert!(store.begin(Id([2; 16])).unwrap());
        assert!(!store.begin(Id([2; 16])).unwrap() && !store.begin(Id([3; 16])).unwrap());
    }
    let mut store = LedgerStore::open(directory.path()).unwrap();
    assert_eq!(pending(&store), [(2, 3, true), (1, 3, false)], "a crash after `begin` is seen");
    assert!(store.done(Id([2; 16])).unwrap());
    assert!(!store.done(Id([2; 16])).unwrap());
    store.append(&[order(2), order(1)], 2).unwrap();
    assert_eq!(pending(&store), [(1, 3, false)], "a repeat does not bring an order back");
}

#[tokio::test]
async fn a_receipt_is_proved_to_whoever_has_the_key() {
    let directory = TempDir::new().unwrap();
    let mut store = filled(directory.path());
    let (receipt, entry) = receipt();
    let entries = store.append(&[entry], 20).unwrap();
    let attested =
        prunella_ledger::attest(receipt.clone(), &entries[0], store.origin(), store.verifier()).unwrap();
    store.append(&[note(30)], 21).unwrap();
    let reader = store.reader();
    let bundle: ProofBundle =
        serde_json::from_value(reader.proof(receipt.id()).await.unwrap().unwrap()).unwrap();
    let key = std::fs::read_to_string(directory.path().join("ledger.pub")).unwrap();
    bundle.verify(&Verifier::parse(&key).unwrap()).unwrap();
    assert_eq!(bundle.receipt, serde_json::to_value(&attested).unwrap());
    let mut forged = bundle.clone();
    forged.receipt["message"] = "nothing happened".into();
    assert!(forged.verify(store.verifier()).is_err());
    assert_eq!(reader.proof(Id([1; 16])).await.unwrap(), None, "only receipts are proved");
    let anchor = std::fs::read_to_string(directory.path().join("checkpoint.txt")).unwrap();
    assert_eq!(anchor, reader.checkpoint().await.unwrap());
}

#[test]
fn tampering_with_the_file_is_found() {
    use Completeness::{Ok, Truncated};
    let check = |sql: &str, first_bad: Option<u64>, completeness: Completeness| {
        let directory = TempDir::new().unwrap();
        drop(filled(directory.path()));
        raw(directory.path(), sql);
        let report = verify(directory.path(), None, &[]).unwrap();
        assert_eq!((report.first_bad, report.completeness), (first_bad, completeness), "{sql}: {report:?}");
        let broken = report.integrity == Integrity::Broken || report.completeness == Truncated;
        assert!(broken, "{sql}: {report:?}");
    };
    check("UPDATE entry SET body = x'00' WHERE number = 4", Some(4), Ok);
    check("UPDATE entry SET time = 77 WHERE number = 0", Some(0), Ok);
    check("UPDATE entry SET id = x'00' WHERE number = 6", Some(6), Ok);
    check("UPDATE entry SET hash = zeroblob(32) WHERE number = 9", Some(9), Ok);
    check("DELETE FROM entry WHERE number = 3", Some(3), Truncated);
    check(
        "UPDATE entry SET number = 99 WHERE number = 2; UPDATE entry SET number = 2 WHERE number = 5; \
           UPDATE entry SET number = 5 WHERE number = 99",
        Some(2),
        Ok,
    );
    check("DELETE FROM entry WHERE number >= 8", None, Truncated);
    check("DELETE FROM entry WHERE number >= 8; DELETE FROM checkpoint WHERE size > 8", None, Truncated);
    check(
        "UPDATE checkpoint SET note = (SELECT note FROM checkpoint WHERE size = 4) WHERE size = 10; \
           UPDATE checkpoint SET note = replace(note, 'prunella', 'elsewhere') WHERE size = 2",
        None,
        Ok,
    );
}

#[test]
fn a_ledger_whose_end_does_not_fit_is_not_opened() {
    let check = |damage: &dyn Fn(&Path), words: &str| {
        let directory = TempDir::new().unwrap();
        drop(filled(directory.path()));
        damage(directory.path());
        let error = LedgerStore::open(directory.path()).err().map(|e| e.to_string());
        assert!(error.as_ref().is_some_and(|e| e.contains(words)), "{words}: {error:?}");
    };
    check(&|d| raw(d, "UPDATE entry SET body = x'00' WHERE number = 9"), "the newest entry was changed");
    check(&|d| raw(d, "UPDATE entry SET leaf = zeroblob(32) WHERE number = 2"), "newest checkpoint signs");
    check(&|d| raw(d, "DELETE FROM entry WHERE number = 9"), "newest checkpoint signs");
    check(&|d| raw(d, "DELETE FROM entry WHERE number = 4"), "entries are missing");
    check(&|d| raw(d, "DELETE FROM checkpoint"), "checkpoints are missing");
    check(
        &|d| raw(d, "DELETE FROM entry WHERE number >= 8; DELETE FROM checkpoint WHERE size > 8"),
        "was cut",
    );
    check(&|d| std::fs::remove_file(d.join("ledger.key")).unwrap(), "restore it from a backup");
    check(&|d| std::fs::write(d.join("ledger.key"), "PRIVATE+KEY+x").unwrap(), "key");
    check(&|d| std::fs::write(d.join("checkpoint.txt"), "rubbish").unwrap(), "checkpoint.txt");
}

#[test]
fn a_stale_copy_of_the_checkpoint_is_written_again() {
    let directory = TempDir::new().unwrap();
    let anchor = directory.path().join("checkpoint.txt");
    let mut store = filled(directory.path());
    let old = std::fs::read_to_string(&anchor).unwrap();
    store.append(&[note(40)], 9).unwrap();
    drop(store);
    std::fs::write(&anchor, old).unwrap();
    let store = LedgerStore::open(directory.path()).unwrap();
    assert!(std::fs::read_to_string(&anchor).unwrap().starts_with(&format!("{}\n11\n", store.origin())));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(directory.path().join("ledger.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn an_append_that_fails_leaves_nothing_and_the_next_one_goes_on() {
    let directory = TempDir::new().unwrap();
    let mut store = filled(directory.path());
    let reader = store.reader();
    raw(
        directory.path(),
        "CREATE TRIGGER full BEFORE INSERT ON entry WHEN NEW.number = 11 \
                           BEGIN SELECT RAISE(ABORT, 'no room'); END",
    );
    let error = store.append(&[note(50), order(51)], 9).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert_eq!((reader.len().await.unwrap(), store.position().unwrap()), (10, 4));
    assert!(store.pending_orders().unwrap().is_empty());
    raw(directory.path(), "DROP TRIGGER full");
    let entries = store.append(&[note(50), order(51)], 9).unwrap();
    assert_eq!(entries.iter().map(|e| e.index).collect::<Vec<_>>(), [10, 11]);
    let report = verify(directory.path(), None, &[]).unwrap();
    assert_eq!(
        (report.entries, report.integrity, report.completeness),
        (12, Integrity::Ok, Completeness::Ok)
    );
}
