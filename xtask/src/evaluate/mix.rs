//! The mix: weeks of benign records, one account's real day again and again with parts left out, and attacks in the
//! last days.
//!
//! Newcomers come all the time: twins of the roles, who do what those do, and one administrator, so that to be new is
//! not by itself an attack either.
//!
//! The benign records are the work of services. Samples that their authors did not call attacks, nor benign, are
//! played as four administrators, so that administration is not by itself an attack; they are counted apart. A tenth
//! of the pairs of principal and operation never happens in the training days, so that neither is novelty.

use super::callers::{ADMINISTRATORS, administrators, roles, user};
use super::joiners::joiners;
use super::rewrite::{Guise, rewrite};
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
pub(super) const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
pub(super) const WORK_STARTS_MS: i64 = 8 * HOUR_MS;
pub(super) const WORK_MS: i64 = 10 * HOUR_MS;
/// How often a principal does one of its things on a day, and each record of it.
pub(super) const PAIR_CHANCE: f64 = 0.75;
pub(super) const RECORD_CHANCE: f64 = 0.75;
const LATE_SHARE: f64 = 0.1;
/// A shorter name could stand inside any word.
const NAME_BYTES_MIN: usize = 5;
/// How often an unlabelled record happens on a day.
pub(super) const UNLABELLED_CHANCE: f64 = 0.2;

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
    pub benign: Vec<Value>,
    /// Samples of calls that need not be benign.
    pub unlabelled: Vec<Value>,
    /// With the technique of each.
    attacks: Vec<(String, Value)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    Benign,
    Unlabelled,
    /// Of this technique.
    Attack(String),
}

pub struct Line {
    pub time: Timestamp,
    pub record: Value,
    pub label: Label,
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
            let path = data.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let records = |name: &str| -> anyhow::Result<Vec<Value>> {
            read(name)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
        };
        let attacks = records("aws/stratus_detonation.masked.jsonl")?;
        let labels = read("aws/stratus_detonation.labels.csv")?;
        let technique = |row: &str| row.split(',').nth(4).unwrap_or_default().to_owned();
        let techniques: Vec<String> = labels.lines().skip(1).map(technique).collect();
        ensure!(techniques.len() == attacks.len(), "labels and attack records differ in number");
        let attacks = techniques.into_iter().zip(attacks).collect();
        let mut unlabelled = records("aws/c7n_cloudtrail_samples.jsonl")?;
        unlabelled.extend(records("rules/panther_cases.jsonl")?.into_iter().filter_map(quiet_case));
        unlabelled.retain(|record| !operation(record).is_empty() && record["eventSource"].is_string());
        Ok(Sources { benign: records("aws/opensearch_benign.jsonl")?, unlabelled, attacks })
    }
}

/// The CloudTrail record of a test of a rule that must keep quiet.
fn quiet_case(mut case: Value) -> Option<Value> {
    let is_trail = case["log_types"].to_string().contains("\"AWS.CloudTrail\"");
    let mut record = (is_trail && case["expected"] == false).then(|| case["event"].take())?;
    // What the owner of the tests adds to a record.
    record.as_object_mut()?.retain(|field, _| !field.starts_with("p_"));
    Some(record)
}

/// The same seed gives the same benign records whatever the attackers use.
pub fn mix(sources: &Sources, variant: Variant, seed: u64) -> Mix {
    let start = Timestamp::parse(START).unwrap_or_default();
    let test_start = start.plus_ms(calendar_days(TRAINING_DAYS) * DAY_MS);
    let names = role_names(sources);
    let mut lines = benign(sources, start, &names, &mut Random::new(seed, 1));
    lines.extend(joiners(sources, start, &names, &mut Random::new(seed, 8)));
    lines.extend(unlabelled(sources, start, &names, &mut Random::new(seed, 7)));
    lines.extend(attacks(sources, variant, test_start, &names, seed));
    let mut ids = Random::new(seed, 6);
    lines.sort_by_key(|line| line.time);
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
pub(super) fn calendar_days(working: i64) -> i64 {
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
                        lines.push(line(
                            record,
                            begin.plus_ms(late),
                            Label::Benign,
                            Disguise::default(),
                            names,
                        ));
                    }
                }
            }
        }
    }
    lines
}

/// Administrators work at random moments of the working hours.
fn unlabelled(
    sources: &Sources,
    start: Timestamp,
    names: &BTreeMap<String, String>,
    random: &mut Random,
) -> Vec<Line> {
    let administrators = administrators(sources, names);
    let mut first_day: BTreeMap<(usize, &str), i64> = BTreeMap::new();
    let mut lines = Vec::new();
    let played = |at: usize| at % ADMINISTRATORS;
    for (at, record) in sources.unlabelled.iter().enumerate() {
        let pair = (played(at), operation(record));
        let late = random.chance(LATE_SHARE);
        let day = TRAINING_DAYS + random.below(TEST_DAYS as usize) as i64;
        first_day.entry(pair).or_insert(if late { day } else { 0 });
    }
    for day in 0..TRAINING_DAYS + TEST_DAYS {
        for (at, record) in sources.unlabelled.iter().enumerate() {
            let within = WORK_STARTS_MS + random.below(WORK_MS as usize) as i64;
            let begun = first_day.get(&(played(at), operation(record))).is_none_or(|first| day >= *first);
            let Some(administrator) = administrators.get(played(at)) else { continue };
            if random.chance(UNLABELLED_CHANCE) && begun {
                let disguise = Disguise {
                    identity: Some(administrator.identity.clone()),
                    address: administrator.addresses.first().map(String::as_str),
                    agent: None,
                };
                let time = start.plus_ms(calendar_days(day) * DAY_MS + within);
                lines.push(line(record, time, Label::Unlabelled, disguise, names));
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
    let mut callers = administrators(sources, names);
    callers.extend(roles(sources));
    let mut draws: Vec<Random> = (2..6).map(|purpose| Random::new(seed, purpose)).collect();
    let mut lines = Vec::new();
    for (number, (technique, records)) in techniques.iter().enumerate() {
        let [moments, identities, networks, agents] = &mut draws[..] else { return lines };
        let times = || records.iter().filter_map(|record| happened(record));
        let origin = times().min().unwrap_or_default();
        let room = WORK_MS - times().max().unwrap_or_default().since_ms(origin);
        let day = moments.below(TEST_DAYS as usize) as i64;
        let within = WORK_STARTS_MS + moments.below(room.max(1) as usize) as i64;
        let begin = test_start.plus_ms(calendar_days(day) * DAY_MS + within);
        let Some(caller) = callers.get(identities.below(callers.len())) else { return lines };
        let known = caller.addresses.get(networks.below(caller.addresses.len()));
        let mut byte = |first: usize, count: usize| first + networks.below(count);
        let fresh = format!("{}.{}.{}.{}", byte(80, 16), byte(0, 256), byte(0, 256), byte(1, 254));
        let address = if variant.elsewhere { Some(&fresh) } else { known };
        let agent = caller.agents.get(agents.below(caller.agents.len()));
        let newcomer = || user(names.len() + ADMINISTRATORS + 1 + number);
        let disguise = Disguise {
            identity: Some(if variant.stolen { caller.identity.clone() } else { newcomer() }),
            address: address.map(String::as_str),
            agent: agent.filter(|_| variant.borrowed_agent).map(String::as_str),
        };
        for record in records {
            let late = happened(record).unwrap_or(origin).since_ms(origin);
            let label = Label::Attack((*technique).to_owned());
            lines.push(line(record, begin.plus_ms(late), label, disguise.clone(), names));
        }
    }
    lines
}

#[derive(Clone, Default)]
pub(super) struct Disguise<'a> {
    pub identity: Option<Value>,
    pub address: Option<&'a str>,
    pub agent: Option<&'a str>,
}

pub(super) fn line(
    record: &Value,
    time: Timestamp,
    label: Label,
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
    if let Some(own) = own.filter(|own| identity.is_some() && own.len() >= NAME_BYTES_MIN) {
        names.insert(own.to_owned(), new.unwrap_or("principal").to_owned());
    }
    let guise =
        Guise { event_id: String::new(), time: seconds(time), identity, address, agent, names: &names };
    Line { time, record: rewrite(record, guise), label }
}

/// `2026-09-07T09:00:00Z`, as CloudTrail writes it.
fn seconds(time: Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => text,
    }
}

pub(super) fn happened(record: &Value) -> Option<Timestamp> {
    Timestamp::parse(record["eventTime"].as_str()?)
}

#[cfg(test)]
mod tests {
    use super::super::rewrite::ACCOUNT;
    use super::*;

    fn call(name: &str, operation: &str, account: &str, region: &str, time: &str, from: &str) -> Value {
        json!({
            "userIdentity": {
                "type": "AssumedRole", "accountId": account, "arn": format!("arn:aws:sts::{account}:assumed-role/{name}/s"),
                "sessionContext": {"sessionIssuer": {"arn": format!("arn:aws:iam::{account}:role/{name}"), "userName": name}},
            },
            "eventName": operation, "eventSource": "s3.amazonaws.com", "eventTime": time, "awsRegion": region,
            "sourceIPAddress": from, "userAgent": "tool/1", "recipientAccountId": account, "eventID": "old",
        })
    }

    fn sources() -> Sources {
        let benign = |n: usize| {
            let operation = ["GetObject", "PutObject", "ListBuckets"][n % 3];
            let time = format!("2021-12-02T22:11:{:02}Z", n % 60);
            call(&format!("Reader{}", n % 2), operation, "347283850106", "eu-north-1", &time, "54.73.36.57")
        };
        let attack = |n: usize| {
            let time = format!("2024-08-01T12:00:{:02}Z", 7 * n);
            let mut record = call("x", "DeleteTrail", "294599468799", "me-northwest-3r", &time, "254.2.2.2");
            record["userIdentity"] =
                json!({"type": "IAMUser", "userName": "christophe", "accountId": "294599468799"});
            record["requestParameters"] =
                json!({"name": "arn:aws:cloudtrail:me-northwest-3r:294599468799:trail/christophe"});
            (format!("technique{}", n % 3), record)
        };
        let quiet = |n: usize| {
            call(
                "Someone",
                ["RunInstances", "CreateUser"][n % 2],
                "123456789012",
                "us-east-1",
                "",
                "10.0.0.1",
            )
        };
        Sources {
            benign: (0..40).map(benign).collect(),
            unlabelled: (0..20).map(quiet).collect(),
            attacks: (0..6).map(attack).collect(),
        }
    }

    #[test]
    fn attacks_keep_their_label_and_lose_their_origin() {
        for variant in Variant::all() {
            let mix = mix(&sources(), variant, 1);
            let is_attack = |line: &&Line| matches!(line.label, Label::Attack(_));
            assert_eq!(mix.training.iter().filter(is_attack).count(), 0);
            let attacks: Vec<&Line> = mix.test.iter().filter(is_attack).collect();
            assert_eq!(attacks.len(), 6);
            for line in &attacks {
                assert_eq!(operation(&line.record), "DeleteTrail", "the label stays with its record");
                assert_eq!(line.record["userAgent"], "tool/1");
            }
            let gone = [
                "347283850106",
                "294599468799",
                "123456789012",
                "northwest",
                "north-1",
                "christophe",
                "Reader",
                "254.2",
                "\"old\"",
            ];
            for line in mix.training.iter().chain(&mix.test) {
                let text = line.record.to_string();
                assert!(gone.iter().all(|word| !text.contains(word)), "{text}");
                assert_eq!(line.record["eventTime"].as_str(), Some(seconds(line.time).as_str()));
                assert_eq!(
                    (&line.record["recipientAccountId"], &line.record["awsRegion"]),
                    (&json!(ACCOUNT), &json!("eu-west-1"))
                );
            }
            let pasts: BTreeSet<&str> = mix.training.iter().map(|line| principal(&line.record)).collect();
            let networks: BTreeSet<_> =
                mix.training.iter().filter_map(|line| address(&line.record)).collect();
            assert!(attacks.iter().all(|line| pasts.contains(principal(&line.record)) == variant.stolen));
            let known = |line: &&Line| address(&line.record).is_some_and(|from| networks.contains(from));
            assert!(attacks.iter().all(|line| known(line) != variant.elsewhere));
        }
    }

    #[test]
    fn both_kinds_span_the_same_working_days_in_order() {
        let Some(variant) = Variant::all().next() else { panic!("no variant") };
        let mix = mix(&sources(), variant, 3);
        let days = |lines: &[Line]| {
            lines.iter().map(|line| line.time.millis() / DAY_MS).collect::<BTreeSet<_>>().len()
        };
        assert_eq!((days(&mix.training), days(&mix.test)), (TRAINING_DAYS as usize, TEST_DAYS as usize));
        for lines in [&mix.training, &mix.test] {
            assert!(lines.is_sorted_by_key(|line| line.time));
            assert!(lines.iter().all(|line| (8..19).contains(&line.time.hour())));
        }
        let ids: BTreeSet<&str> =
            mix.test.iter().filter_map(|line| line.record["eventID"].as_str()).collect();
        assert_eq!(ids.len(), mix.test.len());
    }

    #[test]
    fn a_seed_is_a_mix_and_the_attackers_change_no_benign_record() {
        let text = |mix: &Mix| mix.test.iter().map(|line| line.record.to_string()).collect::<Vec<_>>();
        let of =
            |at: usize, seed| Variant::all().nth(at).map(|variant| mix(&sources(), variant, seed)).unwrap();
        assert_eq!(text(&of(0, 1)), text(&of(0, 1)));
        assert_ne!(text(&of(0, 1)), text(&of(0, 2)));
        let training = |mix: Mix| mix.training.iter().map(|line| line.record.to_string()).collect::<Vec<_>>();
        assert_eq!(training(of(0, 1)), training(of(7, 1)));
    }
}
