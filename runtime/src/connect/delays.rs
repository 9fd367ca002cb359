//! How long things took: a histogram of milliseconds whose quantiles are known to an eighth, without a bound on their size.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of one doubling.
const PARTS: u64 = 8;
/// Doublings: the longest delay told apart is 2^34 ms, half a year.
const DOUBLINGS: u64 = 32;
const BUCKETS: usize = (PARTS * DOUBLINGS) as usize;

/// Delays in milliseconds.
pub struct Delays {
    buckets: [AtomicU64; BUCKETS],
    sum_ms: AtomicU64,
}

impl Default for Delays {
    fn default() -> Self {
        Delays { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_ms: AtomicU64::new(0) }
    }
}

impl Delays {
    /// Counts `times` pieces that took `ms` each. What took less than nothing, by clocks that disagree, took nothing.
    pub fn record(&self, ms: i64, times: u64) {
        let ms = ms.max(0).unsigned_abs();
        if let Some(bucket) = self.buckets.get(bucket_of(ms)) {
            bucket.fetch_add(times, Ordering::Relaxed);
        }
        self.sum_ms.fetch_add(ms.saturating_mul(times), Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).sum()
    }

    pub fn sum_ms(&self) -> u64 {
        self.sum_ms.load(Ordering::Relaxed)
    }

    /// The delay that `percent` of the pieces did not exceed, rounded up to the end of its bucket. `None` without pieces.
    pub fn quantile_ms(&self, percent: u64) -> Option<u64> {
        let counts: Vec<u64> = self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let rank = (total.saturating_mul(percent)).div_ceil(100).max(1);
        let mut below = 0;
        for (at, count) in counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Some(end_of(at as u64));
            }
        }
        None
    }
}

/// Exact below `PARTS`, then `PARTS` buckets for each doubling.
fn bucket_of(ms: u64) -> usize {
    if ms < PARTS {
        return ms as usize;
    }
    let doubling = u64::from(ms.ilog2()) - u64::from(PARTS.ilog2());
    let part = (ms >> doubling) - PARTS;
    ((doubling + 1) * PARTS + part).min(BUCKETS as u64 - 1) as usize
}

/// The largest delay of a bucket.
fn end_of(bucket: u64) -> u64 {
    if bucket < PARTS {
        return bucket;
    }
    let (doubling, part) = (bucket / PARTS - 1, bucket % PARTS);
    ((PARTS + part + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_never_too_small_and_at_most_an_eighth_too_large() {
        let mut ms = 0u64;
        while ms < 10_000_000_000 {
            let end = end_of(bucket_of(ms) as u64);
            assert!(end >= ms && end <= ms + ms / 8 + 1, "{ms}: {end}");
            ms += 1 + ms / 13;
        }
        let delays = Delays::default();
        assert_eq!(delays.quantile_ms(50), None);
        (1..=100).for_each(|ms| delays.record(ms * 10, 1));
        let check = |percent, want: u64| {
            let got = delays.quantile_ms(percent).unwrap();
            assert!(got >= want && got <= want + want / 8, "p{percent}: {got}");
        };
        check(50, 500);
        check(95, 950);
        check(99, 990);
        delays.record(-5, 1_000);
        assert_eq!((delays.quantile_ms(50), delays.count(), delays.sum_ms()), (Some(0), 1_100, 50_500));
        delays.record(i64::MAX, 1);
        assert!(delays.quantile_ms(100) > Some(10_000_000_000));
    }
}
