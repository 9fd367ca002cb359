//! Golden table: every fixture beside the event it becomes. `UPDATE=1 cargo test -p prunella-translate` rewrites them.

use crate::{crate_dir, translate, valid};
use prunella_schemas::Flag;
use std::path::PathBuf;

fn fixtures() -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(crate_dir().join("fixtures")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        path.extension().is_some_and(|e| e == "json") && !path.to_string_lossy().ends_with(".ocsf.json")
    });
    paths.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

pub fn bodies() -> Vec<(&'static str, String)> {
    fixtures().into_iter().map(|(name, body)| (source_of(&name), body)).collect()
}

fn source_of(name: &str) -> &'static str {
    let sources = [
        ("ocsf-", "ocsf"),
        ("azure-activity-", "azure.activity"),
        ("azure-audit-", "azure.audit"),
        ("azure-signin-", "azure.signin"),
        ("azure-storage-", "azure.storage"),
        ("gcp-audit-", "gcp.audit"),
        ("vault-", "vault"),
    ];
    sources.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or("aws.cloudtrail", |(_, source)| source)
}

#[test]
#[allow(clippy::disallowed_methods, reason = "UPDATE=1 rewrites the expected files")]
fn every_fixture_becomes_its_event() {
    let update = std::env::var("UPDATE").is_ok();
    let mut wrong = Vec::new();
    for (name, body) in fixtures() {
        let events = translate(source_of(&name), &body).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(events.len(), 1, "{name}");
        let mut event = events.into_iter().next().unwrap();
        valid::check(&event);
        assert_eq!(event.raw_data.take(), Some(body.as_str().into()), "{name}: the raw record stays whole");
        let got = format!("{}\n", serde_json::to_string_pretty(&event).unwrap());
        let path = crate_dir().join("fixtures").join(format!("{name}.ocsf.json"));
        if update {
            std::fs::write(&path, &got).unwrap();
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(got.as_str()) {
            wrong.push(format!("--- {name}\n{got}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ; look, then UPDATE=1:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_envelope_is_the_event_it_holds() {
    let event = |name: &str| {
        let (_, body) = fixtures().into_iter().find(|(n, _)| n == name).unwrap();
        crate::translate_one("aws.cloudtrail", &body)
    };
    let (bare, enveloped) = (event("iam-create-user"), event("eventbridge-envelope"));
    assert_eq!(bare.prunella.event_uid, enveloped.prunella.event_uid);
    assert_eq!(bare.prunella.principal, enveloped.prunella.principal);
}

#[test]
fn what_is_odd_is_flagged_and_kept() {
    let check = |json: &str, want: &[Flag]| {
        let event = crate::translate_one("aws.cloudtrail", json);
        assert_eq!(event.prunella.flags, want, "{json}");
        valid::check(&event);
    };
    let whole = r#""userIdentity":{"type":"Root","accountId":"1"},"eventID":"e","eventName":"X","eventTime":"2026-03-02T09:00:00Z""#;
    check(&format!("{{{whole}}}"), &[]);
    check(&format!(r#"{{{whole},"eventVersion":"1.99"}}"#), &[]);
    check(&format!(r#"{{{whole},"eventVersion":"3.0"}}"#), &[Flag::UnknownVersion]);
    check(&format!(r#"{{{whole},"eventTime":null}}"#), &[Flag::MissingTime]);
    check(&format!(r#"{{{whole},"eventTime":"2026-03-02T09:45:00Z"}}"#), &[]);
    check(&format!(r#"{{{whole},"eventTime":"2026-03-02T09:45:01Z"}}"#), &[Flag::FutureTime]);
    check(&format!(r#"{{{whole},"eventTime":"1970-01-01T00:00:00Z"}}"#), &[Flag::AncientTime]);
    check(&format!(r#"{{{whole},"eventID":{{}}}}"#), &[Flag::MissingId]);
    check(&format!(r#"{{{whole},"userIdentity":null}}"#), &[Flag::MissingActor]);
    check(&format!(r#"{{{whole},"userIdentity":"x"}}"#), &[Flag::MissingActor]);
    check(&format!(r#"{{{whole},"userAgent":"{}"}}"#, "é".repeat(3000)), &[Flag::TruncatedField]);
    for (source, whole, version) in [
        (
            "azure.activity",
            r#""operationName":"A/b/write","eventDataId":"e","caller":"ann@example.com","time":@"#,
            "category",
        ),
        (
            "azure.signin",
            r#""operationName":"Sign-in activity","properties":{"id":"e","userId":"u","createdDateTime":@}"#,
            "operationVersion",
        ),
        (
            "azure.audit",
            r#""operationName":"Add user","properties":{"id":"e","initiatedBy":{"user":{"id":"u"}},"activityDateTime":@}"#,
            "operationVersion",
        ),
        (
            "azure.storage",
            r#""operationName":"GetBlob","category":"StorageRead","correlationId":"e","identity":{"requester":{"upn":"ann"}},"time":@"#,
            "schemaVersion",
        ),
        (
            "gcp.audit",
            r#""protoPayload":{"methodName":"x","authenticationInfo":{"principalEmail":"a@b.c"}},"insertId":"e","timestamp":@"#,
            "logName",
        ),
    ] {
        let check = |time: &str, more: &str, want: &[Flag]| {
            let json = format!("{{{}{more}}}", whole.replace(":@", &format!(":{time}")));
            let event = crate::translate_one(source, &json);
            assert_eq!(event.prunella.flags, want, "{json}");
            valid::check(&event);
        };
        check("\"2026-03-02T09:00:00Z\"", "", &[]);
        check("\"2026-03-02 09:00:00.123\"", "", &[]);
        check("null", "", &[Flag::MissingTime]);
        check("\"2027-03-02T09:00:00Z\"", "", &[Flag::FutureTime]);
        check("\"2016-03-02T09:00:00Z\"", "", &[Flag::AncientTime]);
        check("\"2026-03-02T09:00:00Z\"", &format!(",\"{version}\":\"7.x\""), &[Flag::UnknownVersion]);
        let long = format!(",\"callerIpAddress\":\"{0}\",\"trace\":\"{0}\"", "é".repeat(3000));
        check("\"2026-03-02T09:00:00Z\"", &long, &[Flag::TruncatedField]);
    }
    check(r#"{"eventSource":"s3.amazonaws.com"}"#, &[Flag::MissingId, Flag::MissingTime, Flag::MissingActor]);
}

#[test]
fn a_batch_is_its_records() {
    let named = |name: &str| fixtures().into_iter().find(|(n, _)| n == name).unwrap().1;
    for (source, list, names) in [
        ("azure.activity", "records", ["azure-activity-vm-write", "azure-activity-role-assignment"]),
        ("azure.activity", "value", ["azure-activity-rest-denied", "azure-activity-service-health"]),
        ("azure.signin", "records", ["azure-signin-interactive", "azure-signin-service-principal"]),
        ("azure.signin", "value", ["azure-signin-graph", "azure-signin-graph"]),
        ("azure.audit", "value", ["azure-audit-graph-policy", "azure-audit-service"]),
        ("azure.storage", "records", ["azure-storage-get-blob-oauth", "azure-storage-delete-blob-sas"]),
    ] {
        let bodies = names.map(named);
        let body = format!("{{\"{list}\": [{}]}}", bodies.join(", "));
        let events = translate(source, &body).unwrap_or_else(|e| panic!("{source}: {e}"));
        let alone: Vec<_> = bodies.iter().map(|body| crate::translate_one(source, body.trim_end())).collect();
        assert_eq!(events, alone, "{source}");
        let spoilt = format!("{{\"{list}\":[{},{{}}]}}", bodies.join(","));
        assert!(translate(source, &spoilt).is_err(), "{source}: all or nothing");
    }
    let many = vec![r#"{"operationName":"x"}"#; 4_097].join(",");
    let error = translate("azure.activity", &format!("{{\"records\":[{many}]}}")).unwrap_err();
    assert!(error.detail.contains("more than 4096 records; split it"), "{error}");
}

#[test]
fn two_shapes_of_a_call_name_the_same_caller() {
    let export = r#"{"operationName":"A/b/write","identity":{"claims":{"http://schemas.microsoft.com/identity/claims/objectidentifier":"o",
        "http://schemas.microsoft.com/identity/claims/tenantid":"t"}}}"#;
    let rest = r#"{"operationName":{"value":"A/b/write"},"claims":{"http://schemas.microsoft.com/identity/claims/objectidentifier":"o"},
        "tenantId":"t","caller":"ann@example.com"}"#;
    for body in [export, rest] {
        assert_eq!(crate::translate_one("azure.activity", body).principal(), "azure:user:t:o", "{body}");
    }
}

#[test]
fn what_is_endless_is_cut() {
    let long = "x".repeat(100_000);
    let many = vec![format!(r#"{{"ARN":"{long}","type":"{long}","accountId":"{long}"}}"#); 200].join(",");
    let json = format!(
        r#"{{"eventName":"{long}","eventSource":"{long}","eventID":"{long}","userIdentity":{{"type":"IAMUser","arn":"{long}",
        "sessionContext":{{"sessionIssuer":{{"arn":"{long}"}}}}}},"resources":[{many}]}}"#
    );
    let mut event = crate::translate_one("aws.cloudtrail", &json);
    valid::check(&event);
    assert!(event.prunella.flags.contains(&Flag::TruncatedField));
    assert_eq!(event.resources.len(), 128);
    assert!(event.principal().len() < 5_000, "{}", event.principal().len());
    event.raw_data = None;
    event.resources.clear();
    assert!(serde_json::to_string(&event).unwrap().len() < 50_000);
}

#[test]
fn what_is_refused_says_where_and_what_to_do() {
    let check = |source: &str, body: &str, detail: &str, offset: Option<u64>| {
        let error = translate(source, body).expect_err(body);
        assert!(error.detail.contains(detail), "{body}: {error}");
        assert_eq!(error.offset, offset, "{body}: {error}");
    };
    check("aws.cloudtrail", "", "is a JSON object, and this is not", Some(0));
    check("aws.cloudtrail", "[]", "is a JSON object, and this is not", Some(0));
    check("aws.cloudtrail", "\"eventName\"", "is a JSON object, and this is not", Some(0));
    check("aws.cloudtrail", "{\n \"eventName\": x}", "not one JSON object", Some(16));
    check("aws.cloudtrail", r#"{"eventName":"A"} x"#, "trailing characters", Some(18));
    check("aws.cloudtrail", "{}", "neither `eventName` nor `eventSource`", None);
    check("aws.cloudtrail", r#"{"detail":{"detail":{"eventName":"A"}}}"#, "neither `eventName` nor", None);
    for source in ["azure.activity", "azure.audit", "azure.signin", "azure.storage"] {
        check(source, "[]", "the record is not a JSON object; send ", Some(0));
        check(source, "{\"operationName\": x}", "not one JSON object", Some(18));
        check(source, "{}", "the object is no such record, nor a batch of them; send ", None);
        check(source, r#"{"records":[{"operationName":"A"},{}]}"#, "nor a batch of them; send ", None);
        check(source, r#"{"records":[]}"#, "nor a batch of them; send ", None);
        check(source, r#"{"eventName":"A","eventSource":"b"}"#, "nor a batch of them; send ", None);
    }
    check("gcp.audit", "[]", "a log entry is a JSON object, and this is not", Some(0));
    check("gcp.audit", "{", "not one JSON object", Some(0));
    check("gcp.audit", "{}", "neither a `logName` nor an audit log as its `protoPayload`; send", None);
    check("gcp.audit", r#"{"operationName":"A"}"#, "neither a `logName` nor an audit log", None);
    let with = |old: &str, new: &str| {
        r#"{"class_uid":6003,"activity_id":1,"type_uid":600301,"severity_id":1,"time":1,"metadata":{"version":"1.8.0"}}"#
            .replace(old, new)
    };
    check("ocsf", "[]", "not one JSON object", Some(0));
    check("ocsf", "{}", "`class_uid` is missing", None);
    check("ocsf", &with("6003,", "1001,"), "`class_uid` 1001 is not a class", None);
    check("ocsf", &with("\"activity_id\":1", "\"activity_id\":9"), "`activity_id` 9 does not exist", None);
    check(
        "ocsf",
        &with("600301", "600302"),
        "`type_uid` is 600302; for this class and activity it must be 600301",
        None,
    );
    check("ocsf", &with("\"severity_id\":1", "\"severity_id\":9"), "`severity_id` is 9", None);
    check("ocsf", &with("\"time\":1", "\"time\":1.5"), "`time` is not as OCSF", None);
    check("ocsf", &with("\"time\":1", "\"time\":null"), "`time` is missing", None);
    check("ocsf", &with("1.8.0", "2.0.0"), "`metadata.version` is `2.0.0`", None);
    let ip = "\"time\":1,\"src_endpoint\":{\"ip\":\"config.amazonaws.com\"}";
    check("ocsf", &with("\"time\":1", ip), "`src_endpoint.ip` is not an IP address", None);
    check("ocsf", &with("\"time\":1", "\"time\":1,\"api\":{\"operation\":{}}"), "`api` is not as OCSF", None);
}
