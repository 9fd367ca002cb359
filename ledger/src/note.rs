//! Signed notes as C2SP writes them (c2sp.org/signed-note): a text, a blank line, and one line per signature.

use crate::LedgerError;
use crate::encoding::from_base64;
use crate::key::check_name;

/// Largest note that is read, in bytes.
pub const NOTE_BYTES_MAX: usize = 1024 * 1024;
/// Most signatures on a note. The specification asks for at least 16.
pub const SIGNATURES_MAX: usize = 64;

/// A note that was split into its parts. Nothing about it is checked yet: [`crate::Verifier::open`] does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    /// What is signed, with its final newline.
    pub text: String,
    pub signatures: Vec<NoteSignature>,
}

/// One signature line: an em dash, the key's name, and base64 of the key's id and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    pub name: String,
    pub key_id: [u8; 4],
    pub signature: Vec<u8>,
}

impl SignedNote {
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(LedgerError::Note("it is larger than 1 MiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| LedgerError::Note("it is not UTF-8"))?;
        if note.bytes().any(|b| b < 0x20 && b != b'\n') {
            return Err(LedgerError::Note("it holds control characters"));
        }
        let blank =
            note.rfind("\n\n").ok_or(LedgerError::Note("no blank line stands before the signatures"))?;
        let (text, lines) = note.split_at(blank + 1);
        let lines = lines.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let lines = lines.ok_or(LedgerError::Note("it does not end in a signature line"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == SIGNATURES_MAX {
                return Err(LedgerError::Note("it has more than 64 signatures"));
            }
            signatures
                .push(NoteSignature::parse(line).ok_or(LedgerError::Note("a signature line is malformed"))?);
        }
        Ok(SignedNote { text: text.to_owned(), signatures })
    }
}

impl NoteSignature {
    fn parse(line: &str) -> Option<Self> {
        let (name, data) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        check_name(name).ok()?;
        let data = from_base64(data)?;
        let (key_id, signature) = data.split_first_chunk::<4>()?;
        (!signature.is_empty()).then(|| NoteSignature {
            name: name.to_owned(),
            key_id: *key_id,
            signature: signature.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_the_last_blank_line() {
        let note =
            SignedNote::parse("a\n\nb\n\n\u{2014} k AAAAAAE=\n\u{2014} l AAAAAgM=\n".as_bytes()).unwrap();
        assert_eq!(note.text, "a\n\nb\n");
        assert_eq!(note.signatures.len(), 2);
        assert_eq!(
            note.signatures[1],
            NoteSignature { name: "l".into(), key_id: [0, 0, 0, 2], signature: vec![3] }
        );
    }

    #[test]
    fn malformed_notes_are_refused() {
        let many = format!("a\n\n{}", "\u{2014} k AAAAAAE=\n".repeat(SIGNATURES_MAX + 1));
        let long = format!("{}\n\n\u{2014} k AAAAAAE=\n", "a".repeat(NOTE_BYTES_MAX));
        let cases = [
            "",
            "\n",
            "\n\n",
            "a",
            "a\n",
            "a\n\n",
            "a\n\n\n",
            "a\n\u{2014} k AAAAAAE=\n",
            "a\n\n\u{2014} k AAAAAAE=",
            "a\n\n- k AAAAAAE=\n",
            "a\n\n\u{2014} k\n",
            "a\n\n\u{2014}  AAAAAAE=\n",
            "a\n\n\u{2014} k+k AAAAAAE=\n",
            "a\n\n\u{2014} k AAAA\n",
            "a\n\n\u{2014} k AAAAAA==\n",
            "a\n\n\u{2014} k AAAAAAF=\n",
            "a\r\n\n\u{2014} k AAAAAAE=\n",
            "a\n\n\u{2014} k AAAAAAE=\nx\n",
            "a\n\n\u{2014} k\u{a0}k AAAAAAE=\n",
            &many,
            &long,
        ];
        for case in cases {
            assert!(SignedNote::parse(case.as_bytes()).is_err(), "{case:.80}");
        }
        assert!(SignedNote::parse(b"\xff\n\n\xe2\x80\x94 k AAAAAAE=\n").is_err());
    }
}
