//! Risk: how dangerous an entity looks now, decaying with a half-life.

use crate::{Id, Message, Tenant, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Half of a score is forgotten in this time, in milliseconds (science.md section 7.3).
pub const RISK_HALF_LIFE_MS: i64 = 6 * 3_600 * 1_000;

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum RiskLevel {
    #[default]
    Low,
    Medium,
    High,
}

impl RiskLevel {
    /// LOW below 40, MEDIUM below 70, HIGH from there on, of 100.
    pub fn of(score: f64) -> Self {
        match score {
            s if s >= 70.0 => RiskLevel::High,
            s if s >= 40.0 => RiskLevel::Medium,
            _ => RiskLevel::Low,
        }
    }
}

/// A change of an entity's risk level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Risk {
    pub tenant: Tenant,
    pub principal: String,
    /// 0 to 100, as of `time`.
    pub score: f64,
    pub level: RiskLevel,
    pub previous: RiskLevel,
    /// The event time at which the level changed.
    pub time: Timestamp,
    /// The finding that changed it, if one did; decay has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding_uid: Option<Id>,
}

impl Message for Risk {
    const TOPIC: Topic = Topic::Risk;
    const VERSION: u8 = 1;

    fn id(&self) -> Id {
        let level = [self.level as u8];
        let parts: [&[u8]; 4] =
            [self.tenant.as_str().as_bytes(), self.principal.as_bytes(), &self.time.0.to_le_bytes(), &level];
        Id::derive("risk", &parts)
    }

    fn key(&self) -> &str {
        &self.principal
    }
}

/// What is left of `score` after `elapsed_ms`; time that runs backwards leaves it as it was.
///
/// By a series: the powers of C libraries differ in the last bit, and scores are kept in snapshots.
pub fn decay(score: f64, elapsed_ms: i64) -> f64 {
    if elapsed_ms <= 0 {
        return score;
    }
    let halves = elapsed_ms / RISK_HALF_LIFE_MS;
    if halves >= 64 {
        return 0.0;
    }
    let rest = (elapsed_ms % RISK_HALF_LIFE_MS) as f64 / RISK_HALF_LIFE_MS as f64 * std::f64::consts::LN_2;
    let series = (1..=16u32).rev().fold(1.0, |sum, k| 1.0 - sum * rest / f64::from(k));
    score * series / (1u64 << halves) as f64
}

/// Adds evidence so that the sum approaches 100 and never passes it: independent doubts multiply.
pub fn add(score: f64, evidence: f64) -> f64 {
    100.0 - (100.0 - score.clamp(0.0, 100.0)) * (100.0 - evidence.clamp(0.0, 100.0)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn risk_halves_in_six_hours_and_never_passes_a_hundred() {
        assert!((decay(80.0, RISK_HALF_LIFE_MS) - 40.0).abs() < 1e-9);
        assert_eq!(decay(80.0, -5), 80.0);
        assert_eq!((decay(80.0, i64::MAX), decay(80.0, 4 * RISK_HALF_LIFE_MS)), (0.0, 5.0));
        // The bits, since libraries disagree about the last one.
        assert_eq!(decay(80.0, 1_002_994).to_bits(), 0x4053_5dd4_9144_00f0);
        assert_eq!(decay(80.0, 1_012_964).to_bits(), 0x4053_5c3e_908c_e138);
        let mut score = 0.0;
        for _ in 0..1_000 {
            score = add(score, 60.0);
        }
        assert!(score <= 100.0 && score > 99.9);
        assert_eq!(RiskLevel::of(add(0.0, 50.0)), RiskLevel::Medium);
    }
}
