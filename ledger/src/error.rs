//! What can be wrong with what the ledger is given, and with what somebody claims about it.

/// Something given to the ledger cannot be read or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error(
        "the origin `{0}` cannot name a ledger: use one line without control characters, such as example.org/ledger"
    )]
    Origin(String),
    #[error("the key is not usable: {0}")]
    Key(&'static str),
    #[error("the signed note is malformed: {0}")]
    Note(&'static str),
    #[error("the checkpoint is malformed: {0}")]
    Checkpoint(&'static str),
    #[error("there is no entry {index} in a ledger of {size} entries")]
    NoSuchEntry { index: u64, size: u64 },
    #[error("the receipt cannot be written as JSON: {0}")]
    Receipt(String),
    #[error("entry {0} does not hold this receipt: its body differs")]
    OtherReceipt(u64),
}

/// Why a claim about the ledger is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the Merkle proof does not lead to the root: {0}")]
    Merkle(&'static str),
    #[error(
        "no signature by the key {0} on the note: get the ledger's verifier key from somewhere you trust"
    )]
    UnknownKey(String),
    #[error("the signature by the key {0} is wrong: the note was changed")]
    Signature(String),
    #[error("the attestation's `{0}` does not match the proof")]
    Attestation(&'static str),
    #[error("the receipt is not the one that was logged")]
    Receipt,
    #[error("the bundle names the key {0}, which is not the key you trust")]
    OtherKey(String),
    #[error(transparent)]
    Malformed(#[from] LedgerError),
}
