//! The OCSF project's own CloudTrail samples: we agree on actor, action, outcome, addresses, account, region and time.

use crate::{shared, translate, translate_one, valid};
use serde_json::Value;
use std::collections::BTreeSet;

/// `(part of the pair id, fact, why)`: where we differ from upstream's samples.
const EXPLAINED: &[(&str, &str, &str)] = &[
    ("bloblang", "uid", "upstream masked its two samples apart"),
    ("bloblang", "request", "upstream masked its two samples apart"),
    ("bloblang", "actor id", "upstream masked its two samples apart"),
    ("bloblang", "credential", "upstream masked its two samples apart"),
    ("Api Activity", "actor arn", "upstream masked its two samples apart"),
    ("Api Activity", "actor account", "upstream masked its two samples apart"),
    ("Api Activity", "time", "upstream dated its mapped sample three years later than the raw one"),
    (
        "bloblang/AWS/CloudTrail/v1.0.0/Authentication",
        "time",
        "upstream dated its mapped sample a year later",
    ),
    (
        "bloblang/AWS/CloudTrail/v1.1.0/Authentication",
        "time",
        "upstream dated its mapped sample a year later",
    ),
    (
        "bloblang/AWS/CloudTrail/v1.0.0/Account",
        "target id",
        "upstream names the caller where the created user belongs",
    ),
    (
        "bloblang/AWS/CloudTrail/v1.1.0/Account",
        "target id",
        "upstream names the caller where the created user belongs",
    ),
    ("v1.0.0-rc.2", "class", "API Activity moved from 3005 to 6003 in OCSF 1.0.0"),
    ("Authentication", "request", "upstream writes two quotes for a request id that is absent"),
];

#[test]
fn cloudtrail_pairs_agree() {
    let Some(text) = shared("pairs/ocsf_examples.jsonl") else { return };
    let (mut compared, mut unexplained) = (0, Vec::new());
    let mut used: BTreeSet<&(&str, &str, &str)> = BTreeSet::new();
    for line in text.lines() {
        let pair: Value = serde_json::from_str(line).unwrap();
        let id = pair["pair_id"].as_str().unwrap();
        if !id.contains("/CloudTrail/") || pair["ocsf_parsed"] != true {
            continue;
        }
        let raw = pair["raw"].as_str().map_or_else(|| pair["raw"].to_string(), str::to_owned);
        let event = translate_one("aws.cloudtrail", &raw);
        valid::check(&event);
        let ours = serde_json::to_value(&event).unwrap();
        let is_draft = pair["version"].as_str().is_some_and(|version| version.contains("-rc"));
        for (fact, path, draft_path) in FACTS {
            let (got, want) = (at(&ours, path), at(&pair["ocsf"], if is_draft { draft_path } else { path }));
            if want.is_none() {
                continue;
            }
            compared += 1;
            if got == want {
                continue;
            }
            let reason = EXPLAINED.iter().find(|(part, known, _)| id.contains(part) && known == fact);
            used.extend(reason);
            eprintln!(
                "{id}: {fact}: ours {got:?}, theirs {want:?} ({})",
                reason.map_or("UNEXPLAINED", |(_, _, why)| why)
            );
            if reason.is_none() {
                unexplained.push(format!("{id}: {fact}: ours {got:?}, theirs {want:?}"));
            }
        }
    }
    assert!(compared >= 150, "only {compared} facts were compared");
    let stale: Vec<_> = EXPLAINED.iter().filter(|row| !used.contains(row)).collect();
    assert!(stale.is_empty(), "these differences are gone, remove them: {stale:?}");
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
}

#[test]
fn upstream_events_pass_through_or_say_what_is_wrong() {
    let Some(text) = shared("pairs/ocsf_examples.jsonl") else { return };
    let (mut passed, mut refused) = (0, BTreeSet::new());
    for line in text.lines() {
        let pair: Value = serde_json::from_str(line).unwrap();
        if pair["ocsf_parsed"] != true {
            continue;
        }
        match translate("ocsf", &pair["ocsf"].to_string()) {
            Ok(events) => {
                events.iter().for_each(valid::check);
                passed += events.len();
            }
            Err(error) => {
                assert!(error.detail.contains('`'), "{error}");
                refused.insert(format!("{}: {error}", pair["pair_id"].as_str().unwrap()));
            }
        }
    }
    eprintln!("passed {passed}; refused {}: {refused:#?}", refused.len());
    assert!(passed >= 20, "only {passed} of upstream's events passed");
}

/// A fact, the attribute that holds it, and the one that held it in the drafts of OCSF 1.0.
const FACTS: &[(&str, &str, &str)] = &[
    ("class", "/class_uid", "/class_uid"),
    ("activity", "/activity_id", "/activity_id"),
    ("actor arn", "/actor/user/uid", "/actor/user/uuid"),
    ("actor id", "/actor/user/uid_alt", "/actor/user/uid"),
    ("actor name", "/actor/user/name", "/actor/user/name"),
    ("actor type", "/actor/user/type", "/actor/user/type"),
    ("actor account", "/actor/user/account/uid", "/actor/user/account_uid"),
    ("credential", "/actor/user/credential_uid", "/actor/user/credential_uid"),
    ("issuer", "/actor/session/issuer", "/actor/session/issuer"),
    ("session mfa", "/actor/session/is_mfa", "/actor/session/mfa"),
    ("invoked by", "/actor/invoked_by", "/actor/invoked_by"),
    ("sign-in mfa", "/is_mfa", "/mfa"),
    ("target name", "/user/name", "/user/name"),
    ("target id", "/user/uid", "/user/uuid"),
    ("target other id", "/user/uid_alt", "/user/uid"),
    ("operation", "/api/operation", "/api/operation"),
    ("service", "/api/service/name", "/api/service/name"),
    ("request", "/api/request/uid", "/api/request/uid"),
    ("outcome", "/status", "/status"),
    ("ip", "/src_endpoint/ip", "/src_endpoint/ip"),
    ("domain", "/src_endpoint/domain", "/src_endpoint/domain"),
    ("user agent", "/http_request/user_agent", "/http_request/user_agent"),
    ("destination", "/dst_endpoint/svc_name", "/dst_endpoint/svc_name"),
    ("account", "/cloud/account/uid", "/cloud/account/uid"),
    ("region", "/cloud/region", "/cloud/region"),
    ("uid", "/metadata/uid", "/metadata/uid"),
    ("time", "/time", "/time"),
];

fn at<'v>(event: &'v Value, path: &str) -> Option<&'v Value> {
    event.pointer(path).filter(|value| !value.is_null() && *value != "")
}
