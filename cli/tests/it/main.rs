//! The real binary on real input: what others script against, and what bad input does to it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "what fails outside of a test function fails the test all the same"
)]

mod api;
mod bad_input;
mod compose;
mod config;
mod connectors;
mod detect;
mod dlq;
#[cfg(feature = "aws")]
mod effectors;
mod enrich;
mod ledger;
#[path = "../../../ingest/tests/it/mmdb.rs"]
#[allow(dead_code, reason = "the tests of ingest write more kinds of values")]
mod mmdb;
mod normalize;
mod program;
#[cfg(all(feature = "kafka", feature = "clickhouse"))]
#[path = "../../../runtime/tests/it/proxy.rs"]
#[allow(dead_code, reason = "the shell's own tests break connections in more ways")]
mod proxy;
mod records;
mod respond;
#[cfg(feature = "kafka")]
mod roles;
#[cfg(all(feature = "kafka", feature = "postgres", feature = "redis", feature = "clickhouse"))]
mod roles_respond;
#[cfg(all(feature = "kafka", feature = "clickhouse"))]
mod roles_sink;
mod running;
#[cfg(feature = "clickhouse")]
mod schema;
mod sealed;
mod simulate;
mod start;
#[cfg(feature = "vault")]
mod vault;
mod webhook;
