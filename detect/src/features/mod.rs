//! Features: an event beside its principal's past, as sixteen numbers.
//!
//! [`CATALOG`] says what each number is, where it comes from and what stands in its place when it is missing. A row is
//! made before the event is learnt. All arithmetic is in whole numbers or basic floating point, so that the same event
//! has the same row on every machine.

mod catalog;
pub(crate) mod inputs;
mod range;
mod sensitivity;
mod show;
pub mod travel;

pub use catalog::{CATALOG, Feature};
pub use range::{range, wanted};
pub use sensitivity::sensitivity;
pub use show::show;

use crate::behaviour::{AGE_MAX, Behaviour, HOUR_WEIGHT, fixed, hour, seconds};
use crate::log2::{ONE, log2, log2_1p, to_f32};
use crate::sighting::Sighting;

pub const COUNT: usize = 16;

pub const HOUR: usize = 0;
pub const GAP: usize = 1;
pub const SIZE: usize = 2;
pub const SIZE_DEVIATION: usize = 3;
pub const RATE: usize = 4;
pub const RATE_RISE: usize = 5;
pub const NETWORK: usize = 6;
pub const DEVICE: usize = 7;
pub const FAILURES: usize = 8;
pub const ODD: usize = 9;
pub const OPERATION: usize = 10;
pub const PEERS: usize = 11;
pub const SENSITIVITY: usize = 12;
pub const TRAVEL: usize = 13;
pub const ENTROPY: usize = 14;
pub const FAN_OUT: usize = 15;

/// Hours in which what is new loses half of its novelty.
const NOVELTY_HALF_LIFE_H: u8 = 6;
/// Nobody's sizes are steadier than half a doubling, in 1/65,536.
const DEVIATION_MIN: u32 = ONE / 2;
/// Places nearer than this are one: addresses are located no better, in kilometres.
const NEAR_KM: f64 = 50.0;
/// Two places within less than this are taken as this far apart in time, in seconds.
const TRAVEL_S_MIN: u32 = 60;

/// The sixteen numbers of one event, in the order of [`CATALOG`]; all finite and within their ranges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    pub values: [f32; COUNT],
    /// One bit per feature that holds its neutral value, because the event or the past did not tell.
    pub missing: u16,
    /// The event's inputs that were missing, not finite, absurd or clipped; also feature [`ODD`].
    pub odd: u8,
}

impl Row {
    pub fn is_missing(&self, feature: usize) -> bool {
        self.missing >> feature & 1 == 1
    }

    /// The row as if the event had not said which program made it; nothing else in it depends on that.
    pub fn without_user_agent(&self) -> Row {
        let mut row = *self;
        for (at, feature) in CATALOG.iter().enumerate().filter(|(_, feature)| feature.user_agent) {
            row.missing |= 1 << at;
            row.values[at] = feature.neutral;
        }
        row
    }

    /// `log2(1 + bytes)` in 1/65,536, if the event said how large it was.
    pub(crate) fn size(&self) -> Option<u32> {
        (!self.is_missing(SIZE)).then(|| (self.values[SIZE] * ONE as f32) as u32)
    }

    fn neutral() -> Self {
        Row { values: std::array::from_fn(|at| CATALOG[at].neutral), missing: 0, odd: 0 }
    }

    /// Takes a value in: clipped to the feature's range and counted, or missing if it is no number.
    fn set(&mut self, feature: usize, value: f32) {
        let Feature { min, max, .. } = CATALOG[feature];
        if !value.is_finite() {
            return self.lacks(feature);
        }
        self.values[feature] = value.clamp(min, max);
        self.odd += u8::from(!(min..=max).contains(&value));
    }

    /// The event does not tell.
    fn lacks(&mut self, feature: usize) {
        self.unknown(feature);
        self.odd += 1;
    }

    /// The past does not tell: no fault of the event.
    fn unknown(&mut self, feature: usize) {
        self.missing |= 1 << feature;
    }
}

/// How often a principal has called the operation at hand, and any operation, as far as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    pub of_this: u64,
    pub of_all: u64,
}

impl Calls {
    /// Among its last 32 calls.
    pub fn lately(seen: &Sighting<'_>, behaviour: &Behaviour) -> Self {
        let known = behaviour.streams().operations();
        Calls { of_this: u64::from(known.count(inputs::symbol(seen))), of_all: known.len() as u64 }
    }
}

/// The event beside its principal's past, which does not hold the event yet. `peer_surprisal` is how unusual the
/// operation is among the principal's peers, in bits.
pub fn row(seen: &Sighting<'_>, behaviour: &Behaviour, calls: Calls, peer_surprisal: Option<f32>) -> Row {
    let mut row = Row::neutral();
    let stranger = behaviour.events() == 0;
    row.odd += u8::from(!inputs::has_time(seen));
    time(seen, behaviour, &mut row);
    size(seen, behaviour, &mut row);
    let [minute, hour, failures] = behaviour.counts(seen.time);
    rates(minute, hour, &mut row);
    network(seen, behaviour, &mut row);
    match inputs::device(seen) {
        // Not counted as odd: the other features do not depend on the user agent, so that it can be left out.
        None => row.unknown(DEVICE),
        Some(_) if stranger => row.unknown(DEVICE),
        Some(print) => row.set(DEVICE, behaviour.device_age(print, seen.time).map_or(1.0, novelty)),
    }
    row.set(FAILURES, failures_of(seen, failures));
    if seen.operation.is_empty() {
        row.odd += 1;
    }
    match calls.of_all {
        0 => row.unknown(OPERATION),
        of => row.set(OPERATION, ratio(2 * of + 32, 2 * calls.of_this + 1)),
    }
    match peer_surprisal {
        None => row.unknown(PEERS),
        Some(bits) => row.set(PEERS, bits),
    }
    row.set(SENSITIVITY, sensitivity(seen));
    travel(seen, behaviour, &mut row);
    row.set(ENTROPY, behaviour.streams().departure());
    let things = behaviour.fan_out(seen.time, inputs::cells(seen));
    row.set(FAN_OUT, to_f32(i64::from(log2(things + u64::from(ONE))) - (16 << 16)));
    row.set(ODD, f32::from(row.odd));
    row
}

/// `log2(above / below)`.
fn ratio(above: u64, below: u64) -> f32 {
    to_f32(i64::from(log2(above)) - i64::from(log2(below)))
}

/// How rare the hour of day is, and how long ago the last event was.
fn time(seen: &Sighting<'_>, behaviour: &Behaviour, row: &mut Row) {
    if behaviour.events() == 0 {
        row.unknown(HOUR);
        row.unknown(GAP);
        return;
    }
    let weight = u64::from(HOUR_WEIGHT);
    let hours = behaviour.hours();
    let all: u64 = hours.iter().map(|count| u64::from(*count)).sum();
    let of_day = hours.get(usize::from(seen.time.hour())).map_or(0, |count| u64::from(*count));
    // The hour under way does not speak for itself.
    let under_way = if hour(seen.time) == hour(behaviour.last()) { weight.min(of_day) } else { 0 };
    row.set(HOUR, ratio(all - under_way + 24 * weight, of_day - under_way + weight));
    let gap_ms = seen.time.since_ms(behaviour.last()).max(0) as u64;
    row.set(GAP, ratio(gap_ms.saturating_add(1_000), 1_000));
}

fn size(seen: &Sighting<'_>, behaviour: &Behaviour, row: &mut Row) {
    let usual = behaviour.size();
    let Some(bytes) = inputs::bytes(seen) else {
        row.lacks(SIZE);
        row.unknown(SIZE_DEVIATION);
        if let Some((mean, _)) = usual {
            row.values[SIZE] = to_f32(i64::from(mean));
        }
        return;
    };
    row.set(SIZE, to_f32(i64::from(log2_1p(bytes))));
    match usual {
        None => row.unknown(SIZE_DEVIATION),
        Some((mean, deviation)) => {
            let size = (row.values[SIZE] * ONE as f32) as i64;
            let far = ((size - i64::from(mean)) << 16) / i64::from(deviation.max(DEVIATION_MIN));
            row.set(SIZE_DEVIATION, to_f32(far));
        }
    }
}

/// Events a minute with this one, and how many times those of the last hour they are.
fn rates(minute: u32, hour: u32, row: &mut Row) {
    let one = u64::from(fixed::COUNT_ONE);
    let minute = u64::from(minute) + one;
    let per_minute = (u64::from(hour) + one) / 60;
    row.set(RATE, ratio(minute + one, one));
    row.set(RATE_RISE, ratio(minute + one, per_minute + one));
}

fn network(seen: &Sighting<'_>, behaviour: &Behaviour, row: &mut Row) {
    let Some(print) = inputs::network(seen) else { return row.lacks(NETWORK) };
    if behaviour.networks().is_empty() {
        return row.unknown(NETWORK);
    }
    let known_system = inputs::system(seen).is_some_and(|print| behaviour.knows_system(print));
    let stranger = if known_system { 0.5 } else { 1.0 };
    row.set(NETWORK, behaviour.network_age(print, seen.time).map_or(stranger, novelty));
}

/// 0 for what has long been known, up to a half for what was met a moment ago.
fn novelty(age_h: u8) -> f32 {
    let halvings = 1 + u32::from(age_h / NOVELTY_HALF_LIFE_H);
    if age_h == AGE_MAX { 0.0 } else { 1.0 / (1u64 << halvings) as f32 }
}

/// Positive for a refusal, by how many there were lately with this one; negative for a sign-in that works after some.
fn failures_of(seen: &Sighting<'_>, before: u32) -> f32 {
    let one = u64::from(fixed::COUNT_ONE);
    let bits = |count: u64| ratio(count + one, one);
    if inputs::refused(seen) {
        bits(u64::from(before) + one)
    } else if inputs::is_sign_in(seen) && seen.event.succeeded() {
        -bits(u64::from(before))
    } else {
        0.0
    }
}

fn travel(seen: &Sighting<'_>, behaviour: &Behaviour, row: &mut Row) {
    let place = match inputs::place(seen) {
        Ok(Some(place)) => place,
        Ok(None) | Err(()) => return row.lacks(TRAVEL),
    };
    let Some((before, then)) = behaviour.place() else { return row.unknown(TRAVEL) };
    let km = before.distance_km(place);
    let elapsed_s = seconds(seen.time).abs_diff(then).max(TRAVEL_S_MIN);
    let kmh = if km < NEAR_KM { 0 } else { (km * 3_600.0 / f64::from(elapsed_s)) as u64 };
    row.set(TRAVEL, to_f32(i64::from(log2_1p(kmh))));
}
