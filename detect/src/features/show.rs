//! Show: the value of a feature in the event's own unit, for people.

use super::{
    DEVICE, ENTROPY, FAILURES, FAN_OUT, GAP, HOUR, NETWORK, ODD, OPERATION, PEERS, RATE, RATE_RISE,
    SENSITIVITY, SIZE, SIZE_DEVIATION, TRAVEL, inputs,
};
use crate::detectors::words;
use crate::log2::{ONE, exp2_m1};
use crate::sighting::Sighting;

/// A value of a feature as the event says it: `14.0 MiB`, `03:00 UTC`, `new network 203.0.113.0/24`.
pub fn show(feature: usize, value: f32, seen: &Sighting<'_>) -> String {
    match feature {
        HOUR => words::clock(seen.time),
        GAP => {
            let gap_s = i64::try_from(count(value)).unwrap_or(i64::MAX);
            format!("{} after the event before", words::span(gap_s.saturating_mul(1_000)))
        }
        SIZE => words::bytes(inputs::bytes(seen).unwrap_or_else(|| count(value))),
        SIZE_DEVIATION => {
            let size = inputs::bytes(seen).map_or_else(|| "no size".to_owned(), words::bytes);
            format!("{size}, {value:+.1} standard deviations")
        }
        RATE => format!("{} events a minute", count(value)),
        RATE_RISE if value >= 0.0 => format!("{:.1} times the rate of the last hour", power(value)),
        RATE_RISE => format!("{:.1} times less than in the last hour", power(-value)),
        NETWORK => {
            let network = seen.network.map_or_else(|| "no address".to_owned(), |network| network.to_string());
            new_or_known("network", value, &network)
        }
        DEVICE => new_or_known("program", value, &clip(seen.event.user_agent().unwrap_or("unnamed"))),
        FAILURES if value > 0.0 => format!("{} refusals in ten minutes", count(value)),
        FAILURES if value < 0.0 => format!("a sign-in that works after {} refusals", count(-value)),
        FAILURES => "not refused".to_owned(),
        ODD => format!("{value:.0} of its attributes missing or absurd"),
        OPERATION => format!("{}, {} of its own calls", operation(seen), share(value)),
        PEERS => format!("{}, {} of its peers' calls", operation(seen), share(value)),
        SENSITIVITY => format!("{}, sensitivity {:.0} of 100", operation(seen), value * 100.0),
        TRAVEL => format!("{} km/h since the last place", count(value)),
        ENTROPY if value < 0.0 => format!("more predictable by {:.1} of the limit", -value),
        ENTROPY => format!("less predictable by {:.1} of the limit", value.abs()),
        FAN_OUT => format!("{} different things in ten minutes", count(value)),
        _ => format!("{value:.2}"),
    }
}

/// `2^value` to a thousandth or so, which is more than is shown.
fn power(value: f32) -> f64 {
    (exp2_m1(((f64::from(value.clamp(0.0, 50.0)) + 10.0) * f64::from(ONE)) as u32) + 1) as f64 / 1_024.0
}

/// What a feature of the form `log2(1 + n)` counts.
fn count(value: f32) -> u64 {
    (power(value) - 1.0).round() as u64
}

/// A surprisal as a share. What was hardly ever called, or never, has a share that is only bounded.
fn share(value: f32) -> String {
    match count(value) + 1 {
        0..=1 => "nearly all".to_owned(),
        few @ 2..=32 => format!("about one in {few}"),
        many => format!("no more than one in {many}"),
    }
}

fn new_or_known(what: &str, value: f32, name: &str) -> String {
    let age = match value {
        v if v >= 0.5 => "new",
        v if v > 0.0 => "recent",
        _ => "known",
    };
    format!("{age} {what} {name}")
}

fn operation(seen: &Sighting<'_>) -> String {
    if seen.operation.is_empty() { seen.event.activity_name.to_string() } else { clip(seen.operation) }
}

/// Text by strangers, short enough for a sentence.
fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    text.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
}
