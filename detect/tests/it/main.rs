//! Tests of the stage as a whole: stories in, findings out.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod detectors;
mod entropy;
mod forest;
mod golden;
mod properties;
mod story;
