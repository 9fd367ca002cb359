//! The mix: weeks of benign records, one account's real day again and again with parts left out, and attacks in the
//! last days.
//!
//! A tenth of the benign pairs of principal and operation never happens in the training days, so that what is new is
//! not by itself an attack.

use super::rewrite::{ACCOUNT, Guise, rewrite};
use crate::random::Random;
use anyhow::{Context, ensure};
use prunella_schemas::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A Monday.
const START: &str = "2026-09-07T00:00:00Z";
pub const TRAINING_DAYS: i64 = 20;
pub const TEST_DAYS: i64 = 10;
const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
const WORK_STARTS_MS: i64 = 8 * HOUR_MS;
const WORK_MS: i64 = 10 * HOUR_MS;
/// How often a principal does one of its things on a day, and each record of it.
const PAIR_CHANCE: f64 = 0.75;
const RECORD_CHANCE: f64 = 0.75;
const LATE_SHARE: f64 = 0.1;
/// A principal with fewer records has no past worth stealing.
const VICTIM_RECORDS_MIN: usize = 5;

/// What the attackers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The identity of a benign principal with a past, or each technique a user of its own, never seen before.
    pub stolen: bool,
    /// A network that was never seen before, or one of the benign ones.
    pub elsewhere: bool,
    /// A benign user agent, or the tool's own.
    pub borrowed_agent: bool,
}

impl Variant {
    pub fn all() -> impl Iterator<Item = Variant> {
        (0..8u8).map(|bits| Variant {
            stolen: bits & 4 == 0,
            elsewhere: bits & 2 != 0,
            borrowed_agent: bits & 1 != 0,
        })
    }

    fn words(self) -> [&'static str; 3] {
        [
            if self.stolen { "stolen" } else { "newcomer" },
            if self.elsewhere { "elsewhere" } else { "aligned" },
            if self.borrowed_agent { "borrowed-agent" } else { "own-agent" },
        ]
    }

    pub fn name(self) -> String {
        self.words().join(", ")
    }

    pub fn file_name(self) -> String {
        self.words().join("-")
    }
}

/// The published records.
pub struct Sources {
    benign: Vec<Value>,
    /// With the technique of each.
    attacks: Vec<(String, Value)>,
}

pub struct Line {
    pub time: Timestamp,
    pub record: Value,
    /// Of an attack.
    pub technique: Option<String>,
}

/// Both parts in order of time.
pub struct Mix {
    pub training: Vec<Line>,
    pub test: Vec<Line>,
    /// When the test days begin.
    pub test_start: Timestamp,
}

impl Sources {
    pub fn read(data: &Path) -> anyhow::Result<Sources> {
        let read = |name: &str| {
            let path = data.join("aws").join(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let records = |name: &str| -> anyhow::Result<Vec<Value>> {
            read(name)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
        };
        let attacks = records("stratus_detonation.masked.jsonl")?;
        let labels = read("stratus_detonation.labels.csv")?;
        let technique = |row: &str| row.split(',').nth(4).unwrap_or_default().to_owned();
        let techniques: Vec<String> = labels.lines().skip(1).map(technique).collect();
        ensure!(techniques.len() == attacks.len(), "labels and attack records differ in number");
        let attacks = techniques.into_iter().zip(attacks).collect();
        Ok(Sources { benign: records("opensearch_benign.jsonl")?, attacks })
    }
}

/// The same seed gives the same benign records whatever the attackers use.
pub fn mix(sources: &Sources, variant: Variant, seed: u64) -> Mix {
    let start = Timestamp::parse(START).unwrap_or_default();
    let test_start = start.plus_ms(calendar_days(TRAINING_DAYS) * DAY_MS);
    let names = role_names(sources);
    let mut lines = benign(sources, start, &names, &mut Random::new(seed, 1));
    lines.extend(attacks(sources, variant, test_start, &names, seed));
    let mut ids = Random::new(seed, 6);
    lines.sort_by(|a, b| a.time.cmp(&b.time));
    for line in &mut lines {
        let (high, low) = (ids.next(), ids.next());
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFF,
            low >> 52,
            low & 0xFFFF_FFFF_FFFF
        );
        line.record["eventID"] = json!(id);
    }
    let split = lines.partition_point(|line| line.time < test_start);
    let test = lines.split_off(split);
    Mix { training: lines, test, test_start }
}

/// Who acts, as far as the mix must tell principals apart.
pub fn principal(record: &Value) -> &str {
    let identity = &record["userIdentity"];
    let names =
        [&identity["sessionContext"]["sessionIssuer"]["arn"], &identity["arn"], &identity["invokedBy"]];
    names.into_iter().find_map(Value::as_str).unwrap_or_default()
}

pub fn operation(record: &Value) -> &str {
    record["eventName"].as_str().unwrap_or_default()
}

/// The address of a caller; services have names instead.
pub fn address(record: &Value) -> Option<&str> {
    record["sourceIPAddress"].as_str().filter(|from| from.parse::<std::net::IpAddr>().is_ok())
}

/// Working days into days: five of seven.
fn calendar_days(working: i64) -> i64 {
    working / 5 * 7 + working % 5
}

/// Names of a customer's roles become numbers; AWS names its own roles for everybody.
fn role_names(sources: &Sources) -> BTreeMap<String, String> {
    let issuer = |record: &Value| {
        let name = record["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"].as_str()?.to_owned();
        (!principal(record).contains(":role/aws-service-role/")).then_some(name)
    };
    let names: BTreeSet<String> = sources.benign.iter().filter_map(issuer).collect();
    names.into_iter().zip(1..).map(|(name, number)| (name, format!("principal-{number:02}"))).collect()
}

/// Each principal does its work once a day, at an hour of its own choice and in the pace of the records.
fn benign(
    sources: &Sources,
    start: Timestamp,
    names: &BTreeMap<String, String>,
    random: &mut Random,
) -> Vec<Line> {
    let mut pairs: BTreeMap<&str, BTreeMap<&str, Vec<&Value>>> = BTreeMap::new();
    for record in &sources.benign {
        pairs.entry(principal(record)).or_default().entry(operation(record)).or_default().push(record);
    }
    let days = TRAINING_DAYS + TEST_DAYS;
    let mut first_day: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for (who, operations) in &pairs {
        for what in operations.keys() {
            if random.chance(LATE_SHARE) {
                first_day.insert((who, what), TRAINING_DAYS + random.below(TEST_DAYS as usize) as i64);
            }
        }
    }
    let origin = sources.benign.iter().filter_map(happened).min().unwrap_or_default();
    let mut lines = Vec::new();
    for day in 0..days {
        for (who, operations) in &pairs {
            let begin = start.plus_ms(
                calendar_days(day) * DAY_MS + WORK_STARTS_MS + random.below(WORK_MS as usize) as i64,
            );
            for (what, records) in operations {
                let active = first_day.get(&(*who, *what)).is_none_or(|first| day >= *first);
                if !random.chance(PAIR_CHANCE) || !active {
                    continue;
                }
                for record in records {
                    if random.chance(RECORD_CHANCE) {
                        let late = happened(record).unwrap_or(origin).since_ms(origin);
                        lines.push(line(record, begin.plus_ms(late), None, Disguise::default(), names));
                    }
                }
            }
        }
    }
    lines
}

/// Each technique starts at a random moment of the working hours and keeps its own pace.
fn attacks(
    sources: &Sources,
    variant: Variant,
    test_start: Timestamp,
    names: &BTreeMap<String, String>,
    seed: u64,
) -> Vec<Line> {
    let mut techniques: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for (technique, record) in &sources.attacks {
        techniques.entry(technique).or_default().push(record);
    }
    let victims = victims(sources);
    let callers: Vec<&Value> = sources.benign.iter().filter(|record| address(record).is_some()).collect();
    let mut draws: Vec<Random> = (2..6).map(|purpose| Random::new(seed, purpose)).collect();
    let mut lines = Vec::new();
    for (number, (technique, records)) in techniques.iter().enumerate() {
        let [moments, identities, networks, agents] = &mut draws[..] else { return lines };
        let origin = records.iter().filter_map(|record| happened(record)).min().unwrap_or_default();
        let last = records.iter().filter_map(|record| happened(record)).max().unwrap_or_default();
        let room = (WORK_MS - last.since_ms(origin)).max(1);
        let day = moments.below(TEST_DAYS as usize) as i64;
        let within = WORK_STARTS_MS + moments.below(room as usize) as i64;
        let begin = test_start.plus_ms(calendar_days(day) * DAY_MS + within);
        let victim = &victims[identities.below(victims.len())..];
        let own_calls = victim.first().map_or(&callers, |victim| victim);
        let company = if variant.stolen { own_calls } else { &callers };
        let (from, with) = (networks.below(company.len()), agents.below(company.len()));
        let fresh = format!(
            "{}.{}.{}.{}",
            80 + networks.below(16),
            networks.below(256),
            networks.below(256),
            1 + networks.below(254)
        );
        let known = company.get(from).and_then(|record| address(record)).unwrap_or_default();
        let agent = company.get(with).and_then(|record| record["userAgent"].as_str());
        let newcomer = newcomer(names.len() + 1 + number);
        let identity = if variant.stolen {
            own_calls.first().map(|record| record["userIdentity"].clone())
        } else {
            Some(newcomer)
        };
        let disguise = Disguise {
            identity,
            address: Some(if variant.elsewhere { &fresh } else { known }),
            agent: agent.filter(|_| variant.borrowed_agent),
        };
        for record in records {
            let late = happened(record).unwrap_or(origin).since_ms(origin);
            lines.push(line(record, begin.plus_ms(late), Some(technique), disguise.clone(), names));
        }
    }
    lines
}

/// Calls from an address of principals that have a past and can be robbed: roles of the customer, not of AWS.
fn victims(sources: &Sources) -> Vec<Vec<&Value>> {
    let mut calls: BTreeMap<&str, (usize, Vec<&Value>)> = BTreeMap::new();
    for record in &sources.benign {
        let (count, from_address) = calls.entry(principal(record)).or_default();
        *count += 1;
        if address(record).is_some() {
            from_address.push(record);
        }
    }
    let robbed =
        |(count, calls): (usize, Vec<_>)| (count >= VICTIM_RECORDS_MIN && !calls.is_empty()).then_some(calls);
    calls.into_values().filter_map(robbed).collect()
}

fn newcomer(number: usize) -> Value {
    let name = format!("principal-{number:02}");
    json!({
        "type": "IAMUser", "userName": name, "accountId": ACCOUNT, "arn": format!("arn:aws:iam::{ACCOUNT}:user/{name}"),
        "principalId": format!("AIDA-EX-{number:08}"), "accessKeyId": format!("AKIA-EX-{number:08}"),
    })
}

#[derive(Clone, Default)]
struct Disguise<'a> {
    identity: Option<Value>,
    address: Option<&'a str>,
    agent: Option<&'a str>,
}

fn line(
    record: &Value,
    time: Timestamp,
    technique: Option<&str>,
    disguise: Disguise<'_>,
    names: &BTreeMap<String, String>,
) -> Line {
    // CloudTrail tells time to the second.
    let time = time.plus_ms(-(time.millis().rem_euclid(1_000)));
    let Disguise { identity, address, agent } = disguise;
    let mut names = names.clone();
    // The attackers' own name, wherever the calls mention it.
    let own = record["userIdentity"]["userName"].as_str();
    let new = identity.as_ref().and_then(|identity| identity["userName"].as_str());
    if let Some(own) = own.filter(|_| identity.is_some()) {
        names.insert(own.to_owned(), new.unwrap_or("principal").to_owned());
    }
    let guise =
        Guise { event_id: String::new(), time: seconds(time), identity, address, agent, names: &names };
    Line { time, record: rewrite(record, guise), technique: technique.map(str::to_owned) }
}

/// `2026-09-07T09:00:00Z`, as CloudTrail writes it.
fn seconds(time: Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => text,
    }
}

fn happened(record: &Value) -> Option<Timestamp> {
    Timestamp::parse(record["eventTime"].as_str()?)
}
