//! Behaviour: what is remembered of a principal in at most 320 bytes, and the table that holds a million of them.
//!
//! A behaviour is a pure fold of the principal's events, in whole numbers: the same events give the same bytes on every
//! machine, and what is read back continues as if it had never been written.

mod familiar;
mod fan_out;
pub mod fixed;
mod packed;
mod table;
mod usual;

pub use familiar::{AGE_MAX, Familiar, print};
pub use fan_out::{FanOut, cell};
pub use table::{COLD_MAX, Corrupt, PRINCIPALS_MAX, Table, key};

use crate::clock::was_ahead;
use crate::entropy::{Limits, Shift, Streams};
use crate::features::travel::Place;
use crate::features::{Row, inputs};
use crate::log2::{log2, log2_1p};
use crate::sighting::Sighting;
use fixed::{COUNT_BITS, COUNT_ONE, decay};
use prunella_schemas::Timestamp;
use prunella_schemas::principal::Kind;

/// Networks, autonomous systems and devices remembered of a principal.
pub const NETWORKS_MAX: usize = 8;
pub const SYSTEMS_MAX: usize = 4;
pub const DEVICES_MAX: usize = 4;

/// Half-lives of decayed counts whose mean lives are 60 s, 1 h and 10 min.
const MINUTE_HALF_LIFE_MS: u64 = 41_589;
const HOUR_HALF_LIFE_MS: u64 = 2_495_330;
const FAILURES_HALF_LIFE_MS: u64 = 415_888;
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// What an active hour adds to its hour of the day. At 255 all are halved: a memory of about a month.
pub(crate) const HOUR_WEIGHT: u8 = 8;
/// The mean and deviation of the size forget at a fiftieth per event, and sooner while there are few.
const SIZES_MAX: u8 = 50;
/// Sizes from which a mean says something.
const SIZES_MIN: u8 = 4;
/// No peer group yet.
const NO_GROUP: u16 = u16::MAX;
/// Of `surprise`: 2,048 is one bit.
const SURPRISE_BITS: u32 = 11;

/// Whom a principal is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Actor {
    /// Also whoever is unknown: measured as a person, a program looks odd and is seen; the other way round a thief
    /// would look like a program.
    #[default]
    Human = 0,
    /// Programs, of the customer or of the provider: they have no working hours and one device.
    Service = 1,
    Root = 2,
}

impl From<Kind> for Actor {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Workload | Kind::Service => Actor::Service,
            Kind::Root => Actor::Root,
            Kind::Human | Kind::Unknown => Actor::Human,
        }
    }
}

/// What is remembered of a principal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Behaviour {
    last: Timestamp,
    fan_out: FanOut,
    streams: Streams,
    /// Seconds since 1970.
    first_s: u32,
    events: u32,
    /// Decayed counts.
    failures: u32,
    minute: u32,
    hour: u32,
    /// Of `log2(1 + bytes)`, in 1/65,536.
    size_mean: u32,
    size_variance: u32,
    place: Place,
    /// When it was there, in seconds since 1970; 0: nowhere yet.
    place_s: u32,
    networks: Familiar<NETWORKS_MAX>,
    devices: Familiar<DEVICES_MAX>,
    /// Autonomous systems, the last used first; 0: empty.
    systems: [u16; SYSTEMS_MAX],
    group: u16,
    /// `-log2` of the last p-value.
    surprise: u16,
    hours: [u8; 24],
    sizes: u8,
    actor: Actor,
}

const _: () = assert!(size_of::<Behaviour>() <= 320);

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            last: Timestamp::ZERO,
            fan_out: FanOut::default(),
            streams: Streams::default(),
            first_s: 0,
            events: 0,
            failures: 0,
            minute: 0,
            hour: 0,
            size_mean: 0,
            size_variance: 0,
            place: Place { latitude: 0, longitude: 0 },
            place_s: 0,
            networks: Familiar::default(),
            devices: Familiar::default(),
            systems: [0; SYSTEMS_MAX],
            group: NO_GROUP,
            surprise: 0,
            hours: [0; 24],
            sizes: 0,
            actor: Actor::default(),
        }
    }
}

impl Behaviour {
    /// A principal met at `time`, of which no event is learnt yet.
    pub fn met(time: Timestamp) -> Self {
        Behaviour { last: time, ..Behaviour::default() }
    }

    /// Takes an event in, after it was judged; `row` is what it was judged by. What was `flagged` counts, but teaches
    /// no habit. An event older than the newest by up to a month counts as if it had come with that one.
    pub fn learn(&mut self, seen: &Sighting<'_>, row: &Row, flagged: bool, limits: &Limits) -> Option<Shift> {
        let gap_ms = if self.events == 0 { 0 } else { seen.time.since_ms(self.last).saturating_abs() };
        let new_hour = self.events == 0 || hour(seen.time) > hour(self.last);
        if self.events == 0 || inputs::has_time(seen) {
            self.pass(seen.time);
        }
        self.actor = seen.kind.into();
        self.events = self.events.saturating_add(1);
        self.minute = self.minute.saturating_add(COUNT_ONE);
        self.hour = self.hour.saturating_add(COUNT_ONE);
        if inputs::refused(seen) {
            self.failures = self.failures.saturating_add(COUNT_ONE);
        }
        self.fan_out.touch(inputs::cells(seen));
        if !flagged {
            self.settle(seen, row, new_hour);
        }
        let gap = (log2_1p(gap_ms as u64) + 0x8000) >> 16;
        self.streams.learn(inputs::symbol(seen), gap as u8, limits)
    }

    /// Habits: what an attacker must not teach.
    fn settle(&mut self, seen: &Sighting<'_>, row: &Row, new_hour: bool) {
        if new_hour {
            self.count_hour(usize::from(seen.time.hour()));
        }
        if let Some(size) = row.size() {
            self.count_size(size);
        }
        if let Some(print) = inputs::network(seen) {
            self.networks.meet(print);
        }
        if let Some(print) = inputs::system(seen) {
            let at = self.systems.iter().position(|known| *known == print).unwrap_or(SYSTEMS_MAX - 1);
            self.systems[..=at].rotate_right(1);
            self.systems[0] = print;
        }
        if let Some(print) = inputs::device(seen) {
            self.devices.meet(print);
        }
        if let Some(place) = inputs::place(seen).ok().flatten() {
            self.place = place;
            self.place_s = seconds(self.last).max(1);
        }
    }

    /// Lets time pass up to `time`.
    fn pass(&mut self, time: Timestamp) {
        if self.events == 0 {
            (self.last, self.first_s) = (time, seconds(time));
            return;
        }
        let elapsed_ms = time.since_ms(self.last);
        if was_ahead(self.last, time) && seconds(time) >= self.first_s {
            self.last = time;
        }
        if elapsed_ms <= 0 {
            return;
        }
        self.failures = decay(self.failures, elapsed_ms, FAILURES_HALF_LIFE_MS);
        self.minute = decay(self.minute, elapsed_ms, MINUTE_HALF_LIFE_MS);
        self.hour = decay(self.hour, elapsed_ms, HOUR_HALF_LIFE_MS);
        self.fan_out.pass(self.last.0, time.0);
        let hours = self.hours_until(time);
        if hours > 0 {
            self.networks.pass(hours);
            self.devices.pass(hours);
        }
        self.last = time;
    }

    fn count_hour(&mut self, hour: usize) {
        if self.hours[hour] > u8::MAX - HOUR_WEIGHT {
            self.hours.iter_mut().for_each(|count| *count /= 2);
        }
        self.hours[hour] += HOUR_WEIGHT;
    }

    fn count_size(&mut self, size: u32) {
        self.sizes = (self.sizes + 1).min(SIZES_MAX);
        let (weight, mean) = (i64::from(self.sizes), i64::from(self.size_mean));
        let step = i64::from(size) - mean;
        let next = mean + step / weight;
        let square = (step * (i64::from(size) - next)) >> 16;
        let variance = i64::from(self.size_variance);
        self.size_mean = next.max(0) as u32;
        self.size_variance = (variance + (square - variance) / weight).clamp(0, i64::from(u32::MAX)) as u32;
    }
}

/// What is known of a principal, as of its last event unless a time is given.
impl Behaviour {
    pub fn events(&self) -> u32 {
        self.events
    }

    pub fn first(&self) -> Timestamp {
        Timestamp(i64::from(self.first_s) * 1_000)
    }

    pub fn last(&self) -> Timestamp {
        self.last
    }

    pub fn actor(&self) -> Actor {
        self.actor
    }

    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    pub fn group(&self) -> Option<u16> {
        (self.group != NO_GROUP).then_some(self.group)
    }

    pub fn set_group(&mut self, group: Option<u16>) {
        self.group = group.unwrap_or(NO_GROUP);
    }

    /// `-log2` of the last p-value, 0 to 32 bits.
    pub fn surprise(&self) -> f32 {
        f32::from(self.surprise) / (1 << SURPRISE_BITS) as f32
    }

    /// Keeps a p-value; what is no probability counts as 1.
    pub fn set_p_value(&mut self, p_value: f64) {
        // 1/p is exact enough in whole numbers, and the logarithm of a whole number is the same everywhere.
        let odds = if p_value > 0.0 && p_value <= 1.0 { (1.0 / p_value) as u64 } else { 1 };
        self.surprise = (log2(odds) >> (16 - SURPRISE_BITS)).min(u32::from(u16::MAX)) as u16;
    }

    /// Weights of the 24 hours of the day, UTC; 8 for an active hour of late.
    pub fn hours(&self) -> [u8; 24] {
        self.hours
    }

    /// Mean and standard deviation of `log2(1 + bytes)`, in 1/65,536, once there is enough to tell.
    pub fn size(&self) -> Option<(u32, u32)> {
        let deviation = (u64::from(self.size_variance) << 16).isqrt() as u32;
        (self.sizes >= SIZES_MIN).then_some((self.size_mean, deviation))
    }

    /// Decayed counts of the events of about a minute and an hour and of refusals of ten minutes, as of `time`, in
    /// 1/4,096.
    pub fn counts(&self, time: Timestamp) -> [u32; 3] {
        let elapsed_ms = time.since_ms(self.last);
        [
            decay(self.minute, elapsed_ms, MINUTE_HALF_LIFE_MS),
            decay(self.hour, elapsed_ms, HOUR_HALF_LIFE_MS),
            decay(self.failures, elapsed_ms, FAILURES_HALF_LIFE_MS),
        ]
    }

    /// Events of about the last hour.
    pub fn events_per_hour(&self) -> u32 {
        self.hour >> COUNT_BITS
    }

    /// Different things touched in the ten minutes before `time`, with these as well, in 1/65,536.
    pub fn fan_out(&self, time: Timestamp, cells: u64) -> u64 {
        let mut fan_out = self.fan_out;
        fan_out.pass(self.last.0, time.0);
        fan_out.distinct_with(cells)
    }

    /// Where it was last, and when in seconds since 1970.
    pub fn place(&self) -> Option<(Place, u32)> {
        (self.place_s > 0).then_some((self.place, self.place_s))
    }

    pub fn networks(&self) -> &Familiar<NETWORKS_MAX> {
        &self.networks
    }

    pub fn devices(&self) -> &Familiar<DEVICES_MAX> {
        &self.devices
    }

    /// Hours at `time` since the network was first met, 255 for long ago.
    pub fn network_age(&self, print: u16, time: Timestamp) -> Option<u8> {
        self.networks.age(print).map(|age| age.saturating_add(self.hours_until(time)))
    }

    /// The same of a device.
    pub fn device_age(&self, print: u16, time: Timestamp) -> Option<u8> {
        self.devices.age(print).map(|age| age.saturating_add(self.hours_until(time)))
    }

    fn hours_until(&self, time: Timestamp) -> u8 {
        u8::try_from(hour(time).saturating_sub(hour(self.last)).max(0)).unwrap_or(AGE_MAX)
    }

    pub fn knows_system(&self, print: u16) -> bool {
        self.systems.contains(&print)
    }
}

/// The hour since 1970.
pub(crate) fn hour(time: Timestamp) -> i64 {
    time.0.div_euclid(HOUR_MS)
}

/// Seconds since 1970, held at both ends.
pub(crate) fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.0.div_euclid(1_000).max(0)).unwrap_or(u32::MAX)
}
