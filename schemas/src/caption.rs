//! Caption: a word of the vocabulary, such as the name of a class. Static where it is known, owned where it is not.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// An event has about twenty captions, nearly always the same ones: reading one that is in [`KNOWN`] allocates nothing.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caption(Cow<'static, str>);

/// What events are made of.
static KNOWN: [&str; 84] = [
    "",
    "999",
    "AWS",
    "GCP",
    "Low",
    "New",
    "Copy",
    "High",
    "List",
    "Lock",
    "Move",
    "Open",
    "Read",
    "1.0.0",
    "1.8.0",
    "Azure",
    "Fatal",
    "Logon",
    "Other",
    "Query",
    "Write",
    "cloud",
    "vault",
    "osint",
    "Attach",
    "Create",
    "Delete",
    "Enable",
    "Logoff",
    "Medium",
    "Refuse",
    "Threat",
    "Unlock",
    "Update",
    "Upload",
    "Connect",
    "Decrypt",
    "Disable",
    "Encrypt",
    "Failure",
    "Success",
    "Traffic",
    "Unknown",
    "network",
    "hosting",
    "private",
    "Add User",
    "Critical",
    "Download",
    "Findings",
    "Prunella",
    "datetime",
    "prunella",
    "gcp.audit",
    "Discovery",
    "AwsApiCall",
    "CloudTrail",
    "Remove User",
    "azure.audit",
    "API Activity",
    "azure.signin",
    "Attach Policy",
    "Detach Policy",
    "Informational",
    "azure.storage",
    "Account Change",
    "Account Switch",
    "Authentication",
    "aws.cloudtrail",
    "azure.activity",
    "src_endpoint.ip",
    "Group Management",
    "Network Activity",
    "published ranges",
    "Assign Privileges",
    "Detection Finding",
    "Entity Management",
    "Datastore Activity",
    "Application Activity",
    "Authentication Ticket",
    "File Hosting Activity",
    "residential_or_unknown",
    "Identity & Access Management",
    "Cloud Resources Inventory Info",
];

impl Caption {
    pub const fn of(text: &'static str) -> Self {
        Caption(Cow::Borrowed(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn known(text: &str) -> Option<Caption> {
        let mut at = slot(text.as_bytes());
        while let Some(&number) = SLOTS.get(at)
            && let Some(word) = KNOWN.get(usize::from(number))
        {
            if *word == text {
                return Some(Caption::of(word));
            }
            at = (at + 1) % SLOTS.len();
        }
        None
    }
}

/// Numbers of known words by [`slot`], then the next free one; 255 is free.
static SLOTS: [u8; 256] = slots();

const fn slots() -> [u8; 256] {
    let mut slots = [u8::MAX; 256];
    let mut number = 0;
    while number < KNOWN.len() {
        let mut at = slot(KNOWN[number].as_bytes());
        while slots[at] != u8::MAX {
            at = (at + 1) % slots.len();
        }
        slots[at] = number as u8;
        number += 1;
    }
    slots
}

/// Four bytes tell most words apart.
const fn slot(text: &[u8]) -> usize {
    if text.is_empty() {
        return 0;
    }
    let len = text.len();
    let (first, middle, last) = (text[0] as usize, text[len / 2] as usize, text[len - 1] as usize);
    (len * 5 + first * 31 + middle * 17 + last * 3) % 256
}

impl Deref for Caption {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Caption {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Caption {
    fn from(text: &'static str) -> Self {
        Caption::of(text)
    }
}

impl From<String> for Caption {
    fn from(text: String) -> Self {
        Caption(Cow::Owned(text))
    }
}

impl PartialEq<str> for Caption {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Caption {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Caption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Caption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Caption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Caption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Caption;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Caption, E> {
                Ok(Caption::known(text).unwrap_or_else(|| text.to_owned().into()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Caption, E> {
                Ok(text.into())
            }
        }
        deserializer.deserialize_str(Words)
    }
}

impl JsonSchema for Caption {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Caption".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_are_found_at_once() {
        let farthest = KNOWN.iter().enumerate().map(|(n, word)| {
            let at = SLOTS.iter().position(|s| usize::from(*s) == n).unwrap();
            (at + SLOTS.len() - slot(word.as_bytes())) % SLOTS.len()
        });
        assert!(farthest.max().unwrap() < 6, "words crowd; choose another slot function");
        for word in KNOWN {
            assert!(matches!(Caption::known(word), Some(Caption(Cow::Borrowed(_)))), "{word}");
        }
        let read: Caption = serde_json::from_str("\"never heard of\"").unwrap();
        assert!(matches!(&read.0, Cow::Owned(_)));
        assert_eq!(read, "never heard of");
    }

    #[test]
    fn what_every_event_says_is_known() {
        use crate::ocsf::{EVENT_CLASSES, severity_name, status_name};
        for class in EVENT_CLASSES {
            assert!(Caption::known(class.name).is_some(), "{}", class.name);
            assert!(Caption::known(class.category_name).is_some(), "{}", class.category_name);
        }
        for id in 0..7 {
            assert!(Caption::known(severity_name(id)).is_some() && Caption::known(status_name(id)).is_some());
        }
    }
}
