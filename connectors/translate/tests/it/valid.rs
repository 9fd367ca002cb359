//! What every event must satisfy: ids and captions agree, and what its OCSF class requires is present.

use prunella_schemas::ocsf::{Class, severity_name, status_name};
use prunella_schemas::{Event, Id};

/// Attributes that OCSF 1.8 requires, beyond those of every event.
fn required(class_uid: u32) -> &'static [&'static str] {
    match class_uid {
        3001 | 3002 => &["user"],
        3006 => &["group"],
        6003 => &["actor", "api", "src_endpoint"],
        6005 => &["actor", "src_endpoint"],
        _ => &[],
    }
}

/// Attributes of which OCSF 1.8 requires at least one.
fn any_of(class_uid: u32) -> &'static [&'static str] {
    match class_uid {
        3002 => &["service", "dst_endpoint"],
        6005 => &["databucket", "table"],
        _ => &[],
    }
}

pub fn check(event: &Event) {
    let class = Class::event_class(event.class_uid).unwrap_or_else(|| panic!("class {}", event.class_uid));
    assert_eq!(event.class_name, class.name);
    assert_eq!((event.category_uid, event.category_name.as_ref()), (class.category_uid, class.category_name));
    assert_eq!(event.activity_name, class.activity_name(event.activity_id));
    assert!(
        matches!(event.activity_id, 0 | 99) || event.activity_name != "Other",
        "activity {}",
        event.activity_id
    );
    assert_eq!(event.type_uid, class.type_uid(event.activity_id));
    assert_eq!(event.severity, severity_name(event.severity_id));
    assert_eq!(event.status, status_name(event.status_id));
    assert_eq!(event.metadata.version, "1.8.0");
    assert_eq!(event.tenant(), "acme", "the tenant is the configuration's");
    assert_ne!(event.prunella.event_uid, Id::default());
    assert!(event.principal().contains(':'), "principal `{}`", event.principal());
    if let Some(ip) = event.source_ip() {
        assert!(ip.parse::<std::net::IpAddr>().is_ok(), "`{ip}` is not an address");
    }
    let json = serde_json::to_value(event).unwrap();
    if event.prunella.source == "aws.cloudtrail" {
        for name in required(event.class_uid) {
            assert!(
                json.get(name).is_some(),
                "{} {}: `{name}` is missing",
                event.class_uid,
                event.operation()
            );
        }
        let any = any_of(event.class_uid);
        assert!(
            any.is_empty() || any.iter().any(|name| json.get(name).is_some()),
            "{} needs one of {any:?}",
            event.class_uid
        );
        for name in ["cloud", "metadata", "api", "actor", "src_endpoint", "raw_data"] {
            assert!(json.get(name).is_some(), "`{name}` is missing");
        }
    }
    assert_eq!(serde_json::from_value::<Event>(json).unwrap(), *event, "an event survives its wire form");
}
