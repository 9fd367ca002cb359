//! Isolation forest (Liu, Ting, Zhou 2008): rows that few random cuts set apart are unusual.
//!
//! [`Params`] fits a [`Forest`], which scores rows between 0 and 1; the mean row scores about 0.5, an outlier more.
//! The same rows and seed give the same forest, and the same forest gives the same bits on every machine and
//! [`Kernel`]: thresholds carry their feature from training on, and path lengths are summed as whole numbers.
//! Both speak linfa: `params.fit(&dataset)`, `forest.predict(&rows)`.

mod counterfactual;
mod grow;
mod interop;
mod kernel;
mod model;
mod path;
mod random;
mod reason;
mod tree;

pub use counterfactual::{CANDIDATES_MAX, CHANGES_MAX, Change};
pub use kernel::Kernel;
pub use model::{Model, VERSION};
pub use path::average_path;
pub(crate) use random::mix;
pub use reason::Attribution;
pub use tree::{FEATURES_MAX, PACKED_FEATURES_MAX, SAMPLE_MAX};

use grow::{Columns, Grower, WIDE_LEN};
use ndarray::{Array1, ArrayView1, ArrayView2};
use path::Scale;
use random::Random;
use reason::Means;
use serde::{Deserialize, Serialize};
use tree::{Layout, Tree};

/// Bounds the sum of path lengths to 32 bits, and the trees of a forest to 4 MiB.
pub const TREES_MAX: usize = 1_000;
pub const THREADS_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot grow {trees} trees; give 1 to {TREES_MAX}")]
    Trees { trees: usize },
    #[error("cannot grow trees on {threads} threads; give 1 to {THREADS_MAX}")]
    Threads { threads: usize },
    #[error("cannot grow a tree on a sample of {sample} rows; give 2 to {SAMPLE_MAX}")]
    Sample { sample: usize },
    #[error("cannot train on {rows} row(s); an isolation forest needs at least 2")]
    Rows { rows: usize },
    #[error("cannot train on {features} features; give 1 to {FEATURES_MAX}")]
    Features { features: usize },
    #[error("the model was trained on {model} features and is given {given}")]
    FeatureCount { model: usize, given: usize },
    #[error("{given} rows, but room for {room} scores")]
    Room { given: usize, room: usize },
    #[error("the model is of version {model}, and this program reads version {VERSION}; train it again")]
    Version { model: u32 },
    #[error("the model is broken at {0}; train it again")]
    Broken(&'static str),
    #[error("cannot start a thread to grow trees on: {0}")]
    Thread(#[from] std::io::Error),
    #[error("linfa: {0}")]
    Linfa(#[from] linfa::Error),
}

/// How to train. The defaults are those of the paper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    pub trees: usize,
    /// Rows each tree is grown on.
    pub sample: usize,
    pub seed: u64,
    /// Threads to grow trees on. The forest is the same for any number.
    pub threads: usize,
}

impl Default for Params {
    fn default() -> Self {
        Params { trees: 100, sample: 256, seed: 0, threads: 1 }
    }
}

impl Params {
    /// Trains on these rows. Infinite values become the extremes of their column, NaN goes right at every cut, and
    /// both are counted.
    pub fn fit_rows(&self, rows: ArrayView2<'_, f32>) -> Result<Forest, Error> {
        if !(1..=TREES_MAX).contains(&self.trees) {
            return Err(Error::Trees { trees: self.trees });
        }
        if !(1..=THREADS_MAX).contains(&self.threads) {
            return Err(Error::Threads { threads: self.threads });
        }
        if !(2..=SAMPLE_MAX).contains(&self.sample) {
            return Err(Error::Sample { sample: self.sample });
        }
        let features = rows.ncols();
        if !(1..=FEATURES_MAX).contains(&features) {
            return Err(Error::Features { features });
        }
        if rows.nrows() < 2 || u32::try_from(rows.nrows()).is_err() {
            return Err(Error::Rows { rows: rows.nrows() });
        }
        let columns = Columns::of(rows);
        let not_finite = columns.not_finite;
        let wide_len = if Layout::for_features(features) == Layout::Wide { WIDE_LEN } else { 0 };
        let mut wide = vec![0; wide_len * self.trees];
        let mut trees = vec![Tree::empty(); self.trees];
        self.grow(rows.view(), &columns, &mut trees, &mut wide)?;
        Ok(Forest::new(features, self.sample.min(rows.nrows()), not_finite, trees, wide))
    }

    /// Each thread grows a run of trees with buffers of its own; this one grows the last.
    fn grow<'a>(
        &self,
        rows: ArrayView2<'a, f32>,
        columns: &'a Columns,
        trees: &mut [Tree],
        wide: &mut [u16],
    ) -> Result<(), Error> {
        let share = trees.len().div_ceil(self.threads);
        let runs = trees.len().div_ceil(share);
        let mut wide = wide.chunks_mut(share * WIDE_LEN);
        std::thread::scope(|scope| {
            for (run, trees) in trees.chunks_mut(share).enumerate() {
                let mut wide = wide.next().unwrap_or_default().chunks_mut(WIDE_LEN);
                let mut grow = move || {
                    let mut grower = Grower::new(rows, columns, self.sample);
                    for (number, tree) in trees.iter_mut().enumerate() {
                        let random = Random::of_tree(self.seed, run * share + number);
                        grower.grow(random, tree, wide.next().unwrap_or_default());
                    }
                };
                if run + 1 == runs {
                    grow();
                } else {
                    std::thread::Builder::new().spawn_scoped(scope, grow)?;
                }
            }
            Ok(())
        })
    }
}

/// A trained forest. Reading one checks it; see [`Model`] for its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Model", into = "Model")]
pub struct Forest {
    features: usize,
    sample: usize,
    not_finite: u64,
    trees: Vec<Tree>,
    /// The feature of each node, where there are too many to pack; else empty.
    wide: Vec<u16>,
    scale: Scale,
    means: Means,
    coded: kernel::Coded,
}

impl Forest {
    fn new(features: usize, sample: usize, not_finite: u64, trees: Vec<Tree>, wide: Vec<u16>) -> Forest {
        let scale = Scale::new(trees.len(), sample);
        let (means, coded) = (Means::default(), kernel::Coded::default());
        Forest { features, sample, not_finite, trees, wide, scale, means, coded }
    }

    /// Scores each row, with the fastest kernel there is.
    pub fn score(&self, rows: ArrayView2<'_, f32>) -> Result<Array1<f32>, Error> {
        let mut scores = Array1::zeros(rows.nrows());
        self.score_into(rows, scores.as_slice_mut().unwrap_or_default(), self.kernel())?;
        Ok(scores)
    }

    /// Scores one row, without an allocation.
    pub fn score_row(&self, row: ArrayView1<'_, f32>) -> Result<f32, Error> {
        let mut score = [0.0];
        self.score_into(row.insert_axis(ndarray::Axis(0)), &mut score, self.kernel())?;
        Ok(score[0])
    }

    /// Scores each row into `scores`, with the kernel asked for; all give the same bits.
    pub fn score_into(
        &self,
        rows: ArrayView2<'_, f32>,
        scores: &mut [f32],
        kernel: Kernel,
    ) -> Result<(), Error> {
        if rows.ncols() != self.features {
            return Err(Error::FeatureCount { model: self.features, given: rows.ncols() });
        }
        if rows.nrows() != scores.len() {
            return Err(Error::Room { given: rows.nrows(), room: scores.len() });
        }
        let rows = rows.as_standard_layout();
        let rows = rows.as_slice().unwrap_or_default();
        let scale = self.scale;
        match Layout::for_features(self.features) {
            Layout::Packed(mask) => {
                let Forest { trees, coded, features, .. } = self;
                let packed = kernel::Packed { trees, features: *features, mask, coded };
                kernel::score(kernel, &packed, rows, scale, scores);
            }
            Layout::Wide => kernel::wide::score(&self.trees, &self.wide, self.features, rows, scale, scores),
        }
        Ok(())
    }

    /// The fastest kernel that this machine has for this forest.
    pub fn kernel(&self) -> Kernel {
        if self.wide.is_empty() { Kernel::best() } else { Kernel::SCALAR }
    }

    pub fn features(&self) -> usize {
        self.features
    }

    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Values of the training rows that were NaN or infinite.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }
}
