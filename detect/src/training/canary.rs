//! The gate before a new model: it must still see extreme rows, and not change the alert rate beyond reason.

use super::model::Model;
use super::reservoir::{Row, mix};
use super::{Error, FEATURES};
use serde::{Deserialize, Serialize};

/// Extreme rows that every model is asked about.
const CANARIES: usize = 64;
/// The p-value at which the gate counts an alert.
const P_ALERT: f64 = 0.01;
/// Canaries that a model may miss which the one before saw: a quarter, for chance.
const MISSED_MAX: usize = CANARIES / 4;
/// How much the share of alerts on the training rows may change, and what is always allowed.
const RATE_FACTOR: f64 = 2.0;
const RATE_SLACK: f64 = 0.01;

/// Why a trained model did not take over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Refusal {
    /// It sees fewer of the extreme rows than the one in use.
    Canaries { seen_before: usize, seen: usize, of: usize },
    /// It would raise so many more, or fewer, alerts on the same rows.
    AlertRate { before: f64, after: f64 },
    /// Too few rows, or the forest could not be grown.
    Untrained { reason: String },
}

/// Rows that are extreme in a random half of the features, made once of the first model and kept.
pub(super) fn canaries(model: &Model, seed: u64) -> Vec<[f32; FEATURES]> {
    let canary = |number: u64| {
        let (mut row, bits) = ([0.0; FEATURES], mix(seed ^ mix(number)));
        for (feature, (value, usual)) in row.iter_mut().zip(&model.usual).enumerate() {
            let width = usual.most - usual.least;
            *value = match (bits >> (2 * feature)) & 3 {
                0 => usual.most + width,
                1 => usual.least - width,
                _ => usual.median,
            };
        }
        row
    };
    (0..CANARIES as u64).map(canary).collect()
}

/// Compares a candidate with the model in use, on the canaries and on the rows at hand.
pub(super) fn gate(
    old: &Model,
    new: &Model,
    canaries: &[[f32; FEATURES]],
    rows: &[&Row],
    may_fall: bool,
) -> Result<Option<Refusal>, Error> {
    let seen = |model: &Model| canaries.iter().filter(|row| alerts(model, None, model.score(row))).count();
    let (seen_before, seen) = (seen(old), seen(new));
    if seen + MISSED_MAX < seen_before {
        return Ok(Some(Refusal::Canaries { seen_before, seen, of: canaries.len() }));
    }
    let rate = |model: &Model| -> Result<f64, Error> {
        let scores = model.scores(rows.iter().copied())?;
        let alerts =
            rows.iter().zip(&scores).filter(|(row, score)| alerts(model, Some(row.class_uid), **score));
        Ok(alerts.count() as f64 / scores.len().max(1) as f64)
    };
    let (before, after) = (rate(old)?, rate(new)?);
    let rises = after > before * RATE_FACTOR + RATE_SLACK;
    let falls = before > after * RATE_FACTOR + RATE_SLACK;
    Ok((rises || (falls && !may_fall)).then_some(Refusal::AlertRate { before, after }))
}

/// Canaries have no class; all classes together judge them.
fn alerts(model: &Model, class_uid: Option<u32>, score: f32) -> bool {
    model.p_value(class_uid.unwrap_or_default(), score) <= P_ALERT
}
