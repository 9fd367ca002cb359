//! Timeline: which tables hold from when, by the log's own time, so that what is stepped again is looked up the same.

use super::Tables;
use prunella_schemas::Timestamp;
use std::sync::{Arc, PoisonError, RwLock};

/// Sets of tables kept at once; with one more the oldest goes.
pub const SETS_MAX: usize = 4;

/// Sets of tables in order, each with the time of the log from which it holds.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    sets: Vec<(Timestamp, Arc<Tables>)>,
}

impl Timeline {
    /// Tables that hold from the beginning.
    pub fn of(tables: Arc<Tables>) -> Self {
        Timeline { sets: vec![(Timestamp(i64::MIN), tables)] }
    }

    /// With tables that hold from `from`. What holds from then or later until now is replaced.
    pub fn switched(&self, from: Timestamp, tables: Arc<Tables>) -> Self {
        let mut sets: Vec<_> = self.sets.iter().filter(|(since, _)| *since < from).cloned().collect();
        sets.push((from, tables));
        sets.drain(..sets.len().saturating_sub(SETS_MAX));
        Timeline { sets }
    }

    /// The tables for a message that became durable at `at`; the oldest kept, if it is older than those.
    pub fn at(&self, at: Timestamp) -> Option<&Arc<Tables>> {
        let after = self.sets.partition_point(|(from, _)| *from <= at);
        self.sets.get(after.saturating_sub(1)).map(|(_, tables)| tables)
    }

    /// The tables that hold last.
    pub fn newest(&self) -> Option<&Arc<Tables>> {
        self.sets.last().map(|(_, tables)| tables)
    }
}

/// Where the shell puts the timeline and the stage finds it. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Arc<RwLock<Arc<Timeline>>>);

impl Shelf {
    pub fn new(timeline: Timeline) -> Self {
        Shelf(Arc::new(RwLock::new(Arc::new(timeline))))
    }

    pub fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn put(&self, timeline: Timeline) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(timeline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::{Config, Files};

    fn tables(asn: u32) -> Arc<Tables> {
        let config = Config { hosting_asns: vec![asn], ..Config::default() };
        Arc::new(Tables::build(&config, Files::default()).unwrap())
    }

    #[test]
    fn a_set_holds_from_its_time_until_the_next() {
        let [a, b, c] = [1, 2, 3].map(tables);
        let timeline = Timeline::of(Arc::clone(&a)).switched(Timestamp(10), Arc::clone(&b));
        let at = |timeline: &Timeline, at| timeline.at(Timestamp(at)).map(|tables| tables.id());
        for (time, want) in [(i64::MIN, &a), (9, &a), (10, &b), (i64::MAX, &b)] {
            assert_eq!(at(&timeline, time), Some(want.id()), "{time}");
        }
        let replaced = timeline.switched(Timestamp(10), Arc::clone(&c));
        assert_eq!((at(&replaced, 9), at(&replaced, 10)), (Some(a.id()), Some(c.id())));
        let mut long = timeline;
        for n in 0..10 {
            long = long.switched(Timestamp(20 + n), tables(20 + n as u32));
        }
        assert_eq!(long.sets.len(), SETS_MAX);
        assert_eq!(at(&long, 0), Some(tables(26).id()), "the oldest kept");
        assert!(Timeline::default().at(Timestamp(1)).is_none());
    }
}
