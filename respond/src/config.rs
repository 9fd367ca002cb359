//! What an operator can set: how far automation may go, how much of it, and whom it must not touch.

use crate::Error;
use crate::actions::Action;
use prunella_schemas::plan::Mode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest time any setting may span, in milliseconds: 30 days.
const SPAN_MS_MAX: i64 = 30 * 86_400_000;
/// Most actions that any budget may allow in its window.
const BUDGET_MAX: u32 = 10_000;
/// Most patterns of protected principals.
const PROTECTED_MAX: usize = 10_000;
/// Most endpoints of a kind.
const ENDPOINTS_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// No disruptive action goes further than this, whatever its playbook says.
    pub mode_max: Mode,
    pub receivers: Receivers,
    /// Principal keys that need two persons, exact or with `*` and `?`.
    pub protected: Vec<String>,
    /// How long a plan waits for approval.
    pub approval_ms: i64,
    /// How long a restriction lasts before it is taken back.
    pub restriction_ms: i64,
    /// A finding later than this after the one before opens a new incident (event time).
    pub incident_gap_ms: i64,
    /// An incident ends after this time, so that an attacker who returns is acted on again.
    pub incident_ms_max: i64,
    /// A finding older than this does not act by itself: a person decides.
    pub finding_age_ms_max: i64,
    /// An order without an answer for this long counts as unanswered: the provider is asked again.
    pub reply_wait_ms: i64,
    /// Per action name: how long the provider may take to enforce it. Absent: the action's own.
    pub horizons_ms: BTreeMap<String, i64>,
    pub budgets: Budgets,
    pub breaker: Breaker,
}

/// Names of the endpoints that each way of telling uses. None: all of its kind that are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Receivers {
    pub webhook: Vec<String>,
    pub slack: Vec<String>,
    pub pagerduty: Vec<String>,
    pub caep: Vec<String>,
}

impl Receivers {
    /// Each kind with its names.
    pub fn by_kind(&mut self) -> [(&'static str, &mut Vec<String>); 4] {
        let Receivers { webhook, slack, pagerduty, caep } = self;
        [("webhook", webhook), ("slack", slack), ("pagerduty", pagerduty), ("caep", caep)]
    }
}

/// At most `max` within any `window_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    pub max: u32,
    pub window_ms: i64,
}

/// How many disruptive actions may go ahead by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budgets {
    pub playbook: Budget,
    /// For each action in each tenant.
    pub tenant: Budget,
    /// Holds for persons as well.
    pub global: Budget,
    /// Most of a tenant's principals that may be acted on by themselves within an hour, in percent; at least `tenant.max`.
    pub principals_percent: u8,
    /// Notifications per tenant; the rest is summed up in one that says how many were suppressed.
    pub notify: Budget,
}

/// What makes every disruptive action ask a person first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    pub failures: Budget,
    pub rollbacks: Budget,
    /// So long after the last failure one action may go ahead as a trial: if it holds the breaker closes, else it stays open.
    pub half_open_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            mode_max: Mode::DryRun,
            receivers: Receivers::default(),
            protected: vec!["aws:root:*".to_owned(), "aws:service:*".to_owned()],
            approval_ms: 30 * 60_000,
            restriction_ms: 4 * 3_600_000,
            incident_gap_ms: 3_600_000,
            incident_ms_max: 24 * 3_600_000,
            finding_age_ms_max: 7 * 86_400_000,
            reply_wait_ms: 5 * 60_000,
            horizons_ms: BTreeMap::new(),
            budgets: Budgets::default(),
            breaker: Breaker::default(),
        }
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            playbook: Budget { max: 10, window_ms: 3_600_000 },
            tenant: Budget { max: 5, window_ms: 600_000 },
            global: Budget { max: 50, window_ms: 600_000 },
            principals_percent: 1,
            notify: Budget { max: 60, window_ms: 60_000 },
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            failures: Budget { max: 3, window_ms: 3_600_000 },
            rollbacks: Budget { max: 2, window_ms: 3_600_000 },
            half_open_ms: 900_000,
        }
    }
}

impl Config {
    /// Refuses settings that would make the guard meaningless.
    pub(crate) fn check(&self, actions: &[&'static dyn Action]) -> Result<(), Error> {
        let spans = [
            ("approval_ms", self.approval_ms),
            ("restriction_ms", self.restriction_ms),
            ("incident_gap_ms", self.incident_gap_ms),
            ("incident_ms_max", self.incident_ms_max),
            ("finding_age_ms_max", self.finding_age_ms_max),
            ("reply_wait_ms", self.reply_wait_ms),
            ("budgets.playbook.window_ms", self.budgets.playbook.window_ms),
            ("budgets.tenant.window_ms", self.budgets.tenant.window_ms),
            ("budgets.global.window_ms", self.budgets.global.window_ms),
            ("budgets.notify.window_ms", self.budgets.notify.window_ms),
            ("breaker.failures.window_ms", self.breaker.failures.window_ms),
            ("breaker.half_open_ms", self.breaker.half_open_ms),
            ("breaker.rollbacks.window_ms", self.breaker.rollbacks.window_ms),
        ];
        for (name, value) in spans {
            span(name, value)?;
        }
        let budgets = [self.budgets.playbook, self.budgets.tenant, self.budgets.global, self.budgets.notify];
        if budgets.iter().any(|b| b.max > BUDGET_MAX) {
            return Err(Error::Config(format!("a budget may allow at most {BUDGET_MAX}")));
        }
        if !(1..=100).contains(&self.budgets.principals_percent) {
            return Err(Error::Config("`budgets.principals_percent` must be from 1 to 100".to_owned()));
        }
        if [self.breaker.failures, self.breaker.rollbacks].iter().any(|b| b.max == 0 || b.max > BUDGET_MAX) {
            return Err(Error::Config(format!("`breaker` limits must be from 1 to {BUDGET_MAX}")));
        }
        if self.protected.len() > PROTECTED_MAX || self.protected.iter().any(|p| p.trim().is_empty()) {
            return Err(Error::Config(format!(
                "`protected` holds at most {PROTECTED_MAX} patterns, none of them empty"
            )));
        }
        for (kind, names) in self.receivers.clone().by_kind() {
            if names.len() > ENDPOINTS_MAX || names.iter().any(|e| e.trim().is_empty()) {
                return Err(Error::Config(format!(
                    "`receivers.{kind}` holds at most {ENDPOINTS_MAX} names, none of them empty"
                )));
            }
        }
        for (action, value) in &self.horizons_ms {
            if !actions.iter().any(|a| a.name() == action) {
                let known: Vec<&str> = actions.iter().map(|a| a.name()).collect();
                return Err(Error::Config(format!(
                    "`horizons_ms` names unknown action `{action}`; known: {}",
                    known.join(", ")
                )));
            }
            span(&format!("horizons_ms.{action}"), *value)?;
        }
        Ok(())
    }
}

fn span(name: &str, value: i64) -> Result<(), Error> {
    if (1..=SPAN_MS_MAX).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("`{name}` is {value}; it must be from 1 to {SPAN_MS_MAX} milliseconds")))
}
