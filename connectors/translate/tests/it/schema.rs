//! What OCSF 1.8.0 asks of the classes and objects that are written here, as a table, and the check of an event against it.
//!
//! Source: <https://schema.ocsf.io/1.8.0>, with the profile `cloud`.

use prunella_schemas::Event;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// `(class, required beyond what every event requires, of which at least one, recommended)`.
type ClassRow = (u32, &'static [&'static str], &'static [&'static str], &'static [&'static str]);
const CLASSES: &[ClassRow] = &[
    (3001, &["user"], &[], &["actor", "src_endpoint", "status_code", "status_detail"]),
    (
        3002,
        &["user"],
        &["service", "dst_endpoint"],
        &["actor", "dst_endpoint", "is_mfa", "service", "src_endpoint", "status_code", "status_detail"],
    ),
    (3004, &["entity"], &[], &["actor", "src_endpoint", "status_code", "status_detail"]),
    (3006, &["group"], &[], &["actor", "src_endpoint", "status_code", "status_detail", "user"]),
    (
        6003,
        &["actor", "api", "src_endpoint"],
        &[],
        &["http_request", "resources", "status_code", "status_detail"],
    ),
    (
        6005,
        &["actor", "src_endpoint"],
        &["database", "databucket", "table"],
        &["databucket", "http_request", "status_code", "status_detail", "table"],
    ),
];

/// What every event requires, with the profile `cloud`; and what every class recommends and we always give.
const EVERY: &[&str] = &[
    "activity_id",
    "category_uid",
    "class_uid",
    "cloud",
    "metadata",
    "severity_id",
    "time",
    "type_uid",
    "status",
    "status_id",
    "actor",
    "src_endpoint",
];

/// `(object, required, of which at least one, attributes and the objects that some of them are)`.
type ObjectRow = (&'static str, &'static [&'static str], &'static [&'static str], &'static str);
const OBJECTS: &[ObjectRow] = &[
    (
        "actor",
        &[],
        &["process", "user", "invoked_by", "session", "app_name", "app_uid"],
        "user:user session:session idp:idp invoked_by app_uid app_name",
    ),
    (
        "user",
        &[],
        &["account", "name", "uid"],
        "name uid uid_alt type type_id account:account credential_uid email_addr",
    ),
    ("account", &[], &["name", "uid"], "uid name type type_id"),
    ("session", &[], &[], "uid created_time issuer is_mfa credential_uid"),
    ("idp", &[], &["name", "uid"], "name uid"),
    ("cloud", &["provider"], &[], "provider region account:account project_uid org:organization"),
    ("organization", &[], &["name", "uid"], "uid name"),
    ("api", &["operation"], &[], "operation service:service version request:request response:response"),
    ("service", &[], &["name", "uid"], "name uid"),
    ("request", &["uid"], &[], "uid data"),
    ("response", &[], &[], "code error error_message"),
    (
        "network_endpoint",
        &[],
        &["ip", "uid", "hostname", "svc_name", "interface_uid", "domain"],
        "ip domain hostname port uid svc_name interface_uid vpc_uid location:location autonomous_system:autonomous_system",
    ),
    ("location", &[], &["city", "country", "postal_code", "region"], "country region city coordinates"),
    ("autonomous_system", &[], &["number", "name"], "number name"),
    ("http_request", &[], &[], "user_agent uid http_method url:url"),
    ("url", &[], &["url_string", "path"], "hostname path url_string"),
    ("resource_details", &[], &["name", "uid"], "uid name type owner:user region cloud_partition"),
    ("tls", &["version"], &[], "version cipher sni"),
    ("network_traffic", &[], &[], "bytes bytes_in bytes_out packets"),
    ("group", &[], &["name", "uid"], "uid name"),
    ("managed_entity", &[], &["name", "uid"], "uid name type"),
    ("databucket", &["type_id"], &["name", "uid"], "uid name type type_id"),
    ("table", &[], &["name", "uid"], "uid name"),
    ("file", &["name", "type_id"], &[], "name path uid size type_id"),
    ("policy", &[], &["name", "type", "uid"], "uid name"),
    (
        "metadata",
        &["product", "version"],
        &[],
        "uid version tenant_uid product:product profiles extensions:extension event_code log_name log_version \
         correlation_uid original_time logged_time",
    ),
    ("extension", &["version"], &["name", "uid"], "name uid version"),
    ("product", &[], &["name", "uid"], "name vendor_name feature:feature"),
    ("feature", &[], &["name", "uid"], "name"),
];

/// The attributes of an event that are objects. `prunella` is our extension.
const EVENT: &str = "metadata:metadata cloud:cloud actor:actor user:user group:group entity:managed_entity policy:policy \
                     session:session service:service api:api src_endpoint:network_endpoint dst_endpoint:network_endpoint \
                     http_request:http_request tls:tls traffic:network_traffic databucket:databucket table:table file:file \
                     resources:resource_details";

/// `(object, attribute of the id, attribute of the caption, id, caption)`: the ids that are written here.
const ENUMS: &[(&str, &str, &str, u64, &str)] = &[
    ("account", "type_id", "type", 6, "Azure AD Account"),
    ("account", "type_id", "type", 11, "GCP Project"),
    ("account", "type_id", "type", 13, "Azure Subscription"),
    ("databucket", "type_id", "type", 1, "S3"),
    ("databucket", "type_id", "type", 2, "Azure Blob"),
    ("databucket", "type_id", "type", 3, "GCP Bucket"),
    ("databucket", "type_id", "type", 99, "Other"),
];

const HTTP_METHODS: &[&str] =
    &["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// Everything about an event that is not as OCSF 1.8.0 wants it.
pub fn faults(event: &Event) -> Vec<String> {
    let json = serde_json::to_value(event).unwrap();
    let object = json.as_object().unwrap();
    let mut faults = Vec::new();
    let Some((uid, required, any, _)) = CLASSES.iter().find(|(uid, ..)| *uid == event.class_uid) else {
        return vec![format!("class {} is not in the table", event.class_uid)];
    };
    for name in EVERY.iter().chain(*required) {
        if !object.contains_key(*name) {
            faults.push(format!("{uid}: `{name}` is missing"));
        }
    }
    if !any.is_empty() && !any.iter().any(|name| object.contains_key(*name)) {
        faults.push(format!("{uid}: needs one of {any:?}"));
    }
    children(object, EVENT, "", &mut faults);
    faults
}

/// How often each recommended attribute is there, by source, class and attribute: `(with it, of all)`.
pub fn count_recommended(event: &Event, counts: &mut BTreeMap<(String, u32, &'static str), (u32, u32)>) {
    let json = serde_json::to_value(event).unwrap();
    for (uid, _, _, recommended) in CLASSES.iter().filter(|(uid, ..)| *uid == event.class_uid) {
        for name in *recommended {
            let count = counts.entry((event.prunella.source.to_string(), *uid, name)).or_default();
            count.0 += u32::from(json.get(name).is_some());
            count.1 += 1;
        }
    }
}

fn children(object: &Map<String, Value>, attributes: &str, at: &str, faults: &mut Vec<String>) {
    let kinds: BTreeMap<&str, &str> =
        attributes.split_whitespace().filter_map(|pair| pair.split_once(':')).collect();
    for (name, value) in object {
        let Some(kind) = kinds.get(name.as_str()) else { continue };
        match value {
            Value::Array(items) => {
                items.iter().for_each(|item| check(item, kind, &format!("{at}/{name}"), faults));
            }
            item => check(item, kind, &format!("{at}/{name}"), faults),
        }
    }
}

fn check(value: &Value, kind: &str, at: &str, faults: &mut Vec<String>) {
    let (_, required, any, attributes) = OBJECTS.iter().find(|(name, ..)| *name == kind).unwrap();
    let Some(object) = value.as_object() else {
        return faults.push(format!("{at}: is no object"));
    };
    for name in *required {
        if !object.contains_key(*name) {
            faults.push(format!("{at}: `{name}` is missing"));
        }
    }
    if !any.is_empty() && !any.iter().any(|name| object.contains_key(*name)) {
        faults.push(format!("{at}: needs one of {any:?}"));
    }
    for name in object.keys() {
        if !attributes.split_whitespace().any(|known| known.split(':').next() == Some(name)) {
            faults.push(format!("{at}: `{name}` is not known"));
        }
    }
    if let Some(id) = object.get("type_id") {
        let listed = ENUMS.iter().any(|(of, id_name, name, uid, caption)| {
            *of == kind
                && object.get(*id_name).and_then(Value::as_u64) == Some(*uid)
                && object.get(*name).is_none_or(|c| c == caption)
        });
        if !listed {
            faults.push(format!("{at}: type_id {id} does not go with `{:?}`", object.get("type")));
        }
    }
    let method = object.get("http_method").and_then(Value::as_str);
    if method.is_some_and(|method| !HTTP_METHODS.contains(&method)) {
        faults.push(format!("{at}: `{method:?}` is no method"));
    }
    children(object, attributes, at, faults);
}
