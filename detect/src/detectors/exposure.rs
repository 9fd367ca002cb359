//! Exposure: data or doors opened to strangers by a change of who may reach them.

use super::{Table, find};
use crate::attack::{
    CLOUD_SERVICES, CLOUD_STORAGE_DATA, DISABLE_FIREWALL, MANIPULATE_ACCOUNT, TRANSFER_TO_ACCOUNT, Technique,
};
use crate::config::Config;
use crate::detector::{Detector, Method, analytic};
use crate::evidence::{Draft, Evidence, Severity};
use crate::past::Past;
use crate::sighting::Sighting;
use crate::window::{Mark, Window};
use prunella_schemas::finding::Analytic;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exposure {
    /// A principal that made the same change this often before makes it for a living.
    pub habit_calls_min: u32,
}

impl Default for Exposure {
    fn default() -> Self {
        Exposure { habit_calls_min: 5 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A snapshot or image handed to another account, or to all.
    Share,
    /// A port of a firewall, to all addresses.
    Port,
    /// Who may read a bucket.
    Bucket,
    /// The guard against public buckets.
    Block,
    /// A machine's console, past the network's guards.
    Console,
    /// Who may call a function.
    Function,
}

#[rustfmt::skip]
pub(crate) const CALLS: Table<Opening> = &[
    ("AddPermission", "lambda", Opening::Function),
    ("AuthorizeDBSecurityGroupIngress", "rds", Opening::Port),
    ("AuthorizeSecurityGroupIngress", "ec2", Opening::Port),
    ("CreateFunctionUrlConfig", "lambda", Opening::Function),
    ("DeleteAccountPublicAccessBlock", "s3", Opening::Block),
    ("DeleteBucketPublicAccessBlock", "s3", Opening::Block),
    ("DeletePublicAccessBlock", "s3", Opening::Block),
    ("EnableSerialConsoleAccess", "ec2", Opening::Console),
    ("ModifyDBClusterSnapshotAttribute", "rds", Opening::Share),
    ("ModifyDBSnapshotAttribute", "rds", Opening::Share),
    ("ModifyImageAttribute", "ec2", Opening::Share),
    ("ModifySnapshotAttribute", "ec2", Opening::Share),
    ("PutBucketAcl", "s3", Opening::Bucket),
    ("PutBucketPolicy", "s3", Opening::Bucket),
    ("PutBucketReplication", "s3", Opening::Share),
    ("SendSerialConsoleSSHPublicKey", "ec2-instance-connect", Opening::Console),
    ("UpdateFunctionUrlConfig", "lambda", Opening::Function),
];

/// What is found by itself, however it is dressed up afterwards.
type Grade = (Severity, u8, Technique, String);

impl Detector for Exposure {
    fn id(&self) -> &'static str {
        "resource_exposure"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "Resource opened to strangers", "1.0.0", Method::Rule)
    }

    fn observe(&self, seen: &Sighting<'_>, past: &Past, _: &mut Window, config: &Config, out: &mut Evidence) {
        let Some(opening) = find(CALLS, seen).copied() else { return };
        if seen.is_provider() || seen.event.failed() {
            return;
        }
        let Some((mut severity, mut confidence, technique, reason)) = grade(seen, opening) else { return };
        let mut reasons = vec![reason];
        let new = seen.network.filter(|n| past.is_new_network(*n, seen.time, config));
        let calls = past.calls(seen.operation_key, seen.time);
        let habit = new.is_none() && calls >= self.habit_calls_min;
        if let Some(network) = new {
            severity = severity.max(Severity::High);
            confidence = 90;
            reasons.push(format!("{network} is new to this principal"));
        } else if habit {
            severity = severity.dampened();
            confidence = 40;
            reasons.push(format!("it made this call {calls} times before, which makes it less severe"));
        }
        let target = seen.target().map(|target| format!(" on {target}")).unwrap_or_default();
        out.found(Draft {
            severity,
            confidence,
            title: "Resource opened to strangers".to_owned(),
            message: format!("{} called {}{target} from {}", seen.who(), seen.operation, seen.from()),
            reasons,
            counterfactual: "A change that lets in only the account itself or named networks".to_owned(),
            attacks: vec![technique],
            marks: vec![Mark::of(seen, 0, 0)],
            habitual: habit,
        });
    }
}

fn grade(seen: &Sighting<'_>, opening: Opening) -> Option<Grade> {
    match opening {
        Opening::Share => share(seen),
        Opening::Port => port(seen),
        Opening::Bucket => bucket(seen),
        Opening::Function => function(seen),
        Opening::Console => {
            let reason = format!("{} reaches machines past the network's guards", seen.operation);
            Some((Severity::Medium, 55, CLOUD_SERVICES, reason))
        }
        Opening::Block => {
            let reason = "the guard against public buckets was removed".to_owned();
            Some((Severity::Medium, 60, CLOUD_STORAGE_DATA, reason))
        }
    }
}

fn share(seen: &Sighting<'_>) -> Option<Grade> {
    let unknown = seen.text().is_none();
    if !unknown && !seen.mentions_any(&["\"add\"", "\"valuesToAdd\"", "\"Destination\"", "sharedAccountId"]) {
        return None;
    }
    let with = if seen.mentions("\"all\"") { "everybody" } else { "another account" };
    let confidence = if unknown { 50 } else { 80 };
    Some((
        Severity::High,
        confidence,
        TRANSFER_TO_ACCOUNT,
        format!("{} shares data with {with}", seen.operation),
    ))
}

fn port(seen: &Sighting<'_>) -> Option<Grade> {
    let world = seen.mentions("/0\"").then_some("the whole internet")?;
    let port = seen.text().and_then(|text| number_after(&text, "\"fromPort\""));
    if port.is_some_and(|port| matches!(port, 80 | 443)) {
        return None;
    }
    let port = port.map_or("all ports".to_owned(), |port| format!("port {port}"));
    Some((Severity::Medium, 60, DISABLE_FIREWALL, format!("{port} was opened to {world}")))
}

fn bucket(seen: &Sighting<'_>) -> Option<Grade> {
    const ANYBODY: [&str; 5] =
        ["AllUsers", "AuthenticatedUsers", "public-read", "\"Principal\":\"*\"", "\"AWS\":\"*\""];
    if seen.mentions_any(&ANYBODY) {
        return Some((Severity::High, 65, CLOUD_STORAGE_DATA, "anybody may reach the bucket now".to_owned()));
    }
    let account = seen.foreign_account()?;
    Some((Severity::Medium, 50, CLOUD_STORAGE_DATA, format!("account {account} may reach the bucket now")))
}

fn function(seen: &Sighting<'_>) -> Option<Grade> {
    let found = |who: &str| {
        Some((Severity::High, 70, MANIPULATE_ACCOUNT, format!("{who} may call the function now")))
    };
    if seen.mentions_any(&["\"principal\":\"*\"", "\"NONE\""]) {
        return found("anybody");
    }
    let text = seen.text()?;
    let principal = string_after(&text, "\"principal\"")?;
    let is_account = principal.bytes().all(|b| b.is_ascii_digit()) || principal.starts_with("arn:");
    let foreign = is_account && !principal.contains(seen.event.account().unwrap_or("-"));
    foreign.then(|| found(principal)).flatten()
}

/// The number that follows a key in JSON text without blanks.
fn number_after(text: &str, key: &str) -> Option<u32> {
    let rest = text.split_once(key)?.1.trim_start_matches(':');
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The string that follows a key in JSON text without blanks.
fn string_after<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let rest = text.split_once(key)?.1.trim_start_matches(':').strip_prefix('"')?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted() {
        super::super::assert_sorted(CALLS);
    }

    #[test]
    fn values_are_read_from_text() {
        assert_eq!(number_after(r#"{"fromPort":22,"x":1}"#, "\"fromPort\""), Some(22));
        assert_eq!(number_after(r#"{"fromPort":-1}"#, "\"fromPort\""), None);
        assert_eq!(string_after(r#"{"principal":"123456789012"}"#, "\"principal\""), Some("123456789012"));
    }
}
