//! CloudTrail by the real SDK: against moto where `cargo xtask services up` has started it, and against a peer of our own for
//! what no emulator has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says loudly what it skips"
)]

mod bench;
mod bucket;
mod digests;
mod discover;
mod effect;
mod history;
mod killed;
mod lives;
mod objects;
mod queue;
mod settings;
