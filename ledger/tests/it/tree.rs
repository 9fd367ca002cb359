//! The Merkle tree against the reference vectors of Certificate Transparency and against the crate ct-merkle.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use prunella_ledger::{Frontier, Hash, Tree, empty_root, leaf_hash, verify_consistency, verify_inclusion};
use sha2::Sha256;

/// The leaves of certificate-transparency's `merkle_tree_test.cc`, which every implementation of RFC 6962 quotes.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const NODE_1: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
const NODE_2_3: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
const NODE_4: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
const NODE_4_5: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
const NODE_4_7: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
const NODE_6_7: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";

fn hash(text: &str) -> Hash {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn hashes(texts: &[&str]) -> Vec<Hash> {
    texts.iter().map(|text| hash(text)).collect()
}

fn leaf(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn tree(size: u64) -> Tree {
    let mut tree = Tree::new();
    for number in 0..size {
        assert_eq!(tree.append(leaf_hash(&leaf(number))), number);
    }
    tree
}

#[test]
fn roots_are_those_of_the_reference_vectors() {
    let (mut tree, mut frontier) = (Tree::new(), Frontier::new());
    assert_eq!(empty_root(), hash(ROOTS[0]));
    for (size, root) in ROOTS.iter().enumerate() {
        assert_eq!(tree.root(size as u64), Some(hash(root)));
        assert_eq!((frontier.size(), frontier.root()), (size as u64, hash(root)));
        if let Some(data) = LEAVES.get(size) {
            let leaf = leaf_hash(&hex::decode(data).unwrap());
            tree.append(leaf);
            frontier.append(leaf);
        }
    }
    assert_eq!(tree.root(9), None);
}

#[test]
fn proofs_are_those_of_the_reference_vectors() {
    let mut tree = Tree::new();
    for data in LEAVES {
        tree.append(leaf_hash(&hex::decode(data).unwrap()));
    }
    let inclusion = |index, size, want: &[&str]| {
        let proof = tree.inclusion(index, size).unwrap();
        assert_eq!(proof, hashes(want), "leaf {index} of {size}");
        let leaf = leaf_hash(&hex::decode(LEAVES[index as usize]).unwrap());
        assert_eq!(verify_inclusion(leaf, index, size, &proof, hash(ROOTS[size as usize])), Ok(()));
    };
    inclusion(0, 1, &[]);
    inclusion(0, 8, &[NODE_1, NODE_2_3, NODE_4_7]);
    inclusion(5, 8, &[NODE_4, NODE_6_7, ROOTS[4]]);
    inclusion(2, 3, &[ROOTS[2]]);
    let consistency = |old, new, want: &[&str]| {
        let proof = tree.consistency(old, new).unwrap();
        assert_eq!(proof, hashes(want), "{old} to {new}");
        let (old_root, new_root) = (hash(ROOTS[old as usize]), hash(ROOTS[new as usize]));
        assert_eq!(verify_consistency(old, new, &proof, old_root, new_root), Ok(()));
    };
    consistency(1, 1, &[]);
    consistency(1, 8, &[NODE_1, NODE_2_3, NODE_4_7]);
    consistency(6, 8, &[NODE_4_5, NODE_6_7, ROOTS[4]]);
    consistency(2, 5, &[NODE_2_3, NODE_4]);
    consistency(0, 8, &[]);
}

/// Every proof in every tree up to 96 leaves, byte for byte, and each verifier on the other's proofs.
#[test]
fn agrees_with_ct_merkle() {
    let mut theirs = MemoryBackedTree::<Sha256, [u8; 8]>::new();
    let ours = tree(96);
    let mut roots: Vec<RootHash<Sha256>> = vec![theirs.root()];
    let mut compared = 0;
    for new in 1..=96u64 {
        theirs.push(leaf(new - 1));
        let root: Hash = theirs.root().as_bytes()[..].try_into().unwrap();
        assert_eq!(ours.root(new), Some(root), "root of {new}");
        roots.push(theirs.root());
        for index in 0..new {
            let proof = ours.inclusion(index, new).unwrap();
            let other = theirs.prove_inclusion(index as usize);
            assert_eq!(proof.concat(), other.as_bytes(), "leaf {index} of {new}");
            assert_eq!(verify_inclusion(leaf_hash(&leaf(index)), index, new, &proof, root), Ok(()));
            let proof = InclusionProof::try_from_bytes(proof.concat()).unwrap();
            assert!(theirs.root().verify_inclusion(&leaf(index), index, &proof).is_ok());
            compared += 1;
        }
        for old in 1..=new {
            let proof = ours.consistency(old, new).unwrap();
            let other = theirs.prove_consistency((new - old) as usize);
            assert_eq!(proof.concat(), other.as_bytes(), "{old} to {new}");
            assert_eq!(verify_consistency(old, new, &proof, ours.root(old).unwrap(), root), Ok(()));
            let proof = ConsistencyProof::try_from_bytes(proof.concat()).unwrap();
            assert!(theirs.root().verify_consistency(&roots[old as usize], &proof).is_ok());
            compared += 1;
        }
    }
    assert_eq!(compared, 96 * 97);
}

#[test]
fn proofs_outside_the_tree_do_not_exist() {
    let tree = tree(5);
    for (index, size) in [(5, 5), (0, 0), (0, 6), (u64::MAX, u64::MAX)] {
        assert_eq!(tree.inclusion(index, size), None, "leaf {index} of {size}");
        assert!(verify_inclusion([0; 32], index, size, &[], [0; 32]).is_err(), "leaf {index} of {size}");
    }
    for (old, new) in [(3, 2), (5, 6), (0, 6), (u64::MAX, u64::MAX)] {
        assert_eq!(tree.consistency(old, new), None, "{old} to {new}");
    }
    assert!(verify_consistency(0, 0, &[], empty_root(), empty_root()).is_ok());
    assert!(verify_consistency(0, 3, &[], [1; 32], [2; 32]).is_err());
    assert!(verify_consistency(3, 3, &[], [1; 32], [2; 32]).is_err());
    assert!(verify_consistency(3, 3, &[[0; 32]], [1; 32], [1; 32]).is_err());
    assert!(verify_consistency(3, 2, &[], [1; 32], [1; 32]).is_err());
}

#[test]
fn a_large_tree_proves_in_few_hashes() {
    let size = 200_003;
    let tree = tree(size);
    let root = tree.root(size).unwrap();
    for index in [0, 1, 99_999, 131_071, 131_072, size - 1] {
        let proof = tree.inclusion(index, size).unwrap();
        assert!(proof.len() <= 18, "{} hashes", proof.len());
        assert_eq!(verify_inclusion(leaf_hash(&leaf(index)), index, size, &proof, root), Ok(()));
    }
    let proof = tree.consistency(123_457, size).unwrap();
    assert_eq!(verify_consistency(123_457, size, &proof, tree.root(123_457).unwrap(), root), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_inclusion_proof_is_refused(size in 1u64..300, at in any::<u64>(), which in any::<usize>(), bit in 0usize..256) {
        let tree = tree(size);
        let (index, root) = (at % size, tree.root(size).unwrap());
        let (leaf, proof) = (leaf_hash(&leaf(index)), tree.inclusion(index, size).unwrap());
        prop_assert!(verify_inclusion(leaf, index, size, &proof, root).is_ok());
        if !proof.is_empty() {
            let mut changed = proof.clone();
            changed[which % proof.len()][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify_inclusion(leaf, index, size, &changed, root).is_err());
            prop_assert!(verify_inclusion(leaf, index, size, &proof[1..], root).is_err());
            prop_assert!(verify_inclusion(leaf, (index + 1) % size, size, &proof, root).is_err());
        }
        prop_assert!(verify_inclusion(leaf, index, size, &[&proof[..], &[[0; 32]]].concat(), root).is_err());
        prop_assert!(verify_inclusion(root, index, size, &proof, leaf).is_err() || size == 1);
    }

    #[test]
    fn a_changed_consistency_proof_is_refused(new in 2u64..300, at in any::<u64>(), which in any::<usize>(), bit in 0usize..256) {
        let tree = tree(new);
        let old = 1 + at % (new - 1);
        let (old_root, new_root) = (tree.root(old).unwrap(), tree.root(new).unwrap());
        let proof = tree.consistency(old, new).unwrap();
        prop_assert!(verify_consistency(old, new, &proof, old_root, new_root).is_ok());
        let mut changed = proof.clone();
        changed[which % proof.len()][bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify_consistency(old, new, &changed, old_root, new_root).is_err());
        prop_assert!(verify_consistency(old, new, &proof[1..], old_root, new_root).is_err());
        prop_assert!(verify_consistency(old, new, &[&proof[..], &[[0; 32]]].concat(), old_root, new_root).is_err());
        prop_assert!(verify_consistency(old, new, &proof, new_root, new_root).is_err());
        prop_assert!(verify_consistency(old, new, &proof, old_root, old_root).is_err());
    }

    #[test]
    fn verifiers_survive_anything(
        numbers in any::<[u64; 2]>(), proof in prop::collection::vec(any::<Hash>(), 0..80), roots in any::<[Hash; 2]>(),
    ) {
        let [a, b] = numbers;
        prop_assert!(verify_inclusion(roots[0], a, b, &proof, roots[1]).is_err());
        prop_assert!(verify_consistency(a, b, &proof, roots[0], roots[1]).is_err());
    }
}
