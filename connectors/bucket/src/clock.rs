//! The provider's clock as far as we can know it: never ahead of it, whatever our own clock says.

use prunella_schemas::Timestamp;

/// A lower bound on the provider's time. What it wrote before we looked tells its time then; since then at least as much time
/// has passed there as here, where a machine that sleeps does not count. A wrong clock of ours therefore never makes an
/// object look older than it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProviderClock {
    /// The provider's time beyond our time since start, at least, in milliseconds.
    lead_ms: Option<i64>,
}

impl ProviderClock {
    /// `seen` was the provider's time at `uptime_ms`, or before.
    pub fn observe(&mut self, seen: Timestamp, uptime_ms: i64) {
        let lead_ms = seen.millis().saturating_sub(uptime_ms);
        self.lead_ms = Some(self.lead_ms.map_or(lead_ms, |known| known.max(lead_ms)));
    }

    /// At `uptime_ms` it is this late there, or later. `None` before the first observation.
    pub fn at_least(&self, uptime_ms: i64) -> Option<Timestamp> {
        self.lead_ms.map(|lead_ms| Timestamp(lead_ms.saturating_add(uptime_ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_observation_counts_and_time_passes_for_both() {
        let mut clock = ProviderClock::default();
        assert_eq!(clock.at_least(7), None);
        clock.observe(Timestamp(1_000), 100);
        assert_eq!(clock.at_least(100), Some(Timestamp(1_000)));
        clock.observe(Timestamp(900), 200);
        assert_eq!(clock.at_least(200), Some(Timestamp(1_100)), "an old object says nothing new");
        clock.observe(Timestamp(2_000), 300);
        assert_eq!(clock.at_least(350), Some(Timestamp(2_050)));
    }
}
