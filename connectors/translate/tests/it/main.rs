//! Integration tests: golden fixtures, real records, the OCSF project's own pairs, and hostile input.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod clouds;
mod golden;
mod hostile;
mod pairs;
mod real;
mod schema;
mod valid;

use prunella_schemas::{Event, Record, Tenant, Timestamp};
use prunella_translate::{Malformed, by_name};
use std::path::{Path, PathBuf};

/// When the tests' records were received: 2026-03-02T09:30:00Z.
pub const RECEIVED: Timestamp = Timestamp(1_772_443_800_000);

pub fn record(source: &str, body: &str) -> Record {
    Record {
        source: source.to_owned(),
        tenant: Tenant::try_from("acme".to_owned()).unwrap(),
        received: RECEIVED,
        origin: "test".to_owned(),
        body: body.as_bytes().to_vec(),
    }
}

pub fn translate(source: &str, body: &str) -> Result<Vec<Event>, Malformed> {
    let mut events = Vec::new();
    by_name(source).expect("a known source").translate(&record(source, body), body, &mut events)?;
    Ok(events)
}

pub fn translate_one(source: &str, body: &str) -> Event {
    let mut events = translate(source, body).unwrap_or_else(|e| panic!("{e}: {body}"));
    assert_eq!(events.len(), 1, "{body}");
    events.remove(0)
}

pub fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the shared real data, or `None`, said loudly, where this machine has none.
#[allow(
    clippy::disallowed_methods,
    reason = "the place of test data is a matter of the machine that runs the tests"
)]
pub fn shared(file: &str) -> Option<String> {
    let root = std::env::var("PRUNELLA_SHARED_DATA")
        .map_or_else(|_| crate_dir().join("../../../shared/data"), PathBuf::from);
    let text = std::fs::read_to_string(root.join(file)).ok();
    if text.is_none() {
        eprintln!("SKIPPED: no shared data at {}; set PRUNELLA_SHARED_DATA", root.join(file).display());
    }
    text
}
