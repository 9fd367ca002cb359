//! The kernel for any machine, and the measure of the others.

use super::super::tree::{DEPTH, NODES, STRIDE};
use super::{BLOCK_ROWS, Block, Packed, Row, Sums};

/// Rows led through a tree side by side, so that one's loads hide behind another's.
const TOGETHER: usize = 8;

pub(super) fn block(forest: &Packed<'_>, block: &Block, sums: &mut Sums) {
    for tree in forest.trees {
        for (group, sums) in sums.chunks_exact_mut(TOGETHER).enumerate() {
            let mut at = [1usize; TOGETHER];
            for _ in 0..DEPTH {
                for (lane, at) in at.iter_mut().enumerate() {
                    // The masks change nothing; they let the compiler see that every place exists.
                    let node = tree.0[*at & (NODES - 1)];
                    let column = &block.0[(node & forest.mask & 63) as usize];
                    let value = column[(group * TOGETHER + lane) & (BLOCK_ROWS - 1)];
                    *at = 2 * *at + right(value, node);
                }
            }
            for (sum, at) in sums.iter_mut().zip(at) {
                *sum += tree.0[at & (2 * NODES - 1)];
            }
        }
    }
}

pub(super) fn row(forest: &Packed<'_>, row: &Row) -> u32 {
    let path = |table: &[u32; STRIDE]| {
        let mut at = 1;
        for _ in 0..DEPTH {
            let node = table[at & (NODES - 1)];
            at = 2 * at + right(row.0[(node & forest.mask & 63) as usize], node);
        }
        table[at & (2 * NODES - 1)]
    };
    forest.trees.iter().map(|tree| path(&tree.0)).sum()
}

/// 1 when the value goes right: when it is not below the threshold, as NaN never is.
fn right(value: f32, node: u32) -> usize {
    1 - usize::from(value < f32::from_bits(node))
}
