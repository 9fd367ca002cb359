//! Principals: the bounded memory of the stage, one entry per tenant and principal, and its snapshot.

use crate::clock::was_ahead;
use crate::network::fingerprint;
use crate::past::Past;
use crate::peers::Profile;
use crate::window::Window;
use prunella_schemas::risk::{self, RiskLevel};
use prunella_schemas::{Event, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Cool-downs remembered per principal.
pub const COOLDOWNS_MAX: usize = 64;
/// A risk below this is forgotten.
const RISK_MIN: f64 = 0.5;

/// All that is remembered of one principal.
#[derive(Debug, Default)]
pub struct Memory {
    pub past: Past,
    /// One per detector, in the order of the catalog.
    pub windows: Vec<Window>,
    pub cooldowns: Cooldowns,
    pub risk: Standing,
    /// What it is like, for its peers.
    pub profile: Profile,
}

/// When each detector last spoke of which technique, and how severely.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cooldowns(Vec<Spoken>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Spoken {
    detector: Cow<'static, str>,
    technique: Cow<'static, str>,
    time: Timestamp,
    severity: u8,
}

impl Cooldowns {
    /// Whether there is something to say that was not just said.
    pub fn permit(
        &self,
        detector: &str,
        technique: &str,
        time: Timestamp,
        severity: u8,
        quiet_ms: i64,
    ) -> bool {
        !self.0.iter().any(|spoken| {
            spoken.is(detector, technique)
                && severity <= spoken.severity
                && time.since_ms(spoken.time).saturating_abs() < quiet_ms
        })
    }

    pub fn speak(&mut self, detector: &'static str, technique: &'static str, time: Timestamp, severity: u8) {
        self.0.retain(|spoken| !spoken.is(detector, technique));
        if self.0.len() >= COOLDOWNS_MAX {
            self.0.remove(0);
        }
        self.0.push(Spoken { detector: detector.into(), technique: technique.into(), time, severity });
    }
}

impl Spoken {
    fn is(&self, detector: &str, technique: &str) -> bool {
        self.detector == detector && self.technique == technique
    }
}

/// The risk of a principal as of a time. The score is kept as its bits, so that a snapshot loses nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    score_bits: u64,
    time: Timestamp,
    pub level: RiskLevel,
}

impl Standing {
    pub fn score(&self) -> f64 {
        f64::from_bits(self.score_bits)
    }

    /// Lets time pass; time that runs backwards, by up to a month, changes nothing.
    pub fn decay_to(&mut self, time: Timestamp) {
        if was_ahead(self.time, time) {
            self.time = time;
        }
        if self.score_bits == 0 || time <= self.time {
            return;
        }
        let score = risk::decay(self.score(), time.since_ms(self.time));
        self.score_bits = if score < RISK_MIN { 0 } else { score.to_bits() };
        self.time = time;
    }

    /// Adds evidence as of `time`.
    pub fn add(&mut self, weight: f64, time: Timestamp) {
        self.decay_to(time);
        self.score_bits = risk::add(self.score(), weight).to_bits();
        self.time = self.time.max(time);
    }
}

/// The table. Its order never reaches an output: lookups are by key, snapshots and evictions sort.
#[derive(Debug, Default)]
pub struct Principals {
    table: HashMap<Box<str>, Memory>,
    key: String,
}

impl Principals {
    /// The memory of the event's principal, made if it is new; another one may be forgotten for it.
    pub fn of(
        &mut self,
        event: &Event,
        detectors: usize,
        principals_max: usize,
        settled_min: u64,
    ) -> Option<&mut Memory> {
        self.key.clear();
        self.key.push_str(event.tenant());
        self.key.push('\0');
        self.key.push_str(event.principal());
        if !self.table.contains_key(self.key.as_str()) {
            if self.table.len() >= principals_max.max(1) {
                self.evict(principals_max, settled_min);
            }
            let fresh = Memory { windows: vec![Window::default(); detectors], ..Memory::default() };
            self.table.insert(self.key.as_str().into(), fresh);
        }
        self.table.get_mut(self.key.as_str())
    }

    /// The profiles of a tenant's principals, with their fingerprints, in no order.
    pub fn profiles<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = (u64, &'a Profile)> {
        self.table.iter().filter_map(move |(key, memory)| {
            let (of, _) = key.split_once('\0')?;
            (of == tenant).then(|| (fingerprint(key.as_bytes()), &memory.profile))
        })
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Forgets an eighth at once: first those with little history, so that a flood of made-up principals cannot wash
    /// out the real ones; then the longest unseen; then by key.
    fn evict(&mut self, principals_max: usize, settled_min: u64) {
        let mut order: Vec<(bool, Timestamp, &str)> = self
            .table
            .iter()
            .map(|(key, memory)| (memory.past.events >= settled_min, memory.past.last, &**key))
            .collect();
        let surplus = (order.len() + 1).saturating_sub(principals_max).max(principals_max / 8).max(1);
        let at = surplus.min(order.len()).saturating_sub(1);
        order.select_nth_unstable(at);
        let gone: Vec<Box<str>> = order.iter().take(at + 1).map(|(_, _, key)| Box::from(*key)).collect();
        for key in gone {
            self.table.remove(&key);
        }
    }

    /// The version, then every principal in order of its key: the same memory gives the same bytes.
    pub fn save(&self, detectors: &[&'static str]) -> Vec<u8> {
        let principals: BTreeMap<&str, Saved<'_>> =
            self.table.iter().map(|(key, memory)| (&**key, Saved::of(memory, detectors))).collect();
        postcard::to_stdvec(&(SNAPSHOT_VERSION, principals)).unwrap_or_default()
    }

    pub fn restore(snapshot: &[u8], detectors: &[&'static str]) -> Result<Self, RestoreError> {
        let corrupt = |error: postcard::Error| RestoreError::Corrupt(error.to_string());
        if snapshot.starts_with(FIRST_SNAPSHOT) {
            return Err(RestoreError::Version(1));
        }
        let (version, rest) = postcard::take_from_bytes::<u32>(snapshot).map_err(corrupt)?;
        if version != SNAPSHOT_VERSION {
            return Err(RestoreError::Version(version));
        }
        let (principals, rest) =
            postcard::take_from_bytes::<BTreeMap<Box<str>, OwnedSaved>>(rest).map_err(corrupt)?;
        if !rest.is_empty() {
            return Err(RestoreError::Corrupt(format!("{} bytes too many", rest.len())));
        }
        let memories = principals.into_iter().map(|(key, saved)| Some((key, saved.memory(detectors)?)));
        let table =
            memories.collect::<Option<_>>().ok_or_else(|| RestoreError::Corrupt("a profile".into()))?;
        Ok(Principals { table, key: String::new() })
    }
}

/// Changes whenever an older build could not read what this one writes.
pub const SNAPSHOT_VERSION: u32 = 3;
/// How a snapshot of version 1 begins; it was JSON.
const FIRST_SNAPSHOT: &[u8] = b"{\"version\":1";

#[derive(Debug)]
pub enum RestoreError {
    Version(u32),
    Corrupt(String),
}

/// A memory whose windows are named by detector, so that the catalog may grow between saving and restoring.
#[derive(Serialize)]
struct Saved<'a> {
    past: &'a Past,
    windows: BTreeMap<&'static str, &'a Window>,
    cooldowns: &'a Cooldowns,
    risk: Standing,
    profile: Vec<u8>,
}

#[derive(Deserialize)]
struct OwnedSaved {
    past: Past,
    windows: BTreeMap<String, Window>,
    cooldowns: Cooldowns,
    risk: Standing,
    profile: Vec<u8>,
}

impl<'a> Saved<'a> {
    fn of(memory: &'a Memory, detectors: &[&'static str]) -> Self {
        let named = detectors.iter().copied().zip(&memory.windows);
        let windows = named.filter(|(_, window)| !window.is_empty()).collect();
        let mut profile = Vec::with_capacity(Profile::BYTES);
        memory.profile.write(&mut profile);
        Saved { past: &memory.past, windows, cooldowns: &memory.cooldowns, risk: memory.risk, profile }
    }
}

impl OwnedSaved {
    fn memory(mut self, detectors: &[&'static str]) -> Option<Memory> {
        let profile = Profile::read(self.profile.first_chunk()?)?;
        let windows = detectors.iter().map(|id| self.windows.remove(*id).unwrap_or_default()).collect();
        let Self { past, cooldowns, risk, .. } = self;
        Some(Memory { past, windows, cooldowns, risk, profile })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn risk_decays_even_after_evidence_from_the_far_future() {
        let mut risk = Standing::default();
        risk.add(50.0, Timestamp(10_413_792_000_000));
        risk.add(80.0, Timestamp(1_772_438_400_000));
        risk.decay_to(Timestamp(1_772_438_400_000 + 7 * 86_400_000));
        assert_eq!(risk.score(), 0.0);
    }
}
