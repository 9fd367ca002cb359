//! The scanner: walks JSON token by token, without recursion or memory, and can stop and go on where data ends.
//!
//! It knows the grammar of brackets, commas, colons and strings; numbers and words are left to the parser. Everything
//! that looks at hostile bytes before the parser (`decode`, `settle`, `unpack`) is a loop over its steps.

/// Levels whose kind, object or array, is remembered. Deeper ones are counted but not told apart.
const KINDS_MAX: usize = 64;

/// What the scanner came upon. Positions are relative to the slice it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key of the object at the current depth, without its quotes. `escaped` when it holds a backslash.
    Key { start: usize, end: usize, escaped: bool },
    /// `{` or `[`; the depth includes it.
    Open { object: bool },
    /// `}` or `]`; the depth no longer includes it.
    Close { object: bool },
    /// Not JSON, at this byte. The scanner has passed it and can go on by counting brackets.
    Flaw { at: usize, what: &'static str },
    /// The value is complete.
    Done,
    /// The slice ends within the value.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    Nothing,
}

#[derive(Clone, Copy, Debug)]
enum Within {
    Between,
    Scalar,
    String { start: usize, key: bool, escaped: bool, after_backslash: bool },
}

#[derive(Clone, Debug)]
pub struct Scanner {
    at: usize,
    depth: usize,
    kinds: u64,
    expect: Expect,
    within: Within,
    unicode_escapes: bool,
}

impl Scanner {
    /// Before a value.
    pub fn new() -> Self {
        Scanner {
            at: 0,
            depth: 0,
            kinds: 0,
            expect: Expect::Value,
            within: Within::Between,
            unicode_escapes: false,
        }
    }

    /// Within an object, after the value of a member.
    pub fn after_member() -> Self {
        Scanner { depth: 1, kinds: 1, expect: Expect::CommaOrEnd, ..Scanner::new() }
    }

    /// The position of the next byte to be looked at.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Whether a string so far held a `\u` escape.
    pub fn unicode_escapes(&self) -> bool {
        self.unicode_escapes
    }

    /// Forgets the bytes before [`Scanner::at`]: the next slice begins there.
    pub fn rebase(&mut self) {
        if let Within::String { start, .. } = &mut self.within {
            *start = start.saturating_sub(self.at);
        }
        self.at = 0;
    }

    /// Whether the value is complete if no more bytes come.
    pub fn complete(&self) -> bool {
        self.depth == 0 && (self.expect == Expect::Nothing || matches!(self.within, Within::Scalar))
    }

    /// Goes on to the next step. After `More`, call again with a longer slice.
    pub fn next(&mut self, bytes: &[u8]) -> Step {
        self.next_inline(bytes)
    }

    /// [`Scanner::next`] as part of the calling loop, for the one loop that every record goes through.
    #[inline(always)]
    pub fn next_inline(&mut self, bytes: &[u8]) -> Step {
        loop {
            match self.within {
                Within::Between => {}
                Within::Scalar => {
                    if !self.scalar(bytes) {
                        return Step::More;
                    }
                }
                Within::String { .. } => match self.string(bytes) {
                    Some(step) => return step,
                    None => continue,
                },
            }
            if self.expect == Expect::Nothing {
                return Step::Done;
            }
            let Some(&byte) = bytes.get(self.at) else { return Step::More };
            self.at += 1;
            if byte == b'"'
                && let Some(plain) = self.plain_string(bytes)
            {
                match plain {
                    Some(key) => return key,
                    None => continue,
                }
            }
            if let Some(step) = self.token(byte) {
                return step;
            }
        }
    }

    #[inline(always)]
    fn token(&mut self, byte: u8) -> Option<Step> {
        match byte {
            b'"' => {
                let key = matches!(self.expect, Expect::Key | Expect::KeyOrEnd);
                let fits = key || self.wants_value();
                self.within = Within::String { start: self.at, key, escaped: false, after_backslash: false };
                if fits { None } else { self.flaw("a string stands where none may") }
            }
            b',' if self.expect == Expect::CommaOrEnd => {
                self.expect = if self.in_object() { Expect::Key } else { Expect::Value };
                None
            }
            b':' if self.expect == Expect::Colon => {
                self.expect = Expect::Value;
                None
            }
            b' ' | b'\n' | b'\r' | b'\t' => None,
            b'{' | b'[' => self.open(byte == b'{'),
            b'}' | b']' => self.close(byte == b'}'),
            b',' => {
                self.expect = if self.in_object() { Expect::Key } else { Expect::Value };
                self.flaw("a comma stands where none may")
            }
            b':' => {
                self.expect = Expect::Value;
                self.flaw("a colon stands where none may")
            }
            _ => {
                let starts = matches!(byte, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') && self.wants_value();
                self.within = Within::Scalar;
                if starts { None } else { self.flaw("not the start of a JSON value") }
            }
        }
    }

    /// The common case at once: a string without escapes that lies whole in the slice, and the colon or comma after it.
    /// `None` when it is another case; nothing has moved then.
    #[inline(always)]
    fn plain_string(&mut self, bytes: &[u8]) -> Option<Option<Step>> {
        let key = matches!(self.expect, Expect::Key | Expect::KeyOrEnd);
        if !key && !self.wants_value() {
            return None;
        }
        let start = self.at;
        let end = special(bytes, start);
        if bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        let next = bytes.get(self.at);
        if key {
            let colon = next == Some(&b':');
            self.at += usize::from(colon);
            self.expect = if colon { Expect::Value } else { Expect::Colon };
            return Some(Some(Step::Key { start, end, escaped: false }));
        }
        self.ended_value();
        if next == Some(&b',') && self.depth > 0 {
            self.at += 1;
            self.expect = if self.in_object() { Expect::Key } else { Expect::Value };
        }
        Some(None)
    }

    #[inline]
    fn wants_value(&self) -> bool {
        matches!(self.expect, Expect::Value | Expect::ValueOrEnd)
    }

    /// Reports the byte just passed. At depth 0 a structural byte out of place is a value of its own, so that a
    /// caller that goes on makes progress.
    #[cold]
    fn flaw(&mut self, what: &'static str) -> Option<Step> {
        if self.depth == 0 && matches!(self.within, Within::Between) {
            self.expect = Expect::Nothing;
        }
        Some(Step::Flaw { at: self.at - 1, what })
    }

    #[inline]
    fn in_object(&self) -> bool {
        (1..=KINDS_MAX).contains(&self.depth) && self.kinds >> (self.depth - 1) & 1 == 1
    }

    #[inline]
    fn open(&mut self, object: bool) -> Option<Step> {
        let fits = self.wants_value();
        if self.depth < KINDS_MAX {
            let bit = 1u64 << self.depth;
            self.kinds = if object { self.kinds | bit } else { self.kinds & !bit };
        }
        self.depth += 1;
        self.expect = if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
        if fits { Some(Step::Open { object }) } else { self.flaw("a bracket opens where none may") }
    }

    #[inline]
    fn close(&mut self, object: bool) -> Option<Step> {
        let Some(outer) = self.depth.checked_sub(1) else {
            return self.flaw("a bracket closes that never opened");
        };
        let known = self.depth <= KINDS_MAX;
        let ends = match self.expect {
            Expect::CommaOrEnd => true,
            Expect::KeyOrEnd => object,
            Expect::ValueOrEnd => !object,
            _ => false,
        };
        let fits = ends && (!known || self.in_object() == object);
        self.depth = outer;
        self.ended_value();
        if fits { Some(Step::Close { object }) } else { self.flaw("a bracket closes where it may not") }
    }

    #[inline]
    fn ended_value(&mut self) {
        self.expect = if self.depth == 0 { Expect::Nothing } else { Expect::CommaOrEnd };
    }

    /// Passes a number or word. `false` when the slice ends first.
    #[inline]
    fn scalar(&mut self, bytes: &[u8]) -> bool {
        while let Some(&byte) = bytes.get(self.at) {
            if matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t' | b':' | b'{' | b'[' | b'"') {
                self.within = Within::Between;
                self.ended_value();
                return true;
            }
            self.at += 1;
        }
        false
    }

    /// Passes the rest of a string. `None` when a value ended that the caller need not see.
    fn string(&mut self, bytes: &[u8]) -> Option<Step> {
        let Within::String { start, key, mut escaped, mut after_backslash } = self.within else {
            return None;
        };
        loop {
            if after_backslash {
                let Some(&byte) = bytes.get(self.at) else { break };
                self.unicode_escapes |= byte == b'u';
                self.at += 1;
                after_backslash = false;
            }
            self.at = special(bytes, self.at);
            let Some(&byte) = bytes.get(self.at) else { break };
            self.at += 1;
            match byte {
                b'"' => {
                    self.within = Within::Between;
                    if key {
                        self.expect = Expect::Colon;
                        return Some(Step::Key { start, end: self.at - 1, escaped });
                    }
                    self.ended_value();
                    return None;
                }
                b'\\' => (escaped, after_backslash) = (true, true),
                _ => {
                    self.within = Within::String { start, key, escaped, after_backslash };
                    return Some(Step::Flaw {
                        at: self.at - 1,
                        what: "a control character stands in a string",
                    });
                }
            }
        }
        self.within = Within::String { start, key, escaped, after_backslash };
        Some(Step::More)
    }
}

/// White space as JSON has it.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The position, from `at` on, of the next quote, backslash or control character; else the length.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // Eight bytes at once. A borrow can only spoil bytes above the lowest true hit, and the lowest is what counts.
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let hit = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let hit = hit & HIGH;
        if hit != 0 {
            return at + (hit.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|&b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str, split: usize) -> Vec<Step> {
        let mut scanner = Scanner::new();
        let mut steps = Vec::new();
        let mut given = split.min(text.len());
        loop {
            match scanner.next(&text.as_bytes()[..given]) {
                Step::More if given < text.len() => given = (given + split).min(text.len()),
                step @ (Step::Done | Step::More | Step::Flaw { .. }) => {
                    steps.push(step);
                    return steps;
                }
                step => steps.push(step),
            }
        }
    }

    #[test]
    fn steps_are_the_same_however_the_text_is_cut() {
        let text = r#"{"a":[1,{"b\"\\":"long enough to span words \u00e9"},null],"c":{}} "#;
        let whole = steps(text, text.len());
        assert_eq!(whole.len(), 12, "{whole:?}");
        assert_eq!(whole[11], Step::Done);
        for split in 1..text.len() {
            assert_eq!(steps(text, split), whole, "cut every {split} bytes");
        }
    }

    #[test]
    fn flaws_are_found_where_they_are() {
        let check = |text: &str, want: usize| match steps(text, 3).last() {
            Some(Step::Flaw { at, .. }) => assert_eq!(*at, want, "{text}"),
            other => panic!("{text}: {other:?}"),
        };
        check("hello", 0);
        check("]", 0);
        check(r#"{"a" 1}"#, 5);
        check(r#"{"a":1 "b"}"#, 7);
        check(r#"{"a":1,}"#, 7);
        check("[1,]", 3);
        check("[1}", 2);
        check("[,1]", 1);
        check(r#"{1:2}"#, 1);
        check("{\"a\":\"\u{1}\"}", 6);
        check("[1,{\"a\":2}\n{", 11);
    }

    #[test]
    fn a_word_of_eight_finds_the_first_special_byte() {
        for at in 0..40 {
            for byte in [b'"', b'\\', 0, 0x1f, b'\n'] {
                let mut bytes = vec![b'x'; 40];
                bytes[at] = byte;
                if at > 3 {
                    bytes[at - 1] = 0xff;
                    bytes[at - 2] = 0x80 | b'"';
                    bytes[at - 3] = b' ';
                }
                assert_eq!(special(&bytes, 0), at);
            }
        }
        assert_eq!(special(b"plain", 2), 5);
        assert_eq!(special(b"", 3), 3);
    }
}
