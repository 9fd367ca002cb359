//! The gate: which parts open which epoch, what survives a loss, and what is refused.

use crate::chance::Chance;
use crate::manifest::person;
use proptest::prelude::*;
use prunella_vault_crypto::gate::{self, Domain, DomainKey, Epoch, Point, Tier};
use prunella_vault_crypto::identity::{PrivateKey, Suite};
use prunella_vault_crypto::{Error, FileId};
use zeroize::Zeroizing;

pub const TIERS: [Tier; 3] = [Tier::Low, Tier::Medium, Tier::High];

pub fn epoch(epoch: u64, tier: Tier) -> Epoch {
    Epoch { file: FileId([9; 16]), epoch, tier }
}

pub fn domain_key(domain: Domain, seed: u8) -> DomainKey {
    DomainKey::new(domain, [domain as u8; 16], 1, Zeroizing::new([seed; 32]))
}

fn copy(point: &Point) -> Point {
    Point::from_bytes(point.epoch(), point.domain(), Zeroizing::new(*point.expose())).unwrap()
}

fn subsets(points: &[Point]) -> impl Iterator<Item = Vec<Point>> {
    let all: Vec<Point> = points.iter().map(copy).collect();
    (0_u32..1 << all.len())
        .map(move |set| (0..all.len()).filter(|i| set >> i & 1 == 1).map(|i| copy(&all[i])).collect())
}

#[test]
fn the_tiers_are_those_of_the_design() {
    let cases = [(Tier::Low, 2, 2), (Tier::Medium, 3, 3), (Tier::High, 5, 4)];
    for (tier, hot, threshold) in cases {
        assert_eq!(tier.threshold(), threshold);
        assert_eq!(tier.domains().len(), hot + 1);
        assert_eq!(tier.domains().iter().filter(|domain| **domain == Domain::Cold).count(), 1);
    }
}

/// So any one store can be lost at any tier, and at HIGH any two.
#[test]
fn every_set_of_enough_parts_opens_and_no_smaller_one() {
    for tier in TIERS {
        let at = epoch(1, tier);
        let (envelope, points) = gate::seal(b"inner", at, &mut Chance(1)).unwrap();
        let domains: Vec<Domain> = points.iter().map(Point::domain).collect();
        assert_eq!(domains, tier.domains());
        for set in subsets(&points) {
            let opened = gate::open(&envelope, at, &set).map(|inner| inner.to_vec());
            if set.len() >= tier.threshold() {
                assert_eq!(opened.as_deref(), Ok(&b"inner"[..]), "{tier:?}");
            } else {
                assert_eq!(opened, Err(Error::Refused), "{tier:?}");
            }
        }
    }
}

#[test]
fn one_part_many_times_is_one_part() {
    let at = epoch(1, Tier::Medium);
    let (envelope, points) = gate::seal(b"inner", at, &mut Chance(1)).unwrap();
    let same: Vec<Point> = (0..4).map(|_| copy(&points[0])).collect();
    assert_eq!(gate::open(&envelope, at, &same).err(), Some(Error::Refused));
}

/// The property that a new gate key for each split buys: old parts, from versions and backups, open nothing new.
#[test]
fn mixed_epochs_never_open() {
    for (old_tier, new_tier) in TIERS.into_iter().flat_map(|old| TIERS.map(|new| (old, new))) {
        let (old_at, new_at) = (epoch(1, old_tier), epoch(2, new_tier));
        let (old_envelope, old) = gate::seal(b"inner", old_at, &mut Chance(1)).unwrap();
        let (new_envelope, new) = gate::seal(b"inner", new_at, &mut Chance(2)).unwrap();
        assert!(gate::open(&new_envelope, new_at, &old).is_err(), "all parts of the old epoch");
        assert!(gate::open(&old_envelope, new_at, &old).is_err(), "an old envelope as the new one");
        // An attacker relabels old parts; the commitment of the envelope refuses the key that they give.
        let relabel =
            |point: &Point| Point::from_bytes(new_at, point.domain(), Zeroizing::new(*point.expose())).ok();
        for keep in 0..new_tier.threshold() {
            let kept = new.iter().take(keep).map(copy);
            let mixed: Vec<Point> = kept.chain(old.iter().skip(keep).filter_map(relabel)).collect();
            assert_eq!(gate::open(&new_envelope, new_at, &mixed).err(), Some(Error::Refused), "{keep} new");
        }
    }
}

/// No two splits share a gate key: the interface has none to give, and the parts of the same file differ.
#[test]
fn a_new_split_has_a_new_key() {
    let at = epoch(1, Tier::Low);
    let rng = &mut Chance(1);
    let (first, points) = gate::seal(b"inner", at, rng).unwrap();
    let (second, others) = gate::seal(b"inner", epoch(2, Tier::Low), rng).unwrap();
    assert_ne!(first[gate::HEADER..], second[gate::HEADER..]);
    let as_second = |point: &Point| {
        Point::from_bytes(epoch(2, Tier::Low), point.domain(), Zeroizing::new(*point.expose())).unwrap()
    };
    assert!(gate::open(&second, epoch(2, Tier::Low), &others).is_ok());
    let old: Vec<Point> = points.iter().map(as_second).collect();
    assert_eq!(gate::open(&second, epoch(2, Tier::Low), &old).err(), Some(Error::Refused));
}

#[test]
fn an_altered_envelope_is_refused() {
    let at = epoch(1, Tier::Low);
    let (envelope, points) = gate::seal(b"inner", at, &mut Chance(1)).unwrap();
    for bit in 0..envelope.len() * 8 {
        let mut bad = envelope.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(gate::open(&bad, at, &points).is_err(), "bit {bit}");
    }
    for cut in 0..envelope.len() {
        assert!(gate::open(&envelope[..cut], at, &points).is_err(), "cut at {cut}");
    }
    let long = [&envelope[..], b"\0"].concat();
    assert!(gate::open(&long, at, &points).is_err());
    let huge = vec![0; 2 * gate::INNER_MAX];
    assert!(matches!(gate::open(&huge, at, &points), Err(Error::TooLarge(_))));
    assert!(matches!(gate::seal(&huge, at, &mut Chance(1)), Err(Error::TooLarge(_))));
}

#[test]
fn a_part_opens_in_its_domain_and_epoch_only() {
    let at = epoch(7, Tier::High);
    let (_, points) = gate::seal(b"inner", at, &mut Chance(1)).unwrap();
    for point in &points {
        let (domain, key) = (point.domain(), domain_key(point.domain(), 1));
        let record = point.seal(&key, &mut Chance(2)).unwrap();
        assert_eq!(Point::open(&record, at, &key).unwrap().expose(), point.expose());
        let check = |what: &str, record: &[u8], at: Epoch, key: &DomainKey| {
            assert!(Point::open(record, at, key).is_err(), "{domain:?}: {what}");
        };
        check("wrong key", &record, at, &domain_key(domain, 2));
        let renewed = DomainKey::new(domain, [domain as u8; 16], 2, Zeroizing::new([1; 32]));
        check("other version of the key", &record, at, &renewed);
        check("other epoch", &record, epoch(8, Tier::High), &key);
        check("other tier", &record, epoch(7, Tier::Low), &key);
        check("other file", &record, Epoch { file: FileId([8; 16]), ..at }, &key);
        let other = if domain == Domain::Objects { Domain::Database } else { Domain::Objects };
        let stolen = DomainKey::new(other, [domain as u8; 16], 1, Zeroizing::new([1; 32]));
        check("other domain", &record, at, &stolen);
        assert_eq!(point.seal(&stolen, &mut Chance(2)).err(), Some(Error::Refused));
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            check("bit", &bad, at, &key);
        }
        (0..record.len()).for_each(|cut| check("cut", &record[..cut], at, &key));
    }
}

#[test]
fn a_personal_part_opens_for_its_person_only() {
    let at = epoch(7, Tier::High);
    let (_, points) = gate::seal(b"inner", at, &mut Chance(1)).unwrap();
    for suite in [Suite::X25519, Suite::XWing] {
        let (user, other) = (person(suite, 1), person(suite, 2));
        for point in &points {
            let domain = point.domain();
            let sealed = point.seal_to(user.public(), &mut Chance(2));
            if !matches!(domain, Domain::User | Domain::Approver | Domain::Cold) {
                assert_eq!(sealed.err(), Some(Error::Refused), "{domain:?} is no person");
                continue;
            }
            let record = sealed.unwrap();
            assert_eq!(Point::open_as(&record, at, domain, &user).unwrap().expose(), point.expose());
            let check = |what: &str, record: &[u8], at: Epoch, domain: Domain, key: &PrivateKey| {
                assert!(Point::open_as(record, at, domain, key).is_err(), "{suite:?} {domain:?}: {what}");
            };
            check("other person", &record, at, domain, &other);
            check("other epoch", &record, epoch(8, Tier::High), domain, &user);
            check("other domain", &record, at, Domain::Database, &user);
            for at_byte in (0..record.len()).step_by(record.len() / 9) {
                let mut bad = record.clone();
                bad[at_byte] ^= 1;
                check("bit", &bad, at, domain, &user);
                check("cut", &record[..at_byte], at, domain, &user);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), flip in 0_usize..200) {
        let at = epoch(1, Tier::Low);
        let key = domain_key(Domain::Objects, 1);
        let (envelope, points) = gate::seal(&bytes, at, &mut Chance(1)).unwrap();
        prop_assert_eq!(&*gate::open(&envelope, at, &points).unwrap(), &bytes);
        prop_assert!(gate::open(&bytes, at, &points).is_err());
        prop_assert!(Point::open(&bytes, at, &key).is_err());
        let user = person(Suite::X25519, 1);
        prop_assert!(Point::open_as(&bytes, at, Domain::Cold, &user).is_err());
        let wrong: Vec<Point> = points
            .iter()
            .map(|point| {
                let mut value = Zeroizing::new(*point.expose());
                value[flip % 32] ^= 1;
                Point::from_bytes(at, point.domain(), value).unwrap()
            })
            .collect();
        prop_assert!(gate::open(&envelope, at, &[copy(&points[0]), copy(&wrong[1])]).is_err());
    }
}
