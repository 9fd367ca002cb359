//! What is counted of each source while it is read, and how a scraper and a person read it.

use super::{Delays, Tally};
use crate::sqlite::lock;
use prunella_schemas::Timestamp;
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most problems with single pieces that are remembered; older ones are in the log of the process.
const PROBLEMS_MAX: usize = 16;
const PERCENTS: [u64; 3] = [50, 95, 99];

/// Counts of one source since its process began.
#[derive(Default)]
pub struct Counts {
    pages: AtomicU64,
    failures: AtomicU64,
    pieces_wrong: AtomicU64,
    total: Mutex<Tally>,
    state: Mutex<State>,
    /// From the newest event of a body to the provider giving it to us.
    pub delivery: Delays,
    /// From there to its bytes being here.
    pub fetch: Delays,
    /// From there to its records being durable.
    pub publish: Delays,
}

#[derive(Default)]
struct State {
    /// What keeps it from being read now, and since when.
    failing: Option<(Timestamp, String)>,
    caught_up: Option<Timestamp>,
    wrong: VecDeque<String>,
}

/// A source as people look at it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Standing {
    pub pages: u64,
    pub failures: u64,
    #[serde(flatten)]
    pub total: Tally,
    /// When there was nothing more to read the last time.
    pub caught_up: Option<Timestamp>,
    /// `[p50, p95, p99]` in milliseconds; absent where nothing was measured.
    pub delivery_ms: Option<[u64; 3]>,
    pub fetch_ms: Option<[u64; 3]>,
    pub publish_ms: Option<[u64; 3]>,
    pub problems: Vec<String>,
}

impl Counts {
    pub fn page(&self, tally: &Tally, problems: Vec<String>, caught_up: bool) {
        self.pages.fetch_add(1, Ordering::Relaxed);
        self.pieces_wrong.fetch_add(problems.len() as u64, Ordering::Relaxed);
        lock(&self.total).add(tally);
        let mut state = lock(&self.state);
        state.failing = None;
        if caught_up {
            state.caught_up = Some(tally.updated);
        }
        for problem in problems {
            if !state.wrong.contains(&problem) {
                if state.wrong.len() >= PROBLEMS_MAX {
                    state.wrong.pop_front();
                }
                state.wrong.push_back(problem);
            }
        }
    }

    pub fn fails(&self, now: Timestamp, problem: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut state = lock(&self.state);
        let since = state.failing.as_ref().map_or(now, |(since, _)| *since);
        state.failing = Some((since, problem));
    }

    pub fn problems(&self) -> Vec<String> {
        let state = lock(&self.state);
        let failing = state.failing.iter().map(|(since, problem)| format!("{problem} (since {since})"));
        failing.chain(state.wrong.iter().cloned()).collect()
    }

    pub fn standing(&self) -> Standing {
        let quantiles = |delays: &Delays| {
            let [Some(p50), Some(p95), Some(p99)] = PERCENTS.map(|p| delays.quantile_ms(p)) else {
                return None;
            };
            Some([p50, p95, p99])
        };
        // Each lock is let go before the next is taken.
        let (total, caught_up) = (*lock(&self.total), lock(&self.state).caught_up);
        Standing {
            pages: load(&self.pages),
            failures: load(&self.failures),
            total,
            caught_up,
            delivery_ms: quantiles(&self.delivery),
            fetch_ms: quantiles(&self.fetch),
            publish_ms: quantiles(&self.publish),
            problems: self.problems(),
        }
    }
}

impl Tally {
    pub fn add(&mut self, more: &Tally) {
        self.bodies += more.bodies;
        self.records += more.records;
        self.duplicates += more.duplicates;
        self.rejected += more.rejected;
        self.written += more.written;
        self.read += more.read;
        self.newest = self.newest.max(more.newest);
        self.updated = self.updated.max(more.updated);
    }
}

type Series = (&'static str, &'static str, &'static str, fn(&Counts) -> u64);

const SERIES: [Series; 11] = [
    ("prunella_source_pages_total", "Pages read.", "counter", |c| load(&c.pages)),
    ("prunella_source_failures_total", "Pages that could not be read.", "counter", |c| load(&c.failures)),
    ("prunella_source_pieces_wrong_total", "Objects and messages that are wrong.", "counter", |c| {
        load(&c.pieces_wrong)
    }),
    ("prunella_source_bodies_total", "Files and answers made durable.", "counter", |c| lock(&c.total).bodies),
    ("prunella_source_records_total", "Records that were new.", "counter", |c| lock(&c.total).records),
    ("prunella_source_duplicates_total", "Records that were known.", "counter", |c| {
        lock(&c.total).duplicates
    }),
    ("prunella_source_rejected_total", "Pieces that are dead letters.", "counter", |c| {
        lock(&c.total).rejected
    }),
    ("prunella_source_audit_written_total", "Files that the provider says it wrote.", "counter", |c| {
        lock(&c.total).written
    }),
    ("prunella_source_audit_read_total", "How many of them were read.", "counter", |c| lock(&c.total).read),
    ("prunella_source_newest_event_ms", "Up to when the source was read, ms since 1970.", "gauge", |c| {
        lock(&c.total).newest.0.max(0).unsigned_abs()
    }),
    ("prunella_source_failing", "1 while the source cannot be read.", "gauge", |c| {
        u64::from(lock(&c.state).failing.is_some())
    }),
];

/// All sources as one scrape, in the text format 0.0.4 of Prometheus.
pub fn render(sources: &[(&str, &Counts)]) -> String {
    let mut text = String::new();
    for (name, help, kind, read) in SERIES {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (source, counts) in sources {
            let _ = writeln!(text, "{name}{{source=\"{source}\"}} {}", read(counts));
        }
    }
    let name = "prunella_source_delay_seconds";
    let _ = writeln!(text, "# HELP {name} How long each step took.\n# TYPE {name} summary");
    for (source, counts) in sources {
        for (step, delays) in
            [("delivery", &counts.delivery), ("fetch", &counts.fetch), ("publish", &counts.publish)]
        {
            let labels = format!("source=\"{source}\",step=\"{step}\"");
            for percent in PERCENTS {
                let Some(ms) = delays.quantile_ms(percent) else { continue };
                let quantile = percent as f64 / 100.0;
                let _ = writeln!(text, "{name}{{{labels},quantile=\"{quantile}\"}} {}", ms as f64 / 1e3);
            }
            let _ = writeln!(text, "{name}_sum{{{labels}}} {}", delays.sum_ms() as f64 / 1e3);
            let _ = writeln!(text, "{name}_count{{{labels}}} {}", delays.count());
        }
    }
    text
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_and_a_person_read_the_same_numbers() {
        let counts = Counts::default();
        counts.fails(Timestamp(1_000), "no such bucket".into());
        counts.fails(Timestamp(9_000), "still none".into());
        assert_eq!(counts.problems(), ["still none (since 1970-01-01T00:00:01.000Z)"]);
        let tally = Tally { bodies: 2, records: 30, newest: Timestamp(7_000), ..Tally::default() };
        (0..PROBLEMS_MAX + 3).for_each(|n| counts.page(&tally, vec![format!("object {n}")], n == 0));
        counts.fetch.record(2_000, 30);
        let standing = counts.standing();
        assert_eq!((standing.pages, standing.failures, standing.total.records), (19, 2, 570));
        assert_eq!((standing.problems.len(), standing.problems[0].as_str()), (PROBLEMS_MAX, "object 3"));
        assert_eq!((standing.fetch_ms, standing.publish_ms), (Some([2_047; 3]), None));
        let text = render(&[("trail", &counts)]);
        for line in [
            "# TYPE prunella_source_records_total counter",
            "prunella_source_records_total{source=\"trail\"} 570",
            "prunella_source_newest_event_ms{source=\"trail\"} 7000",
            "prunella_source_failing{source=\"trail\"} 0",
            "prunella_source_delay_seconds{source=\"trail\",step=\"fetch\",quantile=\"0.99\"} 2.047",
            "prunella_source_delay_seconds_count{source=\"trail\",step=\"publish\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
