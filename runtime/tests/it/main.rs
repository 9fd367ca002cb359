//! The shell's contracts, over every implementation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod account;
mod faults;
mod ledger;
mod log;
mod pump;
mod sink;
mod state;
mod store;
mod webhook;
