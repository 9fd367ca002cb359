//! Text that leaves the house in messages: cut to a size, since attackers write some of it.

/// Largest payload of any message, in bytes; the Standard Webhooks specification asks for less than 20 kB.
pub const PAYLOAD_BYTES_MAX: usize = 20_000;
/// Longest text in a payload, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 512;
/// Longest name in a payload, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 128;
/// Most entries of each list in a payload.
pub(super) const LIST_MAX: usize = 8;

/// The longest start of `text` that takes at most `bytes_max` bytes in JSON, escapes included.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, c)| {
        bytes += match c {
            '"' | '\\' => 2,
            c if c.is_control() => 6,
            c => c.len_utf8(),
        };
        bytes > bytes_max
    });
    end.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters() {
        for (text, max, want) in [
            ("abc", 2, "ab"),
            ("aé", 2, "a"),
            ("aé", 3, "aé"),
            ("", 5, ""),
            ("é", 1, ""),
            ("a\"b", 2, "a"),
            ("\u{1}b", 6, "\u{1}"),
        ] {
            assert_eq!(cut(text, max), want);
        }
    }
}
