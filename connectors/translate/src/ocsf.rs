//! OCSF events as a source (`ocsf`): validated, captions made anew, and Prunella's own facts never taken from the record.

use crate::bounded::{RESOURCES_MAX, flag_time};
use crate::{Malformed, Translate};
use prunella_schemas::event::EXTENSION;
use prunella_schemas::limits::FIELD_BYTES_MAX;
use prunella_schemas::ocsf::{
    Actor, CLOUD_INVENTORY, Class, EVENT_CLASSES, Metadata, OCSF_VERSION, STATUS_UNKNOWN, User,
};
use prunella_schemas::principal::{self, AwsIdentity, network};
use prunella_schemas::{Event, Flag, Principal, Record, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::net::IpAddr;

const NAME: &str = "ocsf";

/// Reads events that are OCSF already.
#[derive(Clone, Copy, Debug)]
pub struct Ocsf;

impl Translate for Ocsf {
    fn name(&self) -> &'static str {
        NAME
    }

    fn translate(&self, record: &Record, body: &str, out: &mut Vec<Event>) -> Result<(), Malformed> {
        // A map takes the last of repeated keys, where a derived struct would refuse the event.
        let attributes: Map<String, Value> =
            serde_json::from_str(body).map_err(|e| Malformed::json(body, &e))?;
        let mut attributes = Attributes { map: attributes, cut: false };
        let mut event = attributes.required_part()?;
        attributes.optional_part(&mut event)?;
        if attributes.cut {
            event.flag(Flag::TruncatedField);
        }
        if event.metadata.uid.is_none() {
            event.flag(Flag::MissingId);
        }
        flag_time(&mut event, record.received);
        set_principal(&mut event);
        event.set_tenant(&record.tenant);
        event.prunella.source = NAME.into();
        event.prunella.received = record.received;
        event.raw_data = Some(body.into());
        event.identify();
        out.push(event);
        Ok(())
    }
}

/// The attributes of the record, taken out one by one.
struct Attributes {
    map: Map<String, Value>,
    cut: bool,
}

impl Attributes {
    /// What OCSF requires of every event, checked against itself.
    fn required_part(&mut self) -> Result<Event, Malformed> {
        let class_uid: u32 = self.required("class_uid")?;
        let class = Class::event_class(class_uid).ok_or_else(|| {
            let known: Vec<String> = EVENT_CLASSES.iter().map(|c| format!("{} {}", c.uid, c.name)).collect();
            Malformed::new(format!(
                "`class_uid` {class_uid} is not a class that is read here; use one of {}",
                known.join(", ")
            ))
        })?;
        let activity_id: u8 = self.required("activity_id")?;
        if !matches!(activity_id, 0 | 99) && !class.activities.iter().any(|(id, _)| *id == activity_id) {
            let detail = format!(
                "`activity_id` {activity_id} does not exist in class {} {}; use 99 for Other",
                class.uid, class.name
            );
            return Err(Malformed::new(detail));
        }
        let type_uid: u64 = self.required("type_uid")?;
        if type_uid != class.type_uid(activity_id) {
            let want = class.type_uid(activity_id);
            return Err(Malformed::new(format!(
                "`type_uid` is {type_uid}; for this class and activity it must be {want}"
            )));
        }
        let severity_id: u8 = self.required("severity_id")?;
        if !matches!(severity_id, 0..=6 | 99) {
            return Err(Malformed::new(format!("`severity_id` is {severity_id}; it must be 0 to 6 or 99")));
        }
        let time: Timestamp = self.required("time")?;
        let metadata: Metadata = self.required("metadata")?;
        if metadata.version.split('.').next() != Some("1") {
            let version: String = metadata.version.chars().take(32).collect();
            return Err(Malformed::new(format!("`metadata.version` is `{version}`; OCSF 1.x is read here")));
        }
        let status_id: u8 = self.optional("status_id")?.unwrap_or(STATUS_UNKNOWN);
        let mut event = Event::new(class, activity_id, status_id, severity_id);
        event.time = time;
        event.metadata = Metadata { version: OCSF_VERSION.into(), ..metadata };
        event.metadata.extensions.retain(|extension| extension.name != EXTENSION.name);
        event.metadata.extensions.push(EXTENSION);
        Ok(event)
    }

    fn optional_part(&mut self, event: &mut Event) -> Result<(), Malformed> {
        macro_rules! take {
            ($($name:ident)*) => { $(event.$name = self.optional(stringify!($name))?;)* };
        }
        take!(status_code status_detail cloud actor user group entity policy session service is_mfa api src_endpoint
              dst_endpoint http_request tls traffic databucket table file);
        for (name, endpoint) in [("src_endpoint", &event.src_endpoint), ("dst_endpoint", &event.dst_endpoint)]
        {
            let ip = endpoint.as_ref().and_then(|endpoint| endpoint.ip.as_deref());
            if ip.is_some_and(|ip| ip.parse::<IpAddr>().is_err()) {
                return Err(Malformed::new(format!(
                    "`{name}.ip` is not an IP address; a name belongs in `{name}.domain`"
                )));
            }
        }
        event.resources = self.optional("resources")?.unwrap_or_default();
        if event.resources.len() > RESOURCES_MAX {
            event.resources.truncate(RESOURCES_MAX);
            self.cut = true;
        }
        Ok(())
    }

    fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Malformed> {
        self.optional(name)?
            .ok_or_else(|| Malformed::new(format!("the required attribute `{name}` is missing; add it")))
    }

    fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Malformed> {
        let Some(mut value) = self.map.remove(name) else { return Ok(None) };
        self.tidy(&mut value);
        if value.is_null() {
            return Ok(None);
        }
        serde_json::from_value(value).map(Some).map_err(|e| {
            Malformed::new(format!("the attribute `{name}` is not as OCSF 1.8 defines it: {e}; correct it"))
        })
    }

    /// Takes nulls for absence, and cuts strings that are too long. The parser has bounded the depth.
    fn tidy(&mut self, value: &mut Value) {
        match value {
            Value::String(text) if text.len() > FIELD_BYTES_MAX => {
                text.truncate(text.floor_char_boundary(FIELD_BYTES_MAX));
                self.cut = true;
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.tidy(item)),
            Value::Object(object) => {
                object.retain(|_, value| !value.is_null());
                object.values_mut().for_each(|value| self.tidy(value));
            }
            _ => {}
        }
    }
}

/// The actor's user, else the user that the event is about, which is how sign-in events name who signs in.
fn set_principal(event: &mut Event) {
    let actor = event.actor.as_ref();
    if event.class_uid == CLOUD_INVENTORY.uid {
        event.prunella.principal = Principal::from_key(principal::INVENTORY);
        return;
    }
    let Some(user) = actor.and_then(|actor| actor.user.as_ref()).or(event.user.as_ref()) else {
        event.prunella.principal = unknown(event);
        event.flag(Flag::MissingActor);
        return;
    };
    let is_aws = event.cloud.as_ref().is_some_and(|cloud| cloud.provider.eq_ignore_ascii_case("aws"));
    event.prunella.principal = if is_aws {
        principal::aws(&aws_identity(event, actor, user))
    } else {
        match user.uid.as_deref().or(user.name.as_deref()).or(user.email_addr.as_deref()) {
            Some(uid) => {
                Principal::from_key(format!("ocsf:user:{}:{uid}", account_of(event, user).unwrap_or("-")))
            }
            None => unknown(event),
        }
    };
}

fn aws_identity<'e>(event: &'e Event, actor: Option<&'e Actor>, user: &'e User) -> AwsIdentity<'e> {
    AwsIdentity {
        kind: user.kind.as_deref().unwrap_or_default(),
        arn: user.uid.as_deref().filter(|uid| uid.starts_with("arn:")),
        account: account_of(event, user),
        principal_id: user.uid_alt.as_deref(),
        user_name: user.name.as_deref(),
        issuer_arn: actor.and_then(|actor| actor.session.as_ref()?.issuer.as_deref()),
        invoked_by: actor.and_then(|actor| actor.invoked_by.as_deref()),
        identity_provider: actor.and_then(|actor| actor.idp.as_ref()?.name.as_deref()),
        on_behalf_of: None,
        source_address: event.source_ip(),
    }
}

fn account_of<'e>(event: &'e Event, user: &'e User) -> Option<&'e str> {
    user.account.as_ref().and_then(|account| account.uid.as_deref()).or_else(|| event.account())
}

fn unknown(event: &Event) -> Principal {
    let account = event.account().unwrap_or("-");
    Principal::from_key(format!("ocsf:unknown:{account}:{}", network(event.source_ip().unwrap_or("-"))))
}
