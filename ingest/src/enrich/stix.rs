//! STIX patterns: which plain comparisons one is made of, or why it takes more than a lookup.
//!
//! Source: OASIS STIX 2.1, section 9. All of the grammar is read, so that a mistake is told from what is not supported.

use std::fmt;

/// Longest pattern, in bytes, and deepest nesting.
const PATTERN_BYTES_MAX: usize = 64 * 1024;
const DEPTH_MAX: usize = 32;

/// One value that one attribute may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Such as `ipv4-addr:value`, without the quotes of its steps.
    pub path: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Each term alone is a match.
    Any(Vec<Term>),
    /// It needs what a lookup cannot tell.
    Unsupported(&'static str),
}

/// Where a pattern breaks the grammar, in bytes from its start, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub at: usize,
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of the pattern: {}", self.at, self.detail)
    }
}

pub fn parse(text: &str) -> Result<Pattern, Broken> {
    if text.len() > PATTERN_BYTES_MAX {
        let detail = format!("it has {} bytes; at most {PATTERN_BYTES_MAX} are read", text.len());
        return Err(Broken { at: 0, detail });
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, next: 0, end: text.len(), terms: Vec::new(), lacking: None };
    parser.observations(0)?;
    if let Some((at, token)) = parser.tokens.get(parser.next) {
        return Err(Broken { at: *at, detail: format!("{token} does not belong here") });
    }
    Ok(match parser.lacking {
        Some(why) => Pattern::Unsupported(why),
        None => Pattern::Any(parser.terms),
    })
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A keyword, a number, a path.
    Word(String),
    Text(String),
    Mark(&'static str),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(word) => write!(f, "`{}`", word.escape_debug()),
            Token::Text(text) => write!(f, "'{}'", text.escape_debug()),
            Token::Mark(mark) => write!(f, "`{mark}`"),
        }
    }
}

const MARKS: [&str; 11] = ["!=", "<=", ">=", "[", "]", "(", ")", ",", "=", "<", ">"];

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Broken> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let blank = rest.len() - rest.trim_start().len();
        if blank > 0 {
            at += blank;
        } else if rest.starts_with('\'') {
            let (value, length) = quoted(rest, at)?;
            tokens.push((at, Token::Text(value)));
            at += length;
        } else if let Some(mark) = MARKS.into_iter().find(|mark| rest.starts_with(mark)) {
            tokens.push((at, Token::Mark(mark)));
            at += mark.len();
        } else {
            let (word, length) = word(rest, at)?;
            tokens.push((at, Token::Word(word)));
            at += length;
        }
    }
    Ok(tokens)
}

/// The text behind a quote, and how far it goes.
fn quoted(rest: &str, at: usize) -> Result<(String, usize), Broken> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            '\'' => return Ok((value, index + 1)),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    Err(Broken { at, detail: "a text is not closed by a quote".into() })
}

/// A word goes on through quoted steps, as in `file:hashes.'SHA-256'`, and through `[*]` and `[0]`.
fn word(rest: &str, at: usize) -> Result<(String, usize), Broken> {
    let mut word = String::new();
    let mut length = 0;
    while let Some(left) = rest.get(length..).filter(|left| !left.is_empty()) {
        if left.starts_with('\'') {
            let (step, taken) = quoted(left, at + length)?;
            word.push_str(&step);
            length += taken;
            continue;
        }
        let index = left.strip_prefix('[').and_then(|inner| inner.split_once(']'));
        if let Some((index, _)) = index
            && word.contains(':')
            && (index == "*" || (!index.is_empty() && index.bytes().all(|b| b.is_ascii_digit())))
        {
            word.push_str("[]");
            length += index.len() + 2;
            continue;
        }
        match left.chars().next() {
            Some(c) if c.is_alphanumeric() || "-_.:+".contains(c) => {
                word.push(c);
                length += c.len_utf8();
            }
            _ => break,
        }
    }
    match (length, rest.chars().next()) {
        (0, Some(c)) => Err(Broken { at, detail: format!("`{}` does not belong here", c.escape_debug()) }),
        _ => Ok((word, length)),
    }
}

struct Parser<'a> {
    tokens: &'a [(usize, Token)],
    next: usize,
    end: usize,
    terms: Vec<Term>,
    /// The first thing that a lookup cannot tell.
    lacking: Option<&'static str>,
}

impl Parser<'_> {
    /// `[...]` or `(...)`, joined by AND, OR, FOLLOWEDBY, each with qualifiers.
    fn observations(&mut self, depth: usize) -> Result<(), Broken> {
        self.bounded(depth)?;
        loop {
            if self.take_mark("[") {
                self.comparisons(depth + 1)?;
                self.expect("]")?;
            } else if self.take_mark("(") {
                self.observations(depth + 1)?;
                self.expect(")")?;
            } else {
                return Err(self.broken("`[` is expected"));
            }
            self.qualifiers()?;
            if self.take_word("AND") || self.take_word("FOLLOWEDBY") {
                self.lacks("several observations together");
            } else if !self.take_word("OR") {
                return Ok(());
            }
        }
    }

    fn qualifiers(&mut self) -> Result<(), Broken> {
        loop {
            let words = if self.take_word("WITHIN") {
                &["SECONDS"][..]
            } else if self.take_word("REPEATS") {
                &["TIMES"][..]
            } else if self.take_word("START") {
                &["STOP", ""][..]
            } else {
                return Ok(());
            };
            self.lacks("how often or when");
            for word in words {
                // A number, or a time as in `t'2026-01-01T00:00:00Z'`, which is one word here.
                self.next_word()?;
                if !word.is_empty() && !self.take_word(word) {
                    return Err(self.broken(&format!("`{word}` is expected")));
                }
            }
        }
    }

    fn comparisons(&mut self, depth: usize) -> Result<(), Broken> {
        self.bounded(depth)?;
        loop {
            if self.take_mark("(") {
                self.comparisons(depth + 1)?;
                self.expect(")")?;
            } else {
                self.comparison()?;
            }
            if self.take_word("AND") {
                self.lacks("several comparisons together");
            } else if !self.take_word("OR") {
                return Ok(());
            }
        }
    }

    fn comparison(&mut self) -> Result<(), Broken> {
        if self.take_word("EXISTS") {
            self.lacks("EXISTS");
            return self.next_word().map(drop);
        }
        let path = self.next_word()?;
        if !path.contains(':') {
            self.next -= 1;
            return Err(self.broken("an object path such as `ipv4-addr:value` is expected"));
        }
        if self.take_word("NOT") {
            self.lacks("NOT");
        }
        if self.take_mark("=") || self.take_word("ISSUBSET") {
            let value = self.literal()?;
            self.terms.push(Term { path, value });
        } else if self.take_word("IN") {
            self.expect("(")?;
            loop {
                let value = self.literal()?;
                self.terms.push(Term { path: path.clone(), value });
                if !self.take_mark(",") {
                    break;
                }
            }
            self.expect(")")?;
        } else if ["!=", "<", "<=", ">", ">="].iter().any(|mark| self.take_mark(mark)) {
            self.lacks("order or inequality");
            self.literal()?;
        } else if ["LIKE", "MATCHES", "ISSUPERSET"].iter().any(|word| self.take_word(word)) {
            self.lacks("LIKE, MATCHES or ISSUPERSET");
            self.literal()?;
        } else {
            return Err(self.broken("a comparison such as `=` or ISSUBSET is expected"));
        }
        Ok(())
    }

    fn literal(&mut self) -> Result<String, Broken> {
        match self.tokens.get(self.next) {
            Some((_, Token::Text(text) | Token::Word(text))) => {
                self.next += 1;
                Ok(text.clone())
            }
            _ => Err(self.broken("a value in single quotes is expected")),
        }
    }

    fn next_word(&mut self) -> Result<String, Broken> {
        match self.tokens.get(self.next) {
            Some((_, Token::Word(word))) => {
                self.next += 1;
                Ok(word.clone())
            }
            _ => Err(self.broken("a word is expected")),
        }
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        let is_next = matches!(self.tokens.get(self.next), Some((_, Token::Word(word))) if word.eq_ignore_ascii_case(wanted));
        self.next += usize::from(is_next);
        is_next
    }

    fn take_mark(&mut self, wanted: &str) -> bool {
        let is_next = matches!(self.tokens.get(self.next), Some((_, Token::Mark(mark))) if *mark == wanted);
        self.next += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, mark: &str) -> Result<(), Broken> {
        if self.take_mark(mark) { Ok(()) } else { Err(self.broken(&format!("`{mark}` is expected"))) }
    }

    fn lacks(&mut self, what: &'static str) {
        self.lacking.get_or_insert(what);
    }

    fn bounded(&self, depth: usize) -> Result<(), Broken> {
        if depth <= DEPTH_MAX { Ok(()) } else { Err(self.broken("it nests too deep")) }
    }

    fn broken(&self, wanted: &str) -> Broken {
        match self.tokens.get(self.next) {
            Some((at, token)) => Broken { at: *at, detail: format!("{wanted}, not {token}") },
            None => Broken { at: self.end, detail: format!("{wanted}, and it ends") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_comparisons_are_taken_apart() {
        let agent = "network-traffic:extensions.http-request-ext.request_header.User-Agent";
        for (text, want) in [
            ("[ipv4-addr:value = '198.51.100.1']", vec![("ipv4-addr:value", "198.51.100.1")]),
            ("[ipv4-addr:value ISSUBSET '198.51.100.0/24']", vec![("ipv4-addr:value", "198.51.100.0/24")]),
            (
                "[domain-name:value IN ('a.example','b.example')] OR ([ipv6-addr:value='2001:db8::1'])",
                vec![
                    ("domain-name:value", "a.example"),
                    ("domain-name:value", "b.example"),
                    ("ipv6-addr:value", "2001:db8::1"),
                ],
            ),
            (
                "[file:hashes.'SHA-256' = 'AB' OR (file:hashes.MD5 = 'it\\'s')]",
                vec![("file:hashes.SHA-256", "AB"), ("file:hashes.MD5", "it's")],
            ),
            (
                "[network-traffic:extensions.'http-request-ext'.request_header.'User-Agent' = 'evil/1']",
                vec![(agent, "evil/1")],
            ),
        ] {
            let terms = want.into_iter().map(|(path, value)| Term { path: path.into(), value: value.into() });
            assert_eq!(parse(text), Ok(Pattern::Any(terms.collect())), "{text}");
        }
    }

    #[test]
    fn what_takes_more_than_a_lookup_is_named() {
        for (text, why) in [
            ("[a:b = '1' AND c:d = '2']", "several comparisons together"),
            ("[a:b = '1'] FOLLOWEDBY [c:d = '2']", "several observations together"),
            ("[a:b != '1']", "order or inequality"),
            ("[a:b NOT = '1']", "NOT"),
            ("[a:b LIKE '1%']", "LIKE, MATCHES or ISSUPERSET"),
            ("[EXISTS a:b]", "EXISTS"),
            ("[a:b = '1'] REPEATS 5 TIMES WITHIN 1800 SECONDS", "how often or when"),
            ("[a:b = '1'] START t'2026-01-01T00:00:00Z' STOP t'2026-02-01T00:00:00Z'", "how often or when"),
        ] {
            assert_eq!(parse(text), Ok(Pattern::Unsupported(why)), "{text}");
        }
    }

    #[test]
    fn what_breaks_the_grammar_says_where() {
        for (text, at, detail) in [
            ("", 0, "`[` is expected, and it ends"),
            ("ipv4-addr:value = '1'", 0, "`[` is expected, not `ipv4-addr:value`"),
            ("[ipv4-addr:value '1']", 17, "a comparison such as `=` or ISSUBSET is expected, not '1'"),
            ("[a:b = '1'", 10, "`]` is expected, and it ends"),
            ("[a:b = '1]", 7, "a text is not closed by a quote"),
            ("[a:b = '1'] [c:d = '2']", 12, "`[` does not belong here"),
            ("[value = '1']", 1, "an object path such as `ipv4-addr:value` is expected, not `value`"),
            ("[a:b = ]", 7, "a value in single quotes is expected, not `]`"),
            ("[a:b = \u{1F980}]", 7, "`\u{1F980}` does not belong here"),
        ] {
            assert_eq!(parse(text), Err(Broken { at, detail: detail.into() }), "{text}");
        }
        assert_eq!(parse(&"(".repeat(60_000)).unwrap_err().detail, "it nests too deep, not `(`");
        assert!(parse(&" ".repeat(70_000)).is_err());
    }
}
