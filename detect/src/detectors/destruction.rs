//! Destruction: many things deleted, or made unreadable by another key, within minutes.

use super::{Table, find, words};
use crate::attack::{DESTROY_DATA, ENCRYPT_DATA, INHIBIT_RECOVERY, Technique};
use crate::config::Config;
use crate::detector::{Detector, Method, analytic};
use crate::evidence::{Draft, Evidence, Severity};
use crate::past::Past;
use crate::rhythm::Measure;
use crate::sighting::Sighting;
use crate::window::{Mark, Window};
use prunella_schemas::finding::Analytic;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Destruction {
    pub span_ms: i64,
    /// Calls that destroy within `span_ms` that are a finding.
    pub calls_min: usize,
    /// Calls that disable keys, change encryption or remove the way back: fewer are needed.
    pub grave_calls_min: usize,
    /// Calls of a principal of which little is known: temporary files are deleted by the hundred.
    pub learning_calls_min: usize,
    /// How many times the most of any hour before.
    pub times_the_most_min: u64,
}

impl Default for Destruction {
    fn default() -> Self {
        Destruction {
            span_ms: 10 * 60_000,
            calls_min: 20,
            grave_calls_min: 5,
            learning_calls_min: 100,
            times_the_most_min: 4,
        }
    }
}

const MARKS_MAX: usize = 128;
/// What a finding may be named after.
const DRAFTS: [Technique; 2] = [DESTROY_DATA, ENCRYPT_DATA];

/// What a call destroys; also `Mark::kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Objects, or whole stores of them.
    Data = 0,
    /// Backups, versions, snapshots: the way back.
    Recovery = 1,
    /// Keys, or the encryption of what is there.
    Key = 2,
}

#[rustfmt::skip]
pub(crate) const CALLS: Table<Harm> = &[
    ("DeleteArchive", "glacier", Harm::Recovery),
    ("DeleteBackup", "dynamodb", Harm::Recovery),
    ("DeleteBackupPlan", "backup", Harm::Recovery),
    ("DeleteBackupVault", "backup", Harm::Recovery),
    ("DeleteBucket", "s3", Harm::Data),
    ("DeleteCluster", "redshift", Harm::Data),
    ("DeleteClusterSnapshot", "redshift", Harm::Recovery),
    ("DeleteDBCluster", "rds", Harm::Data),
    ("DeleteDBClusterSnapshot", "rds", Harm::Recovery),
    ("DeleteDBInstance", "rds", Harm::Data),
    ("DeleteDBInstanceAutomatedBackup", "rds", Harm::Recovery),
    ("DeleteDBSnapshot", "rds", Harm::Recovery),
    ("DeleteFileSystem", "elasticfilesystem", Harm::Data),
    ("DeleteFunction", "lambda", Harm::Data),
    ("DeleteGlobalCluster", "rds", Harm::Data),
    ("DeleteImportedKeyMaterial", "kms", Harm::Key),
    ("DeleteObject", "s3", Harm::Data),
    ("DeleteObjects", "s3", Harm::Data),
    ("DeleteRecoveryPoint", "backup", Harm::Recovery),
    ("DeleteRepository", "ecr", Harm::Data),
    ("DeleteSecret", "secretsmanager", Harm::Data),
    ("DeleteSnapshot", "ec2", Harm::Recovery),
    ("DeleteTable", "dynamodb", Harm::Data),
    ("DeleteVolume", "ec2", Harm::Data),
    ("DeregisterImage", "ec2", Harm::Recovery),
    ("DisableKey", "kms", Harm::Key),
    ("PurgeQueue", "sqs", Harm::Data),
    ("PutBucketEncryption", "s3", Harm::Key),
    ("ScheduleKeyDeletion", "kms", Harm::Key),
    ("TerminateInstances", "ec2", Harm::Data),
];

impl Detector for Destruction {
    fn id(&self) -> &'static str {
        "mass_destruction"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "Mass delete or re-encrypt", "1.0.0", Method::Statistical)
    }

    fn observe(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        window: &mut Window,
        config: &Config,
        out: &mut Evidence,
    ) {
        if seen.is_provider() || seen.event.failed() {
            return;
        }
        let Some(harm) = harm(seen, past, config) else { return };
        if !window.admit(Mark::of(seen, harm as u8, 0), self.span_ms, MARKS_MAX) {
            return;
        }
        if window.marks().len() < self.grave_calls_min.min(self.calls_min) {
            return;
        }
        let new_network = seen.network.is_some_and(|n| past.is_new_network(n, seen.time, config));
        let learning = past.is_learning(seen.time, config);
        let calls_min = if learning { self.learning_calls_min } else { self.calls_min };
        let keys = window.marks().iter().any(|mark| mark.kind == Harm::Key as u8);
        let severity = if new_network || keys { Severity::Critical } else { Severity::High };
        if !DRAFTS.iter().any(|technique| out.is_heard(*technique, severity, seen.time)) {
            return;
        }
        let (calls, marks) = window.fullest(self.span_ms, seen.time, <[Mark]>::len);
        let hour = past.rhythm.amount(Measure::Destroyed, seen.time).saturating_add(1).max(calls as u64);
        let most = past.rhythm.most(Measure::Destroyed);
        let far_above = hour / self.times_the_most_min.max(1) >= most.max(1)
            && past.rhythm.excess_mbit(Measure::Destroyed, hour) > 0;
        let keys = marks.iter().filter(|mark| mark.kind == Harm::Key as u8).count();
        let recovery = marks.iter().filter(|mark| mark.kind == Harm::Recovery as u8).count();
        let grave = keys >= self.grave_calls_min || recovery >= self.grave_calls_min;
        if (calls >= calls_min || (grave && !learning)) && (far_above || (new_network && calls >= calls_min))
        {
            let calls_min = if grave { self.grave_calls_min } else { calls_min };
            let counts = Counts { keys, recovery, most, new_network, calls_min };
            out.found(self.draft(seen, past, marks.to_vec(), &counts));
        }
    }
}

struct Counts {
    keys: usize,
    recovery: usize,
    most: u64,
    new_network: bool,
    calls_min: usize,
}

impl Destruction {
    fn draft(&self, seen: &Sighting<'_>, past: &Past, marks: Vec<Mark>, counts: &Counts) -> Draft {
        let (calls, span) = (marks.len(), words::between(&marks));
        let mut operations: Vec<&str> = marks.iter().map(|mark| &*mark.operation).collect();
        operations.sort_unstable();
        operations.dedup();
        let mut reasons = vec![
            format!("{calls} destructive calls in {span}: {}", words::list(&operations, 4)),
            format!("the most in any of {} hours before was {}", past.rhythm.hours, counts.most),
        ];
        if counts.keys > 0 {
            reasons.push(format!("{} of them disable keys or encrypt with another key", counts.keys));
        }
        if counts.recovery > 0 {
            reasons.push(format!("{} of them remove the way back", counts.recovery));
        }
        if let Some(network) = seen.network.filter(|_| counts.new_network) {
            reasons.push(format!("{network} is new to this principal"));
        }
        let mut attacks = vec![if counts.keys * 2 >= calls { ENCRYPT_DATA } else { DESTROY_DATA }];
        attacks.extend((counts.keys > 0 && counts.keys * 2 < calls).then_some(ENCRYPT_DATA));
        attacks.extend((counts.recovery > 0).then_some(INHIBIT_RECOVERY));
        let severity =
            if counts.new_network || counts.keys > 0 { Severity::Critical } else { Severity::High };
        let limit = counts.most.saturating_mul(self.times_the_most_min).max(counts.calls_min as u64);
        Draft {
            severity,
            confidence: if counts.new_network { 95 } else { 85 },
            title: "Mass destruction of data".to_owned(),
            message: format!("{} made {calls} destructive calls in {span} from {}", seen.who(), seen.from()),
            reasons,
            counterfactual: format!(
                "Fewer than {limit} destructive calls within {}",
                words::span(self.span_ms)
            ),
            attacks,
            marks,
            habitual: false,
        }
    }
}

/// What the call destroys as the principal's past counts it: one, or nothing.
pub fn amount(seen: &Sighting<'_>) -> u64 {
    u64::from(seen.event.succeeded() && find(CALLS, seen).is_some())
}

fn harm(seen: &Sighting<'_>, past: &Past, config: &Config) -> Option<Harm> {
    match (seen.service, seen.operation) {
        ("s3", "CopyObject" | "PutObject") => is_re_encryption(seen, past, config).then_some(Harm::Key),
        ("s3", "PutBucketVersioning") => seen.mentions("Suspended").then_some(Harm::Recovery),
        _ => find(CALLS, seen).copied(),
    }
}

/// An object written with a key that is new to the principal, or with one that only the caller knows.
fn is_re_encryption(seen: &Sighting<'_>, past: &Past, config: &Config) -> bool {
    let new_key = seen.encryption_key().is_some_and(|key| match past.encryption_keys.get(key) {
        Some(known) => {
            known.first.since_ms(past.first) > config.learning_ms
                && seen.time.since_ms(known.first) < config.operation_new_ms
        }
        None => true,
    });
    new_key && !past.is_learning(seen.time, config)
        || seen.operation == "CopyObject"
            && seen.mentions_any(&["server-side-encryption-customer-algorithm", "SSE_C"])
}

#[cfg(test)]
mod tests {
    #[test]
    fn table_is_sorted() {
        super::super::assert_sorted(super::CALLS);
    }
}
