//! What was found and what was called by mistake, as counts, beside rules of one feature.

use super::mix::{Label, Mix, Variant, address, operation, principal};
use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const DAY_MS: i64 = 86_400_000;

#[derive(Debug, Serialize)]
pub struct Outcome {
    pub variant: String,
    pub training_records: usize,
    pub benign_records: usize,
    pub unlabelled_records: usize,
    pub attack_records: usize,
    /// Attack records that are evidence of a finding.
    pub attack_records_found: usize,
    pub techniques_found: usize,
    /// With at least one finding whose evidence holds a record of the technique.
    pub techniques: Vec<Technique>,
    /// Of the test days.
    pub findings: Counts,
    /// Findings on benign records only, for each 1,000 of them; and the same of the unlabelled ones.
    pub benign_per_1000: f64,
    pub unlabelled_per_1000: f64,
    /// Findings without an attack, by analytic.
    pub by_analytic: BTreeMap<String, Counts>,
    pub rules: Vec<Rule>,
}

/// Findings or alerts: with an attack record in the evidence, else with an unlabelled one, else on benign ones alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub attack: usize,
    pub unlabelled: usize,
    pub benign: usize,
}

impl Counts {
    fn add(&mut self, label: &Label) {
        match label {
            Label::Attack(_) => self.attack += 1,
            Label::Unlabelled => self.unlabelled += 1,
            Label::Benign => self.benign += 1,
        }
    }

    fn without_attack(self) -> usize {
        self.unlabelled + self.benign
    }
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
    pub alerts: Counts,
}

pub fn score(mix: &Mix, variant: Variant, findings: &[Value]) -> anyhow::Result<Outcome> {
    let label_of: BTreeMap<&str, &Label> =
        mix.test.iter().filter_map(|line| Some((line.record["eventID"].as_str()?, &line.label))).collect();
    let mut techniques: BTreeMap<&str, Technique> = BTreeMap::new();
    let mut records = Counts::default();
    for label in label_of.values() {
        records.add(label);
        if let Label::Attack(name) = label {
            techniques.entry(name).or_insert_with(|| Technique::new(name)).records += 1;
        }
    }
    let (mut counts, mut found) = (Counts::default(), BTreeSet::new());
    let mut by_analytic: BTreeMap<String, Counts> = BTreeMap::new();
    for finding in findings {
        let time = finding["time"].as_i64().context("a finding without a time")?;
        if time < mix.test_start.millis() {
            continue;
        }
        let by = finding["finding_info"]["analytic"]["uid"].as_str().unwrap_or("?");
        let evidence = finding["finding_info"]["related_events"].as_array().into_iter().flatten();
        let evidence = evidence.filter_map(|event| label_of.get_key_value(event["uid"].as_str()?));
        let mut worst = &Label::Benign;
        for (id, label) in evidence {
            match label {
                Label::Attack(name) => {
                    if let Some(technique) = techniques.get_mut(name.as_str()) {
                        technique.found_by.insert(by.to_owned());
                        technique.records_found += usize::from(found.insert(*id));
                    }
                    worst = label;
                }
                Label::Unlabelled if *worst == Label::Benign => worst = label,
                Label::Unlabelled | Label::Benign => {}
            }
        }
        counts.add(worst);
        by_analytic.entry(by.to_owned()).or_default().add(worst);
    }
    let per_1000 = |count: usize, of: usize| count as f64 * 1_000.0 / of.max(1) as f64;
    Ok(Outcome {
        variant: variant.name(),
        training_records: mix.training.len(),
        benign_records: records.benign,
        unlabelled_records: records.unlabelled,
        attack_records: records.attack,
        attack_records_found: found.len(),
        techniques_found: techniques.values().filter(|technique| technique.records_found > 0).count(),
        techniques: techniques.into_values().collect(),
        findings: counts,
        benign_per_1000: per_1000(counts.benign, records.benign),
        unlabelled_per_1000: per_1000(counts.unlabelled, records.unlabelled),
        by_analytic,
        rules: FEATURES.iter().map(|feature| Rule::best(feature, mix, counts.without_attack())).collect(),
    })
}

impl Technique {
    fn new(name: &str) -> Technique {
        Technique { technique: name.to_owned(), records: 0, records_found: 0, found_by: BTreeSet::new() }
    }
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
    /// With the limit that finds most at no more alerts without an attack than `wrong_max`; where there is none, the
    /// one with the fewest.
    fn best(feature: &Feature, mix: &Mix, wrong_max: usize) -> Rule {
        let rules = (1..=FEWER_THAN_MAX).map(|fewer_than| Rule::apply(feature, mix, fewer_than));
        let merit = |rule: &Rule| {
            let wrong = rule.alerts.without_attack();
            (Reverse(wrong.saturating_sub(wrong_max)), rule.techniques_found, Reverse(wrong))
        };
        let best = rules.reduce(|best, rule| if merit(&rule) > merit(&best) { rule } else { best });
        best.unwrap_or_else(|| Rule::apply(feature, mix, 0))
    }

    fn apply(feature: &Feature, mix: &Mix, fewer_than: u32) -> Rule {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for line in &mix.training {
            *seen.entry((feature.value)(&line.record)).or_default() += 1;
        }
        let (mut techniques, mut alerts) = (BTreeSet::new(), Counts::default());
        let mut said = BTreeSet::new();
        for line in &mix.test {
            let count = seen.entry((feature.value)(&line.record)).or_default();
            let rare = *count < fewer_than;
            *count += 1;
            let day = line.time.millis() / DAY_MS;
            if rare && said.insert((day, principal(&line.record), operation(&line.record))) {
                alerts.add(&line.label);
                if let Label::Attack(technique) = &line.label {
                    techniques.insert(technique);
                }
            }
        }
        Rule { rule: feature.name, fewer_than, techniques_found: techniques.len(), alerts }
    }
}

/// As text: the variants, the rules, and each technique in each variant.
pub fn tables(outcomes: &[Outcome]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let Some(first) = outcomes.first() else { return Ok(text) };
    let all = first.techniques.len();
    writeln!(text, "{} records to learn from, then", first.training_records)?;
    let Outcome { benign_records, unlabelled_records, attack_records, .. } = first;
    writeln!(
        text,
        "{benign_records} benign, {unlabelled_records} unlabelled and {attack_records} attack records"
    )?;
    writeln!(
        text,
        "\n{:<36} {:>10} {:>8} {:>7} {:>7} {:>8} {:>7} {:>8}",
        "attackers", "techniques", "records", "attack", "unlab.", "/ 1,000", "benign", "/ 1,000"
    )?;
    for outcome in outcomes {
        let rate = |counts: &Counts| {
            let per = |count: usize, of: usize| count as f64 * 1_000.0 / of.max(1) as f64;
            (per(counts.unlabelled, outcome.unlabelled_records), per(counts.benign, outcome.benign_records))
        };
        let mut row = |name: String, found: usize, records: String, counts: &Counts| {
            let Counts { attack, unlabelled, benign } = counts;
            let (of_unlabelled, of_benign) = rate(counts);
            let found = format!("{found}/{all}");
            writeln!(
                text,
                "{name:<36} {found:>10} {records:>8} {attack:>7} {unlabelled:>7} {of_unlabelled:>8.1} {benign:>7} {of_benign:>8.2}"
            )
        };
        let records = format!("{}/{}", outcome.attack_records_found, outcome.attack_records);
        row(outcome.variant.clone(), outcome.techniques_found, records, &outcome.findings)?;
        for rule in &outcome.rules {
            let name = format!("  {} < {}", rule.rule, rule.fewer_than);
            row(name, rule.techniques_found, String::new(), &rule.alerts)?;
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

#[cfg(test)]
mod tests {
    use super::super::mix::Line;
    use super::*;
    use prunella_schemas::Timestamp;
    use serde_json::json;

    fn line(second: i64, id: &str, who: &str, what: &str, label: Label) -> Line {
        let record = json!({
            "eventID": id, "eventName": what, "userIdentity": {"arn": who}, "sourceIPAddress": "192.0.2.1", "userAgent": "x",
        });
        Line { time: Timestamp::default().plus_ms(second * 1_000), record, label }
    }

    fn attack(technique: &str) -> Label {
        Label::Attack(technique.to_owned())
    }

    /// Two techniques, one of them only known to who looks at the operation.
    fn small() -> Mix {
        let training = (0..10).map(|n| line(n, "t", "anna", "Get", Label::Benign)).collect();
        let test = vec![
            line(100, "b1", "anna", "Get", Label::Benign),
            line(101, "b2", "anna", "List", Label::Benign),
            line(102, "u1", "anna", "Put", Label::Unlabelled),
            line(103, "a1", "anna", "Delete", attack("one")),
            line(104, "a2", "anna", "Delete", attack("one")),
            line(105, "a3", "anna", "Get", attack("two")),
        ];
        Mix { training, test, test_start: Timestamp::default().plus_ms(100_000) }
    }

    fn finding(second: i64, ids: &[&str]) -> Value {
        let evidence: Vec<Value> = ids.iter().map(|id| json!({"uid": id})).collect();
        json!({
            "time": second * 1_000, "finding_info": {"analytic": {"uid": "rule"}, "related_events": evidence},
        })
    }

    #[test]
    fn a_finding_counts_by_the_worst_of_its_evidence() {
        let variant = Variant::all().next().unwrap();
        let findings = [
            finding(9, &["t"]),
            finding(103, &["b1", "u1", "a1"]),
            finding(104, &["a1"]),
            finding(104, &["b1", "u1"]),
            finding(105, &["b2"]),
            finding(105, &[]),
        ];
        let outcome = score(&small(), variant, &findings).unwrap();
        assert_eq!(
            outcome.findings,
            Counts { attack: 2, unlabelled: 1, benign: 2 },
            "the training days do not count"
        );
        assert_eq!((outcome.techniques_found, outcome.attack_records_found), (1, 1));
        let found: Vec<_> =
            outcome.techniques.iter().map(|t| (&*t.technique, t.records, t.records_found)).collect();
        assert_eq!(found, [("one", 2, 1), ("two", 1, 0)]);
        assert_eq!((outcome.benign_per_1000, outcome.unlabelled_per_1000), (1_000.0, 1_000.0));
        assert!(score(&small(), variant, &[json!({})]).is_err());
    }

    #[test]
    fn a_rule_alerts_once_a_day_and_takes_the_best_limit_it_may() {
        let mix = small();
        let operations = &FEATURES[0];
        let rule = Rule::apply(operations, &mix, 1);
        assert_eq!((rule.techniques_found, rule.alerts), (1, Counts { attack: 1, unlabelled: 1, benign: 1 }));
        assert_eq!(
            Rule::apply(operations, &mix, 12).techniques_found,
            1,
            "the benign call of the day said it already"
        );
        let best = |wrong_max| Rule::best(operations, &mix, wrong_max);
        assert_eq!((best(2).fewer_than, best(2).alerts), (1, rule.alerts));
        assert_eq!(best(0).alerts, rule.alerts, "where no limit is quiet enough, the quietest");
    }
}
