//! Which OCSF class and activity an operation is, and how grave it is by itself: the tables to read and to extend.

use super::wire::Trail;
use prunella_schemas::ocsf::{
    ACCOUNT_CHANGE, API_ACTIVITY, AUTHENTICATION, Class, DATASTORE_ACTIVITY, GROUP_MANAGEMENT,
};

/// `(eventName, activity_id)`.
type Operations = &'static [(&'static str, u8)];

const OTHER: u8 = 99;

/// Console and Identity Center sign-in. An operation that is not listed is an Authentication of activity Other.
const SIGN_IN: Operations = &[
    ("ConsoleLogin", 1),
    ("UserAuthentication", 1),
    ("Authenticate", 1),
    ("ExternalIdPDirectoryLogin", 1),
    ("Logout", 2),
    ("CheckMfa", 6),
    ("SwitchRole", 7),
    ("ExitRole", 7),
    ("RenewRole", 7),
    ("Federate", 7),
];

/// STS calls that give out credentials.
const TOKENS: Operations = &[
    ("AssumeRole", 7),
    ("AssumeRoleWithSAML", 7),
    ("AssumeRoleWithWebIdentity", 7),
    ("AssumeRoot", 7),
    ("GetSessionToken", OTHER),
    ("GetFederationToken", OTHER),
];

/// IAM calls that change a user or a role.
const ACCOUNTS: Operations = &[
    ("CreateUser", 1),
    ("CreateRole", 1),
    ("CreateServiceLinkedRole", 1),
    ("CreateLoginProfile", 2),
    ("ChangePassword", 3),
    ("UpdateLoginProfile", 4),
    ("DeleteLoginProfile", 5),
    ("DeleteUser", 6),
    ("DeleteRole", 6),
    ("DeleteServiceLinkedRole", 6),
    ("AttachUserPolicy", 7),
    ("AttachRolePolicy", 7),
    ("PutUserPolicy", 7),
    ("PutRolePolicy", 7),
    ("PutUserPermissionsBoundary", 7),
    ("PutRolePermissionsBoundary", 7),
    ("DetachUserPolicy", 8),
    ("DetachRolePolicy", 8),
    ("DeleteUserPolicy", 8),
    ("DeleteRolePolicy", 8),
    ("DeleteUserPermissionsBoundary", 8),
    ("DeleteRolePermissionsBoundary", 8),
    ("EnableMFADevice", 10),
    ("DeactivateMFADevice", 11),
    ("CreateAccessKey", OTHER),
    ("UpdateAccessKey", OTHER),
    ("DeleteAccessKey", OTHER),
    ("CreateServiceSpecificCredential", OTHER),
    ("ResetServiceSpecificCredential", OTHER),
    ("UploadSSHPublicKey", OTHER),
    ("UploadSigningCertificate", OTHER),
    ("ResyncMFADevice", OTHER),
    ("UpdateUser", OTHER),
    ("UpdateRole", OTHER),
    ("UpdateRoleDescription", OTHER),
    ("UpdateAssumeRolePolicy", OTHER),
];

/// IAM calls that change a group.
const GROUPS: Operations = &[
    ("AttachGroupPolicy", 1),
    ("PutGroupPolicy", 1),
    ("DetachGroupPolicy", 2),
    ("DeleteGroupPolicy", 2),
    ("AddUserToGroup", 3),
    ("RemoveUserFromGroup", 4),
    ("DeleteGroup", 5),
    ("CreateGroup", 6),
    ("UpdateGroup", OTHER),
];

/// S3 calls on objects. Calls on buckets are API Activity.
const S3_OBJECTS: Operations = &[
    ("GetObject", 1),
    ("HeadObject", 1),
    ("GetObjectAcl", 1),
    ("GetObjectAttributes", 1),
    ("GetObjectLegalHold", 1),
    ("GetObjectRetention", 1),
    ("GetObjectTagging", 1),
    ("GetObjectTorrent", 1),
    ("PutObjectAcl", 2),
    ("PutObjectLegalHold", 2),
    ("PutObjectRetention", 2),
    ("PutObjectTagging", 2),
    ("DeleteObjectTagging", 2),
    ("RestoreObject", 2),
    ("SelectObjectContent", 4),
    ("CompleteMultipartUpload", 5),
    ("CopyObject", 5),
    ("CreateMultipartUpload", 5),
    ("PostObject", 5),
    ("PutObject", 5),
    ("UploadPart", 5),
    ("UploadPartCopy", 5),
    ("WriteGetObjectResponse", 5),
    ("AbortMultipartUpload", 7),
    ("DeleteObject", 7),
    ("DeleteObjects", 7),
    ("ListObjects", 8),
    ("ListObjectsV2", 8),
    ("ListObjectVersions", 8),
    ("ListMultipartUploads", 8),
    ("ListParts", 8),
];

/// DynamoDB calls on items. Calls on tables are API Activity.
const DYNAMODB_ITEMS: Operations = &[
    ("BatchGetItem", 1),
    ("GetItem", 1),
    ("GetRecords", 1),
    ("TransactGetItems", 1),
    ("UpdateItem", 2),
    ("BatchExecuteStatement", 4),
    ("ExecuteStatement", 4),
    ("ExecuteTransaction", 4),
    ("Query", 4),
    ("Scan", 4),
    ("BatchWriteItem", 5),
    ("PutItem", 5),
    ("TransactWriteItems", 5),
    ("DeleteItem", 7),
];

/// The first word of an operation, and the activity of API Activity that it means.
const VERBS: Operations = &[
    ("Get", 2),
    ("List", 2),
    ("Describe", 2),
    ("Head", 2),
    ("Lookup", 2),
    ("Search", 2),
    ("Scan", 2),
    ("Query", 2),
    ("Select", 2),
    ("Simulate", 2),
    ("Create", 1),
    ("Put", 1),
    ("Run", 1),
    ("Add", 1),
    ("Allocate", 1),
    ("Copy", 1),
    ("Generate", 1),
    ("Import", 1),
    ("Publish", 1),
    ("Register", 1),
    ("Request", 1),
    ("Upload", 1),
    ("Update", 3),
    ("Modify", 3),
    ("Associate", 3),
    ("Attach", 3),
    ("Authorize", 3),
    ("Change", 3),
    ("Detach", 3),
    ("Disable", 3),
    ("Disassociate", 3),
    ("Enable", 3),
    ("Reboot", 3),
    ("Replace", 3),
    ("Reset", 3),
    ("Restore", 3),
    ("Revoke", 3),
    ("Rotate", 3),
    ("Set", 3),
    ("Start", 3),
    ("Stop", 3),
    ("Tag", 3),
    ("Untag", 3),
    ("Delete", 4),
    ("Deregister", 4),
    ("Purge", 4),
    ("Release", 4),
    ("Remove", 4),
    ("Schedule", 4),
    ("Terminate", 4),
];

/// `(eventSource, eventName, severity_id)`: operations that are grave whoever makes them. All others are informational.
const SEVERITIES: &[(&str, &str, u8)] = &[
    ("cloudtrail.amazonaws.com", "DeleteEventDataStore", 4),
    ("cloudtrail.amazonaws.com", "DeleteTrail", 4),
    ("cloudtrail.amazonaws.com", "PutEventSelectors", 3),
    ("cloudtrail.amazonaws.com", "StopLogging", 4),
    ("cloudtrail.amazonaws.com", "UpdateTrail", 3),
    ("config.amazonaws.com", "DeleteConfigurationRecorder", 3),
    ("config.amazonaws.com", "DeleteDeliveryChannel", 3),
    ("config.amazonaws.com", "StopConfigurationRecorder", 3),
    ("ec2.amazonaws.com", "DeleteFlowLogs", 3),
    ("guardduty.amazonaws.com", "DeleteDetector", 4),
    ("guardduty.amazonaws.com", "DisassociateFromMasterAccount", 3),
    ("iam.amazonaws.com", "DeactivateMFADevice", 3),
    ("iam.amazonaws.com", "UpdateAssumeRolePolicy", 3),
    ("kms.amazonaws.com", "DisableKey", 3),
    ("kms.amazonaws.com", "ScheduleKeyDeletion", 4),
    ("logs.amazonaws.com", "DeleteLogGroup", 3),
    ("organizations.amazonaws.com", "LeaveOrganization", 4),
    ("securityhub.amazonaws.com", "DisableSecurityHub", 3),
];

/// The class and activity of a record.
pub fn class_of(trail: &Trail<'_>) -> (Class, u8) {
    let name = trail.name();
    let listed = match trail.source() {
        "signin.amazonaws.com" | "sso.amazonaws.com" if is_sign_in(trail) => {
            return (AUTHENTICATION, activity_in(SIGN_IN, name).unwrap_or(OTHER));
        }
        "sts.amazonaws.com" => activity_in(TOKENS, name).map(|activity| (AUTHENTICATION, activity)),
        "iam.amazonaws.com" => activity_in(ACCOUNTS, name)
            .map(|activity| (ACCOUNT_CHANGE, activity))
            .or_else(|| activity_in(GROUPS, name).map(|activity| (GROUP_MANAGEMENT, activity))),
        "s3.amazonaws.com" | "s3express.amazonaws.com" => {
            activity_in(S3_OBJECTS, name).map(|activity| (DATASTORE_ACTIVITY, activity))
        }
        "dynamodb.amazonaws.com" => {
            activity_in(DYNAMODB_ITEMS, name).map(|activity| (DATASTORE_ACTIVITY, activity))
        }
        _ => None,
    };
    listed.unwrap_or_else(|| (API_ACTIVITY, api_activity(trail)))
}

/// `severity_id` of a record.
pub fn severity_of(trail: &Trail<'_>) -> u8 {
    let (source, name) = (trail.source(), trail.name());
    SEVERITIES.iter().find(|(s, n, _)| *n == name && *s == source).map_or(1, |(_, _, severity)| *severity)
}

/// Identity Center's portal also makes ordinary calls under its source name.
fn is_sign_in(trail: &Trail<'_>) -> bool {
    trail.source().starts_with("signin.") || activity_in(SIGN_IN, trail.name()).is_some()
}

fn activity_in(operations: Operations, name: &str) -> Option<u8> {
    operations.iter().find(|(known, _)| *known == name).map(|(_, activity)| *activity)
}

/// The activity of an API call: by its verb, else by whether it only reads.
fn api_activity(trail: &Trail<'_>) -> u8 {
    // A batch is what is done in the batch.
    let name = trail.name().strip_prefix("Batch").unwrap_or(trail.name());
    match activity_in(VERBS, first_word(name)) {
        Some(activity) => activity,
        None if trail.read_only.is("true") => 2,
        None => OTHER,
    }
}

/// `Describe` of `DescribeInstances`: up to the second capital letter.
fn first_word(name: &str) -> &str {
    let end = name.bytes().skip(1).position(|b| !b.is_ascii_lowercase()).map_or(name.len(), |at| at + 1);
    name.get(..end).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_has_one_class_and_activity() {
        let check = |source: &str, name: &str, read_only: bool, want: (u32, &str)| {
            let json = format!(
                r#"{{"eventSource":"{source}.amazonaws.com","eventName":"{name}","readOnly":{read_only}}}"#
            );
            let trail: Trail<'_> = serde_json::from_str(&json).unwrap();
            let (class, activity) = class_of(&trail);
            assert_eq!((class.uid, class.activity_name(activity)), want, "{source} {name}");
        };
        check("signin", "ConsoleLogin", false, (3002, "Logon"));
        check("signin", "CredentialChallenge", false, (3002, "Other"));
        check("sso", "Federate", false, (3002, "Account Switch"));
        check("sso", "CreatePermissionSet", false, (6003, "Create"));
        check("sts", "AssumeRole", true, (3002, "Account Switch"));
        check("sts", "GetCallerIdentity", true, (6003, "Read"));
        check("iam", "AttachUserPolicy", false, (3001, "Attach Policy"));
        check("iam", "AddUserToGroup", false, (3006, "Add User"));
        check("iam", "CreatePolicyVersion", false, (6003, "Create"));
        check("s3", "GetObject", true, (6005, "Read"));
        check("s3", "PutBucketPolicy", false, (6003, "Create"));
        check("dynamodb", "Query", true, (6005, "Query"));
        check("dynamodb", "DeleteTable", false, (6003, "Delete"));
        check("ec2", "RunInstances", false, (6003, "Create"));
        check("ec2", "TerminateInstances", false, (6003, "Delete"));
        check("ec2", "ModifySnapshotAttribute", false, (6003, "Update"));
        check("ecr", "BatchDeleteImage", false, (6003, "Delete"));
        check("ecr", "BatchGetImage", true, (6003, "Read"));
        check("kms", "Decrypt", true, (6003, "Read"));
        check("lambda", "Invoke", false, (6003, "Other"));
        check("x", "Getaway", false, (6003, "Other"));
        check("x", "", false, (6003, "Other"));
    }

    #[test]
    fn every_listed_activity_exists_in_its_class() {
        for (class, operations) in [
            (AUTHENTICATION, SIGN_IN),
            (AUTHENTICATION, TOKENS),
            (ACCOUNT_CHANGE, ACCOUNTS),
            (GROUP_MANAGEMENT, GROUPS),
            (DATASTORE_ACTIVITY, S3_OBJECTS),
            (DATASTORE_ACTIVITY, DYNAMODB_ITEMS),
            (API_ACTIVITY, VERBS),
        ] {
            for (name, activity) in operations {
                assert!(*activity == OTHER || class.activity_name(*activity) != "Other", "{name} {activity}");
                assert_eq!(operations.iter().filter(|(n, _)| n == name).count(), 1, "{name} is listed twice");
            }
        }
    }
}
