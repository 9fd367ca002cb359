//! How many findings without cause the tenant's view lets through, measured on events whose cause is known.

use crate::correlate::{delivered, findings, proposal, score, uniform};
use crate::story::DAY_ZERO;
use prunella_detect::correlate::{Config, Correlate};
use prunella_schemas::{Finding, Outbox, Stage};

const DAY_MS: i64 = 86_400_000;

/// Findings over `days` of 10,000 events, of which a share is anomalous: (with cause, without).
fn live(config: &Config, days: u64, anomalous: f64, seed: u64) -> (usize, usize) {
    const A_DAY: u64 = 10_000;
    let (mut stage, mut out, mut random) = (Correlate::new(config.clone()), Outbox::default(), seed);
    let mut batch = Vec::new();
    for n in 0..days * A_DAY {
        let time = DAY_ZERO.plus_ms(n as i64 * DAY_MS / A_DAY as i64);
        let is_anomaly = uniform(&mut random) < anomalous;
        let p_value = if is_anomaly { uniform(&mut random) * 1e-5 } else { uniform(&mut random) };
        batch.push(delivered(score(n, time, Some(p_value)), time));
        if p_value < 0.01 {
            let who = format!("{}{n}", if is_anomaly { "bad" } else { "good" });
            batch.push(delivered(proposal(n, time, &who, p_value), time));
        }
    }
    batch.chunks(1_000).for_each(|chunk| stage.step(chunk, &mut out));
    let found = findings(out.posted());
    let said: Vec<&Finding> = found.iter().filter(|f| !f.principal().starts_with("tenant:")).collect();
    let caused = said.iter().filter(|f| f.principal().starts_with("bad")).count();
    (caused, said.len() - caused)
}

#[test]
fn false_findings_are_as_many_as_the_operator_accepts() {
    for (accepted, days) in [(1.0, 12), (4.0, 8)] {
        let config = Config { expected_false_findings_per_day: accepted, ..Config::default() };
        let runs = u64::from(crate::effort());
        let found: usize = (0..runs).map(|seed| live(&config, days, 0.0, seed).1).sum();
        let (a_day, want) = (found as f64 / (runs * days) as f64, accepted);
        assert!(
            a_day <= want * 1.5 && a_day >= want / 1.5,
            "{a_day} findings a day where {want} are accepted"
        );
    }
}

#[test]
fn the_share_of_false_findings_is_at_most_the_rate() {
    for (q, days) in [(0.05, 12), (0.2, 6)] {
        let config = Config { false_discovery_rate: q, ..Config::default() };
        let (caused, false_ones) = live(&config, days, 0.01, 7);
        assert!(caused as f64 > 99.0 * days as f64 * 0.9, "{caused} of about {} found", 100 * days);
        let share = false_ones as f64 / (caused + false_ones) as f64;
        // The rate holds on average; a single run may exceed it by chance: two standard errors.
        let chance = 2.0 * (q * (1.0 - q) / (caused + false_ones) as f64).sqrt();
        assert!(share <= q + chance, "a share of {share} where {q} is the rate");
        assert!(share >= q / 2.0, "a share of {share}: the bar does not rise to what is allowed");
    }
}
