//! Told: which call of whom was spoken of lately, so that what was said and borne is not news every day.

use super::suspect::{Candidate, is_near};
use super::words::HIGH;
use prunella_schemas::{Id, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Calls remembered per tenant; beyond it those told longest ago go first.
pub const TOLD_MAX: usize = 4_096;
/// So many times less probable than what was told, it is news.
const NEWS_FACTOR: f64 = 2.0;

/// A call is an operation of a principal, as one analytic finds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Id, Last>", into = "BTreeMap<Id, Last>")]
pub struct Told {
    all: BTreeMap<Id, Last>,
    order: BTreeSet<(Timestamp, Id)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Last {
    time: Timestamp,
    p_value: f64,
}

impl From<BTreeMap<Id, Last>> for Told {
    fn from(all: BTreeMap<Id, Last>) -> Self {
        let order = all.iter().map(|(call, last)| (last.time, *call)).collect();
        Told { all, order }
    }
}

impl From<Told> for BTreeMap<Id, Last> {
    fn from(told: Told) -> Self {
        told.all
    }
}

impl Told {
    /// Whether this was told within `repeat_ms`, and about as improbable. What is confirmed is always news.
    pub fn is_old(&self, principal: &str, candidate: &Candidate, severity: u8, repeat_ms: i64) -> bool {
        let last = call(principal, candidate).and_then(|call| self.all.get(&call));
        last.is_some_and(|last| {
            severity < HIGH
                && is_near(last.time, candidate.time, repeat_ms)
                && candidate.p_value * NEWS_FACTOR > last.p_value
        })
    }

    pub fn tell(&mut self, principal: &str, candidate: &Candidate) {
        let Some(call) = call(principal, candidate) else { return };
        let now = Last { time: candidate.time, p_value: candidate.p_value };
        if let Some(before) = self.all.insert(call, now) {
            self.order.remove(&(before.time, call));
        }
        self.order.insert((now.time, call));
        if self.all.len() > TOLD_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.all.remove(&oldest);
        }
    }
}

/// `None` where the candidate does not say which operation it is about.
fn call(principal: &str, candidate: &Candidate) -> Option<Id> {
    let operation = &candidate.evidence.as_ref()?.operation;
    let parts = [principal.as_bytes(), candidate.analytic.as_bytes(), operation.as_bytes()];
    (!operation.is_empty()).then(|| Id::derive("told", &parts))
}

#[cfg(test)]
mod tests {
    use super::super::suspect::Subject;
    use super::super::words::MEDIUM;
    use super::*;
    use prunella_schemas::SignalKind;
    use prunella_schemas::finding::RelatedEvent;

    const DAY_MS: i64 = 86_400_000;
    const WEEK_MS: i64 = 7 * DAY_MS;

    fn candidate(day: i64, operation: &str, p_value: f64) -> Candidate {
        Candidate {
            subject: Subject::Proposal,
            kind: SignalKind::Forest,
            p_value,
            severity: MEDIUM,
            time: Timestamp(day * DAY_MS),
            event: Id::default(),
            analytic: "unusual_behaviour".to_owned(),
            detail: String::new(),
            proposal: Vec::new(),
            rests_on: None,
            evidence: Some(RelatedEvent { operation: operation.to_owned(), ..RelatedEvent::default() }),
        }
    }

    #[test]
    fn the_same_call_is_news_after_a_week_or_when_it_is_worse() {
        let mut told = Told::default();
        told.tell("ann", &candidate(0, "PutObject", 4e-4));
        for (who, day, operation, p_value, severity, want) in [
            ("ann", 1, "PutObject", 4e-4, MEDIUM, true),
            ("ann", 7, "PutObject", 3e-4, MEDIUM, true),
            ("ann", 8, "PutObject", 4e-4, MEDIUM, false),
            ("ann", 1, "PutObject", 2e-4, MEDIUM, false),
            ("ann", 1, "PutObject", 4e-4, HIGH, false),
            ("ann", 1, "GetObject", 4e-4, MEDIUM, false),
            ("bob", 1, "PutObject", 4e-4, MEDIUM, false),
            ("ann", 1, "", 4e-4, MEDIUM, false),
        ] {
            let candidate = candidate(day, operation, p_value);
            assert_eq!(told.is_old(who, &candidate, severity, WEEK_MS), want, "{who} {candidate:?}");
        }
    }

    #[test]
    fn it_is_bounded_forgets_the_oldest_and_comes_back_whole() {
        let mut told = Told::default();
        for day in 0..TOLD_MAX as i64 + 10 {
            told.tell(&format!("user{day}"), &candidate(day, "PutObject", 1e-4));
        }
        told.tell("user20", &candidate(30, "PutObject", 1e-4));
        assert_eq!((told.all.len(), told.order.len()), (TOLD_MAX, TOLD_MAX));
        let is_known = |who: &str, day| told.is_old(who, &candidate(day, "PutObject", 1e-4), MEDIUM, WEEK_MS);
        assert_eq!(
            [("user9", 9), ("user10", 10), ("user20", 30)].map(|(who, day)| is_known(who, day)),
            [false, true, true]
        );
        let bytes = postcard::to_stdvec(&told).unwrap();
        assert_eq!(postcard::from_bytes::<Told>(&bytes).unwrap(), told);
    }
}
