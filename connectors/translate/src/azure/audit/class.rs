//! Which OCSF class and activity a directory operation is, and how grave it is: the tables to read and to extend.

use super::wire::AuditLog;
use prunella_schemas::ocsf::{ACCOUNT_CHANGE, API_ACTIVITY, Class, ENTITY_MANAGEMENT, GROUP_MANAGEMENT};

const OTHER: u8 = 99;

/// `(operation, activity)` of Account Change: users, service principals, and what they may do.
const ACCOUNTS: &[(&str, u8)] = &[
    ("Add user", 1),
    ("Bulk create users - finished (bulk)", 1),
    ("Invite external user", 1),
    ("Redeem external user invite", 1),
    ("Add service principal", 1),
    ("Enable account", 2),
    ("Change user password", 3),
    ("Change password (self-service)", 3),
    ("Reset user password", 4),
    ("Reset password (by admin)", 4),
    ("Reset password (self-service)", 4),
    ("Disable account", 5),
    ("Delete user", 6),
    ("Hard Delete user", 6),
    ("Remove service principal", 6),
    ("Hard delete service principal", 6),
    ("Add member to role", 7),
    ("Add member to role completed (PIM activation)", 7),
    ("Add member to role in PIM completed (permanent)", 7),
    ("Add member to role in PIM completed (timebound)", 7),
    ("Add eligible member to role", 7),
    ("Add eligible member to role in PIM completed (permanent)", 7),
    ("Add eligible member to role in PIM completed (timebound)", 7),
    ("Add scoped member to role", 7),
    ("Add app role assignment to service principal", 7),
    ("Add app role assignment grant to user", 7),
    ("Add delegated permission grant", 7),
    ("Consent to application", 7),
    ("User has elevated their access to User Access Administrator for their Azure Resources", 7),
    ("Remove member from role", 8),
    ("Remove eligible member from role", 8),
    ("Remove scoped member from role", 8),
    ("Remove app role assignment from service principal", 8),
    ("Remove app role assignment from user", 8),
    ("Remove delegated permission grant", 8),
    ("Add role assignment", 7),
    ("Delete role assignment", 8),
    ("Enable Strong Authentication", 10),
    ("User registered security info", 10),
    ("User registered all required security info", 10),
    ("Admin registered security info", 10),
    ("Disable Strong Authentication", 11),
    ("User deleted security info", 11),
    ("Admin deleted security info", 11),
    ("Update user", OTHER),
    ("Restore user", OTHER),
    ("Update StsRefreshTokenValidFrom Timestamp", OTHER),
    ("Add service principal credentials", OTHER),
    ("Remove service principal credentials", OTHER),
    ("Update application – Certificates and secrets management ", OTHER),
    ("User changed default security info", OTHER),
];

/// `(operation, activity)` of Group Management.
const GROUPS: &[(&str, u8)] = &[
    ("Add app role assignment to group", 1),
    ("Remove app role assignment from group", 2),
    ("Add member to group", 3),
    ("Remove member from group", 4),
    ("Delete group", 5),
    ("Hard Delete group", 5),
    ("Add group", 6),
    ("Update group", OTHER),
    ("Add owner to group", OTHER),
    ("Remove owner from group", OTHER),
    ("Restore Group", OTHER),
];

/// `operationType`, and the activity that Entity Management and API Activity have in common for it.
const TYPES: &[(&str, u8)] = &[
    ("Add", 1),
    ("Create", 1),
    ("Assign", 3),
    ("Unassign", 3),
    ("Update", 3),
    ("Delete", 4),
    ("Remove", 4),
    ("Read", 2),
];

/// Operations that are grave whoever makes them. All others are informational.
const SEVERITIES: &[(&str, u8)] = &[
    ("Add member to role", 2),
    ("Add service principal credentials", 2),
    ("Consent to application", 2),
    ("Delete conditional access policy", 3),
    ("Disable Strong Authentication", 3),
    ("Set federation settings on domain", 4),
    ("Set domain authentication", 4),
    ("Update conditional access policy", 2),
    ("User has elevated their access to User Access Administrator for their Azure Resources", 4),
];

/// The class and activity of a record.
pub fn class_of(log: &AuditLog<'_>) -> (Class, u8) {
    let operation = log.operation().unwrap_or_default();
    if let Some(activity) = activity_in(ACCOUNTS, operation) {
        return (ACCOUNT_CHANGE, activity);
    }
    if let Some(activity) = activity_in(GROUPS, operation) {
        return (GROUP_MANAGEMENT, activity);
    }
    let first_word = operation.split(' ').next().unwrap_or_default();
    let activity = activity_in(TYPES, log.properties.operation_type.get().unwrap_or(first_word))
        .or_else(|| activity_in(TYPES, first_word))
        .unwrap_or(OTHER);
    let is_named = |target: &super::Target<'_>| target.id.get().or(target.display_name.get()).is_some();
    let class =
        if log.properties.targets.items.iter().any(is_named) { ENTITY_MANAGEMENT } else { API_ACTIVITY };
    (class, activity)
}

/// `severity_id` of an operation.
pub fn severity_of(operation: &str) -> u8 {
    activity_in(SEVERITIES, operation).unwrap_or(1)
}

/// Entra ends some names with a space, and writes others in two ways.
fn activity_in(table: &[(&str, u8)], wanted: &str) -> Option<u8> {
    let wanted = wanted.trim_end();
    table.iter().find(|(name, _)| name.trim_end().eq_ignore_ascii_case(wanted)).map(|(_, activity)| *activity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_has_one_class_and_activity() {
        let check = |operation: &str, kind: &str, target: &str, want: (u32, &str)| {
            let json = format!(
                r#"{{"operationName":"{operation}","properties":{{"operationType":"{kind}","targetResources":[{target}]}}}}"#
            );
            let log: AuditLog<'_> = serde_json::from_str(&json).unwrap();
            let (class, activity) = class_of(&log);
            assert_eq!((class.uid, class.activity_name(activity)), want, "{operation}");
        };
        let device = r#"{"id":"d","type":"Device"}"#;
        check("Add user", "Add", "", (3001, "Create"));
        check("Add member to role", "Assign", "", (3001, "Attach Policy"));
        check("Update application – Certificates and secrets management", "Update", "", (3001, "Other"));
        check("Add member to group", "Assign", "", (3006, "Add User"));
        check("Update device", "Update", device, (3004, "Update"));
        check("Delete conditional access policy", "", device, (3004, "Delete"));
        check("Update device", "Update", "{}", (6003, "Update"));
        check("Something new", "", "", (6003, "Other"));
    }

    #[test]
    fn every_listed_activity_exists_in_its_class() {
        for (class, table) in [
            (ACCOUNT_CHANGE, ACCOUNTS),
            (GROUP_MANAGEMENT, GROUPS),
            (ENTITY_MANAGEMENT, TYPES),
            (API_ACTIVITY, TYPES),
        ] {
            for (name, activity) in table {
                assert!(*activity == OTHER || class.activity_name(*activity) != "Other", "{name} {activity}");
                assert_eq!(table.iter().filter(|(n, _)| n == name).count(), 1, "{name} is listed twice");
            }
        }
    }
}
