//! What the executors of a process did, for scrapers: where plans went, and for how long an outcome has been unknown.

use crate::metrics::{Counts, head};
use crate::sqlite::lock;
use prunella_schemas::{Id, PlanState, Timestamp, Transition};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Plans of unknown outcome that one executor watches; of more than these the age is not told.
const UNKNOWN_MAX: usize = 4_096;

/// As they stand in a scrape, each from the start, so that a first one is seen as an increase.
const STATES: [(PlanState, &str); 17] = [
    (PlanState::Observed, "observed"),
    (PlanState::DryRun, "dry_run"),
    (PlanState::Refused, "refused"),
    (PlanState::Planned, "planned"),
    (PlanState::AwaitingApproval, "awaiting_approval"),
    (PlanState::Approved, "approved"),
    (PlanState::Rejected, "rejected"),
    (PlanState::Applied, "applied"),
    (PlanState::Unknown, "unknown"),
    (PlanState::Failed, "failed"),
    (PlanState::Propagating, "propagating"),
    (PlanState::Verified, "verified"),
    (PlanState::Escaped, "escaped"),
    (PlanState::Escalated, "escalated"),
    (PlanState::Expired, "expired"),
    (PlanState::RolledBack, "rolled_back"),
    (PlanState::Conflict, "conflict"),
];

/// Of all executors of a process, those that have ended too.
#[derive(Default)]
pub struct Deeds {
    /// Transitions that are in the ledger, and reports that are on the log.
    pub counts: Arc<Counts>,
    /// In the order of `STATES`.
    reached: [AtomicU64; STATES.len()],
    watches: Mutex<Vec<Weak<Watch>>>,
}

/// What one executor has seen and has before it, gone with it.
#[derive(Default)]
pub(super) struct Watch {
    unknown: Mutex<BTreeMap<Id, Timestamp>>,
    lag: AtomicU64,
}

impl Deeds {
    pub(super) fn watch(&self) -> Arc<Watch> {
        let watch = Arc::<Watch>::default();
        let mut watches = lock(&self.watches);
        watches.retain(|watch| watch.strong_count() > 0);
        watches.push(Arc::downgrade(&watch));
        watch
    }

    /// Counts a transition that is in the ledger.
    pub(super) fn reached(&self, transition: &Transition) {
        let at = STATES.iter().position(|(state, _)| *state == transition.to);
        if let Some(count) = at.and_then(|at| self.reached.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Transitions that no executor of this process has taken yet.
    pub(super) fn note_lag(&self, watch: &Watch, lag: u64) {
        watch.lag.store(lag, Ordering::Relaxed);
        let all: u64 = self.live().iter().map(|watch| watch.lag.load(Ordering::Relaxed)).sum();
        self.counts.lag.store(all, Ordering::Relaxed);
    }

    /// The text of a scrape at `now`.
    pub fn render(&self, now: Timestamp) -> String {
        let (mut text, name) = (String::new(), "prunella_plan_transitions_total");
        head(&mut text, name, "Transitions of plans that are in the ledger, by where they led.", "counter");
        for ((_, state), count) in STATES.iter().zip(&self.reached) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}{{state=\"{state}\"}} {}", count.load(Ordering::Relaxed));
        }
        let since: Vec<Timestamp> = self
            .live()
            .iter()
            .flat_map(|watch| lock(&watch.unknown).values().copied().collect::<Vec<_>>())
            .collect();
        let oldest_ms = since.iter().map(|since| now.since_ms(*since)).max().unwrap_or_default().max(0);
        let name = "prunella_unknown_outcomes";
        head(
            &mut text,
            name,
            "Plans of which the provider has not said whether a step took effect.",
            "gauge",
        );
        let _ = writeln!(text, "{name} {}", since.len());
        let name = "prunella_unknown_outcome_age_seconds";
        head(&mut text, name, "How long the oldest of them has been unknown.", "gauge");
        let _ = writeln!(text, "{name} {}", oldest_ms as f64 / 1e3);
        text
    }

    fn live(&self) -> Vec<Arc<Watch>> {
        lock(&self.watches).iter().filter_map(Weak::upgrade).collect()
    }
}

impl Watch {
    /// Notes whether the outcome of a plan is unknown since this transition.
    pub fn note(&self, transition: &Transition) {
        let mut unknown = lock(&self.unknown);
        if transition.to != PlanState::Unknown {
            unknown.remove(&transition.plan_uid);
        } else if unknown.len() < UNKNOWN_MAX {
            unknown.entry(transition.plan_uid).or_insert(transition.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_schemas::plan::Plan;

    fn transition(plan: u8, to: PlanState, at: i64) -> Transition {
        let (plan_uid, at, why) = (Id([plan; 16]), Timestamp(at), String::new());
        let plan = Plan { uid: plan_uid, ..Plan::default() };
        Transition { plan_uid, sequence: 0, from: None, to, at, why, plan, order: None, receipt: None }
    }

    #[test]
    fn every_state_has_the_name_that_it_has_everywhere() {
        for (state, name) in STATES {
            assert_eq!(serde_json::json!(state), name);
        }
    }

    #[test]
    fn transitions_are_counted_and_the_oldest_unknown_outcome_has_an_age() {
        let deeds = Deeds::default();
        let (one, other) = (deeds.watch(), deeds.watch());
        let check = |want: &[&str]| {
            let text = deeds.render(Timestamp(10_000));
            for line in want {
                assert!(text.lines().any(|l| l == *line), "{line}\n{text}");
            }
        };
        let go = |watch: &Watch, plan, to, at| {
            let transition = transition(plan, to, at);
            deeds.reached(&transition);
            watch.note(&transition);
        };
        check(&[
            "prunella_plan_transitions_total{state=\"escaped\"} 0",
            "prunella_unknown_outcome_age_seconds 0",
        ]);
        go(&one, 1, PlanState::Unknown, 2_000);
        go(&one, 1, PlanState::Unknown, 3_000);
        go(&other, 2, PlanState::Unknown, 4_500);
        check(&["prunella_unknown_outcomes 2", "prunella_unknown_outcome_age_seconds 8"]);
        go(&one, 1, PlanState::Applied, 5_000);
        check(&[
            "# TYPE prunella_plan_transitions_total counter",
            "prunella_plan_transitions_total{state=\"unknown\"} 3",
            "prunella_plan_transitions_total{state=\"applied\"} 1",
            "prunella_unknown_outcomes 1",
            "prunella_unknown_outcome_age_seconds 5.5",
        ]);
        deeds.note_lag(&one, 3);
        deeds.note_lag(&other, 4);
        assert_eq!(deeds.counts.lag.load(Ordering::Relaxed), 7);
        drop(other);
        deeds.note_lag(&one, 1);
        assert_eq!(deeds.counts.lag.load(Ordering::Relaxed), 1, "what moved away is not ours to tell");
        check(&["prunella_unknown_outcomes 0"]);
    }
}
