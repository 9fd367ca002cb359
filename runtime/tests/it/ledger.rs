//! The ledger: a contract over everything it can be stored in, and every way to tamper with the file.

use prunella_ledger::{Completeness, Integrity, ProofBundle, Report, Verifier};
use prunella_runtime::ledger::{
    Entries, LedgerReader, LedgerStore, NewEntry, RECEIPT_KIND, Sequencer, VERIFIER_FILE, verify,
};
use prunella_runtime::sqlite::StoreError;
use prunella_schemas::plan::Plan;
use prunella_schemas::port::LedgerView;
use prunella_schemas::{Id, Message, PlanState, Receipt, Tenant, Timestamp};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A place in which a ledger is kept, from which its writer can go and come back.
pub trait Home {
    fn open(&self) -> Box<dyn Sequencer>;
    fn reader(&self) -> Arc<dyn LedgerView>;
    fn verifier(&self) -> Verifier;
    fn verify(&self) -> Report;
    /// From now on entry `number` cannot be written, until `heal`.
    fn break_entry(&self, number: u64);
    fn heal(&self);
    fn runtime(&self) -> &tokio::runtime::Runtime;
}

struct Directory {
    path: TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Directory {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        Directory { path: TempDir::new().unwrap(), runtime }
    }
}

impl Home for Directory {
    fn open(&self) -> Box<dyn Sequencer> {
        Box::new(LedgerStore::open(self.path.path()).unwrap())
    }
    fn reader(&self) -> Arc<dyn LedgerView> {
        Arc::new(LedgerReader::open(self.path.path()).unwrap())
    }
    fn verifier(&self) -> Verifier {
        Verifier::parse(&std::fs::read_to_string(self.path.path().join(VERIFIER_FILE)).unwrap()).unwrap()
    }
    fn verify(&self) -> Report {
        verify(self.path.path(), Some(&self.verifier()), &[]).unwrap()
    }
    fn break_entry(&self, number: u64) {
        let body = "BEGIN SELECT RAISE(ABORT, 'no room'); END";
        let sql = format!("CREATE TRIGGER full BEFORE INSERT ON entry WHEN NEW.number = {number} {body}");
        raw(self.path.path(), &sql);
    }
    fn heal(&self) {
        raw(self.path.path(), "DROP TRIGGER full");
    }
    fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }
}

pub fn fill(ledger: &mut dyn Sequencer) {
    for n in 0..5 {
        ledger.append(&[note(n * 2), note(n * 2 + 1)], i64::from(n)).unwrap();
    }
}

fn check_whole(home: &dyn Home, entries: u64) {
    let report = home.verify();
    assert_eq!(
        (report.entries, report.integrity, report.completeness, report.covered, report.first_bad),
        (entries, Integrity::Ok, Completeness::Ok, entries, None),
        "{:?}",
        report.problems
    );
}

/// Entries survive a restart, and a repeat adds nothing.
pub fn check_repeats(home: &dyn Home) {
    let mut ledger = home.open();
    fill(ledger.as_mut());
    assert!(ledger.append(&[], 7).unwrap().is_empty());
    drop(ledger);
    let mut ledger = home.open();
    assert_eq!(ledger.position().unwrap(), 7);
    let state = || {
        let reader = home.reader();
        home.runtime().block_on(async { (reader.len().await.unwrap(), reader.checkpoint().await.unwrap()) })
    };
    let before = state();
    let changed = NewEntry { body: b"{}".to_vec(), ..note(3) };
    let entries = ledger.append(&[changed], 8).unwrap();
    let logged = (entries[0].index, entries[0].body.as_slice());
    assert_eq!(logged, (3, b"{\"n\":3}".as_slice()), "as it was logged then");
    assert_eq!((state(), before.0), (before, 10));
    let entries = ledger.append(&[note(10), note(10)], 9).unwrap();
    assert_eq!(entries.iter().map(|e| e.index).collect::<Vec<_>>(), [10, 10]);
    assert_eq!((state().0, ledger.position().unwrap()), (11, 9));
    check_whole(home, 11);
}

/// Orders are pending until they are done, and never come back.
pub fn check_orders(home: &dyn Home) {
    let pending = |ledger: &dyn Sequencer| {
        let orders = ledger.pending_orders().unwrap();
        orders.into_iter().map(|o| (o.id.0[0], o.bytes.len(), o.started)).collect::<Vec<_>>()
    };
    let mut ledger = home.open();
    ledger.append(&[order(2), note(3), order(1)], 1).unwrap();
    assert_eq!(pending(ledger.as_ref()), [(2, 3, false), (1, 3, false)], "in the order they were logged");
    assert!(ledger.begin(Id([2; 16])).unwrap());
    assert!(!ledger.begin(Id([2; 16])).unwrap() && !ledger.begin(Id([3; 16])).unwrap());
    drop(ledger);
    let mut ledger = home.open();
    assert_eq!(pending(ledger.as_ref()), [(2, 3, true), (1, 3, false)], "a crash after `begin` is seen");
    assert!(ledger.done(Id([2; 16])).unwrap());
    assert!(!ledger.done(Id([2; 16])).unwrap());
    ledger.append(&[order(2), order(1)], 2).unwrap();
    assert_eq!(pending(ledger.as_ref()), [(1, 3, false)], "a repeat does not bring an order back");
}

/// A receipt is proved to whoever has the key, and nothing else is.
pub fn check_proofs(home: &dyn Home) {
    let mut ledger = home.open();
    fill(ledger.as_mut());
    let (receipt, entry) = receipt();
    let entries = ledger.append(&[entry], 20).unwrap();
    let verifier = home.verifier();
    let wanted = prunella_ledger::attest(receipt.clone(), &entries[0], verifier.name(), &verifier).unwrap();
    let (attestor, tenant) = (ledger.attestor(), Tenant::default());
    let attested = home.runtime().block_on(attestor.attested(&tenant, receipt.id())).unwrap();
    assert_eq!(attested, wanted);
    assert!(home.runtime().block_on(attestor.attested(&tenant, Id([1; 16]))).is_err());
    ledger.append(&[note(30)], 21).unwrap();
    let reader = home.reader();
    let proof = |id: Id| home.runtime().block_on(reader.proof(id)).unwrap();
    for _ in 0..2 {
        let bundle: ProofBundle = serde_json::from_value(proof(receipt.id()).unwrap()).unwrap();
        bundle.verify(&verifier).unwrap();
        assert_eq!(bundle.receipt, serde_json::to_value(&attested).unwrap());
        let mut forged = bundle.clone();
        forged.receipt["message"] = "nothing happened".into();
        assert!(forged.verify(&verifier).is_err());
    }
    assert_eq!(proof(Id([1; 16])), None, "only receipts are proved");
}

/// An append that fails leaves nothing, and the next one goes on.
pub fn check_failures(home: &dyn Home) {
    let mut ledger = home.open();
    fill(ledger.as_mut());
    home.break_entry(11);
    let error = ledger.append(&[note(50), order(51)], 9).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    let length = || home.runtime().block_on(async { home.reader().len().await.unwrap() });
    assert_eq!((length(), ledger.position().unwrap()), (10, 4));
    assert!(ledger.pending_orders().unwrap().is_empty());
    home.heal();
    let entries = ledger.append(&[note(50), order(51)], 9).unwrap();
    assert_eq!(entries.iter().map(|e| e.index).collect::<Vec<_>>(), [10, 11]);
    check_whole(home, 12);
}

#[test]
fn the_contract_holds_in_a_directory() {
    for check in [check_repeats, check_orders, check_proofs, check_failures] {
        check(&Directory::new());
    }
}

pub fn note(n: u8) -> NewEntry {
    let body = format!("{{\"n\":{n}}}").into_bytes();
    let (tenant, time, kind) = (Tenant::default(), Timestamp(i64::from(n)), "transition".into());
    NewEntry { tenant, time, kind, id: Id([n; 16]), body, order: None }
}

pub fn order(n: u8) -> NewEntry {
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
    let (tenant, time, kind) = (Tenant::default(), Timestamp(50), RECEIPT_KIND.into());
    let entry = NewEntry { tenant, time, kind, id: receipt.id(), body, order: None };
    (receipt, entry)
}

fn filled(directory: &Path) -> LedgerStore {
    let mut store = LedgerStore::open(directory).unwrap();
    fill(&mut store);
    store
}

fn raw(directory: &Path, sql: &str) {
    rusqlite::Connection::open(directory.join("ledger.db")).unwrap().execute_batch(sql).unwrap();
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
