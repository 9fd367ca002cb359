//! Cost of the isolation forest: fitting 4,096 rows, and scoring batches of 1 to 1,000,000 rows on every kernel.

use ndarray::{Array2, s};
use prunella_detect::forest::{Kernel, Params};
use rustix::time::{ClockId, clock_gettime};

const FEATURES: usize = 16;
const FIT_ROWS: usize = 4_096;
const BATCHES: [usize; 5] = [1, 8, 64, 10_000, 1_000_000];
const ROUNDS: usize = 9;
/// Rows scored per round, at least: enough for the clock.
const ROWS_PER_ROUND: usize = 40_000;

#[allow(clippy::print_stdout, reason = "the result")]
fn main() {
    let rows = table(*BATCHES.iter().max().unwrap_or(&1));
    let training = rows.slice(s![..FIT_ROWS, ..]);
    let Ok(forest) = Params::default().fit_rows(training) else { return };
    let fits = (0..3 * ROUNDS as u64).map(|seed| {
        let start = processor_ns();
        std::hint::black_box(Params { seed, ..Params::default() }.fit_rows(training).is_ok());
        processor_ns() - start
    });
    let (middle, low, high) = quartiles(fits.map(|ns| ns as f64 / 1e6).collect());
    println!("fit {FIT_ROWS} x {FEATURES}: {middle:.2} ms ({low:.2} to {high:.2})");
    let mut scores = vec![0.0; rows.nrows()];
    for batch in BATCHES {
        for kernel in Kernel::available() {
            let calls = ROWS_PER_ROUND.div_ceil(batch);
            let rounds = (0..ROUNDS).map(|_| {
                let start = processor_ns();
                for call in 0..calls {
                    let first = call * batch % (rows.nrows() - batch + 1);
                    let batch = rows.slice(s![first..first + batch, ..]);
                    let scored = forest.score_into(batch, &mut scores[..batch.nrows()], kernel);
                    std::hint::black_box(scored.is_ok());
                }
                (processor_ns() - start) as f64 / (calls * batch) as f64
            });
            let (middle, low, high) = quartiles(rounds.collect());
            let name = kernel.name();
            println!("score, batch {batch:>7}, {name:<6}: {middle:>7.1} ns a row ({low:.1} to {high:.1})");
        }
    }
}

/// Median and quartiles.
fn quartiles(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[values.len() / 4], values[values.len() * 3 / 4])
}

/// Time this thread has run, which other work on the machine stretches least.
fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Sums of uniform numbers, different in scale per column; one row in a hundred is far off.
fn table(rows: usize) -> Array2<f32> {
    let mut state = 7u64;
    let mut unit = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0
    };
    Array2::from_shape_fn((rows, FEATURES), |(row, feature)| {
        let bell = unit() + unit() + unit() - 1.5;
        let far = if row % 100 == 99 { 4.0 } else { 0.0 };
        (bell + far) * (1 + feature) as f32
    })
}
