//! CloudEvents 1.0 in structured JSON: takes the data out of its envelope.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The data of `value` when it is a CloudEvent: `None` when it is none, a sentence when it is one without readable data.
pub(crate) fn data(value: &[u8]) -> Option<Result<Cow<'_, [u8]>, &'static str>> {
    // Nearly every value is no CloudEvent, and this costs far less than parsing it to find out.
    memmem::find(value, br#""specversion""#)?;
    let envelope: Envelope<'_> = serde_json::from_slice(value).ok()?;
    if !envelope.specversion {
        return None;
    }
    Some(envelope.data())
}

#[derive(Default)]
struct Envelope<'a> {
    specversion: bool,
    datacontenttype: Option<Cow<'a, str>>,
    data: Option<&'a RawValue>,
    data_base64: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    fn data(self) -> Result<Cow<'a, [u8]>, &'static str> {
        if let Some(data) = self.data {
            let json = self.datacontenttype.is_none_or(|kind| {
                let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                kind.ends_with("/json") || kind.ends_with("+json")
            });
            let text: Option<String> = if json { None } else { serde_json::from_str(data.get()).ok() };
            return Ok(match text {
                Some(text) => Cow::Owned(text.into_bytes()),
                None => Cow::Borrowed(data.get().as_bytes()),
            });
        }
        match self.data_base64 {
            Some(data) => STANDARD
                .decode(data.as_bytes())
                .map(Cow::Owned)
                .map_err(|_| "a CloudEvent whose `data_base64` is not base64"),
            None => Err("a CloudEvent without `data` or `data_base64`"),
        }
    }
}

/// Written by hand because a derived one fails on a key that stands twice; here the last value counts.
impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Envelope<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CloudEvent")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(Text(key)) = map.next_key()? {
                    match &*key {
                        "specversion" => {
                            let version: &RawValue = map.next_value()?;
                            envelope.specversion = version.get().starts_with("\"1.");
                        }
                        "datacontenttype" => {
                            envelope.datacontenttype = map.next_value::<Option<Text<'de>>>()?.map(|t| t.0);
                        }
                        "data" => envelope.data = Some(map.next_value()?),
                        "data_base64" => {
                            envelope.data_base64 = map.next_value::<Option<Text<'de>>>()?.map(|t| t.0);
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_comes_out_as_it_went_in() {
        let check = |text: &str, want: Option<Result<&str, &str>>| {
            let got = data(text.as_bytes());
            let got =
                got.as_ref().map(|r| r.as_ref().map(|d| std::str::from_utf8(d).unwrap()).map_err(|e| *e));
            assert_eq!(got, want, "{text}");
        };
        check(r#"{"specversion":"1.0","id":"1","data":{"a" : 1e400}}"#, Some(Ok(r#"{"a" : 1e400}"#)));
        check(r#"{"data":{"a":1},"data":{"a":2},"specversion":"1.0"}"#, Some(Ok(r#"{"a":2}"#)));
        check(r#"{"specversion":"1.0","data_base64":"eyJhIjoxfQ=="}"#, Some(Ok(r#"{"a":1}"#)));
        check(r#"{"specversion":"1.0","datacontenttype":"text/plain","data":"x\ny"}"#, Some(Ok("x\ny")));
        check(r#"{"specversion":"1.0","datacontenttype":"application/json","data":"x"}"#, Some(Ok("\"x\"")));
        check(
            r#"{"specversion":"1.0","data_base64":"*"}"#,
            Some(Err("a CloudEvent whose `data_base64` is not base64")),
        );
        check(r#"{"specversion":"1.0"}"#, Some(Err("a CloudEvent without `data` or `data_base64`")));
        check(r#"{"detail":{"specversion":"1.0","data":1}}"#, None);
        check(r#"{"specversion":"0.3","data":1}"#, None);
        check(r#"{"a":1}"#, None);
    }
}
