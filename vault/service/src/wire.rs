//! What client and service say to each other.

use crate::files::Class;
use crate::policy::Role;
use prunella_vault_crypto::gate::Tier;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest name of an account and of a file, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest label, in bytes of base64.
pub const LABEL_BYTES_MAX: usize = 2_048;
/// Header with the caller's part of a file's key, in base64.
pub const PART_HEADER: &str = "x-vault-part";
/// Header with the epoch that the part is of.
pub const EPOCH_HEADER: &str = "x-vault-epoch";
/// Objects of up to so many bytes are fetched as a whole. Of a longer one a client may fetch the last chunk first, which
/// proves the length; that is the one span which no bound of a share counts.
pub const WHOLE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Header with the version of the body that is sent.
pub const VERSION_HEADER: &str = "x-vault-version";

/// How dangerous it is to open a file: over how many independent stores its key is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum TierName {
    Low,
    Medium,
    High,
}

impl From<Tier> for TierName {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Low => TierName::Low,
            Tier::Medium => TierName::Medium,
            Tier::High => TierName::High,
        }
    }
}

impl From<TierName> for Tier {
    fn from(tier: TierName) -> Self {
        match tier {
            TierName::Low => Tier::Low,
            TierName::Medium => Tier::Medium,
            TierName::High => Tier::High,
        }
    }
}

/// A new account: what the server may know, and what only the client can open.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    pub username: String,
    /// A password, or what a client derives from it so that the server never sees it.
    pub password: String,
    /// X-Wing public key, base64.
    pub wrap_key: String,
    /// Ed25519 public key, base64.
    pub sign_key: String,
    /// The identity, sealed by the client for its own other devices, base64; may be empty.
    #[serde(default)]
    pub sealed_identity: String,
}

/// The keys of an account that was imported, which are published once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// What the client sends instead of the password from now on.
    pub password: String,
    /// X-Wing public key, base64.
    pub wrap_key: String,
    /// Ed25519 public key, base64.
    pub sign_key: String,
    /// The identity, sealed by the client for its own other devices, base64; may be empty.
    #[serde(default)]
    pub sealed_identity: String,
}

/// The password form of OAuth 2.0 (RFC 6749, 4.3). RFC 9700 advises against it for third parties; this is the first party.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Login {
    /// `password`.
    pub grant_type: String,
    pub username: String,
    pub password: String,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    pub refresh_token: String,
}

#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenPair {
    pub access_token: String,
    /// `bearer`.
    pub token_type: String,
    /// In seconds.
    pub expires_in: i64,
    /// Works once.
    pub refresh_token: String,
    /// To be sent as `X-Vault-Device` with every request; empty when the device is known already.
    #[serde(default)]
    pub device_token: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Account {
    pub id: String,
    pub username: String,
    pub role: Role,
    pub token_version: i64,
    /// Milliseconds since 1970; 0: not locked.
    pub locked_until: i64,
    pub created: i64,
    /// The identity key was asked to be renewed at this instant; 0: never.
    #[serde(default)]
    pub rotate_since: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    #[serde(flatten)]
    pub account: Account,
    pub sealed_identity: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Accounts {
    pub accounts: Vec<Account>,
    /// Give it as `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An account with a hash that another system made.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    pub username: String,
    /// PHC argon2id, or bcrypt; replaced by today's argon2id at the first log-in.
    pub password_hash: String,
}

/// Public keys of an account, to be pinned by whoever seals to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicKeys {
    pub id: String,
    pub username: String,
    pub wrap_key: String,
    pub sign_key: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FileInfo {
    pub id: String,
    pub name: String,
    /// Sealed by the owner's client, for itself.
    pub label: String,
    pub owner: String,
    pub version: u64,
    pub epoch: u64,
    pub tier: TierName,
    /// A change that waits: for its turn, or for the part of the file's user.
    pub tier_wanted: TierName,
    pub class: Class,
    /// Bytes of the sealed body.
    pub size: u64,
    /// Milliseconds since 1970.
    pub changed: i64,
    /// The caller's part of the file's key, sealed to the caller, base64; of MEDIUM and HIGH only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Files {
    pub files: Vec<FileInfo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What the gate gives: the owner's signed manifest, as closed as before to who holds no stanza of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Opened {
    pub id: String,
    pub owner: PublicKeys,
    pub version: u64,
    /// A newer one than the part was of, if a renewal waited for that part.
    pub epoch: u64,
    pub size: u64,
    /// Base64.
    pub manifest: String,
    /// Of a proxy share: the signed grant and the capsule turned towards its recipient, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Turned>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Turned {
    pub grant: String,
    pub capsule: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShareMode {
    /// The manifest has a stanza for the recipient.
    Direct,
    /// The server turns the capsule of a scope towards the recipient. Experimental.
    Proxy,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewShare {
    /// Name or id of the file.
    pub file: String,
    /// Name of the account.
    pub recipient: String,
    pub mode: ShareMode,
    /// Milliseconds since 1970; 0: never.
    #[serde(default)]
    pub expires: i64,
    /// 0: without bound.
    #[serde(default)]
    pub downloads_max: u32,
    /// Direct: the manifest with the recipient's stanza, base64.
    #[serde(default)]
    pub manifest: String,
    /// Proxy: the signed grant and the key that turns its capsules, base64.
    #[serde(default)]
    pub grant: String,
    #[serde(default)]
    pub rekey: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Share {
    pub id: String,
    pub file: String,
    pub owner: String,
    pub recipient: String,
    pub mode: ShareMode,
    pub expires: i64,
    /// Absent: without bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downloads_left: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Shares {
    pub shares: Vec<Share>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTier {
    pub tier: TierName,
    /// Lowering a tier gives up protection: it must be said twice.
    #[serde(default)]
    pub confirm: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeClass {
    pub class: Class,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A new gate key for each file.
    Gate,
    /// New keys of the domains, then new gate keys under them, of everybody.
    Kek,
    /// The user's own keys: marked here, done by the client at the next log-in.
    Identity,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    pub level: Level,
}

/// How far a rotation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    pub files: u64,
    /// Waiting for their turn.
    pub waiting: u64,
    /// Waiting until somebody opens them with the user's part.
    pub waiting_for_user: u64,
}

/// Why an admin, or the response, does something; the same id twice is one action.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hook {
    pub action_id: String,
    pub reason: String,
    /// Milliseconds since 1970; 0: until it is taken back.
    pub expires: i64,
}

/// The point of an offline part, opened by whoever holds the recovery key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoverWith {
    pub epoch: u64,
    /// `cold` or `approver`, with the point in base64.
    pub points: std::collections::BTreeMap<String, String>,
}

/// What the recovery key opens, and where: the sealed parts of one file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OfflineParts {
    pub id: String,
    pub epoch: u64,
    pub tier: TierName,
    pub parts: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Logs {
    /// Entries as the ledger hashes them, oldest first.
    pub entries: Vec<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The newest signed checkpoint, a C2SP note.
    pub checkpoint: String,
    /// The key that signed it, in the form of C2SP.
    pub verifier_key: String,
}
