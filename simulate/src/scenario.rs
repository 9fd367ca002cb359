//! Scenario: what an attacker does, call by call. Each call is then tried; nothing here says whether it is accepted.

use crate::Rng;
use crate::call::{Call, SIGN_IN, Token};
use crate::cast::{ACCOUNT, ATTACKER_NETWORK, Identity, REGION, letters};
use crate::operation::{BUCKETS, Seat, call, failing, object_call};
use crate::stream;
use prunella_schemas::Timestamp;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    BruteForce,
    CredentialTheftEnumeration,
    PrivilegeEscalation,
    LogTampering,
    S3Exfiltration,
    RansomEncryptDelete,
    StolenTokenExfiltration,
    BruteForceLogin,
    InsiderBulkDownload,
    PredictableScraper,
    None,
}

/// What is attacked: the simulated cloud's front door, or the vault itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Front {
    #[default]
    Cloud,
    Vault,
}

/// One line of the catalog.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Entry {
    pub scenario: Scenario,
    pub target: Front,
    pub description: &'static str,
    /// MITRE ATT&CK techniques.
    pub attacks: &'static [&'static str],
    /// The IAM user, or the vault's, whose credentials the attacker has.
    pub victim: &'static str,
}

const fn entry(
    scenario: Scenario,
    victim: &'static str,
    attacks: &'static [&'static str],
    description: &'static str,
) -> Entry {
    Entry { scenario, target: Front::Cloud, description, attacks, victim }
}

const fn of_vault(
    scenario: Scenario,
    victim: &'static str,
    attacks: &'static [&'static str],
    description: &'static str,
) -> Entry {
    Entry { scenario, target: Front::Vault, description, attacks, victim }
}

#[rustfmt::skip]
pub const CATALOG: [Entry; 11] = [
    entry(Scenario::BruteForce, "carol.nguyen", &["T1110.001", "T1078.004"],
        "guesses a console password until it fits, then looks around with the session"),
    entry(Scenario::CredentialTheftEnumeration, "dmitri.petrov", &["T1078.004", "T1087.004", "T1580", "T1526", "T1555.006"],
        "uses a stolen key from a new network to list everything and read secrets"),
    entry(Scenario::PrivilegeEscalation, "erin.walsh", &["T1098.001", "T1098.003", "T1136.003"],
        "makes keys and passwords for others, attaches AdministratorAccess, opens a role's trust"),
    entry(Scenario::LogTampering, "farid.haddad", &["T1562.008"],
        "stops and deletes trails, narrows event selectors, deletes flow logs"),
    entry(Scenario::S3Exfiltration, "grace.okafor", &["T1619", "T1530"],
        "lists buckets and downloads them, 500 MB at once among it, at three in the morning"),
    entry(Scenario::RansomEncryptDelete, "henrik.lund", &["T1486", "T1485", "T1490"],
        "re-encrypts objects under a foreign key, deletes the originals and schedules the keys' deletion"),
    of_vault(Scenario::StolenTokenExfiltration, "stella.brandt", &["T1550.001", "T1078.004", "T1530"],
        "uses a stolen session of the vault from another network while its owner is at work, and takes file after file"),
    of_vault(Scenario::BruteForceLogin, "bela.novak", &["T1110.001", "T1078.004"],
        "guesses a password of the vault from several networks until it fits, then takes what is there"),
    of_vault(Scenario::InsiderBulkDownload, "ivan.petrov", &["T1530", "T1567"],
        "takes all of their own files at once, a hundred times what they ever did, at an hour when they never work"),
    of_vault(Scenario::PredictableScraper, "petra.simon", &["T1078.004", "T1530"],
        "lets a program take files at an even pace, and goes on through other networks when asked who it is"),
    entry(Scenario::None, "", &[], "background alone: nobody attacks"),
];

impl Scenario {
    pub fn name(self) -> &'static str {
        match self {
            Scenario::BruteForce => "brute_force",
            Scenario::CredentialTheftEnumeration => "credential_theft_enumeration",
            Scenario::PrivilegeEscalation => "privilege_escalation",
            Scenario::LogTampering => "log_tampering",
            Scenario::S3Exfiltration => "s3_exfiltration",
            Scenario::RansomEncryptDelete => "ransom_encrypt_delete",
            Scenario::StolenTokenExfiltration => "stolen_token_exfiltration",
            Scenario::BruteForceLogin => "brute_force_login",
            Scenario::InsiderBulkDownload => "insider_bulk_download",
            Scenario::PredictableScraper => "predictable_scraper",
            Scenario::None => "none",
        }
    }

    pub fn entry(self) -> &'static Entry {
        CATALOG.iter().find(|entry| entry.scenario == self).unwrap_or(&CATALOG[CATALOG.len() - 1])
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no {kind} is called `{name}`: use one of {known}")]
pub struct NameError {
    kind: &'static str,
    name: String,
    known: String,
}

impl FromStr for Scenario {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        CATALOG.iter().map(|entry| entry.scenario).find(|scenario| scenario.name() == name).ok_or_else(|| {
            NameError {
                kind: "scenario",
                name: name.chars().take(64).collect(),
                known: CATALOG.map(|entry| entry.scenario.name()).join(", "),
            }
        })
    }
}

/// How loud the attacker is: how many calls, how close together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intensity {
    Low,
    #[default]
    Medium,
    High,
}

impl Intensity {
    pub const ALL: [Intensity; 3] = [Intensity::Low, Intensity::Medium, Intensity::High];

    pub fn name(self) -> &'static str {
        self.choose("low", "medium", "high")
    }

    pub(crate) fn choose<T>(self, low: T, medium: T, high: T) -> T {
        match self {
            Intensity::Low => low,
            Intensity::Medium => medium,
            Intensity::High => high,
        }
    }
}

impl FromStr for Intensity {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Intensity::ALL.into_iter().find(|intensity| intensity.name() == name).ok_or_else(|| NameError {
            kind: "intensity",
            name: name.chars().take(64).collect(),
            known: Intensity::ALL.map(Intensity::name).join(", "),
        })
    }
}

/// How long before the attack a stolen session was issued, in milliseconds.
const STOLEN_BEFORE_MS: i64 = 60_000;
/// The one large download, in bytes: 500 MiB.
pub const LARGE_DOWNLOAD_BYTES: u64 = 500 * 1024 * 1024;
/// The attacker's own account, whose key ransomed objects are encrypted under.
pub const FOREIGN_ACCOUNT: &str = "444455556666";

/// The attack, as a list of calls in the order in which they are tried. Empty for [`Scenario::None`].
pub fn attack(scenario: Scenario, intensity: Intensity, seed: u64, begin: Timestamp) -> Vec<Call> {
    let mut script = Script::new(scenario, intensity, seed, begin);
    match scenario {
        Scenario::BruteForce => script.brute_force(),
        Scenario::CredentialTheftEnumeration => script.credential_theft_enumeration(),
        Scenario::PrivilegeEscalation => script.privilege_escalation(),
        Scenario::LogTampering => script.log_tampering(),
        Scenario::S3Exfiltration => script.s3_exfiltration(),
        Scenario::RansomEncryptDelete => script.ransom_encrypt_delete(),
        // The vault is attacked by requests, not by records.
        Scenario::StolenTokenExfiltration
        | Scenario::BruteForceLogin
        | Scenario::InsiderBulkDownload
        | Scenario::PredictableScraper
        | Scenario::None => {}
    }
    script.calls
}

/// The identity whose credentials the attacker uses; `None` when nobody attacks, or the vault is attacked.
pub fn victim(scenario: Scenario) -> Option<Identity> {
    let entry = scenario.entry();
    (!entry.victim.is_empty() && entry.target == Front::Cloud).then(|| Identity::user(entry.victim))
}

struct Script {
    seat: Seat,
    intensity: Intensity,
    rng: Rng,
    calls: Vec<Call>,
}

impl Script {
    fn new(scenario: Scenario, intensity: Intensity, seed: u64, begin: Timestamp) -> Self {
        let mut rng = stream(seed, scenario.name(), intensity as u64);
        let identity = victim(scenario).unwrap_or_else(|| Identity::user("nobody"));
        let credential = format!("ASIA{}", letters("stolen", &format!("{seed} {}", identity.arn()), 16));
        let issued_at = begin.plus_ms(-STOLEN_BEFORE_MS);
        let seat = Seat {
            token: Some(Token { principal: identity.principal(), credential, issued_at, stepped_up_at: None }),
            identity,
            source_ip: format!("{ATTACKER_NETWORK}.{}", rng.random_range(10..240)),
            user_agent: "Boto3/1.40.55 md/Botocore#1.40.55 ua/2.1 os/linux#6.12.48 md/arch#x86_64 lang/python#3.12.11 md/pyimpl#CPython cfg/retry-mode#legacy Botocore/1.40.55".to_owned(),
            vpc_endpoint: None,
        };
        Script { seat, intensity, rng, calls: Vec::new() }
    }

    /// Adds a call after a pause that shortens with intensity and varies by a third.
    fn push(&mut self, mut call: Call) {
        let pause = self.intensity.choose(240, 60, 15);
        call.delay_ms =
            if self.calls.is_empty() { 0 } else { self.rng.random_range(pause * 2 / 3..=pause * 4 / 3) };
        self.calls.push(call);
    }

    fn call(&mut self, service: &str, operation: &str) -> Call {
        call(&self.seat, service, operation, &mut self.rng)
    }

    fn with(&mut self, service: &str, operation: &str, request: Value) {
        let call = Call { request, ..self.call(service, operation) };
        self.push(call);
    }

    fn denied(&mut self, service: &str, operation: &str) {
        let call = failing(self.call(service, operation), "AccessDenied", "");
        self.push(call);
    }

    fn plain(&mut self, calls: &[(&str, &str)]) {
        for (service, operation) in calls {
            let call = self.call(service, operation);
            self.push(call);
        }
    }

    fn brute_force(&mut self) {
        let browser = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36";
        self.seat.user_agent = browser.to_owned();
        for attempt in 0..=self.intensity.choose(8, 20, 60) {
            let mut call = Call { token: None, ..self.call("signin", SIGN_IN) };
            if attempt < self.intensity.choose(8, 20, 60) {
                call = failing(call, "", "Failed authentication");
            }
            self.push(call);
        }
        for _ in 0..self.intensity.choose(1, 2, 4) {
            self.plain(&[
                ("sts", "GetCallerIdentity"),
                ("iam", "ListUsers"),
                ("s3", "ListBuckets"),
                ("ec2", "DescribeInstances"),
            ]);
            self.denied("iam", "ListRoles");
            self.plain(&[
                ("secretsmanager", "ListSecrets"),
                ("secretsmanager", "GetSecretValue"),
                ("s3", "ListObjects"),
                ("s3", "GetObject"),
            ]);
        }
    }

    fn credential_theft_enumeration(&mut self) {
        for _ in 0..self.intensity.choose(1, 2, 5) {
            self.plain(&[("sts", "GetCallerIdentity"), ("iam", "ListUsers"), ("iam", "ListRoles")]);
            self.denied("iam", "GetAccountAuthorizationDetails");
            self.plain(&[
                ("iam", "ListAttachedUserPolicies"),
                ("iam", "ListAccessKeys"),
                ("s3", "ListBuckets"),
            ]);
            self.denied("organizations", "DescribeOrganization");
            self.plain(&[
                ("ec2", "DescribeInstances"),
                ("ec2", "DescribeSecurityGroups"),
                ("lambda", "ListFunctions20150331"),
            ]);
            self.denied("rds", "DescribeDBInstances");
            self.denied("kms", "ListKeys");
            self.plain(&[("dynamodb", "ListTables"), ("secretsmanager", "ListSecrets")]);
            for _ in 0..self.intensity.choose(2, 4, 6) {
                self.plain(&[("secretsmanager", "GetSecretValue")]);
            }
            self.denied("ssm", "GetParametersByPath");
        }
    }

    fn privilege_escalation(&mut self) {
        let admin = "arn:aws:iam::aws:policy/AdministratorAccess";
        let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"AWS": format!("arn:aws:iam::{FOREIGN_ACCOUNT}:root")}}]});
        self.plain(&[
            ("sts", "GetCallerIdentity"),
            ("iam", "ListUsers"),
            ("iam", "ListAttachedUserPolicies"),
        ]);
        let others = ["bruno.keller", "ines.costa", "kira.sato", "liam.doyle", "noah.brandt", "olga.marin"];
        for other in &others[..self.intensity.choose(1, 3, 6)] {
            let key = json!({"accessKey": {"userName": other, "status": "Active", "accessKeyId": format!("AKIA{}", letters("made", other, 16)), "createDate": "Nov 20, 2026, 3:00:01 AM"}});
            let call = Call {
                request: json!({"userName": other}),
                response: key,
                ..self.call("iam", "CreateAccessKey")
            };
            self.push(call);
            self.with(
                "iam",
                "CreateLoginProfile",
                json!({"userName": other, "passwordResetRequired": false}),
            );
            self.with("iam", "AttachUserPolicy", json!({"userName": other, "policyArn": admin}));
        }
        let own = self.seat.identity.arn().rsplit('/').next().unwrap_or_default().to_owned();
        self.with("iam", "AttachUserPolicy", json!({"userName": own, "policyArn": admin}));
        self.with("iam", "PutUserPolicy", json!({"userName": own, "policyName": "all", "policyDocument": "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}"}));
        self.with(
            "iam",
            "UpdateAssumeRolePolicy",
            json!({"roleName": "app-runtime", "policyDocument": trust.to_string()}),
        );
        self.plain(&[
            ("iam", "ListRoles"),
            ("sts", "AssumeRole"),
            ("secretsmanager", "GetSecretValue"),
            ("s3", "ListBuckets"),
        ]);
    }

    fn log_tampering(&mut self) {
        let trail = |name: &str| format!("arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{name}");
        self.plain(&[("sts", "GetCallerIdentity"), ("cloudtrail", "DescribeTrails")]);
        for name in &["organization", "data-events", "security"][..self.intensity.choose(1, 2, 3)] {
            self.with("cloudtrail", "GetTrailStatus", json!({"name": trail(name)}));
            self.with("cloudtrail", "StopLogging", json!({"name": trail(name)}));
            self.with("cloudtrail", "PutEventSelectors", json!({"trailName": trail(name), "eventSelectors": [{"readWriteType": "ReadOnly", "includeManagementEvents": false, "dataResources": []}]}));
            self.with("cloudtrail", "DeleteTrail", json!({"name": trail(name)}));
        }
        self.with(
            "ec2",
            "DeleteFlowLogs",
            json!({"DeleteFlowLogsRequest": {"FlowLogId": {"tag": 1, "content": "fl-0b1c2d3e4f5a69788"}}}),
        );
        self.with("guardduty", "DeleteDetector", json!({"detectorId": "12abc34d567e8fa901bc2d34e56789f0"}));
        self.with("config", "StopConfigurationRecorder", json!({"configurationRecorderName": "default"}));
        self.with("logs", "DeleteLogGroup", json!({"logGroupName": "/aws/cloudtrail/organization"}));
        self.plain(&[
            ("iam", "ListUsers"),
            ("s3", "ListBuckets"),
            ("secretsmanager", "GetSecretValue"),
            ("ec2", "DescribeInstances"),
        ]);
    }

    fn s3_exfiltration(&mut self) {
        self.plain(&[
            ("sts", "GetCallerIdentity"),
            ("s3", "ListBuckets"),
            ("s3", "ListObjects"),
            ("s3", "ListObjects"),
        ]);
        let count = self.intensity.choose(40, 120, 400u64);
        for number in 0..count {
            let key = format!("exports/2026/customers-{number:05}.parquet");
            // Everything is large, and the twelfth download is the largest.
            let bytes = if number == 12 {
                LARGE_DOWNLOAD_BYTES
            } else {
                self.rng.random_range(6_000_000..18_000_000)
            };
            let call = object_call(&self.seat, "GetObject", BUCKETS[2], &key, bytes, &mut self.rng);
            self.push(call);
        }
    }

    fn ransom_encrypt_delete(&mut self) {
        let key = format!("arn:aws:kms:{REGION}:{FOREIGN_ACCOUNT}:key/0e6c5f6a-4f1b-4c58-9f0e-6f3b1c2d3e4f");
        self.plain(&[("sts", "GetCallerIdentity"), ("s3", "ListBuckets"), ("s3", "ListObjects")]);
        self.with(
            "s3",
            "PutBucketVersioning",
            json!({"bucketName": BUCKETS[0], "VersioningConfiguration": {"Status": "Suspended"}}),
        );
        for number in 0..self.intensity.choose(30, 90, 300u64) {
            let name = format!("orders/2026/part-{number:05}.parquet");
            let operation = if number % 4 == 3 { "PutObject" } else { "CopyObject" };
            let mut call = object_call(&self.seat, operation, BUCKETS[0], &name, 4_000_000, &mut self.rng);
            call.request["x-amz-server-side-encryption"] = json!("aws:kms");
            call.request["x-amz-server-side-encryption-aws-kms-key-id"] = json!(key);
            call.request["x-amz-copy-source"] = json!(format!("{}/{name}", BUCKETS[0]));
            self.push(call);
            let call = object_call(&self.seat, "DeleteObject", BUCKETS[0], &name, 0, &mut self.rng);
            self.push(call);
        }
        self.with("s3", "PutBucketLifecycle", json!({"bucketName": BUCKETS[0], "LifecycleConfiguration": {"Rule": {"ID": "all", "Status": "Enabled", "Expiration": {"Days": 1}}}}));
        self.with("s3", "DeleteObjects", json!({"bucketName": BUCKETS[4], "delete": ""}));
        self.with(
            "kms",
            "ScheduleKeyDeletion",
            json!({"keyId": "3a833466-7f7f-4e6d-bb49-63b35c2eab07", "pendingWindowInDays": 7}),
        );
    }
}
