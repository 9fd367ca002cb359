//! Properties: the decoder against serde_json as its oracle, and unpacking against what was packed.

use crate::{gzip, unpacked};
use proptest::prelude::*;
use prunella_ingest::{Content, check, settle};
use prunella_schemas::RejectReason;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::collections::HashSet;
use std::fmt;

/// What serde_json sees in a text: how deep it is, how many keys it has, and whether an object has one twice.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    depth: usize,
    keys: usize,
    duplicate: bool,
}

impl Seen {
    fn take(&mut self, inner: &Seen) {
        self.depth = self.depth.max(inner.depth + 1);
        self.keys += inner.keys;
        self.duplicate |= inner.duplicate;
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Seen;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
                let mut seen = Seen { depth: 1, ..Seen::default() };
                let mut names = HashSet::new();
                while let Some((name, inner)) = map.next_entry::<String, Seen>()? {
                    seen.keys += 1;
                    seen.duplicate |= !names.insert(name);
                    seen.take(&inner);
                }
                Ok(seen)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Seen, A::Error> {
                let mut seen = Seen { depth: 1, ..Seen::default() };
                while let Some(inner) = seq.next_element()? {
                    seen.take(&inner);
                }
                Ok(seen)
            }
            fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
                Ok(Seen::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
                Ok(Seen::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Seen, E> {
                Ok(Seen::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
                Ok(Seen::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
                Ok(Seen::default())
            }
            fn visit_unit<E>(self) -> Result<Seen, E> {
                Ok(Seen::default())
            }
        }
        deserializer.deserialize_any(Walk)
    }
}

/// A string as it is written, quotes included. Few letters, so that keys repeat, in several spellings.
fn string() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        "\\u0061",
        "\\\\",
        "\\\"",
        "\\n",
        "é",
        "\\u00e9",
        "\\ud83d\\ude00",
        "😀",
        "{",
        "]",
        ",",
        ":",
        "/",
        "\\/",
        "eightbytes",
        " ",
    ]);
    prop::collection::vec(piece, 0..3).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn space() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", "", " ", "\n  ", "\t", "\r\n"])
}

/// A JSON value as it is written.
fn json() -> impl Strategy<Value = String> {
    let scalar =
        prop::sample::select(vec!["1", "-0.5e3", "12345678901234567890123", "true", "false", "null"]);
    let leaf = prop_oneof![scalar.prop_map(str::to_owned), string()];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let array = (prop::collection::vec(inner.clone(), 0..6), space())
            .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(&format!("{space},"))));
        let member =
            (string(), space(), inner).prop_map(|(key, space, value)| format!("{key}{space}:{space}{value}"));
        let object = (prop::collection::vec(member, 0..6), space())
            .prop_map(|(members, space)| format!("{{{space}{}{space}}}", members.join(&format!(",{space}"))));
        prop_oneof![array, object]
    })
}

/// A record as it is written on one line.
fn line() -> impl Strategy<Value = String> {
    (0..1_000u32, json()).prop_map(|(n, value)| {
        let value: String = value.split(['\n', '\r', '\t']).collect();
        format!("{{\"n\":{n},\"value\":{value}}}")
    })
}

/// How records are packed, and what must come out.
#[derive(Clone, Debug)]
enum Packing {
    Lines,
    Spread,
    Array,
    LogFile,
    Broken,
}

fn pack(packing: &Packing, lines: &[String]) -> (String, Vec<(String, bool)>) {
    let whole = |bodies: &[String]| bodies.iter().map(|body| (body.clone(), true)).collect();
    match packing {
        Packing::Lines => (lines.join("\n\n"), whole(lines)),
        Packing::Spread => {
            let spread: Vec<String> = lines.iter().map(|line| line.replacen(':', ":\n  ", 1)).collect();
            (spread.join("\n"), whole(&spread))
        }
        Packing::Array => (format!("[{}]", lines.join(" ,\n")), whole(lines)),
        Packing::LogFile => (format!("{{ \"Records\" : [{}]}}", lines.join(",")), whole(lines)),
        Packing::Broken => {
            let cut: Vec<String> = lines.iter().map(|line| line[..5].to_owned()).collect();
            (cut.join("\n"), cut.iter().map(|cut| (format!("{cut}\n"), false)).collect())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn check_sees_what_serde_json_sees(text in json()) {
        let want: Seen = serde_json::from_str(&text).unwrap();
        let checked = check(text.as_bytes()).unwrap();
        let got = Seen { depth: checked.depth, keys: checked.keys, duplicate: checked.duplicate_keys };
        prop_assert_eq!(got, want);
        let settled = settle(&checked).unwrap();
        prop_assert_eq!(settled.len(), text.len());
        prop_assert!(!check(settled.as_bytes()).unwrap().duplicate_keys);
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        prop_assert_eq!(value(&settled), value(&text));
    }

    #[test]
    fn check_refuses_no_json_and_never_panics(text in json(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let parsed = serde_json::from_slice::<Seen>(&bytes);
        match check(&bytes) {
            Ok(checked) => {
                let settled = settle(&checked);
                prop_assert!(parsed.is_err() || settled.is_ok());
            }
            Err(rejected) => {
                prop_assert!(parsed.is_err(), "{rejected:?} of {bytes:?}");
                prop_assert!(rejected.offset.is_none_or(|at| at <= bytes.len() as u64));
                let reasons = [RejectReason::NotJson, RejectReason::NotUtf8, RejectReason::Empty];
                prop_assert!(reasons.contains(&rejected.reason));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_are_not_lost(bytes in prop::collection::vec(prop_oneof![
        any::<u8>(), prop::sample::select(br#"{}[]",: \ua1n"#.to_vec()), Just(b'\n'),
    ], 0..200)) {
        let _ = check(&bytes);
        for content in [Content::Auto, Content::Ndjson, Content::CloudEvents] {
            if bytes.starts_with(&[0x1f, 0x8b]) {
                continue;
            }
            let kept: usize = unpacked(&bytes[..], content).iter().map(|(body, _)| body.len()).sum();
            let seams = bytes.iter().filter(|b| b" \r\n\t,[]".contains(b)).count();
            if ![&b"Records"[..], b"records"].iter().any(|key| bytes.windows(7).any(|w| w == *key)) {
                prop_assert!(kept + seams + 3 >= bytes.len(), "{kept} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn what_was_packed_comes_out(
        groups in prop::collection::vec((prop::sample::select(vec![
            Packing::Lines, Packing::Spread, Packing::Array, Packing::LogFile, Packing::Broken,
        ]), prop::collection::vec(line(), 1..5)), 1..6),
        compressed in any::<bool>(),
    ) {
        let mut text = String::new();
        let mut want = Vec::new();
        for (packing, lines) in &groups {
            let (packed, pieces) = pack(packing, lines);
            text.push_str(&packed);
            text.push('\n');
            want.extend(pieces);
        }
        let bytes = if compressed { gzip(text.as_bytes()) } else { text.into_bytes() };
        let got: Vec<_> = unpacked(&bytes[..], Content::Auto)
            .into_iter()
            .map(|(body, rejected)| (String::from_utf8(body).unwrap(), rejected.is_none()))
            .collect();
        prop_assert_eq!(got, want);
    }
}
