//! The client's keys: one seed, from which everything else follows, and the password that seals it.

use super::ClientError;
use crate::clock::{chance, random};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA512, KeyType, Prk};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prunella_vault_crypto::forward::ScopeKey;
use prunella_vault_crypto::identity::{PrivateKey, SigningKey, Suite};
use prunella_vault_crypto::stream;
use zeroize::Zeroizing;

/// What RFC 9106 recommends second (64 MiB, three passes), with one lane; compiled in, so that no server can lower it.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;

/// What a password gives, each half of which says nothing about the other.
pub struct Stretched {
    /// What the server is told instead of the password.
    pub auth: Zeroizing<String>,
    /// What seals the identity.
    seal: Zeroizing<[u8; 32]>,
}

impl Stretched {
    pub fn new(username: &str, password: &str) -> Result<Self, ClientError> {
        let salt = digest(&SHA256, format!("prunella/vault/auth/v1\0{username}").as_bytes());
        let params = Params::new(MEMORY_KIB, PASSES, 1, Some(32)).map_err(|_| ClientError::Crypto)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut stretched = Zeroizing::new([0; 32]);
        argon2
            .hash_password_into(password.as_bytes(), salt.as_ref(), &mut *stretched)
            .map_err(|_| ClientError::Crypto)?;
        let auth = Zeroizing::new(hex::encode(*expand(&stretched, &[b"auth"])?));
        Ok(Stretched { auth, seal: expand(&stretched, &[b"seal"])? })
    }
}

/// Who the client is: what signs, what opens, and what names files so that the names say nothing.
pub struct Identity {
    seed: Zeroizing<[u8; 32]>,
    pub wrap: PrivateKey,
    pub sign: SigningKey,
    names: Zeroizing<[u8; 32]>,
}

impl Identity {
    pub fn generate() -> Result<Self, ClientError> {
        Self::from_seed(Zeroizing::new(random()))
    }

    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, ClientError> {
        Ok(Identity {
            wrap: PrivateKey::from_bytes(Suite::XWing, expand(&seed, &[b"wrap"])?)?,
            sign: SigningKey::from_seed(&expand(&seed, &[b"sign"])?)?,
            names: expand(&seed, &[b"names"])?,
            seed,
        })
    }

    /// The seed itself, for whoever stores it.
    pub fn expose(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The identity for other devices of the same user, opened by the password alone.
    pub fn seal(&self, username: &str, password: &Stretched) -> Result<String, ClientError> {
        let sealed = stream::seal(&password.seal, &context(username), &*self.seed, &mut chance())?;
        Ok(BASE64.encode(sealed))
    }

    pub fn open(username: &str, password: &Stretched, sealed: &str) -> Result<Self, ClientError> {
        let sealed = BASE64.decode(sealed).map_err(|_| ClientError::Malformed("sealed identity"))?;
        let seed = stream::open(&password.seal, &context(username), &sealed)?;
        Self::from_seed(Zeroizing::new(
            seed.as_slice().try_into().map_err(|_| ClientError::Malformed("sealed identity"))?,
        ))
    }

    /// The name under which the server knows a file: the same for the same name, and nothing else.
    pub fn name(&self, name: &str) -> String {
        hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*self.names), name.as_bytes()))
    }

    /// The name as the client keeps it at the server, for its own lists.
    pub fn label(&self, name: &str) -> Result<String, ClientError> {
        Ok(BASE64.encode(stream::seal(&self.names, b"label", name.as_bytes(), &mut chance())?))
    }

    pub fn open_label(&self, label: &str) -> Option<String> {
        let sealed = BASE64.decode(label).ok()?;
        let name = stream::open(&self.names, b"label", &sealed).ok()?;
        String::from_utf8(name.to_vec()).ok()
    }

    /// The key of a scope: files that are shared alike by proxy.
    pub fn scope(&self, scope: &str) -> Result<ScopeKey, ClientError> {
        Ok(ScopeKey::from_bytes(expand(&self.seed, &[b"scope", scope.as_bytes()])?))
    }
}

fn context(username: &str) -> Vec<u8> {
    format!("prunella/vault/identity/v1\0{username}").into_bytes()
}

struct Key32;

impl KeyType for Key32 {
    fn len(&self) -> usize {
        32
    }
}

fn expand(key: &[u8; 32], info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, ClientError> {
    let prk = Prk::new_less_safe(HKDF_SHA512, key);
    let info: Vec<&[u8]> =
        [&b"prunella/vault/client/v1\0"[..]].into_iter().chain(info.iter().copied()).collect();
    let mut out = Zeroizing::new([0; 32]);
    prk.expand(&info, Key32).and_then(|okm| okm.fill(&mut *out)).map_err(|_| ClientError::Crypto)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_device_has_the_same_identity_by_the_password_alone() {
        let password = Stretched::new("alice", "correct horse battery").unwrap();
        let identity = Identity::generate().unwrap();
        let sealed = identity.seal("alice", &password).unwrap();
        let other = Identity::open("alice", &password, &sealed).unwrap();
        assert_eq!(identity.wrap.public(), other.wrap.public());
        assert_eq!(identity.name("report"), other.name("report"));
        assert_ne!(identity.name("report"), identity.name("report "));
        assert_eq!(other.open_label(&identity.label("naïve").unwrap()).as_deref(), Some("naïve"));
        assert!(Identity::open("bob", &password, &sealed).is_err());
        for (name, wrong) in [("alice", "correct horse batterz"), ("bob", "correct horse battery")] {
            let wrong = Stretched::new(name, wrong).unwrap();
            assert!(Identity::open("alice", &wrong, &sealed).is_err() && wrong.auth != password.auth);
        }
        assert!(Identity::generate().unwrap().open_label(&identity.label("x").unwrap()).is_none());
    }
}
