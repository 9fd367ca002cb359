//! Reads JSON field by field: a value of another type than expected empties that field, and never loses the record.
//!
//! Derived `Deserialize` refuses a record for one odd value or a repeated key. Cloud logs hold what attackers send,
//! so a refusal would hide the event; here the last value of a repeated key wins and the rest stays readable.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The visitor methods of a type that is an object or an array: anything else reads as its default.
macro_rules! scalars_are_absent {
    () => {
        $crate::lenient::scalars_are_absent!(but str);
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (but str) => {
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("any value")
        }
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
}
pub(crate) use scalars_are_absent;

/// Declares structs whose fields are read by the JSON keys named beside them: `field: Type = "key" | "other spelling"`.
macro_rules! lenient_objects {
    ($($(#[$doc:meta])* $name:ident<$life:lifetime> { $($field:ident : $type:ty = $($key:literal)|+,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $name<$life> {
            $(pub $field: $type,)*
        }

        const _: () = {
            use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

            #[allow(non_camel_case_types, reason = "a variant is named as its field")]
            enum Key {
                $($field,)*
                Other,
            }

            impl<'de> Deserialize<'de> for Key {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    struct KeyVisitor;
                    impl Visitor<'_> for KeyVisitor {
                        type Value = Key;
                        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                            f.write_str("a key")
                        }
                        fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                            Ok(match key {
                                $($($key)|+ => Key::$field,)*
                                _ => Key::Other,
                            })
                        }
                    }
                    deserializer.deserialize_identifier(KeyVisitor)
                }
            }

            impl<'de: $life, $life> Deserialize<'de> for $name<$life> {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    struct ObjectVisitor;
                    impl<'de> Visitor<'de> for ObjectVisitor {
                        type Value = $name<'de>;
                        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name<'de>, A::Error> {
                            let mut object = $name::default();
                            while let Some(key) = map.next_key()? {
                                match key {
                                    $(Key::$field => object.$field = map.next_value()?,)*
                                    Key::Other => {
                                        map.next_value::<IgnoredAny>()?;
                                    }
                                }
                            }
                            Ok(object)
                        }
                        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                            $crate::lenient::skip_seq(seq).map(|()| $name::default())
                        }
                        $crate::lenient::scalars_are_absent!();
                    }
                    deserializer.deserialize_any(ObjectVisitor)
                }
            }
        };
    )*};
}
pub(crate) use lenient_objects;

/// A string, borrowed where the JSON has no escapes. Numbers and booleans become their text; all else, and the empty
/// string, is absence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub fn is(&self, wanted: &str) -> bool {
        self.get() == Some(wanted)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text((!text.is_empty()).then_some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text((!text.is_empty()).then(|| Cow::Owned(text.to_owned()))))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(if value { "true" } else { "false" }))))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(value.to_string()))))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(value.to_string()))))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(value.to_string()))))
            }
            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text<'de>, A::Error> {
                skip_map(map).map(|()| Text(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Text<'de>, A::Error> {
                skip_seq(seq).map(|()| Text(None))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A part that is read further only when a mapping needs something from it.
pub type Raw<'a> = Option<&'a RawValue>;

/// A text that some APIs write as `{"value": "..", "localizedValue": ".."}`.
#[derive(Clone, Debug, Default)]
pub struct Worded<'a>(Text<'a>);

impl Worded<'_> {
    pub fn get(&self) -> Option<&str> {
        self.0.get()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Worded<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordedVisitor;
        impl<'de> Visitor<'de> for WordedVisitor {
            type Value = Worded<'de>;

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Worded<'de>, E> {
                Ok(Worded(Text((!text.is_empty()).then_some(Cow::Borrowed(text)))))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Worded<'de>, A::Error> {
                let mut worded = Worded::default();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if key.is("value") {
                        worded.0 = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(worded)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                skip_seq(seq).map(|()| Worded::default())
            }
            scalars_are_absent!(but str);
            fn visit_str<E>(self, text: &str) -> Result<Worded<'de>, E> {
                Ok(Worded(Text((!text.is_empty()).then(|| Cow::Owned(text.to_owned())))))
            }
        }
        deserializer.deserialize_any(WordedVisitor)
    }
}

/// A count of bytes or things, also where it was written as a float or as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(pub Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let number = text.get().and_then(|text| match text.parse::<u64>() {
            Ok(count) => Some(count),
            // A float beyond 2^53 is not an exact count, and no transfer is that large.
            Err(_) => text.parse::<f64>().ok().filter(|n| (0.0..9.0e15).contains(n)).map(|n| n as u64),
        });
        Ok(Count(number))
    }
}

/// The objects of an array, at most `MAX` of them; `cut` says whether there were more.
#[derive(Clone, Debug)]
pub struct List<T, const MAX: usize> {
    pub items: Vec<T>,
    pub cut: bool,
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        List { items: Vec::new(), cut: false }
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
            type Value = List<T, MAX>;

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T, MAX>, A::Error> {
                let mut list = List::default();
                while list.items.len() < MAX {
                    match seq.next_element()? {
                        Some(item) => list.items.push(item),
                        None => return Ok(list),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    list.cut = true;
                }
                Ok(list)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                skip_map(map).map(|()| List::default())
            }
            scalars_are_absent!();
        }
        deserializer.deserialize_any(ListVisitor(std::marker::PhantomData))
    }
}

pub fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

pub fn skip_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Some texts of a JSON object, by key.
#[derive(Clone, Debug, Default)]
pub struct Picked<'a>(Vec<(&'static str, Text<'a>)>);

impl Picked<'_> {
    pub fn get(&self, wanted: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == wanted)?.1.get()
    }
}

/// The texts under the keys that `wanted` knows by their static name; the last one of a repeated key.
pub fn pick<'a>(json: &'a str, wanted: impl Fn(&str) -> Option<&'static str>) -> Picked<'a> {
    struct Pick<F>(F);
    impl<'de, F: Fn(&str) -> Option<&'static str>> Visitor<'de> for Pick<F> {
        type Value = Picked<'de>;
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Picked<'de>, A::Error> {
            let mut picked = Picked::default();
            while let Some(key) = map.next_key::<Text<'de>>()? {
                let Some(key) = key.get().and_then(&self.0) else {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                };
                let value = map.next_value()?;
                match picked.0.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, known)) => *known = value,
                    None => picked.0.push((key, value)),
                }
            }
            Ok(picked)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            skip_seq(seq).map(|()| Picked::default())
        }
        scalars_are_absent!();
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    (&mut deserializer).deserialize_any(Pick(wanted)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    lenient_objects! {
        Sample<'a> {
            name: Text<'a> = "name",
            size: Count = "size",
            tags: List<Text<'a>, 2> = "tags",
            inner: Inner<'a> = "inner",
        }
        Inner<'a> { id: Text<'a> = "id", }
    }

    #[test]
    fn a_value_of_another_type_empties_one_field_only() {
        let check = |json: &str, name: Option<&str>, size: Option<u64>, tags: usize, id: Option<&str>| {
            let got: Sample<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(
                (got.name.get(), got.size.0, got.tags.items.len(), got.inner.id.get()),
                (name, size, tags, id),
                "{json}"
            );
        };
        check(r#"{"name":"a","size":1,"tags":["x"],"inner":{"id":"i"}}"#, Some("a"), Some(1), 1, Some("i"));
        check(r#"{"name":7,"size":"12","tags":"x","inner":"i"}"#, Some("7"), Some(12), 0, None);
        check(
            r#"{"name":true,"size":3.0,"tags":{"x":[1]},"inner":[{"id":1}]}"#,
            Some("true"),
            Some(3),
            0,
            None,
        );
        check(r#"{"name":null,"size":-1,"tags":null,"inner":null}"#, None, None, 0, None);
        check(r#"{"name":"","size":1e300,"tags":[1,2,3,4],"inner":{"id":{}}}"#, None, None, 2, None);
        check(r#"{"name":"a","name":"b","other":{"name":"c"}}"#, Some("b"), None, 0, None);
        check(r#"{"n\u0061me":"\u0062"}"#, Some("b"), None, 0, None);
        check("[1,{}]", None, None, 0, None);
        check("3", None, None, 0, None);
    }

    #[test]
    fn picking_takes_the_last_and_survives_anything() {
        for (json, want) in [
            (r#"{"a":"1","b":"2","a":"3"}"#, Some("3")),
            (r#"{"b":"2"}"#, None),
            (r#"{"a":{}}"#, None),
            ("[]", None),
            ("nonsense", None),
        ] {
            let picked = pick(json, |key| (key == "a").then_some("a"));
            assert_eq!((picked.get("a"), picked.get("b")), (want, None), "{json}");
        }
    }
}
