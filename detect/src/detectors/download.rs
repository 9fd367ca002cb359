//! Download: far more bytes than this principal ever takes in an hour, or one large object at an unusual hour.

use super::words;
use crate::attack::{CLOUD_STORAGE_DATA, EXFILTRATE_WEB_SERVICE};
use crate::config::Config;
use crate::detector::{Detector, Method, analytic};
use crate::evidence::{Draft, Evidence, Severity};
use crate::past::Past;
use crate::rhythm::Measure;
use crate::sighting::Sighting;
use crate::window::{Mark, Window};
use prunella_schemas::finding::Analytic;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Download {
    /// Less than this in an hour, or in one object, is never a finding.
    pub bytes_min: u64,
    /// How many times the most of any hour before.
    pub times_the_most_min: u64,
    /// Active hours that must be known of a principal that hardly downloads.
    pub hours_min: u32,
    /// Active hours that must be known of one that downloads much.
    pub busy_hours_min: u32,
    /// From this much in an hour a principal downloads much.
    pub busy_bytes: u64,
    /// An hour of day (with its neighbours) that holds less than this share of all active hours is unusual.
    pub unusual_hour_permille: u64,
    /// Active hours that must be known before an hour of day is called unusual.
    pub unusual_hour_hours_min: u32,
    /// History that must be known before that: about a day.
    pub unusual_hour_past_ms: i64,
}

impl Default for Download {
    fn default() -> Self {
        Download {
            bytes_min: 100 << 20,
            times_the_most_min: 8,
            hours_min: 6,
            busy_hours_min: 12,
            busy_bytes: 10 << 20,
            unusual_hour_permille: 40,
            unusual_hour_hours_min: 8,
            unusual_hour_past_ms: 20 * HOUR_MS,
        }
    }
}

/// Smaller downloads are counted but not kept as evidence, in bytes.
const EVIDENCE_BYTES_MIN: u64 = 1 << 16;
const MARKS_MAX: usize = 64;
const HOUR_MS: i64 = 3_600_000;

impl Detector for Download {
    fn id(&self) -> &'static str {
        "download_volume"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "Download volume against the principal's own past", "1.0.0", Method::Statistical)
    }

    fn observe(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        window: &mut Window,
        config: &Config,
        out: &mut Evidence,
    ) {
        let bytes = seen.event.bytes_out().unwrap_or(0);
        if bytes < EVIDENCE_BYTES_MIN || seen.by_service || seen.event.failed() {
            return;
        }
        window.admit(Mark::of(seen, 0, bytes), HOUR_MS, MARKS_MAX);
        let hour = past.rhythm.amount(Measure::Bytes, seen.time).saturating_add(bytes);
        if hour < self.bytes_min || !out.is_heard(CLOUD_STORAGE_DATA, Severity::High, seen.time) {
            return;
        }
        let most = past.rhythm.most(Measure::Bytes);
        let hours_min = if most >= self.busy_bytes { self.busy_hours_min } else { self.hours_min };
        let odd_hour = past.rhythm.hours >= self.unusual_hour_hours_min
            && seen.time.since_ms(past.first) >= self.unusual_hour_past_ms
            && past.rhythm.near_permille(seen.time) < self.unusual_hour_permille;
        let far_above = hour / self.times_the_most_min.max(1) >= most.max(1);
        let volume =
            far_above && past.rhythm.hours >= hours_min && past.rhythm.excess_mbit(Measure::Bytes, hour) > 0;
        let single = odd_hour && far_above && bytes >= self.bytes_min;
        if volume || single {
            let new_network = seen.network.is_some_and(|n| past.is_new_network(n, seen.time, config));
            out.found(self.draft(seen, past, window, hour, odd_hour, new_network));
        }
    }
}

impl Download {
    fn draft(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        window: &Window,
        hour: u64,
        odd: bool,
        new: bool,
    ) -> Draft {
        let start = seen.time.0.div_euclid(HOUR_MS) * HOUR_MS;
        let marks: Vec<Mark> = window
            .marks()
            .iter()
            .filter(|m| m.time.0.div_euclid(HOUR_MS) * HOUR_MS == start)
            .cloned()
            .collect();
        let (most, typical) = (past.rhythm.most(Measure::Bytes), past.rhythm.typical(Measure::Bytes));
        let mut reasons = vec![format!(
            "{} within one hour; the most in any of {} hours before was {}, typical is {}",
            words::bytes(hour),
            past.rhythm.hours,
            words::bytes(most),
            words::bytes(typical)
        )];
        if odd {
            let share = past.rhythm.near_permille(seen.time);
            let (whole, tenth) = (share / 10, share % 10);
            let clock = words::clock(seen.time);
            reasons.push(format!(
                "{clock} is an unusual hour: {whole}.{tenth} % of {} active hours fell near it",
                past.rhythm.hours
            ));
        }
        if let Some(network) = seen.network.filter(|_| new) {
            reasons.push(format!("{network} is new to this principal"));
        }
        let limit = most.saturating_mul(self.times_the_most_min).max(self.bytes_min);
        Draft {
            severity: if odd || new { Severity::High } else { Severity::Medium },
            confidence: if odd || new { 90 } else { 75 },
            title: "Unusually large download".to_owned(),
            message: format!(
                "{} took {} within one hour from {}",
                seen.who(),
                words::bytes(hour),
                seen.from()
            ),
            reasons,
            counterfactual: format!("Less than {} within the hour", words::bytes(limit)),
            attacks: vec![CLOUD_STORAGE_DATA, EXFILTRATE_WEB_SERVICE],
            marks,
            habitual: false,
        }
    }
}
