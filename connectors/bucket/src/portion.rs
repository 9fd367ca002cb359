//! How much of an object's bytes makes one body: whole lines where it has lines, else all of it.

/// Bytes asked for at a time. A larger object comes in portions, cut between lines.
pub const PORTION_BYTES: u64 = 8 * 1024 * 1024;
/// Largest object that is one document, which cannot be cut.
pub const WHOLE_BYTES_MAX: u64 = 64 * 1024 * 1024;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What the bytes at hand are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// So many bytes from the beginning are a body.
    Give(usize),
    /// Half a line, whose rest is still to be written.
    Wait,
    /// One document that goes on behind these bytes.
    NeedsAll,
}

/// Where the bytes stand within their object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub first: bool,
    pub last: bool,
    /// The object may get more bytes at its end.
    pub grows: bool,
}

pub fn cut(bytes: &[u8], position: Position) -> Cut {
    let lines = bytes.iter().rposition(|b| *b == b'\n').map(|at| at + 1);
    match (position.grows, position.last) {
        (false, true) => Cut::Give(bytes.len()),
        // A line longer than a portion is too large for a record: intake says so, and what follows is read.
        (true, true) if (bytes.len() as u64) < PORTION_BYTES => lines.map_or(Cut::Wait, Cut::Give),
        (false, false) if position.first && !begins_with_a_record(bytes) => Cut::NeedsAll,
        _ => Cut::Give(lines.unwrap_or(bytes.len())),
    }
}

/// The media type of a body. What is a single line may also be a document that holds many records.
pub fn media_type(body: &[u8], whole: bool) -> &'static str {
    let several = body.trim_ascii().contains(&b'\n');
    match !whole || (several && begins_with_a_record(body)) {
        true => "application/x-ndjson",
        false => "application/json",
    }
}

pub fn is_gzip(body: &[u8]) -> bool {
    body.starts_with(&GZIP)
}

/// Whether its first line is a JSON value, so that its other lines will be too.
fn begins_with_a_record(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    line.len() < bytes.len() && serde_json::from_slice::<&serde_json::value::RawValue>(line).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_where_a_line_ends() {
        let (first, middle) = (true, false);
        let cases = [
            ("the whole object", "{}\n{}", first, true, false, Cut::Give(5)),
            ("an empty rest", "", middle, true, false, Cut::Give(0)),
            ("a growing object with half a line", "{}\n{\"a", first, true, true, Cut::Give(3)),
            ("half a line and nothing else", "{\"a", middle, true, true, Cut::Wait),
            ("lines, and more behind", "{}\n{\"a", first, false, false, Cut::Give(3)),
            ("lines of a growing object, and more behind", "{}\n{\"a", first, false, true, Cut::Give(3)),
            ("a document over several lines", "{\"records\":[\n{}", first, false, false, Cut::NeedsAll),
            ("a document on one line", "{\"records\":[{}", first, false, false, Cut::NeedsAll),
            ("within a line of gigabytes", "aaaa", middle, false, false, Cut::Give(4)),
        ];
        for (what, text, first, last, grows, expected) in cases {
            assert_eq!(cut(text.as_bytes(), Position { first, last, grows }), expected, "{what}");
        }
        let long = vec![b'a'; usize::try_from(PORTION_BYTES).unwrap()];
        let position = Position { first: true, last: true, grows: true };
        assert_eq!(
            cut(&long, position),
            Cut::Give(long.len()),
            "a line that no record may have does not wait for ever"
        );
        assert_eq!(cut(b"\x1f\x8b\x08\n", Position { first, last: false, grows: false }), Cut::NeedsAll);
    }

    #[test]
    fn lines_are_told_from_documents() {
        let cases: [(&[u8], bool, &str); 6] = [
            (b"{}\n{}\n", true, "application/x-ndjson"),
            (b"{\"records\":[{}]}\n", true, "application/json"),
            (b"{\n\"records\":[{}]}", true, "application/json"),
            (b"[{},\n{}]", true, "application/json"),
            (b"{}\n", false, "application/x-ndjson"),
            (b"not JSON\n{}", true, "application/json"),
        ];
        for (body, whole, expected) in cases {
            assert_eq!(media_type(body, whole), expected, "{}", String::from_utf8_lossy(body));
        }
    }
}
