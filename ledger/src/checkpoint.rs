//! Checkpoint: the head of the tree as C2SP writes it (c2sp.org/tlog-checkpoint), signed as a note.

use crate::encoding::{hash_from_base64, to_base64};
use crate::{Hash, LedgerError, ProofError, SignedNote, Signer, Verifier};

/// Longest origin line, in bytes.
pub const ORIGIN_BYTES_MAX: usize = 256;

/// What a ledger commits to: the first `size` entries have this `root`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The ledger's name, such as `example.org/ledger`.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// Reads the text of the note. Extension lines are allowed and ignored, as the specification asks.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let body = text.strip_suffix('\n').ok_or(LedgerError::Checkpoint("it does not end in a newline"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(LedgerError::Checkpoint("it has fewer than three lines"));
        };
        check_origin(origin)?;
        let plain = size.bytes().all(|b| b.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
        let size = size.parse().ok().filter(|_| plain);
        let size = size.ok_or(LedgerError::Checkpoint("its size is not a plain decimal number"))?;
        let root =
            hash_from_base64(root).ok_or(LedgerError::Checkpoint("its root is not base64 of 32 bytes"))?;
        if lines.any(str::is_empty) {
            return Err(LedgerError::Checkpoint("it holds an empty line"));
        }
        Ok(Checkpoint { origin: origin.to_owned(), size, root })
    }

    /// The three lines that are signed.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, to_base64(&self.root))
    }

    pub fn sign(&self, signer: &Signer) -> Result<String, LedgerError> {
        signer.sign(&self.to_text())
    }

    /// Reads a signed checkpoint. Without a verifier the signature is *not* checked.
    pub fn open(note: &str, verifier: Option<&Verifier>) -> Result<Self, ProofError> {
        let text = match verifier {
            Some(verifier) => verifier.open(note.as_bytes())?,
            None => SignedNote::parse(note.as_bytes())?.text,
        };
        Ok(Checkpoint::parse(&text)?)
    }
}

/// The text to keep in a second place, out of the ledger's reach: the newest checkpoint that the key signed.
///
/// Truncation shows only against a checkpoint that whoever truncates cannot remove.
pub fn anchor<'a>(checkpoints: &'a [String], verifier: &Verifier) -> Option<&'a str> {
    let signed = |note: &'a String| Some((Checkpoint::open(note, Some(verifier)).ok()?.size, note.as_str()));
    checkpoints.iter().filter_map(signed).max_by_key(|(size, _)| *size).map(|(_, note)| note)
}

pub(crate) fn check_origin(origin: &str) -> Result<(), LedgerError> {
    if origin.is_empty() || origin.len() > ORIGIN_BYTES_MAX || origin.chars().any(char::is_control) {
        return Err(LedgerError::Origin(origin.chars().take(80).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_example_of_the_specification() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text).unwrap();
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.size),
            ("example.com/behind-the-sofa", 20_852_163)
        );
        assert_eq!(checkpoint.to_text(), text);
        assert_eq!(Checkpoint::parse(&format!("{text}an extension\n")), Ok(checkpoint));
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        assert!(Checkpoint::parse(&format!("o\n0\n{root}\n")).is_ok());
        for head in [
            "o\n-1",
            "o\n+1",
            "o\n01",
            "o\n00",
            "o\n",
            "o\n18446744073709551616",
            "o\n1 ",
            "\n1",
            "o",
            "o\n1\n",
        ] {
            assert!(Checkpoint::parse(&format!("{head}\n{root}\n")).is_err(), "{head:?}");
        }
        for tail in ["", "\n\n", "\nx\n\n", "=\n", "A=\n"] {
            assert!(Checkpoint::parse(&format!("o\n1\n{root}{tail}")).is_err(), "{tail:?}");
        }
    }
}
