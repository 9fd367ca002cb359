//! Past: the facts about a principal that all detectors share, as they were before the event at hand.

use crate::clock::newest;
use crate::config::Config;
use crate::detectors::destruction;
use crate::known::Known;
use crate::network::Network;
use crate::rhythm::Rhythm;
use crate::sighting::Sighting;
use prunella_schemas::Timestamp;
use serde::{Deserialize, Serialize};

pub const NETWORKS_MAX: usize = 64;
pub const OPERATIONS_MAX: usize = 256;
pub const USER_AGENTS_MAX: usize = 16;
pub const ENCRYPTION_KEYS_MAX: usize = 32;
/// Flagged operations remembered by how often they were borne.
pub const TOLERATED_MAX: usize = 64;
/// Flagged calls of one operation within this time count as one.
const TOLERATED_MS: i64 = 6 * 3_600_000;
/// Ids remembered to recognise a repeat that follows soon.
pub const REPEATS_MAX: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    pub events: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    pub networks: Known,
    pub operations: Known,
    pub user_agents: Known,
    pub encryption_keys: Known,
    pub rhythm: Rhythm,
    /// Operations that were flagged, counted once in [`TOLERATED_MS`].
    tolerated: Known,
    recent: Vec<u64>,
    recent_next: usize,
}

impl Past {
    /// Whether this very event was seen a moment ago.
    pub fn is_repeat(&self, seen: &Sighting<'_>) -> bool {
        self.recent.contains(&seen.short_id())
    }

    /// Whether too little is known of the principal to call anything unusual.
    pub fn is_learning(&self, time: Timestamp, config: &Config) -> bool {
        self.events < config.learning_events_min || time.since_ms(self.first) < config.learning_ms
    }

    /// Whether the network came up lately and not in the principal's first days. Of a principal that is still
    /// learning, no network is called new.
    pub fn is_new_network(&self, network: Network, time: Timestamp, config: &Config) -> bool {
        if self.is_learning(time, config) {
            return false;
        }
        match self.networks.get(network.key()) {
            None => true,
            Some(known) => {
                known.first.since_ms(self.first) > config.learning_ms
                    && time.since_ms(known.first) < config.network_new_ms
            }
        }
    }

    /// Whether the operation was first called lately and not in the principal's first days.
    pub fn is_new_operation(&self, key: u64, time: Timestamp, config: &Config) -> bool {
        match self.operations.get(key) {
            None => true,
            Some(known) => {
                (known.first.since_ms(self.first) > config.learning_ms || self.is_learning(time, config))
                    && time.since_ms(known.first) < config.operation_new_ms
            }
        }
    }

    /// How many operations were called for the first time within `span_ms` before `time`.
    pub fn operations_met_within(&self, span_ms: i64, time: Timestamp) -> usize {
        self.operations.met_since(time.plus_ms(-span_ms))
    }

    /// Whether nothing that was flagged is remembered.
    pub fn is_spotless(&self) -> bool {
        self.tolerated.is_empty()
    }

    /// How often the operation was called before. All flagged calls of six hours count as one, and only after them:
    /// what is flagged day after day and borne becomes a habit, and a thousand calls within an hour do not.
    pub fn calls(&self, operation: u64, time: Timestamp) -> u32 {
        let borne = self.tolerated.get(operation).map_or(0, |known| {
            let is_now = time.since_ms(known.last) < TOLERATED_MS;
            known.count.saturating_sub(u32::from(is_now))
        });
        self.operations.count(operation).saturating_add(borne)
    }

    /// Takes the event in, after it was judged. What was `flagged` counts, but makes nothing familiar.
    pub fn learn(&mut self, seen: &Sighting<'_>, flagged: bool) {
        let time = seen.time;
        self.first = if self.events == 0 { time } else { self.first.min(time) };
        self.last = if self.events == 0 { time } else { newest(self.last, time) };
        self.events += 1;
        let amounts = [seen.event.bytes_out().unwrap_or(0), destruction::amount(seen)];
        self.rhythm.learn(time, self.last, amounts, flagged);
        self.remember(seen.short_id());
        match flagged {
            true => self.tolerate(seen),
            false => self.settle(seen),
        }
    }

    fn tolerate(&mut self, seen: &Sighting<'_>) {
        let known = self.tolerated.get(seen.operation_key);
        let is_over = known.is_none_or(|known| seen.time.since_ms(known.last) >= TOLERATED_MS);
        if is_over && !seen.operation.is_empty() {
            self.tolerated.meet(seen.operation_key, seen.time, TOLERATED_MAX);
        }
    }

    fn settle(&mut self, seen: &Sighting<'_>) {
        let time = seen.time;
        if let Some(network) = seen.network {
            self.networks.meet(network.key(), time, NETWORKS_MAX);
        }
        if !seen.operation.is_empty() {
            self.operations.meet(seen.operation_key, time, OPERATIONS_MAX);
        }
        if let Some(agent) = seen.user_agent_key() {
            self.user_agents.meet(agent, time, USER_AGENTS_MAX);
        }
        if let Some(key) = seen.encryption_key() {
            self.encryption_keys.meet(key, time, ENCRYPTION_KEYS_MAX);
        }
    }

    fn remember(&mut self, id: u64) {
        match self.recent.get_mut(self.recent_next) {
            Some(slot) => *slot = id,
            None => self.recent.push(id),
        }
        self.recent_next = (self.recent_next + 1) % REPEATS_MAX;
    }
}
