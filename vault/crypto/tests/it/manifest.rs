//! Stanzas and manifests: who opens a file's key, and what the owner's signature protects.

use crate::chance::Chance;
use prunella_vault_crypto::identity::{Fingerprint, PrivateKey, PublicKey, SigningKey, Suite};
use prunella_vault_crypto::manifest::{self, Expected, Floor, Manifest, Mode, Verified};
use prunella_vault_crypto::stanza::{Kind, Stanza};
use prunella_vault_crypto::{Dek, Error, FileId, Place, body};
use zeroize::Zeroizing;

pub const PLACE: Place = Place { file: FileId([9; 16]), version: 3 };
const EXPECTED: Expected = Expected { file: PLACE.file, version_min: 3, floor: Floor::Classical };

pub fn dek() -> Dek {
    Dek::from_bytes(Zeroizing::new(std::array::from_fn(|i| 32 + i as u8)))
}

pub fn person(suite: Suite, seed: u64) -> PrivateKey {
    PrivateKey::generate(suite, &mut Chance(seed)).unwrap()
}

pub fn signer(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new([seed; 32])).unwrap()
}

fn stanza(kind: Kind, to: &PublicKey) -> Stanza {
    Stanza::seal(&dek(), kind, to, PLACE, &mut Chance(5)).unwrap()
}

pub fn manifest(stanzas: Vec<Stanza>) -> Manifest {
    Manifest {
        mode: Mode::EndToEnd,
        place: PLACE,
        previous: [0; 32],
        size_bucket: 20,
        name: manifest::seal_name(&dek(), PLACE, "naïve 𝄞.txt", &mut Chance(6)).unwrap(),
        body_commitment: [1; 32],
        body_sha256: [2; 32],
        created_ms: 1_790_000_000_000,
        floor: Floor::Classical,
        stanzas,
    }
}

/// The lines are fingerprint, encapsulated key and sealed key, for X25519 and X-Wing, sealed by Go's `crypto/hpke` with
/// the binding of this crate's format to the private key 40, 41, .. 5f.
#[test]
fn stanzas_of_go_open() {
    let lines: Vec<Vec<u8>> =
        include_str!("stanzas-of-go.txt").lines().map(|line| hex::decode(line).unwrap()).collect();
    for (suite, lines) in [Suite::X25519, Suite::XWing].into_iter().zip(lines.chunks(3)) {
        let bytes = Zeroizing::new(std::array::from_fn(|i| 0x40 + i as u8));
        let key = PrivateKey::from_bytes(suite, bytes).unwrap();
        let recipient = Fingerprint(lines[0].clone().try_into().unwrap());
        assert_eq!(key.public().fingerprint(), recipient);
        let (enc, sealed) = (lines[1].clone(), lines[2].clone());
        let stanza = Stanza { kind: Kind::Owner, suite, recipient, enc, sealed };
        assert_eq!(stanza.open(&key, PLACE).unwrap().expose(), dek().expose(), "{suite:?}");
    }
}

#[test]
fn a_stanza_opens_for_its_recipient_at_its_place_only() {
    for suite in [Suite::X25519, Suite::XWing] {
        let (key, other) = (person(suite, 1), person(suite, 2));
        let sealed = stanza(Kind::Direct, key.public());
        assert_eq!(sealed.open(&key, PLACE).unwrap().expose(), dek().expose());
        let check = |what: &str, stanza: &Stanza, key: &PrivateKey, place: Place| {
            assert!(stanza.open(key, place).is_err(), "{suite:?}: {what}");
        };
        check("other key", &sealed, &other, PLACE);
        let relabelled = Stanza { recipient: other.public().fingerprint(), ..sealed.clone() };
        check("relabelled", &relabelled, &other, PLACE);
        check("other kind", &Stanza { kind: Kind::Owner, ..sealed.clone() }, &key, PLACE);
        check("other version", &sealed, &key, Place { version: 4, ..PLACE });
        check("other file", &sealed, &key, Place { file: FileId([8; 16]), ..PLACE });
        // X-Wing takes its time without optimization: 32 places of each are enough.
        for bit in (0..sealed.enc.len() * 8).step_by(sealed.enc.len() / 4 + 1) {
            let mut bad = sealed.clone();
            bad.enc[bit / 8] ^= 1 << (bit % 8);
            check("enc", &bad, &key, PLACE);
        }
        for bit in (0..sealed.sealed.len() * 8).step_by(sealed.sealed.len() / 4 + 1) {
            let mut bad = sealed.clone();
            bad.sealed[bit / 8] ^= 1 << (bit % 8);
            check("sealed", &bad, &key, PLACE);
        }
        let cut = Stanza { enc: sealed.enc[1..].to_vec(), ..sealed.clone() };
        check("cut", &cut, &key, PLACE);
    }
}

/// RFC 7748, section 6.1: points of low order give a secret that everyone knows.
#[test]
fn nobody_seals_to_a_point_of_low_order() {
    for low in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let key = PublicKey::parse(Suite::X25519, &hex::decode(low).unwrap()).unwrap();
        let sealed = Stanza::seal(&dek(), Kind::Direct, &key, PLACE, &mut Chance(1));
        assert_eq!(sealed.err(), Some(Error::Refused), "{low}");
    }
}

#[test]
fn a_manifest_survives_and_carries_its_stanzas() {
    let (owner, bob) = (person(Suite::XWing, 1), person(Suite::X25519, 2));
    let said = manifest(vec![stanza(Kind::Owner, owner.public()), stanza(Kind::Direct, bob.public())]);
    let blob = said.sign(&signer(7)).unwrap();
    let verified = Verified::open(&blob, &signer(7).verifying().unwrap(), &EXPECTED).unwrap();
    assert_eq!(verified.manifest(), &said);
    let opened = verified.manifest().stanzas[1].open(&bob, PLACE).unwrap();
    assert_eq!(opened.expose(), dek().expose());
    assert_eq!(&**manifest::open_name(&opened, PLACE, &said.name).unwrap(), "naïve 𝄞.txt");
    let elsewhere = Place { version: 4, ..PLACE };
    assert_eq!(manifest::open_name(&opened, elsewhere, &said.name).err(), Some(Error::Refused));
}

#[test]
fn a_manifest_that_was_altered_forged_or_rolled_back_is_refused() {
    let owner = person(Suite::X25519, 1);
    let said = manifest(vec![stanza(Kind::Owner, owner.public())]);
    let blob = said.sign(&signer(7)).unwrap();
    let key = signer(7).verifying().unwrap();
    for bit in 0..blob.len() * 8 {
        let mut bad = blob.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Verified::open(&bad, &key, &EXPECTED), Err(Error::Refused), "bit {bit}");
    }
    for cut in 0..blob.len() {
        assert!(Verified::open(&blob[..cut], &key, &EXPECTED).is_err(), "cut at {cut}");
    }
    let long = [&blob[..], b"\0"].concat();
    assert_eq!(Verified::open(&long, &key, &EXPECTED), Err(Error::Refused));
    let check = |what: &str, signed_by: u8, expected: Expected| {
        let blob = said.sign(&signer(signed_by)).unwrap();
        assert_eq!(Verified::open(&blob, &key, &expected), Err(Error::Refused), "{what}");
    };
    check("signed by another", 8, EXPECTED);
    check("rolled back", 7, Expected { version_min: 4, ..EXPECTED });
    check("another file", 7, Expected { file: FileId([8; 16]), ..EXPECTED });
    check("below the reader's floor", 7, Expected { floor: Floor::PostQuantum, ..EXPECTED });
    let huge = vec![0; manifest::BYTES_MAX + 1];
    assert!(matches!(Verified::open(&huge, &key, &EXPECTED), Err(Error::TooLarge(_))));
}

#[test]
fn a_manifest_that_contradicts_itself_is_not_signed() {
    let (old, new) = (person(Suite::X25519, 1), person(Suite::XWing, 2));
    let sign = |manifest: &Manifest| manifest.sign(&signer(7)).map(|_| ());
    let classical = manifest(vec![stanza(Kind::Owner, old.public())]);
    assert_eq!(sign(&classical), Ok(()));
    assert_eq!(sign(&Manifest { floor: Floor::PostQuantum, ..classical.clone() }), Err(Error::Refused));
    let quantum = manifest(vec![stanza(Kind::Owner, new.public())]);
    assert_eq!(sign(&Manifest { floor: Floor::PostQuantum, ..quantum }), Ok(()));
    let mut odd = classical.clone();
    odd.stanzas[0].kind = Kind::Service;
    assert_eq!(sign(&odd), Err(Error::Refused), "a service without its suite");
    odd.stanzas[0].suite = Suite::Service;
    assert_eq!(sign(&odd), Err(Error::Refused), "the server can read what says that it cannot");
    assert_eq!(sign(&Manifest { mode: Mode::Managed, ..odd }), Ok(()));
    let mut many = classical;
    many.stanzas = vec![many.stanzas[0].clone(); manifest::STANZAS_MAX + 1];
    assert!(matches!(sign(&many), Err(Error::TooLarge(_))));
}

#[test]
fn the_body_at_hand_must_be_the_one_that_was_signed() {
    let seal = |place: Place, seed: u64| {
        let mut object = Vec::new();
        body::seal(&dek(), place, &mut Chance(seed), &mut object).unwrap().finish(&mut object).unwrap();
        *object.first_chunk::<{ body::HEAD }>().unwrap()
    };
    let head = seal(PLACE, 1);
    let said = Manifest { body_commitment: body::commitment(&head), ..manifest(Vec::new()) };
    let blob = said.sign(&signer(7)).unwrap();
    let verified = Verified::open(&blob, &signer(7).verifying().unwrap(), &EXPECTED).unwrap();
    assert_eq!(verified.check_body(&head), Ok(()));
    assert_eq!(verified.check_body(&seal(PLACE, 2)), Err(Error::Refused), "another body of the same version");
    let older = Place { version: 2, ..PLACE };
    assert_eq!(verified.check_body(&seal(older, 1)), Err(Error::Refused), "an older body");
}
