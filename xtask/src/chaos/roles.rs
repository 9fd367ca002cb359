//! The fault test of the roles over Kafka: processes and the broker are killed and frozen under load; what the topics then
//! hold must be what they hold when nobody is disturbed.

mod crew;
mod holdings;
mod rebalance;
mod table;

use super::drive::{INTAKE, NDJSON};
use super::stream::{self, Stream};
use super::{Format, Options, http, say};
use crate::random::Random;
use crate::services;
use anyhow::{Context, bail};
use crew::{Crew, ROLES, Site};
use holdings::Holdings;
use rebalance::{Change, Outcome};
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use table::Table;

/// Batches that each disturbance finds to disturb, on average.
const BATCHES_PER_KILL: usize = 12;
const BATCHES_MIN: usize = 100;
/// From one disturbance to the next: some come while the last life still starts.
const BETWEEN_MIN: Duration = Duration::from_millis(150);
const BETWEEN_MEAN: Duration = Duration::from_millis(1_400);
/// Share of disturbances after which the next one waits until the roles have worked for a while.
const CALM: f64 = 0.25;
const CALM_FOR: Duration = Duration::from_secs(3);
/// How long a process may stand still while another one does its work, and how long it is awake beside it.
const FROZEN_MAX: Duration = Duration::from_secs(8);
const AWAKE_MAX: Duration = Duration::from_secs(3);

/// Sudden changes take so much longer than those in order.
const SUDDEN_RARER: u32 = 8;

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Summary {
    seed: u64,
    kills: u32,
    kills_by_role: [u32; ROLES.len()],
    kills_of_the_broker: u32,
    kills_of_the_tables: u32,
    frozen: u32,
    /// Started again because the broker was away when they started.
    revived: u32,
    cut_off: usize,
    sent: stream::Counts,
    events: usize,
    findings: usize,
    dead_letters: usize,
    /// Said again after a crash, with the same id and the same bytes.
    events_again: u64,
    findings_again: u64,
    lost: u64,
    twice: u64,
    findings_identical: bool,
    stop_ms: u128,
    undisturbed_seconds: f64,
    disturbed_seconds: f64,
    violations: Vec<String>,
}

/// Both runs in `folder`, and the verdict.
pub fn run(options: &Options, binary: &Path, folder: &Path, seed: u64) -> anyhow::Result<()> {
    let summary = play(options, binary, folder, seed)
        .with_context(|| format!("seed {seed}, logs kept in {}", folder.display()))?;
    print(options, &summary);
    match summary.violations.len() {
        0 => Ok(()),
        count => bail!("{count} violation(s) with seed {seed}; logs kept in {}", folder.display()),
    }
}

#[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
fn play(options: &Options, binary: &Path, folder: &Path, seed: u64) -> anyhow::Result<Summary> {
    let brokers =
        services::address("kafka").context("no Kafka runs here; `cargo xtask services up` starts one")?;
    let batches = BATCHES_MIN.max((options.kills + options.freezes) as usize * BATCHES_PER_KILL);
    let stream = stream::make(binary, folder, seed, options.events, batches)?;
    say(options, &format!("{} lines in {} batches", stream.counts.lines, stream.batches.len()));
    let mut summary = Summary { seed, sent: stream.counts, ..Summary::default() };
    let since = Instant::now();
    // One partition, so that there is one order.
    let site = |name: &str| {
        let prefix = prefix(name)?;
        let table = (options.table_kills > 0).then(|| Table::new(&prefix)).transpose()?;
        Site::new(binary, folder, &brokers, &prefix, 1, table)
    };
    let mut crew = Crew::start(site("calm")?)?;
    let everything = AtomicUsize::new(usize::MAX);
    feed(&stream, &everything, &AtomicBool::new(false), || crew.door())?;
    let calm = finish(&mut crew, &brokers, &mut summary, "undisturbed").context("the undisturbed run")?;
    violations("undisturbed", calm.violations(&stream.counts)?, &mut summary);
    violations("undisturbed", calm.findings.first.is_empty().then(|| "no findings".into()), &mut summary);
    drop(crew);
    summary.undisturbed_seconds = since.elapsed().as_secs_f64();
    let count = calm.findings.first.len();
    say(options, &format!("undisturbed: {:.1} s, {count} findings", summary.undisturbed_seconds));
    let since = Instant::now();
    let crew = Crew::start(site("struck")?)?;
    let held = disturb(options, crew, &stream, &brokers, seed, &mut summary).context("the disturbed run")?;
    summary.disturbed_seconds = since.elapsed().as_secs_f64();
    violations("disturbed", held.violations(&stream.counts)?, &mut summary);
    let difference = held.beside(&calm)?;
    violations("disturbed", difference.violations, &mut summary);
    (summary.lost, summary.twice) = (difference.lost, difference.twice);
    summary.findings_identical = difference.identical;
    summary.events = held.events.first.len();
    summary.findings = held.findings.first.len();
    summary.dead_letters = held.letters.first.len();
    (summary.events_again, summary.findings_again) = (held.events.again, held.findings.again);
    Ok(summary)
}

/// Members come and go; in order, and then not.
pub fn rebalance(
    options: &Options,
    binary: &Path,
    folder: &Path,
    seed: u64,
    turns: u32,
) -> anyhow::Result<()> {
    let brokers =
        services::address("kafka").context("no Kafka runs here; `cargo xtask services up` starts one")?;
    let mut wrong = 0;
    for (change, turns, name) in
        [(Change::Orderly, turns, "orderly"), (Change::Sudden, turns.div_ceil(SUDDEN_RARER), "sudden")]
    {
        let events = options.events.max(rebalance::events(change, turns));
        let stream = stream::make(binary, folder, seed, events, BATCHES_MIN)?;
        let site = Site::new(binary, folder, &brokers, &prefix(name)?, rebalance::PARTITIONS, None)?;
        let outcome = rebalance::run(&site, &brokers, &stream, change, turns, seed)?;
        wrong += outcome.lost + outcome.too_many + site.panics() as u64;
        print_rebalance(options, &outcome);
    }
    match wrong {
        0 => Ok(()),
        _ => bail!(
            "with seed {seed} events were lost or came twice, or a role panicked; logs in {}",
            folder.display()
        ),
    }
}

/// Sends everything while roles and broker are killed and frozen; then lets it come to rest.
fn disturb(
    options: &Options,
    crew: Crew,
    stream: &Stream,
    brokers: &str,
    seed: u64,
    summary: &mut Summary,
) -> anyhow::Result<Holdings> {
    let (crew, limit, over) = (Mutex::new(crew), AtomicUsize::new(0), AtomicBool::new(false));
    let lock = || crew.lock().unwrap_or_else(PoisonError::into_inner);
    let cut_off = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feed(stream, &limit, &over, || lock().door()));
        let mut fate = Random::new(seed, 4);
        let deeds = deeds(options, &mut fate);
        for (at, deed) in deeds.iter().enumerate() {
            // The stream is to last as long as the disturbances do.
            limit.store(stream.batches.len() * (at + 1) / (deeds.len() + 1), Ordering::Relaxed);
            std::thread::sleep(BETWEEN_MIN + fate.exponential(BETWEEN_MEAN));
            if fate.chance(CALM) {
                std::thread::sleep(CALM_FOR);
            }
            let which = fate.below(lock().size());
            let done = match deed {
                Deed::Kill => lock().kill(which),
                Deed::KillBroker => services::restart("kafka"),
                Deed::KillTables => services::restart(table::SERVICE),
                Deed::Freeze => freeze(&lock, which, &mut fate),
            };
            if done.is_err() {
                over.store(true, Ordering::Relaxed);
            }
            done?;
            count(*deed, which, summary);
        }
        limit.store(stream.batches.len(), Ordering::Relaxed);
        feeding.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?
    })?;
    summary.cut_off = cut_off;
    let mut crew = crew.into_inner().unwrap_or_else(PoisonError::into_inner);
    finish(&mut crew, brokers, summary, "disturbed")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Kill,
    KillBroker,
    KillTables,
    Freeze,
}

/// What happens, in which order.
fn deeds(options: &Options, fate: &mut Random) -> Vec<Deed> {
    let of_broker = options.broker_kills.min(options.kills);
    let of_tables = options.table_kills.min(options.kills - of_broker);
    let mut deeds = vec![Deed::Kill; (options.kills - of_broker - of_tables) as usize];
    let others =
        [(Deed::KillBroker, of_broker), (Deed::KillTables, of_tables), (Deed::Freeze, options.freezes)];
    for (deed, count) in others {
        for _ in 0..count {
            deeds.insert(fate.below(deeds.len() + 1), deed);
        }
    }
    deeds
}

fn count(deed: Deed, which: usize, summary: &mut Summary) {
    match deed {
        Deed::Kill => {
            summary.kills += 1;
            summary.kills_by_role.iter_mut().skip(which).take(1).for_each(|kills| *kills += 1);
        }
        Deed::KillBroker => {
            summary.kills += 1;
            summary.kills_of_the_broker += 1;
        }
        Deed::KillTables => {
            summary.kills += 1;
            summary.kills_of_the_tables += 1;
        }
        Deed::Freeze => summary.frozen += 1,
    }
}

/// A process stands still, its successor works; then it wakes up and both do, until the first is gone.
fn freeze<'a>(
    lock: &dyn Fn() -> std::sync::MutexGuard<'a, Crew>,
    which: usize,
    fate: &mut Random,
) -> anyhow::Result<()> {
    let frozen = lock().freeze(which)?;
    std::thread::sleep(FROZEN_MAX.mul_f64(fate.unit()));
    frozen.iter().try_for_each(crew::Frozen::wake)?;
    std::thread::sleep(AWAKE_MAX.mul_f64(fate.unit()));
    Ok(())
}

/// Sends every batch in order, again and again until it is acknowledged. How often it was not.
fn feed(
    stream: &Stream,
    limit: &AtomicUsize,
    over: &AtomicBool,
    mut door: impl FnMut() -> anyhow::Result<std::net::SocketAddr>,
) -> anyhow::Result<usize> {
    let (mut next, mut cut_off) = (0, 0);
    while next < stream.batches.len() && !over.load(Ordering::Relaxed) {
        if next >= limit.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let address = door()?;
        match http::post(address, INTAKE, NDJSON, stream.batch(next)) {
            Ok(answer) if answer.status == 202 => next += 1,
            Ok(answer) if answer.status != 503 => {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                bail!("batch {next} was answered {}: {text}", answer.status);
            }
            Ok(_) | Err(_) => {
                cut_off += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(cut_off)
}

/// Lets the roles work off what they have, stops them, and reads what they said.
fn finish(crew: &mut Crew, brokers: &str, summary: &mut Summary, name: &str) -> anyhow::Result<Holdings> {
    crew.wait_until_idle()?;
    summary.revived += crew.revivals;
    summary.stop_ms = summary.stop_ms.max(crew.stop()?.as_millis());
    let panics = crew.site.panics();
    violations(&crew.site.prefix, (panics > 0).then(|| format!("{panics} panics")), summary);
    let held = Holdings::read(brokers, &crew.site.prefix)?;
    if let Some(table) = &crew.site.table {
        violations(name, table.violations(&summary.sent, held.findings.first.len() as u64)?, summary);
        table.drop()?;
    }
    Ok(held)
}

/// Topics of an earlier run must not be met again.
#[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
fn prefix(name: &str) -> anyhow::Result<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    Ok(format!("chaos-{now:x}-{name}"))
}

fn violations(of: &str, found: impl IntoIterator<Item = String>, summary: &mut Summary) {
    summary.violations.extend(found.into_iter().map(|violation| format!("{of}: {violation}")));
}

#[allow(clippy::print_stdout, reason = "the summary is the output")]
fn print_rebalance(options: &Options, outcome: &Outcome) {
    if options.output == Format::Json {
        println!("{}", serde_json::json!(outcome));
        return;
    }
    let Outcome { change, turns, moves, pause_ms, pause_ms_p99, events, again, lost, too_many } = outcome;
    println!("{change:?}: {turns} changes moved {moves} partitions, {events} events, {again} said again");
    println!(
        "    pause of a moved one p50 {} ms, p99 {pause_ms_p99} ms, max {} ms",
        pause_ms.p50, pause_ms.max
    );
    println!("    lost / twice {lost} / {too_many}");
}

#[allow(clippy::print_stdout, reason = "the summary is the output")]
fn print(options: &Options, summary: &Summary) {
    if options.output == Format::Json {
        println!("{}", serde_json::json!(summary));
        return;
    }
    let Summary { sent, .. } = summary;
    let by_role: Vec<String> =
        ROLES.iter().zip(summary.kills_by_role).map(|(role, kills)| format!("{role} {kills}")).collect();
    println!(
        "kills                {} ({}, broker {}, tables {}), {} frozen and replaced, {} found no broker and started again",
        summary.kills,
        by_role.join(", "),
        summary.kills_of_the_broker,
        summary.kills_of_the_tables,
        summary.frozen,
        summary.revived
    );
    println!(
        "sent                 {} lines: {} events, {} poison, {} repeats, {} by a second channel",
        sent.lines, sent.events, sent.poison, sent.repeats, sent.second_channel
    );
    println!(
        "held                 {} events, {} dead letters, {} findings",
        summary.events, summary.dead_letters, summary.findings
    );
    println!(
        "said again           {} events, {} findings; {} requests cut off",
        summary.events_again, summary.findings_again, summary.cut_off
    );
    println!("lost / twice         {} / {}", summary.lost, summary.twice);
    println!("findings identical   {}", if summary.findings_identical { "yes" } else { "NO" });
    println!("SIGTERM to end       {} ms at most", summary.stop_ms);
    println!(
        "time                 {:.1} s undisturbed, {:.1} s disturbed",
        summary.undisturbed_seconds, summary.disturbed_seconds
    );
    for violation in &summary.violations {
        println!("VIOLATION            {violation}");
    }
}
