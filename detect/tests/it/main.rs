//! Tests of the stage as a whole: stories in, findings out.

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
