//! Raw: JSON and text that go through the log as they are, and are read only when somebody asks.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The bytes of a record as its source gave them. Where they were read from the log they stay escaped: to take the
/// escapes out costs more than to read the rest of an event, and few readers want them.
#[derive(Clone, Debug)]
pub enum RawText {
    Plain(Box<str>),
    /// A JSON string, quotes and all.
    Escaped(Box<RawValue>),
}

impl RawText {
    /// Whether it holds a word of letters, digits and hyphens, which no escape changes.
    pub fn mentions(&self, word: &str) -> bool {
        match self {
            RawText::Plain(text) => text.contains(word),
            RawText::Escaped(json) => json.get().contains(word),
        }
    }

    pub fn text(&self) -> Cow<'_, str> {
        match self {
            RawText::Plain(text) => Cow::Borrowed(text),
            RawText::Escaped(json) => unescape(json.get()),
        }
    }
}

/// What is no JSON string reads as it stands.
fn unescape(json: &str) -> Cow<'_, str> {
    match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
        _ => serde_json::from_str::<String>(json).map_or(Cow::Borrowed(json), Cow::Owned),
    }
}

impl From<&str> for RawText {
    fn from(text: &str) -> Self {
        RawText::Plain(text.into())
    }
}

impl PartialEq for RawText {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Serialize for RawText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RawText::Plain(text) => serializer.serialize_str(text),
            RawText::Escaped(json) => json.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for RawText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        match json.get().starts_with('"') {
            true => Ok(RawText::Escaped(json)),
            false => Err(serde::de::Error::custom("raw text must be a string")),
        }
    }
}

impl JsonSchema for RawText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RawText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Any JSON value, unread.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl From<&RawValue> for RawJson {
    fn from(json: &RawValue) -> Self {
        RawJson(json.to_owned())
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl JsonSchema for RawJson {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RawJson".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_escaped_reads_as_it_was_written() {
        for text in ["", "plain", "{\"a\":\"b\\\\c\\n\"}", "tab\t, quote\", \u{1F980}, \u{0}"] {
            let written = serde_json::to_string(&RawText::from(text)).unwrap();
            let read: RawText = serde_json::from_str(&written).unwrap();
            assert!(matches!(read, RawText::Escaped(_)));
            assert_eq!(read.text(), text);
            assert_eq!(read.mentions("quote"), text.contains("quote"));
            assert_eq!((read.clone(), serde_json::to_string(&read).unwrap()), (text.into(), written));
        }
        assert!(serde_json::from_str::<RawText>("7").is_err());
        // Half a surrogate pair cannot come from us; it must not take the reader down either.
        assert_eq!(serde_json::from_str::<RawText>(r#""\ud800""#).unwrap().text(), r#""\ud800""#);
    }
}
