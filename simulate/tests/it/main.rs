//! The simulator from outside: its records, its scenarios, its front door, and a whole run against a scripted Prunella.

#![allow(clippy::expect_used, reason = "a broken test shall say what it expected")]

mod door;
mod fake;
mod records;
mod runs;
mod scenarios;
