//! A sink's bucket, read by the real SDK from fake-gcs-server, which `cargo xtask services up` starts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bench;
mod effect;
mod objects;

// What every connector must do.
prunella_contract::contract!(bench::bench);
