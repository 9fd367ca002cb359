//! Receipts that carry their place in the ledger, and the bundle with which anyone checks one offline.

use crate::encoding::{base64_bytes, base64_hashes, hex_hash, strict_id, to_base64};
use crate::{Checkpoint, Entry, Hash, LedgerError, ProofError, Verifier, verify_inclusion};
use prunella_schemas::receipt::Attestation;
use prunella_schemas::{Id, Receipt, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The name of the attestation in a receipt's JSON.
const ATTESTATION: &str = "attestation";

/// The body of the entry that logs `receipt`: the receipt as JSON *without* its attestation.
///
/// The attestation names the hash of that very entry, so it cannot be part of what is hashed.
pub fn receipt_body(receipt: &Receipt) -> Result<Vec<u8>, LedgerError> {
    let bare = Receipt { attestation: None, ..receipt.clone() };
    serde_json::to_vec(&bare).map_err(|error| LedgerError::Receipt(error.to_string()))
}

/// Completes a receipt with its place in the ledger. `entry` must be the one that logs it.
pub fn attest(
    receipt: Receipt,
    entry: &Entry,
    origin: &str,
    verifier: &Verifier,
) -> Result<Receipt, LedgerError> {
    if entry.body != receipt_body(&receipt)? {
        return Err(LedgerError::OtherReceipt(entry.index));
    }
    let attestation = Attestation {
        fingerprint: hex::encode(entry.hash),
        prev_event: hex::encode(entry.prev),
        chain_uid: origin.to_owned(),
        authority_uid: verifier.to_string(),
        index: entry.index,
    };
    Ok(Receipt { attestation: Some(attestation), ..receipt })
}

/// A receipt and all that is needed to check it without asking anyone, except for the key, which must be known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofBundle {
    /// The attested receipt, kept as JSON so that receipts of any version can be checked.
    pub receipt: Value,
    pub entry: ProvenEntry,
    /// Merkle proof from the entry to the checkpoint's root.
    #[serde(with = "base64_hashes")]
    pub inclusion: Vec<Hash>,
    /// The signed note.
    pub checkpoint: String,
    /// Who claims to have signed it. It says which key to look for, and is no reason to trust it.
    pub verifier_key: String,
}

/// An entry without its hash, which whoever checks it computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenEntry {
    pub index: u64,
    pub time: Timestamp,
    pub kind: String,
    #[serde(with = "strict_id")]
    pub id: Id,
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
    #[serde(with = "hex_hash")]
    pub prev: Hash,
}

impl ProvenEntry {
    /// The entry with its hash computed.
    pub fn seal(&self) -> Entry {
        Entry::seal(self.prev, self.index, self.time, &self.kind, self.id, self.body.clone())
    }
}

impl ProofBundle {
    /// Puts a bundle together for a receipt that [`attest`] completed.
    pub fn new(
        receipt: &Receipt,
        entry: &Entry,
        inclusion: Vec<Hash>,
        checkpoint: String,
        verifier: &Verifier,
    ) -> Result<Self, LedgerError> {
        if entry.body != receipt_body(receipt)? {
            return Err(LedgerError::OtherReceipt(entry.index));
        }
        let unwritable = |error: serde_json::Error| LedgerError::Receipt(error.to_string());
        let mut json: Value = serde_json::from_slice(&entry.body).map_err(unwritable)?;
        if let (Some(fields), Some(attestation)) = (json.as_object_mut(), &receipt.attestation) {
            fields.insert(ATTESTATION.to_owned(), serde_json::to_value(attestation).map_err(unwritable)?);
        }
        let Entry { index, time, kind, id, body, prev, hash: _ } = entry.clone();
        let entry = ProvenEntry { index, time, kind, id, body, prev };
        Ok(ProofBundle { receipt: json, entry, inclusion, checkpoint, verifier_key: verifier.to_string() })
    }

    /// The proof as a C2SP `.tlog-proof` file (c2sp.org/tlog-proof), whose extra data is [`Entry::encode`].
    pub fn to_tlog_proof(&self) -> String {
        let mut text = format!("c2sp.org/tlog-proof@v1\nextra {}\n", to_base64(&self.entry.seal().encode()));
        text.push_str(&format!("index {}\n", self.entry.index));
        for hash in &self.inclusion {
            text.push_str(&to_base64(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Checks everything the bundle claims, given the key that the ledger is known by.
    pub fn verify(&self, verifier: &Verifier) -> Result<(), ProofError> {
        if self.verifier_key != verifier.to_string() {
            return Err(ProofError::OtherKey(self.verifier_key.chars().take(400).collect()));
        }
        let checkpoint = Checkpoint::open(&self.checkpoint, Some(verifier))?;
        let entry = self.entry.seal();
        verify_inclusion(entry.leaf(), entry.index, checkpoint.size, &self.inclusion, checkpoint.root)?;

        let mut receipt = self.receipt.clone();
        let attestation = receipt.as_object_mut().and_then(|fields| fields.remove(ATTESTATION));
        let attestation = attestation.ok_or(ProofError::Attestation("attestation"))?;
        check_attestation(&attestation, &entry, &checkpoint.origin, &self.verifier_key)?;
        // Compared as JSON values: spacing and the order of keys carry no meaning, anything else does.
        match serde_json::from_slice::<Value>(&entry.body) {
            Ok(logged) if logged == receipt => Ok(()),
            _ => Err(ProofError::Receipt),
        }
    }
}

fn check_attestation(claimed: &Value, entry: &Entry, origin: &str, key: &str) -> Result<(), ProofError> {
    let fields = [
        ("fingerprint", Value::from(hex::encode(entry.hash))),
        ("prev_event", Value::from(hex::encode(entry.prev))),
        ("chain_uid", Value::from(origin)),
        ("authority_uid", Value::from(key)),
        ("index", Value::from(entry.index)),
    ];
    for (name, expected) in &fields {
        if claimed.get(name) != Some(expected) {
            return Err(ProofError::Attestation(name));
        }
    }
    let known = claimed.as_object().is_some_and(|claimed| claimed.len() == fields.len());
    if known { Ok(()) } else { Err(ProofError::Attestation("attestation")) }
}
