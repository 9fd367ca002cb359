//! Clock: how far the time that an event gives itself is believed.

use prunella_schemas::Timestamp;
use prunella_schemas::limits::FUTURE_MS_MAX;

/// Who is this far behind the newest time known shows that the clock of that one was ahead: it is believed no longer.
pub const AHEAD_MS_MAX: i64 = 30 * 86_400_000;

/// Whether `newest` can be believed no longer, beside an event at `time`.
pub fn was_ahead(newest: Timestamp, time: Timestamp) -> bool {
    newest.since_ms(time) > AHEAD_MS_MAX
}

/// The later of two times, unless the one known was ahead.
pub fn newest(known: Timestamp, time: Timestamp) -> Timestamp {
    if was_ahead(known, time) { time } else { known.max(time) }
}

/// A time no later than what clocks that disagree explain, given that the log says it is `now`; zero: it does not say.
pub fn believed(time: Timestamp, now: Timestamp) -> Timestamp {
    if now > Timestamp::ZERO { time.min(now.plus_ms(FUTURE_MS_MAX)) } else { time }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_bounds_a_time_and_a_month_disproves_it() {
        let day = |n: i64| Timestamp(n * 86_400_000);
        assert_eq!(believed(day(400), day(3)), day(3).plus_ms(FUTURE_MS_MAX));
        assert_eq!([believed(day(2), day(3)), believed(day(400), Timestamp::ZERO)], [day(2), day(400)]);
        assert_eq!(
            [newest(day(29), day(1)), newest(day(32), day(1)), newest(day(1), day(9))]
                .map(|t| t.0 / 86_400_000),
            [29, 1, 9]
        );
        assert!(was_ahead(Timestamp(i64::MAX), Timestamp(i64::MIN)));
    }
}
