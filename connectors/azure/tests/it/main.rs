//! Azure's logs, read by the real SDK from Azurite, which `cargo xtask services up` starts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bench;
mod blobs;
mod credentials;
mod effect;

// What every connector must do.
prunella_contract::contract!(bench::bench);
