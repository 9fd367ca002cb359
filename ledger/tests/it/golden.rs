//! Wire stability: what an earlier version wrote must verify for ever, with the same hashes.

use crate::sample::{ORIGIN, signer};
use prunella_ledger::{Completeness, Entry, Integrity, Ledger, ProofBundle, Verifier, verify};
use prunella_schemas::{Id, Timestamp};

const ENTRIES: &str = include_str!("golden/entries.v1.ndjson");
const CHECKPOINT: &str = include_str!("golden/checkpoint.v1.txt");
const KEY: &str = include_str!("golden/verifier.v1.txt");
const TLOG_PROOF: &str = include_str!("golden/bundle.v1.tlog-proof");
const BUNDLE: &str = include_str!("golden/bundle.v1.json");

fn entries() -> Vec<Entry> {
    ENTRIES.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_old_ledger_still_verifies() {
    let verifier = Verifier::parse(KEY).unwrap();
    let report = verify(entries().into_iter().map(Ok), &[CHECKPOINT.to_owned()], Some(&verifier));
    assert_eq!(
        (report.entries, report.integrity, report.completeness),
        (7, Integrity::Ok, Completeness::Ok),
        "{report:?}"
    );
    assert_eq!(report.covered, 7);
}

#[test]
fn an_old_bundle_still_verifies() {
    let bundle: ProofBundle = serde_json::from_str(BUNDLE).unwrap();
    assert_eq!(bundle.verify(&Verifier::parse(KEY).unwrap()), Ok(()));
    assert_eq!(bundle.to_tlog_proof(), TLOG_PROOF);
}

#[test]
fn an_old_ledger_is_written_the_same_today() {
    assert_eq!(signer().verifier().to_string(), KEY.trim_end());
    let old = entries();
    let mut ledger = Ledger::new(ORIGIN).unwrap();
    for (line, entry) in ENTRIES.lines().zip(&old) {
        let again = ledger.append(entry.time, &entry.kind, entry.id, entry.body.clone());
        assert_eq!(serde_json::to_string(&again).unwrap(), line);
    }
    assert_eq!(ledger.checkpoint(&signer()).unwrap(), CHECKPOINT);
    let resumed = Ledger::resume(ORIGIN, old.iter().map(|e| (e.hash, e.leaf()))).unwrap();
    assert_eq!(resumed.checkpoint(&signer()).unwrap(), CHECKPOINT);
    assert_eq!(resumed.head(), ledger.head());
}

#[test]
fn a_resumed_ledger_goes_on_where_it_stopped() {
    let old = entries();
    let mut whole = Ledger::new(ORIGIN).unwrap();
    old.iter().for_each(|e| drop(whole.append(e.time, &e.kind, e.id, e.body.clone())));
    let mut resumed = Ledger::resume(ORIGIN, old.iter().map(|e| (e.hash, e.leaf()))).unwrap();
    let next = |ledger: &mut Ledger| ledger.append(Timestamp(9), "note", Id([1; 16]), b"{}".to_vec());
    assert_eq!(next(&mut whole), next(&mut resumed));
    assert_eq!(whole.prove(3), resumed.prove(3));
    assert!(Ledger::resume("two\nlines", []).is_err());
}
