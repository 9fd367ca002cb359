//! The shell's contracts, over every implementation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod account;
#[cfg(feature = "clickhouse")]
mod clickhouse;
mod contract;
#[cfg(feature = "clickhouse")]
mod delivery;
mod faults;
#[cfg(feature = "clickhouse")]
mod grafana;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_claims;
#[cfg(feature = "kafka")]
mod kafka_hostile;
#[cfg(feature = "kafka")]
mod kafka_inputs;
#[cfg(feature = "kafka")]
mod kafka_secure;
#[cfg(feature = "kafka")]
mod kafka_setup;
#[cfg(all(feature = "kafka", feature = "clickhouse"))]
mod kafka_sink;
mod ledger;
#[cfg(feature = "postgres")]
mod ledger_postgres;
mod log;
#[cfg(feature = "otel")]
mod otlp;
#[cfg(all(feature = "kafka", feature = "clickhouse"))]
mod proxy;
mod pump;
#[cfg(all(feature = "kafka", feature = "postgres", feature = "redis"))]
mod roles_respond;
mod sink;
mod state;
#[cfg(feature = "redis")]
mod state_redis;
mod store;
mod webhook;
