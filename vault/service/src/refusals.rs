//! Refusals that are written down: enough of each to show what happened, so that nobody fills a disk by knocking.
//!
//! A network may cause so many rows a minute, and so may each session, so that a flood hides no other. What is beyond is
//! counted, and the next row that is written says how many there were.

use crate::access::Origin;
use prunella_schemas::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Rows a minute of one network without a session, or of one session.
const ROWS_MAX: u32 = 60;
/// Rows a minute of all networks without a session.
const ROWS_OF_STRANGERS_MAX: u32 = 3_000;
/// Most networks and sessions that are counted apart in a minute; what is beyond counts as one.
const SOURCES_MAX: usize = 65_536;
const WINDOW_MS: i64 = 60_000;

/// What was written and what was left out in this minute.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Window>);

#[derive(Default)]
struct Window {
    minute: i64,
    rows: BTreeMap<String, u32>,
    of_strangers: u32,
    left_out: u64,
}

impl Refusals {
    /// Whether this refusal is written down; then, how many before it were not.
    pub(crate) fn admit(&self, origin: &Origin, session: Option<&str>, now: Timestamp) -> Option<u64> {
        // A count is right whatever a thread that panicked has left.
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.0.div_euclid(WINDOW_MS);
        if window.minute != minute {
            (window.minute, window.of_strangers) = (minute, 0);
            window.rows.clear();
        }
        let source = session.map_or_else(|| origin.network(), str::to_owned);
        let is_known = window.rows.contains_key(&source) || window.rows.len() < SOURCES_MAX;
        let rows = window.rows.entry(if is_known { source } else { String::new() }).or_default();
        let fits = *rows < ROWS_MAX;
        *rows = rows.saturating_add(1);
        let fits_all = session.is_some() || window.of_strangers < ROWS_OF_STRANGERS_MAX;
        if fits && fits_all {
            window.of_strangers += u32::from(session.is_none());
            return Some(std::mem::take(&mut window.left_out));
        }
        window.left_out += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(ip: [u8; 4]) -> Origin {
        let mut origin = Origin::own();
        origin.ip = ip.into();
        origin
    }

    #[test]
    fn a_flood_is_counted_and_hides_nobody_else() {
        let refusals = Refusals::default();
        let now = Timestamp(60_000);
        let mut written = 0;
        for _ in 0..1_000 {
            written += u32::from(refusals.admit(&from([192, 0, 2, 1]), None, now).is_some());
        }
        assert_eq!(written, ROWS_MAX);
        assert_eq!(
            refusals.admit(&from([192, 0, 2, 1]), Some("s1"), now),
            Some(940),
            "a session, and the count"
        );
        assert_eq!(refusals.admit(&from([198, 51, 100, 1]), None, now), Some(0), "another network");
        assert_eq!(refusals.admit(&from([192, 0, 2, 9]), None, now), None, "the same network");
        assert_eq!(refusals.admit(&from([192, 0, 2, 1]), None, now.plus_ms(WINDOW_MS)), Some(1));
    }

    #[test]
    fn all_strangers_together_have_a_bound_that_sessions_do_not_share() {
        let (refusals, now) = (Refusals::default(), Timestamp(0));
        let mut written = 0;
        for network in 0..8_000_u32 {
            let [_, _, a, b] = network.to_be_bytes();
            written += u32::from(refusals.admit(&from([10, a, b, 1]), None, now).is_some());
        }
        assert_eq!(written, ROWS_OF_STRANGERS_MAX);
        assert!(refusals.admit(&from([10, 0, 0, 1]), Some("s1"), now).is_some());
    }
}
