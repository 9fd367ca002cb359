//! How soon the entropy streams see a bot, at how many false alarms on a bursty background, and what an event costs.

#![allow(clippy::print_stdout, reason = "the result")]

mod background;
mod cost;
mod textbook;

use background::{Background, Event, Kind, Random};
use prunella_detect::entropy::{HOP, Limits, Shift, Streams, Which};

const PRINCIPALS: u64 = 300;
const EVENTS: usize = 20_000;
/// An attack starts after so many events, and is over after so many of its own.
const YOUNG_EVENTS: u64 = 2_000;
const KNOWN_EVENTS: u64 = 8_000;
const ATTACK_EVENTS: usize = 256;
const NAMES: [&str; 6] =
    ["3-cycle bot", "single action", "uniform scan", "scan, jittered gaps", "slow scraper", "regular gaps"];

/// A principal under watch.
#[derive(Clone)]
struct Subject {
    background: Background,
    streams: Streams,
    last: u64,
}

impl Subject {
    fn take(&mut self, (time, operation): Event, limits: &Limits) -> Option<Shift> {
        let gap = time.saturating_sub(self.last);
        self.last = time;
        let symbol = (gap + 1).ilog2() as u8;
        self.streams.learn(operation, symbol, limits)
    }
}

/// The events of an attack that begins at `time`.
fn attack(which: usize, mut time: u64, subject: &Subject, random: &mut Random) -> Vec<Event> {
    let own = &subject.background.operations;
    let pick = |random: &mut Random| match random.below(2) {
        0 => own[random.below(own.len() as u64) as usize],
        _ => random.next() as u8,
    };
    let three = [pick(random), pick(random), pick(random)];
    let all = random.symbols(60);
    let mut other = subject.background.clone();
    (0..ATTACK_EVENTS)
        .map(|n| {
            let operation = match which {
                0 => three[n % 3],
                1 => three[0],
                2 | 3 => all[random.below(60) as usize],
                4 => three[usize::from(n % 8 == 0)],
                _ => other.next().1,
            };
            time += match which {
                0 | 1 => random.lognormal(300.0, 0.5) as u64,
                2 => 250,
                3 => random.lognormal(1_500.0, 1.5) as u64,
                4 if random.below(2) == 0 => random.lognormal(400.0, 0.7) as u64,
                4 => random.pareto(2_000.0, 1.1).min(2e6) as u64,
                _ => 5_000,
            };
            (time, operation)
        })
        .collect()
}

/// Events until the call, those of the principal itself included; `None` if there was none before the attack ended.
fn delay(mut subject: Subject, mut own: Event, attack: &[Event], limits: &Limits) -> Option<u64> {
    let mut left = attack.iter().copied().peekable();
    let mut events = 0;
    while let Some(theirs) = left.peek().copied() {
        let event = if own.0 < theirs.0 {
            std::mem::replace(&mut own, subject.background.next())
        } else {
            left.next();
            theirs
        };
        events += 1;
        if subject.take(event, limits).is_some() {
            return Some(events);
        }
    }
    None
}

#[derive(Default)]
struct Tally {
    events: u64,
    alarms: Vec<Shift>,
    delays: [[Vec<Option<u64>>; 2]; 6],
}

fn run(seed: u64, loopers: u64, busy: bool, limits: &Limits, tally: &mut Tally) {
    for principal in 0..PRINCIPALS {
        let mut random = Random(seed << 32 | principal);
        let background = Background::new(seed << 20 | principal, loopers);
        let mut subject = Subject { background, streams: Streams::default(), last: 0 };
        let chosen = KNOWN_EVENTS + random.below(EVENTS as u64 - KNOWN_EVENTS);
        let (mut moment, mut young) = (u64::MAX, 0);
        for n in 0..EVENTS as u64 {
            let event = subject.background.next();
            match n {
                YOUNG_EVENTS => young = event.0,
                _ if busy && n == chosen => moment = event.0 + 1,
                KNOWN_EVENTS if busy => {}
                KNOWN_EVENTS => moment = event.0 + ((event.0 - young) as f64 * 1.5 * random.unit()) as u64,
                _ => {}
            }
            if event.0 > moment {
                let kind = usize::from(subject.background.kind == Kind::Service);
                for which in 0..NAMES.len() {
                    let attack = attack(which, moment, &subject, &mut random);
                    tally.delays[which][kind].push(delay(subject.clone(), event, &attack, limits));
                }
                moment = u64::MAX;
            }
            // While a principal is only learnt, no alarm is possible: these events prove nothing.
            tally.events += u64::from(n >= (u64::from(limits.warm_up) + 1) * HOP as u64);
            tally.alarms.extend(subject.take(event, limits));
        }
    }
}

/// The upper 95 % bound of a Poisson mean when `count` were seen (Wilson and Hilferty's approximation of chi-squared).
fn poisson_upper(count: usize) -> f64 {
    let n = count as f64 + 1.0;
    n * (1.0 - 1.0 / (9.0 * n) + 1.645 / (3.0 * n.sqrt())).powi(3)
}

fn report(tally: &Tally) {
    let million = tally.events as f64 / 1e6;
    let alarms = tally.alarms.len();
    println!(
        "{million:.1} M watched events without an attack, {alarms} alarms: {:.2} a million (95 %: below {:.2})",
        alarms as f64 / million,
        poisson_upper(alarms) / million,
    );
    for which in [Which::Steps, Which::Operations, Which::Gaps] {
        let of = tally.alarms.iter().filter(|shift| shift.stream == which);
        println!("    {} by {which:?}", of.count());
    }
    for (name, kinds) in NAMES.iter().zip(&tally.delays) {
        print!("{name:<20}");
        let all: Vec<_> = kinds.concat();
        for delays in kinds.iter().chain([&all]) {
            let mut seen: Vec<u64> = delays.iter().map(|delay| delay.unwrap_or(u64::MAX)).collect();
            seen.sort_unstable();
            let found = delays.iter().flatten().count() as f64 * 100.0 / delays.len() as f64;
            let soon = seen.iter().filter(|delay| **delay <= 64).count() as f64 * 100.0 / delays.len() as f64;
            let at = |share: usize| match seen[(seen.len() * share / 100).min(seen.len() - 1)] {
                u64::MAX => "never".to_owned(),
                delay => delay.to_string(),
            };
            print!(" | {found:>5.1} % ({soon:>5.1} % <= 64), {:>5} / {:>5}", at(50), at(95));
        }
        println!();
    }
}

/// The limits were chosen on seeds 1 to 4; these were never looked at before.
const SEEDS: std::ops::RangeInclusive<u64> = 5..=16;

fn main() {
    let limits = Limits::default();
    println!("{limits:?}");
    println!("per attack: share found (within 64 events), median / 95th percentile of the delay in events");
    println!("{:<20} | {:<33} | {:<33} | all", "", "persons", "services");
    let cases = [
        ("attacks at a random moment", 0, false),
        ("attacks in the midst of a session", 0, true),
        ("one person in five runs loops of their own; attacks at a random moment", 20, false),
    ];
    for (name, loopers, busy) in cases {
        println!("\n{name}:");
        let mut tally = Tally::default();
        SEEDS.for_each(|seed| run(seed, loopers, busy, &limits, &mut tally));
        report(&tally);
    }
    println!("\nthe textbook's scheme on the same background:");
    textbook::report(SEEDS);
    println!();
    cost::report();
}
