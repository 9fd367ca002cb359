//! Glob: a text with stars, and at most one place with a name, compared without going back.

/// Longest pattern, in bytes.
pub const GLOB_BYTES_MAX: usize = 1_024;

/// `*` stands for anything. `{name}` stands for one or more of what people's names in addresses are made of: letters,
/// digits, `.`, `_`, `-`, `+`. Of several ways to read a text the one whose gaps are shortest, from the left, counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<Part>,
    /// What stands in the braces.
    name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Any,
    Named,
}

impl Glob {
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > GLOB_BYTES_MAX {
            return Err("it is longer than 1024 bytes");
        }
        let (mut parts, mut name, mut rest) = (Vec::new(), None, text);
        while let Some(at) = rest.find(['*', '{', '}']) {
            let (before, from) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            if let Some(after) = from.strip_prefix('*') {
                parts.push(Part::Any);
                rest = after;
            } else if let Some((inner, after)) = from.strip_prefix('{').and_then(|from| from.split_once('}'))
            {
                if name.replace(inner.to_owned()).is_some() {
                    return Err("it has two names in braces; one is the most");
                }
                parts.push(Part::Named);
                rest = after;
            } else {
                return Err("a brace stands alone");
            }
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let is_gap = |part: &Part| !matches!(part, Part::Text(_));
        if parts.windows(2).any(|pair| pair.iter().all(is_gap)) {
            return Err("two gaps stand side by side; nothing says where one ends");
        }
        Ok(Glob { parts, name })
    }

    /// What the name stands for in `text`; the empty text if the pattern has no name; `None` if it does not match.
    pub fn matches<'t>(&self, text: &'t str) -> Option<&'t str> {
        let (mut rest, mut named, mut gap) = (text, "", None);
        for (index, part) in self.parts.iter().enumerate() {
            let Part::Text(literal) = part else {
                gap = Some(part);
                continue;
            };
            let is_last = index + 1 == self.parts.len();
            let at = match gap {
                None => rest.starts_with(literal.as_str()).then_some(0)?,
                Some(_) if is_last => rest.ends_with(literal.as_str()).then(|| rest.len() - literal.len())?,
                Some(_) => rest.find(literal.as_str())?,
            };
            let (inside, from) = rest.split_at_checked(at)?;
            if gap.take() == Some(&Part::Named) {
                named = is_name(inside).then_some(inside)?;
            }
            rest = from.get(literal.len()..)?;
        }
        match gap {
            None => rest.is_empty().then_some(named),
            Some(Part::Named) => is_name(rest).then_some(rest),
            Some(_) => Some(named),
        }
    }

    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The whole text, if it has neither stars nor a name.
    pub fn exact(&self) -> Option<&str> {
        match &self.parts[..] {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What every text that matches begins with.
    pub fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "._-+".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_wholes() {
        for (pattern, text, want) in [
            ("arn:aws:s3:::b", "arn:aws:s3:::b", Some("")),
            ("arn:aws:s3:::b", "arn:aws:s3:::bc", None),
            ("arn:aws:s3:::pay-*", "arn:aws:s3:::pay-1/x", Some("")),
            ("*", "", Some("")),
            ("", "", Some("")),
            ("", "x", None),
            ("a*b*c", "a__b__bc", Some("")),
            ("a*a", "a", None),
            ("*/Admin_*/{who}@example.com", "sts/Admin_1/ann@example.com", Some("ann")),
            ("*/Admin_*/{who}@example.com", "sts/Admin_1/ann@example.org", None),
            ("*/Admin_*/{who}@example.com", "sts/Admin_1/@example.com", None),
            ("*/Admin_*/{who}@example.com", "sts/Admin_1/a/n@example.com", None),
            ("{who}@*", "ann.lee+x@example.com", Some("ann.lee+x")),
            ("gcp:user:{who}", "gcp:user:ann", Some("ann")),
            ("gcp:user:{who}", "gcp:user:", None),
        ] {
            assert_eq!(Glob::parse(pattern).unwrap().matches(text), want, "{pattern} {text}");
        }
        for pattern in ["{a", "a}", "{a}-{b}", "**", "{a}*", &"x".repeat(2_000)] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }
}
