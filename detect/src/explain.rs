//! Explain: why the forest calls an event unusual, in the event's own units, and what would have made it ordinary.

use crate::engine::{Judged, actor_name};
use crate::features::{self, CATALOG, COUNT};
use crate::sighting::Sighting;
use crate::training::Model;
use prunella_schemas::Finding;
use prunella_schemas::finding::{
    Analysis, AnalysisTarget, AnomalyAnalysis, Contribution, Counterfactual, Observation, Observed,
};

/// Contributions that are told as reasons.
pub const REASONS_MAX: usize = 3;
/// A share of the score smaller than this, in bits, is no reason.
const SHARE_MIN: f64 = 0.01;
/// Digits after the point of what is shown: more are noise, and the same digits come out on every machine.
const DECIMALS: f64 = 1e6;

/// The analysis of one event. Above `bar` it is ordinary, and there is nothing to be undone.
pub fn analysis(model: &Model, seen: &Sighting<'_>, judged: &Judged, bar: f64) -> Option<Analysis> {
    let (score, p_value) = judged.unusual?;
    let row = model.sound(&judged.row.values);
    let attribution = model.forest.attribute(&row).ok()?;
    let contributions = attribution.ranked().into_iter().map(|feature| {
        contribution(model, seen, judged, feature, *attribution.shares.get(feature).unwrap_or(&0.0))
    });
    Some(Analysis {
        p_value: rounded_p(p_value),
        score: rounded(f64::from(score)),
        base: rounded(attribution.base),
        model: format!(
            "{} {} {}",
            actor_name(judged.actor),
            model.number,
            &model.fingerprint.to_string()[..8]
        ),
        contributions: contributions.collect(),
        counterfactual: (p_value <= bar).then(|| counterfactual(model, seen, judged, bar)).flatten(),
        missing: judged.row.missing.count_ones() as u8,
        beyond: model.beyond(&row) as u8,
    })
}

fn contribution(
    model: &Model,
    seen: &Sighting<'_>,
    judged: &Judged,
    feature: usize,
    share: f64,
) -> Contribution {
    let value = match judged.row.is_missing(feature) {
        true => "not told".to_owned(),
        false => features::show(feature, judged.row.values[feature], seen),
    };
    let usual = &model.usual[feature];
    Contribution {
        feature: CATALOG[feature].name.into(),
        value,
        share: rounded(share),
        usual: judged.behaviour.usual(feature),
        peers: features::range(feature, usual.low, usual.high),
    }
}

/// The fewest features that must be at their usual values for the event to be ordinary. It was scored again.
fn counterfactual(model: &Model, seen: &Sighting<'_>, judged: &Judged, bar: f64) -> Option<Counterfactual> {
    let class = seen.event.class_uid;
    let row = model.sound(&judged.row.values);
    let usual = std::array::from_fn::<f32, COUNT, _>(|at| model.usual[at].median);
    let below = model.calibrator.threshold(class, bar);
    let change = model.forest.counterfactual(&row, &usual, |_| false, below).ok().flatten()?;
    let p_value = model.p_value(class, change.score);
    if p_value <= bar || change.features.is_empty() {
        return None;
    }
    let words = change.features.iter().zip(&change.values);
    let words = words.map(|(feature, value)| features::wanted(*feature, *value));
    Some(Counterfactual {
        features: change.features.iter().map(|feature| CATALOG[*feature].name.into()).collect(),
        text: format!(
            "With {} it would have been ordinary ({})",
            words.collect::<Vec<_>>().join(" and "),
            one_in(p_value)
        ),
        p_value: rounded_p(p_value),
    })
}

/// The strongest contributions in words, the p-value first.
pub fn reasons(analysis: &Analysis) -> Vec<String> {
    let mut reasons = vec![format!("{} of its class is this unusual", one_in(analysis.p_value))];
    let strong = analysis.contributions.iter().filter(|c| c.share >= SHARE_MIN).take(REASONS_MAX);
    reasons.extend(strong.map(|c| {
        let usual = c.usual.as_ref().map(|usual| format!("; usually {usual}"));
        let peers = c.peers.as_ref().map(|peers| format!("; for others {peers}"));
        format!("{}: {}{}{}", c.feature, c.value, usual.unwrap_or_default(), peers.unwrap_or_default())
    }));
    reasons
}

/// Puts the analysis on a finding, in our own words and in OCSF's.
pub fn attach(finding: &mut Finding, analysis: Analysis) {
    let strong: Vec<&Contribution> =
        analysis.contributions.iter().filter(|c| c.share >= SHARE_MIN).take(REASONS_MAX).collect();
    let observed = |c: &Contribution, value: &str| Observed {
        observation_parameter: c.feature.clone(),
        observation_type: unit(&c.feature).into(),
        observations: vec![Observation { value: value.to_owned() }],
        observed_pattern: None,
    };
    finding.anomaly_analyses = vec![AnomalyAnalysis {
        analysis_targets: vec![AnalysisTarget {
            name: finding.prunella.principal.clone(),
            kind: "principal".into(),
        }],
        anomalies: strong.iter().map(|c| observed(c, &c.value)).collect(),
        baselines: strong
            .iter()
            .filter_map(|c| Some(observed(c, c.usual.as_deref().or(c.peers.as_deref())?)))
            .collect(),
    }];
    finding.prunella.analysis = Some(analysis);
}

/// "one event in 12,000".
pub fn one_in(p_value: f64) -> String {
    let count = (1.0 / p_value.max(1e-9)).round().max(1.0) as u64;
    match count {
        0..=1 => "every event".to_owned(),
        count => format!("one event in {}", grouped(count)),
    }
}

/// `12000` -> `12,000`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn unit(feature: &str) -> &'static str {
    CATALOG.iter().find(|known| known.name == feature).map_or("", |known| known.unit)
}

fn rounded(value: f64) -> f64 {
    (value * DECIMALS).round() / DECIMALS
}

/// Two digits, whatever their place.
fn rounded_p(p_value: f64) -> f64 {
    if p_value <= 0.0 {
        return 0.0;
    }
    let mut scale = 1.0;
    while p_value * scale < 10.0 && scale < 1e12 {
        scale *= 10.0;
    }
    (p_value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_say_them() {
        for (p, want) in
            [(1.0, "every event"), (0.5, "one event in 2"), (1.0 / 12_000.0, "one event in 12,000")]
        {
            assert_eq!(one_in(p), want);
        }
        assert_eq!((rounded_p(0.000_123_456), rounded_p(0.5), rounded_p(0.0)), (0.000_12, 0.5, 0.0));
        assert_eq!((grouped(1_234_567), grouped(999)), ("1,234,567".to_owned(), "999".to_owned()));
    }
}
