//! Policies, buckets and objects on moto by the real SDK: found, set, changed by somebody else, taken back.

use crate::bench::ACCOUNT;
use crate::effect::{World, fresh, step, user};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::PublicAccessBlockConfiguration;
use prunella_contract::Answer;
use serde_json::{Value, json};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[]}"#;

fn s3(world: &World) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(&world.direct).force_path_style(true).build();
    aws_sdk_s3::Client::from_conf(config)
}

async fn bucket(world: &World) -> (aws_sdk_s3::Client, String) {
    let (s3, name) = (s3(world), fresh("files"));
    s3.create_bucket().bucket(&name).send().await.unwrap();
    (s3, name)
}

/// Sets, is found so, sees somebody else's change as a conflict, and restores what was there before.
async fn there_and_back(world: &World, calls: [&str; 3], target: &str, desired: Value, other: Value) {
    let [look, set, undo] = calls;
    let before = world.read(look, target).await.unwrap();
    let there = step(set, target, desired.clone(), before.clone());
    let (outcome, why) = world.apply(&there).await;
    assert_eq!(outcome, "done", "{target}: {why}");
    assert_eq!(world.probe(&there).await.0, "held", "{target}");
    let found = world.read(look, target).await.unwrap();
    assert!(there.is_met_by(&found), "{found} is not {desired}");
    let back = step(undo, target, there.spoken_of(&before), found);
    // Somebody sets it otherwise: neither step takes it from them.
    let theirs = step(set, target, other.clone(), world.read(look, target).await.unwrap());
    assert_eq!(world.apply(&theirs).await.0, "done", "{target}");
    assert_eq!(world.probe(&there).await.0, "escaped", "{target}");
    for ours in [&there, &back] {
        let (outcome, why) = world.apply(ours).await;
        assert_eq!((outcome, why.contains("when this was planned")), ("conflict", true), "{target}: {why}");
    }
    assert!(theirs.is_met_by(&world.read(look, target).await.unwrap()), "theirs stays");
    let again = step(set, target, desired, world.read(look, target).await.unwrap());
    assert_eq!(world.apply(&again).await.0, "done", "{target}");
    let (outcome, why) = world.apply(&back).await;
    assert_eq!(outcome, "done", "{target}: {why}");
    assert_eq!(back.spoken_of(&world.read(look, target).await.unwrap()), back.spoken_of(&before), "{target}");
}

#[tokio::test]
async fn a_policy_of_a_user_and_of_a_role_comes_and_goes() {
    let Some(world) = World::new().await else { return };
    let (eve, app) = (fresh("eve"), fresh("app"));
    world.iam.create_user().user_name(&eve).send().await.unwrap();
    world.iam.create_role().role_name(&app).assume_role_policy_document(TRUST).send().await.unwrap();
    let deny = |action: &str| {
        json!({ "document": { "Version": "2012-10-17", "Statement": [
            { "Effect": "Deny", "Action": [action], "Resource": ["*"],
              "Condition": { "DateLessThan": { "aws:TokenIssueTime": "2026-11-21T10:00:00Z" } } },
        ] } })
    };
    let role = format!("aws:role:arn:aws:iam::{ACCOUNT}:role/{app}");
    let users = ["iam:GetUserPolicy", "iam:PutUserPolicy", "iam:DeleteUserPolicy"];
    let roles = ["iam:GetRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy"];
    for (calls, target) in [(users, format!("{}#P", user(&eve))), (roles, format!("{role}#P"))] {
        there_and_back(&world, calls, &target, deny("*"), deny("iam:*")).await;
    }
    let left = world.iam.list_user_policies().user_name(&eve).send().await.unwrap();
    assert!(left.policy_names().is_empty(), "{left:?}");
    let nobody = format!("{}#P", user(&fresh("nobody")));
    assert_eq!(world.read("iam:GetUserPolicy", &nobody).await.unwrap(), Value::Null);
    let (outcome, why) = world.apply(&step(users[1], &nobody, deny("*"), json!({ "document": null }))).await;
    assert_eq!((outcome, why.contains("not there")), ("failed", true), "{why}");
    for operation in users.iter().chain(&roles).chain(&["iam:ListUserPolicies", "iam:ListRolePolicies"]) {
        world.aws.preflight(operation).await.unwrap();
    }
}

#[tokio::test]
async fn a_bucket_is_closed_and_encrypted_and_given_back() {
    let Some(world) = World::new().await else { return };
    let (s3, name) = bucket(&world).await;
    let target = format!("aws:bucket:{ACCOUNT}:{name}");
    let block = |on: bool| {
        json!({ "public_access_block": {
            "block_public_acls": true, "ignore_public_acls": on,
            "block_public_policy": on, "restrict_public_buckets": on,
        } })
    };
    let calls =
        ["s3:GetBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock"];
    there_and_back(&world, calls, &target, block(true), block(false)).await;
    // What was half closed is half closed again.
    let half = PublicAccessBlockConfiguration::builder().block_public_acls(true).build();
    let put = s3.put_public_access_block().bucket(&name).public_access_block_configuration(half);
    put.send().await.unwrap();
    let third = json!({ "public_access_block": {
        "block_public_acls": false, "ignore_public_acls": true,
        "block_public_policy": false, "restrict_public_buckets": false,
    } });
    there_and_back(&world, calls, &target, block(true), third).await;
    let calls =
        ["s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration", "s3:PutEncryptionConfiguration"];
    let kms = json!({ "encryption": { "algorithm": "aws:kms", "key": null, "bucket_key": true } });
    let key = json!({ "encryption": { "algorithm": "aws:kms", "key": "alias/theirs", "bucket_key": false } });
    there_and_back(&world, calls, &target, kms, key).await;
    let nowhere = format!("aws:bucket:{ACCOUNT}:{}", fresh("nowhere"));
    assert_eq!(world.read("s3:GetBucketPublicAccessBlock", &nowhere).await.unwrap(), Value::Null);
}

#[tokio::test]
async fn an_object_is_copied_into_another_class() {
    let Some(world) = World::new().await else { return };
    let (s3, name) = bucket(&world).await;
    let (key, body) = ("2026/märz 1+1.xlsx", ByteStream::from_static(b"pay"));
    let put = s3.put_object().bucket(&name).key(key).body(body).metadata("owner", "ann").tagging("kind=pay");
    put.send().await.unwrap();
    let target = format!("aws:object:{ACCOUNT}:{name}/{key}");
    let calls = ["s3:GetObject", "s3:PutObject", "s3:PutObject"];
    let class = |name: &str| json!({ "storage_class": name });
    there_and_back(&world, calls, &target, class("STANDARD_IA"), class("ONEZONE_IA")).await;
    let head = s3.head_object().bucket(&name).key(key).send().await.unwrap();
    assert_eq!(head.metadata().and_then(|m| m.get("owner")).map(String::as_str), Some("ann"));
    let tags = s3.get_object_tagging().bucket(&name).key(key).send().await.unwrap();
    assert_eq!(tags.tag_set()[0].value(), "pay");
    let archive = step(calls[1], &target, class("GLACIER"), world.read(calls[0], &target).await.unwrap());
    assert_eq!(world.apply(&archive).await.0, "done");
    let found = world.read(calls[0], &target).await.unwrap();
    assert_eq!((&found["storage_class"], &found["is_restored"]), (&json!("GLACIER"), &json!(false)));
    let back = step(calls[1], &target, class("STANDARD"), found);
    let (outcome, why) = world.apply(&back).await;
    assert_eq!((outcome, why.contains("restore it first")), ("failed", true), "{why}");
    // Written anew between our look and our call: S3 compares, and the new one stays as it is.
    let gone = format!("aws:object:{ACCOUNT}:{name}/none");
    assert_eq!(world.read(calls[0], &gone).await.unwrap(), Value::Null);
}

/// moto does not simulate; the peer looks at what is asked, and whose policies are meant.
#[tokio::test]
async fn what_s3_allows_is_asked_of_iam() {
    let Some(world) = World::new().await else { return };
    let decide = |decision: &'static str| {
        world.gate.meddle(move |asked| {
            let body = String::from_utf8_lossy(&asked.body).into_owned();
            let is_it = body.starts_with("Action=SimulatePrincipalPolicy");
            assert!(
                !is_it || body.contains("ActionNames.member.1=s3%3APutObject"),
                "another action is asked for: {body}"
            );
            assert!(!is_it || body.contains("PolicySourceArn=arn%3Aaws%3Aiam%3A%3A123456789012%3A"), "{body}");
            is_it.then(|| Answer {
                status: 200,
                headers: vec![("content-type".into(), "text/xml".into())],
                body: format!(
                    "<SimulatePrincipalPolicyResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
                     <SimulatePrincipalPolicyResult><EvaluationResults><member><EvalActionName>s3:PutObject</EvalActionName>\
                     <EvalResourceName>*</EvalResourceName><EvalDecision>{decision}</EvalDecision></member></EvaluationResults>\
                     <IsTruncated>false</IsTruncated></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
                )
                .into_bytes(),
            })
        });
    };
    decide("allowed");
    world.aws.preflight("s3:PutObject").await.unwrap();
    for no in ["implicitDeny", "explicitDeny"] {
        decide(no);
        let why = world.aws.preflight("s3:PutObject").await.unwrap_err().to_string();
        assert!(why.contains(r#"the policy lacks {"Action":"s3:PutObject""#), "{why}");
    }
}
