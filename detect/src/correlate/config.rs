//! Config: every threshold of the tenant's view, with its unit in its name.

use crate::window::LATE_MS;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How far behind the newest event time an event may be and still be taken in its place.
    pub lateness_ms: i64,
    /// How long (log time) an input waits for earlier ones at most. It is the price in latency of a fixed order.
    pub hold_ms: i64,
    /// How many findings without cause a tenant's operator accepts in 24 h, where nothing unusual happens.
    pub expected_false_findings_per_day: f64,
    /// Where much unusual happens: the share of findings without cause among those of 24 h, 0 to 1.
    pub false_discovery_rate: f64,
    /// A proposal less probable than this may become High, if another signal confirms it.
    pub corroborated_p_value_max: f64,
    /// How far apart (event time) two signals of a principal may be and still confirm each other. A refused proposal
    /// waits as long.
    pub corroboration_ms: i64,
    /// A principal is spoken of again only after this time, or when it is more severe.
    pub cooldown_ms: i64,
    /// The same call of a principal, below High, is spoken of again only after this time, or when it is half as probable.
    pub repeat_ms: i64,
    /// Each stream of a tenant is spoken of again only after this time.
    pub tenant_cooldown_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            lateness_ms: LATE_MS,
            hold_ms: 200,
            expected_false_findings_per_day: 1.0,
            false_discovery_rate: 0.05,
            corroborated_p_value_max: 1e-4,
            corroboration_ms: 3_600_000,
            cooldown_ms: 3_600_000,
            repeat_ms: 7 * 24 * 3_600_000,
            tenant_cooldown_ms: 6 * 3_600_000,
        }
    }
}
