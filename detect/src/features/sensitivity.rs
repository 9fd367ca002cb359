//! Sensitivity: how much harm a call can do, 0 to 1, from the lists of the detectors and one for other clouds.

use crate::detectors::{audit_log, destruction, exposure, privilege, sensitive_api};
use crate::network::fingerprint;
use crate::sighting::Sighting;
use std::sync::LazyLock;

/// Longest operation that is compared without regard to case, in bytes.
const OPERATION_BYTES_MAX: usize = 128;

/// Calls that no detector of its own names: operation, service (`*`: any), percent. Operations of Azure in lower case,
/// since Azure writes them in both.
#[rustfmt::skip]
const OTHERS: &[(&str, &str, u8)] = &[
    ("AssumeRole", "sts", 20),
    ("ConsoleLogin", "signin", 30),
    ("CreateCluster", "eks", 40),
    ("CreateSnapshot", "ec2", 40),
    ("DeleteAlarms", "monitoring", 50),
    ("DeleteRule", "events", 50),
    ("DisableAlarmActions", "monitoring", 50),
    ("DisableRule", "events", 50),
    ("GetCallerIdentity", "sts", 10),
    ("PassRole", "iam", 60),
    ("PutBucketVersioning", "s3", 50),
    ("PutImage", "ecr", 40),
    ("PutParameter", "ssm", 30),
    ("RestoreDBInstanceFromDBSnapshot", "rds", 50),
    ("UpdateClusterConfig", "eks", 50),
    ("beta.compute.firewalls.insert", "*", 70),
    ("beta.compute.instances.setMetadata", "*", 70),
    ("cloudsql.instances.delete", "*", 60),
    ("cloudsql.instances.export", "*", 80),
    ("compute.disks.setIamPolicy", "*", 80),
    ("compute.firewalls.delete", "*", 60),
    ("google.cloud.functions.v1.CloudFunctionsService.SetIamPolicy", "*", 80),
    ("google.cloud.functions.v1.CloudFunctionsService.UpdateFunction", "*", 70),
    ("google.cloud.kms.v1.KeyManagementService.DestroyCryptoKeyVersion", "*", 90),
    ("google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion", "*", 60),
    ("google.iam.admin.v1.CreateRole", "*", 70),
    ("google.iam.admin.v1.CreateServiceAccount", "*", 80),
    ("google.iam.admin.v1.CreateServiceAccountKey", "*", 100),
    ("google.iam.admin.v1.SetIAMPolicy", "*", 100),
    ("google.iam.admin.v1.UpdateRole", "*", 80),
    ("google.iam.admin.v1.UploadServiceAccountKey", "*", 100),
    ("google.iam.credentials.v1.GenerateAccessToken", "*", 60),
    ("google.logging.v2.ConfigServiceV2.CreateExclusion", "*", 100),
    ("google.logging.v2.ConfigServiceV2.DeleteBucket", "*", 100),
    ("google.logging.v2.ConfigServiceV2.DeleteSink", "*", 100),
    ("google.logging.v2.ConfigServiceV2.UpdateSink", "*", 80),
    ("google.logging.v2.LoggingServiceV2.DeleteLog", "*", 100),
    ("microsoft.authorization/elevateaccess/action", "*", 100),
    ("microsoft.authorization/locks/delete", "*", 80),
    ("microsoft.authorization/policyassignments/delete", "*", 70),
    ("microsoft.authorization/roleassignments/write", "*", 90),
    ("microsoft.authorization/roledefinitions/write", "*", 80),
    ("microsoft.automation/automationaccounts/runbooks/write", "*", 70),
    ("microsoft.compute/disks/begingetaccess/action", "*", 80),
    ("microsoft.compute/snapshots/begingetaccess/action", "*", 80),
    ("microsoft.compute/snapshots/delete", "*", 70),
    ("microsoft.compute/virtualmachines/delete", "*", 50),
    ("microsoft.compute/virtualmachines/extensions/write", "*", 70),
    ("microsoft.compute/virtualmachines/runcommand/action", "*", 80),
    ("microsoft.eventhub/namespaces/eventhubs/delete", "*", 80),
    ("microsoft.insights/diagnosticsettings/delete", "*", 100),
    ("microsoft.keyvault/vaults/accesspolicies/write", "*", 90),
    ("microsoft.keyvault/vaults/delete", "*", 80),
    ("microsoft.keyvault/vaults/secrets/getsecret/action", "*", 60),
    ("microsoft.managedidentity/userassignedidentities/federatedidentitycredentials/write", "*", 90),
    ("microsoft.network/networksecuritygroups/securityrules/write", "*", 70),
    ("microsoft.operationalinsights/workspaces/delete", "*", 90),
    ("microsoft.recoveryservices/vaults/backupfabrics/protectioncontainers/protecteditems/delete", "*", 80),
    ("microsoft.recoveryservices/vaults/delete", "*", 80),
    ("microsoft.resources/subscriptions/resourcegroups/delete", "*", 80),
    ("microsoft.security/pricings/write", "*", 60),
    ("microsoft.sql/servers/firewallrules/write", "*", 70),
    ("microsoft.storage/storageaccounts/blobservices/containers/write", "*", 50),
    ("microsoft.storage/storageaccounts/delete", "*", 70),
    ("microsoft.storage/storageaccounts/listkeys/action", "*", 80),
    ("microsoft.storage/storageaccounts/regeneratekey/action", "*", 80),
    ("storage.buckets.delete", "*", 50),
    ("storage.setIamPermissions", "*", 80),
    ("v1.compute.firewalls.insert", "*", 70),
    ("v1.compute.instances.setMetadata", "*", 70),
    ("v1.compute.projects.setCommonInstanceMetadata", "*", 80),
    ("v1.compute.snapshots.delete", "*", 60),
    ("v1.compute.snapshots.setIamPolicy", "*", 80),
    ("SetIamPolicy", "*", 90),
];

/// Every call by the fingerprint of its operation and service.
struct Calls {
    /// Sorted, each with its percent.
    rows: Vec<(u64, u8)>,
    /// One bit per upper bits of a fingerprint, since most calls are in no list.
    some: Box<[u64; 256]>,
}

static CALLS: LazyLock<Calls> = LazyLock::new(|| {
    let mut rows: Vec<(u64, u8)> = all()
        // An event that names no service matches by operation alone.
        .flat_map(|(operation, service, percent)| {
            [(key(operation, service), percent), (key(operation, ""), percent)]
        })
        .collect();
    // Of several, the gravest.
    rows.sort_unstable_by_key(|(key, percent)| (*key, 100 - *percent));
    rows.dedup_by_key(|(key, _)| *key);
    let mut some = Box::new([0; 256]);
    for (key, _) in &rows {
        let (word, bit) = place(*key);
        some[word] |= bit;
    }
    Calls { rows, some }
});

fn place(key: u64) -> (usize, u64) {
    ((key >> 56) as usize, 1 << (key >> 50 & 63))
}

fn all() -> impl Iterator<Item = (&'static str, &'static str, u8)> {
    use {audit_log::When, destruction::Harm, sensitive_api::Weight};
    let sensitive = sensitive_api::CALLS.iter().map(|(operation, service, (_, weight))| {
        let percent = match weight {
            Weight::Critical => 100,
            Weight::Sensitive => 70,
            Weight::Secret => 60,
            Weight::NewKeyOnly => 20,
        };
        (*operation, *service, percent)
    });
    let blinding = audit_log::CALLS.iter().map(|(operation, service, (_, when))| {
        let percent = match when {
            When::Always => 100,
            When::Narrowing | When::TurnedOff => 70,
            When::LogNamed | When::Mild => 40,
        };
        (*operation, *service, percent)
    });
    let destroying = destruction::CALLS.iter().map(|(operation, service, harm)| {
        let percent = match (harm, *operation) {
            // What programs delete all day.
            (Harm::Data, "DeleteObject" | "DeleteObjects") => 30,
            (Harm::Data, _) => 50,
            (Harm::Recovery, _) => 80,
            (Harm::Key, _) => 90,
        };
        (*operation, *service, percent)
    });
    let privileges = privilege::CALLS.iter().map(|(operation, service, _)| (*operation, *service, 80));
    let exposing = exposure::CALLS.iter().map(|(operation, service, _)| (*operation, *service, 80));
    let others = OTHERS.iter().copied();
    sensitive.chain(blinding).chain(destroying).chain(privileges).chain(exposing).chain(others)
}

fn key(operation: &str, service: &str) -> u64 {
    fingerprint(operation.as_bytes()) ^ fingerprint(service.as_bytes()).rotate_left(1)
}

/// How much harm the call can do. A call that no list names is judged by what it does: read, change or delete.
pub fn sensitivity(seen: &Sighting<'_>) -> f32 {
    static ANY: LazyLock<u64> = LazyLock::new(|| fingerprint(b"*").rotate_left(1));
    let operation = seen.operation_key ^ fingerprint(seen.service.as_bytes()).rotate_left(1);
    let listed = find(seen.operation_key)
        .or_else(|| find(operation ^ *ANY))
        .or_else(|| find(lower(seen.operation)? ^ *ANY));
    let percent = listed.unwrap_or(match seen.event.activity_name.as_ref() {
        "Read" | "List" | "Query" | "Preview" | "Download" => 5,
        "Create" | "Write" | "Update" | "Upload" | "Copy" => 20,
        "Delete" => 30,
        _ => 15,
    });
    f32::from(percent) / 100.0
}

fn find(key: u64) -> Option<u8> {
    let (word, bit) = place(key);
    if CALLS.some[word] & bit == 0 {
        return None;
    }
    let at = CALLS.rows.binary_search_by_key(&key, |(known, _)| *known).ok()?;
    CALLS.rows.get(at).map(|(_, percent)| *percent)
}

/// The fingerprint of an Azure operation in lower case.
fn lower(operation: &str) -> Option<u64> {
    if !operation.contains('/') || operation.len() > OPERATION_BYTES_MAX {
        return None;
    }
    let mut text = [0; OPERATION_BYTES_MAX];
    let text = text.get_mut(..operation.len())?;
    text.copy_from_slice(operation.as_bytes());
    text.make_ascii_lowercase();
    Some(fingerprint(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_schemas::Event;
    use prunella_schemas::ocsf::{API_ACTIVITY, Api, Service};

    #[test]
    fn table_is_sorted_and_in_range() {
        assert!(
            CALLS.rows.is_sorted_by(|a, b| a.0 < b.0),
            "sorted, and no two calls share a fingerprint by chance"
        );
        assert!(CALLS.rows.iter().all(|(_, percent)| (1..=100).contains(percent)));
        let mut names: Vec<_> =
            all().flat_map(|(operation, service, _)| [(operation, service), (operation, "")]).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CALLS.rows.len());
        let own: Vec<_> = OTHERS.iter().map(|(operation, service, _)| (operation, service)).collect();
        let distinct: std::collections::BTreeSet<_> = own.iter().collect();
        assert_eq!(distinct.len(), own.len());
    }

    #[test]
    fn calls_are_found_by_service_by_name_and_in_any_case() {
        let check = |service: &str, operation: &str, activity: u8, want: f32| {
            let mut event = Event::new(API_ACTIVITY, activity, 1, 1);
            let service = Service { name: Some(service.to_owned()), uid: None };
            event.api =
                Some(Api { operation: operation.to_owned(), service: Some(service), ..Api::default() });
            assert_eq!(sensitivity(&Sighting::of(&event)), want, "{operation}");
        };
        check("iam.amazonaws.com", "CreateAccessKey", 1, 1.0);
        check("", "CreateAccessKey", 1, 1.0);
        check("other.amazonaws.com", "CreateAccessKey", 1, 0.2);
        check("cloudtrail.amazonaws.com", "StopLogging", 3, 1.0);
        check("kms.amazonaws.com", "Decrypt", 2, 0.2);
        check("s3.amazonaws.com", "DeleteObject", 4, 0.3);
        check("iam.googleapis.com", "google.iam.admin.v1.CreateServiceAccountKey", 1, 1.0);
        check("Microsoft.Authorization", "MICROSOFT.AUTHORIZATION/ROLEASSIGNMENTS/WRITE", 3, 0.9);
        check("Microsoft.Authorization", "Microsoft.Authorization/roleAssignments/write", 3, 0.9);
        check("s3.amazonaws.com", "GetObject", 2, 0.05);
        check("s3.amazonaws.com", "RemoveEverything", 4, 0.3);
        check("x", &"/".repeat(4_000), 99, 0.15);
        check("x", "\u{e9}/\u{1F600}", 0, 0.15);
    }
}
