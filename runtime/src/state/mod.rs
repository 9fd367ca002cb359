//! Hot state: what an application asks on every request. Never the truth; the ledger is.

pub mod sqlite;

pub use sqlite::{Change, SqliteState};
