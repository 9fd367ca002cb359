//! The store: events, findings, plans, receipts and dead letters as the console and the probes ask for them.

#[cfg(feature = "clickhouse")]
pub mod clickhouse;
mod page;
mod query;
mod row;
pub mod sqlite;
mod writer;

pub use row::Row;
pub use sqlite::SqliteStore;
pub use writer::{SHED_ROWS_MAX, Shed, StoreWriter, Written};
