//! What every event must satisfy: ids and captions agree, and what its OCSF class requires is present.

use crate::schema;
use prunella_schemas::ocsf::{Class, severity_name, status_name};
use prunella_schemas::{Event, Id};

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
    // An event that was OCSF before keeps what its author gave it.
    if !["ocsf", "vault"].contains(&event.prunella.source.as_ref()) {
        let faults = schema::faults(event);
        assert!(faults.is_empty(), "{} {}: {faults:#?}", event.prunella.source, event.operation());
        for name in ["api", "raw_data"] {
            assert!(json.get(name).is_some(), "`{name}` is missing");
        }
    }
    assert_eq!(serde_json::from_value::<Event>(json).unwrap(), *event, "an event survives its wire form");
}
