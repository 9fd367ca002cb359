//! Strict text forms of hashes, ids and bytes: one value has exactly one spelling, so any changed letter shows.

use crate::Hash;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

pub fn hash_from_base64(text: &str) -> Option<Hash> {
    from_base64(text)?.try_into().ok()
}

/// A hash as 64 lower-case hexadecimal digits.
pub mod hex_hash {
    use crate::Hash;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::borrow::Cow;

    pub fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(hash))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let mut hash = [0; 32];
        let upper = text.bytes().any(|b| b.is_ascii_uppercase());
        if upper || hex::decode_to_slice(text.as_bytes(), &mut hash).is_err() {
            return Err(D::Error::custom("expected 64 lower-case hexadecimal digits"));
        }
        Ok(hash)
    }
}

/// An id as 32 lower-case hexadecimal digits.
pub mod strict_id {
    use prunella_schemas::Id;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use std::borrow::Cow;

    pub fn serialize<S: Serializer>(id: &Id, serializer: S) -> Result<S::Ok, S::Error> {
        id.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let id = text.parse::<Id>().ok().filter(|_| !text.bytes().any(|b| b.is_ascii_uppercase()));
        id.ok_or_else(|| D::Error::custom("expected an id: 32 lower-case hexadecimal digits"))
    }
}

/// Bytes as canonical base64 with padding (RFC 4648, section 4).
pub mod base64_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::borrow::Cow;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::to_base64(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        super::from_base64(&text).ok_or_else(|| D::Error::custom("expected base64 with padding"))
    }
}

/// A list of hashes, each as canonical base64.
pub mod base64_hashes {
    use crate::{Hash, PROOF_HASHES_MAX};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(hashes: &[Hash], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hashes.iter().map(|hash| super::to_base64(hash)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hash>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        if texts.len() > PROOF_HASHES_MAX {
            return Err(D::Error::custom("a proof of more than 65 hashes belongs to no tree"));
        }
        let hashes = texts.iter().map(|text| super::hash_from_base64(text)).collect::<Option<Vec<Hash>>>();
        hashes.ok_or_else(|| D::Error::custom("expected base64 of 32 bytes"))
    }
}
