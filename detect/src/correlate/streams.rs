//! Streams: what a whole tenant does, moves between storage tiers and is answered with; how predictable each is.

use super::Config;
use super::suspect::is_near;
use crate::entropy::{BIT, Limits, Rolling, Shift, Streams};
use prunella_schemas::limits::EVIDENCE_MAX;
use prunella_schemas::{Id, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::collections::VecDeque;

/// Tier changes and decisions are few: a baseline of 16 readings has to do. What it costs is a Low finding too many.
const FEW: Limits =
    Limits { warm_up: 16, steps: BIT / 2, steps_percent: 250, operations: 5 * BIT / 4, gaps: BIT };

/// The entropies of a tenant as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TenantStreams {
    access: Watched<Access>,
    tiers: Watched<Sparse>,
    decisions: Watched<Sparse>,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// Every operation.
    Access,
    /// Operations that move data to another storage tier, and the gaps between them.
    Tiers,
    /// What Prunella itself concluded, and the gaps between its conclusions.
    Decisions,
}

/// A stream that left its baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Departure {
    pub whole: Whole,
    pub shift: Shift,
    /// The events last seen, in order.
    pub evidence: Vec<Id>,
    /// When the first of them was.
    pub first: Timestamp,
    pub last: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Watched<S> {
    entropy: S,
    recent: VecDeque<(Timestamp, Id)>,
    spoken: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Access(Rolling);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sparse(Streams);

impl TenantStreams {
    /// `operation` is its fingerprint.
    pub fn access(
        &mut self,
        operation: u64,
        time: Timestamp,
        event: Id,
        config: &Config,
    ) -> Option<Departure> {
        let shift = self.access.entropy.0.push(symbol(operation));
        self.access.note(Whole::Access, shift, time, event, config)
    }

    pub fn tier_change(
        &mut self,
        operation: u64,
        time: Timestamp,
        event: Id,
        config: &Config,
    ) -> Option<Departure> {
        let shift = self.tiers.learn(operation, time);
        self.tiers.note(Whole::Tiers, shift, time, event, config)
    }

    pub fn decision(
        &mut self,
        analytic: &str,
        severity: u8,
        time: Timestamp,
        event: Id,
        config: &Config,
    ) -> Option<Departure> {
        let id = Id::derive("decision", &[analytic.as_bytes(), &[severity]]);
        let fingerprint = id.0.iter().fold(0u64, |all, byte| (all << 8) | u64::from(*byte));
        let shift = self.decisions.learn(fingerprint, time);
        self.decisions.note(Whole::Decisions, shift, time, event, config)
    }
}

impl Watched<Sparse> {
    fn learn(&mut self, fingerprint: u64, time: Timestamp) -> Option<Shift> {
        let gap_ms = self.recent.back().map_or(0, |(last, _)| time.since_ms(*last).max(0));
        let gap = (gap_ms.unsigned_abs() + 1).ilog2() as u8;
        self.entropy.0.learn(symbol(fingerprint), gap, &FEW)
    }
}

impl<S> Watched<S> {
    fn note(
        &mut self,
        whole: Whole,
        shift: Option<Shift>,
        time: Timestamp,
        event: Id,
        config: &Config,
    ) -> Option<Departure> {
        if self.recent.len() >= EVIDENCE_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((time, event));
        let shift = shift?;
        if self.spoken.is_some_and(|spoken| is_near(spoken, time, config.tenant_cooldown_ms - 1)) {
            return None;
        }
        self.spoken = Some(time);
        let times = || self.recent.iter().map(|(time, _)| *time);
        Some(Departure {
            whole,
            shift,
            evidence: self.recent.iter().map(|(_, event)| *event).collect(),
            first: times().min().unwrap_or(time),
            last: times().max().unwrap_or(time),
        })
    }
}

/// One of 256 cells for a fingerprint.
fn symbol(fingerprint: u64) -> u8 {
    (fingerprint.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

impl Serialize for Access {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut bytes = Vec::with_capacity(Rolling::BYTES);
        self.0.write(&mut bytes);
        bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        let exact = Some(&bytes).filter(|bytes| bytes.len() == Rolling::BYTES);
        let rolling = exact.and_then(|bytes| Rolling::read(bytes));
        rolling.map(Access).ok_or_else(|| D::Error::custom("the stream of access is damaged"))
    }
}

impl Serialize for Sparse {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut bytes = Vec::with_capacity(Streams::BYTES);
        self.0.write(&mut bytes);
        bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sparse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        let streams = bytes.as_slice().try_into().ok().and_then(Streams::read);
        streams.map(Sparse).ok_or_else(|| D::Error::custom("a stream of the tenant is damaged"))
    }
}
