//! The shell's contracts, over every implementation.

mod ledger;
mod log;
mod pump;
mod state;
mod store;
mod webhook;
