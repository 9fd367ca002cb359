//! How fast the ledger appends, proves and verifies. `cargo bench -p prunella-ledger`.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first thing that is wrong")]
#![allow(clippy::print_stdout, reason = "the numbers are the output")]
#![allow(clippy::disallowed_methods, reason = "measuring needs a clock")]

use prunella_ledger::{Entry, Ledger, ProofBundle, Signer, attest, receipt_body, verify, verify_inclusion};
use prunella_schemas::{Id, Receipt, Timestamp};
use std::hint::black_box;
use std::time::Instant;

const ORIGIN: &str = "example.org/ledger";

/// Prints the time per round of `work` and rounds per second.
fn measure(name: &str, rounds: u64, mut work: impl FnMut(u64)) {
    let start = Instant::now();
    (0..rounds).for_each(&mut work);
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:<44} {:>10.0} ns {:>12.0} /s", seconds * 1e9 / rounds as f64, rounds as f64 / seconds);
}

fn main() {
    // Under `cargo test` the benchmark only has to run.
    let rounds = if std::env::args().any(|arg| arg == "--bench") { 1_000_000 } else { 1_000 };
    let signer = Signer::from_seed(ORIGIN, &[7; 32]).unwrap();
    let mut ledger = Ledger::new(ORIGIN).unwrap();
    let body = vec![b'x'; 512];
    measure("append, 512 B body", rounds, |n| {
        black_box(ledger.append(Timestamp(n as i64), "transition", Id([1; 16]), body.clone()));
    });
    let size = ledger.size();
    let at = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size;
    measure("prove inclusion", rounds, |n| drop(black_box(ledger.prove(at(n)).unwrap())));
    measure("prove growth", rounds, |n| drop(black_box(ledger.prove_growth(1 + at(n), size).unwrap())));

    let receipt = Receipt::default();
    let entry = ledger.append(Timestamp(1), "receipt", Id([1; 16]), receipt_body(&receipt).unwrap());
    let (proof, root) = (ledger.prove(entry.index).unwrap(), ledger.tree().root(size + 1).unwrap());
    measure("verify inclusion", rounds / 10, |_| {
        verify_inclusion(black_box(entry.leaf()), entry.index, size + 1, &proof, root).unwrap();
    });
    measure("sign a checkpoint", rounds / 100, |_| drop(black_box(ledger.checkpoint(&signer).unwrap())));
    let receipt = attest(receipt, &entry, ORIGIN, signer.verifier()).unwrap();
    let checkpoint = ledger.checkpoint(&signer).unwrap();
    let bundle = ProofBundle::new(&receipt, &entry, proof, checkpoint, signer.verifier()).unwrap();
    measure("verify a proof bundle", rounds / 100, |_| bundle.verify(black_box(signer.verifier())).unwrap());

    let mut other = Ledger::new(ORIGIN).unwrap();
    let entries: Vec<Entry> = (0..rounds / 10)
        .map(|n| other.append(Timestamp(n as i64), "transition", Id([1; 16]), body.clone()))
        .collect();
    let checkpoints = [other.checkpoint(&signer).unwrap()];
    let mut stored = entries.into_iter();
    let start = Instant::now();
    let report = verify(stored.by_ref().map(Ok), &checkpoints, Some(signer.verifier()));
    assert_eq!(report.covered, rounds / 10);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{:<44} {:>10.0} ns {:>12.0} /s",
        "verify stored entries, each",
        seconds * 1e9 / report.entries as f64,
        report.entries as f64 / seconds
    );
}
