//! What calibration and training keep of their promises: false positives over a million clean events of many
//! principals, delay and false alarms of drift, poisoned training, and the time a training takes.

use prunella_detect::calibration::{Calibrator, Tally};
use prunella_detect::forest::Params;
use prunella_detect::training::{FEATURES, Learner, Lesson, Outcome, Trained, Why};
use prunella_schemas::{Id, Timestamp};
use rustix::time::{ClockId, clock_gettime};

const EVENTS: u64 = 1_000_000;
const EVENTS_PER_DAY: i64 = 50_000;
const DAY_MS: i64 = 86_400_000;
const PRINCIPALS: usize = 2_000;
const FEW_PRINCIPALS: usize = 20;
const ALPHAS: [f64; 4] = [0.05, 0.01, 0.001, 0.0001];
const NAMES: [&str; FEATURES] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

/// Runs the parts that are named, or all: `cargo bench --bench calibration -- drift poison`.
fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let parts: [(&str, fn()); 5] =
        [("rates", rates), ("trims", trims), ("drift", drifts), ("poison", poisons), ("times", times)];
    for (name, part) in parts {
        if named.is_empty() || named.iter().any(|wanted| wanted == name) {
            part();
        }
    }
}

#[allow(clippy::print_stdout, reason = "the result")]
fn rates() {
    println!("\nfalse-positive rate over {EVENTS} clean events, {FEATURES} features");
    for (principals, attack) in [
        (PRINCIPALS, None),
        (FEW_PRINCIPALS, None),
        (PRINCIPALS, Some((20, 3.5))),
        (PRINCIPALS, Some((20, 6.0))),
        (PRINCIPALS, Some((200, 6.0))),
    ] {
        for seed in 201..=204 {
            live(principals, attack, seed);
        }
    }
}

#[allow(clippy::print_stdout, reason = "the result")]
fn trims() {
    println!("\none calibration on 4,096 scores, then 200,000 clean events; mean of 5 seeds");
    for (attacks, at) in [(0.0, 3.5), (0.005, 3.5), (0.01, 3.5), (0.005, 6.0), (0.01, 6.0)] {
        trim(attacks, at);
    }
}

#[allow(clippy::print_stdout, reason = "the result")]
fn drifts() {
    println!("\ndrift of two features after 20,000 events");
    for deviations in [0.5, 1.0, 2.0] {
        drift(deviations);
    }
}

#[allow(clippy::print_stdout, reason = "the result")]
fn poisons() {
    println!("\npoison: AUC on a clustered attack that the poison imitates; mean of 5 seeds");
    for at in [3.5, 6.0] {
        for (share, sources) in [(0.0, 0), (0.05, 1), (0.05, 2), (0.05, 20), (0.05, 400), (0.2, 400)] {
            poison(share, sources, at);
        }
    }
}

/// A tenant: principals of very different activity, each with habits of its own, values with heavy tails.
struct Tenant {
    random: Random,
    habits: Vec<[f32; FEATURES]>,
    /// Cumulative activity of principals, falling as 1 / rank.
    activity: Vec<f64>,
    number: u64,
}

impl Tenant {
    fn new(seed: u64) -> Tenant {
        Tenant::of(PRINCIPALS, seed)
    }

    fn of(principals: usize, seed: u64) -> Tenant {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let habits = (0..principals).map(|_| std::array::from_fn(|_| 0.7 * random.normal())).collect();
        let activity = (1..=principals).scan(0.0, |sum, rank| {
            *sum += 1.0 / (rank as f64 + 5.0);
            Some(*sum)
        });
        Tenant { random, habits, activity: activity.collect(), number: 0 }
    }

    fn event(&mut self) -> Lesson {
        let total = self.activity.last().copied().unwrap_or(1.0);
        let at = f64::from(self.random.unit()) * total;
        let principal = self.activity.partition_point(|sum| *sum < at).min(self.habits.len() - 1);
        let class_uid = if self.random.unit() < 0.2 { 3002 } else { 6003 };
        let (habit, random) = (self.habits[principal], &mut self.random);
        // A heavy tail shared by the features of an event: a normal over the root of a uniform mean.
        let burst = 1.0 / (0.15 + 0.85 * random.unit()).sqrt();
        let mut row = habit.map(|habit| habit + random.normal() * burst);
        for value in &mut row[12..14] {
            *value = value.round();
        }
        row[14] = f32::from(row[14] > 2.0);
        row[15] += if class_uid == 3002 { 1.5 } else { 0.0 };
        self.number += 1;
        let number = self.number;
        Lesson {
            row,
            class_uid,
            principal: principal as u64,
            event: Id::derive("event", &[&number.to_le_bytes()]),
            time: Timestamp(number as i64 * DAY_MS / EVENTS_PER_DAY),
            score: None,
            is_flagged: false,
        }
    }

    /// An attack in a cluster, from one of `sources` principals of its own.
    fn attack(&mut self, sources: u64, at: f32) -> Lesson {
        let mut lesson = self.event();
        for value in &mut lesson.row[..6] {
            *value = at + 0.4 * self.random.normal();
        }
        lesson.principal = u64::MAX - (f64::from(self.random.unit()) * sources as f64) as u64;
        lesson
    }
}

/// The whole loop: scored, flagged at .001, learnt; retrained daily. One event in a hundred is an attack from so many
/// sources, so many standard deviations away.
#[allow(clippy::print_stdout, reason = "the result")]
fn live(principals: usize, attack: Option<(u64, f32)>, seed: u64) {
    let (sources, at) = attack.unwrap_or((1, 0.0));
    let attacks = if attack.is_some() { 0.01 } else { 0.0 };
    let mut tenant = Tenant::of(principals, seed);
    let mut learner = Learner::new(&NAMES, seed);
    let (mut clean, mut hostile, mut found) = (0u64, 0u64, 0u64);
    let mut positives = [0u64; ALPHAS.len()];
    let (mut swaps, mut refusals, mut drifts) = (0, 0, 0);
    while clean < EVENTS {
        let is_attack = f64::from(tenant.random.unit()) < attacks;
        let mut lesson = if is_attack { tenant.attack(sources, at) } else { tenant.event() };
        if let Some(model) = learner.model() {
            let score = model.score(&lesson.row);
            let p = model.p_value(lesson.class_uid, score);
            lesson.score = Some(score);
            lesson.is_flagged = p <= 0.001;
            if is_attack {
                hostile += 1;
                found += u64::from(p <= 0.001);
            } else {
                clean += 1;
                for (positives, alpha) in positives.iter_mut().zip(ALPHAS) {
                    *positives += u64::from(p <= alpha);
                }
            }
        }
        if let Some(Trained { why, outcome }) = learner.observe(&lesson) {
            drifts += u32::from(why == Why::Drift);
            match outcome {
                Outcome::Swapped { .. } => swaps += 1,
                Outcome::Refused(_) => refusals += 1,
            }
        }
    }
    let ratios =
        positives.iter().zip(ALPHAS).map(|(positives, alpha)| *positives as f64 / clean as f64 / alpha);
    let ratios: Vec<String> = ratios.map(|ratio| format!("{ratio:.2}")).collect();
    let recall = if hostile == 0 { "-".to_owned() } else { format!("{:.3}", found as f64 / hostile as f64) };
    println!(
        "{principals:>4} principals, {:.0} % attacks of {sources} at {at} sd, seed {seed}: rate / alpha at .05 .01 .001 .0001: {}; {swaps} models, {refusals} refused, \
         {drifts} drifts; attacks found at .001: {recall}",
        attacks * 100.0,
        ratios.join(" ")
    );
}

/// Ways to meet attacks in the calibration set.
#[allow(clippy::print_stdout, reason = "the result")]
fn trim(attacks: f64, at: f32) {
    const SEEDS: u64 = 5;
    let mut sums = [[0.0; ALPHAS.len()]; 3];
    for seed in 11..11 + SEEDS {
        let mut tenant = Tenant::new(seed);
        let rows = |tenant: &mut Tenant, n: usize, attacks: f64| -> Vec<Lesson> {
            let one = |_| {
                if f64::from(tenant.random.unit()) < attacks { tenant.attack(20, at) } else { tenant.event() }
            };
            (0..n).map(one).collect()
        };
        let training: Vec<[f32; FEATURES]> =
            rows(&mut tenant, 4_096, attacks).iter().map(|lesson| lesson.row).collect();
        let Ok(forest) = Params::default().fit_rows(ndarray::Array2::from(training).view()) else { return };
        let scored = |lessons: Vec<Lesson>| -> Vec<f32> {
            let rows: Vec<[f32; FEATURES]> = lessons.iter().map(|lesson| lesson.row).collect();
            forest.score(ndarray::Array2::from(rows).view()).map(|scores| scores.to_vec()).unwrap_or_default()
        };
        let mut scores = scored(rows(&mut tenant, 4_096, attacks));
        let met = scored(rows(&mut tenant, 200_000, 0.0));
        scores.sort_by(f32::total_cmp);
        let counted = |scores: &[f32]| {
            let mut sorted = scores.to_vec();
            sorted.reverse();
            move |score: f32| {
                (1 + sorted.partition_point(|own| *own >= score)) as f64 / (1 + sorted.len()) as f64
            }
        };
        let (all, cut) = (counted(&scores), counted(&scores[..scores.len() * 99 / 100]));
        let mut tally = Tally::default();
        scores.iter().for_each(|score| tally.add(0, *score));
        let ours = Calibrator::from(tally);
        for (at, alpha) in ALPHAS.into_iter().enumerate() {
            let rate = |p: &dyn Fn(f32) -> f64| {
                met.iter().filter(|score| p(**score) <= alpha).count() as f64 / met.len() as f64 / alpha
            };
            sums[0][at] += rate(&all) / SEEDS as f64;
            sums[1][at] += rate(&cut) / SEEDS as f64;
            sums[2][at] += rate(&|score| ours.p_value(0, score)) / SEEDS as f64;
        }
    }
    for (name, ratios) in ["all scores", "top 1 % dropped", "all, and the tail's law"].iter().zip(sums) {
        let ratios: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!(
            "{:.1} % attacks at {at} sd, {name:<24}: rate / alpha {}",
            attacks * 100.0,
            ratios.join(" ")
        );
    }
}

/// Two features move; how long until it is seen, learnt, and quiet again.
#[allow(clippy::print_stdout, reason = "the result")]
fn drift(deviations: f32) {
    let (mut delays, mut missed) = (Vec::new(), 0);
    let (mut before, mut during, mut after) = ([0u64; 2], [0u64; 2], [0u64; 2]);
    for seed in 21..=30 {
        let mut tenant = Tenant::new(seed);
        let mut learner = Learner::new(&NAMES, seed);
        let (mut seen, mut learnt) = (None, None);
        for number in 0..60_000u64 {
            let mut lesson = tenant.event();
            if number >= 20_000 {
                lesson.row[2] += deviations * 1.6;
                lesson.row[7] += deviations * 1.6;
            }
            if let Some(model) = learner.model() {
                let score = model.score(&lesson.row);
                let p = model.p_value(lesson.class_uid, score);
                (lesson.score, lesson.is_flagged) = (Some(score), p <= 0.001);
                let rate = match (number < 20_000, learnt) {
                    (true, _) => &mut before,
                    (false, None) => &mut during,
                    (false, Some(_)) => &mut after,
                };
                rate[0] += u64::from(p <= 0.01);
                rate[1] += 1;
            }
            let trained = learner.observe(&lesson);
            if number >= 20_000 {
                seen = seen.or((!learner.shifts().is_empty()).then_some(number - 20_000));
                let swapped = trained.is_some_and(|t| matches!(t.outcome, Outcome::Swapped { .. }));
                learnt = learnt.or((swapped && seen.is_some()).then_some(number - 20_000));
            }
        }
        match seen {
            Some(seen) => delays.push((seen, learnt)),
            None => missed += 1,
        }
    }
    delays.sort_unstable();
    let share = |rate: [u64; 2]| rate[0] as f64 / rate[1].max(1) as f64;
    let learnt: Vec<u64> = delays.iter().filter_map(|(_, learnt)| *learnt).collect();
    println!(
        "{deviations} sd in 2 features: seen after {:?} (median), {:?} (last) events, missed {missed} of 10; learnt after \
         {:?} (most); rate at .01 before {:.4}, until learnt {:.4}, after {:.4}",
        delays.get(delays.len() / 2).map(|delay| delay.0 + 1),
        delays.last().map(|delay| delay.0 + 1),
        learnt.iter().max(),
        share(before),
        share(during),
        share(after),
    );
}

/// Trains on a poisoned past, then ranks the attack that the poison looks like.
#[allow(clippy::print_stdout, reason = "the result")]
fn poison(share: f64, sources: u64, at: f32) {
    let (mut plain, mut ours) = (0.0, 0.0);
    const SEEDS: u64 = 5;
    for seed in 31..31 + SEEDS {
        let mut tenant = Tenant::new(seed);
        let mut learner = Learner::new(&NAMES, seed);
        let past: Vec<Lesson> = (0..10_000)
            .map(|_| {
                let is_poison = f64::from(tenant.random.unit()) < share;
                if is_poison { tenant.attack(sources, at) } else { tenant.event() }
            })
            .collect();
        let naive: Vec<[f32; FEATURES]> = past.iter().take(4_096).map(|lesson| lesson.row).collect();
        let _ = learner.train_on(past);
        let test: Vec<(Lesson, bool)> = (0..22_000)
            .map(|n| if n < 2_000 { (tenant.attack(1, at), true) } else { (tenant.event(), false) })
            .collect();
        if let Some(model) = learner.model() {
            ours += auc(test.iter().map(|(lesson, hostile)| (model.score(&lesson.row), *hostile)).collect());
        }
        let params = Params { seed, ..Params::default() };
        if let Ok(forest) = params.fit_rows(ndarray::Array2::from(naive).view()) {
            let score =
                |row: &[f32; FEATURES]| forest.score_row(ndarray::ArrayView1::from(row)).unwrap_or_default();
            plain += auc(test.iter().map(|(lesson, hostile)| (score(&lesson.row), *hostile)).collect());
        }
    }
    let (plain, ours) = (plain / SEEDS as f64, ours / SEEDS as f64);
    println!(
        "attack at {at} sd, {:>2.0} % from {sources:>3} sources: plain forest {plain:.4}, learner {ours:.4}",
        share * 100.0
    );
}

#[allow(clippy::print_stdout, reason = "the result")]
fn times() {
    println!("\ntime of this thread");
    let mut tenant = Tenant::new(41);
    let mut learner = Learner::new(&NAMES, 41);
    let lessons: Vec<Lesson> = (0..20_000).map(|_| tenant.event()).collect();
    let first = timed(|| learner.train_on(lessons).is_ok());
    let mut trainings: Vec<f64> = (0..15).map(|_| timed(|| learner.train_on([]).is_ok())).collect();
    trainings.sort_by(f64::total_cmp);
    let more: Vec<Lesson> = (0..100_000)
        .map(|_| {
            let mut lesson = tenant.event();
            // As the engine does: scored before.
            lesson.score = learner.model().map(|model| model.score(&lesson.row));
            lesson.time = Timestamp(0);
            lesson
        })
        .collect();
    let observed = timed(|| more.iter().filter_map(|lesson| learner.observe(lesson)).count());
    let model = learner.model().cloned();
    let looked_up = timed(|| {
        let Some(model) = &model else { return 0.0 };
        more.iter()
            .map(|lesson| model.p_value(lesson.class_uid, lesson.score.unwrap_or_default()))
            .sum::<f64>()
    });
    let mut saved = Vec::new();
    let save = timed(|| learner.save(&mut saved).is_ok());
    let restore = timed(|| Learner::restore(&NAMES, &saved).is_ok());
    println!("20,000 events learnt, first training: {first:.1} ms");
    println!(
        "training and calibration on {:?} rows: {:.1} ms (median of 15, {:.1} to {:.1})",
        learner.rows(),
        trainings[7],
        trainings[0],
        trainings[14]
    );
    println!("observe an event that is scored: {:.0} ns", observed * 1e6 / more.len() as f64);
    println!("p-value: {:.1} ns", looked_up * 1e6 / more.len() as f64);
    println!("snapshot: {} bytes, save {save:.1} ms, restore {restore:.1} ms", saved.len());
}

/// Milliseconds that this thread ran.
fn timed<T>(work: impl FnOnce() -> T) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
    };
    let start = now();
    std::hint::black_box(work());
    now() - start
}

/// The share of pairs in order.
fn auc(mut scores: Vec<(f32, bool)>) -> f64 {
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let hostile = scores.iter().filter(|(_, hostile)| *hostile).count();
    let ranks: usize =
        scores.iter().enumerate().filter(|(_, (_, hostile))| *hostile).map(|(rank, _)| rank).sum();
    let below = ranks - hostile * (hostile - 1) / 2;
    below as f64 / (hostile * (scores.len() - hostile)) as f64
}

struct Random(u64);

impl Random {
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0
    }

    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
}
