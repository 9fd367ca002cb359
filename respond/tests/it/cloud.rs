//! The clouds' actions: on what they act, what they leave alone, and what a late approval means.

use prunella_respond::Config;
use prunella_respond::actions::{Action, CATALOG, Case, Steps};
use prunella_schemas::finding::Evidence;
use prunella_schemas::ocsf::{Account, Actor, Cloud, Resource, User};
use prunella_schemas::plan::TargetState;
use prunella_schemas::{Finding, Id, Timestamp};
use serde_json::{Value, json};

const EVE: &str = "aws:user:arn:aws:iam::111122223333:user/eve";
const APP: &str = "aws:role:arn:aws:iam::111122223333:role/app";
const CI: &str = "gcp:service-account:ci@acme-prod.iam.gserviceaccount.com";
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>, for all inline policies of a user.
const POLICY_CHARS_MAX: usize = 2_048;

fn action(name: &str) -> &'static dyn Action {
    *CATALOG.iter().find(|action| action.name() == name).unwrap()
}

fn finding(principal: &str, credential: &str, resources: &[(&str, &str)]) -> Finding {
    let mut finding = Finding::new(4);
    principal.clone_into(&mut finding.prunella.principal);
    let user = User { credential_uid: Some(credential.to_owned()), ..User::default() };
    let actor = Some(Actor { user: Some(user), ..Actor::default() });
    finding.evidences = vec![Evidence { actor, ..Evidence::default() }];
    let account = Account { uid: Some("111122223333".to_owned()), ..Account::default() };
    finding.cloud = Some(Cloud { account: Some(account), ..Cloud::default() });
    let resource = |(kind, uid): &(&str, &str)| {
        let (kind, uid) = (Some((*kind).to_owned()), Some((*uid).to_owned()));
        Resource { kind, uid, ..Resource::default() }
    };
    finding.resources = resources.iter().map(resource).collect();
    finding
}

#[test]
fn each_acts_on_what_the_finding_names_and_on_nothing_else() {
    let objects = [
        ("AWS::S3::Object", "arn:aws:s3:::acme/pay/a.csv"),
        ("AWS::S3::Bucket", "arn:aws:s3:::acme"),
        ("Microsoft.Storage/storageAccounts/blobServices/containers/blobs", "/vault1/payroll/2026/a.csv"),
        ("Microsoft.Storage/storageAccounts/blobServices", "/subscriptions/s/resourceGroups/g"),
        ("gcs_bucket", "projects/_/buckets/payroll/objects/a.csv"),
    ];
    let key = "//iam.googleapis.com/projects/acme-prod/serviceAccounts/ci@acme-prod.iam.gserviceaccount.com/keys/0a1b";
    let cases = [
        ("aws.key.deactivate", EVE, "AKIA1", vec![format!("{EVE}#AKIA1")]),
        ("aws.key.deactivate", EVE, "ASIA1", vec![]),
        ("aws.key.deactivate", EVE, "AKIA*", vec![]),
        ("aws.key.deactivate", APP, "AKIA1", vec![]),
        ("aws.sessions.revoke", APP, "ASIA1", vec![format!("{APP}#PrunellaRevokeOlderSessions")]),
        ("aws.sessions.revoke", "aws:root:111122223333", "ASIA1", vec![]),
        ("aws.principal.quarantine", EVE, "AKIA1", vec![format!("{EVE}#PrunellaQuarantine")]),
        ("aws.s3.block_public_access", EVE, "", vec!["aws:bucket:111122223333:acme".to_owned()]),
        ("aws.s3.default_encryption", EVE, "", vec!["aws:bucket:111122223333:acme".to_owned()]),
        ("aws.s3.storage_class", EVE, "", vec!["aws:object:111122223333:acme/pay/a.csv".to_owned()]),
        ("aws.s3.block_public_access", CI, "", vec![]),
        ("azure.container.block_public_access", EVE, "", vec!["azure:container:vault1:payroll".to_owned()]),
        ("azure.blob.archive", EVE, "", vec!["azure:blob:vault1:payroll/2026/a.csv".to_owned()]),
        ("gcp.bucket.block_public_access", CI, "", vec!["gcp:bucket:payroll".to_owned()]),
        ("gcp.key.disable", CI, key, vec![format!("{CI}#0a1b")]),
        ("gcp.key.disable", CI, "", vec![]),
        ("gcp.key.disable", "gcp:user:ann@example.com", key, vec![]),
    ];
    for (name, principal, credential, want) in cases {
        let found = action(name).targets(&finding(principal, credential, &objects), &Config::default());
        assert_eq!(found, want, "{name} {principal} {credential}");
    }
}

fn planned(name: &str, target: &str, found: Value) -> Result<Steps, String> {
    let finding = finding(EVE, "AKIA1", &[]);
    let action = action(name);
    let case = Case {
        finding: &finding,
        target,
        plan_uid: Id::default(),
        incident: Id::default(),
        now: Timestamp(1_000_001),
        restriction_ms: 1,
        suppressed: 0,
        about: None,
    };
    let provider = action.needs(target).remove(0).provider;
    let states = [TargetState { provider, target: target.to_owned(), value: found }];
    action.plan(&case, &states).map_err(|why| why.0)
}

#[test]
fn what_is_not_there_ours_or_so_already_is_left_alone() {
    let target = format!("{EVE}#AKIA1");
    for (found, says) in [
        (Value::Null, "is not there"),
        (json!({ "status": "Active", "is_ours": true }), "we act as ourselves"),
        (json!({ "status": "Inactive", "is_ours": false }), "so already"),
    ] {
        let why = planned("aws.key.deactivate", &target, found).unwrap_err();
        assert!(why.contains(says), "{why}");
    }
    let found = json!({ "status": "Active", "keys": { "AKIA1": "Active" }, "is_ours": false });
    let Steps { steps, undo } = planned("aws.key.deactivate", &target, found.clone()).unwrap();
    assert_eq!((&steps[0].desired, &steps[0].prior), (&json!({ "status": "Inactive" }), &Some(found)));
    assert_eq!(
        (&undo[0].desired, undo[0].target.as_str()),
        (&json!({ "status": "Active" }), target.as_str())
    );
}

#[test]
fn a_late_approval_reaches_the_newest_sessions_and_the_policies_fit() {
    let target = format!("{EVE}#PrunellaRevokeOlderSessions");
    let none = || json!({ "document": null, "is_ours": false });
    let Steps { mut steps, undo } = planned("aws.sessions.revoke", &target, none()).unwrap();
    let before = |step: &prunella_schemas::Step| {
        step.desired["document"]["Statement"][0]["Condition"]["DateLessThan"]["aws:TokenIssueTime"].clone()
    };
    assert_eq!(before(&steps[0]), "1970-01-01T00:16:41Z", "whole seconds, and none of them too early");
    assert_eq!(undo[0].desired, json!({ "document": null }));
    assert_eq!(
        (steps[0].operation.as_str(), undo[0].operation.as_str()),
        ("iam:PutUserPolicy", "iam:DeleteUserPolicy")
    );
    action("aws.sessions.revoke").renew(&mut steps, Timestamp(2_000_000), Timestamp::ZERO);
    assert_eq!(before(&steps[0]), "1970-01-01T00:33:20Z");
    action("aws.sessions.revoke").renew(&mut steps, Timestamp(1), Timestamp::ZERO);
    assert_eq!(before(&steps[0]), "1970-01-01T00:33:20Z", "never back");
    let quarantine =
        planned("aws.principal.quarantine", &format!("{EVE}#PrunellaQuarantine"), none()).unwrap();
    let chars = |step: &prunella_schemas::Step| step.desired["document"].to_string().chars().count();
    let both = chars(&steps[0]) + chars(&quarantine.steps[0]);
    assert!(both < POLICY_CHARS_MAX, "{both} characters");
}
