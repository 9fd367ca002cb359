//! Forwarding: who opens what after a grant, and what two together can do.

use crate::chance::Chance;
use crate::manifest::{PLACE, dek, manifest, person, signer};
use proptest::prelude::*;
use prunella_vault_crypto::forward::{Forwarded, Grant, ReKey, ScopeKey, Terms};
use prunella_vault_crypto::identity::Suite;
use prunella_vault_crypto::manifest::{Expected, Floor, Verified};
use prunella_vault_crypto::{Error, Place};
use zeroize::Zeroizing;

const TERMS: Terms = Terms { grant: [1; 16], scope: [2; 16], expires_ms: 1_000 };

fn scope(seed: u64) -> ScopeKey {
    ScopeKey::generate(&mut Chance(seed))
}

/// A stored file of this scope, as the proxy and the recipient see it.
fn stored(scope: &ScopeKey, seed: u64) -> Verified {
    let stanza = scope.scope().seal(&dek(), PLACE, &mut Chance(seed)).unwrap();
    let blob = manifest(vec![stanza]).sign(&signer(7)).unwrap();
    let expected = Expected { file: PLACE.file, version_min: 0, floor: Floor::Classical };
    Verified::open(&blob, &signer(7).verifying().unwrap(), &expected).unwrap()
}

fn granted(scope: &ScopeKey, suite: Suite, seed: u64) -> (Grant, ReKey) {
    let bob = person(suite, 50);
    let (blob, rekey) = scope.grant(bob.public(), TERMS, &signer(7), &mut Chance(seed)).unwrap();
    (Grant::open(&blob, &signer(7).verifying().unwrap()).unwrap(), rekey)
}

#[test]
fn the_recipient_opens_what_the_proxy_turned_and_nobody_else_does() {
    for suite in [Suite::X25519, Suite::XWing] {
        let (alice, file) = (scope(1), stored(&scope(1), 3));
        let stanza = &file.manifest().stanzas[0];
        assert_eq!(alice.open(stanza, PLACE).unwrap().expose(), dek().expose());
        let (grant, rekey) = granted(&alice, suite, 4);
        let forwarded = rekey.transform(&grant, &file, 999).unwrap();
        let bob = grant.accept(&person(suite, 50)).unwrap();
        assert_eq!(bob.open(&file, &forwarded).unwrap().expose(), dek().expose(), "{suite:?}");

        assert!(grant.accept(&person(suite, 51)).is_err(), "another person");
        let raw = Forwarded(stanza.enc.clone().try_into().unwrap());
        assert!(bob.open(&file, &raw).is_err(), "without the proxy");
        let (other_grant, other_rekey) = granted(&alice, suite, 5);
        let other = other_rekey.transform(&other_grant, &file, 0).unwrap();
        assert!(bob.open(&file, &other).is_err(), "what was turned for another grant");
        assert!(bob.open(&stored(&scope(1), 9), &forwarded).is_err(), "another file of the scope");
        let elsewhere = Place { version: 4, ..PLACE };
        assert!(alice.open(stanza, elsewhere).is_err(), "another version");
    }
}

#[test]
fn the_proxy_refuses_what_was_not_granted() {
    let (alice, file) = (scope(1), stored(&scope(1), 3));
    let (grant, rekey) = granted(&alice, Suite::X25519, 4);
    assert!(rekey.transform(&grant, &file, 999).is_ok());
    assert_eq!(rekey.transform(&grant, &file, 1_000), Err(Error::Refused), "expired");
    let other = stored(&scope(2), 3);
    assert_eq!(rekey.transform(&grant, &other, 0), Err(Error::Refused), "a file of another scope");
    let (_, swapped) = granted(&alice, Suite::X25519, 5);
    assert_eq!(swapped.transform(&grant, &file, 0), Err(Error::Refused), "another re-encryption key");
    let mut longer = grant;
    longer.terms.expires_ms = u64::MAX;
    assert!(longer.accept(&person(Suite::X25519, 50)).is_err(), "terms are bound to the recipient's half");
}

#[test]
fn a_grant_that_was_altered_or_forged_is_refused() {
    let bob = person(Suite::X25519, 50);
    let (blob, _) = scope(1).grant(bob.public(), TERMS, &signer(7), &mut Chance(4)).unwrap();
    let key = signer(7).verifying().unwrap();
    for bit in 0..blob.len() * 8 {
        let mut bad = blob.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Grant::open(&bad, &key), Err(Error::Refused), "bit {bit}");
    }
    (0..blob.len()).for_each(|cut| assert!(Grant::open(&blob[..cut], &key).is_err()));
    assert_eq!(Grant::open(&blob, &signer(8).verifying().unwrap()), Err(Error::Refused));
}

/// A recipient's half that equals the scope key would make the proxy's key one, and hand the scope key over.
#[test]
fn a_grant_of_the_scope_key_itself_is_refused() {
    let granted = scope(1).grant(person(Suite::X25519, 50).public(), TERMS, &signer(7), &mut Chance(1));
    assert_eq!(granted.map(|_| ()), Err(Error::Refused));
}

/// The known weakness, kept as a test so that nobody forgets it: proxy and recipient together open the scope without
/// the owner, files sealed later too. Another scope of the same owner stays closed.
#[test]
fn proxy_and_recipient_together_hold_the_scope_and_no_more() {
    let alice = scope(1);
    let (grant, rekey) = granted(&alice, Suite::X25519, 4);
    let bob = grant.accept(&person(Suite::X25519, 50)).unwrap();
    let later = stored(&alice, 77);
    let stolen = ReKey::from_bytes(Zeroizing::new(*rekey.expose()));
    let forever = stolen.transform(&grant, &later, 0).unwrap();
    assert_eq!(bob.open(&later, &forever).unwrap().expose(), dek().expose());
    let elsewhere = stored(&scope(2), 77);
    assert!(stolen.transform(&grant, &elsewhere, 0).is_err());
    assert!(bob.open(&elsewhere, &forever).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_keys_the_two_ways_agree(s: u64, e: u64, f: u64) {
        prop_assume!(s != f);
        let (alice, file) = (scope(s), stored(&scope(s), e));
        let (grant, rekey) = granted(&alice, Suite::X25519, f);
        let forwarded = rekey.transform(&grant, &file, 0).unwrap();
        let opened = grant.accept(&person(Suite::X25519, 50)).unwrap().open(&file, &forwarded).unwrap();
        prop_assert!(opened.expose() == dek().expose());
    }

    #[test]
    fn no_point_makes_the_recipient_panic(bytes: [u8; 32]) {
        let (alice, file) = (scope(1), stored(&scope(1), 3));
        let (grant, _) = granted(&alice, Suite::X25519, 4);
        let bob = grant.accept(&person(Suite::X25519, 50)).unwrap();
        prop_assert!(bob.open(&file, &Forwarded(bytes)).is_err());
    }
}
