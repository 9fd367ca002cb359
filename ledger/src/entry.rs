//! Entry: one link of the chain and one leaf of the tree.

use crate::Hash;
use crate::encoding::{base64_bytes, hex_hash, sha256, strict_id};
use crate::tree::leaf_hash;
use prunella_schemas::{Id, Timestamp};
use serde::{Deserialize, Serialize};

/// The first bytes of every encoded entry. A new encoding gets a new line.
pub const ENTRY_DOMAIN: &[u8] = b"prunella/ledger/entry/v1\n";

/// One thing that happened, linked to the one before it.
///
/// In text an entry is one JSON object whose `body` is base64 and whose hashes are lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Position in the ledger, from 0.
    pub index: u64,
    pub time: Timestamp,
    /// What the body is: `transition`, `receipt`, `note` and so on.
    pub kind: String,
    /// The id of what the body describes.
    #[serde(with = "strict_id")]
    pub id: Id,
    /// Canonical JSON by convention; the ledger hashes exactly these bytes and never rewrites them.
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
    /// Hash of the entry before, or [`genesis`] for the first.
    #[serde(with = "hex_hash")]
    pub prev: Hash,
    /// SHA-256 of [`Entry::encode`].
    #[serde(with = "hex_hash")]
    pub hash: Hash,
}

impl Entry {
    /// Links an entry to the one whose hash is `prev`.
    pub fn seal(prev: Hash, index: u64, time: Timestamp, kind: &str, id: Id, body: Vec<u8>) -> Self {
        Entry::seal_with_leaf(prev, index, time, kind, id, body).0
    }

    /// Seals an entry and hashes its leaf from one encoding.
    pub(crate) fn seal_with_leaf(
        prev: Hash,
        index: u64,
        time: Timestamp,
        kind: &str,
        id: Id,
        body: Vec<u8>,
    ) -> (Self, Hash) {
        let mut entry = Entry { index, time, kind: kind.to_owned(), id, body, prev, hash: [0; 32] };
        let (hash, leaf) = entry.digests();
        entry.hash = hash;
        (entry, leaf)
    }

    /// What [`Entry::hash`] should be, and the leaf.
    pub(crate) fn digests(&self) -> (Hash, Hash) {
        let bytes = self.encode();
        (sha256(&[&bytes]), leaf_hash(&bytes))
    }

    /// The bytes that are hashed and that are the leaf of the tree.
    ///
    /// [`ENTRY_DOMAIN`], `prev` (32 bytes), `index` (8), `time` in milliseconds (8), `id` (16), then the length
    /// of `kind` (8) and `kind`, then the length of `body` (8) and `body`. Numbers are big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRY_DOMAIN.len() + 80 + self.kind.len() + self.body.len());
        bytes.extend_from_slice(ENTRY_DOMAIN);
        bytes.extend_from_slice(&self.prev);
        bytes.extend_from_slice(&self.index.to_be_bytes());
        bytes.extend_from_slice(&self.time.0.to_be_bytes());
        bytes.extend_from_slice(&self.id.0);
        for field in [self.kind.as_bytes(), &self.body] {
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }

    /// The entry's leaf in the Merkle tree.
    pub fn leaf(&self) -> Hash {
        leaf_hash(&self.encode())
    }

    /// True when `hash` is the hash of everything else.
    pub fn is_sealed(&self) -> bool {
        self.hash == self.digests().0
    }
}

/// What the first entry links to: SHA-256 of the origin line, newline included.
pub fn genesis(origin: &str) -> Hash {
    sha256(&[origin.as_bytes(), b"\n"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let seal =
            |kind: &str, body: &str| Entry::seal([0; 32], 0, Timestamp(1), kind, Id([0; 16]), body.into());
        assert_ne!(seal("ab", "c").hash, seal("a", "bc").hash);
        assert_ne!(seal("a", "").leaf(), seal("", "a").leaf());
        assert!(seal("a", "b").is_sealed());
    }

    #[test]
    fn text_has_one_spelling() {
        let entry = Entry::seal([0xab; 32], 7, Timestamp(-5), "note", Id([0xcd; 16]), b"{}".to_vec());
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
        let cases =
            [("abab", "ABab"), ("cdcd", "CDcd"), ("e30=", "e30"), ("e30=", "e31="), ("\"kind\"", "\"kin\"")];
        for (from, to) in cases {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(serde_json::from_str::<Entry>(&changed).is_err(), "{changed}");
        }
    }
}
