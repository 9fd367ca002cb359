//! The two runs: one that nobody disturbs, and one in which the process is killed again and again.

use super::http::{self, Answer};
use super::oracle;
use super::process::{Aim, Life, Setup, wait_until_idle};
use super::stream::Stream;
use crate::random::Random;
use anyhow::{Context, bail};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const NDJSON: &str = "application/x-ndjson";
pub const INTAKE: &str = "/api/events?source=aws.cloudtrail";
/// Mean time from a start to the kill.
const LIFE_MEAN: Duration = Duration::from_millis(450);
/// Share of lives that are killed at once, while the process still starts.
const STILLBORN: f64 = 0.15;
const STILLBORN_MAX: Duration = Duration::from_millis(40);
/// Share of lives that are killed in the midst of a deed, if there is one: when tokens were just revoked, or the ledger was
/// just written. By chance alone such moments are too short to be hit.
const AT_DEED: f64 = 0.5;
const AT_ENTRY: f64 = 0.2;
const LATE_MAX: Duration = Duration::from_millis(3);
/// Share of requests that send again what was acknowledged already.
const AGAIN: f64 = 0.1;
/// Share of lives that first work off what the last one left, so that this can be measured.
const QUIET: f64 = 0.2;
/// How long plans may take to come to rest: horizon and probes.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// What was seen from outside.
#[derive(Debug, Default)]
pub struct Seen {
    pub kills: u32,
    /// Kills that came before the API served.
    pub kills_at_start: u32,
    /// Requests that were cut off by a kill.
    pub cut_off: u64,
    pub sent_again: u64,
    /// From the start of the process to the API's first word.
    pub ready_ms: Vec<u64>,
    /// From the start of the process until everything the last life left was worked off.
    pub recovered_ms: Vec<u64>,
    pub stop_ms: u64,
    pub seconds: f64,
    pub violations: Vec<String>,
}

/// Sends everything in order, lets it come to rest, stops.
#[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
pub fn undisturbed(setup: &Setup, stream: &Stream) -> anyhow::Result<Seen> {
    let began = Instant::now();
    let mut seen = Seen::default();
    let life = setup.start()?;
    let over = AtomicBool::new(false);
    let address = life.ready(&over)?.context("it is not ready")?;
    let (mut accepted, mut rejected) = (0, 0);
    for at in 0..stream.batches.len() {
        let answer = http::post(address, INTAKE, NDJSON, stream.batch(at))?;
        if answer.status != 202 {
            bail!("batch {at} was answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        let said = answer.json()?;
        let number = |name: &str| said[name].as_u64().unwrap_or_default();
        accepted += number("accepted") + number("duplicates");
        rejected += number("rejected");
    }
    if accepted + rejected != stream.counts.lines {
        let lines = stream.counts.lines;
        seen.violations
            .push(format!("{lines} lines were sent; {accepted} were taken and {rejected} rejected"));
    }
    finish(setup, &life, address, &mut seen)?;
    seen.seconds = began.elapsed().as_secs_f64();
    Ok(seen)
}

/// Sends everything in order through `kills` deaths, lets it come to rest, stops.
#[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
pub fn disturbed(setup: &Setup, stream: &Stream, seed: u64, kills: u32) -> anyhow::Result<Seen> {
    let began = Instant::now();
    let mut feed = Feed { stream, next: 0, limit: 0, random: Random::new(seed, 2), seen: Seen::default() };
    let mut fate = Random::new(seed, 3);
    for kill in 0..kills {
        let wait = match fate.chance(STILLBORN) {
            true => STILLBORN_MAX.mul_f64(fate.unit()),
            false => fate.exponential(LIFE_MEAN),
        };
        let late = LATE_MAX.mul_f64(fate.unit());
        let aim = match fate.unit() {
            u if u < AT_DEED => Some(Aim { file: "state.db-wal", late }),
            u if u < AT_DEED + AT_ENTRY => Some(Aim { file: "ledger.db-wal", late }),
            _ => None,
        };
        // The stream is to last as long as the kills do.
        feed.limit = stream.batches.len() * (kill as usize + 1) / (kills as usize + 1);
        feed.live_until_killed(setup, wait, aim, fate.chance(QUIET))?;
        progress(kill + 1, kills, feed.next, stream.batches.len());
    }
    feed.limit = stream.batches.len();
    let life = setup.start()?;
    let over = AtomicBool::new(false);
    let address = life.ready(&over)?.context("it is not ready")?;
    feed.recover(&life, address, &over)?;
    while feed.next < feed.limit {
        feed.send(address, &over)?;
    }
    finish(setup, &life, address, &mut feed.seen)?;
    feed.seen.seconds = began.elapsed().as_secs_f64();
    Ok(feed.seen)
}

struct Feed<'a> {
    stream: &'a Stream,
    /// The first batch that is not acknowledged yet.
    next: usize,
    /// The batches that may be sent in this life.
    limit: usize,
    random: Random,
    seen: Seen,
}

impl Feed<'_> {
    fn live_until_killed(
        &mut self,
        setup: &Setup,
        wait: Duration,
        aim: Option<Aim>,
        quiet: bool,
    ) -> anyhow::Result<()> {
        let life = setup.start()?;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                life.await_moment(wait, aim);
                over.store(true, Ordering::Relaxed);
                life.kill()
            });
            let fed = self.feed(&life, quiet, &over);
            let killed = killer.join().map_err(|_| anyhow::anyhow!("the killer panicked"))?;
            fed?;
            killed.context("cannot kill")
        })?;
        self.seen.kills += 1;
        life.reap()
    }

    fn feed(&mut self, life: &Life<'_>, quiet: bool, over: &AtomicBool) -> anyhow::Result<()> {
        let Some(address) = life.ready(over)? else {
            self.seen.kills_at_start += 1;
            return Ok(());
        };
        if quiet {
            self.recover(life, address, over)?;
        } else {
            self.seen.ready_ms.push(millis(life.started.elapsed()));
        }
        while !over.load(Ordering::Relaxed) {
            self.send(address, over)?;
        }
        Ok(())
    }

    /// Waits until the process has worked off what it found, and notes how long that took.
    fn recover(&mut self, life: &Life<'_>, address: SocketAddr, over: &AtomicBool) -> anyhow::Result<()> {
        self.seen.ready_ms.push(millis(life.started.elapsed()));
        if wait_until_idle(address, over)? {
            self.seen.recovered_ms.push(millis(life.started.elapsed()));
        }
        Ok(())
    }

    /// Sends the next batch, or one again that was acknowledged.
    fn send(&mut self, address: SocketAddr, over: &AtomicBool) -> anyhow::Result<()> {
        let again = self.next > 0 && (self.next >= self.limit || self.random.chance(AGAIN));
        if self.next >= self.limit && !again {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(());
        }
        let at = if again { self.random.below(self.next) } else { self.next };
        match http::post(address, INTAKE, NDJSON, self.stream.batch(at)) {
            Ok(Answer { status: 202, .. }) if again => self.seen.sent_again += 1,
            Ok(Answer { status: 202, .. }) => self.next += 1,
            // It asks to be asked again later.
            Ok(Answer { status: 503, .. }) => std::thread::sleep(Duration::from_millis(5)),
            Ok(Answer { status, body }) => {
                bail!("batch {at} was answered {status}: {}", String::from_utf8_lossy(&body));
            }
            Err(_) if over.load(Ordering::Relaxed) => self.seen.cut_off += 1,
            // The kill may be a moment away; one that did not come is found out when the life is reaped.
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
        Ok(())
    }
}

/// Waits until all is processed and every plan is at rest, asks what only a running process can tell, stops it.
#[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
pub fn finish(setup: &Setup, life: &Life<'_>, address: SocketAddr, seen: &mut Seen) -> anyhow::Result<()> {
    let over = AtomicBool::new(false);
    let store = oracle::open(&setup.data, "store.db")?;
    let since = Instant::now();
    loop {
        wait_until_idle(address, &over)?;
        // What did not come to rest in time is a violation that the oracle reports.
        if oracle::unsettled(&store)? == 0 || since.elapsed() > SETTLE_MAX {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_until_idle(address, &over)?;
    drop(store);
    check_tokens(setup, address, seen)?;
    match life.stop() {
        Ok(took) => seen.stop_ms = millis(took),
        Err(e) => seen.violations.push(format!("{e:#}")),
    }
    Ok(())
}

/// The API must say of each principal what the state holds, and 0 of one that was never revoked.
fn check_tokens(setup: &Setup, address: SocketAddr, seen: &mut Seen) -> anyhow::Result<()> {
    let state = oracle::open(&setup.data, "state.db")?;
    let mut statement = state.prepare("SELECT principal, not_before, version FROM token")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut expected: Vec<(String, i64, u64)> = rows.collect::<rusqlite::Result<_>>()?;
    expected.push(("aws:user:nobody-ever-heard-of".to_owned(), 0, 0));
    for (principal, not_before, version) in expected {
        let path = format!("/api/token-versions?principal={}", http::encoded(&principal));
        let said = http::get(address, &path)?.json()?;
        let right =
            said["version"] == version && said["not_before"] == not_before && said["principal"] == *principal;
        if !right {
            seen.violations.push(format!(
                "token version of {principal} is {version} since {not_before}, the API says {said}"
            ));
        }
    }
    Ok(())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One line that moves, where somebody watches.
#[allow(clippy::print_stderr, reason = "progress is for the person at the terminal")]
fn progress(kill: u32, kills: u32, batch: usize, batches: usize) {
    if std::io::stderr().is_terminal() {
        let end = if kill == kills { "\n" } else { "" };
        eprint!("\r  kill {kill} of {kills}, batch {batch} of {batches} acknowledged {end}");
    }
}
