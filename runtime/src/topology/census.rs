//! The census: counts each tenant's principals now and then, so that the guard's cap is a part of something.

use super::{Crew, RESTART_MS, StartError};
use crate::log::Log;
use crate::store::SqliteStore;
use prunella_schemas::{Command, Posted, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Time between two counts of the principals, and how far back they are counted.
const CENSUS_MS: i64 = 3_600_000;
const CENSUS_DAYS: i64 = 30;

impl Crew {
    /// Tells the guard how many principals there are, now and then.
    pub(super) fn start_census(
        &mut self,
        log: &Arc<dyn Log>,
        store: Arc<SqliteStore>,
        runtime: tokio::runtime::Handle,
    ) -> Result<(), StartError> {
        let (log, clock) = (Arc::clone(log), self.health.clock());
        let mut counted = Timestamp::ZERO;
        self.start("census", move |_| {
            std::thread::sleep(Duration::from_millis(RESTART_MS));
            let at = clock();
            if (0..CENSUS_MS).contains(&at.since_ms(counted)) {
                return Ok(());
            }
            let since = at.plus_ms(-CENSUS_DAYS * 86_400_000);
            let principals = runtime.block_on(store.census(since)).map_err(|e| e.to_string())?;
            let census = Posted::new(&Command::Census { principals, at }, Timestamp::ZERO);
            log.append(vec![census]).map_err(|e| e.to_string())?;
            counted = at;
            Ok(())
        })
    }
}
