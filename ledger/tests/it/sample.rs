//! Ledgers to test with: small, seeded, and with bodies of many sizes.

use prunella_ledger::{Entry, Ledger, Signer};
use prunella_schemas::{Id, Timestamp};

pub const ORIGIN: &str = "example.org/ledger";

pub fn signer() -> Signer {
    Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
}

/// The same `number` gives the same bytes on every machine.
pub fn append(ledger: &mut Ledger, number: u64) -> Entry {
    let kind = ["transition", "receipt", "note"][(number % 3) as usize];
    let body = format!(r#"{{"n":{number},"text":"{}"}}"#, "x".repeat((number * 37 % 101) as usize));
    let time = Timestamp(1_700_000_000_000 + number as i64 * 250);
    ledger.append(time, kind, Id::derive("sample", &[&number.to_le_bytes()]), body.into_bytes())
}

/// A ledger of `size` entries.
pub fn ledger(size: u64) -> (Ledger, Vec<Entry>) {
    let mut ledger = Ledger::new(ORIGIN).unwrap();
    let entries = (0..size).map(|number| append(&mut ledger, number)).collect();
    (ledger, entries)
}
