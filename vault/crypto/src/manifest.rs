//! The inner manifest: what the client says about a version of a file, signed by its owner, opaque to no one and closed to all.
//!
//! A map of CBOR in its one deterministic form, and an Ed25519 signature over
//! `"vault/manifest/v1\0" || SHA-512(map)`; both together are the inner blob that an envelope holds.

use crate::body::{self, HEAD, Place};
use crate::cbor::{Reader, Writer};
use crate::identity::{Fingerprint, SIGNATURE, SigningKey, Suite, VerifyingKey, sha256};
use crate::stanza::{Kind, Stanza};
use crate::{Dek, Error, FileId, stream};
use aws_lc_rs::digest::{SHA512, digest};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Longest manifest with its signature, in bytes. X-Wing stanzas of 1.2 KiB fill it long before [`STANZAS_MAX`].
pub const BYTES_MAX: usize = 64 * 1024;
pub const STANZAS_MAX: usize = 256;

const FORMAT: u64 = 1;
const ENTRIES: u64 = 12;
const WHAT: &str = "manifest";

/// Who can read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Only those to whom the client sealed its key.
    EndToEnd = 1,
    /// The server too, through a key-management service.
    Managed = 2,
}

/// Which algorithms a reader still accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Floor {
    /// Every suite of this version.
    Classical = 0,
    /// X-Wing only: no X25519 alone, no forwarding, no service.
    PostQuantum = 1,
}

/// What the owner says about one version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub mode: Mode,
    pub place: Place,
    /// SHA-256 of the blob that this one replaces; zeros for the first.
    pub previous: [u8; 32],
    /// The size of the message is at most two to the power of this, in bytes.
    pub size_bucket: u8,
    /// The name, sealed by [`seal_name`].
    pub name: Vec<u8>,
    pub body_commitment: [u8; 32],
    pub body_sha256: [u8; 32],
    /// When, in milliseconds since 1970, by the client's clock.
    pub created_ms: u64,
    pub floor: Floor,
    pub stanzas: Vec<Stanza>,
}

/// What the reader already knows, and a manifest must not contradict.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub file: FileId,
    /// The newest version that this client has seen; an older one is a rollback.
    pub version_min: u64,
    pub floor: Floor,
}

impl Manifest {
    /// The signed blob.
    pub fn sign(&self, owner: &SigningKey) -> Result<Vec<u8>, Error> {
        self.check()?;
        let mut blob = self.encode(owner.verifying()?.fingerprint()?);
        let signature = owner.sign(&signed(&blob))?;
        blob.extend_from_slice(&signature);
        if blob.len() > BYTES_MAX { Err(Error::TooLarge(WHAT)) } else { Ok(blob) }
    }

    fn check(&self) -> Result<(), Error> {
        if self.stanzas.len() > STANZAS_MAX {
            return Err(Error::TooLarge(WHAT));
        }
        let below = self.floor == Floor::PostQuantum && self.stanzas.iter().any(|s| s.suite != Suite::XWing);
        let managed = self.stanzas.iter().any(|s| s.kind == Kind::Service);
        let fits = self.stanzas.iter().all(|stanza| match stanza.kind {
            Kind::Owner | Kind::Direct | Kind::Recovery => {
                matches!(stanza.suite, Suite::X25519 | Suite::XWing)
            }
            Kind::Scope => stanza.suite == Suite::Forwarding,
            Kind::Service => stanza.suite == Suite::Service,
        });
        if below || !fits || (managed && self.mode == Mode::EndToEnd) {
            return Err(Error::Refused);
        }
        Ok(())
    }

    fn encode(&self, owner: Fingerprint) -> Vec<u8> {
        let mut map = Writer::map(ENTRIES);
        map.uint(1).uint(FORMAT);
        map.uint(2).uint(self.mode as u64);
        map.uint(3).bytes(&self.place.file.0);
        map.uint(4).uint(self.place.version);
        map.uint(5).bytes(&self.previous);
        map.uint(6).uint(u64::from(self.size_bucket));
        map.uint(7).bytes(&self.name);
        map.uint(8).bytes(&[self.body_commitment, self.body_sha256].concat());
        map.uint(9).uint(self.created_ms);
        map.uint(10).bytes(&owner.0);
        map.uint(11).uint(self.floor as u64);
        map.uint(12).array(self.stanzas.len());
        for stanza in &self.stanzas {
            map.array(5).uint(stanza.kind as u64).uint(stanza.suite as u64);
            map.bytes(&stanza.recipient.0).bytes(&stanza.enc).bytes(&stanza.sealed);
        }
        map.0
    }

    fn decode(map: &[u8]) -> Result<(Self, Fingerprint), Error> {
        let malformed = Error::Malformed(WHAT);
        let mut map = Reader::map(map, ENTRIES, WHAT)?;
        map.key(1)?;
        map.key(FORMAT)?;
        map.key(2)?;
        let mode = [Mode::EndToEnd, Mode::Managed];
        let byte = map.byte()?;
        let mode = mode.into_iter().find(|mode| *mode as u8 == byte).ok_or(malformed)?;
        map.key(3)?;
        let file = FileId(map.fixed()?);
        map.key(4)?;
        let version = map.uint()?;
        map.key(5)?;
        let previous = map.fixed()?;
        map.key(6)?;
        let size_bucket = map.byte()?;
        map.key(7)?;
        let name = map.bytes()?.to_vec();
        map.key(8)?;
        let body: [u8; 64] = map.fixed()?;
        let (body_commitment, body_sha256) = body.split_at(32);
        map.key(9)?;
        let created_ms = map.uint()?;
        map.key(10)?;
        let owner = Fingerprint(map.fixed()?);
        map.key(11)?;
        let byte = map.byte()?;
        let floor = [Floor::Classical, Floor::PostQuantum];
        let floor = floor.into_iter().find(|floor| *floor as u8 == byte).ok_or(malformed)?;
        map.key(12)?;
        let stanzas = (0..map.array(STANZAS_MAX)?).map(|_| stanza(&mut map)).collect::<Result<_, _>>()?;
        map.end()?;
        let manifest = Self {
            mode,
            place: Place { file, version },
            previous,
            size_bucket,
            name,
            body_commitment: body_commitment.try_into().map_err(|_| malformed)?,
            body_sha256: body_sha256.try_into().map_err(|_| malformed)?,
            created_ms,
            floor,
            stanzas,
        };
        Ok((manifest, owner))
    }
}

/// A manifest whose signature, owner, version and algorithms were checked; there is no other way to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    manifest: Manifest,
    hash: [u8; 32],
}

impl Verified {
    /// Checks a blob: signature, owner, floor, version, in this order. `owner` comes from a directory that is trusted.
    pub fn open(blob: &[u8], owner: &VerifyingKey, expected: &Expected) -> Result<Self, Error> {
        if blob.len() > BYTES_MAX {
            return Err(Error::TooLarge(WHAT));
        }
        let (map, signature) = blob.split_last_chunk::<SIGNATURE>().ok_or(Error::Malformed(WHAT))?;
        owner.verify(&signed(map), signature)?;
        let (manifest, claimed) = Manifest::decode(map)?;
        manifest.check()?;
        let is_expected = claimed == owner.fingerprint()?
            && manifest.place.file == expected.file
            && manifest.place.version >= expected.version_min
            && manifest.floor >= expected.floor;
        if is_expected { Ok(Self { manifest, hash: sha256(blob)? }) } else { Err(Error::Refused) }
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the blob: what the next manifest names as `previous`.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The body at hand must be the one that the owner signed.
    pub fn check_body(&self, head: &[u8; HEAD]) -> Result<(), Error> {
        let is_there = Place::parse(head)? == self.manifest.place;
        let is_same = body::commitment(head).ct_eq(&self.manifest.body_commitment);
        if is_there && bool::from(is_same) { Ok(()) } else { Err(Error::Refused) }
    }
}

/// Seals a file's name under the key of the file.
pub fn seal_name(dek: &Dek, place: Place, name: &str, rng: &mut impl CryptoRng) -> Result<Vec<u8>, Error> {
    let (key, context) = name_key(dek, place)?;
    stream::seal(&key, &context, name.as_bytes(), rng)
}

/// Opens a file's name. What it says is the owner's word: check it before it becomes a path.
pub fn open_name(dek: &Dek, place: Place, sealed: &[u8]) -> Result<Zeroizing<String>, Error> {
    let (key, context) = name_key(dek, place)?;
    let name = stream::open(&key, &context, sealed)?;
    let name = std::str::from_utf8(&name).map_err(|_| Error::Refused)?;
    Ok(Zeroizing::new(name.to_owned()))
}

fn name_key(dek: &Dek, place: Place) -> Result<(Zeroizing<[u8; 32]>, Vec<u8>), Error> {
    let mut key = Zeroizing::new([0; 32]);
    stream::expand(dek.expose(), &[b"vault/name/v1"], &mut *key)?;
    Ok((key, [&place.file.0[..], &place.version.to_be_bytes()].concat()))
}

fn stanza(map: &mut Reader<'_>) -> Result<Stanza, Error> {
    if map.array(5)? != 5 {
        return Err(Error::Malformed(WHAT));
    }
    Ok(Stanza {
        kind: map.byte()?.try_into()?,
        suite: map.byte()?.try_into()?,
        recipient: Fingerprint(map.fixed()?),
        enc: map.bytes()?.to_vec(),
        sealed: map.bytes()?.to_vec(),
    })
}

fn signed(map: &[u8]) -> Vec<u8> {
    [&b"vault/manifest/v1\0"[..], digest(&SHA512, map).as_ref()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let stanza = Stanza {
            kind: Kind::Owner,
            suite: Suite::X25519,
            recipient: Fingerprint([3; 32]),
            enc: vec![4; 32],
            sealed: vec![5; 48],
        };
        let manifest = Manifest {
            mode: Mode::EndToEnd,
            place: Place { file: FileId([1; 16]), version: 300 },
            previous: [0; 32],
            size_bucket: 40,
            name: vec![7; 30],
            body_commitment: [8; 32],
            body_sha256: [9; 32],
            created_ms: 1_790_000_000_000,
            floor: Floor::Classical,
            stanzas: vec![stanza; 2],
        };
        manifest.encode(Fingerprint([2; 32]))
    }

    /// Whatever an owner signs is read without panic, and has one encoding.
    fn check(map: &[u8]) -> bool {
        let Ok((manifest, owner)) = Manifest::decode(map) else { return false };
        assert_eq!(manifest.encode(owner), map);
        true
    }

    #[test]
    fn the_sample_is_read_and_no_longer_or_shorter_one() {
        let sample = sample();
        assert!(check(&sample));
        assert!((0..sample.len()).all(|cut| !check(&sample[..cut])));
        assert!(!check(&[&sample[..], b"\0"].concat()));
    }

    proptest! {
        #[test]
        fn altered_maps_have_one_encoding_or_none(at in 0_usize..600, byte: u8, cut in 0_usize..600) {
            let mut map = sample();
            let len = map.len();
            map[at % len] = byte;
            check(&map);
            map.truncate(cut);
            prop_assert!(cut >= len || !check(&map));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(!check(&bytes));
        }
    }
}
