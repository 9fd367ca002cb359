//! Members of one role come, go, stand still and die while records flow: nothing is lost, and how long a partition that
//! moves stands still.

use super::crew::{Site, signal};
use super::holdings::{Said, each, header};
use crate::chaos::Spread;
use crate::chaos::stream::Stream;
use crate::random::Random;
use anyhow::Context;
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const PARTITIONS: i32 = 4;
const MEMBERS_MAX: usize = 4;
/// Records that arrive in a second.
const RATE: u64 = 200;
/// From one change to the next.
const BETWEEN_MIN: Duration = Duration::from_millis(1_500);
const BETWEEN_MEAN: Duration = Duration::from_millis(1_500);
/// A member that is silent for 10 s has lost its partitions; it wakes up after that.
const FROZEN: Duration = Duration::from_secs(13);
const PATIENCE: Duration = Duration::from_secs(60);

/// How the members of the group change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Change {
    /// They join and leave in order.
    Orderly,
    /// They are frozen for longer than their session lasts, and wake up; or they are killed.
    Sudden,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub change: Change,
    pub turns: u32,
    /// Partitions that another owner went on with.
    pub moves: usize,
    /// From the last output of an owner to the first one of the next, of each partition that moved.
    pub pause_ms: Spread,
    pub pause_ms_p99: u64,
    pub events: usize,
    pub again: u64,
    pub lost: u64,
    pub too_many: u64,
}

/// Events that last as long as the changes do.
pub fn events(change: Change, turns: u32) -> usize {
    let pause = if change == Change::Sudden { FROZEN } else { Duration::ZERO };
    turns as usize * (BETWEEN_MIN + BETWEEN_MEAN + pause).as_secs() as usize * RATE as usize
}

/// Lets the members change so often while the records of the stream flow.
pub fn run(
    site: &Site,
    brokers: &str,
    stream: &Stream,
    change: Change,
    turns: u32,
    seed: u64,
) -> anyhow::Result<Outcome> {
    let (over, mut fate) = (AtomicBool::new(false), Random::new(seed, 5));
    let mut members = Members { site, members: Vec::new() };
    members.join()?;
    members.join()?;
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| produce(brokers, &site.prefix, stream, &over));
        let changed = (0..turns).try_for_each(|_| {
            std::thread::sleep(BETWEEN_MIN + fate.exponential(BETWEEN_MEAN));
            members.change(change, &mut fate)
        });
        over.store(true, Ordering::Relaxed);
        let produced = producing.join().map_err(|_| anyhow::anyhow!("the producer panicked"))?;
        changed.and(produced)
    })?;
    wait_for(brokers, site, stream)?;
    drop(members);
    let (said, pauses) = read(brokers, site)?;
    let mut sorted = pauses.clone();
    sorted.sort_unstable();
    let p99 = sorted.get((sorted.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
    let events = said.first.len();
    Ok(Outcome {
        change,
        turns,
        moves: pauses.len(),
        pause_ms: Spread::of(pauses),
        pause_ms_p99: p99,
        events,
        again: said.again,
        lost: stream.counts.events.saturating_sub(events as u64),
        too_many: (events as u64).saturating_sub(stream.counts.events),
    })
}

/// The processes of the role.
struct Members<'a> {
    site: &'a Site,
    members: Vec<Child>,
}

impl Members<'_> {
    fn change(&mut self, change: Change, fate: &mut Random) -> anyhow::Result<()> {
        let which = fate.below(self.members.len());
        match change {
            Change::Orderly if self.members.len() < 2 => self.join(),
            Change::Orderly if self.members.len() < MEMBERS_MAX && fate.chance(0.5) => self.join(),
            Change::Orderly => {
                signal(self.members.get(which).context("no member")?, "TERM")?;
                let status = self.members.swap_remove(which).wait()?;
                anyhow::ensure!(status.success(), "SIGTERM ended a member with {status}");
                Ok(())
            }
            Change::Sudden if fate.chance(0.5) => {
                let frozen = self.members.get(which).context("no member")?;
                signal(frozen, "STOP")?;
                std::thread::sleep(FROZEN);
                signal(frozen, "CONT")
            }
            Change::Sudden => {
                self.members.get_mut(which).context("no member")?.kill()?;
                self.members.swap_remove(which).wait()?;
                self.join()?;
                std::thread::sleep(FROZEN);
                Ok(())
            }
        }
    }

    fn join(&mut self) -> anyhow::Result<()> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        self.members.push(self.site.start("ingest", None, address)?);
        Ok(())
    }
}

impl Drop for Members<'_> {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

/// The records at an even pace, and what is left of them at once when it is over. The same bytes have the same key.
#[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
fn produce(brokers: &str, prefix: &str, stream: &Stream, over: &AtomicBool) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("enable.idempotence", "true");
    config.set("partitioner", "murmur2_random").set("linger.ms", "1");
    let producer: BaseProducer = config.create()?;
    let (topic, since) = (format!("{prefix}.records.v1"), Instant::now());
    let lines = stream.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (at, line) in lines.enumerate() {
        while !over.load(Ordering::Relaxed) && at as u64 > since.elapsed().as_millis() as u64 * RATE / 1_000 {
            producer.poll(Duration::from_millis(2));
        }
        let source = Header { key: "ce_source", value: Some("aws.cloudtrail") };
        let key = line.iter().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        let key = format!("k{}", key % 64);
        let headers = OwnedHeaders::new().insert(source);
        let mut record = BaseRecord::to(&topic).key(&key).payload(line).headers(headers);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(20));
        }
    }
    producer.flush(PATIENCE).context("the last records were not taken")
}

/// Waits until every event has come, or nothing does any more.
#[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
fn wait_for(brokers: &str, site: &Site, stream: &Stream) -> anyhow::Result<()> {
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        if read(brokers, site)?.0.first.len() as u64 >= stream.counts.events {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// All events, and how long each partition stood still that moved, in milliseconds by the broker's clock.
fn read(brokers: &str, site: &Site) -> anyhow::Result<(Said, Vec<u64>)> {
    let mut said = Said::default();
    // Of each lane: when it said something, and under which claim.
    let mut spoken: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    each(brokers, &format!("{}.events.v1", site.prefix), PARTITIONS, |message| {
        let claim = header(message, "prunella_claim").context("no prunella_claim")?;
        let mut parts = claim.rsplit('@').skip(1);
        let epoch = parts.next().and_then(|epoch| epoch.parse().ok()).context("no epoch")?;
        let lane = parts.next().context("no lane")?.to_owned();
        let at = message.timestamp().to_millis().context("no timestamp")?;
        spoken.entry(lane).or_default().push((at, epoch));
        said.take(message)
    })?;
    Ok((said, spoken.into_values().flat_map(pauses).collect()))
}

/// From the last word under one claim to the first under a later one.
fn pauses(mut spoken: Vec<(i64, i64)>) -> Vec<u64> {
    spoken.sort_unstable();
    let (mut pauses, mut last): (Vec<u64>, Option<(i64, i64)>) = (Vec::new(), None);
    for (at, epoch) in spoken {
        match last {
            Some((before, earlier)) if epoch > earlier => {
                pauses.push(u64::try_from(at - before).unwrap_or_default());
                last = Some((at, epoch));
            }
            // What a replaced owner says late is no sign of life of the partition.
            Some((_, earlier)) if epoch < earlier => {}
            _ => last = Some((at, epoch)),
        }
    }
    pauses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_lies_between_two_owners() {
        let spoken = vec![(10, 1), (20, 1), (90, 1), (50, 2), (60, 2), (70, 5)];
        assert_eq!(pauses(spoken), [30, 10]);
    }
}
