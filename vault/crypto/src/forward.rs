//! Proxy re-encryption by X25519 forwarding. **Experimental**: unreviewed, not post-quantum, not safe against collusion.
//!
//! Scheme: Vial-Prado and Wussler, arXiv 2211.06992; draft-wussler-openpgp-forwarding-00, whose vectors the tests hold.
//! A scope key `s` has the public point `S`. A file's key is sealed to `S` in a capsule `E = eG`. For a grant the owner
//! draws `f`, gives the proxy `k = s / f mod l`, and seals `f` to the recipient. The proxy turns `E` into `kE` and learns
//! nothing; the recipient's X25519 of `f` and `kE` is that of `s` and `E`. One direction, one hop.
//!
//! - **Collusion**: `k * f = s`. Proxy and recipient together hold the scope key: every file of this scope, later ones
//!   too. So a scope is small, and never the owner's identity. To revoke for good is to change the scope key.
//! - **No oracle**: a [`ReKey`] transforms only capsules that stand in a manifest which the owner signed.
//! - **Torsion**: the capsule is multiplied by eight first and the key by the inverse of eight, so that no part of small
//!   order can carry `k mod 8` out.

use crate::body::Place;
use crate::identity::{
    Fingerprint, PrivateKey, PublicKey, SIGNATURE, SigningKey, Suite, VerifyingKey, sha256,
};
use crate::key::KEY;
use crate::manifest::Verified;
use crate::stanza::{Kind, Stanza, binding};
use crate::{Dek, Error, cbor, stream};
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

const WHAT: &str = "grant";
const ENTRIES: u64 = 8;
/// Modulo the order of the group, little-endian.
const INVERSE_OF_EIGHT: [u8; 32] = [
    0x79, 0x2f, 0xdc, 0xe2, 0x29, 0xe5, 0x06, 0x61, 0xd0, 0xda, 0x1c, 0x7d, 0xb3, 0x9d, 0xd3, 0x07, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x06,
];

/// The public half of a scope: files are sealed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope(pub [u8; 32]);

impl Scope {
    pub fn fingerprint(&self) -> Result<Fingerprint, Error> {
        Fingerprint::of(Suite::Forwarding, &self.0)
    }

    /// Seals a file's key to the scope.
    pub fn seal(&self, dek: &Dek, place: Place, rng: &mut impl CryptoRng) -> Result<Stanza, Error> {
        let mut e = Zeroizing::new([0; KEY]);
        rng.fill_bytes(&mut *e);
        let capsule = MontgomeryPoint::mul_base_clamped(*e);
        let shared = Zeroizing::new(MontgomeryPoint(self.0).mul_clamped(*e).to_bytes());
        let recipient = self.fingerprint()?;
        let (key, context) = wrapping(&shared, capsule.as_bytes(), self, place)?;
        let sealed = stream::seal(&key, &context, dek.expose(), rng)?;
        let enc = capsule.as_bytes().to_vec();
        Ok(Stanza { kind: Kind::Scope, suite: Suite::Forwarding, recipient, enc, sealed })
    }
}

/// The owner's half of a scope. One for each set of files that are shared alike.
pub struct ScopeKey {
    s: Zeroizing<[u8; KEY]>,
    scope: Scope,
}

/// What a grant says, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub grant: [u8; 16],
    pub scope: [u8; 16],
    /// In milliseconds since 1970; from then on the proxy refuses.
    pub expires_ms: u64,
}

/// A share of a scope with one person: signed by the owner, kept by the server, opened by the recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub terms: Terms,
    pub scope: Scope,
    pub recipient: Fingerprint,
    /// SHA-256 of the re-encryption key, so that the proxy cannot be given another.
    pub rekey_sha256: [u8; 32],
    enc: Vec<u8>,
    sealed: Vec<u8>,
}

/// What turns capsules of a scope into capsules of a grant; the server keeps it under a key-management service.
pub struct ReKey(Zeroizing<[u8; KEY]>);

/// A capsule that a proxy turned towards the recipient of one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded(pub [u8; 32]);

/// What the recipient of a grant opens forwarded files with.
pub struct Forwardee {
    f: Zeroizing<[u8; KEY]>,
    scope: Scope,
}

impl ScopeKey {
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut s = Zeroizing::new([0; KEY]);
        rng.fill_bytes(&mut *s);
        Self::from_bytes(s)
    }

    #[must_use]
    pub fn from_bytes(s: Zeroizing<[u8; KEY]>) -> Self {
        let scope = Scope(MontgomeryPoint::mul_base_clamped(*s).to_bytes());
        Self { s, scope }
    }

    /// The key itself, for the owner who seals it to the own identity.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY] {
        &self.s
    }

    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Opens a file of the scope without a proxy.
    pub fn open(&self, stanza: &Stanza, place: Place) -> Result<Dek, Error> {
        unseal(stanza, place, &self.scope, &self.s, &capsule_of(stanza, &self.scope)?)
    }

    /// Shares the scope: a signed grant for the recipient and the re-encryption key for the proxy.
    pub fn grant(
        &self,
        to: &PublicKey,
        terms: Terms,
        owner: &SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, ReKey), Error> {
        let mut f = Zeroizing::new([0; KEY]);
        rng.fill_bytes(&mut *f);
        let k = divide(&self.s, &f)?;
        let info = sealed_for(&terms, &self.scope, to.fingerprint());
        let (enc, sealed) = to.seal(&info, &*f, rng)?;
        let (scope, recipient) = (self.scope, to.fingerprint());
        let grant = Grant { terms, scope, recipient, rekey_sha256: sha256(&*k)?, enc, sealed };
        let mut blob = grant.encode();
        let signature = owner.sign(&[&b"vault/grant/v1\0"[..], &blob].concat())?;
        blob.extend_from_slice(&signature);
        Ok((blob, ReKey(k)))
    }
}

impl Grant {
    /// Reads a grant that its owner signed.
    pub fn open(blob: &[u8], owner: &VerifyingKey) -> Result<Self, Error> {
        let (map, signature) = blob.split_last_chunk::<SIGNATURE>().ok_or(Error::Malformed(WHAT))?;
        owner.verify(&[&b"vault/grant/v1\0"[..], map].concat(), signature)?;
        let mut map = cbor::Reader::map(map, ENTRIES, WHAT)?;
        map.key(1)?;
        let grant = map.fixed()?;
        map.key(2)?;
        let scope = map.fixed()?;
        map.key(3)?;
        let expires_ms = map.uint()?;
        let terms = Terms { grant, scope, expires_ms };
        map.key(4)?;
        let scope = Scope(map.fixed()?);
        map.key(5)?;
        let recipient = Fingerprint(map.fixed()?);
        map.key(6)?;
        let rekey_sha256 = map.fixed()?;
        map.key(7)?;
        let enc = map.bytes()?.to_vec();
        map.key(8)?;
        let sealed = map.bytes()?.to_vec();
        map.end()?;
        Ok(Self { terms, scope, recipient, rekey_sha256, enc, sealed })
    }

    /// Opens the recipient's half.
    pub fn accept(&self, with: &PrivateKey) -> Result<Forwardee, Error> {
        if with.public().fingerprint() != self.recipient {
            return Err(Error::Refused);
        }
        let info = sealed_for(&self.terms, &self.scope, self.recipient);
        let f = with.open(&info, &self.enc, &self.sealed)?;
        let f = f.as_slice().try_into().map_err(|_| Error::Refused)?;
        Ok(Forwardee { f: Zeroizing::new(f), scope: self.scope })
    }

    fn encode(&self) -> Vec<u8> {
        let mut map = cbor::Writer::map(ENTRIES);
        map.uint(1).bytes(&self.terms.grant);
        map.uint(2).bytes(&self.terms.scope);
        map.uint(3).uint(self.terms.expires_ms);
        map.uint(4).bytes(&self.scope.0);
        map.uint(5).bytes(&self.recipient.0);
        map.uint(6).bytes(&self.rekey_sha256);
        map.uint(7).bytes(&self.enc);
        map.uint(8).bytes(&self.sealed);
        map.0
    }
}

impl ReKey {
    #[must_use]
    pub fn from_bytes(k: Zeroizing<[u8; KEY]>) -> Self {
        Self(k)
    }

    /// The key itself, for the service that seals it.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY] {
        &self.0
    }

    /// Turns the capsule of a stored, signed file towards the recipient of a grant that is still good.
    ///
    /// `now_ms` is the proxy's clock in milliseconds since 1970. A file without a stanza for the scope of the grant, a
    /// grant for another key, and a grant that has expired are refused alike.
    pub fn transform(&self, grant: &Grant, file: &Verified, now_ms: u64) -> Result<Forwarded, Error> {
        let is_its_own = sha256(&*self.0)?.ct_eq(&grant.rekey_sha256);
        if !bool::from(is_its_own) || now_ms >= grant.terms.expires_ms {
            return Err(Error::Refused);
        }
        let stanza = scope_stanza(file, &grant.scope)?;
        turn(&capsule_of(stanza, &grant.scope)?, &self.0).map(Forwarded)
    }
}

impl Forwardee {
    /// Opens a file with what the proxy made of its capsule.
    pub fn open(&self, file: &Verified, forwarded: &Forwarded) -> Result<Dek, Error> {
        let stanza = scope_stanza(file, &self.scope)?;
        unseal(stanza, file.manifest().place, &self.scope, &self.f, &forwarded.0)
    }
}

fn scope_stanza<'a>(file: &'a Verified, scope: &Scope) -> Result<&'a Stanza, Error> {
    let recipient = scope.fingerprint()?;
    let mut stanzas = file.manifest().stanzas.iter();
    stanzas.find(|stanza| stanza.kind == Kind::Scope && stanza.recipient == recipient).ok_or(Error::Refused)
}

fn capsule_of(stanza: &Stanza, scope: &Scope) -> Result<[u8; 32], Error> {
    if stanza.kind != Kind::Scope || stanza.recipient != scope.fingerprint()? {
        return Err(Error::Refused);
    }
    stanza.enc.as_slice().try_into().map_err(|_| Error::Refused)
}

/// The key that the shared secret of `private` and `point` gives opens the stanza, or nothing does.
fn unseal(
    stanza: &Stanza,
    place: Place,
    scope: &Scope,
    private: &[u8; KEY],
    point: &[u8; 32],
) -> Result<Dek, Error> {
    let capsule = capsule_of(stanza, scope)?;
    let shared = Zeroizing::new(MontgomeryPoint(*point).mul_clamped(*private).to_bytes());
    let (key, context) = wrapping(&shared, &capsule, scope, place)?;
    let dek = stream::open(&key, &context, &stanza.sealed)?;
    let dek = dek.as_slice().try_into().map_err(|_| Error::Refused)?;
    Ok(Dek::from_bytes(Zeroizing::new(dek)))
}

/// The wrapping key and what it is bound to. A shared secret of zero is that of a point of small order: everyone has it.
fn wrapping(
    shared: &[u8; 32],
    capsule: &[u8; 32],
    scope: &Scope,
    place: Place,
) -> Result<(Zeroizing<[u8; KEY]>, Vec<u8>), Error> {
    if bool::from(shared.ct_eq(&[0; 32])) {
        return Err(Error::Refused);
    }
    let mut key = Zeroizing::new([0; KEY]);
    stream::expand(shared, &[b"vault/pre/v1", capsule, &scope.0], &mut *key)?;
    Ok((key, binding(Kind::Scope, Suite::Forwarding, scope.fingerprint()?, place)))
}

fn sealed_for(terms: &Terms, scope: &Scope, recipient: Fingerprint) -> Vec<u8> {
    let expires = terms.expires_ms.to_be_bytes();
    [&b"vault/forwardee/v1\0"[..], &terms.grant, &terms.scope, &expires, &scope.0, &recipient.0].concat()
}

/// `s / f mod l`, both clamped as X25519 does.
fn divide(s: &[u8; KEY], f: &[u8; KEY]) -> Result<Zeroizing<[u8; KEY]>, Error> {
    let mut s = Scalar::from_bytes_mod_order(clamp_integer(*s));
    let mut f = Scalar::from_bytes_mod_order(clamp_integer(*f));
    let mut k = s * f.invert();
    // Both happen with a chance of 2^-252; a key of one would forward the scope key itself.
    let is_trivial = k.ct_eq(&Scalar::ZERO) | k.ct_eq(&Scalar::ONE);
    let bytes = Zeroizing::new(k.to_bytes());
    s.zeroize();
    f.zeroize();
    k.zeroize();
    if bool::from(is_trivial) { Err(Error::Refused) } else { Ok(bytes) }
}

/// `kE` without what is of small order in `E`.
fn turn(capsule: &[u8; 32], k: &[u8; KEY]) -> Result<[u8; 32], Error> {
    let mut k: Scalar = Option::from(Scalar::from_canonical_bytes(*k)).ok_or(Error::Refused)?;
    if !is_canonical(capsule) {
        return Err(Error::Refused);
    }
    let eightfold = MontgomeryPoint(*capsule).mul_bits_be([true, false, false, false].into_iter());
    let mut eighth = k * Scalar::from_bytes_mod_order(INVERSE_OF_EIGHT);
    let turned = eightfold * eighth;
    k.zeroize();
    eighth.zeroize();
    let is_lost = eightfold.as_bytes().ct_eq(&[0; 32]) | turned.as_bytes().ct_eq(&[0; 32]);
    if bool::from(is_lost) { Err(Error::Refused) } else { Ok(turned.to_bytes()) }
}

/// Whether the bytes are the one encoding of a number below 2^255 - 19.
fn is_canonical(u: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = u;
    *high < 0x7f || (*high == 0x7f && (middle.iter().any(|byte| *byte != 0xff) || *low < 0xed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> [u8; 32] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// draft-wussler-openpgp-forwarding-00, appendix A.1; the draft writes private keys big-endian.
    #[test]
    fn proxy_parameter_of_the_draft() {
        let key = |text| {
            let mut key = bytes(text);
            key.reverse();
            key
        };
        let recipient = key("5989216365053dcf9e35a04b2a1fc19b83328426be6bb7d0a2ae78105e2e3188");
        let forwardee = key("684da6225bcd44d880168fc5bec7d2f746217f014c8019005f144cc148f16a00");
        let want = "e89786987c3a3ec761a679bc372cd11a425eda72bd5265d78ad0f5f32ee64f02";
        assert_eq!(divide(&recipient, &forwardee).map(|k| hex::encode(*k)).as_deref(), Ok(want));
    }

    /// The same draft, appendix A.2: a transformed point, and the point of small order that must be refused.
    #[test]
    fn transformed_point_of_the_draft() {
        let k = bytes("83c57cbe645a132477af55d5020281305860201608e81a1de43ff83f245fb302");
        let point = bytes("aaea7b3bb92f5f545d023ccb15b50f84ba1bdd53be7f5cfadcfb0106859bf77e");
        let want = "ec31bb937d7ef08c451d516be1d7976179aa7171eea598370661d1152b85005a";
        assert_eq!(turn(&point, &k).map(hex::encode).as_deref(), Ok(want));
        let small = bytes("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
        assert_eq!(turn(&small, &k), Err(Error::Refused));
    }

    /// RFC 7748, section 6.1.
    #[test]
    fn shared_secret_of_the_rfc() {
        let alice = bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        let want = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
        assert_eq!(hex::encode(MontgomeryPoint(bob).mul_clamped(alice).to_bytes()), want);
    }

    #[test]
    fn eight_times_its_inverse_is_one() {
        let inverse = Scalar::from_canonical_bytes(INVERSE_OF_EIGHT).unwrap();
        assert_eq!(inverse * Scalar::from(8_u8), Scalar::ONE);
    }

    #[test]
    fn every_point_of_small_order_and_every_second_encoding_is_refused() {
        let k = *divide(&[3; 32], &[5; 32]).unwrap();
        for point in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0900000000000000000000000000000000000000000000000000000000000080",
        ] {
            assert_eq!(turn(&bytes(point), &k), Err(Error::Refused), "{point}");
        }
        assert!(turn(&bytes("0900000000000000000000000000000000000000000000000000000000000000"), &k).is_ok());
        assert_eq!(turn(&[9; 32], &[0xff; 32]), Err(Error::Refused), "a key that is not reduced");
    }
}
