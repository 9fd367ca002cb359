//! The client: seals before it sends, and proves before it releases a byte.

mod identity;
mod memory;
mod open;
mod put;
mod send;
mod share;
mod verify;

pub use identity::{Identity, Stretched};
pub use memory::Memory;
pub use open::{Found, Progress};
pub use put::Sealed;
pub use share::Bounds;
pub use verify::{Report, fingerprints, public_key, verify};

use crate::wire::{
    Account, Accounts, ChangeClass, ChangeTier, FileInfo, Files, Hook, Import, Level, Login, Logs, Me,
    OfflineParts, Progress as Rotation, PublicKeys, Publish, RecoverWith, Refresh, Register, Rotate, Shares,
    TierName, TokenPair,
};
use crate::{Class, Problem, Role};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prunella_vault_crypto::gate::{Domain, Epoch, Point, Tier};
use prunella_vault_crypto::identity::{PrivateKey, PublicKey, Suite, VerifyingKey};
use prunella_vault_crypto::{Error as CryptoError, FileId};
use std::collections::BTreeMap;

/// Why the client did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach the vault: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// The vault's own words.
    #[error("{} ({})", .0.detail, .0.status)]
    Refused(Problem),
    #[error("the cryptographic library failed")]
    Crypto,
    /// What came does not open, is not signed by its owner, or is not what was asked for.
    #[error("not released: {0}")]
    Unproven(#[from] CryptoError),
    #[error("malformed {0}")]
    Malformed(&'static str),
    #[error("no one sealed `{0}` to you")]
    NotForYou(String),
    /// A version that fewer could open than the one before, without anybody having said so.
    #[error("the version before is sealed to a {0} as well: give it again, or remove the file first")]
    NotSealedTo(&'static str),
    #[error(
        "the keys of `{0}` are not those that were seen before: ask them, then forget the old ones with `vault keys forget`"
    )]
    KeyChanged(String),
    #[error(
        "the log is signed by another key than the one that was seen before: ask the vault's operator whether it was renewed, and log in with a new --memory then"
    )]
    LogKeyChanged,
    #[error("log in first: `prunella vault login`")]
    NotLoggedIn,
    #[error("{0}: {1}")]
    File(String, std::io::Error),
}

impl ClientError {
    /// Whether the vault refused with this status.
    pub fn is_status(&self, status: u16) -> bool {
        matches!(self, ClientError::Refused(problem) if problem.status == status)
    }
}

/// A client of one vault; logged in once it has tokens.
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// What it remembers from one run to the next.
    pub memory: Memory,
}

impl Client {
    pub fn new(base: &str, memory: Memory) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Client { http, base: base.trim_end_matches('/').to_owned(), memory })
    }

    /// Makes an account and its keys. The password stays here.
    pub async fn register(&mut self, username: &str, password: &str) -> Result<Account, ClientError> {
        let stretched = Stretched::new(username, password)?;
        let identity = Identity::generate()?;
        let body = Register {
            username: username.to_owned(),
            password: stretched.auth.to_string(),
            wrap_key: BASE64.encode(identity.wrap.public().as_bytes()),
            sign_key: BASE64.encode(identity.sign.verifying()?.0),
            sealed_identity: identity.seal(username, &stretched)?,
        };
        self.send(self.http.post(self.url(&["register"])?).json(&body)).await
    }

    /// Logs in and opens the identity.
    pub async fn login(&mut self, username: &str, password: &str) -> Result<Me, ClientError> {
        let stretched = Stretched::new(username, password)?;
        let (auth, sealing) = (stretched.auth.to_string(), stretched);
        self.login_as(username, &auth).await?;
        let me: Me = self.get(&["me"]).await?;
        if !me.sealed_identity.is_empty() {
            let identity = Identity::open(username, &sealing, &me.sealed_identity)?;
            self.memory.keep_identity(&identity);
        }
        Ok(me)
    }

    /// Logs in with the password itself: an admin, or an account of another system.
    pub async fn login_as(&mut self, username: &str, password: &str) -> Result<(), ClientError> {
        let form =
            Login { grant_type: "password".into(), username: username.into(), password: password.into() };
        let mut request = self.http.post(self.url(&["login"])?);
        request =
            request.header("content-type", "application/x-www-form-urlencoded").body(send::form(&form)?);
        if self.memory.username == username && !self.memory.device_token.is_empty() {
            request = request.header(crate::access::DEVICE_HEADER, &self.memory.device_token);
        }
        let pair: TokenPair = send::answer(request.send().await?).await?;
        self.memory.username = username.to_owned();
        self.memory.keep_tokens(pair);
        Ok(())
    }

    /// Logs in with the password of another system. An account that was imported from there gets its keys, and its password
    /// stays here from then on: the next time it is `login`.
    pub async fn login_plain(&mut self, username: &str, password: &str) -> Result<(), ClientError> {
        self.login_as(username, password).await?;
        if self.me().await?.account.role != Role::User {
            return Ok(());
        }
        match self.get::<PublicKeys>(&["keys", username]).await {
            Err(error) if error.is_status(404) => {}
            found => return found.map(drop),
        }
        let stretched = Stretched::new(username, password)?;
        let identity = Identity::generate()?;
        let body = Publish {
            password: stretched.auth.to_string(),
            wrap_key: BASE64.encode(identity.wrap.public().as_bytes()),
            sign_key: BASE64.encode(identity.sign.verifying()?.0),
            sealed_identity: identity.seal(username, &stretched)?,
        };
        self.done(self.http.post(self.url(&["me", "keys"])?).json(&body)).await?;
        self.memory.keep_identity(&identity);
        Ok(())
    }

    /// Takes an account over from another system, with the hash of its password: what an admin does.
    pub async fn import(&self, username: &str, password_hash: &str) -> Result<Account, ClientError> {
        let body = Import { username: username.to_owned(), password_hash: password_hash.to_owned() };
        self.send(self.http.post(self.url(&["admin", "users"])?).json(&body)).await
    }

    /// Swaps the refresh token for a new pair.
    pub async fn refresh(&mut self) -> Result<(), ClientError> {
        let body = Refresh { refresh_token: self.memory.refresh_token.clone() };
        let pair = self.send(self.http.post(self.url(&["token", "refresh"])?).json(&body)).await?;
        self.memory.keep_tokens(pair);
        Ok(())
    }

    pub async fn logout(&mut self) -> Result<(), ClientError> {
        self.done(self.http.post(self.url(&["logout"])?)).await?;
        self.memory.forget_tokens();
        Ok(())
    }

    pub async fn me(&self) -> Result<Me, ClientError> {
        self.get(&["me"]).await
    }

    /// A page of the caller's files with the names that the client gave them.
    pub async fn list(
        &self,
        after: &str,
    ) -> Result<(Vec<(Option<String>, FileInfo)>, Option<String>), ClientError> {
        let mut url = self.url(&["files"])?;
        url.query_pairs_mut().append_pair("after", after).append_pair("limit", "1000");
        let page: Files = self.send(self.http.get(url)).await?;
        let identity = self.identity()?;
        let named = page.files.into_iter().map(|file| (identity.open_label(&file.label), file)).collect();
        Ok((named, page.next))
    }

    pub async fn remove(&self, name: &str) -> Result<(), ClientError> {
        let file = self.find(name).await?;
        self.done(self.http.delete(self.url(&["delete", &file.id])?)).await
    }

    pub async fn shares(&self) -> Result<Shares, ClientError> {
        self.get(&["shares"]).await
    }

    pub async fn unshare(&self, id: &str) -> Result<(), ClientError> {
        self.done(self.http.delete(self.url(&["share", id])?)).await
    }

    /// Asks for a tier; of MEDIUM and HIGH it brings the caller's part along, so that the split can follow at once.
    pub async fn change_tier(
        &self,
        name: &str,
        tier: TierName,
        confirm: bool,
    ) -> Result<FileInfo, ClientError> {
        let file = self.find(name).await?;
        let url = self.url(&["files", &file.id, "tier"])?;
        let request = self.http.post(url).json(&ChangeTier { tier, confirm });
        self.send(self.with_part(request, &file)?).await
    }

    /// The same for any file by id, without its part: what an admin does.
    pub async fn harden(&self, id: &str, tier: TierName) -> Result<FileInfo, ClientError> {
        let url = self.url(&["files", id, "tier"])?;
        self.send(self.http.post(url).json(&ChangeTier { tier, confirm: false })).await
    }

    pub async fn change_class(&self, name: &str, class: Class) -> Result<FileInfo, ClientError> {
        let file = self.find(name).await?;
        self.send(self.http.post(self.url(&["files", &file.id, "class"])?).json(&ChangeClass { class })).await
    }

    pub async fn rotate(&self, user: &str, level: Level) -> Result<Rotation, ClientError> {
        self.send(self.http.post(self.url(&["rotateKey", user])?).json(&Rotate { level })).await
    }

    pub async fn rotation(&self, user: &str) -> Result<Rotation, ClientError> {
        self.get(&["rotateKey", user]).await
    }

    /// The keys of somebody else, refused when they are not those that were seen first.
    pub async fn keys(&mut self, username: &str) -> Result<PublicKeys, ClientError> {
        let keys: PublicKeys = self.get(&["keys", username]).await?;
        self.memory.pin(username, &keys)?;
        Ok(keys)
    }

    /// The keys of somebody by id.
    pub(crate) async fn keys_of(&mut self, id: &str) -> Result<PublicKeys, ClientError> {
        let keys: PublicKeys = self.get(&["keys", id]).await?;
        self.memory.pin(&keys.username, &keys)?;
        Ok(keys)
    }

    pub async fn accounts(&self) -> Result<Accounts, ClientError> {
        self.get(&["admin", "users"]).await
    }

    /// `lock`, `unlock` or `revoke-tokens`.
    pub async fn act_on(&self, user: &str, action: &str, hook: &Hook) -> Result<Account, ClientError> {
        self.send(self.http.post(self.url(&["admin", "users", user, action])?).json(hook)).await
    }

    /// A page of the ledger.
    pub async fn logs(&self, after: &str) -> Result<Logs, ClientError> {
        let mut url = self.url(&["admin", "logs"])?;
        url.query_pairs_mut().append_pair("after", after).append_pair("limit", "1000");
        self.send(self.http.get(url)).await
    }

    /// Heals a file with the offline keys that are at hand: `cold` or `approver`, base64.
    pub async fn recover(&self, id: &str, keys: &BTreeMap<String, String>) -> Result<(), ClientError> {
        let sealed: OfflineParts = self.get(&["admin", "files", id, "parts"]).await?;
        let at = Epoch { file: file_id(id)?, epoch: sealed.epoch, tier: Tier::from(sealed.tier) };
        let mut points = BTreeMap::new();
        for (name, record) in &sealed.parts {
            let (Some(key), Some(domain)) = (keys.get(name), offline_domain(name)) else { continue };
            let key = PrivateKey::from_bytes(
                Suite::XWing,
                zeroize::Zeroizing::new(bytes("recovery key", key.trim())?),
            )?;
            let record = BASE64.decode(record).map_err(|_| ClientError::Malformed("part"))?;
            let point = Point::open_as(&record, at, domain, &key)?;
            points.insert(name.clone(), BASE64.encode(point.expose()));
        }
        let body = RecoverWith { epoch: sealed.epoch, points };
        self.done(self.http.post(self.url(&["admin", "files", id, "recover"])?).json(&body)).await
    }

    pub(crate) fn identity(&self) -> Result<Identity, ClientError> {
        self.memory.identity()
    }
}

fn offline_domain(name: &str) -> Option<Domain> {
    match name {
        "cold" => Some(Domain::Cold),
        "approver" => Some(Domain::Approver),
        _ => None,
    }
}

pub(crate) fn file_id(id: &str) -> Result<FileId, ClientError> {
    let bytes = hex::decode(id).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(FileId).ok_or(ClientError::Malformed("file id"))
}

pub(crate) fn bytes<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], ClientError> {
    let bytes = zeroize::Zeroizing::new(BASE64.decode(text).map_err(|_| ClientError::Malformed(what))?);
    bytes.as_slice().try_into().map_err(|_| ClientError::Malformed(what))
}

pub(crate) fn wrap_key(keys: &PublicKeys) -> Result<PublicKey, ClientError> {
    let bytes = BASE64.decode(&keys.wrap_key).map_err(|_| ClientError::Malformed("public key"))?;
    Ok(PublicKey::parse(Suite::XWing, &bytes)?)
}

pub(crate) fn sign_key(keys: &PublicKeys) -> Result<VerifyingKey, ClientError> {
    bytes("public key", &keys.sign_key).map(VerifyingKey)
}
