//! Cost of the isolation forest: fitting 4,096 rows, scoring batches of 1 to 1,000,000 rows on every kernel, and reasons.

use ndarray::{Array2, ArrayView2, s};
use prunella_detect::forest::{Forest, Kernel, Params};
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
    reasons(&forest, training);
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
            println!("score, batch {batch:>7}, {name:<10}: {middle:>7.1} ns a row ({low:.1} to {high:.1})");
        }
    }
}

/// What an alert costs beyond its score: the shares of the features, and a change that would have cleared it.
#[allow(clippy::print_stdout, reason = "the result")]
fn reasons(forest: &Forest, training: ArrayView2<'_, f32>) {
    const ALERTS: usize = 400;
    let rows: Vec<Vec<f32>> = training.rows().into_iter().map(|row| row.to_vec()).collect();
    // One row in a hundred is far off, in every feature: no change of three clears it, so all are tried.
    let unusual: Vec<&Vec<f32>> = rows.iter().skip(99).step_by(100).cycle().take(ALERTS).collect();
    let usual = [0.0; FEATURES];
    let time = |what: &dyn Fn(&[f32]) -> bool, rows: &[&Vec<f32>]| {
        let rounds = (0..ROUNDS).map(|_| {
            let start = processor_ns();
            std::hint::black_box(rows.iter().filter(|row| what(row)).count());
            (processor_ns() - start) as f64 / rows.len() as f64 / 1e3
        });
        quartiles(rounds.collect())
    };
    let all: Vec<&Vec<f32>> = rows.iter().collect();
    let (middle, low, high) = time(&|row| forest.attribute(row).is_ok(), &all);
    println!("attribution: {middle:.2} us a row ({low:.2} to {high:.2})");
    let change =
        |row: &[f32]| forest.counterfactual(row, &usual, |_| false, 0.6).is_ok_and(|found| found.is_some());
    let (middle, low, high) = time(&change, &unusual);
    println!("counterfactual, all changes tried: {middle:.1} us an alert ({low:.1} to {high:.1})");
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
