//! The Merkle tree of RFC 6962 (section 2.1) and RFC 9162: roots, inclusion and consistency proofs, and their verification.

use crate::encoding::sha256;
use crate::{Hash, ProofError};

/// Longest proof: a tree has at most 2^64 leaves, and a consistency proof one hash more than its height.
pub const PROOF_HASHES_MAX: usize = 65;

/// Hash of a leaf: SHA-256(0x00 || data).
pub fn leaf_hash(data: &[u8]) -> Hash {
    sha256(&[&[0], data])
}

/// Hash of an inner node: SHA-256(0x01 || left || right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// Root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// A tree that can prove: it keeps every full node, 64 bytes a leaf.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// `levels[k][i]` is the root of the leaves from `i << k` to `(i + 1) << k`.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    pub fn new() -> Self {
        Tree::default()
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Adds a leaf hash and returns its index.
    pub fn append(&mut self, leaf: Hash) -> u64 {
        let index = self.size();
        let mut node = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(nodes) = self.levels.get_mut(level) else { break };
            nodes.push(node);
            if nodes.len() % 2 == 1 {
                break;
            }
            let Some([left, right]) = nodes.last_chunk::<2>() else { break };
            node = node_hash(left, right);
        }
        index
    }

    /// Root of the first `size` leaves; `None` when there are fewer.
    pub fn root(&self, size: u64) -> Option<Hash> {
        if size == 0 { Some(empty_root()) } else { self.range(0, size) }
    }

    /// Proof that the leaf `index` is in the tree of the first `size` leaves.
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        if index >= size || size > self.size() {
            return None;
        }
        let (mut low, mut high) = (0, size);
        let mut proof = Vec::new();
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                proof.push(self.range(middle, high)?);
                high = middle;
            } else {
                proof.push(self.range(low, middle)?);
                low = middle;
            }
        }
        proof.reverse();
        Some(proof)
    }

    /// Proof that the tree of the first `new` leaves extends the tree of the first `old`. Empty when `old` is 0 or `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Option<Vec<Hash>> {
        if old > new || new > self.size() {
            return None;
        }
        if old == 0 {
            return Some(Vec::new());
        }
        let (mut low, mut high) = (0, new);
        let mut proof = Vec::new();
        while high != old {
            let middle = low + split(high - low);
            if old <= middle {
                proof.push(self.range(middle, high)?);
                high = middle;
            } else {
                proof.push(self.range(low, middle)?);
                low = middle;
            }
        }
        // The old tree's own root is known to whoever verifies; a part of it is not.
        if low > 0 {
            proof.push(self.range(low, high)?);
        }
        proof.reverse();
        Some(proof)
    }

    /// Root of the leaves from `low` to `high`, where `low` is a multiple of a power of two not below their number.
    fn range(&self, low: u64, high: u64) -> Option<Hash> {
        let mut frontier = Vec::new();
        let mut at = low;
        while at < high {
            let level = (high - at).ilog2();
            let nodes = self.levels.get(usize::try_from(level).ok()?)?;
            frontier.push(*nodes.get(usize::try_from(at >> level).ok()?)?);
            at += 1 << level;
        }
        fold(&frontier)
    }
}

/// A tree that only knows its root: it keeps one hash per level, whatever its size.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    size: u64,
    nodes: Vec<Hash>,
}

impl Frontier {
    pub fn new() -> Self {
        Frontier::default()
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn append(&mut self, leaf: Hash) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.nodes.push(node);
        self.size += 1;
    }

    pub fn root(&self) -> Hash {
        fold(&self.nodes).unwrap_or_else(empty_root)
    }
}

/// Checks that `leaf` is leaf `index` of the tree with `size` leaves and this `root` (RFC 9162, 2.1.3.2).
pub fn verify_inclusion(
    leaf: Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Merkle("the index lies outside the tree"));
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Merkle("the proof is too long"));
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            // A right-most node without a sibling moves up until it is somebody's right child.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last, hash == root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Merkle("the root differs")),
        _ => Err(ProofError::Merkle("the proof is too short")),
    }
}

/// Checks that the tree of `new` leaves extends the tree of `old` leaves (RFC 9162, 2.1.4.2).
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: Hash,
    new_root: Hash,
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Merkle("the older tree is the larger one"));
    }
    if old == 0 || old == new {
        let same = if old == 0 {
            old_root == empty_root() && (new > 0 || new_root == old_root)
        } else {
            old_root == new_root
        };
        return match (same, proof.is_empty()) {
            (true, true) => Ok(()),
            (false, _) => Err(ProofError::Merkle("the root differs")),
            (_, false) => Err(ProofError::Merkle("the proof is too long")),
        };
    }
    let mut rest = proof.iter();
    let first = if old.is_power_of_two() { Some(&old_root) } else { rest.next() };
    let Some(first) = first else { return Err(ProofError::Merkle("the proof is too short")) };
    let (mut node, mut last) = (old - 1, new - 1);
    let trailing = node.trailing_ones();
    node >>= trailing;
    last >>= trailing;
    let (mut of_old, mut of_new) = (*first, *first);
    for hash in rest {
        if last == 0 {
            return Err(ProofError::Merkle("the proof is too long"));
        }
        if node & 1 == 1 || node == last {
            of_old = node_hash(hash, &of_old);
            of_new = node_hash(hash, &of_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            of_new = node_hash(&of_new, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last, of_old == old_root && of_new == new_root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Merkle("the root differs")),
        _ => Err(ProofError::Merkle("the proof is too short")),
    }
}

/// The largest power of two below `n`, for `n` of at least 2.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// Root over full subtrees that shrink from left to right.
fn fold(nodes: &[Hash]) -> Option<Hash> {
    nodes.iter().rev().copied().reduce(|right, left| node_hash(&left, &right))
}
