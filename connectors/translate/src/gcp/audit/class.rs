//! Which OCSF class and activity a method is, and how grave it is by itself: the tables to read and to extend.

use super::wire::LogEntry;
use prunella_schemas::ocsf::{
    ACCOUNT_CHANGE, API_ACTIVITY, AUTHENTICATION, Class, DATASTORE_ACTIVITY, GROUP_MANAGEMENT,
};

/// `(last part of the method, activity_id)`.
type Methods = &'static [(&'static str, u8)];

const OTHER: u8 = 99;

/// Sign-ins to Google accounts: `login.googleapis.com`.
const LOGINS: Methods = &[
    ("loginSuccess", 1),
    ("loginFailure", 1),
    ("logout", 2),
    ("loginChallenge", 6),
    ("loginVerification", 6),
    ("riskySensitiveActionAllowed", OTHER),
    ("riskySensitiveActionBlocked", OTHER),
    ("suspiciousLogin", 1),
    ("suspiciousLoginLessSecureApp", 1),
    ("suspiciousProgrammaticLogin", 1),
];

/// Calls that give out credentials: `iamcredentials.googleapis.com` and `sts.googleapis.com`.
const TOKENS: Methods = &[
    ("GenerateAccessToken", 7),
    ("GenerateIdToken", 7),
    ("ExchangeToken", 7),
    ("SignBlob", OTHER),
    ("SignJwt", OTHER),
];

/// Service accounts: `iam.googleapis.com`.
const SERVICE_ACCOUNTS: Methods = &[
    ("CreateServiceAccount", 1),
    ("EnableServiceAccount", 2),
    ("DisableServiceAccount", 5),
    ("DeleteServiceAccount", 6),
    ("UndeleteServiceAccount", OTHER),
    ("UpdateServiceAccount", OTHER),
    ("PatchServiceAccount", OTHER),
    ("CreateServiceAccountKey", OTHER),
    ("UploadServiceAccountKey", OTHER),
    ("EnableServiceAccountKey", OTHER),
    ("DisableServiceAccountKey", OTHER),
    ("DeleteServiceAccountKey", OTHER),
];

/// Users of Google Workspace and Cloud Identity: `admin.googleapis.com`.
const USERS: Methods = &[
    ("createUser", 1),
    ("undeleteUser", OTHER),
    ("unsuspendUser", 2),
    ("changePassword", 4),
    ("suspendUser", 5),
    ("archiveUser", 5),
    ("deleteUser", 6),
    ("grantAdminPrivilege", 7),
    ("grantDelegatedAdminPrivileges", 7),
    ("assignRole", 7),
    ("revokeAdminPrivilege", 8),
    ("unassignRole", 8),
    ("turnOff2StepVerification", 11),
];

/// Groups of Google Workspace and Cloud Identity: `admin.googleapis.com` and `cloudidentity.googleapis.com`.
const GROUPS: Methods = &[
    ("addGroupMember", 3),
    ("CreateMembership", 3),
    ("removeGroupMember", 4),
    ("DeleteMembership", 4),
    ("deleteGroup", 5),
    ("createGroup", 6),
    ("updateGroupMember", OTHER),
    ("UpdateMembership", OTHER),
    ("changeGroupSetting", OTHER),
    ("updateGroup", OTHER),
];

/// Objects of Cloud Storage. Calls on buckets are API Activity.
const OBJECTS: Methods = &[
    ("objects.get", 1),
    ("objects.getIamPolicy", 1),
    ("objects.update", 2),
    ("objects.patch", 2),
    ("objects.setIamPolicy", 2),
    ("objects.restore", 2),
    ("objects.create", 5),
    ("objects.insert", 5),
    ("objects.compose", 5),
    ("objects.copy", 5),
    ("objects.rewrite", 5),
    ("objects.delete", 7),
    ("objects.list", 8),
];

/// Rows of BigQuery tables.
const ROWS: Methods = &[("tabledata.list", 1), ("TableDataService.List", 1), ("tabledata.insertAll", 5)];

/// The first word of a method, and the activity of API Activity that it means.
const VERBS: Methods = &[
    ("get", 2),
    ("list", 2),
    ("aggregated", 2),
    ("search", 2),
    ("query", 2),
    ("read", 2),
    ("view", 2),
    ("watch", 2),
    ("test", 2),
    ("fetch", 2),
    ("lookup", 2),
    ("describe", 2),
    ("predict", 2),
    ("export", 2),
    ("create", 1),
    ("insert", 1),
    ("add", 1),
    ("generate", 1),
    ("import", 1),
    ("publish", 1),
    ("run", 1),
    ("upload", 1),
    ("bulk", 1),
    ("update", 3),
    ("patch", 3),
    ("set", 3),
    ("change", 3),
    ("enable", 3),
    ("disable", 3),
    ("attach", 3),
    ("detach", 3),
    ("move", 3),
    ("replace", 3),
    ("reset", 3),
    ("resize", 3),
    ("restart", 3),
    ("restore", 3),
    ("resume", 3),
    ("start", 3),
    ("stop", 3),
    ("suspend", 3),
    ("undelete", 3),
    ("delete", 4),
    ("deletecollection", 4),
    ("destroy", 4),
    ("remove", 4),
    ("purge", 4),
    ("cancel", 4),
];

/// `(service, last part of the method, severity_id)`: methods that are grave whoever calls them. All others are informational.
const SEVERITIES: &[(&str, &str, u8)] = &[
    ("accesscontextmanager.googleapis.com", "DeleteServicePerimeter", 3),
    ("admin.googleapis.com", "turnOff2StepVerification", 3),
    ("cloudkms.googleapis.com", "DestroyCryptoKeyVersion", 4),
    ("cloudresourcemanager.googleapis.com", "DeleteProject", 4),
    ("cloudresourcemanager.googleapis.com", "InsertProjectOwnershipInvite", 3),
    ("iam.googleapis.com", "CreateServiceAccountKey", 2),
    ("logging.googleapis.com", "DeleteBucket", 4),
    ("logging.googleapis.com", "DeleteLog", 4),
    ("logging.googleapis.com", "DeleteSink", 4),
    ("logging.googleapis.com", "UpdateSink", 3),
    ("orgpolicy.googleapis.com", "DeletePolicy", 3),
];

/// The class and activity of an entry.
pub fn class_of(entry: &LogEntry<'_>) -> (Class, u8) {
    let method = entry.method().unwrap_or_default();
    let last = last_part(method);
    let listed = match entry.service() {
        "login.googleapis.com" => return (AUTHENTICATION, activity_in(LOGINS, last).unwrap_or(OTHER)),
        "iamcredentials.googleapis.com" | "sts.googleapis.com" => {
            activity_in(TOKENS, last).map(|activity| (AUTHENTICATION, activity))
        }
        "iam.googleapis.com" => {
            activity_in(SERVICE_ACCOUNTS, last).map(|activity| (ACCOUNT_CHANGE, activity))
        }
        "admin.googleapis.com" | "cloudidentity.googleapis.com" => activity_in(USERS, last)
            .map(|activity| (ACCOUNT_CHANGE, activity))
            .or_else(|| activity_in(GROUPS, last).map(|activity| (GROUP_MANAGEMENT, activity))),
        "storage.googleapis.com" => {
            activity_by_end(OBJECTS, method).map(|activity| (DATASTORE_ACTIVITY, activity))
        }
        "bigquery.googleapis.com" => {
            activity_by_end(ROWS, method).map(|activity| (DATASTORE_ACTIVITY, activity))
        }
        _ => None,
    };
    listed.or_else(|| grant(entry, last)).unwrap_or_else(|| (API_ACTIVITY, api_activity(last)))
}

/// `severity_id` of an entry.
pub fn severity_of(entry: &LogEntry<'_>) -> u8 {
    let (service, last) = (entry.service(), last_part(entry.method().unwrap_or_default()));
    SEVERITIES.iter().find(|(s, m, _)| *m == last && *s == service).map_or(1, |(_, _, severity)| *severity)
}

/// A new IAM policy is about whom it gives a role to, or takes it from; the first of them decides.
fn grant(entry: &LogEntry<'_>, last: &str) -> Option<(Class, u8)> {
    if !last.eq_ignore_ascii_case("setIamPolicy") && !last.eq_ignore_ascii_case("setIamPermissions") {
        return None;
    }
    let binding = entry.bindings().first().filter(|binding| binding.member.get().is_some())?;
    Some((ACCOUNT_CHANGE, if binding.action.is("REMOVE") { 8 } else { 7 }))
}

/// `insert` of `v1.compute.instances.insert`.
pub fn last_part(method: &str) -> &str {
    method.rsplit(['.', '/']).next().unwrap_or(method)
}

fn activity_in(methods: Methods, last: &str) -> Option<u8> {
    methods.iter().find(|(known, _)| *known == last).map(|(_, activity)| *activity)
}

fn activity_by_end(methods: Methods, method: &str) -> Option<u8> {
    methods.iter().find(|(known, _)| method.ends_with(known)).map(|(_, activity)| *activity)
}

/// The activity of an API call, by its verb: `CreateSink`, `batchCreate`, `insert`.
fn api_activity(last: &str) -> u8 {
    let last = ["Batch", "batch"].iter().find_map(|batch| last.strip_prefix(batch)).unwrap_or(last);
    let end = last.bytes().skip(1).position(|b| !b.is_ascii_lowercase()).map_or(last.len(), |at| at + 1);
    let word = last.get(..end).unwrap_or(last);
    VERBS.iter().find(|(verb, _)| verb.eq_ignore_ascii_case(word)).map_or(OTHER, |(_, activity)| *activity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_has_one_class_and_activity() {
        let check = |service: &str, method: &str, more: &str, want: (u32, &str)| {
            let json = format!(
                r#"{{"protoPayload":{{"serviceName":"{service}.googleapis.com","methodName":"{method}"{more}}}}}"#
            );
            let entry: LogEntry<'_> = serde_json::from_str(&json).unwrap();
            let (class, activity) = class_of(&entry);
            assert_eq!((class.uid, class.activity_name(activity)), want, "{service} {method}");
        };
        check("compute", "v1.compute.instances.insert", "", (6003, "Create"));
        check("compute", "beta.compute.instances.aggregatedList", "", (6003, "Read"));
        check("logging", "google.logging.v2.ConfigServiceV2.DeleteSink", "", (6003, "Delete"));
        check("k8s", "io.k8s.core.v1.pods.exec.create", "", (6003, "Create"));
        check("login", "google.login.LoginService.loginFailure", "", (3002, "Logon"));
        check("login", "google.login.LoginService.somethingNew", "", (3002, "Other"));
        check("iamcredentials", "GenerateAccessToken", "", (3002, "Account Switch"));
        check("iam", "google.iam.admin.v1.CreateServiceAccount", "", (3001, "Create"));
        check("iam", "google.iam.admin.v1.CreateRole", "", (6003, "Create"));
        check("admin", "google.admin.AdminService.addGroupMember", "", (3006, "Add User"));
        check("storage", "storage.objects.get", "", (6005, "Read"));
        check("storage", "storage.buckets.delete", "", (6003, "Delete"));
        check("bigquery", "google.cloud.bigquery.v2.TableDataService.List", "", (6005, "Read"));
        let delta = |action: &str| {
            format!(
                r#","serviceData":{{"policyDelta":{{"bindingDeltas":[{{"action":"{action}","member":"user:a"}}]}}}}"#
            )
        };
        check("cloudresourcemanager", "SetIamPolicy", "", (6003, "Update"));
        check("cloudresourcemanager", "SetIamPolicy", &delta("ADD"), (3001, "Attach Policy"));
        check("iam", "google.iam.admin.v1.SetIAMPolicy", &delta("REMOVE"), (3001, "Detach Policy"));
        check("x", "", "", (6003, "Other"));
    }

    #[test]
    fn every_listed_activity_exists_in_its_class() {
        for (class, methods) in [
            (AUTHENTICATION, LOGINS),
            (AUTHENTICATION, TOKENS),
            (ACCOUNT_CHANGE, SERVICE_ACCOUNTS),
            (ACCOUNT_CHANGE, USERS),
            (GROUP_MANAGEMENT, GROUPS),
            (DATASTORE_ACTIVITY, OBJECTS),
            (DATASTORE_ACTIVITY, ROWS),
            (API_ACTIVITY, VERBS),
        ] {
            for (name, activity) in methods {
                assert!(*activity == OTHER || class.activity_name(*activity) != "Other", "{name} {activity}");
                assert_eq!(methods.iter().filter(|(n, _)| n == name).count(), 1, "{name} is listed twice");
            }
        }
    }
}
