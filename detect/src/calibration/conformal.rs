//! From a score to a p-value: counted where calibration scores are many, the tail's law where they are few.

use super::spot::{EXCESSES_MIN, Spot};
use super::tally::{Counts, STEPS, step_of};

/// No event is called rarer than this many times what calibration has seen.
const RARER_MAX: f64 = 1_000.0;

/// The p-value of every step of the score, ready to be looked up. Never 0, and never rising with the score.
///
/// p = (1 + #{calibration scores >= s}) / (1 + n), after Bates, Candes, Lei, Romano, Sesia (2023); beyond the score
/// that the square root of n scores exceed, [`Spot`] continues it.
///
/// No score is trimmed here: dropping the top 1 % in any case makes a p of .001 come true eleven times as often on clean
/// data, and dropping only what the law of the scores below rules out changed nothing, since the scores of attacks join
/// those of rare work without a gap (see the benchmark). Who counts at all is decided by source, in training.
#[derive(Clone, Debug, PartialEq)]
pub struct Conformal {
    p_values: Vec<f32>,
    scores: u64,
    tail: Option<Spot>,
}

impl Conformal {
    pub fn of(counts: &Counts) -> Conformal {
        let at_least = at_least(counts);
        let n = at_least[0];
        let floor = 1.0 / (n as f64 + 1.0);
        let mut p_values: Vec<f32> =
            at_least.iter().take(STEPS).map(|above| ((*above as f64 + 1.0) * floor) as f32).collect();
        let tail_start = start(&at_least, n.isqrt().max(EXCESSES_MIN as u64));
        let tail = tail_start.and_then(|start| Spot::fit(&excesses(&at_least, start)));
        if let (Some(spot), Some(start)) = (tail, tail_start) {
            let at_start = f64::from(p_values[start]);
            for (above, p) in p_values[start..].iter_mut().enumerate() {
                *p = (at_start * spot.beyond(above as f64)).max(floor / RARER_MAX) as f32;
            }
        }
        Conformal { p_values, scores: n, tail }
    }

    /// Probability that an ordinary event scores at least `score`.
    pub fn p_value(&self, score: f32) -> f64 {
        self.p_values.get(step_of(score)).map_or(1.0, |p| f64::from(*p))
    }

    /// The lowest score whose p-value is at most `p`; above 1 when no score is that rare.
    pub fn threshold(&self, p: f64) -> f32 {
        let step = self.p_values.partition_point(|at| f64::from(*at) > p);
        if step == STEPS { f32::INFINITY } else { step as f32 / STEPS as f32 }
    }

    /// Calibration scores that count.
    pub fn scores(&self) -> u64 {
        self.scores
    }

    pub fn tail(&self) -> Option<Spot> {
        self.tail
    }
}

/// How many scores are in each step or above.
fn at_least(counts: &Counts) -> Vec<u64> {
    let mut at_least = vec![0u64; STEPS + 1];
    for step in (0..STEPS).rev() {
        at_least[step] = at_least[step + 1] + u64::from(counts.steps[step]);
    }
    at_least
}

/// The lowest step that at most `many` scores reach.
fn start(at_least: &[u64], many: u64) -> Option<usize> {
    let step = at_least.partition_point(|above| *above > many);
    (many > 0 && step > 0 && step < STEPS).then_some(step)
}

/// Excesses over a step in ascending order, in steps.
fn excesses(at_least: &[u64], start: usize) -> Vec<f64> {
    let mut excesses = Vec::with_capacity(at_least[start] as usize);
    for step in start..STEPS {
        excesses.extend((at_least[step + 1]..at_least[step]).map(|_| (step - start) as f64 + 0.5));
    }
    excesses
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(scores: impl IntoIterator<Item = f32>) -> Counts {
        let mut counts = Counts::default();
        scores.into_iter().for_each(|score| counts.add(step_of(score), 1));
        counts
    }

    /// Quantiles of an exponential law from 0.4 upwards.
    fn exponential(n: u32) -> impl Iterator<Item = f32> {
        (0..n).map(move |at| 0.4 - 0.03 * (1.0 - (at as f32 + 0.5) / n as f32).ln())
    }

    #[test]
    fn it_counts_in_the_body() {
        let conformal = Conformal::of(&counts((0..1_000).map(|at| at as f32 / 1_000.0)));
        assert_eq!(conformal.scores(), 1_000);
        assert!((conformal.p_value(0.5) - 0.5).abs() < 0.002);
        assert_eq!(conformal.p_value(0.0), 1.0);
        assert_eq!(conformal.p_value(f32::NAN), 1.0);
    }

    #[test]
    fn it_continues_the_law_beyond_the_last_score() {
        let conformal = Conformal::of(&counts(exponential(10_000)));
        for p in [1e-2, 1e-3, 1e-4, 1e-5, 1e-6] {
            let score = 0.4 - 0.03 * f64::ln(p);
            let got = conformal.p_value(score as f32);
            assert!((0.6..1.6).contains(&(got / p)), "{got} for {p}");
        }
        assert!(conformal.p_value(1.0) > 0.0);
    }

    #[test]
    fn ties_and_few_scores_fall_back_to_counting() {
        for scores in [vec![], vec![0.5; 5], vec![0.5; 5_000]] {
            let n = scores.len() as f64;
            let conformal = Conformal::of(&counts(scores));
            assert_eq!(conformal.tail(), None);
            assert_eq!(conformal.p_value(0.5), 1.0);
            assert!((conformal.p_value(0.9) * (n + 1.0) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn attacks_in_the_calibration_make_it_cautious_and_not_blind() {
        let attacks = (0..40).map(|at| 0.8 + at as f32 / 1_000.0);
        let mixed = Conformal::of(&counts(exponential(5_000).chain(attacks)));
        let clean = Conformal::of(&counts(exponential(5_000)));
        for at in 400..1_000 {
            let score = at as f32 / 1_000.0;
            assert!(mixed.p_value(score) > clean.p_value(score) * 0.99, "{score}");
        }
        assert!(mixed.p_value(0.85) < 0.01);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn p_never_rises_and_is_never_zero(
            scores in prop::collection::vec(0.0..1.0f32, 0..600), bell in 0..4_000u32, p in 0.0..1.0f64,
        ) {
            let conformal = Conformal::of(&counts(scores.into_iter().chain(exponential(bell))));
            prop_assert!(conformal.p_values.windows(2).all(|pair| pair[0] >= pair[1]));
            prop_assert!(conformal.p_values.iter().all(|p| *p > 0.0 && *p <= 1.0));
            let threshold = conformal.threshold(p);
            if threshold <= 1.0 {
                prop_assert!(conformal.p_value(threshold) <= p);
                prop_assert!(threshold == 0.0 || conformal.p_value(threshold - 1e-6) > p);
            }
        }

        #[test]
        fn body_and_tail_meet(n in 1_000..20_000u32) {
            let conformal = Conformal::of(&counts(exponential(n)));
            prop_assert!(conformal.tail().is_some());
            // No step of a thousandth of the score loses more than the law does: e^(-0.001 / 0.03), and one score.
            let p = |at: f32| conformal.p_value(at);
            for at in 400..700 {
                let (here, next) = (p(at as f32 / 1_000.0), p((at as f32 + 1.0) / 1_000.0));
                prop_assert!(next > here * 0.85 || here < 2.0 / f64::from(n) , "{at}: {here} then {next}");
            }
        }
    }
}
