//! The actions: one file each and one visible list. A new action is a file here and a word in `CATALOG`.

mod account_lock;
mod aws;
mod aws_key_deactivate;
mod aws_principal_quarantine;
mod aws_s3_block_public_access;
mod aws_s3_default_encryption;
mod aws_s3_storage_class;
mod aws_sessions_revoke;
mod azure;
mod azure_blob_archive;
mod azure_container_block_public_access;
mod cloud;
mod event_caep;
mod gcp;
mod gcp_bucket_block_public_access;
mod gcp_key_disable;
mod keys_rotate;
mod notify_pagerduty;
mod notify_slack;
mod notify_webhook;
mod session_kill;
mod setting;
mod storage_harden_tier;
mod text;
mod tokens_revoke;
mod trust_reset;

pub use account_lock::AccountLock;
pub use aws_key_deactivate::AwsKeyDeactivate;
pub use aws_principal_quarantine::AwsPrincipalQuarantine;
pub use aws_s3_block_public_access::AwsS3BlockPublicAccess;
pub use aws_s3_default_encryption::AwsS3DefaultEncryption;
pub use aws_s3_storage_class::AwsS3StorageClass;
pub use aws_sessions_revoke::AwsSessionsRevoke;
pub use azure_blob_archive::AzureBlobArchive;
pub use azure_container_block_public_access::AzureContainerBlockPublicAccess;
pub use event_caep::EventCaep;
pub use gcp_bucket_block_public_access::GcpBucketBlockPublicAccess;
pub use gcp_key_disable::GcpKeyDisable;
pub use keys_rotate::KeysRotate;
pub use notify_pagerduty::NotifyPagerDuty;
pub use notify_slack::NotifySlack;
pub use notify_webhook::NotifyWebhook;
pub use session_kill::SessionKill;
pub use storage_harden_tier::StorageHardenTier;
pub use text::PAYLOAD_BYTES_MAX;
pub use tokens_revoke::TokensRevoke;
pub use trust_reset::TrustReset;

use crate::Config;
use prunella_schemas::plan::{Plan, Reach, Read, Step, TargetState};
use prunella_schemas::{Finding, Id, Timestamp};
use serde_json::Value;

/// Every action that a playbook may name. Those that contain come before those that tell.
pub const CATALOG: &[&'static dyn Action] = &[
    &TokensRevoke,
    &SessionKill,
    &AccountLock,
    &TrustReset,
    &StorageHardenTier,
    &KeysRotate,
    &AwsKeyDeactivate,
    &AwsSessionsRevoke,
    &AwsPrincipalQuarantine,
    &AwsS3BlockPublicAccess,
    &AwsS3DefaultEncryption,
    &AwsS3StorageClass,
    &AzureContainerBlockPublicAccess,
    &AzureBlobArchive,
    &GcpKeyDisable,
    &GcpBucketBlockPublicAccess,
    &NotifyWebhook,
    &NotifySlack,
    &NotifyPagerDuty,
    &EventCaep,
];

/// Most targets of one action for one finding.
pub const TARGETS_MAX: usize = 16;
/// Most steps of one plan.
pub const STEPS_MAX: usize = 16;

/// MITRE D3FEND tactics, as `activity_id` of OCSF Remediation Activity 7001.
pub const ISOLATE: u8 = 1;
pub const EVICT: u8 = 2;
pub const RESTORE: u8 = 3;
pub const HARDEN: u8 = 4;
pub const DETECT: u8 = 5;

/// What can be done about a finding. It describes steps and never takes them.
pub trait Action: Send + Sync {
    /// Such as `tokens.revoke`.
    fn name(&self) -> &'static str;
    fn reach(&self) -> Reach;
    /// When it is taken. What changes anything is taken when something was found, and never else.
    fn occasions(&self) -> &'static [Occasion] {
        &[Occasion::Found]
    }
    /// The D3FEND tactic, for the receipt.
    fn tactic(&self) -> u8;
    /// How long the provider may take to enforce it. `None`: there is nothing to verify, and applied is the end.
    fn horizon_ms(&self) -> Option<i64>;
    /// On what it acts; one plan each.
    fn targets(&self, finding: &Finding, config: &Config) -> Vec<String>;
    /// What must be read before a plan can be made, to settle an unknown outcome and before it is taken back: every target of
    /// its steps. An action that needs nothing must be harmless to repeat under its key, and has nothing to take back.
    fn needs(&self, target: &str) -> Vec<Read>;
    /// The steps, and those that take them back. What a step desires depends on the case alone, never on `states`: the plan's
    /// id is known, and may be signed, without them.
    fn plan(&self, case: &Case<'_>, states: &[TargetState]) -> Result<Steps, NotApplicable>;
    /// The providers and operations that its steps name, to be asked for at start-up.
    fn calls(&self) -> Vec<(String, String)> {
        self.needs("preflight").into_iter().map(|read| (read.provider, read.operation)).collect()
    }
    /// Whether the state found is what the step wants.
    fn stands(&self, step: &Step, found: &Value) -> bool {
        step.desired == *found
    }
    /// Moves the instants that the steps speak of forward, just before they are sent: to the newest evidence, and the end of
    /// a restriction to `until`. A plan that waited for a person must not speak of the time before it waited.
    fn renew(&self, _steps: &mut [Step], _evidence: Timestamp, _until: Timestamp) {}
    /// Whether a finding is about a session that what was done as of `done` does not reach: the attacker is back.
    fn returned(&self, _finding: &Finding, _done: Timestamp) -> bool {
        false
    }
}

/// What an action plans for.
pub struct Case<'a> {
    pub finding: &'a Finding,
    pub target: &'a str,
    pub plan_uid: Id,
    pub incident: Id,
    /// When the plan was opened. Steps that speak of time mean this instant, so that a repeat means the same.
    pub now: Timestamp,
    /// How long a restriction lasts.
    pub restriction_ms: i64,
    /// How many notifications were held back since the one before.
    pub suppressed: u64,
    /// What happened, and to which plan; `None` for a finding alone.
    pub about: Option<(Occasion, &'a Plan)>,
}

/// When an action is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// There is a finding.
    Found,
    /// A plan of the incident waits for a person.
    Asked,
    /// A plan of the incident was carried out and seen to hold.
    Held,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps {
    pub steps: Vec<Step>,
    /// Empty when nothing needs taking back.
    pub undo: Vec<Step>,
}

/// Why an action does not fit this case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotApplicable(pub String);

/// Who keeps an account: the vault those of its users, and our own state those that applications ask for.
pub fn keeper(target: &str, ours: &'static str) -> &'static str {
    if target.starts_with("vault:") { "vault" } else { ours }
}

/// The user of the vault whom a finding is about, if it is about one.
fn of_vault(finding: &Finding) -> Vec<String> {
    let is_user = finding.principal().starts_with("vault:user:");
    is_user.then(|| finding.principal().to_owned()).into_iter().collect()
}

/// The state of `target` among those read.
pub fn state_of<'a>(states: &'a [TargetState], provider: &str, target: &str) -> Option<&'a Value> {
    states.iter().find(|s| s.provider == provider && s.target == target).map(|s| &s.value)
}
