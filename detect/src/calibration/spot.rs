//! The tail beyond what calibration has seen: a generalised Pareto law of the excesses over a high score.
//!
//! SPOT (Siffer, Fouque, Termier, Largouet, KDD 2017) with the fit by probability-weighted moments (Hosking, Wallis
//! 1987), which needs no iteration and no start.

use crate::series::{exp2, log2};

/// Fewer excesses than this do not tell a shape.
pub const EXCESSES_MIN: usize = 32;
/// Shapes beyond this have no moments to be fitted by.
const SHAPE_MAX: f64 = 0.5;
/// Excesses that the exponential law is worth before any are seen.
const SHAPE_PRIOR: f64 = 64.0;
/// Largest distance of the fitted law from the excesses, times the root of their number: Kolmogorov's 1 % limit.
const DISTANCE_MAX: f64 = 1.63;

/// P(excess >= x) = (1 + shape x / scale)^(-1 / shape).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    pub shape: f64,
    pub scale: f64,
}

impl Spot {
    /// Fits the excesses, in ascending order. `None` when there are too few, or the law does not describe them.
    pub fn fit(excesses: &[f64]) -> Option<Spot> {
        let n = excesses.len();
        if n < EXCESSES_MIN {
            return None;
        }
        let (mut mean, mut weighted) = (0.0, 0.0);
        for (at, excess) in excesses.iter().enumerate() {
            let rank = (at as f64 + 0.65) / n as f64;
            mean += excess / n as f64;
            weighted += excess * (1.0 - rank) / n as f64;
        }
        let spread = mean - 2.0 * weighted;
        // An end a little beyond the sample would call impossible what is merely rare, and few excesses tell little
        // of the shape: it is drawn towards the exponential law, the more the fewer they are.
        let shape = (2.0 - mean / spread) * n as f64 / (n as f64 + SHAPE_PRIOR);
        let spot = Spot { shape, scale: mean * (1.0 - shape) };
        let sound = spread > 0.0 && spot.scale > 0.0 && spot.scale.is_finite();
        (sound && shape.abs() <= SHAPE_MAX && spot.describes(excesses)).then_some(spot)
    }

    /// Probability that an excess is at least `x`; 0 beyond the end of a law that ends.
    pub fn beyond(&self, x: f64) -> f64 {
        if self.shape.abs() < 1e-6 {
            return exp2(-x / self.scale * std::f64::consts::LOG2_E);
        }
        let inner = 1.0 + self.shape * x / self.scale;
        if inner <= 1e-300 { 0.0 } else { exp2(-log2(inner) / self.shape) }
    }

    fn describes(&self, excesses: &[f64]) -> bool {
        let n = excesses.len() as f64;
        let limit = DISTANCE_MAX / n.sqrt();
        let mut seen = 0usize;
        excesses.chunk_by(|a, b| a == b).all(|tied| {
            // The middle of the step, since ties stand for values spread around theirs.
            let at_least = (n - seen as f64 - tied.len() as f64 / 2.0) / n;
            seen += tied.len();
            (at_least - self.beyond(tied[0])).abs() <= limit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(shape: f64, scale: f64, n: usize) -> Vec<f64> {
        let quantile = |at: usize| {
            let left = 1.0 - (at as f64 + 0.5) / n as f64;
            if shape == 0.0 { -scale * left.ln() } else { scale / shape * (left.powf(-shape) - 1.0) }
        };
        (0..n).map(quantile).collect()
    }

    #[test]
    fn the_law_that_made_the_excesses_is_found() {
        for (shape, scale) in [(-0.3, 1.0), (-0.1, 50.0), (0.0, 2.0), (0.2, 0.01), (0.35, 3.0)] {
            let spot = Spot::fit(&drawn(shape, scale, 2_000)).unwrap();
            assert!((spot.shape - shape).abs() < 0.03, "{spot:?} for {shape}");
            assert!((spot.scale / scale - 1.0).abs() < 0.05, "{spot:?} for {scale}");
        }
    }

    #[test]
    fn what_it_does_not_describe_is_not_fitted() {
        let few = drawn(0.0, 1.0, EXCESSES_MIN - 1);
        let two_clusters: Vec<f64> = (0..100).map(|at| if at < 50 { 0.1 } else { 9.0 }).collect();
        for excesses in [vec![], few, vec![1.0; 100], vec![0.0; 100], two_clusters] {
            assert_eq!(Spot::fit(&excesses), None);
        }
    }

    proptest! {
        #[test]
        fn it_starts_at_one_and_never_rises(mut excesses in prop::collection::vec(0.001..9.0f64, 32..200)) {
            excesses.sort_by(f64::total_cmp);
            if let Some(spot) = Spot::fit(&excesses) {
                prop_assert!((spot.beyond(0.0) - 1.0).abs() < 1e-12);
                let steps: Vec<f64> = (0..300).map(|x| spot.beyond(f64::from(x) / 10.0)).collect();
                prop_assert!(steps.windows(2).all(|pair| pair[0] >= pair[1] && pair[1] >= 0.0));
            }
        }
    }
}
