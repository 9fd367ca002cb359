//! The only place that reads the wall clock; everybody else is handed a `Clock`.

use prunella_schemas::Timestamp;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of "now". Tests and simulations hand in their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's wall clock.
pub fn wall() -> Clock {
    Arc::new(now)
}

#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
