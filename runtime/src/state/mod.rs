//! Hot state: what an application asks on every request. Never the truth; the ledger is.

mod past;
#[cfg(feature = "redis")]
pub mod redis;
pub mod sqlite;

pub use past::{History, Past};
#[cfg(feature = "redis")]
pub use redis::RedisState;
pub use sqlite::{Change, SqliteState};
