//! Keys and notes against Go's reference implementation, and against whatever bytes come along.

use crate::sample::{ORIGIN, ledger, signer};
use proptest::prelude::*;
use prunella_ledger::{Checkpoint, LedgerError, ProofError, SignedNote, Signer, Verifier, anchor};

// The example of golang.org/x/mod/sumdb/note, the first implementation of the format.
const GO_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_SIGNER: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const GO_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const GO_LINE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

#[test]
fn keys_and_signatures_are_those_of_go() {
    let signer = Signer::parse(GO_SIGNER).unwrap();
    assert_eq!(signer.verifier().to_string(), GO_VERIFIER);
    assert_eq!(*signer.to_secret_text().unwrap(), GO_SIGNER);
    let note = signer.sign(GO_TEXT).unwrap();
    assert_eq!(note, format!("{GO_TEXT}\n{GO_LINE}"));
    let verifier = Verifier::parse(GO_VERIFIER).unwrap();
    assert_eq!(verifier.open(note.as_bytes()), Ok(GO_TEXT.to_owned()));
    assert_eq!(hex::encode(verifier.id()), "c74f20a3");
}

#[test]
fn mangled_keys_are_refused() {
    let cases = [
        ("", ""),
        ("+", ""),
        ("PeterNeumann", "Peter Neumann"),
        ("PeterNeumann", ""),
        ("PeterNeumann", "PeterNeuman"),
        ("c74f20a3", "C74f20a3"),
        ("c74f20a3", "c74f20a"),
        ("c74f20a3", "c74f20a4"),
        ("c74f20a3+", ""),
        ("ARpc", "AhpC"),
        ("ARpc", "ARpd"),
        ("10TW", "10T"),
        ("10TW", ""),
        ("10TW", "10TWAAAA"),
    ];
    for (from, to) in cases {
        let key = if from.is_empty() { String::new() } else { GO_VERIFIER.replace(from, to) };
        assert!(matches!(Verifier::parse(&key), Err(LedgerError::Key(_))), "{key}");
        assert!(Signer::parse(&format!("PRIVATE+KEY+{key}")).is_err(), "{key}");
    }
    assert!(Signer::parse(GO_VERIFIER).is_err());
    assert!(Signer::from_seed("a b", &[0; 32]).is_err());
}

#[test]
fn other_signatures_are_ignored_and_a_wrong_one_is_not() {
    let (ledger, _) = ledger(3);
    let note = ledger.checkpoint(&signer()).unwrap();
    let verifier = signer().verifier().clone();
    let text = SignedNote::parse(note.as_bytes()).unwrap().text;
    // A witness signs the same text with a key of its own, before or after.
    let witness = Signer::from_seed("witness.example", &[9; 32]).unwrap();
    let line = witness.sign(&text).unwrap().split_off(text.len() + 1);
    let both = format!("{note}{line}");
    assert_eq!(verifier.open(both.as_bytes()), Ok(text.clone()));
    assert_eq!(witness.verifier().open(both.as_bytes()), Ok(text.clone()));
    // The name of our key with another key behind it is an unknown key.
    let impostor = Signer::from_seed(ORIGIN, &[8; 32]).unwrap();
    let forged = impostor.sign(&text).unwrap();
    assert_eq!(verifier.open(forged.as_bytes()), Err(ProofError::UnknownKey(verifier.to_string())));
    let changed = note.replacen("\n3\n", "\n2\n", 1);
    assert_eq!(verifier.open(changed.as_bytes()), Err(ProofError::Signature(verifier.to_string())));
    assert!(
        Checkpoint::open(&changed, None).is_ok_and(|c| c.size == 2),
        "unsigned use is possible but named as such"
    );
}

#[test]
fn signing_what_is_not_a_note_fails() {
    for text in ["", "no newline", "carriage\r\n", "bell\u{7}\n"] {
        assert!(signer().sign(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_anchor_is_the_newest_signed_checkpoint() {
    let mut notes: Vec<String> =
        [2, 7, 5].map(|size| ledger(size).0.checkpoint(&signer()).unwrap()).into_iter().collect();
    notes.push(ledger(9).0.checkpoint(&Signer::from_seed(ORIGIN, &[8; 32]).unwrap()).unwrap());
    notes.push("nonsense".to_owned());
    assert_eq!(anchor(&notes, signer().verifier()), Some(notes[1].as_str()));
    assert_eq!(anchor(&notes[3..], signer().verifier()), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parsers_survive_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(signer().verifier().open(&bytes).is_err());
        prop_assert!(Verifier::parse(&text).is_err());
        prop_assert!(Signer::parse(&text).is_err());
        prop_assert!(Checkpoint::open(&text, None).is_err());
    }

    #[test]
    fn parsers_survive_almost_notes(text in "[a\n0-9+/= \u{2014}]{0,120}") {
        // What parses must read the same when written again.
        if let Ok(note) = SignedNote::parse(text.as_bytes()) {
            prop_assert!(text.starts_with(&note.text) && note.text.ends_with('\n') && !note.signatures.is_empty());
        }
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert!(text.starts_with(&checkpoint.to_text()));
        }
        prop_assert!(Verifier::parse(&text).is_err());
    }

    #[test]
    fn a_changed_checkpoint_is_refused(at in any::<usize>(), byte in any::<u8>()) {
        let note = ledger(5).0.checkpoint(&signer()).unwrap().into_bytes();
        let mut changed = note.clone();
        changed[at % note.len()] = byte;
        prop_assert_eq!(signer().verifier().open(&changed).is_ok(), changed == note);
        prop_assert!(signer().verifier().open(&note[..at % note.len()]).is_err());
    }
}
