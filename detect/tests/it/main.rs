//! Tests of the stage as a whole: stories in, findings out.
//!
//! Properties are tried on few cases, so that an edit is tested in seconds; `PRUNELLA_TEST_EFFORT=20` tries 20 times as
//! many, and repeats what is drawn at random as often.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod behaviour;
mod calibration;
mod correlate;
mod detectors;
mod discovery;
mod engine;
mod entropy;
mod features;
mod forest;
mod golden;
mod peers;
mod properties;
mod story;
mod whole_events;

use proptest::prelude::ProptestConfig;

/// How many times the usual number of cases and repetitions.
#[allow(clippy::disallowed_methods, reason = "a test may be asked for more")]
fn effort() -> u32 {
    let asked = std::env::var("PRUNELLA_TEST_EFFORT").ok();
    asked.map_or(1, |times| times.parse().expect("PRUNELLA_TEST_EFFORT is a whole number"))
}

fn cases(usual: u32) -> ProptestConfig {
    ProptestConfig { cases: usual * effort(), failure_persistence: None, ..ProptestConfig::default() }
}
