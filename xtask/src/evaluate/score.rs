//! What was found and what was called by mistake, as counts, beside rules of one feature.

use super::mix::{Line, Mix, Variant, address, operation, principal};
use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const SECONDS_PER_DAY: i64 = 86_400;

#[derive(Debug, Serialize)]
pub struct Outcome {
    pub variant: String,
    pub training_records: usize,
    pub benign_records: usize,
    pub attack_records: usize,
    /// Attack records that are evidence of a finding.
    pub attack_records_found: usize,
    pub techniques_found: usize,
    /// With at least one finding whose evidence holds a record of the technique.
    pub techniques: Vec<Technique>,
    /// Of the test days, with an attack record in the evidence, and without one.
    pub findings_right: usize,
    pub findings_wrong: usize,
    pub findings_wrong_per_1000: f64,
    /// By analytic.
    pub wrong_by: BTreeMap<String, usize>,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
pub struct Technique {
    pub technique: String,
    pub records: usize,
    pub records_found: usize,
    pub found_by: BTreeSet<String>,
}

/// A rule that alerts on a value which the records so far hold fewer than `fewer_than` times; once a day for each
/// principal and operation.
#[derive(Debug, Serialize)]
pub struct Rule {
    pub rule: &'static str,
    pub fewer_than: u32,
    pub techniques_found: usize,
    pub alerts_right: usize,
    pub alerts_wrong: usize,
}

pub fn score(mix: &Mix, variant: Variant, findings: &[Value]) -> anyhow::Result<Outcome> {
    let technique_of: BTreeMap<&str, &str> = mix.test.iter().filter_map(attack).collect();
    let mut techniques: BTreeMap<&str, Technique> = BTreeMap::new();
    for technique in technique_of.values() {
        let empty = || Technique {
            technique: (*technique).to_owned(),
            records: 0,
            records_found: 0,
            found_by: BTreeSet::new(),
        };
        techniques.entry(technique).or_insert_with(empty).records += 1;
    }
    let (mut right, mut found) = (0, BTreeSet::new());
    let mut wrong_by: BTreeMap<String, usize> = BTreeMap::new();
    for finding in findings {
        let time = finding["time"].as_i64().context("a finding without a time")?;
        if time < mix.test_start.millis() {
            continue;
        }
        let by = finding["finding_info"]["analytic"]["uid"].as_str().unwrap_or("?");
        let evidence = finding["finding_info"]["related_events"].as_array().into_iter().flatten();
        let ids: Vec<&str> = evidence.filter_map(|event| event["uid"].as_str()).collect();
        let attacks: Vec<_> = ids.iter().filter_map(|id| technique_of.get_key_value(id)).collect();
        for (id, technique) in &attacks {
            found.insert(**id);
            if let Some(technique) = techniques.get_mut(**technique) {
                technique.found_by.insert(by.to_owned());
            }
        }
        match attacks.is_empty() {
            true => *wrong_by.entry(by.to_owned()).or_default() += 1,
            false => right += 1,
        }
    }
    for id in &found {
        if let Some(technique) = technique_of.get(id).and_then(|technique| techniques.get_mut(technique)) {
            technique.records_found += 1;
        }
    }
    let wrong = wrong_by.values().sum();
    let benign_records = mix.test.len() - technique_of.len();
    Ok(Outcome {
        variant: variant.name(),
        training_records: mix.training.len(),
        benign_records,
        attack_records: technique_of.len(),
        attack_records_found: found.len(),
        techniques_found: techniques.values().filter(|technique| technique.records_found > 0).count(),
        techniques: techniques.into_values().collect(),
        findings_right: right,
        findings_wrong: wrong,
        findings_wrong_per_1000: wrong as f64 * 1_000.0 / benign_records.max(1) as f64,
        wrong_by,
        rules: FEATURES.iter().map(|feature| Rule::best(feature, mix, wrong)).collect(),
    })
}

fn attack(line: &Line) -> Option<(&str, &str)> {
    Some((line.record["eventID"].as_str()?, line.technique.as_deref()?))
}

struct Feature {
    name: &'static str,
    value: fn(&Value) -> String,
}

/// What a rule of one feature may look at.
const FEATURES: [Feature; 5] = [
    Feature { name: "operation", value: |record| operation(record).to_owned() },
    Feature { name: "principal", value: |record| principal(record).to_owned() },
    Feature {
        name: "principal and operation",
        value: |record| format!("{} {}", principal(record), operation(record)),
    },
    Feature {
        name: "principal and network",
        value: |record| {
            let network = address(record).and_then(|address| address.rsplit_once('.'));
            format!("{} {}", principal(record), network.map_or("", |(network, _)| network))
        },
    },
    Feature {
        name: "principal and user agent",
        value: |record| format!("{} {}", principal(record), record["userAgent"].as_str().unwrap_or_default()),
    },
];

/// The limits that are tried.
const FEWER_THAN_MAX: u32 = 20;

impl Rule {
    /// With the limit that finds most at no more wrong alerts than `wrong_max`; where there is none, the one with the
    /// fewest.
    fn best(feature: &Feature, mix: &Mix, wrong_max: usize) -> Rule {
        let rules = (1..=FEWER_THAN_MAX).map(|fewer_than| Rule::apply(feature, mix, fewer_than));
        let key = |rule: &Rule| {
            let over = rule.alerts_wrong.saturating_sub(wrong_max);
            (std::cmp::Reverse(over), rule.techniques_found, std::cmp::Reverse(rule.alerts_wrong))
        };
        let best = rules.reduce(|best, rule| if key(&rule) > key(&best) { rule } else { best });
        best.unwrap_or(Rule {
            rule: feature.name,
            fewer_than: 0,
            techniques_found: 0,
            alerts_right: 0,
            alerts_wrong: 0,
        })
    }

    fn apply(feature: &Feature, mix: &Mix, fewer_than: u32) -> Rule {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for line in &mix.training {
            *seen.entry((feature.value)(&line.record)).or_default() += 1;
        }
        let (mut techniques, mut right, mut wrong) = (BTreeSet::new(), 0, 0);
        let mut said = BTreeSet::new();
        for line in &mix.test {
            let count = seen.entry((feature.value)(&line.record)).or_default();
            let rare = *count < fewer_than;
            *count += 1;
            let day = line.time.millis() / 1_000 / SECONDS_PER_DAY;
            if !rare || !said.insert((day, principal(&line.record), operation(&line.record))) {
                continue;
            }
            match &line.technique {
                Some(technique) => {
                    techniques.insert(technique);
                    right += 1;
                }
                None => wrong += 1,
            }
        }
        Rule {
            rule: feature.name,
            fewer_than,
            techniques_found: techniques.len(),
            alerts_right: right,
            alerts_wrong: wrong,
        }
    }
}

/// As text: the variants, the rules, and each technique in each variant.
pub fn tables(outcomes: &[Outcome]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let Some(first) = outcomes.first() else { return Ok(text) };
    let all = first.techniques.len();
    writeln!(
        text,
        "{} benign records to learn from, then {} benign and {} attack records",
        first.training_records, first.benign_records, first.attack_records
    )?;
    writeln!(
        text,
        "\n{:<38} {:>10} {:>10} {:>6} {:>6} {:>10}",
        "attackers", "techniques", "records", "right", "wrong", "per 1,000"
    )?;
    for outcome in outcomes {
        let Outcome { techniques_found: found, attack_records_found: records, .. } = outcome;
        writeln!(
            text,
            "{:<38} {:>10} {:>10} {:>6} {:>6} {:>10.2}",
            outcome.variant,
            format!("{found}/{all}"),
            format!("{records}/{}", outcome.attack_records),
            outcome.findings_right,
            outcome.findings_wrong,
            outcome.findings_wrong_per_1000
        )?;
        for Rule { rule, fewer_than, techniques_found, alerts_right, alerts_wrong } in &outcome.rules {
            let name = format!("  rule: {rule} < {fewer_than}");
            let found = format!("{techniques_found}/{all}");
            let rate = *alerts_wrong as f64 * 1_000.0 / outcome.benign_records.max(1) as f64;
            writeln!(
                text,
                "{name:<38} {found:>10} {:>10} {alerts_right:>6} {alerts_wrong:>6} {rate:>10.2}",
                ""
            )?;
        }
        for (by, count) in &outcome.wrong_by {
            writeln!(text, "  wrong: {count} x {by}")?;
        }
    }
    writeln!(text, "\nrecords found of each technique, by variant in the order above")?;
    for (at, technique) in first.techniques.iter().enumerate() {
        write!(text, "{:<58} {:>3}:", technique.technique, technique.records)?;
        for outcome in outcomes {
            write!(
                text,
                " {:>3}",
                outcome.techniques.get(at).map_or(0, |technique| technique.records_found)
            )?;
        }
        writeln!(text)?;
    }
    Ok(text)
}
