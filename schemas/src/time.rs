//! Points in time as every stage sees them: milliseconds since 1970-01-01T00:00:00Z, as OCSF's `timestamp_t`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Milliseconds since the Unix epoch, UTC. OCSF type `timestamp_t`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const ZERO: Timestamp = Timestamp(0);

    /// Reads RFC 3339 (`2024-07-31T12:29:16Z`, fractions and offsets allowed). `None` when it is not a time.
    pub fn parse(text: &str) -> Option<Self> {
        parse_plain(text.as_bytes())
            .or_else(|| text.parse::<jiff::Timestamp>().ok().map(|t| Timestamp(t.as_millisecond())))
    }

    pub fn millis(self) -> i64 {
        self.0
    }

    /// The instant `ms` milliseconds later, saturating at the ends of the scale.
    pub fn plus_ms(self, ms: i64) -> Self {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; negative when `earlier` is the later one.
    pub fn since_ms(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Hour of the day in UTC, 0 to 23.
    pub fn hour(self) -> u8 {
        (self.0.div_euclid(3_600_000).rem_euclid(24)) as u8
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// `YYYY-MM-DDTHH:MM:SSZ`, the form CloudTrail writes, without the general parser's cost.
fn parse_plain(b: &[u8]) -> Option<Timestamp> {
    if b.len() != 20
        || b[4] != b'-'
        || b[7] != b'-'
        || b[10] != b'T'
        || b[13] != b':'
        || b[16] != b':'
        || b[19] != b'Z'
    {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        b[range].iter().try_fold(0i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_in_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since the epoch in the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(Timestamp((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_providers_write() {
        let check =
            |text: &str, want: Option<i64>| assert_eq!(Timestamp::parse(text).map(|t| t.0), want, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2024-07-31T12:29:16Z", Some(1_722_428_956_000));
        check("2024-02-29T23:59:59Z", Some(1_709_251_199_000));
        check("2024-07-31T12:29:16.123Z", Some(1_722_428_956_123));
        check("2024-07-31T14:29:16+02:00", Some(1_722_428_956_000));
        check("2023-02-29T00:00:00Z", None);
        check("2024-13-01T00:00:00Z", None);
        check("yesterday", None);
        check("", None);
    }

    #[test]
    fn plain_parser_agrees_with_jiff_on_every_day_of_a_four_hundred_year_cycle() {
        for day in 0..146_097i64 {
            let text = jiff::Timestamp::from_second(day * 86_400 + 3_661).map(|t| t.to_string());
            let text = text.expect("in jiff's range");
            assert_eq!(
                parse_plain(text.as_bytes()),
                Some(Timestamp((day * 86_400 + 3_661) * 1_000)),
                "{text}"
            );
        }
    }
}
