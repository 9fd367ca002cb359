//! What would have made a row usual: the fewest features to move to their usual values, and no further than needed.

use super::{Error, Forest};
use ndarray::ArrayView2;

/// Features changed at once, at most: more is no longer a reason that a person can follow.
pub const CHANGES_MAX: usize = 3;
/// Features tried, those with the largest shares: bounds a search to 697 changes.
pub const CANDIDATES_MAX: usize = 16;
/// Halvings of the way back to the row: as many as an f32 has bits.
const HALVINGS_MAX: usize = 24;
/// Changes scored at once.
const BATCH_MAX: usize = 64;

/// A change of a row that has been scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What changes, the largest share first; none when the row is below the score as it is.
    pub features: Vec<usize>,
    /// What it becomes: between its usual value and its value in the row.
    pub values: Vec<f32>,
    /// What the row then scores.
    pub score: f32,
}

impl Forest {
    /// The smallest change of a row after which it scores below `score_below`: of the fewest features, of those the
    /// ones with the largest shares, moved from their `usual` values back towards the row as far as the score allows.
    ///
    /// `fixed` names features that nobody can change; those whose usual value is not finite stay as well. None when
    /// no [`CHANGES_MAX`] of the [`CANDIDATES_MAX`] features with the largest shares get there.
    pub fn counterfactual(
        &self,
        row: &[f32],
        usual: &[f32],
        fixed: impl Fn(usize) -> bool,
        score_below: f32,
    ) -> Result<Option<Change>, Error> {
        if usual.len() != row.len() {
            return Err(Error::FeatureCount { model: self.features, given: usual.len() });
        }
        let candidates: Vec<usize> = self
            .attribute(row)?
            .ranked()
            .into_iter()
            .filter(|feature| {
                !fixed(*feature) && usual[*feature].is_finite() && usual[*feature] != row[*feature]
            })
            .take(CANDIDATES_MAX)
            .collect();
        let search = Search { forest: self, row, usual, score_below };
        for size in 0..=CHANGES_MAX.min(candidates.len()) {
            if let Some(features) = search.first(&candidates, size)? {
                return search.shrink(features).map(Some);
            }
        }
        Ok(None)
    }
}

struct Search<'a> {
    forest: &'a Forest,
    row: &'a [f32],
    usual: &'a [f32],
    score_below: f32,
}

impl Search<'_> {
    /// The first choice of `size` candidates that gets below the score with all of them at their usual values.
    fn first(&self, candidates: &[usize], size: usize) -> Result<Option<Vec<usize>>, Error> {
        let mut choices = choices(candidates.len(), size).into_iter();
        loop {
            let batch: Vec<Vec<usize>> = choices
                .by_ref()
                .take(BATCH_MAX)
                .map(|places| places.into_iter().map(|place| candidates[place]).collect())
                .collect();
            if batch.is_empty() {
                return Ok(None);
            }
            let mut rows = self.row.repeat(batch.len());
            for (row, features) in rows.chunks_exact_mut(self.row.len()).zip(&batch) {
                for feature in features {
                    row[*feature] = self.usual[*feature];
                }
            }
            let scores = self.scores(&rows)?;
            if let Some(found) = scores.iter().position(|score| *score < self.score_below) {
                return Ok(batch.into_iter().nth(found));
            }
        }
    }

    /// Moves one feature after the other back towards the row, the smallest share first, as far as the score allows.
    fn shrink(&self, features: Vec<usize>) -> Result<Change, Error> {
        let mut row = self.row.to_vec();
        for feature in &features {
            row[*feature] = self.usual[*feature];
        }
        for feature in features.iter().rev() {
            // Below the score with `inside`, not with `outside`. From a value that is not finite no way leads back.
            let (mut inside, mut outside) = (self.usual[*feature], self.row[*feature]);
            for _ in 0..HALVINGS_MAX {
                let middle = inside / 2.0 + outside / 2.0;
                if !middle.is_finite() || middle == inside || middle == outside {
                    break;
                }
                row[*feature] = middle;
                if self.scores(&row)?[0] < self.score_below {
                    inside = middle;
                } else {
                    outside = middle;
                }
            }
            row[*feature] = inside;
        }
        let values = features.iter().map(|feature| row[*feature]).collect();
        Ok(Change { features, values, score: self.scores(&row)?[0] })
    }

    fn scores(&self, rows: &[f32]) -> Result<Vec<f32>, Error> {
        let features = self.row.len();
        let mut scores = vec![0.0; rows.len() / features];
        let rows = ArrayView2::from_shape((scores.len(), features), rows)
            .map_err(|_| Error::FeatureCount { model: self.forest.features, given: features })?;
        self.forest.score_into(rows, &mut scores, self.forest.kernel())?;
        Ok(scores)
    }
}

/// All ways to choose `size` of `0..n`, in order.
fn choices(n: usize, size: usize) -> Vec<Vec<usize>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in choices(n, size - 1) {
        let first = shorter.last().map_or(0, |last| last + 1);
        all.extend((first..n).map(|next| [shorter.as_slice(), &[next]].concat()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::choices;

    #[test]
    fn choices_are_all_there_are_in_order() {
        assert_eq!(choices(3, 0), [[0; 0]]);
        assert_eq!(choices(3, 2), [[0, 1], [0, 2], [1, 2]]);
        assert_eq!(choices(2, 3), [[0; 0]; 0]);
        let counted: usize = (0..=3).map(|size| choices(16, size).len()).sum();
        assert_eq!(counted, 697);
    }
}
