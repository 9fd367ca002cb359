//! OCSF 1.8.0 objects and class catalog, as far as Prunella fills them. Names and ids are the standard's own.

use crate::{RawJson, Tag, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The OCSF version that everything written by Prunella states in `metadata.version`.
pub const OCSF_VERSION: &str = "1.8.0";

pub use crate::Caption;

/// An OCSF event class: its ids and captions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    pub uid: u32,
    pub name: &'static str,
    pub category_uid: u32,
    pub category_name: &'static str,
    /// `(activity_id, caption)`; 0 is Unknown and 99 is Other in every class.
    pub activities: &'static [(u8, &'static str)],
}

const CRUD: &[(u8, &str)] = &[(1, "Create"), (2, "Read"), (3, "Update"), (4, "Delete")];

pub const ACCOUNT_CHANGE: Class = Class {
    uid: 3001,
    name: "Account Change",
    category_uid: 3,
    category_name: "Identity & Access Management",
    activities: &[
        (1, "Create"),
        (2, "Enable"),
        (3, "Password Change"),
        (4, "Password Reset"),
        (5, "Disable"),
        (6, "Delete"),
        (7, "Attach Policy"),
        (8, "Detach Policy"),
        (9, "Lock"),
        (10, "MFA Factor Enable"),
        (11, "MFA Factor Disable"),
        (12, "Unlock"),
    ],
};
pub const AUTHENTICATION: Class = Class {
    uid: 3002,
    name: "Authentication",
    category_uid: 3,
    category_name: "Identity & Access Management",
    activities: &[
        (1, "Logon"),
        (2, "Logoff"),
        (3, "Authentication Ticket"),
        (4, "Service Ticket Request"),
        (5, "Service Ticket Renew"),
        (6, "Preauth"),
        (7, "Account Switch"),
    ],
};
pub const ENTITY_MANAGEMENT: Class = Class {
    uid: 3004,
    name: "Entity Management",
    category_uid: 3,
    category_name: "Identity & Access Management",
    activities: &[
        (1, "Create"),
        (2, "Read"),
        (3, "Update"),
        (4, "Delete"),
        (5, "Move"),
        (6, "Enroll"),
        (7, "Unenroll"),
        (8, "Enable"),
        (9, "Disable"),
        (10, "Activate"),
        (11, "Deactivate"),
        (12, "Suspend"),
        (13, "Resume"),
    ],
};
pub const GROUP_MANAGEMENT: Class = Class {
    uid: 3006,
    name: "Group Management",
    category_uid: 3,
    category_name: "Identity & Access Management",
    activities: &[
        (1, "Assign Privileges"),
        (2, "Revoke Privileges"),
        (3, "Add User"),
        (4, "Remove User"),
        (5, "Delete"),
        (6, "Create"),
        (7, "Add Subgroup"),
        (8, "Remove Subgroup"),
    ],
};
pub const NETWORK_ACTIVITY: Class = Class {
    uid: 4001,
    name: "Network Activity",
    category_uid: 4,
    category_name: "Network Activity",
    activities: &[
        (1, "Open"),
        (2, "Close"),
        (3, "Reset"),
        (4, "Fail"),
        (5, "Refuse"),
        (6, "Traffic"),
        (7, "Listen"),
    ],
};
pub const CLOUD_INVENTORY: Class = Class {
    uid: 5023,
    name: "Cloud Resources Inventory Info",
    category_uid: 5,
    category_name: "Discovery",
    activities: &[(1, "Log"), (2, "Collect")],
};
pub const API_ACTIVITY: Class = Class {
    uid: 6003,
    name: "API Activity",
    category_uid: 6,
    category_name: "Application Activity",
    activities: CRUD,
};
pub const DATASTORE_ACTIVITY: Class = Class {
    uid: 6005,
    name: "Datastore Activity",
    category_uid: 6,
    category_name: "Application Activity",
    activities: &[
        (1, "Read"),
        (2, "Update"),
        (3, "Connect"),
        (4, "Query"),
        (5, "Write"),
        (6, "Create"),
        (7, "Delete"),
        (8, "List"),
        (9, "Encrypt"),
        (10, "Decrypt"),
    ],
};
pub const FILE_HOSTING: Class = Class {
    uid: 6006,
    name: "File Hosting Activity",
    category_uid: 6,
    category_name: "Application Activity",
    activities: &[
        (1, "Upload"),
        (2, "Download"),
        (3, "Update"),
        (4, "Delete"),
        (5, "Rename"),
        (6, "Copy"),
        (7, "Move"),
        (8, "Restore"),
        (9, "Preview"),
        (10, "Lock"),
        (11, "Unlock"),
        (12, "Share"),
        (13, "Unshare"),
        (14, "Open"),
        (15, "Sync"),
        (16, "Unsync"),
        (17, "Access Check"),
    ],
};
pub const DETECTION_FINDING: Class = Class {
    uid: 2004,
    name: "Detection Finding",
    category_uid: 2,
    category_name: "Findings",
    activities: &[(1, "Create"), (2, "Update"), (3, "Close")],
};
pub const REMEDIATION_ACTIVITY: Class = Class {
    uid: 7001,
    name: "Remediation Activity",
    category_uid: 7,
    category_name: "Remediation",
    activities: &[(1, "Isolate"), (2, "Evict"), (3, "Restore"), (4, "Harden"), (5, "Detect"), (6, "Deceive")],
};

/// The classes an event may have.
pub const EVENT_CLASSES: [Class; 9] = [
    ACCOUNT_CHANGE,
    AUTHENTICATION,
    ENTITY_MANAGEMENT,
    GROUP_MANAGEMENT,
    NETWORK_ACTIVITY,
    CLOUD_INVENTORY,
    API_ACTIVITY,
    DATASTORE_ACTIVITY,
    FILE_HOSTING,
];

impl Class {
    pub fn event_class(uid: u32) -> Option<Class> {
        EVENT_CLASSES.into_iter().find(|c| c.uid == uid)
    }

    pub fn activity_name(&self, activity_id: u8) -> &'static str {
        match activity_id {
            0 => "Unknown",
            99 => "Other",
            id => self.activities.iter().find(|(known, _)| *known == id).map_or("Other", |(_, name)| name),
        }
    }

    pub fn type_uid(&self, activity_id: u8) -> u64 {
        u64::from(self.uid) * 100 + u64::from(activity_id)
    }
}

/// `severity_id` and its caption.
pub fn severity_name(severity_id: u8) -> &'static str {
    match severity_id {
        1 => "Informational",
        2 => "Low",
        3 => "Medium",
        4 => "High",
        5 => "Critical",
        6 => "Fatal",
        0 => "Unknown",
        _ => "Other",
    }
}

/// Outcome of an event: `status_id`.
pub const STATUS_UNKNOWN: u8 = 0;
pub const STATUS_SUCCESS: u8 = 1;
pub const STATUS_FAILURE: u8 = 2;

pub fn status_name(status_id: u8) -> &'static str {
    match status_id {
        STATUS_SUCCESS => "Success",
        STATUS_FAILURE => "Failure",
        0 => "Unknown",
        _ => "Other",
    }
}

macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident : $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(skip_serializing_if = "Skip::skip")] pub $field: $type,)*
        }
    )*};
}

/// Whether a field says nothing and is left out of the JSON.
trait Skip {
    fn skip(&self) -> bool;
}
impl<T> Skip for Option<T> {
    fn skip(&self) -> bool {
        self.is_none()
    }
}
impl<T> Skip for Vec<T> {
    fn skip(&self) -> bool {
        self.is_empty()
    }
}
impl Skip for String {
    fn skip(&self) -> bool {
        false
    }
}
impl Skip for Caption {
    fn skip(&self) -> bool {
        false
    }
}

objects! {
    /// OCSF object `metadata`.
    Metadata {
        /// The provider's own id of the event. Absent when the provider gave none.
        uid: Option<String>,
        /// The OCSF version, 1.8.0.
        version: Caption,
        tenant_uid: Option<String>,
        product: Product,
        profiles: Vec<Caption>,
        extensions: Vec<Extension>,
        /// The provider's event type, such as `AwsApiCall`.
        event_code: Option<String>,
        /// The source's name, such as `aws.cloudtrail`.
        log_name: Option<Caption>,
        /// The provider's record version.
        log_version: Option<String>,
        correlation_uid: Option<String>,
        /// The event time as the provider wrote it, when it could not be read.
        original_time: Option<String>,
        logged_time: Option<Timestamp>,
    }
    Extension { name: Caption, uid: Caption, version: Caption }
    Product { name: Caption, vendor_name: Caption, feature: Option<Feature> }
    Feature { name: Option<String> }
    /// OCSF object `actor`: who did it.
    Actor {
        user: Option<User>,
        session: Option<Session>,
        idp: Option<Idp>,
        /// The service that made the call on somebody's behalf.
        invoked_by: Option<String>,
        /// The application through which the user acted, or that acted itself.
        app_uid: Option<String>,
        app_name: Option<String>,
    }
    Idp { name: Option<String>, uid: Option<String> }
    User {
        name: Option<String>,
        /// The provider's unique id of the user: for AWS the ARN.
        uid: Option<String>,
        /// A second id: for AWS the `principalId`.
        uid_alt: Option<String>,
        /// `IAMUser`, `AssumedRole`, `Root`, ...
        #[serde(rename = "type")]
        kind: Option<String>,
        type_id: Option<u8>,
        account: Option<Account>,
        /// The access key id that signed the call.
        credential_uid: Option<String>,
        email_addr: Option<String>,
    }
    Account { uid: Option<String>, name: Option<String>, #[serde(rename = "type")] kind: Option<Caption>, type_id: Option<u8> }
    Session {
        uid: Option<String>,
        created_time: Option<Timestamp>,
        /// The role or provider that issued the session.
        issuer: Option<String>,
        is_mfa: Option<bool>,
        credential_uid: Option<String>,
    }
    Cloud { provider: Caption, region: Option<String>, account: Option<Account>, project_uid: Option<String>, org: Option<Organization> }
    Organization { uid: Option<String>, name: Option<String> }
    Api {
        operation: String,
        service: Option<Service>,
        version: Option<String>,
        request: Option<ApiRequest>,
        response: Option<ApiResponse>,
    }
    Service { name: Option<String>, uid: Option<String> }
    ApiRequest { uid: Option<String>, data: Option<RawJson> }
    ApiResponse { code: Option<i64>, error: Option<String>, error_message: Option<String> }
    Endpoint {
        ip: Option<String>,
        /// Where the address is a name, such as `config.amazonaws.com`.
        domain: Option<String>,
        hostname: Option<String>,
        port: Option<u16>,
        uid: Option<String>,
        svc_name: Option<String>,
        /// The VPC endpoint.
        interface_uid: Option<String>,
        vpc_uid: Option<String>,
        location: Option<Location>,
        autonomous_system: Option<AutonomousSystem>,
    }
    Location { country: Option<String>, region: Option<String>, city: Option<String>, coordinates: Option<Vec<f64>> }
    AutonomousSystem { number: Option<u32>, name: Option<String> }
    HttpRequest { user_agent: Option<String>, uid: Option<String>, http_method: Option<String>, url: Option<Url> }
    Url { hostname: Option<String>, path: Option<String>, url_string: Option<String> }
    /// OCSF object `resource_details`.
    Resource {
        uid: Option<String>,
        name: Option<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
        owner: Option<User>,
        region: Option<String>,
        cloud_partition: Option<String>,
        /// How much depends on it, in the operator's words.
        criticality: Option<String>,
        tags: Vec<Tag>,
    }
    Tls { version: Option<String>, cipher: Option<String>, sni: Option<String> }
    /// Bytes out are what left the provider towards the caller.
    Traffic { bytes: Option<u64>, bytes_in: Option<u64>, bytes_out: Option<u64>, packets: Option<u64> }
    Group { uid: Option<String>, name: Option<String> }
    Entity { uid: Option<String>, name: Option<String>, #[serde(rename = "type")] kind: Option<String> }
    Databucket { uid: Option<String>, name: Option<String>, #[serde(rename = "type")] kind: Option<Caption>, type_id: Option<u8> }
    /// A table of a datastore, where the data lies in no bucket.
    Table { uid: Option<String>, name: Option<String> }
    File {
        name: String,
        path: Option<String>,
        uid: Option<String>,
        size: Option<u64>,
        type_id: Option<u8>,
        hashes: Vec<Fingerprint>,
    }
    Fingerprint { algorithm_id: Option<u8>, algorithm: Option<String>, value: String }
    Policy { uid: Option<String>, name: Option<String> }
}
impl Skip for Product {
    fn skip(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_uid_is_class_times_a_hundred_plus_activity() {
        assert_eq!(API_ACTIVITY.type_uid(1), 600_301);
        assert_eq!(AUTHENTICATION.activity_name(1), "Logon");
        assert_eq!(AUTHENTICATION.activity_name(99), "Other");
        assert_eq!(AUTHENTICATION.activity_name(77), "Other");
    }
}
