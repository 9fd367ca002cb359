//! Keys of people: HPKE key pairs that stanzas and parts are sealed to, and Ed25519 pairs that sign.
//!
//! HPKE is RFC 9180 in base mode with HKDF-SHA256 and ChaCha20-Poly1305, over X25519 (KEM 0x0020) or X-Wing, which is
//! X25519 and ML-KEM-768 together (KEM 0x647a, draft-ietf-hpke-pq). X-Wing is the default: what is recorded today stays
//! closed to a quantum computer. Public keys must come from a directory that the client trusts; nothing here can know
//! whose they are.

use crate::Error;
use crate::key::KEY;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub const SIGNATURE: usize = 64;

/// By which algorithm a key or a stanza works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Suite {
    /// HPKE over X25519.
    X25519 = 1,
    /// HPKE over X-Wing; the only one that outlives a quantum computer.
    XWing = 2,
    /// X25519 forwarding; experimental, see [`crate::forward`].
    Forwarding = 3,
    /// A key-management service holds the key; the server can read such a file (mode `managed`).
    Service = 4,
    /// Ed25519, for signatures.
    Ed25519 = 5,
}

impl TryFrom<u8> for Suite {
    type Error = Error;

    fn try_from(byte: u8) -> Result<Self, Error> {
        [Self::X25519, Self::XWing, Self::Forwarding, Self::Service, Self::Ed25519]
            .into_iter()
            .find(|suite| *suite as u8 == byte)
            .ok_or(Error::Malformed("suite"))
    }
}

/// SHA-256 of a public key with its suite: short enough to compare aloud and to pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    pub(crate) fn of(suite: Suite, key: &[u8]) -> Result<Self, Error> {
        let text = [&b"vault/fingerprint/v1\0"[..], &[suite as u8], key].concat();
        sha256(&text).map(Self)
    }
}

/// What others seal to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    suite: Suite,
    bytes: Vec<u8>,
    fingerprint: Fingerprint,
}

impl PublicKey {
    /// Reads the bytes of a public key: 32 for X25519, 1,216 for X-Wing.
    pub fn parse(suite: Suite, bytes: &[u8]) -> Result<Self, Error> {
        let malformed = Error::Malformed("public key");
        match suite {
            Suite::X25519 => {
                read::<<X25519HkdfSha256 as Kem>::PublicKey>(bytes, malformed)?;
            }
            Suite::XWing => {
                read::<<XWing as Kem>::PublicKey>(bytes, malformed)?;
            }
            _ => return Err(malformed),
        }
        Ok(Self { suite, bytes: bytes.to_vec(), fingerprint: Fingerprint::of(suite, bytes)? })
    }

    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The encapsulated key and the sealed bytes; `info` binds them to what they are for.
    pub(crate) fn seal(
        &self,
        info: &[u8],
        secret: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        match self.suite {
            Suite::X25519 => seal::<X25519HkdfSha256>(&self.bytes, info, secret, rng),
            Suite::XWing => seal::<XWing>(&self.bytes, info, secret, rng),
            _ => Err(Error::Malformed("public key")),
        }
    }
}

/// What opens; 32 bytes in both suites, for X-Wing the seed.
pub struct PrivateKey {
    bytes: Zeroizing<[u8; KEY]>,
    public: PublicKey,
}

impl PrivateKey {
    pub fn generate(suite: Suite, rng: &mut impl CryptoRng) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; KEY]);
        rng.fill_bytes(&mut *bytes);
        Self::from_bytes(suite, bytes)
    }

    pub fn from_bytes(suite: Suite, bytes: Zeroizing<[u8; KEY]>) -> Result<Self, Error> {
        let malformed = Error::Malformed("private key");
        let public = match suite {
            Suite::X25519 => public_of::<X25519HkdfSha256>(&bytes, malformed)?,
            Suite::XWing => public_of::<XWing>(&bytes, malformed)?,
            _ => return Err(malformed),
        };
        Ok(Self { bytes, public: PublicKey::parse(suite, &public)? })
    }

    /// The key itself, for whoever seals or stores it.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY] {
        &self.bytes
    }

    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn open(&self, info: &[u8], enc: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        match self.public.suite {
            Suite::X25519 => open::<X25519HkdfSha256>(&self.bytes, info, enc, sealed),
            Suite::XWing => open::<XWing>(&self.bytes, info, enc, sealed),
            _ => Err(Error::Malformed("private key")),
        }
    }
}

/// What checks a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyingKey(pub [u8; 32]);

impl VerifyingKey {
    pub fn fingerprint(&self) -> Result<Fingerprint, Error> {
        Fingerprint::of(Suite::Ed25519, &self.0)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).map_err(|_| Error::Refused)
    }
}

/// What signs; Ed25519 (RFC 8032), made of a seed of 32 random bytes.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    pub fn from_seed(seed: &Zeroizing<[u8; KEY]>) -> Result<Self, Error> {
        Ed25519KeyPair::from_seed_unchecked(&**seed).map(Self).map_err(|_| Error::Library)
    }

    pub fn verifying(&self) -> Result<VerifyingKey, Error> {
        self.0.public_key().as_ref().try_into().map(VerifyingKey).map_err(|_| Error::Library)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE], Error> {
        let signature = self.0.try_sign(message).map_err(|_| Error::Library)?;
        signature.as_ref().try_into().map_err(|_| Error::Library)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Result<[u8; 32], Error> {
    digest(&SHA256, bytes).as_ref().try_into().map_err(|_| Error::Library)
}

fn read<T: Deserializable>(bytes: &[u8], error: Error) -> Result<T, Error> {
    T::from_bytes(bytes).map_err(|_| error)
}

fn public_of<K: Kem>(private: &[u8; KEY], error: Error) -> Result<Vec<u8>, Error> {
    Ok(K::sk_to_pk(&read::<K::PrivateKey>(private, error)?).to_bytes().to_vec())
}

fn seal<K: Kem>(
    public: &[u8],
    info: &[u8],
    secret: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let public = read::<K::PublicKey>(public, Error::Malformed("public key"))?;
    // A public key of low order gives a shared secret that everyone knows; HPKE refuses it.
    hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, K>(
        &OpModeS::Base,
        &public,
        info,
        secret,
        b"",
        rng,
    )
    .map(|(enc, sealed)| (enc.to_bytes().to_vec(), sealed))
    .map_err(|_| Error::Refused)
}

fn open<K: Kem>(
    private: &[u8; KEY],
    info: &[u8],
    enc: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let private = read::<K::PrivateKey>(private, Error::Malformed("private key"))?;
    let enc = read::<K::EncappedKey>(enc, Error::Malformed("encapsulated key"))?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, K>(
        &OpModeR::Base,
        &private,
        &enc,
        info,
        sealed,
        b"",
    )
    .map(Zeroizing::new)
    .map_err(|_| Error::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9180, appendix A.2.1: our suite, opened with the RFC's key. Only its `aad` differs from how we call HPKE.
    #[test]
    fn rfc_9180_a_2_1() {
        let hex = |text: &str| hex::decode(text).unwrap();
        let private = hex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &read(&private, Error::Library).unwrap(),
            &read(&hex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"), Error::Library)
                .unwrap(),
            &hex("4f6465206f6e2061204772656369616e2055726e"),
            &hex(concat!(
                "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db",
                "21993c62ce81883d2dd1b51a28"
            )),
            b"Count-0",
        );
        assert_eq!(opened.unwrap(), b"Beauty is truth, truth beauty");
        let key = PrivateKey::from_bytes(Suite::X25519, Zeroizing::new(private.try_into().unwrap())).unwrap();
        let want = "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a";
        assert_eq!(hex::encode(key.public().as_bytes()), want);
    }
}
