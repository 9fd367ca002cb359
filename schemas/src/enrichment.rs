//! Enrichment: what tables of the operator say about an event, in the shapes that OCSF 1.8.0 has for it.

use crate::{Caption, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// OCSF `enrichment`: what is known about the value of one attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Enrichment {
    /// The attribute, such as `src_endpoint.ip`.
    pub name: Caption,
    pub value: String,
    /// `network`.
    #[serde(rename = "type")]
    pub kind: Caption,
    pub provider: Caption,
    pub data: EnrichmentData,
}

/// The network that an address belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EnrichmentData {
    pub class: Caption,
    /// Whose it is: `AWS`, or the name of the autonomous system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// OCSF `osint`: an indicator that the event meets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Osint {
    pub type_id: u8,
    #[serde(rename = "type")]
    pub kind: Caption,
    /// The indicator as its list has it: an address, a block of addresses, a domain, a hash.
    pub value: String,
    /// The attribute that meets it, such as `src_endpoint.ip`.
    pub name: Caption,
    /// The indicator's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The list that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desc: Option<String>,
    /// 0 Unknown, 1 Low, 2 Medium, 3 High.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence_id: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// A name with a value: OCSF `key_value_object`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tag {
    pub name: String,
    pub value: String,
}

/// The profile that an event with `osint` names.
pub const OSINT_PROFILE: Caption = Caption::of("osint");
