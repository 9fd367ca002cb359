//! What a translation costs beside only decoding the same bytes: `cargo bench -p prunella-translate`.
//!
//! The corpus is generated: CloudTrail records of 1.2 to 1.8 kB, the mix stated in `corpus`; of every other source its
//! fixtures, with ids that differ. The kinds of work take turns on small chunks, and of every chunk the best round counts, so that what else the machine does weighs little;
//! the median of all rounds stands beside it.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints its table, and stops on a bad corpus"
)]

mod clouds;
mod corpus;
mod derived;

use prunella_schemas::{Event, Record, Tenant, Timestamp};
use prunella_translate::{Translate, by_name, decode_only};
use std::hint::black_box;
use std::time::{Duration, Instant};

const RECORDS: usize = 4_096;
const CHUNK: usize = 64;
const ROUNDS: usize = 101;

type Work = fn(&dyn Translate, &[(&Record, &str)], &mut Vec<Event>);
const KINDS: [(&str, Work); 3] = [
    ("decode, the translator's struct", |translator, chunk, _| {
        chunk.iter().for_each(|(_, body)| decode_only(translator.name(), body).expect(WELL_FORMED));
    }),
    ("translate", |translator, chunk, out| {
        chunk.iter().for_each(|(record, body)| translator.translate(record, body, out).expect(WELL_FORMED));
    }),
    // Only of CloudTrail.
    ("decode, plain derived struct", |_, chunk, _| chunk.iter().for_each(|(_, body)| derived::decode(body))),
];
const WELL_FORMED: &str = "the corpus is well-formed";

fn main() {
    println!("{RECORDS} records of every source, {ROUNDS} interleaved rounds");
    println!(
        "{:<16} {:<33} {:>6} {:>9} {:>9} {:>7} {:>10} {:>6}",
        "", "", "bytes", "ns, best", "ns, med", "MB/s", "records/s", "ratio"
    );
    report("aws.cloudtrail", &corpus::generate(RECORDS), &KINDS);
    for (source, fixtures) in clouds::FIXTURES {
        report(source, &clouds::generate(source, fixtures, RECORDS), &KINDS[..2]);
    }
}

fn report(source: &str, corpus: &[Record], kinds: &[(&str, Work)]) {
    let translator = by_name(source).expect("a source of the catalog");
    let records: Vec<(&Record, &str)> = corpus.iter().map(|record| (record, text(record))).collect();
    let bytes = records.iter().map(|(_, body)| body.len()).sum::<usize>() as f64 / RECORDS as f64;
    let took = measure(translator, &records, kinds);
    for ((label, _), (best, median)) in kinds.iter().zip(&took) {
        let (mb, per_s, ratio) = (bytes / best * 1_000.0, 1e9 / best, best / took[0].0);
        println!(
            "{source:<16} {label:<33} {bytes:>6.0} {best:>9.0} {median:>9.0} {mb:>7.0} {per_s:>10.0} {ratio:>6.2}"
        );
    }
}

/// Nanoseconds per record of every kind of work: best and median.
fn measure(
    translator: &dyn Translate,
    records: &[(&Record, &str)],
    kinds: &[(&str, Work)],
) -> Vec<(f64, f64)> {
    let mut out = Vec::with_capacity(CHUNK);
    let mut took = vec![(0.0, 0.0); kinds.len()];
    for chunk in records.chunks(CHUNK) {
        let mut rounds: Vec<Vec<Duration>> = vec![Vec::with_capacity(ROUNDS); kinds.len()];
        for _ in 0..ROUNDS {
            for ((_, work), rounds) in kinds.iter().zip(&mut rounds) {
                rounds.push(time(|| {
                    work(translator, chunk, &mut out);
                    black_box(&out);
                    out.clear();
                }));
            }
        }
        for (sum, rounds) in took.iter_mut().zip(&mut rounds) {
            rounds.sort_unstable();
            sum.0 += rounds[0].as_nanos() as f64 / RECORDS as f64;
            sum.1 += rounds[ROUNDS / 2].as_nanos() as f64 / RECORDS as f64;
        }
    }
    took
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures")]
fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// `ingest` checks the text before it translates, so the check is not measured here.
fn text(record: &Record) -> &str {
    std::str::from_utf8(&record.body).expect("the corpus is text")
}

/// Wraps a body as the record that intake would make of it.
fn record_of(source: &str, body: String) -> Record {
    Record {
        source: source.to_owned(),
        tenant: Tenant::default(),
        received: Timestamp(1_772_443_800_000),
        origin: String::new(),
        body: body.into_bytes(),
    }
}
