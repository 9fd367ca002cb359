//! The shell: everything that waits, opens files and sockets, or reads the clock, around stages that do none of it.

pub mod clock;
pub mod connect;
pub mod effect;
pub mod enrich;
pub mod executor;
pub mod intake;
pub mod ledger;
pub mod log;
pub mod metrics;
pub mod pump;
#[cfg(feature = "kafka")]
pub mod roles;
pub mod sink;
pub mod sqlite;
pub mod state;
pub mod store;
pub mod topology;
pub mod trace;
pub mod webhook;
