//! The key service: keys of the domains and of tokens, versioned; here as a ring in a sealed file.

use crate::Error;
use crate::clock::{chance, random};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prunella_vault_crypto::gate::{Domain, DomainKey, Epoch, Point};
use prunella_vault_crypto::stream;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use zeroize::Zeroizing;

/// Most versions of one key that are kept. None is forgotten while something is sealed under it.
pub const VERSIONS_MAX: usize = 16;

const CONTEXT: &[u8] = b"prunella/vault/keyring/v1";

/// Seals and opens the parts of domains. It never gives a key away.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// Seals a point under the newest key of its domain.
    async fn seal(&self, point: &Point) -> Result<Vec<u8>, Error>;
    /// Opens a part with whichever version of the key sealed it.
    async fn open(&self, record: &[u8], at: Epoch, domain: Domain) -> Result<Point, Error>;
    /// The version under which parts of the domain are sealed now.
    async fn newest(&self, domain: Domain) -> Result<u32, Error>;
    /// Makes a new version the newest. What older ones sealed still opens: one from before `in_use` may be forgotten to make
    /// room, and where there is no such one, it is a conflict.
    async fn rotate(&self, domain: Domain, in_use: u32) -> Result<u32, Error>;
}

/// Keys in a file that is sealed under a key in another file; who has only one of both has nothing.
pub struct Ring {
    path: PathBuf,
    unseal: Zeroizing<[u8; 32]>,
    keys: RwLock<Keys>,
}

/// Versions of keys by name, the newest last.
#[derive(Default)]
struct Keys(BTreeMap<String, Vec<Versioned>>);

type Versioned = (u32, Zeroizing<[u8; 32]>);

/// How keys are written inside the seal.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    version: u32,
    key: String,
}

impl Ring {
    /// Opens the ring, or makes a new one. `names` are the keys it must have.
    pub fn open(path: &Path, unseal: &Path, names: &[&str]) -> Result<Self, Error> {
        let unseal = unseal_key(unseal, path.exists())?;
        let mut keys = match std::fs::read(path) {
            Ok(sealed) => Keys::parse(&sealed, &unseal)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Keys::default(),
            Err(e) => return Err(Error::store("the key ring", &e)),
        };
        let before = keys.0.len();
        for name in names {
            if !keys.0.contains_key(*name) {
                keys.add(name, u32::MAX)?;
            }
        }
        let ring = Ring { path: path.to_owned(), unseal, keys: RwLock::new(Keys::default()) };
        if keys.0.len() != before {
            ring.save(&keys)?;
        }
        *ring.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(ring)
    }

    /// The newest key of a name with its version.
    pub(crate) fn newest(&self, name: &'static str) -> Result<(u32, Zeroizing<[u8; 32]>), Error> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.0.get(name).and_then(|versions| versions.last()).cloned().ok_or(Error::Corrupt("the key ring"))
    }

    /// One version of a key.
    pub(crate) fn version(&self, name: &'static str, version: u32) -> Option<Zeroizing<[u8; 32]>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let versions = keys.0.get(name)?;
        versions.iter().find(|(known, _)| *known == version).map(|(_, key)| key.clone())
    }

    /// Adds a version of a key. When there are too many it forgets the oldest, if that is from before `in_use`.
    pub(crate) fn renew(&self, name: &'static str, in_use: u32) -> Result<u32, Error> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut renewed = Keys(keys.0.clone());
        let version = renewed.add(name, in_use)?;
        self.save(&renewed)?;
        *keys = renewed;
        Ok(version)
    }

    fn save(&self, keys: &Keys) -> Result<(), Error> {
        let text = Zeroizing::new(serde_json::to_vec(&keys.written()).unwrap_or_default());
        let sealed = stream::seal(&self.unseal, CONTEXT, &text, &mut chance())
            .map_err(|_| Error::Unavailable("the cryptographic library"))?;
        write_secret(&self.path, &sealed).map_err(|e| Error::store("the key ring", &e))
    }
}

#[async_trait]
impl KeyService for Ring {
    async fn seal(&self, point: &Point) -> Result<Vec<u8>, Error> {
        let name = name_of(point.domain()).ok_or(Error::Unavailable("a key of this domain"))?;
        let (version, key) = Ring::newest(self, name)?;
        let key = DomainKey::new(point.domain(), key_id(name), version, key);
        point.seal(&key, &mut chance()).map_err(|_| Error::Corrupt("a part"))
    }

    async fn open(&self, record: &[u8], at: Epoch, domain: Domain) -> Result<Point, Error> {
        let name = name_of(domain).ok_or(Error::Unavailable("a key of this domain"))?;
        let versions: Vec<_> = {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            keys.0.get(name).into_iter().flatten().rev().cloned().collect()
        };
        let opened = versions.into_iter().find_map(|(version, key)| {
            Point::open(record, at, &DomainKey::new(domain, key_id(name), version, key)).ok()
        });
        opened.ok_or(Error::Corrupt("a part"))
    }

    async fn newest(&self, domain: Domain) -> Result<u32, Error> {
        let name = name_of(domain).ok_or(Error::Unavailable("a key of this domain"))?;
        Ring::newest(self, name).map(|(version, _)| version)
    }

    async fn rotate(&self, domain: Domain, in_use: u32) -> Result<u32, Error> {
        self.renew(name_of(domain).ok_or(Error::Unavailable("a key of this domain"))?, in_use)
    }
}

impl Keys {
    fn add(&mut self, name: &str, in_use: u32) -> Result<u32, Error> {
        let versions = self.0.entry(name.to_owned()).or_default();
        if versions.len() >= VERSIONS_MAX {
            if versions.first().is_some_and(|(oldest, _)| *oldest >= in_use) {
                return Err(Error::Conflict(
                    "a file is still under the oldest key that is kept: its user must open it before the next rotation",
                ));
            }
            versions.remove(0);
        }
        let version = versions.last().map_or(1, |(version, _)| version + 1);
        versions.push((version, Zeroizing::new(random())));
        Ok(version)
    }

    fn parse(sealed: &[u8], unseal: &[u8; 32]) -> Result<Self, Error> {
        let damaged = Error::Corrupt("the key ring");
        let text = stream::open(unseal, CONTEXT, sealed).map_err(|_| damaged.clone())?;
        let written: Vec<Written> = serde_json::from_slice(&text).map_err(|_| damaged.clone())?;
        let mut keys = Keys::default();
        for Written { name, version, key } in written {
            let key =
                Zeroizing::new(BASE64.decode(Zeroizing::new(key).as_bytes()).map_err(|_| damaged.clone())?);
            let key = key.as_slice().try_into().map_err(|_| damaged.clone())?;
            keys.0.entry(name).or_default().push((version, Zeroizing::new(key)));
        }
        Ok(keys)
    }

    fn written(&self) -> Vec<Written> {
        let all =
            self.0.iter().flat_map(|(name, versions)| versions.iter().map(move |version| (name, version)));
        all.map(|(name, (version, key))| Written {
            name: name.clone(),
            version: *version,
            key: BASE64.encode(**key),
        })
        .collect()
    }
}

/// The name under which a domain's key lies in a ring; parts of people have none.
pub(crate) fn name_of(domain: Domain) -> Option<&'static str> {
    match domain {
        Domain::Objects => Some("objects"),
        Domain::Database => Some("database"),
        Domain::Service => Some("service"),
        Domain::User | Domain::Approver | Domain::Cold => None,
    }
}

fn key_id(name: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    id
}

/// The key that seals the ring. It is made with the ring and never again.
fn unseal_key(path: &Path, ring_exists: bool) -> Result<Zeroizing<[u8; 32]>, Error> {
    let failed = |e: std::io::Error| Error::store("the key of the key ring", &e);
    if !ring_exists && !path.exists() {
        let key = Zeroizing::new(random::<32>());
        write_secret(path, BASE64.encode(*key).as_bytes()).map_err(failed)?;
        return Ok(key);
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    let damaged = Error::Corrupt("the key of the key ring");
    let key = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| damaged.clone())?);
    key.as_slice().try_into().map(Zeroizing::new).map_err(|_| damaged)
}

/// Replaces a file that only its owner may read; whoever reads it finds the old bytes or the new ones.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let staged = path.with_extension("new");
    let _ = std::fs::remove_file(&staged);
    let mut file = crate::objects::create(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&staged, path)?;
    // The parent of a bare name is the folder we are in.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_vault_crypto::FileId;
    use prunella_vault_crypto::gate::{self, Tier};

    #[tokio::test]
    async fn what_an_old_key_sealed_still_opens_and_neither_file_alone_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let (path, unseal) = (dir.path().join("first.ring"), dir.path().join("first.key"));
        let at = Epoch { file: FileId([1; 16]), epoch: 1, tier: Tier::Low };
        let (_, points) = gate::seal(b"inner", at, &mut chance()).unwrap();
        let (old, new) = {
            let ring = Ring::open(&path, &unseal, &["objects"]).unwrap();
            let old = ring.seal(&points[0]).await.unwrap();
            assert_eq!(ring.rotate(Domain::Objects, 1).await, Ok(2));
            (old, ring.seal(&points[0]).await.unwrap())
        };
        let ring = Ring::open(&path, &unseal, &["objects"]).unwrap();
        for record in [&old, &new] {
            let point = ring.open(record, at, Domain::Objects).await.unwrap();
            assert_eq!(point.expose(), points[0].expose());
        }
        assert!(ring.open(&old, Epoch { epoch: 2, ..at }, Domain::Objects).await.is_err());
        assert!(!std::fs::read(&path).unwrap().windows(7).any(|w| w == b"objects"));
        write_secret(&unseal, BASE64.encode([9; 32]).as_bytes()).unwrap();
        assert!(matches!(Ring::open(&path, &unseal, &[]), Err(Error::Corrupt(_))));
        std::fs::remove_file(&unseal).unwrap();
        assert!(Ring::open(&path, &unseal, &[]).is_err(), "a lost key is not made anew beside an old ring");
    }

    #[test]
    fn no_version_goes_that_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::open(&dir.path().join("ring"), &dir.path().join("key"), &["objects"]).unwrap();
        for version in 2..=VERSIONS_MAX as u32 {
            assert_eq!(ring.renew("objects", 1), Ok(version));
        }
        assert!(matches!(ring.renew("objects", 1), Err(Error::Conflict(_))));
        assert!(ring.version("objects", 1).is_some());
        assert_eq!(ring.renew("objects", 2), Ok(VERSIONS_MAX as u32 + 1));
        assert!(ring.version("objects", 1).is_none() && ring.version("objects", 2).is_some());
    }
}
