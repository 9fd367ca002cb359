//! Pages: where one ends, how long it is, and how much of each thing the front page shows, whatever the engine.

use prunella_schemas::Id;
use prunella_schemas::port::{QUERY_ROWS_MAX, Query};
use std::fmt;

/// Rows of a page when the query does not say.
const PAGE_ROWS: u32 = 100;
/// Most calls given to a probe at once.
pub(super) const CALLS_MAX: usize = 10_000;
/// Principals on the front page.
pub(super) const RISKIEST_MAX: usize = 10;
pub(super) const MINUTES_MAX: i64 = 60;

/// Where a page ends: the time and id of its last row, written `<time>:<uid>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageEnd {
    pub time: i64,
    pub uid: Id,
}

impl PageEnd {
    pub fn parse(text: &str) -> Option<Self> {
        let (time, uid) = text.split_once(':')?;
        Some(PageEnd { time: time.parse().ok()?, uid: uid.parse().ok()? })
    }
}

impl fmt::Display for PageEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.time, self.uid)
    }
}

/// Says whether a query makes sense, before it reaches a connection.
pub(super) fn check(query: &Query) -> Result<(), String> {
    match &query.before {
        Some(before) if PageEnd::parse(before).is_none() => Err(format!(
            "`before` is not a page cursor: `{}`; give the `next` of the page before",
            before.escape_debug()
        )),
        _ => Ok(()),
    }
}

/// How many rows a page of this query has at most.
pub(super) fn rows_of(query: &Query) -> u32 {
    match query.limit {
        0 => PAGE_ROWS,
        n => n.min(QUERY_ROWS_MAX),
    }
}
