//! What a client keeps between two runs: its tokens, its identity, the keys of others and the versions that it has seen.

use super::{ClientError, Identity, bytes};
use crate::wire::{PublicKeys, TokenPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use zeroize::Zeroizing;

/// In one file that only its owner may read. Whoever reads it can open the user's files.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub server: String,
    pub username: String,
    pub access_token: String,
    pub refresh_token: String,
    pub device_token: String,
    identity: String,
    /// The key that signs the vault's log, as it was first seen.
    log_key: String,
    /// Keys of others as they were first seen.
    pins: BTreeMap<String, Pin>,
    /// The newest version of each file: an older one is a rollback.
    seen: BTreeMap<String, u64>,
}

#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
struct Pin {
    wrap_key: String,
    sign_key: String,
}

impl Memory {
    /// Reads the file; an empty memory when there is none.
    pub fn load(path: &Path) -> Result<Self, ClientError> {
        match std::fs::read(path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|_| ClientError::Malformed("memory of this client"))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Memory::default()),
            Err(e) => Err(ClientError::File(path.display().to_string(), e)),
        }
    }

    pub fn save(&self, path: &Path) -> Result<(), ClientError> {
        let text = Zeroizing::new(serde_json::to_vec_pretty(self).map_err(|_| ClientError::Crypto)?);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| crate::keyring::write_secret(path, &text))
            .map_err(|e| ClientError::File(path.display().to_string(), e))
    }

    pub fn keep_identity(&mut self, identity: &Identity) {
        self.identity = BASE64.encode(identity.expose());
    }

    pub(crate) fn identity(&self) -> Result<Identity, ClientError> {
        if self.identity.is_empty() {
            return Err(ClientError::NotLoggedIn);
        }
        Identity::from_seed(Zeroizing::new(bytes("identity", &self.identity)?))
    }

    pub(crate) fn keep_tokens(&mut self, pair: TokenPair) {
        self.access_token = pair.access_token;
        self.refresh_token = pair.refresh_token;
        if !pair.device_token.is_empty() {
            self.device_token = pair.device_token;
        }
    }

    pub(crate) fn forget_tokens(&mut self) {
        self.access_token.clear();
        self.refresh_token.clear();
    }

    /// Remembers the keys of somebody at the first sight, and refuses others from then on.
    pub(crate) fn pin(&mut self, username: &str, keys: &PublicKeys) -> Result<(), ClientError> {
        let seen = Pin { wrap_key: keys.wrap_key.clone(), sign_key: keys.sign_key.clone() };
        let pinned = self.pins.entry(username.to_owned()).or_insert_with(|| seen.clone());
        if *pinned == seen { Ok(()) } else { Err(ClientError::KeyChanged(username.to_owned())) }
    }

    /// Remembers the key of the log at the first sight, and refuses another from then on: who can put a key of his own in its
    /// place can sign another log.
    pub fn pin_log(&mut self, verifier_key: &str) -> Result<(), ClientError> {
        if self.log_key.is_empty() {
            verifier_key.clone_into(&mut self.log_key);
        }
        if self.log_key == verifier_key { Ok(()) } else { Err(ClientError::LogKeyChanged) }
    }

    /// Forgets the keys of somebody who says that they are new.
    pub fn forget(&mut self, username: &str) -> bool {
        self.pins.remove(username).is_some()
    }

    /// Whose signing keys are remembered, base64.
    pub(crate) fn pinned(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pins.iter().map(|(name, pin)| (name.as_str(), pin.sign_key.as_str()))
    }

    pub(crate) fn version_min(&self, file: &str) -> u64 {
        self.seen.get(file).copied().unwrap_or(0)
    }

    pub(crate) fn saw(&mut self, file: &str, version: u64) {
        let newest = self.seen.entry(file.to_owned()).or_default();
        *newest = version.max(*newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_under_another_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.json");
        let mut memory = Memory::load(&path).unwrap();
        memory.pin_log("vault+1+first").unwrap();
        memory.save(&path).unwrap();
        let mut memory = Memory::load(&path).unwrap();
        assert!(memory.pin_log("vault+1+first").is_ok());
        assert!(matches!(memory.pin_log("vault+2+second"), Err(ClientError::LogKeyChanged)));
        assert!(memory.pin_log("vault+1+first").is_ok());
    }
}
