//! Textbook: CUSUM on mean and standard deviation, every 16 events, with a slack of 1.5 and a limit of 8 deviations.

use super::{EVENTS, PRINCIPALS, poisson_upper};
use crate::background::Background;
use prunella_detect::entropy::{BIT, HOP, Limits, Streams};

const WARM_UP: u32 = 192;
const SLACK: f64 = 1.5;
const LIMIT: f64 = 8.0;

#[derive(Clone, Copy, Default)]
struct Cusum {
    readings: u32,
    mean: f64,
    variance: f64,
    fall: f64,
    rise: f64,
}

impl Cusum {
    fn calls(&mut self, bits: f64) -> bool {
        let deviation = (bits - self.mean) / self.variance.sqrt().max(0.1);
        if self.readings > WARM_UP {
            self.fall = (self.fall - deviation - SLACK).max(0.0);
            self.rise = (self.rise + deviation - SLACK).max(0.0);
        }
        self.readings += 1;
        let weight = f64::from(self.readings.min(256));
        let step = bits - self.mean;
        self.mean += step / weight;
        self.variance += (step * (bits - self.mean) - self.variance) / weight;
        self.fall.max(self.rise) > LIMIT
    }
}

#[allow(clippy::print_stdout, reason = "the result")]
pub fn report(seeds: std::ops::RangeInclusive<u64>) {
    let limits = Limits { warm_up: u16::MAX, ..Limits::default() };
    let (mut events, mut alarms) = (0u64, 0);
    for principal in seeds.flat_map(|seed| (0..PRINCIPALS).map(move |principal| seed << 20 | principal)) {
        let mut background = Background::new(principal, 0);
        let (mut streams, mut cusums, mut last) = (Streams::default(), [Cusum::default(); 3], 0);
        for n in 1..=EVENTS {
            let (time, operation) = background.next();
            streams.learn(operation, (time.saturating_sub(last) + 1).ilog2() as u8, &limits);
            last = time;
            events += u64::from(n > (WARM_UP as usize + 1) * HOP);
            if !n.is_multiple_of(HOP) || n < 2 * HOP {
                continue;
            }
            let readings = streams.readings().map(|bits| f64::from(bits) / f64::from(BIT));
            let called =
                cusums.iter_mut().zip(readings).fold(false, |any, (cusum, bits)| cusum.calls(bits) | any);
            if called {
                (alarms, cusums) = (alarms + 1, [Cusum::default(); 3]);
            }
        }
    }
    let million = events as f64 / 1e6;
    let (rate, upper) = (alarms as f64 / million, poisson_upper(alarms) / million);
    println!(
        "{million:.1} M watched events without an attack, {alarms} alarms: {rate:.2} a million (95 %: below {upper:.2})"
    );
}
