//! First use of a sensitive call from a new network: what a thief does first with somebody's credentials.

use super::{Table, find, words};
use crate::attack::*;
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
pub struct SensitiveApi {
    /// A principal of which little is known is reported on a critical call only when it also called this many operations
    /// for the first time within `discovery_span_ms`.
    pub discovery_operations_min: usize,
    pub discovery_span_ms: i64,
    /// Reads of secrets within `harvest_span_ms` that are a harvest.
    pub harvest_reads_min: usize,
    /// The same for a principal of which little is known: a program may read what it needs when it starts.
    pub learning_harvest_reads_min: usize,
    pub harvest_span_ms: i64,
}

impl Default for SensitiveApi {
    fn default() -> Self {
        SensitiveApi {
            discovery_operations_min: 12,
            discovery_span_ms: 10 * 60_000,
            harvest_reads_min: 10,
            learning_harvest_reads_min: 20,
            harvest_span_ms: 10 * 60_000,
        }
    }
}

const MARKS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It hands out credentials or whole accounts.
    Critical,
    Sensitive,
    /// It is sensitive only with a key, and by a program, that the principal has not used before.
    NewKeyOnly,
    /// It reads secrets: one is sensitive, many are a harvest.
    Secret,
}

use Weight::{Critical, NewKeyOnly, Secret, Sensitive};

#[rustfmt::skip]
pub(crate) const CALLS: Table<(Technique, Weight)> = &[
    ("AttachGroupPolicy", "iam", (ADD_ROLES, Critical)),
    ("AttachRolePolicy", "iam", (ADD_ROLES, Critical)),
    ("AttachUserPolicy", "iam", (ADD_ROLES, Critical)),
    ("BatchGetSecretValue", "secretsmanager", (SECRETS_STORE, Secret)),
    ("CreateAccessKey", "iam", (ADD_CREDENTIALS, Critical)),
    ("CreateAccountAssignment", "sso", (ADD_ROLES, Critical)),
    ("CreateFunction", "lambda", (CLOUD_SERVICES, Sensitive)),
    ("CreateImage", "ec2", (TRANSFER_TO_ACCOUNT, Sensitive)),
    ("CreateInstanceExportTask", "ec2", (TRANSFER_TO_ACCOUNT, Sensitive)),
    ("CreateKeyPair", "ec2", (ADD_CREDENTIALS, Sensitive)),
    ("CreateLoginProfile", "iam", (ADD_CREDENTIALS, Critical)),
    ("CreatePolicyVersion", "iam", (ADD_ROLES, Critical)),
    ("CreateRole", "iam", (CREATE_CLOUD_ACCOUNT, Sensitive)),
    ("CreateUser", "iam", (CREATE_CLOUD_ACCOUNT, Critical)),
    ("Decrypt", "kms", (UNSECURED_CREDENTIALS, NewKeyOnly)),
    ("GetAccountAuthorizationDetails", "iam", (DISCOVER_ACCOUNTS, Sensitive)),
    ("GetCredentialReport", "iam", (DISCOVER_ACCOUNTS, Sensitive)),
    ("GetFederationToken", "sts", (STOLEN_CLOUD_ACCOUNT, Critical)),
    ("GetPasswordData", "ec2", (UNSECURED_CREDENTIALS, Critical)),
    ("GetSecretValue", "secretsmanager", (SECRETS_STORE, Secret)),
    ("GetSessionToken", "sts", (STOLEN_CLOUD_ACCOUNT, Sensitive)),
    ("GetSigninToken", "signin", (STOLEN_CLOUD_ACCOUNT, Sensitive)),
    ("ImportKeyPair", "ec2", (ADD_CREDENTIALS, Sensitive)),
    ("InvokeModel", "bedrock", (CLOUD_SERVICES, Sensitive)),
    ("LeaveOrganization", "organizations", (DISABLE_TOOLS, Critical)),
    ("ModifyDBSnapshotAttribute", "rds", (TRANSFER_TO_ACCOUNT, Critical)),
    ("ModifyImageAttribute", "ec2", (TRANSFER_TO_ACCOUNT, Critical)),
    ("ModifyInstanceAttribute", "ec2", (CLOUD_SERVICES, Sensitive)),
    ("ModifySnapshotAttribute", "ec2", (TRANSFER_TO_ACCOUNT, Critical)),
    ("PutBucketPolicy", "s3", (CLOUD_STORAGE_DATA, Sensitive)),
    ("PutGroupPolicy", "iam", (ADD_ROLES, Critical)),
    ("PutKeyPolicy", "kms", (MANIPULATE_ACCOUNT, Critical)),
    ("PutRolePolicy", "iam", (ADD_ROLES, Critical)),
    ("PutUserPolicy", "iam", (ADD_ROLES, Critical)),
    ("RunInstances", "ec2", (CLOUD_SERVICES, Sensitive)),
    ("SendCommand", "ssm", (CLOUD_SERVICES, Sensitive)),
    ("SendSSHPublicKey", "ec2-instance-connect", (CLOUD_SERVICES, Critical)),
    ("SendSerialConsoleSSHPublicKey", "ec2-instance-connect", (CLOUD_SERVICES, Critical)),
    ("StartSession", "ssm", (CLOUD_SERVICES, Sensitive)),
    ("UpdateAccessKey", "iam", (ADD_CREDENTIALS, Sensitive)),
    ("UpdateAssumeRolePolicy", "iam", (MODIFY_TRUST, Critical)),
    ("UpdateFunctionCode", "lambda", (CLOUD_SERVICES, Sensitive)),
    ("UpdateLoginProfile", "iam", (ADD_CREDENTIALS, Critical)),
];

/// `GetParameter*` with decryption reads secrets too.
const PARAMETER_READS: [&str; 3] = ["GetParameter", "GetParameters", "GetParametersByPath"];

impl Detector for SensitiveApi {
    fn id(&self) -> &'static str {
        "sensitive_api_new_network"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "First sensitive call from a new network", "1.0.0", Method::Behavioral)
    }

    fn observe(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        window: &mut Window,
        config: &Config,
        out: &mut Evidence,
    ) {
        if seen.by_service {
            return;
        }
        let Some((technique, weight)) = call(seen) else { return };
        let new_network = seen.network.is_some_and(|n| past.is_new_network(n, seen.time, config));
        let new_operation = past.is_new_operation(seen.operation_key, seen.time, config);
        let mark = Mark::of(seen, 0, seen.operation_key);
        if weight == Secret && (new_network || new_operation) {
            window.admit(mark.clone(), self.harvest_span_ms, MARKS_MAX);
            self.harvest(seen, window, new_network, past.is_learning(seen.time, config), out);
        }
        let severity = match (weight, new_network, new_operation) {
            (NewKeyOnly, true, _) if is_new_key(seen, past) && is_new_agent(seen, past) => Severity::Medium,
            (NewKeyOnly, ..) => return,
            (Critical, true, true) => Severity::High,
            (Critical, true, false) => Severity::Low,
            (Sensitive | Secret, true, true) => Severity::Medium,
            (Critical, false, true) if self.is_stranger_looking_around(seen, past, config) => {
                Severity::Medium
            }
            _ => return,
        };
        out.found(self.draft(seen, past, config, technique, severity, mark));
    }
}

impl SensitiveApi {
    /// Little is known of the principal, but it called many operations within minutes before this one.
    fn is_stranger_looking_around(&self, seen: &Sighting<'_>, past: &Past, config: &Config) -> bool {
        past.is_learning(seen.time, config)
            && past.events > 0
            && past.user_agents.len() <= 1
            && past.operations_met_within(self.discovery_span_ms, seen.time) >= self.discovery_operations_min
            && past.operations.len() as u64 * 2 >= past.events
    }

    fn draft(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        config: &Config,
        technique: Technique,
        severity: Severity,
        mark: Mark,
    ) -> Draft {
        let new_operation = past.is_new_operation(seen.operation_key, seen.time, config);
        let mut reasons = Vec::new();
        if let Some(network) = seen.network.filter(|n| past.is_new_network(*n, seen.time, config)) {
            let others = past.networks.len() - usize::from(past.networks.get(network.key()).is_some());
            reasons.push(format!(
                "{network} is new to this principal, which was seen from {others} others before"
            ));
        }
        if new_operation {
            let events = past.events;
            reasons
                .push(format!("{} was not among its operations in {events} events before", seen.operation));
        }
        if past.is_learning(seen.time, config) {
            let recent = past.operations_met_within(self.discovery_span_ms, seen.time);
            reasons.push(format!(
                "little is known of it, and it called {recent} operations for the first time just before"
            ));
        }
        let new_agent = seen.user_agent_key().is_some_and(|agent| past.user_agents.count(agent) == 0);
        if new_agent && !past.user_agents.is_empty() {
            reasons.push("the client program is new to this principal as well".to_owned());
        }
        if seen.event.failed() {
            reasons.push("the call was refused".to_owned());
        }
        let confidence = if seen.event.failed() {
            50
        } else if new_agent {
            80
        } else {
            65
        };
        Draft {
            severity,
            confidence,
            title: format!("First {} from a new network", seen.operation),
            message: format!(
                "{} called {} on {} from {}",
                seen.who(),
                seen.operation,
                seen.service,
                seen.from()
            ),
            reasons,
            counterfactual: "The same call from a network this principal has used before".to_owned(),
            attacks: vec![technique, STOLEN_CLOUD_ACCOUNT],
            marks: vec![mark],
            habitual: false,
        }
    }

    fn harvest(
        &self,
        seen: &Sighting<'_>,
        window: &Window,
        new_network: bool,
        learning: bool,
        out: &mut Evidence,
    ) {
        let (reads, marks) = window.fullest(self.harvest_span_ms, seen.time, <[Mark]>::len);
        let reads_min = if learning { self.learning_harvest_reads_min } else { self.harvest_reads_min };
        let severity = if learning { Severity::Medium } else { Severity::High };
        if reads < reads_min || !out.is_heard(SECRETS_STORE, severity, seen.time) {
            return;
        }
        let span = words::between(marks);
        let mut reasons =
            vec![format!("{reads} reads of secrets in {span} by a principal that does not read secrets")];
        if let Some(network) = seen.network.filter(|_| new_network) {
            reasons.push(format!("{network} is new to this principal"));
        }
        out.found(Draft {
            severity,
            confidence: if new_network {
                90
            } else if learning {
                50
            } else {
                70
            },
            title: "Secrets harvested".to_owned(),
            message: format!("{} read {reads} secrets in {span} from {}", seen.who(), seen.from()),
            reasons,
            counterfactual: format!(
                "Fewer than {} reads within {}, or a principal that has read secrets before",
                reads_min,
                words::span(self.harvest_span_ms)
            ),
            attacks: vec![SECRETS_STORE],
            marks: marks.to_vec(),
            habitual: false,
        });
    }
}

fn call(seen: &Sighting<'_>) -> Option<(Technique, Weight)> {
    if seen.service == "ssm" && PARAMETER_READS.contains(&seen.operation) {
        let decrypts = seen.mentions("\"withDecryption\":true");
        return decrypts.then_some((SECRETS_STORE, Sensitive));
    }
    find(CALLS, seen).copied()
}

fn is_new_agent(seen: &Sighting<'_>, past: &Past) -> bool {
    seen.user_agent_key().is_some_and(|agent| past.user_agents.count(agent) == 0)
}

fn is_new_key(seen: &Sighting<'_>, past: &Past) -> bool {
    seen.encryption_key().is_some_and(|key| past.encryption_keys.count(key) == 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn table_is_sorted() {
        super::super::assert_sorted(super::CALLS);
    }
}
