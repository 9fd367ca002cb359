//! The bounded decoder: one pass over the bytes of a record that decides whether a parser may see them.
//!
//! It bounds size, nesting and keys, insists on UTF-8 and on exactly one value, and finds keys that stand twice in an
//! object. A duplicate never refuses a record, since dropping it would hide whoever planted it.

use crate::scan::{Scanner, Step, is_space};
use prunella_schemas::limits::{RECORD_BYTES_MAX, RECORD_DEPTH_MAX, RECORD_KEYS_MAX};
use prunella_schemas::{DeadLetter, Record, RejectReason};
use std::cmp::Ordering;

/// Text that a parser may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked<'a> {
    /// The whole record without a byte order mark.
    pub text: &'a str,
    /// An object has the same key twice, however it is escaped.
    pub duplicate_keys: bool,
    /// A string holds half of a surrogate pair, which parsers either refuse or overlook.
    pub lone_surrogates: bool,
    pub depth: usize,
    pub keys: usize,
}

/// Why bytes were refused. `offset` counts from their beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub reason: RejectReason,
    pub detail: String,
    pub offset: Option<u64>,
}

impl Rejected {
    pub fn new(reason: RejectReason, detail: impl Into<String>, offset: Option<usize>) -> Self {
        Rejected { reason, detail: detail.into(), offset: offset.map(|at| at as u64) }
    }

    /// The dead letter of `record`, dated by its receipt.
    pub fn into_dead_letter(self, record: Record) -> DeadLetter {
        let time = record.received;
        DeadLetter { record, reason: self.reason, detail: self.detail, offset: self.offset, time }
    }
}

/// Checks the bytes of one record. What passes is bounded and bracketed; the parser decides on the rest.
pub fn check(body: &[u8]) -> Result<Checked<'_>, Rejected> {
    if body.len() > RECORD_BYTES_MAX {
        let detail = format!("{} bytes; a record may have {RECORD_BYTES_MAX}", body.len());
        return Err(Rejected::new(RejectReason::TooLarge, detail, Some(RECORD_BYTES_MAX)));
    }
    let text = std::str::from_utf8(body).map_err(|e| {
        Rejected::new(RejectReason::NotUtf8, "bytes that are not UTF-8", Some(e.valid_up_to()))
    })?;
    let marked = text.len();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_ascii().is_empty() {
        return Err(Rejected::new(RejectReason::Empty, "nothing but white space", None));
    }
    walk(text).map_err(|rejected| Rejected {
        offset: rejected.offset.map(|at| at + (marked - text.len()) as u64),
        ..rejected
    })
}

fn walk(text: &str) -> Result<Checked<'_>, Rejected> {
    let bytes = text.as_bytes();
    let mut scanner = Scanner::new();
    let mut keys = Keys { keys: Vec::with_capacity(64), objects: Vec::with_capacity(8), ..Keys::default() };
    let mut checked = Checked { text, duplicate_keys: false, lone_surrogates: false, depth: 0, keys: 0 };
    loop {
        match scanner.next_inline(bytes) {
            Step::Key { start, end, escaped } => {
                checked.keys += 1;
                if checked.keys > RECORD_KEYS_MAX {
                    let detail = format!("more than {RECORD_KEYS_MAX} object keys");
                    return Err(Rejected::new(RejectReason::TooManyKeys, detail, Some(start)));
                }
                keys.add(text, start, end, escaped);
            }
            Step::Open { object } => {
                checked.depth = checked.depth.max(scanner.depth());
                if scanner.depth() > RECORD_DEPTH_MAX {
                    let detail = format!("nested deeper than {RECORD_DEPTH_MAX}");
                    return Err(Rejected::new(RejectReason::TooDeep, detail, Some(scanner.at() - 1)));
                }
                if object {
                    keys.open();
                }
            }
            Step::Close { object: true } => keys.close(text),
            Step::Close { object: false } => {}
            Step::Flaw { at, what } => return Err(Rejected::new(RejectReason::NotJson, what, Some(at))),
            Step::More if scanner.complete() => break,
            Step::More => {
                return Err(Rejected::new(RejectReason::NotJson, "ends within a value", Some(bytes.len())));
            }
            Step::Done => break,
        }
    }
    let rest = bytes.get(scanner.at()..).unwrap_or_default();
    if let Some(extra) = rest.iter().position(|b| !is_space(*b)) {
        let detail = "something follows the value; send one record per line";
        return Err(Rejected::new(RejectReason::NotJson, detail, Some(scanner.at() + extra)));
    }
    checked.duplicate_keys = keys.duplicate;
    checked.lone_surrogates = scanner.unicode_escapes() && lone_surrogate(bytes, 0).is_some();
    Ok(checked)
}

/// Objects up to this many keys are compared key by key as they are read; larger ones are sorted when they close.
const SMALL_OBJECT_KEYS_MAX: usize = 64;

/// The keys of the objects that are open, to find those that stand twice.
#[derive(Default)]
struct Keys {
    keys: Vec<Key>,
    objects: Vec<Object>,
    /// Keys that had escapes, read.
    read: String,
    duplicate: bool,
}

#[derive(Clone, Copy)]
struct Key {
    /// Equal keys have equal prints. Unequal ones may too, so that no choice of hash matters for correctness.
    print: u64,
    start: u32,
    end: u32,
    escaped: bool,
}

#[derive(Clone, Copy)]
struct Object {
    first: usize,
    /// One bit for each print seen, by its top six bits.
    seen: u64,
}

impl Keys {
    fn open(&mut self) {
        self.objects.push(Object { first: self.keys.len(), seen: 0 });
    }

    fn add(&mut self, text: &str, start: usize, end: usize, escaped: bool) {
        let (mut start, mut end) = (start, end);
        let mut bytes = text.as_bytes().get(start..end).unwrap_or_default();
        if escaped {
            let from = self.read.len();
            unescape(text.get(start..end).unwrap_or_default(), &mut self.read);
            (start, end) = (from, self.read.len());
            bytes = self.read.as_bytes().get(from..).unwrap_or_default();
        }
        let key = Key { print: print_of(bytes), start: start as u32, end: end as u32, escaped };
        let Some(object) = self.objects.last_mut() else { return };
        let bit = 1u64 << (key.print >> 58);
        let first = object.first;
        let known = object.seen & bit != 0;
        object.seen |= bit;
        if known && !self.duplicate && self.keys.len() - first < SMALL_OBJECT_KEYS_MAX {
            let others = self.keys.get(first..).unwrap_or_default();
            self.duplicate = others
                .iter()
                .any(|k| k.print == key.print && self.text_of(text, k) == self.text_of(text, &key));
        }
        self.keys.push(key);
    }

    fn close(&mut self, text: &str) {
        let Some(object) = self.objects.pop() else { return };
        if !self.duplicate && self.keys.len() - object.first > SMALL_OBJECT_KEYS_MAX {
            let mut own = self.keys.split_off(object.first);
            own.sort_unstable_by(|a, b| self.order(text, a, b));
            self.duplicate = own
                .windows(2)
                .any(|pair| matches!(pair, [a, b] if self.order(text, a, b) == Ordering::Equal));
        }
        self.keys.truncate(object.first);
    }

    /// By print, then by the whole key: sorting stays n log n even when every print is the same.
    fn order(&self, text: &str, a: &Key, b: &Key) -> Ordering {
        a.print.cmp(&b.print).then_with(|| self.text_of(text, a).cmp(self.text_of(text, b)))
    }

    fn text_of<'a>(&'a self, text: &'a str, key: &Key) -> &'a [u8] {
        let from = if key.escaped { self.read.as_str() } else { text };
        from.as_bytes().get(key.start as usize..key.end as usize).unwrap_or_default()
    }
}

/// The first and last eight bytes and the length, mixed: constant time, and telling for the keys that logs have.
#[inline]
fn print_of(key: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (head, tail) = match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => (key.iter().fold(0, |word, &b| word << 8 | u64::from(b)), 0),
    };
    let mixed = (head ^ tail.rotate_left(23)).wrapping_add(key.len() as u64).wrapping_mul(ODD);
    (mixed ^ mixed >> 29).wrapping_mul(ODD)
}

/// Appends what the inside of a JSON string means. An escape that means nothing stays as it is written.
pub(crate) fn unescape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let escape = rest.get(at..).unwrap_or_default();
        let (character, taken) = match escape.as_bytes().get(1) {
            Some(b'n') => ('\n', 2),
            Some(b't') => ('\t', 2),
            Some(b'r') => ('\r', 2),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(&plain @ (b'"' | b'\\' | b'/')) => (char::from(plain), 2),
            Some(b'u') => match escaped_unit(escape.as_bytes()) {
                Some(unit) => unit_pair(unit, escape.as_bytes()),
                None => ('\\', 1),
            },
            _ => ('\\', 1),
        };
        out.push(character);
        rest = escape.get(taken..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// The character that begins with the code unit `unit`, and how many bytes of `escape` it takes.
fn unit_pair(unit: u16, escape: &[u8]) -> (char, usize) {
    let next = escape.get(6..).and_then(escaped_unit);
    match (unit, next) {
        (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
            let code = 0x1_0000 + (u32::from(unit & 0x3ff) << 10) + u32::from(low & 0x3ff);
            (char::from_u32(code).unwrap_or('\u{fffd}'), 12)
        }
        _ => (char::from_u32(u32::from(unit)).unwrap_or('\u{fffd}'), 6),
    }
}

/// The code unit of `\uXXXX` at the start of `escape`.
fn escaped_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0u16, |unit, &b| Some(unit << 4 | char::from(b).to_digit(16)? as u16))
}

/// The position of the first `\uXXXX`, from `at` on, that is half of a surrogate pair.
pub(crate) fn lone_surrogate(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        at += memchr::memchr(b'\\', bytes.get(at..)?)?;
        let escape = bytes.get(at..)?;
        at += match escaped_unit(escape) {
            Some(0xd800..=0xdbff) => match escape.get(6..).and_then(escaped_unit) {
                Some(0xdc00..=0xdfff) => 12,
                _ => return Some(at),
            },
            Some(0xdc00..=0xdfff) => return Some(at),
            Some(_) => 6,
            None => 2,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_are_found_at_every_level_and_in_every_spelling() {
        let many = |last: &str| {
            let keys: Vec<String> = (0..200).map(|i| format!(r#""key number {i} of many":{i}"#)).collect();
            format!(r#"{{{},"{last}":0}}"#, keys.join(","))
        };
        for (text, want) in [
            (r#"{"user":"alice","user":"root"}"#.to_owned(), true),
            (r#"{"user":1,"us\u0065r":2}"#.to_owned(), true),
            (r#"{"a":{"x":1},"b":{"x":2}}"#.to_owned(), false),
            (r#"{"a":[{"x":1,"y":{"x":1},"x":2}]}"#.to_owned(), true),
            (r#"{"a":{"b":1},"c":{},"a":2}"#.to_owned(), true),
            (r#"{"":1,"":2}"#.to_owned(), true),
            (r#"{"a":"a","b":["a","a"]}"#.to_owned(), false),
            (r#"{"aaaaaaaa1bbbbbbbb":1,"aaaaaaaa2bbbbbbbb":2}"#.to_owned(), false),
            (r#"{"\ud83d\ude00":1,"😀":2}"#.to_owned(), true),
            (r#"{"\\u0061":1,"a":2}"#.to_owned(), false),
            (many("key number 7 of many"), true),
            (many("key number 200 of many"), false),
            (many("key n\\u0075mber 199 of many"), true),
        ] {
            assert_eq!(check(text.as_bytes()).unwrap().duplicate_keys, want, "{text}");
        }
    }

    #[test]
    fn halves_of_surrogate_pairs_are_found() {
        for (text, want) in [
            (r#"{"a":"\ud83d\ude00"}"#, false),
            (r#"{"a":"\ud83d"}"#, true),
            (r#"{"a":"\ude00\ud83d"}"#, true),
            (r#"{"a":"\\ud83d"}"#, false),
            (r#"{"a":"\\\ud83dx"}"#, true),
            (r#"{"\uDFFF":1}"#, true),
        ] {
            assert_eq!(check(text.as_bytes()).unwrap().lone_surrogates, want, "{text}");
        }
    }

    #[test]
    fn offsets_count_the_byte_order_mark() {
        for (text, want) in [("{}{}", Some(2)), ("\u{feff}{} {}", Some(6)), ("\u{feff}", None)] {
            assert_eq!(check(text.as_bytes()).unwrap_err().offset, want, "{text}");
        }
        assert!(check("\u{feff}{}".as_bytes()).is_ok());
    }
}
