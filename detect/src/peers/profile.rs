//! Profile: what one principal is like, as a fold of its events in whole numbers; 88 bytes, and no event is kept.

use super::{Side, log2};

pub const DIMENSIONS: usize = 16;
/// Events after which a principal can be placed in a group.
pub const PLACED_EVENTS_MIN: u32 = 8;
/// Events after which a profile is worth grouping by.
pub const SETTLED_EVENTS_MIN: u32 = 32;
/// At this weight everything is halved: behaviour of some hundred events ago fades.
const WEIGHT_MAX: u16 = 1_024;
const SERVICES: usize = 8;
const OPERATION_CELLS: usize = 32;
const HOURS: usize = 24;
/// Sizes are kept in sixteenths of a doubling, up to 2^63 bytes.
const SIZE_STEPS: f32 = 16.0;
const SIZE_MAX: f32 = 63.0;
/// 127 cos(2 pi h / 24).
#[rustfmt::skip]
const COSINE: [i8; HOURS] = [
    127, 123, 110, 90, 64, 33, 0, -33, -64, -90, -110, -123, -127, -123, -110, -90, -64, -33, 0, 33, 64, 90, 110, 123,
];
const COSINE_MAX: i32 = 127;

/// One event, as far as it says what its principal is like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    /// Fingerprint of the service.
    pub service: u64,
    /// Fingerprint of the operation.
    pub operation: u64,
    /// UTC, 0 to 23.
    pub hour: u8,
    /// `log2(1 + bytes)` moved; 0 where the event moves none or does not say.
    pub bytes_log2: f32,
    pub failed: bool,
    /// The operation changes who may do what, or what is recorded.
    pub admin: bool,
    /// The event was part of a finding: it teaches nothing.
    pub flagged: bool,
}

/// The decayed mix of what a principal does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub side: Side,
    /// All that were learnt, never halved.
    events: u32,
    /// Events, halved from time to time, and so are all below.
    weight: u16,
    services: [u16; SERVICES],
    operations: [u8; OPERATION_CELLS],
    admin: u16,
    failed: u16,
    /// How often the hour differed from that of the event before.
    hours: u16,
    /// Events that moved bytes, and the sum of the logarithms.
    sized: u16,
    size_sum: u32,
    /// Sums of the cosine and sine of the hour, and of twice the hour.
    clock: [i32; 4],
    last_hour: u8,
}

impl Profile {
    /// Of the saved form.
    pub const BYTES: usize = 88;

    pub fn new(side: Side) -> Profile {
        Profile { side, ..Profile::default() }
    }

    /// Takes an event in, unless it was flagged.
    pub fn learn(&mut self, what: &Facts) {
        if what.flagged {
            return;
        }
        if self.weight >= WEIGHT_MAX {
            self.halve();
        }
        let hour = what.hour % HOURS as u8;
        self.hours += u16::from(self.weight == 0 || hour != self.last_hour);
        self.last_hour = hour;
        self.events = self.events.saturating_add(1);
        self.weight += 1;
        self.services[cell(what.service, SERVICES)] += 1;
        let operation = &mut self.operations[cell(what.operation, OPERATION_CELLS)];
        *operation = operation.saturating_add(1);
        self.admin += u16::from(what.admin);
        self.failed += u16::from(what.failed);
        if what.bytes_log2 > 0.0 {
            self.sized += 1;
            self.size_sum += (what.bytes_log2.min(SIZE_MAX) * SIZE_STEPS) as u32;
        }
        let hour = usize::from(hour);
        // sin h = cos(h - 6 hours).
        for (sum, at) in self.clock.iter_mut().zip([hour, hour + 18, 2 * hour, 2 * hour + 18]) {
            *sum += i32::from(COSINE[at % HOURS]);
        }
    }

    /// Events learnt.
    pub fn events(&self) -> u32 {
        self.events
    }

    /// How often the principal called this operation lately, or another of the same 1 in 32; up to 255.
    pub fn called(&self, operation: u64) -> u8 {
        self.operations[cell(operation, OPERATION_CELLS)]
    }

    /// As a point. Shares are square roots, so that Euclid's distance is Hellinger's and noise is even.
    ///
    /// | at | what |
    /// |---|---|
    /// | 0 to 7 | share of an eighth of the services, by fingerprint |
    /// | 8, 9 | share of administration, of failures |
    /// | 10, 11 | mean cosine and sine of the hour |
    /// | 12 | how much the day has two humps, 0 to 1 |
    /// | 13 | log2 of the number of operations in even use (Renyi's entropy of order 2) |
    /// | 14 | log2 of events per hour in which there are any |
    /// | 15 | mean log2 of bytes moved, over events that move any, in units of 8 |
    pub fn vector(&self) -> [f32; DIMENSIONS] {
        let mut point = [0.0; DIMENSIONS];
        if self.weight == 0 {
            return point;
        }
        let weight = f32::from(self.weight);
        let share = |count: u16| (f32::from(count) / weight).sqrt();
        for (value, count) in point.iter_mut().zip(self.services) {
            *value = share(count);
        }
        let mean = |sum: i32| sum as f32 / (weight * COSINE_MAX as f32);
        let [cosine, sine, twice_cosine, twice_sine] = self.clock.map(mean);
        point[8] = share(self.admin);
        point[9] = share(self.failed);
        point[10] = cosine;
        point[11] = sine;
        point[12] = (twice_cosine * twice_cosine + twice_sine * twice_sine).sqrt();
        point[13] = self.breadth();
        point[14] = log2(weight / f32::from(self.hours.max(1)));
        point[15] = self.size_sum as f32 / (f32::from(self.sized.max(1)) * SIZE_STEPS * 8.0);
        point
    }

    fn breadth(&self) -> f32 {
        let counts = self.operations.iter().map(|count| u32::from(*count));
        let (sum, squares) = counts.fold((0, 0), |(sum, squares), n| (sum + n, squares + n * n));
        if squares == 0 { 0.0 } else { log2((sum * sum) as f32 / squares as f32) }
    }

    fn halve(&mut self) {
        let counts = [&mut self.weight, &mut self.admin, &mut self.failed, &mut self.hours, &mut self.sized];
        counts.into_iter().chain(&mut self.services).for_each(|count| *count /= 2);
        self.operations.iter_mut().for_each(|count| *count /= 2);
        self.clock.iter_mut().for_each(|sum| *sum /= 2);
        self.size_sum /= 2;
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.events.to_le_bytes());
        out.extend_from_slice(&self.size_sum.to_le_bytes());
        self.clock.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()));
        let counts = [self.weight, self.admin, self.failed, self.hours, self.sized];
        counts.iter().chain(&self.services).for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
        out.extend_from_slice(&self.operations);
        out.extend_from_slice(&[self.last_hour, u8::from(self.side == Side::Machine), 0, 0, 0, 0]);
    }

    /// Refuses what [`Profile::write`] cannot have written.
    pub fn read(bytes: &[u8; Self::BYTES]) -> Option<Profile> {
        let (words, rest) = bytes.split_first_chunk::<24>()?;
        let (halves, rest) = rest.split_first_chunk::<26>()?;
        let (operations, rest) = rest.split_first_chunk::<OPERATION_CELLS>()?;
        let [last_hour, machine @ 0..=1, 0, 0, 0, 0] = *rest else { return None };
        let mut words = words.as_chunks::<4>().0.iter().copied();
        let (events, size_sum) = (u32::from_le_bytes(words.next()?), u32::from_le_bytes(words.next()?));
        let mut clock = [0; 4];
        clock.iter_mut().zip(words).for_each(|(sum, bytes)| *sum = i32::from_le_bytes(bytes));
        let mut halves = halves.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
        let mut count = || halves.next();
        let (weight, admin, failed) = (count()?, count()?, count()?);
        let (hours, sized) = (count()?, count()?);
        let mut services = [0; SERVICES];
        services.iter_mut().zip(halves).for_each(|(count, read)| *count = read);
        let side = if machine == 1 { Side::Machine } else { Side::Human };
        let profile = Profile {
            side,
            events,
            weight,
            services,
            operations: *operations,
            admin,
            failed,
            hours,
            sized,
            size_sum,
            clock,
            last_hour,
        };
        profile.holds().then_some(profile)
    }

    fn holds(&self) -> bool {
        let shares = [self.admin, self.failed, self.hours, self.sized];
        // Halving rounds down, so that a sum may exceed its bound by one event's worth.
        let bound = i32::from(self.weight) + 1;
        self.weight <= WEIGHT_MAX
            && u32::from(self.weight) <= self.events
            && shares.iter().chain(&self.services).all(|count| *count <= self.weight)
            && self.clock.iter().all(|sum| sum.unsigned_abs() <= (bound * COSINE_MAX) as u32)
            && self.size_sum <= (u32::from(self.sized) + 1) * (SIZE_MAX * SIZE_STEPS) as u32
            && usize::from(self.last_hour) < HOURS
    }
}

/// The cell of a fingerprint, by its high bits.
fn cell(fingerprint: u64, cells: usize) -> usize {
    ((u128::from(fingerprint) * cells as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: Facts = Facts {
        service: u64::MAX,
        operation: 7,
        hour: 6,
        bytes_log2: 0.0,
        failed: false,
        admin: true,
        flagged: false,
    };

    fn of(events: &[Facts]) -> Profile {
        let mut profile = Profile::default();
        events.iter().for_each(|what| profile.learn(what));
        profile
    }

    #[test]
    fn numbers_mean_what_the_table_says() {
        let point = of(&[ADMIN; 4]).vector();
        assert_eq!((point[7], point[8], point[9]), (1.0, 1.0, 0.0));
        assert_eq!((point[10], point[11], point[12]), (0.0, 1.0, 1.0), "six in the morning");
        assert_eq!((point[13], point[14], point[15]), (0.0, 2.0, 0.0), "one operation, four in one hour");
        let mixed = of(&[
            ADMIN,
            Facts { failed: true, admin: false, service: 0, operation: u64::MAX, bytes_log2: 16.0, ..ADMIN },
        ]);
        let point = mixed.vector();
        let half = 0.5f32.sqrt();
        assert_eq!([point[0], point[7], point[8], point[9]], [half; 4]);
        assert_eq!((point[13], point[15]), (1.0, 2.0));
        assert_eq!(Profile::default().vector(), [0.0; DIMENSIONS]);
    }

    #[test]
    fn old_behaviour_fades_and_a_flag_teaches_nothing() {
        let mut profile = of(&[ADMIN; 5_000]);
        let before = profile;
        for flagged in [Facts { flagged: true, hour: 3, service: 0, ..ADMIN }; 500] {
            profile.learn(&flagged);
        }
        assert_eq!(profile, before);
        for other in [Facts { service: 0, admin: false, ..ADMIN }; 5_000] {
            profile.learn(&other);
        }
        assert!(profile.vector()[8] < 0.2, "{:?}", profile.vector());
        assert_eq!(profile.events(), 10_000);
    }

    #[test]
    fn impossible_bytes_are_refused() {
        let mut bytes = Vec::new();
        of(&[ADMIN; 3]).write(&mut bytes);
        let good: [u8; Profile::BYTES] = bytes.try_into().unwrap();
        assert_eq!(Profile::read(&good), Some(of(&[ADMIN; 3])));
        for (at, value) in [(0, 2), (7, 1), (9, 255), (25, 255), (26, 4), (82, 24), (83, 2), (87, 1)] {
            let mut broken = good;
            broken[at] = value;
            assert_eq!(Profile::read(&broken), None, "byte {at}");
        }
    }
}
