//! Background: what principals do when nobody attacks, in bursts, day and night, with scripts, retries and drift.

pub const SECOND: u64 = 1_000;
pub const HOUR: u64 = 3_600 * SECOND;
pub const DAY: u64 = 24 * HOUR;
const RETRY: f64 = 0.01;

/// An event: when, in milliseconds, and the symbol of its operation.
pub type Event = (u64, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Person,
    Service,
}

/// One principal's life, day by day.
#[derive(Clone)]
pub struct Background {
    pub kind: Kind,
    pub random: Random,
    /// The symbols of its operations, the most used first.
    pub operations: Vec<u8>,
    tasks: Vec<Task>,
    scripts: Vec<Script>,
    /// Sessions, or requests served, a day.
    pace: f64,
    day: u64,
    /// Of the day under way, the latest first.
    events: Vec<Event>,
}

/// A chain of operations as a person, or a request, goes through them.
#[derive(Clone)]
struct Task {
    operations: Vec<u8>,
    /// For each operation the order in which the others follow it, the most likely first.
    successors: Vec<Vec<usize>>,
    steepness: f64,
    /// A page that is always loaded in the same order.
    fixed: bool,
}

/// Operations in fixed order, some of them repeated per page of a result.
#[derive(Clone)]
struct Script {
    steps: Vec<(u8, f64)>,
    every: u64,
    rounds_max: f64,
    gap: f64,
}

impl Background {
    pub fn new(seed: u64, loopers: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0xD1B5_4A32_D192_ED03));
        random.next();
        let kind = if random.below(5) < 2 { Kind::Service } else { Kind::Person };
        let count = 24 + random.below(37) as usize;
        let operations = random.symbols(count);
        let pace = if kind == Kind::Person { 2.0 + 6.0 * random.unit() } else { 20.0 + 80.0 * random.unit() };
        let (tasks, scripts) = (Vec::new(), Vec::new());
        let mut background =
            Background { kind, random, operations, tasks, scripts, pace, day: 0, events: Vec::new() };
        let tasks = 3 + background.random.below(6);
        background.tasks = (0..tasks).map(|_| background.task()).collect();
        let scripts = match kind {
            Kind::Service => 1 + background.random.below(4),
            Kind::Person => u64::from(background.random.below(100) < loopers),
        };
        background.scripts = (0..scripts).map(|_| background.script()).collect();
        background
    }

    pub fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop() {
                return event;
            }
            self.live_a_day();
        }
    }

    fn task(&mut self) -> Task {
        let count = 4 + self.random.below(13) as usize;
        let operations: Vec<u8> = (0..count).map(|_| self.operation()).collect();
        let successors = (0..count).map(|_| self.random.order(count)).collect();
        let steepness = 1.05 + 1.4 * self.random.unit();
        Task { operations, successors, steepness, fixed: self.random.below(4) == 0 }
    }

    fn script(&mut self) -> Script {
        let service = self.kind == Kind::Service;
        let count = if service { 3 + self.random.below(18) } else { 1 + self.random.below(3) };
        let mut steps: Vec<(u8, f64)> = (0..count).map(|_| (self.operation(), 0.0)).collect();
        for _ in 0..self.random.below(3) {
            let at = self.random.below(count) as usize;
            steps[at].1 = 2.0 + 10.0 * self.random.unit();
        }
        let every = HOUR / 12 * (1 << self.random.below(8));
        let rounds_max = if service { 1.0 } else { 300.0 };
        Script { steps, every, rounds_max, gap: 60.0 + 200.0 * self.random.unit() }
    }

    /// One of its operations, by Zipf's law.
    fn operation(&mut self) -> u8 {
        let at = self.random.zipf(self.operations.len(), 1.1);
        self.operations[at]
    }

    fn live_a_day(&mut self) {
        self.day += 1;
        if self.day.is_multiple_of(7) {
            self.drift();
        }
        let weekend = self.day % 7 >= 5;
        let pace = if weekend && self.kind == Kind::Person { self.pace / 10.0 } else { self.pace };
        for _ in 0..self.random.poisson(pace) {
            let start = self.day * DAY + self.time_of_day();
            self.session(start);
        }
        if self.kind == Kind::Service {
            for at in 0..self.scripts.len() {
                let script = self.scripts[at].clone();
                let mut start = self.day * DAY + self.random.below(60 * SECOND);
                while start < (self.day + 1) * DAY {
                    let jitter = self.random.below(5 * SECOND);
                    self.run(&script, start + jitter);
                    start += script.every;
                }
            }
        }
        self.events.sort_unstable_by(|left, right| right.cmp(left));
    }

    /// Interests move: one task is replaced every week, and a service's script changes by a step now and then.
    fn drift(&mut self) {
        let at = self.random.below(self.tasks.len() as u64) as usize;
        self.tasks[at] = self.task();
        let new = self.operation();
        if self.kind == Kind::Service && self.random.below(4) == 0 {
            let at = self.random.below(self.scripts.len() as u64) as usize;
            let steps = &mut self.scripts[at].steps;
            let step = self.random.below(steps.len() as u64) as usize;
            steps[step].0 = new;
        }
    }

    fn time_of_day(&mut self) -> u64 {
        if self.kind == Kind::Service || self.random.below(20) == 0 {
            return self.random.below(DAY);
        }
        let around = if self.random.below(2) == 0 { 10.0 } else { 15.0 };
        let hour = (around + 1.5 * self.random.normal()).clamp(0.0, 23.9);
        (hour * HOUR as f64) as u64
    }

    fn session(&mut self, mut time: u64) {
        let person = self.kind == Kind::Person;
        if person && !self.scripts.is_empty() && self.random.below(25) == 0 {
            let script = self.scripts[0].clone();
            return self.run(&script, time);
        }
        let length = if person {
            self.random.pareto(12.0, 1.3).min(600.0)
        } else {
            3.0 + self.random.pareto(2.0, 1.5).min(60.0)
        };
        let mut task = self.tasks[self.random.zipf(self.tasks.len(), 1.01)].clone();
        let mut at = 0;
        for _ in 0..length as u64 {
            let loaded = task.fixed && at + 1 == task.operations.len();
            if loaded || self.random.unit() < 0.03 {
                task = self.tasks[self.random.zipf(self.tasks.len(), 1.01)].clone();
                at = 0;
            }
            at = task.next(at, &mut self.random);
            let operation = if self.random.unit() < 0.03 { self.operation() } else { task.operations[at] };
            self.events.push((time, operation));
            if self.random.unit() < RETRY {
                let mut wait = 200.0;
                while self.random.unit() < 0.67 && wait < 1e6 {
                    time += (wait * (0.8 + 0.4 * self.random.unit())) as u64;
                    self.events.push((time, operation));
                    wait *= 2.0;
                }
            }
            // A click makes several calls at once; then somebody thinks, for a time with a heavy tail.
            let burst = self.random.unit() < if person { 0.5 } else { 0.9 };
            time += if burst {
                self.random.lognormal(120.0, 0.7)
            } else {
                self.random.pareto(2_000.0, 1.1).min(2e6)
            } as u64;
        }
    }

    fn run(&mut self, script: &Script, mut time: u64) {
        let rounds = script.rounds_max.powf(0.5 + 0.5 * self.random.unit()) as u64;
        for _ in 0..rounds.max(1) {
            for (operation, pages) in &script.steps {
                let repeats = 1 + if *pages > 0.0 { self.random.poisson(*pages) } else { 0 };
                for _ in 0..repeats {
                    self.events.push((time, *operation));
                    time += self.random.lognormal(script.gap, 0.3) as u64;
                }
            }
        }
    }
}

impl Task {
    fn next(&self, at: usize, random: &mut Random) -> usize {
        let count = self.operations.len();
        if self.fixed && random.unit() < 0.93 {
            return (at + 1) % count;
        }
        self.successors[at][random.zipf(count, self.steepness)]
    }
}

/// SplitMix64.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    pub fn pareto(&mut self, least: f64, alpha: f64) -> f64 {
        least * (1.0 - self.unit()).powf(-1.0 / alpha)
    }

    /// A rank below `count`, by Zipf's law with the given exponent (which is not 1), from the inverse of its continuous
    /// form.
    pub fn zipf(&mut self, count: usize, exponent: f64) -> usize {
        let power = 1.0 - exponent;
        let most = (count as f64 + 1.0).powf(power) - 1.0;
        let rank = (1.0 + self.unit() * most).powf(power.recip()) - 1.0;
        (rank as usize).min(count - 1)
    }

    pub fn poisson(&mut self, mean: f64) -> u64 {
        let (mut count, mut left) = (0, 1.0 - self.unit());
        while left > (-mean).exp() && count < 1_000 {
            left *= 1.0 - self.unit();
            count += 1;
        }
        count
    }

    /// The numbers below `count`, shuffled.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            order.swap(at, self.below(at as u64 + 1) as usize);
        }
        order
    }

    /// `count` different symbols.
    pub fn symbols(&mut self, count: usize) -> Vec<u8> {
        self.order(256).into_iter().take(count).map(|symbol| symbol as u8).collect()
    }
}
