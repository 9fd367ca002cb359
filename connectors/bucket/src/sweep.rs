//! From a listing to what is to be read of it, in the order of writing, in bounded memory.

use crate::Listed;
use crate::bookmark::{Bookmark, Mark, Want};
use prunella_schemas::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most objects that one listing puts on the plan: the oldest. The next listing finds the others.
pub const PLAN_OBJECTS_MAX: usize = 8_192;
/// What was written so shortly before the listing began may not be in it.
const MARGIN_MS: i64 = 10_000;

/// A listing while its pages come in.
#[derive(Default)]
pub struct Sweep {
    wanted: BTreeMap<Mark, (Listed, Want)>,
    listed: BTreeSet<String>,
    left_out: bool,
}

/// What is to be read, oldest first.
#[derive(Debug)]
pub struct Plan {
    pub queue: VecDeque<(Listed, Want)>,
    /// Everything written before has been listed.
    pub horizon: Timestamp,
    /// The provider's time, at least.
    pub now: Option<Timestamp>,
    /// The objects that are known, or become so, unless some were left out.
    pub listed: BTreeSet<String>,
    /// Not everything that is wanted is on the plan.
    pub left_out: bool,
}

impl Sweep {
    pub fn see(&mut self, bookmark: &Bookmark, object: Listed, now: Option<Timestamp>) {
        let want = bookmark.wants(&object, now);
        if !self.left_out && (want.is_some() || bookmark.knows(&object.name)) {
            self.listed.insert(object.name.clone());
        }
        if let Some(want) = want {
            self.wanted.insert(object.mark(), (object, want));
            if self.wanted.len() > PLAN_OBJECTS_MAX {
                self.wanted.pop_last();
                self.listed.clear();
                self.left_out = true;
            }
        }
    }

    /// `began` is the provider's time when the listing began, at least.
    pub fn plan(self, began: Option<Timestamp>, now: Option<Timestamp>) -> Plan {
        Plan {
            queue: self.wanted.into_values().collect(),
            horizon: began.map_or(Timestamp(i64::MIN), |began| began.plus_ms(-MARGIN_MS)),
            now,
            listed: self.listed,
            left_out: self.left_out,
        }
    }
}
