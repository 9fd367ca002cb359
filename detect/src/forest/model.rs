//! A forest as plain data, to store and to load; what does not fit is refused with the reason.

use super::path::LEAF_MAX;
use super::tree::{FEATURES_MAX, Layout, NODES, SAMPLE_MAX, Tree};
use super::{Error, Forest, TREES_MAX};
use serde::{Deserialize, Serialize};

/// Raised when a model of one version scores differently, or cannot be read, in another.
pub const VERSION: u32 = 1;

/// Everything a forest is. Thresholds are the bits of an f32; their lowest 4, 5 or 6 name the feature up to 16, 32 or
/// 64 features, and beyond that `node_features` does. Leaves are path lengths times 65,536.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub version: u32,
    pub features: usize,
    /// Rows each tree was grown on.
    pub sample: usize,
    /// Values in the training rows that were NaN or infinite.
    pub not_finite: u64,
    /// 256 per tree; the first is not used.
    pub thresholds: Vec<u32>,
    /// 256 per tree.
    pub leaves: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_features: Vec<u16>,
}

impl From<Forest> for Model {
    fn from(forest: Forest) -> Model {
        Model {
            version: VERSION,
            features: forest.features,
            sample: forest.sample,
            not_finite: forest.not_finite,
            thresholds: forest.trees.iter().flat_map(|tree| &tree.0[..NODES]).copied().collect(),
            leaves: forest.trees.iter().flat_map(|tree| &tree.0[NODES..2 * NODES]).copied().collect(),
            node_features: forest.wide,
        }
    }
}

impl TryFrom<Model> for Forest {
    type Error = Error;

    fn try_from(model: Model) -> Result<Forest, Error> {
        if model.version != VERSION {
            return Err(Error::Version { model: model.version });
        }
        let broken = |what: &'static str| Err(Error::Broken(what));
        if !(1..=FEATURES_MAX).contains(&model.features) {
            return broken("its number of features");
        }
        if !(2..=SAMPLE_MAX).contains(&model.sample) {
            return broken("its sample");
        }
        let trees = model.thresholds.len() / NODES;
        if !(1..=TREES_MAX).contains(&trees) || !model.thresholds.len().is_multiple_of(NODES) {
            return broken("its number of thresholds");
        }
        if model.leaves.len() != model.thresholds.len() || model.leaves.iter().any(|leaf| *leaf > LEAF_MAX) {
            return broken("its leaves");
        }
        let layout = Layout::for_features(model.features);
        let wide_len = if layout == Layout::Wide { model.thresholds.len() } else { 0 };
        let is_feature = |feature: &u16| usize::from(*feature) < model.features;
        if model.node_features.len() != wide_len || !model.node_features.iter().all(is_feature) {
            return broken("the features of its nodes");
        }
        let halves = model.thresholds.chunks_exact(NODES).zip(model.leaves.chunks_exact(NODES));
        let trees: Vec<Tree> = halves
            .map(|(nodes, leaves)| {
                let mut tree = Tree::empty();
                tree.0[..NODES].copy_from_slice(nodes);
                tree.0[NODES..2 * NODES].copy_from_slice(leaves);
                tree
            })
            .collect();
        if !trees.iter().all(|tree| layout.holds(tree, model.features)) {
            return broken("the features of its nodes");
        }
        Ok(Forest::new(model.features, model.sample, model.not_finite, trees, model.node_features))
    }
}
