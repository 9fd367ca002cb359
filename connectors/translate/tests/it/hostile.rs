//! Hostile input: nothing panics, and the same input gives the same bytes.

use crate::{golden, translate, valid};
use proptest::prelude::*;
use prunella_translate::catalog;
use serde_json::{Map, Value, json};

/// Names that the translators read, so that arbitrary JSON reaches past the first look.
const KEYS: &[&str] = &[
    "eventName",
    "eventSource",
    "eventTime",
    "eventID",
    "userIdentity",
    "type",
    "arn",
    "sessionContext",
    "attributes",
    "resources",
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "insightDetails",
    "detail",
    "instancesSet",
    "items",
    "ConsoleLogin",
    "bytesTransferredOut",
    "operationName",
    "category",
    "properties",
    "identity",
    "claims",
    "requester",
    "requestbody",
    "resourceId",
    "callerIpAddress",
    "records",
    "targetResources",
    "modifiedProperties",
    "displayName",
    "newValue",
    "objectKey",
    "protoPayload",
    "serviceName",
    "methodName",
    "authenticationInfo",
    "principalEmail",
    "resourceName",
    "serviceData",
    "policyDelta",
    "bindingDeltas",
    "member",
    "logName",
    "class_uid",
    "activity_id",
    "metadata",
    "actor",
];
const WORDS: &[&str] = &[
    "",
    "é",
    "ConsoleLogin",
    "CreateUser",
    "GetObject",
    "RunInstances",
    "s3.amazonaws.com",
    "iam.amazonaws.com",
    "signin.amazonaws.com",
    "ec2.amazonaws.com",
    "sts.amazonaws.com",
    "AssumedRole",
    "Microsoft.Authorization/roleAssignments/write",
    "Add member to group",
    "Sign-in activity",
    "ServicePrincipalSignInLogs",
    "StorageDelete",
    "/subscriptions/é/providers/x/y/z",
    "/a/b/c",
    "storage.googleapis.com",
    "login.googleapis.com",
    "storage.objects.get",
    "SetIamPolicy",
    "user:a@b.c",
    "projects//logs/cloudaudit.googleapis.com%2F",
    "{\"Properties\":{\"PrincipalId\":\"p\",\"PrincipalType\":\"Group\"}}",
    "9999-12-31T23:59:59Z",
    "::1",
    "arn:aws:sts::1:assumed-role/",
    "-1",
    "true",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(WORDS).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let key = prop_oneof![4 => prop::sample::select(KEYS).prop_map(str::to_owned), 1 => ".{0,6}"];
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((key, inner), 0..8).prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Whether every translator says the same of a body twice. What it says is valid, or `valid::check` panics.
fn is_same_twice(body: &str) -> bool {
    catalog().iter().all(|translator| {
        let once = translate(translator.name(), body);
        once.iter().flatten().for_each(valid::check);
        once == translate(translator.name(), body)
    })
}

/// Every path in a value, as JSON pointers.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Object(object) => object.iter().for_each(|(k, v)| {
            pointers(v, &format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), out);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), out));
        }
        _ => {}
    }
}

#[test]
fn any_value_anywhere_in_a_fixture_keeps_the_event() {
    for (source, body) in golden::bodies() {
        let whole: Value = serde_json::from_str(&body).unwrap();
        let mut paths = Vec::new();
        pointers(&whole, "", &mut paths);
        for path in paths.iter().filter(|path| !path.is_empty()) {
            for odd in [
                json!(null),
                json!(7),
                json!(-1.5),
                json!(true),
                json!("é"),
                json!([1, [2]]),
                json!({"x": {"y": 1}}),
            ] {
                let mut mutant = whole.clone();
                *mutant.pointer_mut(path).unwrap() = odd;
                let text = mutant.to_string();
                let result = translate(source, &text);
                let names_the_record =
                    ["/detail", "/insightDetails", "/createdDateTime", "/appId", "/activityDisplayName"];
                if !["ocsf", "vault"].contains(&source) && !names_the_record.contains(&path.as_str()) {
                    assert_eq!(result.as_ref().map(Vec::len).ok(), Some(1), "{source} {path}: {result:?}");
                }
                result.iter().flatten().for_each(valid::check);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(body in "(?s).*") {
        prop_assert!(is_same_twice(&body));
    }

    #[test]
    fn any_json_is_survived(value in any_json()) {
        prop_assert!(is_same_twice(&value.to_string()));
    }

    #[test]
    fn any_bytes_in_a_fixture_are_survived(
        pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..8),
        remove in 0usize..40,
    ) {
        let bodies = golden::bodies();
        let (source, body) = &bodies[pick.index(bodies.len())];
        let mut mutant = body.clone().into_bytes();
        let start = at.index(mutant.len());
        mutant.splice(start..(start + remove).min(mutant.len()), bytes);
        let text = String::from_utf8_lossy(&mutant);
        prop_assert!(is_same_twice(&text), "{source}");
    }
}
