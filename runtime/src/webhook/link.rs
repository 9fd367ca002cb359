//! Links in messages by which a person may approve one plan, once, without a token of the API.

use crate::clock::Clock;
use crate::sqlite::lock;
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prunella_schemas::port::{ApprovalLink, ApprovalLinks};
use prunella_schemas::{Id, Timestamp};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Most used links remembered. Each is forgotten when its time is up, and plans that wait are bounded as well.
const USED_MAX: usize = 16_384;
const KEY_BYTES: usize = 32;
/// Plan, digest, end and message.
const CLAIMS_BYTES: usize = 16 + 16 + 8 + 16;

/// Signs and opens links. Its key is made at the start and kept nowhere: a restart ends every link, and the messages that
/// are sent afterwards have new ones.
pub struct Links {
    base: String,
    key: hmac::Key,
    clock: Clock,
    valid_ms: i64,
    /// By message, until when it has to be remembered.
    used: Mutex<BTreeMap<Id, Timestamp>>,
}

/// What a link says, and from which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claims {
    link: ApprovalLink,
    message: Id,
}

impl Links {
    /// `base` is where people reach the API, such as `https://prunella.example.com`.
    pub fn new(base: &str, clock: Clock, valid_ms: i64) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut key = [0; KEY_BYTES];
        rand::fill(&mut key)?;
        let (base, key) = (base.trim_end_matches('/').to_owned(), hmac::Key::new(hmac::HMAC_SHA256, &key));
        Ok(Links { base, key, clock, valid_ms, used: Mutex::default() })
    }

    /// The address for the plan with these steps, in this message.
    pub(super) fn address(&self, plan_uid: Id, digest: Id, message: &str) -> String {
        let until = (self.clock)().plus_ms(self.valid_ms);
        let message = Id::derive("approval link", &[message.as_bytes()]);
        let claims = [&plan_uid.0[..], &digest.0, &until.0.to_be_bytes(), &message.0].concat();
        let token = [&claims, hmac::sign(&self.key, &claims).as_ref()].concat();
        format!("{}/approve/{}", self.base, URL_SAFE_NO_PAD.encode(token))
    }

    fn read(&self, token: &str) -> Result<Claims, &'static str> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| UNREADABLE)?;
        let (claims, tag) = bytes.split_at_checked(CLAIMS_BYTES).ok_or(UNREADABLE)?;
        hmac::verify(&self.key, claims, tag).map_err(|_| "the link is not ours, or from before a restart")?;
        let (ids, rest) = claims.split_at_checked(32).ok_or(UNREADABLE)?;
        let (until, message) = rest.split_at_checked(8).ok_or(UNREADABLE)?;
        let id = |bytes: &[u8]| bytes.try_into().map(Id).map_err(|_| UNREADABLE);
        let until = i64::from_be_bytes(until.try_into().map_err(|_| UNREADABLE)?);
        let link = ApprovalLink {
            plan_uid: id(ids.get(..16).unwrap_or_default())?,
            digest: id(ids.get(16..).unwrap_or_default())?,
            until: Timestamp(until),
        };
        Ok(Claims { link, message: id(message)? })
    }
}

const UNREADABLE: &str = "the link cannot be read; it may have been cut";
const USED: &str = "the link was used already";

impl ApprovalLinks for Links {
    fn open(&self, token: &str) -> Result<ApprovalLink, &'static str> {
        let claims = self.read(token)?;
        if (self.clock)() >= claims.link.until {
            return Err("the link's time is up");
        }
        if lock(&self.used).contains_key(&claims.message) {
            return Err(USED);
        }
        Ok(claims.link)
    }

    fn redeem(&self, token: &str) -> Result<ApprovalLink, &'static str> {
        let link = self.open(token)?;
        let Claims { message, .. } = self.read(token)?;
        let now = (self.clock)();
        let mut used = lock(&self.used);
        used.retain(|_, until| *until > now);
        if used.len() >= USED_MAX {
            return Err("too many links were used just now; use the API or the command line");
        }
        // Another link of the same message may live a little longer than this one, not longer than it would from now on.
        match used.insert(message, now.plus_ms(self.valid_ms)) {
            None => Ok(link),
            Some(_) => Err(USED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    fn links() -> (Links, Arc<AtomicI64>) {
        let now = Arc::new(AtomicI64::new(1_000));
        let shown = Arc::clone(&now);
        let clock: Clock = Arc::new(move || Timestamp(shown.load(Ordering::SeqCst)));
        (Links::new("https://p.example/", clock, 500).unwrap(), now)
    }

    fn token(links: &Links, message: &str) -> String {
        let address = links.address(Id([1; 16]), Id([2; 16]), message);
        address.strip_prefix("https://p.example/approve/").unwrap().to_owned()
    }

    #[test]
    fn a_link_is_good_once_and_for_a_while() {
        let (links, now) = links();
        let (first, repeat, other) = (token(&links, "m1"), token(&links, "m1"), token(&links, "m2"));
        let link = ApprovalLink { plan_uid: Id([1; 16]), digest: Id([2; 16]), until: Timestamp(1_500) };
        assert_eq!(links.open(&first), Ok(link), "looking at it does not use it up");
        assert_eq!(links.redeem(&first), Ok(link));
        for again in [&first, &repeat] {
            assert_eq!((links.open(again), links.redeem(again)), (Err(USED), Err(USED)));
        }
        assert!(links.redeem(&other).is_ok(), "another person's message has a link of its own");
        let late = token(&links, "m3");
        now.store(1_500, Ordering::SeqCst);
        assert_eq!(links.redeem(&late), Err("the link's time is up"));
    }

    #[test]
    fn no_changed_byte_is_accepted() {
        let (links, _) = links();
        let good = URL_SAFE_NO_PAD.decode(token(&links, "m1")).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(links.open(&URL_SAFE_NO_PAD.encode(&bad)).is_err(), "byte {at}");
            assert!(links.open(&URL_SAFE_NO_PAD.encode(&good[..at])).is_err(), "cut at {at}");
        }
        let (stranger, _) = self::links();
        assert!(stranger.open(&token(&links, "m1")).is_err());
    }
}
