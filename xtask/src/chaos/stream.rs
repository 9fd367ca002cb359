//! The workload: CloudTrail records with attacks in them, exact repeats, second channels and poison; the same for every run.

use crate::random::Random;
use anyhow::{Context, bail};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

const SCENARIOS: [&str; 6] = [
    "brute_force",
    "credential_theft_enumeration",
    "privilege_escalation",
    "log_tampering",
    "s3_exfiltration",
    "ransom_encrypt_delete",
];
/// The account in which the simulated company lives: `simulate/src/cast.rs`.
const ACCOUNT: &str = "111122223333";
/// Events for each round of all scenarios.
const ROUND_EVENTS: usize = 6_000;
/// The part of the stream over which one scenario is spread.
const OVERLAP: f64 = 0.3;
/// Largest batch, in records.
const BATCH_RECORDS_MAX: usize = 400;
/// How often a record is followed by what.
const REPEAT: f64 = 0.01;
const SECOND_CHANNEL: f64 = 0.004;
const POISON: f64 = 0.004;
const DUPLICATE_KEY: f64 = 0.001;

#[derive(Debug)]
pub struct Stream {
    pub bytes: Vec<u8>,
    /// Whole lines of `bytes`.
    pub batches: Vec<Range<usize>>,
    pub counts: Counts,
}

/// What is in it, by construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub lines: u64,
    /// Events that must exist in the end.
    pub events: u64,
    /// Dead letters that must exist in the end.
    pub poison: u64,
    /// The same bytes again.
    pub repeats: u64,
    /// The same event in other bytes.
    pub second_channel: u64,
    pub duplicate_keys: u64,
}

impl Stream {
    pub fn batch(&self, at: usize) -> &[u8] {
        self.batches.get(at).and_then(|range| self.bytes.get(range.clone())).unwrap_or_default()
    }
}

/// Lets `binary` write its scenarios into files of `folder`, and makes one stream of at least `events` events of them.
pub fn make(
    binary: &Path,
    folder: &Path,
    seed: u64,
    events: usize,
    batches: usize,
) -> anyhow::Result<Stream> {
    let rounds = (events / ROUND_EVENTS).max(1);
    let mut sources: Vec<Vec<String>> = Vec::new();
    for scenario in SCENARIOS.iter().cycle().take(rounds * SCENARIOS.len()) {
        // Each its own seed and its own account, so that each has its own principals and its own incident.
        let which = sources.len() as u64;
        let own = seed.wrapping_mul(1_000_003).wrapping_add(which);
        let account = format!("{:012}", 200_000_000_000 + which);
        let lines = generate(binary, folder, scenario, own)?;
        sources.push(lines.iter().map(|line| line.replace(ACCOUNT, &account)).collect());
    }
    trim(&mut sources, events);
    let mut random = Random::new(seed, 1);
    let (lines, counts) = spoil(interleave(sources), &mut random);
    anyhow::ensure!(counts.events as usize >= events, "the scenarios make only {} events", counts.events);
    Ok(cut(&lines, counts, batches, &mut random))
}

fn generate(binary: &Path, folder: &Path, scenario: &str, seed: u64) -> anyhow::Result<Vec<String>> {
    let file = folder.join(format!("{scenario}-{seed}.ndjson"));
    let mut command = Command::new(binary);
    command
        .env_clear()
        .args(["simulate-attack", "run", scenario, "--seed", &seed.to_string(), "--into"])
        .arg(&file);
    let done = command.output().with_context(|| format!("cannot run {}", binary.display()))?;
    if !done.status.success() {
        bail!("writing scenario {scenario}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    std::fs::remove_file(&file)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Leaves out the oldest records of each source: the attack stands at the end.
fn trim(sources: &mut [Vec<String>], events: usize) {
    let share = events.div_ceil(sources.len().max(1));
    for source in sources {
        source.drain(..source.len().saturating_sub(share));
    }
}

/// All sources at once, each in its own order; they end one after the other, so that there is an attack at any time.
fn interleave(sources: Vec<Vec<String>>) -> Vec<String> {
    let mut placed: Vec<(f64, usize, String)> = Vec::new();
    let count = sources.len() as f64;
    for (which, source) in sources.into_iter().enumerate() {
        let end = OVERLAP + (1.0 - OVERLAP) * (which as f64 + 1.0) / count;
        let step = OVERLAP / source.len() as f64;
        let place = |at: usize| end - OVERLAP + at as f64 * step;
        placed.extend(source.into_iter().enumerate().map(|(at, line)| (place(at), which, line)));
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    placed.into_iter().map(|(_, _, line)| line).collect()
}

/// Adds what real life adds: repeats, the same event by another channel, lines that are no records.
fn spoil(lines: Vec<String>, random: &mut Random) -> (Vec<String>, Counts) {
    let mut counts = Counts { events: lines.len() as u64, ..Counts::default() };
    let mut out: Vec<String> = Vec::with_capacity(lines.len() + lines.len() / 20);
    let mut originals: Vec<usize> = Vec::with_capacity(lines.len());
    for (at, mut line) in lines.into_iter().enumerate() {
        if random.chance(DUPLICATE_KEY) {
            line = line.replacen('{', "{\"awsRegion\":\"nowhere\",", 1);
            counts.duplicate_keys += 1;
        }
        originals.push(out.len());
        out.push(line);
        let earlier = originals
            .get(random.below(originals.len()))
            .and_then(|i| out.get(*i))
            .cloned()
            .unwrap_or_default();
        if random.chance(REPEAT) {
            counts.repeats += 1;
            out.push(earlier);
        } else if random.chance(SECOND_CHANNEL) && !earlier.starts_with("{\"awsRegion\":\"nowhere\"") {
            counts.second_channel += 1;
            // The number of blanks makes the bytes of every copy differ from those of all others.
            out.push(earlier.replacen('{', &format!("{{{}", " ".repeat(at % 1_000 + 1)), 1));
        } else if random.chance(POISON) {
            counts.poison += 1;
            out.push(poison(at));
        }
    }
    counts.lines = out.len() as u64;
    (out, counts)
}

/// A line that is no record, unlike any other.
fn poison(at: usize) -> String {
    match at % 4 {
        0 => format!("poison {at}: not JSON at all"),
        1 => format!("{{\"eventID\":\"poison-{at}\",\"eventName\":tru}}"),
        2 => format!("[\"poison\",{at},"),
        _ => format!("\"poison {at}\""),
    }
}

/// About `batches` batches of random size.
fn cut(lines: &[String], counts: Counts, batches: usize, random: &mut Random) -> Stream {
    let mean = (lines.len() / batches.max(1)).clamp(1, BATCH_RECORDS_MAX / 2);
    let mut stream = Stream { bytes: Vec::new(), batches: Vec::new(), counts };
    let mut rest = lines;
    while !rest.is_empty() {
        let (batch, more) = rest.split_at((random.below(2 * mean) + 1).min(rest.len()));
        let start = stream.bytes.len();
        for line in batch {
            stream.bytes.extend_from_slice(line.as_bytes());
            stream.bytes.push(b'\n');
        }
        stream.batches.push(start..stream.bytes.len());
        rest = more;
    }
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_same_for_the_same_seed_and_counts_what_it_holds() {
        let sources = |count: usize| -> Vec<Vec<String>> {
            (0..3).map(|s| (0..count).map(|n| format!("{{\"eventID\":\"{s}-{n}\"}}")).collect()).collect()
        };
        let make = |seed| {
            let mut random = Random::new(seed, 1);
            let mut sources = sources(2_000);
            trim(&mut sources, 3_000);
            let (lines, counts) = spoil(interleave(sources), &mut random);
            (lines.clone(), cut(&lines, counts, 50, &mut random))
        };
        let (lines, stream) = make(5);
        assert_eq!(stream.bytes, make(5).1.bytes);
        assert_ne!(stream.bytes, make(6).1.bytes);
        let counts = stream.counts;
        assert_eq!(counts.events, 3_000);
        assert_eq!(counts.lines, counts.events + counts.poison + counts.repeats + counts.second_channel);
        assert!(counts.poison > 0 && counts.repeats > 0 && counts.second_channel > 0, "{counts:?}");
        let distinct: std::collections::BTreeSet<&String> = lines.iter().collect();
        assert_eq!(distinct.len() as u64, counts.lines - counts.repeats);
        let joined: Vec<u8> = (0..stream.batches.len()).flat_map(|at| stream.batch(at).to_vec()).collect();
        assert_eq!(joined, stream.bytes);
        let place = |id: &str| lines.iter().position(|line| line.contains(id));
        assert!(place("0-1999") < place("1-1999") && place("2-1999") > place("2-1998"));
    }
}
