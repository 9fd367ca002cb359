//! Which OCSF class and activity an Azure operation is, and how grave it is by itself: the tables to read and to extend.

use prunella_schemas::ocsf::{ACCOUNT_CHANGE, API_ACTIVITY, Class, GROUP_MANAGEMENT};

const OTHER: u8 = 99;

/// What a role assignment is done to decides between the classes; the activity is that of both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Assignee {
    User,
    Group,
    /// The record does not say.
    Unknown,
}

/// `(operation, activity of Account Change, activity of Group Management)`: who may do what.
const ASSIGNMENTS: &[(&str, u8, u8)] = &[
    ("Microsoft.Authorization/roleAssignments/write", 7, 1),
    ("Microsoft.Authorization/roleAssignments/delete", 8, 2),
];

/// `(operation, activity)` of Account Change, done to the caller or to the identity that the resource is.
const ACCOUNTS: &[(&str, u8)] = &[
    ("Microsoft.Authorization/elevateAccess/action", 7),
    ("Microsoft.ManagedIdentity/userAssignedIdentities/delete", 6),
];

/// The last part of an operation but one, and the API activity of its `action`.
const ACTIONS: &[(&str, u8)] = &[
    ("beginGetAccess", 2),
    ("capture", 2),
    ("checkNameAvailability", 2),
    ("delete", 4),
    ("deallocate", 3),
    ("endGetAccess", 3),
    ("export", 2),
    ("generateKeys", 1),
    ("import", 1),
    ("join", 3),
    ("powerOff", 3),
    ("purge", 4),
    ("read", 2),
    ("recover", 3),
    ("regenerateAccessKey", 3),
    ("regenerateKey", 3),
    ("regenerateKeys", 3),
    ("restart", 3),
    ("restore", 3),
    ("rotate", 3),
    ("start", 3),
    ("stop", 3),
    ("validate", 2),
    ("write", 3),
];

/// Operations that are grave whoever makes them. All others are informational.
const SEVERITIES: &[(&str, u8)] = &[
    ("Microsoft.Authorization/elevateAccess/action", 4),
    ("Microsoft.Authorization/locks/delete", 3),
    ("Microsoft.Authorization/policyAssignments/delete", 3),
    ("Microsoft.Automation/automationAccounts/runbooks/draft/write", 2),
    ("Microsoft.Compute/disks/beginGetAccess/action", 3),
    ("Microsoft.Compute/snapshots/beginGetAccess/action", 3),
    ("Microsoft.Insights/actionGroups/delete", 3),
    ("Microsoft.Insights/diagnosticSettings/delete", 4),
    ("Microsoft.KeyVault/vaults/delete", 3),
    ("Microsoft.KeyVault/vaults/purge/action", 4),
    ("Microsoft.KeyVault/locations/deletedVaults/purge/action", 4),
    ("Microsoft.Network/networkWatchers/delete", 3),
    ("Microsoft.Network/networkWatchers/flowLogs/delete", 3),
    ("Microsoft.OperationalInsights/workspaces/delete", 3),
    ("Microsoft.RecoveryServices/vaults/delete", 4),
    ("Microsoft.Security/alertsSuppressionRules/write", 3),
    ("Microsoft.Security/pricings/delete", 3),
    ("Microsoft.Storage/storageAccounts/delete", 3),
];

/// The class and activity of an operation. `created` says that a write made something new.
pub fn class_of(operation: &str, assignee: Assignee, created: bool) -> (Class, u8) {
    if let Some((_, of_user, of_group)) = ASSIGNMENTS.iter().find(|(name, ..)| is(name, operation)) {
        match assignee {
            Assignee::User => return (ACCOUNT_CHANGE, *of_user),
            Assignee::Group => return (GROUP_MANAGEMENT, *of_group),
            Assignee::Unknown => {}
        }
    }
    if is("Microsoft.ManagedIdentity/userAssignedIdentities/write", operation) {
        return (ACCOUNT_CHANGE, if created { 1 } else { OTHER });
    }
    match activity_in(ACCOUNTS, operation) {
        Some(activity) => (ACCOUNT_CHANGE, activity),
        None => (API_ACTIVITY, api_activity(operation, created)),
    }
}

/// `severity_id` of an operation.
pub fn severity_of(operation: &str) -> u8 {
    activity_in(SEVERITIES, operation).unwrap_or(1)
}

/// Whether the operation assigns a role or takes it away, so that its body names to whom.
pub fn is_assignment(operation: &str) -> bool {
    ASSIGNMENTS.iter().any(|(name, ..)| is(name, operation))
}

fn api_activity(operation: &str, created: bool) -> u8 {
    let Some((rest, verb)) = operation.rsplit_once('/') else { return OTHER };
    if verb.eq_ignore_ascii_case("write") {
        return if created { 1 } else { 3 };
    }
    let action = match verb {
        _ if verb.eq_ignore_ascii_case("read") => return 2,
        _ if verb.eq_ignore_ascii_case("delete") => return 4,
        _ if verb.eq_ignore_ascii_case("action") => rest.rsplit('/').next().unwrap_or(rest),
        _ => return OTHER,
    };
    let starts = |word: &str| action.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    match activity_in(ACTIONS, action) {
        Some(activity) => activity,
        None if starts("list") || starts("get") => 2,
        None => OTHER,
    }
}

fn activity_in(table: &[(&str, u8)], wanted: &str) -> Option<u8> {
    table.iter().find(|(name, _)| is(name, wanted)).map(|(_, activity)| *activity)
}

/// Exports write operations in capitals, the REST API as documented.
fn is(name: &str, operation: &str) -> bool {
    name.eq_ignore_ascii_case(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_has_one_class_and_activity() {
        let check = |operation: &str, assignee: Assignee, created: bool, want: (u32, &str)| {
            let (class, activity) = class_of(operation, assignee, created);
            assert_eq!((class.uid, class.activity_name(activity)), want, "{operation}");
        };
        let unknown = Assignee::Unknown;
        check("MICROSOFT.COMPUTE/VIRTUALMACHINES/WRITE", unknown, true, (6003, "Create"));
        check("Microsoft.Compute/virtualMachines/write", unknown, false, (6003, "Update"));
        check("MICROSOFT.STORAGE/STORAGEACCOUNTS/LISTKEYS/ACTION", unknown, false, (6003, "Read"));
        check("Microsoft.KeyVault/vaults/keys/recover/action", unknown, false, (6003, "Update"));
        check("Microsoft.Compute/virtualMachines/runCommand/action", unknown, false, (6003, "Other"));
        check("Microsoft.Authorization/locks/delete", unknown, false, (6003, "Delete"));
        check(
            "MICROSOFT.AUTHORIZATION/ROLEASSIGNMENTS/WRITE",
            Assignee::User,
            false,
            (3001, "Attach Policy"),
        );
        check(
            "Microsoft.Authorization/roleAssignments/delete",
            Assignee::User,
            false,
            (3001, "Detach Policy"),
        );
        check(
            "Microsoft.Authorization/roleAssignments/write",
            Assignee::Group,
            false,
            (3006, "Assign Privileges"),
        );
        check("Microsoft.Authorization/roleAssignments/write", unknown, true, (6003, "Create"));
        check("Microsoft.Authorization/elevateAccess/action", unknown, false, (3001, "Attach Policy"));
        check("", unknown, false, (6003, "Other"));
        check("é/action", unknown, false, (6003, "Other"));
    }

    #[test]
    fn every_listed_activity_exists_in_its_class() {
        for (class, table) in [(ACCOUNT_CHANGE, ACCOUNTS), (API_ACTIVITY, ACTIONS)] {
            for (name, activity) in table {
                assert_ne!(class.activity_name(*activity), "Other", "{name} {activity}");
                assert_eq!(table.iter().filter(|(n, _)| is(n, name)).count(), 1, "{name} is listed twice");
            }
        }
        for (name, of_user, of_group) in ASSIGNMENTS {
            assert_ne!(ACCOUNT_CHANGE.activity_name(*of_user), "Other", "{name}");
            assert_ne!(GROUP_MANAGEMENT.activity_name(*of_group), "Other", "{name}");
        }
    }
}
