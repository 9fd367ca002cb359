//! Event: who did what to what, from where, when, with which outcome. One OCSF 1.8.0 class instance.

use crate::ocsf::{
    Actor, Api, Caption, Class, Cloud, Databucket, Endpoint, Entity, Extension, File, Group, HttpRequest,
    Metadata, OCSF_VERSION, Policy, Resource, STATUS_FAILURE, STATUS_SUCCESS, Service, Session, Table, Tls,
    Traffic, User, severity_name, status_name,
};
use crate::{Enrichment, Id, Message, Osint, Principal, RawText, Tenant, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One OCSF event. The attributes are the union of those of the classes in `ocsf::EVENT_CLASSES`; a class leaves out
/// what it does not have. What no attribute holds survives in `raw_data`, the bytes as the source gave them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    pub class_uid: u32,
    pub class_name: Caption,
    pub category_uid: u32,
    pub category_name: Caption,
    pub activity_id: u8,
    pub activity_name: Caption,
    pub type_uid: u64,
    pub severity_id: u8,
    pub severity: Caption,
    pub time: Timestamp,
    pub status_id: u8,
    pub status: Caption,
    /// The provider's error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<String>,
    /// The provider's error message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_detail: Option<String>,
    pub metadata: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// The user acted upon (3001, 3002, 3006).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<Entity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Whether the sign-in used a second factor (3002).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_mfa: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_endpoint: Option<Endpoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst_endpoint: Option<Endpoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_request: Option<HttpRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databucket: Option<Databucket>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<File>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Resource>,
    /// What the operator's tables say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enrichments: Vec<Enrichment>,
    /// The indicators that the event meets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub osint: Vec<Osint>,
    /// The record as the source gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_data: Option<RawText>,
    /// Prunella's own facts, declared in `metadata.extensions`.
    pub prunella: Facts,
}

/// What Prunella adds to an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// Identity of the event: see [`Event::identify`].
    pub event_uid: Id,
    /// The ordering and partition key: see [`crate::principal`].
    pub principal: Principal,
    /// The source's name, such as `aws.cloudtrail`.
    pub source: Caption,
    /// When Prunella got the record.
    pub received: Timestamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// Who is behind the principal, in every cloud the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_uid: Option<String>,
    /// The tables that the event was looked up in: the same id, the same tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Id>,
}

/// What was odd about a record that was kept all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// An object had the same key twice; the last value was taken.
    DuplicateKey,
    /// A string held half of a surrogate pair; U+FFFD was read in its place.
    LoneSurrogate,
    /// No readable event time; the time of receipt was taken.
    MissingTime,
    /// The event time lies further ahead of its receipt than clocks drift.
    FutureTime,
    /// The event time lies more than 400 days before its receipt.
    AncientTime,
    /// The provider gave no event id.
    MissingId,
    /// A string longer than the limit was cut; `raw_data` has it whole.
    TruncatedField,
    /// The provider's record version is newer than the mapping knows.
    UnknownVersion,
    /// The record lacked who did it.
    MissingActor,
    /// Another event, different in content, carries the same provider id.
    IdCollision,
}

/// The name and id under which Prunella's attributes are declared in `metadata.extensions`.
pub const EXTENSION: Extension =
    Extension { name: Caption::of("prunella"), uid: Caption::of("999"), version: Caption::of("1.0.0") };

impl Event {
    /// A new event of a class; ids and captions agree by construction.
    #[allow(
        clippy::field_reassign_with_default,
        reason = "filled in place: an event is 3 kB, and a copy of it shows"
    )]
    pub fn new(class: Class, activity_id: u8, status_id: u8, severity_id: u8) -> Self {
        let mut event = Event::default();
        event.class_uid = class.uid;
        event.class_name = class.name.into();
        event.category_uid = class.category_uid;
        event.category_name = class.category_name.into();
        event.activity_id = activity_id;
        event.activity_name = class.activity_name(activity_id).into();
        event.type_uid = class.type_uid(activity_id);
        event.severity_id = severity_id;
        event.severity = severity_name(severity_id).into();
        event.status_id = status_id;
        event.status = status_name(status_id).into();
        event.metadata.version = OCSF_VERSION.into();
        event.metadata.extensions = vec![EXTENSION];
        event
    }

    /// Sets `prunella.event_uid` = blake3-128(tenant, source, native id, operation, time, account, principal).
    ///
    /// The same event by two channels is one; two events that share a native id stay two, so that a forged id cannot
    /// hide a real event. An event without a native id is named by its raw bytes in that place.
    pub fn identify(&mut self) {
        let raw = self.raw_data.as_ref().filter(|_| self.metadata.uid.is_none()).map(RawText::text);
        let native = self.metadata.uid.as_deref().or(raw.as_deref()).unwrap_or_default();
        let parts: [&[u8]; 7] = [
            self.tenant().as_bytes(),
            self.prunella.source.as_bytes(),
            native.as_bytes(),
            self.operation().as_bytes(),
            &self.time.0.to_le_bytes(),
            self.account().unwrap_or_default().as_bytes(),
            self.prunella.principal.as_str().as_bytes(),
        ];
        self.prunella.event_uid = Id::derive("event", &parts);
    }

    pub fn flag(&mut self, flag: Flag) {
        if !self.prunella.flags.contains(&flag) {
            self.prunella.flags.push(flag);
        }
    }

    pub fn set_tenant(&mut self, tenant: &Tenant) {
        self.metadata.tenant_uid = Some(tenant.as_str().to_owned());
    }

    pub fn tenant(&self) -> &str {
        self.metadata.tenant_uid.as_deref().unwrap_or("default")
    }

    pub fn principal(&self) -> &str {
        self.prunella.principal.as_str()
    }

    /// `api.operation`, or the empty string.
    pub fn operation(&self) -> &str {
        self.api.as_ref().map_or("", |api| api.operation.as_str())
    }

    /// `api.service.name`, such as `s3.amazonaws.com`, or the empty string.
    pub fn service_name(&self) -> &str {
        self.api.as_ref().and_then(|api| api.service.as_ref()).and_then(|s| s.name.as_deref()).unwrap_or("")
    }

    /// `cloud.account.uid`.
    pub fn account(&self) -> Option<&str> {
        self.cloud.as_ref()?.account.as_ref()?.uid.as_deref()
    }

    /// `src_endpoint.ip`: an address, never a service name.
    pub fn source_ip(&self) -> Option<&str> {
        self.src_endpoint.as_ref()?.ip.as_deref()
    }

    /// The access key id that signed the call.
    pub fn credential(&self) -> Option<&str> {
        self.actor.as_ref()?.user.as_ref()?.credential_uid.as_deref()
    }

    /// When the actor's session began, if it has one.
    pub fn session_created(&self) -> Option<Timestamp> {
        self.actor.as_ref()?.session.as_ref()?.created_time
    }

    pub fn user_agent(&self) -> Option<&str> {
        self.http_request.as_ref()?.user_agent.as_deref()
    }

    /// Bytes that left the provider towards the caller.
    pub fn bytes_out(&self) -> Option<u64> {
        self.traffic.as_ref()?.bytes_out
    }

    pub fn succeeded(&self) -> bool {
        self.status_id == STATUS_SUCCESS
    }

    pub fn failed(&self) -> bool {
        self.status_id == STATUS_FAILURE
    }
}

impl Message for Event {
    const TOPIC: Topic = Topic::Events;
    const VERSION: u8 = 1;

    fn id(&self) -> Id {
        self.prunella.event_uid
    }

    fn key(&self) -> &str {
        self.principal()
    }
}
