//! Notice: evidence that is not a finding by itself, one kind at a time, and what it adds to a principal's risk.
//!
//! | kind | when | of 100 |
//! |---|---|---|
//! | forest | settled principal, the event's p-value is below `signal_p_value_max`; a tenth of it | 10, 20 |
//! | entropy falls or rises | [`Shift`] | 15 |
//! | new network | settled principal, network never met | 15 |
//! | new device | settled principal, user agent never met | 10 |
//! | failed sign-ins | five or more in ten minutes, or a success after them | 15 |
//! | data volume | four standard deviations above its mean, or sensitive data it never touched | 15 |
//! | timing | an hour of day at which the principal is never active | 5 |
//! | peers | an operation that one call in 1,024 of its peers is; of a newcomer, a sensitive one | 10 |
//!
//! A kind speaks once per principal and cool-down, unless it is stronger than before: half as probable, for the forest,
//! since the tenant's view can only let through what it hears of. To the risk, a kind adds each weight once per
//! cool-down: that caps what repetition adds.

use crate::config::Config;
use crate::detectors::words;
use crate::engine::{Judged, PEER_BITS_MIN};
use crate::entropy::{Direction, Shift};
use crate::explain::one_in;
use crate::features::{DEVICE, FAILURES, HOUR, NETWORK, PEERS, SENSITIVITY, SIZE, SIZE_DEVIATION, show};
use crate::past::Past;
use crate::sighting::Sighting;
use prunella_schemas::SignalKind;
use prunella_schemas::ocsf::{AUTHENTICATION, DATASTORE_ACTIVITY, FILE_HOSTING};

/// log2(1 + 5): refusals that are more than a slip.
const FAILURES_MIN: f32 = 2.58;
const DEVIATION_MIN: f32 = 4.0;
/// An hour of the day that holds less than one in 64 of a principal's active hours, in bits.
const RARE_HOUR_BITS: f32 = 6.0;
/// Peers that must be known for their silence to mean something.
const PEERS_MIN: u32 = 30;
const SENSITIVE_MIN: f32 = 0.5;

/// What was noticed about one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Noticed {
    pub kind: SignalKind,
    /// How strong, for the cool-down: more is heard in spite of it.
    pub strength: u8,
    /// Of 100.
    pub weight: f64,
    pub detail: String,
    /// How probable it is of an ordinary event, where that can be said; then it may be a finding by itself.
    pub p_value: Option<f64>,
}

impl Noticed {
    /// The name under which the cool-down knows it.
    pub fn id(&self) -> &'static str {
        match self.kind {
            SignalKind::Forest => "forest",
            SignalKind::EntropyFall => "entropy_fall",
            SignalKind::EntropyRise => "entropy_rise",
            SignalKind::NewNetwork => "new_network",
            SignalKind::NewDevice => "new_device",
            SignalKind::FailedSignIns => "failed_sign_ins",
            SignalKind::DataVolume => "data_volume",
            SignalKind::Timing => "timing",
            SignalKind::Peers => "peers",
        }
    }
}

/// What can be said before the event is learnt.
pub fn notice(seen: &Sighting<'_>, past: &Past, judged: &Judged, config: &Config) -> Vec<Noticed> {
    let mut noticed = Vec::new();
    let mut say_of = |p_value, kind, strength, weight, detail| {
        noticed.push(Noticed { kind, strength, weight, detail, p_value });
    };
    let row = &judged.row;
    let told = |feature: usize| (!row.is_missing(feature)).then(|| row.values[feature]);
    if told(FAILURES).is_some_and(|value| value.abs() >= FAILURES_MIN)
        && seen.event.class_uid == AUTHENTICATION.uid
    {
        say_of(None, SignalKind::FailedSignIns, 1, 15.0, show(FAILURES, row.values[FAILURES], seen));
    }
    if seen.by_service {
        return noticed;
    }
    if past.is_learning(seen.time, config) {
        if let Some(p_value) = judged.strange {
            let detail = format!("{}, which its peers do not call", seen.operation);
            say_of(Some(p_value), SignalKind::Peers, 1, 10.0, detail);
        }
        return noticed;
    }
    if let Some(p_value) = judged.p_value()
        && p_value <= config.engine.signal_p_value_max
    {
        let weight = if p_value <= config.engine.signal_p_value_max / 10.0 { 20.0 } else { 10.0 };
        let detail = format!("{} is this unusual", one_in(p_value));
        say_of(Some(p_value), SignalKind::Forest, rarity(p_value), weight, detail);
    }
    if told(NETWORK).is_some_and(|value| value >= 1.0) {
        say_of(None, SignalKind::NewNetwork, 1, 15.0, show(NETWORK, 1.0, seen));
    }
    if told(DEVICE).is_some_and(|value| value >= 1.0) {
        say_of(None, SignalKind::NewDevice, 1, 10.0, show(DEVICE, 1.0, seen));
    }
    if told(SIZE_DEVIATION).is_some_and(|value| value >= DEVIATION_MIN) && told(SIZE).is_some() {
        let usual = judged.behaviour.usual(SIZE).map(|usual| format!("; usually {usual}"));
        let detail = show(SIZE_DEVIATION, row.values[SIZE_DEVIATION], seen) + &usual.unwrap_or_default();
        say_of(None, SignalKind::DataVolume, 2, 15.0, detail);
    } else if is_data(seen)
        && row.values[SENSITIVITY] >= SENSITIVE_MIN
        && past.operations.count(seen.operation_key) == 0
    {
        say_of(None, SignalKind::DataVolume, 1, 15.0, format!("{} for the first time", seen.operation));
    }
    if told(HOUR).is_some_and(|bits| bits >= RARE_HOUR_BITS) {
        let usual = judged.behaviour.usual(HOUR).map(|usual| format!("; usually {usual}"));
        say_of(None, SignalKind::Timing, 1, 5.0, words::clock(seen.time) + &usual.unwrap_or_default());
    }
    if told(PEERS).is_some_and(|bits| bits >= PEER_BITS_MIN) && judged.peers >= PEERS_MIN {
        let detail = format!("{}, unlike {} peers", seen.operation, judged.peers);
        say_of(None, SignalKind::Peers, 1, 10.0, detail);
    }
    noticed
}

/// What a departure of entropy amounts to.
pub fn shifted(shift: &Shift) -> Noticed {
    let kind = match shift.direction {
        Direction::Fall => SignalKind::EntropyFall,
        Direction::Rise => SignalKind::EntropyRise,
    };
    Noticed { kind, strength: 1, weight: 15.0, detail: shift.words(), p_value: None }
}

/// How often a p-value is to be doubled until it is 1, rounded down. In whole numbers: logarithms differ by machine.
fn rarity(p_value: f64) -> u8 {
    ((1.0 / p_value.max(1e-9)).max(1.0) as u64).ilog2() as u8
}

fn is_data(seen: &Sighting<'_>) -> bool {
    [DATASTORE_ACTIVITY.uid, FILE_HOSTING.uid].contains(&seen.event.class_uid)
}

#[cfg(test)]
mod tests {
    use super::rarity;

    #[test]
    fn half_as_probable_is_stronger_and_as_probable_is_not() {
        for (p, want) in
            [(1.0, 0), (0.5, 1), (0.51, 0), (1e-3, 9), (9e-5, 13), (2e-5, 15), (0.0, 29), (f64::NAN, 29)]
        {
            assert_eq!(rarity(p), want, "{p}");
        }
        assert_eq!(rarity(0.125f64.next_up()), 2);
    }
}
