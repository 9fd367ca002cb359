//! The ledger from outside: reference vectors, agreement with other implementations, and every kind of tampering.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

mod bundle;
mod golden;
mod guide;
mod note;
mod sample;
mod tamper;
mod tree;
