//! Sharing: a stanza for one person by default; a scope for many files, by proxy, where that was asked for.

use super::{Client, ClientError, Found, wrap_key};
use crate::clock::{chance, random};
use crate::wire::{NewShare, Share, ShareMode, Shares};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prunella_vault_crypto::forward::Terms;
use prunella_vault_crypto::identity::{Fingerprint, PublicKey};
use prunella_vault_crypto::manifest::Manifest;
use prunella_vault_crypto::stanza::{Kind, Stanza};

/// How often a share is tried.
const TRIES_MAX: usize = 3;

/// For how long and how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Milliseconds since 1970; 0: never.
    pub expires: i64,
    /// 0: without bound.
    pub downloads_max: u32,
}

impl Client {
    /// Seals the file's key to one more person, in a new manifest. A renewal of the gate may come between reading the old
    /// manifest and sending the new one: then it is read again.
    pub async fn share(&mut self, name: &str, recipient: &str, bounds: Bounds) -> Result<Share, ClientError> {
        for _ in 1..TRIES_MAX {
            match self.share_once(name, recipient, bounds).await {
                Err(error) if error.is_status(409) => {}
                done => return done,
            }
        }
        self.share_once(name, recipient, bounds).await
    }

    async fn share_once(
        &mut self,
        name: &str,
        recipient: &str,
        bounds: Bounds,
    ) -> Result<Share, ClientError> {
        let keys = self.keys(recipient).await?;
        let found = self.open(name).await?;
        let manifest = self.with_stanza(&found, &wrap_key(&keys)?)?;
        let body = NewShare {
            file: found.info.id.clone(),
            recipient: recipient.to_owned(),
            mode: ShareMode::Direct,
            expires: bounds.expires,
            downloads_max: bounds.downloads_max,
            manifest: BASE64.encode(manifest),
            grant: String::new(),
            rekey: String::new(),
        };
        self.send(self.http().post(self.url(&["share"])?).json(&body)).await
    }

    /// Lets the server turn the file's capsule towards the recipient. Experimental: see docs/guide/vault-crypto.md.
    pub async fn share_by_proxy(
        &mut self,
        name: &str,
        scope: &str,
        recipient: &str,
        bounds: Bounds,
    ) -> Result<Share, ClientError> {
        let keys = self.keys(recipient).await?;
        let found = self.open(name).await?;
        let identity = self.identity()?;
        let key = identity.scope(scope)?;
        let fingerprint = key.scope().fingerprint()?;
        let stanzas = &found.verified.manifest().stanzas;
        if !stanzas.iter().any(|stanza| stanza.kind == Kind::Scope && stanza.recipient == fingerprint) {
            return Err(ClientError::NotForYou(format!("{name} in scope {scope}")));
        }
        let expires_ms = if bounds.expires == 0 { i64::MAX as u64 } else { bounds.expires.max(0) as u64 };
        let mut scope_id = [0; 16];
        scope_id.iter_mut().zip(fingerprint.0).for_each(|(to, from)| *to = from);
        let terms = Terms { grant: random(), scope: scope_id, expires_ms };
        let (grant, rekey) = key.grant(&wrap_key(&keys)?, terms, &identity.sign, &mut chance())?;
        let body = NewShare {
            file: found.info.id.clone(),
            recipient: recipient.to_owned(),
            mode: ShareMode::Proxy,
            expires: bounds.expires,
            downloads_max: bounds.downloads_max,
            manifest: String::new(),
            grant: BASE64.encode(grant),
            rekey: BASE64.encode(rekey.expose()),
        };
        let request = self.http().post(self.url(&["share"])?).json(&body);
        self.send(self.with_part(request, &found.info)?).await
    }

    /// The manifest that follows on the newest one, with a stanza for one more person.
    fn with_stanza(&self, found: &Found, recipient: &PublicKey) -> Result<Vec<u8>, ClientError> {
        let manifest = found.verified.manifest();
        let stanza = Stanza::seal(&found.dek, Kind::Direct, recipient, manifest.place, &mut chance())?;
        let mut next: Manifest = manifest.clone();
        next.stanzas.retain(|old| !(old.kind == Kind::Direct && old.recipient == stanza.recipient));
        next.stanzas.push(stanza);
        next.previous = found.verified.hash();
        Ok(next.sign(&self.identity()?.sign)?)
    }

    /// Those to whom a file is shared directly and still: a new version is sealed to them too. Whom the server lists beyond
    /// the stanzas that the owner has signed gets nothing.
    pub(crate) async fn recipients(
        &mut self,
        file: &str,
        manifest: &Manifest,
    ) -> Result<Vec<PublicKey>, ClientError> {
        let signed: Vec<Fingerprint> =
            manifest.stanzas.iter().filter(|s| s.kind == Kind::Direct).map(|s| s.recipient).collect();
        if signed.is_empty() {
            return Ok(Vec::new());
        }
        let Shares { shares } = self.shares().await?;
        let mut keys = Vec::new();
        for share in shares.iter().filter(|s| s.file == file && s.mode == ShareMode::Direct) {
            let key = wrap_key(&self.keys_of(&share.recipient).await?)?;
            if signed.contains(&key.fingerprint()) && !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }
}
