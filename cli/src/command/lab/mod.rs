//! `prunella lab`: measures the detection engine and lets one look inside. Nothing is stored.

mod explain;
mod forest;
mod throughput;
mod unread;

use crate::args::Lab;
use crate::{App, Outcome};
use rustix::time::{ClockId, clock_gettime};

pub fn run(app: &App, args: &Lab) -> anyhow::Result<Outcome> {
    match args {
        Lab::Forest(args) => forest::run(app, args),
        Lab::Explain(args) => explain::run(app, args),
        Lab::Throughput(args) => throughput::run(app, args),
        Lab::Unread(args) => unread::run(app, args),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let above = values.get(middle).copied().unwrap_or(0.0);
    if values.len() % 2 == 1 {
        above
    } else {
        values.get(middle.wrapping_sub(1)).map_or(above, |b| (b + above) / 2.0)
    }
}

/// Time this thread has run, which other work on the machine stretches least.
fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
