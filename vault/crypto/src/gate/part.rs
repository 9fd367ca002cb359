//! Parts: the points of a split, each sealed and authenticated under the key of the domain that keeps it.
//!
//! `"VPRT" | suite u16 | file 16 | epoch u64 | tier u8 | k u8 | n u8 | domain u8 | lock`, then what is sealed. A lock is
//! `1 | key id 16 | key version u32` for a domain's key, or `2 | suite u8 | fingerprint 32` for a person's. All clear
//! fields are bound to what is sealed: a part does not open as another epoch's, another domain's or another file's.

use super::{Domain, Epoch, HEADER};
use crate::identity::{PrivateKey, PublicKey};
use crate::key::KEY;
use crate::{Error, stream};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"VPRT";
const BY_DOMAIN: u8 = 1;
const BY_PERSON: u8 = 2;
const WHAT: &str = "part";

/// The key of a domain, under which it keeps its parts.
pub struct DomainKey {
    domain: Domain,
    id: [u8; 16],
    version: u32,
    key: Zeroizing<[u8; KEY]>,
}

impl DomainKey {
    /// A random key with the name and version under which its owner finds it again.
    #[must_use]
    pub fn new(domain: Domain, id: [u8; 16], version: u32, key: Zeroizing<[u8; KEY]>) -> Self {
        Self { domain, id, version, key }
    }

    fn lock(&self) -> Vec<u8> {
        [&[BY_DOMAIN], &self.id[..], &self.version.to_be_bytes()].concat()
    }
}

/// One point of one split, open: as secret as a share of the gate key is.
pub struct Point {
    at: Epoch,
    domain: Domain,
    value: Zeroizing<[u8; KEY]>,
}

impl Point {
    pub(super) fn new(at: Epoch, domain: Domain, value: &[u8]) -> Result<Self, Error> {
        let value = value.try_into().map_err(|_| Error::Refused)?;
        Ok(Self { at, domain, value: Zeroizing::new(value) })
    }

    /// A point that somebody else opened: a user's client, which sent it along, or a key service. Whether it is right
    /// shows when the envelope opens; the caller sees to it that a request brings points of its own domains only.
    pub fn from_bytes(at: Epoch, domain: Domain, value: Zeroizing<[u8; KEY]>) -> Result<Self, Error> {
        if at.tier.domains().contains(&domain) { Ok(Self { at, domain, value }) } else { Err(Error::Refused) }
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.at
    }

    #[must_use]
    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// The value itself, for the client that sends it along.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY] {
        &self.value
    }

    /// Seals the point for its domain; a key of another domain is refused.
    pub fn seal(&self, key: &DomainKey, rng: &mut impl CryptoRng) -> Result<Vec<u8>, Error> {
        if key.domain != self.domain {
            return Err(Error::Refused);
        }
        let mut record = self.clear(&key.lock());
        let sealed = stream::seal(&key.key, &record, &*self.value, rng)?;
        record.extend(sealed);
        Ok(record)
    }

    /// Opens a part that a domain keeps, as that of this epoch.
    pub fn open(record: &[u8], at: Epoch, key: &DomainKey) -> Result<Self, Error> {
        let (clear, sealed) = split_clear(record, at, key.domain, &key.lock())?;
        Self::new(at, key.domain, &stream::open(&key.key, clear, sealed)?)
    }

    /// Seals the point to a person: the user, the approver, or the cold recovery key.
    pub fn seal_to(&self, person: &PublicKey, rng: &mut impl CryptoRng) -> Result<Vec<u8>, Error> {
        if !is_personal(self.domain) {
            return Err(Error::Refused);
        }
        let mut record = self.clear(&lock_of(person));
        let (enc, sealed) = person.seal(&record, &*self.value, rng)?;
        record.extend(enc);
        record.extend(sealed);
        Ok(record)
    }

    /// Opens a part that was sealed to a person, as that of this epoch and domain.
    pub fn open_as(record: &[u8], at: Epoch, domain: Domain, person: &PrivateKey) -> Result<Self, Error> {
        let (clear, rest) = split_clear(record, at, domain, &lock_of(person.public()))?;
        let sealed = KEY + stream::TAG;
        let enc = rest.len().checked_sub(sealed).ok_or(Error::Malformed(WHAT))?;
        let (enc, sealed) = rest.split_at(enc);
        Self::new(at, domain, &person.open(clear, enc, sealed)?)
    }

    fn clear(&self, lock: &[u8]) -> Vec<u8> {
        [&self.at.header(MAGIC)[..], &[self.domain as u8], lock].concat()
    }
}

fn is_personal(domain: Domain) -> bool {
    matches!(domain, Domain::User | Domain::Approver | Domain::Cold)
}

fn lock_of(person: &PublicKey) -> Vec<u8> {
    [&[BY_PERSON, person.suite() as u8], &person.fingerprint().0[..]].concat()
}

/// The clear fields, which must be the expected ones, and what is sealed.
fn split_clear<'a>(
    record: &'a [u8],
    at: Epoch,
    domain: Domain,
    lock: &[u8],
) -> Result<(&'a [u8], &'a [u8]), Error> {
    let malformed = Error::Malformed(WHAT);
    let (clear, sealed) = record.split_at_checked(HEADER + 1 + lock.len()).ok_or(malformed)?;
    let expected = [&at.header(MAGIC)[..], &[domain as u8], lock].concat();
    if clear == expected && at.tier.domains().contains(&domain) {
        Ok((clear, sealed))
    } else {
        Err(Error::Refused)
    }
}
