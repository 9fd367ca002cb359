//! The operator's unit, expected false findings a day, turned into a threshold on the p-value.

use prunella_schemas::Timestamp;
use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;
/// Assumed until a whole day was seen: more than most tenants have, so that the start is quiet.
const EVENTS_PER_DAY_START: f64 = 1e6;
/// Part of a new day in the average.
const NEWEST_DAY: f64 = 0.25;
/// However few events there are, a finding is rarer than one in a hundred.
const P_MAX: f64 = 0.01;

/// Events a day of one tenant, and what p-value that leaves. Counts by the time of the events alone.
///
/// A day counts when the days before and after it were seen right beside it; gaps and forged times teach nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    false_findings_per_day: f64,
    /// Days since the epoch.
    day: i64,
    today: u64,
    /// Whether `day` was entered from the day before it, and so is counted from its first event on.
    is_whole: bool,
    events_per_day: Option<f64>,
}

impl Budget {
    /// `false_findings_per_day` below 0 or not a number counts as 0: nothing is a finding.
    pub fn new(false_findings_per_day: f64) -> Budget {
        let false_findings_per_day = if false_findings_per_day > 0.0 { false_findings_per_day } else { 0.0 };
        Budget { false_findings_per_day, day: i64::MIN, today: 0, is_whole: false, events_per_day: None }
    }

    pub fn observe(&mut self, time: Timestamp) {
        let day = time.millis().div_euclid(DAY_MS);
        // Late events of yesterday count today.
        let is_today = day == self.day || day == self.day.saturating_sub(1);
        if !is_today {
            let follows = day == self.day.saturating_add(1);
            if follows && self.is_whole {
                let today = self.today as f64;
                let average = self.events_per_day.unwrap_or(today);
                self.events_per_day = Some(average + (today - average) * NEWEST_DAY);
            }
            self.is_whole = follows;
            (self.day, self.today) = (day, 0);
        }
        self.today += 1;
    }

    /// Events a day to reckon with: the average, or today's if there are more already.
    pub fn events_per_day(&self) -> f64 {
        self.events_per_day.unwrap_or(EVENTS_PER_DAY_START).max(self.today as f64)
    }

    /// The p-value at which a day brings as many false findings as the operator expects.
    pub fn threshold(&self) -> f64 {
        (self.false_findings_per_day / self.events_per_day().max(1.0)).min(P_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(budget: &mut Budget, events_per_day: &[(i64, i64)]) {
        for (day, events) in events_per_day {
            (0..*events).for_each(|at| budget.observe(Timestamp(day * DAY_MS + at)));
        }
    }

    #[test]
    fn whole_days_set_the_threshold() {
        let check = |events: &[(i64, i64)], want: f64| {
            let mut budget = Budget::new(5.0);
            days(&mut budget, events);
            let got = budget.threshold();
            assert!((got - want).abs() < want * 1e-9, "{events:?}: {got}, not {want}");
        };
        check(&[], 5e-6);
        check(&[(1, 900)], 5e-6);
        check(&[(1, 9), (2, 1_000)], 5e-6);
        check(&[(1, 9), (2, 1_000), (3, 1)], 5e-3);
        check(&[(1, 9), (2, 1_000), (3, 2_000), (4, 1)], 5.0 / 1_250.0);
        // A day with more events than usual is not waited for.
        check(&[(1, 9), (2, 1_000), (3, 4_000)], 5.0 / 4_000.0);
        check(&[(1, 9), (2, 100), (3, 1)], P_MAX);
        // Days that are not next to each other teach nothing.
        check(&[(1, 9), (5, 100), (9, 50)], 5e-6);
    }

    #[test]
    fn a_forged_time_does_not_silence_the_tenant() {
        let mut budget = Budget::new(5.0);
        days(&mut budget, &[(1, 9), (2, 1_000), (3, 500), (90_000, 1), (3, 500), (4, 1_000), (5, 10)]);
        assert!((budget.threshold() - 5e-3).abs() < 1e-9, "{budget:?}");
        assert_eq!(Budget::new(f64::NAN).threshold(), 0.0);
        assert_eq!(Budget::new(-1.0).threshold(), 0.0);
    }
}
