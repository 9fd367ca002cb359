//! Rewriting a CloudTrail record, so that its account, region, names, network and day say nothing about its origin.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// AWS's own account for examples.
pub const ACCOUNT: &str = "111122223333";
pub const REGION: &str = "eu-west-1";
const ACCOUNT_DIGITS: usize = 12;

/// What a record has to say after the rewriting.
pub struct Guise<'a> {
    pub event_id: String,
    pub time: String,
    /// Instead of the record's own; none keeps it.
    pub identity: Option<Value>,
    pub address: Option<&'a str>,
    pub agent: Option<&'a str>,
    /// Names that must not be told, and what stands for them.
    pub names: &'a BTreeMap<String, String>,
}

pub fn rewrite(record: &Value, guise: Guise<'_>) -> Value {
    let lent = guise.identity.as_ref().map(|identity| identity["accountId"].clone());
    let own = [&record["recipientAccountId"], &record["userIdentity"]["accountId"]];
    let own: Vec<&str> = own.into_iter().chain(&lent).filter_map(Value::as_str).collect();
    let region = record["awsRegion"].as_str().filter(|region| !region.is_empty());
    let mut record = record.clone();
    if let Some(identity) = guise.identity {
        record["userIdentity"] = identity;
    }
    each_text(&mut record, &mut |text| {
        for (name, stands) in guise.names {
            if text.contains(name.as_str()) {
                *text = text.replace(name.as_str(), stands);
            }
        }
        if let Some(region) = region
            && text.contains(region)
        {
            *text = text.replace(region, REGION);
        }
        *text = accounts_hidden(text, &own);
    });
    record["eventID"] = json!(guise.event_id);
    record["eventTime"] = json!(guise.time);
    record["awsRegion"] = json!(REGION);
    record["recipientAccountId"] = json!(ACCOUNT);
    // Written by newer versions of CloudTrail only, and the attacks are newer.
    record["eventVersion"] = json!("1.08");
    if let Some(fields) = record.as_object_mut() {
        fields.remove("tlsDetails");
    }
    if let Some(address) = guise.address {
        record["sourceIPAddress"] = json!(address);
    }
    if let Some(agent) = guise.agent {
        record["userAgent"] = json!(agent);
    }
    record
}

/// Every text that is a value, however deep.
fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|field| each_text(field, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Runs of twelve digits are accounts: one's own becomes the account of the mix, another stays another.
fn accounts_hidden(text: &str, own: &[&str]) -> String {
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits) = rest.split_at(start);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let (run, after) = digits.split_at(end);
        hidden.push_str(before);
        match run {
            ACCOUNT => hidden.push_str(run),
            _ if run.len() != ACCOUNT_DIGITS => hidden.push_str(run),
            _ if own.contains(&run) => hidden.push_str(ACCOUNT),
            _ => hidden.push_str(&stranger(run)),
        }
        rest = after;
    }
    hidden + rest
}

/// A made-up account, the same for the same account.
fn stranger(account: &str) -> String {
    let digits = account.bytes().map(|byte| char::from(b'0' + (byte - b'0' + 3) % 10));
    "9".chars().chain(digits.skip(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_hidden_wherever_they_stand() {
        for (text, want) in [
            ("arn:aws:iam::347283850106:role/x", "arn:aws:iam::111122223333:role/x"),
            ("logs-347283850106-222dcf7b", "logs-111122223333-222dcf7b"),
            ("arn:aws:iam::000000000001:root", "arn:aws:iam::933333333334:root"),
            ("20211202221117529 and 12345", "20211202221117529 and 12345"),
            ("111122223333", "111122223333"),
            ("", ""),
        ] {
            assert_eq!(accounts_hidden(text, &["347283850106"]), want);
        }
    }

    #[test]
    fn nothing_of_the_origin_is_left() {
        let record = json!({
            "userIdentity": {"accountId": "294599468799", "userName": "christophe", "arn": "arn:aws:iam::294599468799:user/christophe"},
            "recipientAccountId": "294599468799", "awsRegion": "me-northwest-3r", "eventVersion": "1.09",
            "sourceIPAddress": "254.222.242.236", "userAgent": "x", "eventTime": "2024-08-01T12:00:00Z", "eventID": "old",
            "tlsDetails": {"clientProvidedHostHeader": "ec2.me-northwest-3r.amazonaws.com"}, "eventName": "RunInstances",
            "requestParameters": {"for": ["christophe@294599468799.me-northwest-3r"], "policy": "{\"AWS\":\"arn:aws:iam::012345678912:root\"}"},
        });
        let names = BTreeMap::from([("christophe".to_owned(), "user-07".to_owned())]);
        let guise = Guise {
            event_id: "new".to_owned(),
            time: "2026-09-07T09:00:00Z".to_owned(),
            identity: None,
            address: Some("192.0.2.1"),
            agent: None,
            names: &names,
        };
        let rewritten = rewrite(&record, guise);
        let text = rewritten.to_string();
        for gone in [
            "294599468799",
            "012345678912",
            "me-northwest",
            "christophe",
            "254.222",
            "2024",
            "1.09",
            "old",
            "tls",
        ] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
        assert_eq!(rewritten["userIdentity"]["arn"], "arn:aws:iam::111122223333:user/user-07");
        assert_eq!((&rewritten["eventName"], &rewritten["userAgent"]), (&json!("RunInstances"), &json!("x")));
        assert!(text.contains("::945678901245:root"), "another account stays another: {text}");
    }
}
