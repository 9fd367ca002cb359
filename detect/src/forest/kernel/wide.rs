//! The kernel for more features than a threshold can carry: the node's feature lies beside it.

use super::super::path::Scale;
use super::super::tree::{DEPTH, NODES, Tree};

/// `wide` holds 256 features per tree, each below `features`.
pub(in super::super) fn score(
    trees: &[Tree],
    wide: &[u16],
    features: usize,
    rows: &[f32],
    scale: Scale,
    scores: &mut [f32],
) {
    // Few rows at a time stay in the cache while all trees pass over them.
    const ROWS: usize = 16;
    for (rows, scores) in rows.chunks(ROWS * features).zip(scores.chunks_mut(ROWS)) {
        let mut sums = [0u32; ROWS];
        for (tree, of_node) in trees.iter().zip(wide.chunks_exact(NODES)) {
            for (row, sum) in rows.chunks_exact(features).zip(&mut sums) {
                let mut at = 1;
                for _ in 0..DEPTH {
                    let node = at & (NODES - 1);
                    let value = row[usize::from(of_node[node])];
                    at = 2 * at + 1 - usize::from(value < f32::from_bits(tree.0[node]));
                }
                *sum += tree.0[at & (2 * NODES - 1)];
            }
        }
        for (score, sum) in scores.iter_mut().zip(sums) {
            *score = scale.score(sum);
        }
    }
}
