//! What each single breach gives an attacker: the rows of `docs/guide/vault-crypto.md`, played.

use crate::chance::Chance;
use crate::gate::{TIERS, domain_key, epoch};
use crate::manifest::{PLACE, dek, manifest, person, signer};
use prunella_vault_crypto::body::{self, HEAD};
use prunella_vault_crypto::forward::{Forwarded, Grant, ScopeKey, Terms};
use prunella_vault_crypto::gate::{self, Domain, Epoch, Point, Tier};
use prunella_vault_crypto::identity::{PrivateKey, Suite};
use prunella_vault_crypto::manifest::{Expected, Floor, Verified};
use prunella_vault_crypto::stanza::{Kind, Stanza};
use prunella_vault_crypto::{Dek, Error};

const MESSAGE: &[u8] = b"the message that nobody else may read";

/// One file as it is stored: who holds which bytes.
struct Stored {
    at: Epoch,
    object: Vec<u8>,
    envelope: Vec<u8>,
    /// Sealed for their domains; the personal ones to Alice, the cold one to the recovery key.
    parts: Vec<(Domain, Vec<u8>)>,
}

fn alice() -> PrivateKey {
    person(Suite::X25519, 100)
}

fn recovery() -> PrivateKey {
    person(Suite::X25519, 101)
}

fn scope() -> ScopeKey {
    ScopeKey::generate(&mut Chance(102))
}

fn blob() -> Vec<u8> {
    let rng = &mut Chance(103);
    let stanza =
        |kind, key: &PrivateKey, rng: &mut Chance| Stanza::seal(&dek(), kind, key.public(), PLACE, rng);
    let stanzas = vec![
        stanza(Kind::Owner, &alice(), rng).unwrap(),
        stanza(Kind::Recovery, &recovery(), rng).unwrap(),
        scope().scope().seal(&dek(), PLACE, rng).unwrap(),
    ];
    manifest(stanzas).sign(&signer(7)).unwrap()
}

fn stored(at: Epoch) -> Stored {
    let rng = &mut Chance(104 + at.epoch);
    let mut object = Vec::new();
    let mut sealer = body::seal(&dek(), PLACE, rng, &mut object).unwrap();
    sealer.write(MESSAGE, &mut object).unwrap();
    sealer.finish(&mut object).unwrap();
    let (envelope, points) = gate::seal(&blob(), at, rng).unwrap();
    let seal = |point: &Point| {
        let record = match point.domain() {
            Domain::User | Domain::Approver => point.seal_to(alice().public(), rng),
            Domain::Cold => point.seal_to(recovery().public(), rng),
            domain => point.seal(&domain_key(domain, domain as u8), rng),
        };
        (point.domain(), record.unwrap())
    };
    let parts = points.iter().map(seal).collect();
    Stored { at, object, envelope, parts }
}

impl Stored {
    /// The points that somebody opens who stole these domains with their keys.
    fn stolen(&self, domains: &[Domain]) -> Vec<Point> {
        let of = |(domain, record): &(Domain, Vec<u8>)| {
            domains
                .contains(domain)
                .then(|| Point::open(record, self.at, &domain_key(*domain, *domain as u8)))
        };
        self.parts.iter().filter_map(of).filter_map(Result::ok).collect()
    }

    fn gate(&self, points: &[Point]) -> Result<Verified, Error> {
        let inner = gate::open(&self.envelope, self.at, points)?;
        let expected = Expected { file: PLACE.file, version_min: 0, floor: Floor::Classical };
        Verified::open(&inner, &signer(7).verifying().unwrap(), &expected)
    }

    fn read(&self, dek: &Dek) -> Result<Vec<u8>, Error> {
        let head: &[u8; HEAD] = self.object.first_chunk().unwrap();
        let mut out = Vec::new();
        let mut opener = body::open(dek, PLACE, head)?;
        opener.write(&self.object[HEAD..], &mut out)?;
        opener.finish(&mut out)?;
        Ok(out)
    }
}

fn holds_plaintext(bytes: &[u8]) -> bool {
    let secrets = [MESSAGE, dek().expose(), "naïve".as_bytes()].map(<[u8]>::to_vec);
    secrets.iter().any(|secret| bytes.windows(secret.len()).any(|window| window == secret))
}

#[test]
fn one_store_opens_nothing_even_with_its_key() {
    for tier in TIERS {
        let file = stored(epoch(1, tier));
        assert!(!holds_plaintext(&file.object) && !holds_plaintext(&file.envelope));
        for (domain, record) in &file.parts {
            assert!(!holds_plaintext(record));
            let points = file.stolen(&[*domain]);
            assert!(points.len() <= 1);
            assert_eq!(file.gate(&points), Err(Error::Refused), "{tier:?} {domain:?}");
        }
    }
}

#[test]
fn both_dumps_without_the_keys_of_the_domains_open_nothing() {
    for tier in TIERS {
        let file = stored(epoch(1, tier));
        for (domain, record) in &file.parts {
            let guessed = domain_key(*domain, 0xee);
            assert!(Point::open(record, file.at, &guessed).is_err());
            assert!(Point::open_as(record, file.at, *domain, &person(Suite::X25519, 666)).is_err());
        }
        assert_eq!(file.gate(&[]), Err(Error::Refused));
    }
}

/// A server that was taken over, while no user downloads: it has every store and every key of a domain.
#[test]
fn a_server_that_was_taken_over_opens_the_gate_of_low_only_and_no_file() {
    let all = [Domain::Objects, Domain::Database, Domain::Service];
    for tier in [Tier::Medium, Tier::High] {
        let file = stored(epoch(1, tier));
        assert_eq!(file.gate(&file.stolen(&all)), Err(Error::Refused), "{tier:?}");
    }
    let file = stored(epoch(1, Tier::Low));
    let inner = file.gate(&file.stolen(&all)).unwrap();
    let mallory = person(Suite::X25519, 666);
    for stanza in &inner.manifest().stanzas {
        assert!(stanza.open(&mallory, PLACE).is_err());
    }
    assert!(!holds_plaintext(&blob()));
}

/// A stolen token brings what its user is served: the gate and the ciphertext, not the identity key.
#[test]
fn a_stolen_token_brings_ciphertext() {
    let file = stored(epoch(1, Tier::Medium));
    let points = |parts: &[(Domain, Vec<u8>)]| -> Vec<Point> {
        let user = |(domain, record): &(Domain, Vec<u8>)| Point::open_as(record, file.at, *domain, &alice());
        parts
            .iter()
            .map(user)
            .filter_map(Result::ok)
            .chain(file.stolen(&[Domain::Objects, Domain::Database]))
            .collect()
    };
    let inner = file.gate(&points(&file.parts)).unwrap();
    let thief = person(Suite::X25519, 666);
    assert!(inner.manifest().stanzas.iter().all(|stanza| stanza.open(&thief, PLACE).is_err()));
    assert_eq!(file.read(&Dek::generate(&mut Chance(1))), Err(Error::Refused));
    let opened = inner.manifest().stanzas[0].open(&alice(), PLACE).unwrap();
    assert_eq!(file.read(&opened).as_deref(), Ok(MESSAGE), "the owner reads it");
}

#[test]
fn old_backups_open_nothing_after_a_rotation() {
    for (old_tier, new_tier) in [(Tier::Low, Tier::Low), (Tier::Low, Tier::High), (Tier::High, Tier::Low)] {
        let (old, new) = (stored(epoch(1, old_tier)), stored(epoch(2, new_tier)));
        let all = [Domain::Objects, Domain::Database, Domain::Service];
        let points = old.stolen(&all);
        assert!(gate::open(&new.envelope, new.at, &points).is_err());
        for (domain, record) in &old.parts {
            assert!(Point::open(record, new.at, &domain_key(*domain, *domain as u8)).is_err());
        }
    }
}

#[test]
fn the_proxy_alone_opens_nothing() {
    let file = stored(epoch(1, Tier::Low));
    let inner = file.gate(&file.stolen(&[Domain::Objects, Domain::Database])).unwrap();
    let bob = person(Suite::X25519, 50);
    let terms = Terms { grant: [1; 16], scope: [2; 16], expires_ms: 1_000 };
    let (grant, rekey) = scope().grant(bob.public(), terms, &signer(7), &mut Chance(9)).unwrap();
    let grant = Grant::open(&grant, &signer(7).verifying().unwrap()).unwrap();
    let Forwarded(turned) = rekey.transform(&grant, &inner, 0).unwrap();
    for guess in [*rekey.expose(), turned, grant.rekey_sha256] {
        let guess = ScopeKey::from_bytes(guess.into());
        assert!(guess.open(&inner.manifest().stanzas[2], PLACE).is_err());
    }
}

/// No scheme takes back what somebody has read: the key of a version opens that version for ever, and no other.
#[test]
fn a_cached_key_opens_its_version_only() {
    let file = stored(epoch(1, Tier::Low));
    assert_eq!(file.read(&dek()).as_deref(), Ok(MESSAGE));
    let next = prunella_vault_crypto::Place { version: PLACE.version + 1, ..PLACE };
    let (fresh, mut object) = (Dek::generate(&mut Chance(77)), Vec::new());
    body::seal(&fresh, next, &mut Chance(1), &mut object).unwrap().finish(&mut object).unwrap();
    assert_eq!(body::open(&dek(), next, object.first_chunk().unwrap()).err(), Some(Error::Refused));
}

/// Any store may be lost: the rest and, at need, the cold part open the gate; the recovery stanza opens the file.
#[test]
fn a_lost_store_or_a_lost_user_is_survived() {
    for tier in TIERS {
        let file = stored(epoch(1, tier));
        for lost in tier.domains() {
            let open = |(domain, record): &(Domain, Vec<u8>)| match domain {
                Domain::User | Domain::Approver => Point::open_as(record, file.at, *domain, &alice()),
                Domain::Cold => Point::open_as(record, file.at, *domain, &recovery()),
                _ => Point::open(record, file.at, &domain_key(*domain, *domain as u8)),
            };
            let rest = file.parts.iter().filter(|(domain, _)| domain != lost).map(open);
            let inner = file.gate(&rest.map(Result::unwrap).collect::<Vec<_>>()).unwrap();
            let opened = inner.manifest().stanzas[1].open(&recovery(), PLACE).unwrap();
            assert_eq!(file.read(&opened).as_deref(), Ok(MESSAGE), "{tier:?} without {lost:?}");
        }
    }
}
