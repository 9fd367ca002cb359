//! How long a source rests after it failed: longer each time, never all sources at once, and as long as the provider asks.

use prunella_schemas::port::SourceError;

/// First rest and longest one, in milliseconds, when trying again may help.
const REST_MS: u64 = 1_000;
const REST_MS_MAX: u64 = 5 * 60 * 1_000;
/// The same when a person must change something first. The first is short enough for one who is at it.
const REFUSED_MS: u64 = 15_000;
const REFUSED_MS_MAX: u64 = 15 * 60 * 1_000;
/// A provider that asks for more is not believed.
const ASKED_MS_MAX: u64 = 60 * 60 * 1_000;

/// Milliseconds to rest after the `failures`th failure in a row, from 1. `salt` spreads those that failed together: the
/// rest lies between half of the step and all of it.
pub fn rest_ms(error: &SourceError, failures: u32, salt: u64) -> u64 {
    let (first, longest, asked) = match error {
        SourceError::Throttled { retry_after_ms, .. } => (REST_MS, REST_MS_MAX, *retry_after_ms),
        SourceError::Unavailable(_) => (REST_MS, REST_MS_MAX, 0),
        SourceError::Refused(_) | SourceError::Invalid(_) => (REFUSED_MS, REFUSED_MS_MAX, 0),
    };
    let doublings = failures.saturating_sub(1).min(20);
    let step = first.saturating_mul(1 << doublings).min(longest);
    let spread = step / 2 + salt % (step / 2 + 1);
    // Those who were told the same time must not all come back at it.
    spread.max(asked.min(ASKED_MS_MAX).saturating_add(if asked > 0 { salt % REST_MS } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_are_bounded_and_honour_what_the_provider_asks() {
        let down = SourceError::Unavailable(String::new());
        let refused = SourceError::Refused(String::new());
        let slow = |ms| SourceError::Throttled { detail: String::new(), retry_after_ms: ms };
        let check = |error: &SourceError, failures: u32, low: u64, high: u64| {
            for salt in [0, 1, 77, 500, 999, 12_345, u64::MAX] {
                let ms = rest_ms(error, failures, salt);
                assert!((low..=high).contains(&ms), "{error:?} {failures} {salt}: {ms}");
            }
        };
        check(&down, 1, 500, 1_000);
        check(&down, 3, 2_000, 4_000);
        check(&down, 1_000, 150_000, 300_000);
        check(&refused, 1, 7_500, 15_000);
        check(&refused, u32::MAX, 450_000, 900_000);
        check(&slow(0), 1, 500, 1_000);
        check(&slow(30_000), 1, 30_000, 31_000);
        check(&slow(u64::MAX), 1, 3_600_000, 3_601_000);
        assert_ne!(rest_ms(&down, 5, 3), rest_ms(&down, 5, 4_321), "two sources come back apart");
    }
}
