//! What cannot be denied: a hash chain in a Merkle tree, signed checkpoints, receipts, and the offline verifier.
//!
//! Entries form a SHA-256 chain; the same entries are the leaves of an RFC 6962 tree, whose head is published
//! as a C2SP checkpoint (an Ed25519 signed note). Nothing here reads a clock, a file or random bytes: times,
//! seeds and stored entries are given. What the ledger cannot show is an event that was never logged.

mod checkpoint;
mod encoding;
mod entry;
mod error;
mod key;
mod log;
mod note;
mod receipt;
mod tree;
mod verify;

pub use checkpoint::{Checkpoint, anchor};
pub use entry::{ENTRY_DOMAIN, Entry, genesis};
pub use error::{LedgerError, ProofError};
pub use key::{Signer, Verifier};
pub use log::Ledger;
pub use note::{NOTE_BYTES_MAX, NoteSignature, SIGNATURES_MAX, SignedNote};
pub use receipt::{ProofBundle, ProvenEntry, attest, receipt_body};
pub use tree::{
    Frontier, PROOF_HASHES_MAX, Tree, empty_root, leaf_hash, node_hash, verify_consistency, verify_inclusion,
};
pub use verify::{Completeness, Integrity, PROBLEMS_MAX, Report, verify};

/// A SHA-256 digest.
pub type Hash = [u8; 32];
