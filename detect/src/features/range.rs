//! Range: what a feature usually is, for people: the range of others, and what a counterfactual asks for.

use super::{
    DEVICE, ENTROPY, FAILURES, FAN_OUT, GAP, HOUR, NETWORK, ODD, OPERATION, PEERS, RATE, RATE_RISE,
    SENSITIVITY, SIZE, SIZE_DEVIATION, TRAVEL,
};
use crate::detectors::words;
use crate::log2::{ONE, exp2_m1};

/// The usual range of a feature, where a range says something.
pub fn range(feature: usize, low: f32, high: f32) -> Option<String> {
    let between = |one: &dyn Fn(f32) -> String, unit: &str| {
        let (low, high) = (one(low), one(high));
        Some(if low == high { format!("{low}{unit}") } else { format!("{low} to {high}{unit}") })
    };
    match feature {
        GAP => between(&gap, ""),
        SIZE => between(&size, ""),
        SIZE_DEVIATION => between(&|value| format!("{value:+.1}"), " standard deviations"),
        RATE => between(&|value| count(value).to_string(), " events a minute"),
        NETWORK if high < 0.5 => Some("known networks".to_owned()),
        DEVICE if high < 0.5 => Some("known programs".to_owned()),
        FAILURES => between(&|value| count(value.abs()).to_string(), " refusals"),
        OPERATION | PEERS => between(&|value| format!("one call in {}", count(value) + 1), ""),
        SENSITIVITY => between(&|value| format!("{:.0}", value * 100.0), " of 100"),
        TRAVEL => between(&|value| count(value).to_string(), " km/h"),
        FAN_OUT => between(&|value| count(value).to_string(), " things in ten minutes"),
        _ => None,
    }
}

/// What a feature would have to be, as part of a sentence that begins with "With".
pub fn wanted(feature: usize, value: f32) -> String {
    match feature {
        HOUR => "an hour that it keeps".to_owned(),
        GAP => format!("a gap of {}", gap(value)),
        SIZE => size(value),
        SIZE_DEVIATION => format!("a size within {value:+.1} standard deviations of its mean"),
        RATE => format!("{} events a minute", count(value)),
        RATE_RISE => "the rate of the hour before".to_owned(),
        NETWORK if value < 0.5 => "a known network".to_owned(),
        NETWORK => "a network it has come from before".to_owned(),
        DEVICE if value < 0.5 => "a known program".to_owned(),
        DEVICE => "a program it has used before".to_owned(),
        FAILURES => format!("{} refusals", count(value.abs())),
        ODD => format!("{value:.0} odd inputs"),
        OPERATION => format!("an operation it calls once in {} times", count(value) + 1),
        PEERS => format!("an operation its peers call once in {} times", count(value) + 1),
        SENSITIVITY => format!("an operation of sensitivity {:.0} of 100", value * 100.0),
        TRAVEL => format!("{} km/h of travel", count(value)),
        ENTROPY => "its usual variety".to_owned(),
        FAN_OUT => format!("{} things touched in ten minutes", count(value)),
        _ => format!("{value:.2}"),
    }
}

fn count(value: f32) -> u64 {
    exp2_m1((value.clamp(0.0, 63.0) * ONE as f32) as u32)
}

fn size(value: f32) -> String {
    words::bytes(count(value))
}

fn gap(value: f32) -> String {
    words::span(i64::try_from(count(value)).unwrap_or(i64::MAX).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::super::{CATALOG, COUNT};
    use super::*;

    #[test]
    fn every_feature_can_be_asked_for() {
        for (feature, known) in CATALOG.iter().enumerate().take(COUNT) {
            let words = wanted(feature, known.neutral);
            assert!(words.len() > 4 && !words.contains("0.25"), "{}: {words}", known.name);
        }
    }

    #[test]
    fn ranges_are_in_the_units_of_the_event() {
        let check = |feature: usize, low: f32, high: f32, want: Option<&str>| {
            assert_eq!(range(feature, low, high).as_deref(), want, "{}", CATALOG[feature].name);
        };
        check(SIZE, 10.0, 20.0, Some("1023 B to 1.0 MiB"));
        check(NETWORK, 0.0, 0.25, Some("known networks"));
        check(NETWORK, 0.0, 1.0, None);
        check(OPERATION, 2.0, 2.0, Some("one call in 4"));
        check(ENTROPY, 0.0, 1.0, None);
    }
}
