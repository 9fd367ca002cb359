//! Settles what parsers disagree on: of a key that stands twice the last value stays, half of a surrogate pair becomes
//! U+FFFD. Positions and all other bytes stay as they are, so that offsets and big numbers keep their meaning.

use crate::decode::{Checked, Rejected, lone_surrogate, unescape};
use crate::scan::{Scanner, Step};
use prunella_schemas::RejectReason;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::ops::Range;

/// The text to hand to a parser. Copies only what has something to settle.
pub fn settle<'a>(checked: &Checked<'a>) -> Result<Cow<'a, str>, Rejected> {
    if !checked.duplicate_keys && !checked.lone_surrogates {
        return Ok(Cow::Borrowed(checked.text));
    }
    // Blanking a member must not make JSON of what was none.
    well_formed(checked.text)?;
    let mut bytes = checked.text.as_bytes().to_vec();
    if checked.lone_surrogates {
        let mut at = 0;
        while let Some(lone) = lone_surrogate(&bytes, at) {
            if let Some(digits) = bytes.get_mut(lone + 2..lone + 6) {
                digits.copy_from_slice(b"fffd");
            }
            at = lone + 6;
        }
    }
    if checked.duplicate_keys {
        for range in superseded(&bytes) {
            if let Some(member) = bytes.get_mut(range) {
                member.fill(b' ');
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(e) => {
            Err(Rejected::new(RejectReason::NotUtf8, e.to_string(), Some(e.utf8_error().valid_up_to())))
        }
    }
}

/// Whether `text` is one JSON value by the parser's own judgement.
pub(crate) fn well_formed(text: &str) -> Result<(), Rejected> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ()).map_err(|e| {
        Rejected::new(RejectReason::NotJson, e.to_string(), position(text, e.line(), e.column()))
    })
}

/// The byte offset of a line and column as serde_json counts them, from 1 and in bytes.
fn position(text: &str, line: usize, column: usize) -> Option<usize> {
    let before = line.checked_sub(1)?;
    let start = match before {
        0 => 0,
        n => memchr::memchr_iter(b'\n', text.as_bytes()).nth(n - 1)? + 1,
    };
    Some((start + column.saturating_sub(1)).min(text.len()))
}

struct Member {
    key: String,
    /// Where its opening quote stands.
    start: usize,
}

/// The members that a later one of the same key supersedes, each with the comma after it.
fn superseded(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut scanner = Scanner::new();
    let mut objects: Vec<Vec<Member>> = Vec::new();
    let mut ranges = Vec::new();
    loop {
        match scanner.next(bytes) {
            Step::Open { object: true } => objects.push(Vec::new()),
            Step::Key { start, end, .. } => {
                let mut key = String::new();
                let written = bytes.get(start..end).and_then(|key| std::str::from_utf8(key).ok());
                unescape(written.unwrap_or_default(), &mut key);
                if let Some(object) = objects.last_mut() {
                    object.push(Member { key, start: start.saturating_sub(1) });
                }
            }
            Step::Close { object: true } => {
                if let Some(members) = objects.pop() {
                    collect(&members, &mut ranges);
                }
            }
            Step::Open { .. } | Step::Close { .. } => {}
            Step::Flaw { .. } | Step::Done | Step::More => return ranges,
        }
    }
}

fn collect(members: &[Member], ranges: &mut Vec<Range<usize>>) {
    let mut order: Vec<usize> = (0..members.len()).collect();
    let key = |i: &usize| members.get(*i).map(|m| m.key.as_str());
    order.sort_by(|a, b| key(a).cmp(&key(b)).then(a.cmp(b)));
    for pair in order.windows(2) {
        let [earlier, later] = pair else { continue };
        if key(earlier) != key(later) {
            continue;
        }
        // Another member follows the earlier one, so its text ends where that one's key begins.
        if let (Some(this), Some(next)) = (members.get(*earlier), members.get(earlier + 1)) {
            ranges.push(this.start..next.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::check;

    #[test]
    fn the_last_value_stays() {
        for (text, want) in [
            (r#"{"user":"alice","user":"root"}"#, r#"{               "user":"root"}"#),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{      "b":2,"a":3}"#),
            (
                r#"{"a":1,"a":{"x":1,"x":2},"\u0061":{"y":1,"y":[1e999,123456789012345678901234567890]}}"#,
                r#"{                        "\u0061":{      "y":[1e999,123456789012345678901234567890]}}"#,
            ),
            (r#"{"a":"\ud83d","b":"\ud83d\ude00"}"#, r#"{"a":"\ufffd","b":"\ud83d\ude00"}"#),
        ] {
            let got = settle(&check(text.as_bytes()).unwrap()).unwrap();
            let squeezed = |s: &str| s.replace(' ', "");
            assert_eq!(squeezed(&got), squeezed(want));
            assert_eq!(got.len(), text.len());
        }
    }

    #[test]
    fn what_was_no_json_does_not_become_json() {
        let text = "{\"a\":tru,\n\"a\":1}";
        let rejected = settle(&check(text.as_bytes()).unwrap()).unwrap_err();
        assert_eq!((rejected.reason, rejected.offset), (RejectReason::NotJson, Some(8)));
    }
}
