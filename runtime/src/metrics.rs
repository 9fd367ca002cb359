//! What a stage counts, and how a scraper reads it: the text format 0.0.4 of Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// `Content-Type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets, in microseconds.
const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Counts of one stage, for health and metrics.
#[derive(Debug, Default)]
pub struct Counts {
    pub consumed: AtomicU64,
    pub produced: AtomicU64,
    pub repeats: AtomicU64,
    pub undecodable: AtomicU64,
    /// Inputs that are durable and not yet processed, as far as known.
    pub lag: AtomicU64,
    /// From taking a batch to its outputs being durable.
    pub steps: Latencies,
}

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Latencies {
    /// One for each bound; what is longer is in the count alone.
    buckets: [AtomicU64; BOUNDS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Latencies {
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(BOUNDS_US.partition_point(|bound| *bound < us)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// All stages as one scrape.
pub fn render(stages: &[(&str, &Counts)]) -> String {
    let mut text = String::new();
    for (name, help, kind, read) in SERIES {
        head(&mut text, name, help, kind);
        for (stage, counts) in stages {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}{{stage=\"{stage}\"}} {}", read(counts));
        }
    }
    let name = "prunella_step_latency_seconds";
    head(&mut text, name, "From taking a batch to its outputs being durable.", "histogram");
    for (stage, counts) in stages {
        histogram(&mut text, name, stage, &counts.steps);
    }
    text
}

type Series = (&'static str, &'static str, &'static str, fn(&Counts) -> u64);

const SERIES: [Series; 5] = [
    ("prunella_events_processed_total", "Messages that went through the stage.", "counter", |c| {
        load(&c.consumed)
    }),
    ("prunella_events_produced_total", "Messages that the stage made durable.", "counter", |c| {
        load(&c.produced)
    }),
    ("prunella_repeats_dropped_total", "Messages that came again.", "counter", |c| load(&c.repeats)),
    ("prunella_undecodable_total", "Messages that became a dead letter.", "counter", |c| {
        load(&c.undecodable)
    }),
    ("prunella_lag_records", "Messages that are durable and not yet processed.", "gauge", |c| load(&c.lag)),
];

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

pub(crate) fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn histogram(text: &mut String, name: &str, stage: &str, latencies: &Latencies) {
    let seconds = |us: u64| us as f64 / 1e6;
    // Read first, so that no bucket holds more than the whole.
    let (count, sum_us) = (load(&latencies.count), load(&latencies.sum_us));
    let mut below = 0;
    for (bound, bucket) in BOUNDS_US.iter().zip(&latencies.buckets) {
        below = (below + load(bucket)).min(count);
        let _ = writeln!(text, "{name}_bucket{{stage=\"{stage}\",le=\"{}\"}} {below}", seconds(*bound));
    }
    let _ = writeln!(text, "{name}_bucket{{stage=\"{stage}\",le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "{name}_sum{{stage=\"{stage}\"}} {}", seconds(sum_us));
    let _ = writeln!(text, "{name}_count{{stage=\"{stage}\"}} {count}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_belong_to_their_bucket() {
        let counts = Counts::default();
        for us in [0, 500, 501, 10_000_000, 10_000_001] {
            counts.steps.record(Duration::from_micros(us));
        }
        counts.consumed.store(7, Ordering::Relaxed);
        let text = render(&[("detect", &counts)]);
        for line in [
            "# TYPE prunella_step_latency_seconds histogram",
            "prunella_events_processed_total{stage=\"detect\"} 7",
            "prunella_step_latency_seconds_bucket{stage=\"detect\",le=\"0.0005\"} 2",
            "prunella_step_latency_seconds_bucket{stage=\"detect\",le=\"0.001\"} 3",
            "prunella_step_latency_seconds_bucket{stage=\"detect\",le=\"10\"} 4",
            "prunella_step_latency_seconds_bucket{stage=\"detect\",le=\"+Inf\"} 5",
            "prunella_step_latency_seconds_sum{stage=\"detect\"} 20.001002",
            "prunella_step_latency_seconds_count{stage=\"detect\"} 5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
