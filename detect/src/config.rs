//! Config: every threshold of the stage, with its unit in its name and a default that suits one organisation's clouds.

use crate::detectors::Detectors;
use crate::{correlate, engine};
use serde::{Deserialize, Serialize};

/// Principals remembered unless configured otherwise.
pub const PRINCIPALS_MAX: usize = 65_536;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Principals remembered at once; beyond that those with little history go first, then the longest unseen.
    pub principals_max: usize,
    /// With fewer events a principal is learning: nothing about it is called new.
    pub learning_events_min: u64,
    /// With less history than this it is learning too. What comes up in this time counts as familiar.
    pub learning_ms: i64,
    /// How long a network that came up later counts as new.
    pub network_new_ms: i64,
    /// How long an operation that came up later counts as new.
    pub operation_new_ms: i64,
    /// A detector repeats itself on a principal and technique only after this time, or when it is more severe.
    pub cooldown_ms: i64,
    /// The same for what the principal does regularly.
    pub habit_cooldown_ms: i64,
    pub detectors: Detectors,
    pub engine: engine::Config,
    /// The tenant's view, which is a stage of its own.
    pub correlate: correlate::Config,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            principals_max: PRINCIPALS_MAX,
            learning_events_min: 30,
            learning_ms: 4 * 3_600_000,
            network_new_ms: 6 * 3_600_000,
            operation_new_ms: 3_600_000,
            cooldown_ms: 3_600_000,
            habit_cooldown_ms: 24 * 3_600_000,
            detectors: Detectors::default(),
            engine: engine::Config::default(),
            correlate: correlate::Config::default(),
        }
    }
}
