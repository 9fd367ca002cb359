//! Every kind of tampering with stored entries, with and without rewriting the chain behind it: none goes unseen.

use crate::sample::{ORIGIN, append, ledger, signer};
use proptest::prelude::*;
use prunella_ledger::{
    Completeness, Entry, Integrity, Ledger, PROBLEMS_MAX, Report, Signer, genesis, verify,
};

fn check(entries: &[Entry], checkpoints: &[String]) -> Report {
    verify(entries.iter().cloned().map(Ok), checkpoints, Some(signer().verifier()))
}

fn checkpoint(size: u64) -> String {
    ledger(size).0.checkpoint(&signer()).unwrap()
}

/// Links the entries anew, as somebody who can write to the store would.
fn rewrite(entries: &mut [Entry]) {
    let mut prev = genesis(ORIGIN);
    for (index, entry) in entries.iter_mut().enumerate() {
        *entry = Entry::seal(
            prev,
            index as u64,
            entry.time,
            &entry.kind,
            entry.id,
            std::mem::take(&mut entry.body),
        );
        prev = entry.hash;
    }
}

/// True when the report lets nobody believe that all is well.
fn detected(report: &Report) -> bool {
    (report.integrity == Integrity::Broken || report.completeness == Completeness::Truncated)
        && !report.problems.is_empty()
}

fn flip(entry: &mut Entry, bit: usize) {
    let (byte, mask) = (bit / 8, 1u8 << (bit % 8));
    match bit % 7 {
        0 => entry.index ^= 1 << (bit % 64),
        1 => entry.time.0 ^= 1 << (bit % 64),
        2 => entry.id.0[byte % 16] ^= mask,
        3 => entry.prev[byte % 32] ^= mask,
        4 => entry.hash[byte % 32] ^= mask,
        5 => {
            let at = byte % entry.kind.len();
            let mut kind = entry.kind.clone().into_bytes();
            kind[at] ^= mask & 0x7f | u8::from(mask == 0x80);
            entry.kind = String::from_utf8(kind).unwrap();
        }
        _ => {
            let at = byte % entry.body.len();
            entry.body[at] ^= mask;
        }
    }
}

#[test]
fn an_untouched_ledger_is_intact() {
    for size in [0, 1, 2, 3, 64, 200] {
        let (_, entries) = ledger(size);
        let report = check(&entries, &[checkpoint(size / 2), checkpoint(size), checkpoint(size)]);
        let fine = Report {
            entries: size,
            integrity: Integrity::Ok,
            completeness: Completeness::Ok,
            first_bad: None,
            covered: size,
            problems: vec![],
        };
        assert_eq!(report, fine);
        assert_eq!(check(&entries, &[]), Report { completeness: Completeness::Unknown, covered: 0, ..fine });
    }
}

#[test]
fn the_report_is_the_json_that_scripts_read() {
    let (_, entries) = ledger(3);
    let mut report = serde_json::to_value(check(&entries[..2], &[checkpoint(3)])).unwrap();
    assert!(report["problems"].as_array_mut().is_some_and(|p| p.drain(..).count() == 1));
    let want = r#"{"entries":2,"integrity":"ok","completeness":"truncated","first_bad":null,"covered":0,"problems":[]}"#;
    assert_eq!(report, serde_json::from_str::<serde_json::Value>(want).unwrap());
}

#[test]
fn tampering_is_found_where_it_happened() {
    let (_, entries) = ledger(10);
    let case = |name: &str,
                change: &dyn Fn(&mut Vec<Entry>),
                plain: Option<u64>,
                rewritten: (Integrity, Option<u64>)| {
        let mut changed = entries.clone();
        change(&mut changed);
        let report = check(&changed, &[checkpoint(4), checkpoint(10)]);
        assert!(detected(&report), "{name}: {report:?}");
        assert_eq!(report.first_bad, plain, "{name}");
        rewrite(&mut changed);
        let report = check(&changed, &[checkpoint(4), checkpoint(10)]);
        assert!(detected(&report), "{name}, rewritten: {report:?}");
        assert_eq!((report.integrity, report.first_bad), rewritten, "{name}, rewritten");
    };
    let (broken, intact) = (Integrity::Broken, Integrity::Ok);
    case("edit", &|e| e[6].body.push(b' '), Some(6), (broken, Some(4)));
    case("edit before a checkpoint", &|e| e[1].body.push(b' '), Some(1), (broken, Some(0)));
    case("delete first", &|e| drop(e.remove(0)), Some(0), (broken, Some(0)));
    case("delete", &|e| drop(e.remove(5)), Some(5), (intact, None));
    case("insert", &|e| e.insert(7, e[2].clone()), Some(7), (broken, Some(4)));
    case("swap", &|e| e.swap(5, 8), Some(5), (broken, Some(4)));
    case("truncate", &|e| e.truncate(8), None, (intact, None));
    case("empty", &|e| e.clear(), None, (intact, None));
    case("reverse", &|e| e.reverse(), Some(0), (broken, Some(0)));
}

#[test]
fn what_nobody_signed_yet_is_reported_as_not_covered() {
    let (mut ledger, mut entries) = ledger(10);
    entries.push(append(&mut ledger, 99));
    let report = check(&entries, &[checkpoint(10)]);
    assert_eq!((report.entries, report.covered, report.integrity), (11, 10, Integrity::Ok));
    entries.push(entries[10].clone());
    assert_eq!(check(&entries, &[checkpoint(10)]).first_bad, Some(11), "a repeat breaks the chain");
}

#[test]
fn forks_and_forgeries_are_broken_integrity() {
    let (_, entries) = ledger(10);
    let other = |size: u64| {
        let mut ledger = Ledger::new(ORIGIN).unwrap();
        (0..size).for_each(|number| drop(append(&mut ledger, number + 1)));
        ledger.checkpoint(&signer()).unwrap()
    };
    let case = |name: &str,
                checkpoints: &[String],
                completeness: Completeness,
                first_bad: Option<u64>,
                word: &str| {
        let report = check(&entries, checkpoints);
        assert_eq!(report.integrity, Integrity::Broken, "{name}");
        assert_eq!((report.completeness, report.first_bad), (completeness, first_bad), "{name}");
        assert!(report.problems.iter().any(|p| p.contains(word)), "{name}: {:?}", report.problems);
    };
    let impostor = Signer::from_seed(ORIGIN, &[8; 32]).unwrap();
    let stranger = Ledger::new("example.org/other").unwrap().checkpoint(&signer()).unwrap();
    let wrong = checkpoint(10).replacen("\n10\n", "\n12\n", 1);
    case(
        "fork in the past",
        &[checkpoint(4), other(7), checkpoint(10)],
        Completeness::Ok,
        Some(4),
        "another history",
    );
    case("two heads of one size", &[checkpoint(10), other(10)], Completeness::Ok, None, "different roots");
    case(
        "two heads beyond the end",
        &[checkpoint(12), other(12)],
        Completeness::Truncated,
        None,
        "different roots",
    );
    case(
        "forged key",
        &[ledger(10).0.checkpoint(&impostor).unwrap()],
        Completeness::Unknown,
        None,
        "no signature",
    );
    case("forged size", &[wrong], Completeness::Unknown, None, "the note was changed");
    case("no note", &["?".to_owned()], Completeness::Unknown, None, "malformed");
    case("other ledger", &[checkpoint(10), stranger.clone()], Completeness::Ok, None, "another ledger");
    case("only the other ledger", &[stranger], Completeness::Ok, Some(0), "origin");
}

#[test]
fn unreadable_entries_are_bad_and_the_rest_is_still_read() {
    let (_, entries) = ledger(200);
    let read = |bad: &dyn Fn(u64) -> bool| {
        let stored =
            entries.iter().map(|e| if bad(e.index) { Err("torn page".to_owned()) } else { Ok(e.clone()) });
        verify(stored, &[checkpoint(200)], None)
    };
    let report = read(&|index| index == 5);
    assert_eq!((report.entries, report.first_bad, report.completeness), (200, Some(5), Completeness::Ok));
    assert_eq!(report.problems.len(), 2, "unchecked signatures and one entry: {:?}", report.problems);
    assert_eq!(read(&|_| true).problems.len(), PROBLEMS_MAX);
}

/// The stored text itself: each of its bits, one at a time.
#[test]
fn no_bit_of_the_text_can_change() {
    let (_, entries) = ledger(4);
    let lines: Vec<String> = entries.iter().map(|e| serde_json::to_string(e).unwrap()).collect();
    let text = format!("{}\n", lines.join("\n")).into_bytes();
    let checkpoints = [checkpoint(4)];
    let read = |text: &[u8]| {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let entries =
            text.split(|b| *b == b'\n').map(|line| serde_json::from_slice(line).map_err(|e| e.to_string()));
        verify(entries, &checkpoints, Some(signer().verifier()))
    };
    assert_eq!(read(&text).integrity, Integrity::Ok);
    for bit in 0..text.len() * 8 {
        let mut changed = text.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(detected(&read(&changed)), "bit {bit} of {:?}", String::from_utf8_lossy(&changed));
    }
}

#[derive(Clone, Copy, Debug)]
enum Tampering {
    Flip(usize),
    Delete,
    Insert(usize),
    Swap(usize),
    Truncate,
}

fn tampering() -> impl Strategy<Value = Tampering> {
    prop_oneof![
        4 => any::<usize>().prop_map(Tampering::Flip),
        1 => Just(Tampering::Delete),
        1 => any::<usize>().prop_map(Tampering::Insert),
        1 => any::<usize>().prop_map(Tampering::Swap),
        1 => Just(Tampering::Truncate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_tampering_goes_unseen(size in 2u64..200, at in any::<usize>(), tampering in tampering(), rewritten in any::<bool>()) {
        let (ledger, entries) = ledger(size);
        let checkpoints = [ledger.checkpoint(&signer()).unwrap()];
        let at = at % entries.len();
        let mut changed = entries.clone();
        match tampering {
            Tampering::Flip(bit) => flip(&mut changed[at], bit),
            Tampering::Delete => drop(changed.remove(at)),
            Tampering::Insert(from) => changed.insert(at, entries[from % entries.len()].clone()),
            Tampering::Swap(with) => changed.swap(at, with % entries.len()),
            Tampering::Truncate => changed.truncate(at),
        }
        if rewritten {
            rewrite(&mut changed);
        }
        let report = check(&changed, &checkpoints);
        if rewritten && changed.starts_with(&entries) {
            // The rewrite undid the change, or it made a well-formed entry that comes after all that is signed.
            prop_assert_eq!((detected(&report), report.covered), (false, size));
        } else {
            prop_assert_eq!(detected(&report), changed != entries, "{:?}", report);
        }
        if !rewritten && !matches!(tampering, Tampering::Truncate) && changed != entries && changed.len() >= entries.len() {
            prop_assert!(report.first_bad.is_some_and(|first| first <= at as u64 + 1), "{:?}", report);
        }
        prop_assert_eq!(check(&entries, &checkpoints).integrity, Integrity::Ok);
    }
}
