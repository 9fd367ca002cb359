//! What a translation costs beside only decoding the same bytes: `cargo bench -p prunella-translate`.
//!
//! The corpus is generated: CloudTrail records of 1.2 to 1.8 kB, the mix stated in `corpus`. The three kinds of work take
//! turns on small chunks, and of every chunk the best round counts, so that what else the machine does weighs little;
//! the median of all rounds stands beside it.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints its table, and stops on a bad corpus"
)]

mod corpus;
mod derived;

use prunella_schemas::{Event, Record, Tenant, Timestamp};
use prunella_translate::{CloudTrail, Translate, decode_only};
use std::hint::black_box;
use std::time::{Duration, Instant};

const RECORDS: usize = 4_096;
const CHUNK: usize = 64;
const ROUNDS: usize = 101;

type Work = fn(&[(&Record, &str)], &mut Vec<Event>);
const KINDS: [(&str, Work); 3] = [
    ("decode, plain derived struct", |chunk, _| chunk.iter().for_each(|(_, body)| derived::decode(body))),
    ("decode, the translator's struct", |chunk, _| chunk.iter().for_each(|(_, body)| decode(body))),
    ("translate", |chunk, out| chunk.iter().for_each(|(record, body)| translate(record, body, out))),
];

fn main() {
    let corpus = corpus::generate(RECORDS);
    let records: Vec<(&Record, &str)> = corpus.iter().map(|record| (record, text(record))).collect();
    let bytes = records.iter().map(|(_, body)| body.len()).sum::<usize>() as f64 / RECORDS as f64;
    let took = measure(&records);
    println!("{RECORDS} records, {bytes:.0} bytes on average, {ROUNDS} interleaved rounds");
    println!(
        "{:<34} {:>9} {:>9} {:>7} {:>10} {:>6}",
        "", "ns, best", "ns, med", "MB/s", "records/s", "ratio"
    );
    for ((label, _), (best, median)) in KINDS.iter().zip(took) {
        let (mb, per_s, ratio) = (bytes / best * 1_000.0, 1e9 / best, best / took[0].0);
        println!("{label:<34} {best:>9.0} {median:>9.0} {mb:>7.0} {per_s:>10.0} {ratio:>6.2}");
    }
    println!("translate costs {:.2} times the decode of its own struct", took[2].0 / took[1].0);
}

/// Nanoseconds per record of every kind of work: best and median.
fn measure(records: &[(&Record, &str)]) -> [(f64, f64); 3] {
    let mut out = Vec::with_capacity(CHUNK);
    let mut took = [(0.0, 0.0); 3];
    for chunk in records.chunks(CHUNK) {
        let mut rounds: [Vec<Duration>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for ((_, work), rounds) in KINDS.iter().zip(&mut rounds) {
                rounds.push(time(|| {
                    work(chunk, &mut out);
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

fn decode(body: &str) {
    black_box(decode_only(body).expect("the corpus is well-formed"));
}

fn translate(record: &Record, body: &str, out: &mut Vec<Event>) {
    CloudTrail.translate(record, body, out).expect("the corpus is well-formed");
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
fn record_of(body: String) -> Record {
    Record {
        source: "aws.cloudtrail".to_owned(),
        tenant: Tenant::default(),
        received: Timestamp(1_772_443_800_000),
        origin: String::new(),
        body: body.into_bytes(),
    }
}
