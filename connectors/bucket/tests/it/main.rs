//! The reader of buckets over a bucket in memory, whose clock the test turns.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod cases;
mod order;
mod world;
