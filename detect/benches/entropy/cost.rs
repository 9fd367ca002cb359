//! Cost: nanoseconds to learn an event, with the state in the processor's cache and in memory.

use crate::background::Random;
use prunella_detect::entropy::{Limits, Streams};
use rustix::time::{ClockId, clock_gettime};

const EVENTS: usize = 2_000_000;
const ROUNDS: usize = 9;

#[allow(clippy::print_stdout, reason = "the result")]
pub fn report() {
    let limits = Limits::default();
    for principals in [1_000, 1_000_000] {
        let mut all = vec![Streams::default(); principals];
        let mut random = Random(1);
        let events: Vec<(u32, u8, u8)> = (0..EVENTS)
            .map(|_| {
                let operation = (random.unit() * random.unit() * 24.0) as u8;
                (random.below(principals as u64) as u32, operation, random.below(20) as u8)
            })
            .collect();
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = processor_ns();
                for (principal, operation, gap) in &events {
                    std::hint::black_box(all[*principal as usize].learn(*operation, *gap, &limits));
                }
                (processor_ns() - start) as f64 / EVENTS as f64
            })
            .collect();
        rounds.sort_unstable_by(f64::total_cmp);
        println!(
            "learn, {principals} principals of {} bytes in random order: {:.0} ns an event ({:.0} to {:.0})",
            size_of::<Streams>(),
            rounds[ROUNDS / 2],
            rounds[ROUNDS / 4],
            rounds[ROUNDS * 3 / 4],
        );
    }
}

fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
