//! Tokens: short-lived HS256 with a key id, and refresh tokens that work once.

use crate::Error;
use crate::clock::{random, random_id};
use crate::keyring::Ring;
use aws_lc_rs::hmac;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use prunella_schemas::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How long an access token counts, in milliseconds.
pub const ACCESS_MS: i64 = 10 * 60 * 1_000;
/// How long a session can be refreshed, in milliseconds.
pub const SESSION_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;

pub(crate) const KEY: &str = "token";
const ISSUER: &str = "prunella-vault";

/// What a token says. All of it is required, and its times are checked by our own clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claims {
    pub iss: String,
    pub aud: String,
    /// The user's id.
    pub sub: String,
    pub jti: String,
    /// The session.
    pub sid: String,
    /// The version of the user's tokens; an older one than the account's does not count.
    pub tv: i64,
    /// When the user last proved the password, in seconds since 1970.
    pub auth: i64,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
}

/// Issues and verifies.
pub(crate) struct Tokens {
    ring: Arc<Ring>,
}

/// Whom a token is for.
pub(crate) struct Subject<'a> {
    pub user: &'a str,
    pub session: &'a str,
    pub version: i64,
    pub authenticated: Timestamp,
}

/// Sets the refresh tokens apart from all else that the key signs.
const REFRESH: &str = "prunella/vault/refresh/v1";

impl Tokens {
    pub(crate) fn new(ring: Arc<Ring>) -> Self {
        Tokens { ring }
    }

    pub(crate) fn issue(&self, subject: &Subject<'_>, now: Timestamp) -> Result<String, Error> {
        let (version, key) = self.ring.newest(KEY)?;
        let header = Header { kid: Some(format!("{KEY}.{version}")), ..Header::new(Algorithm::HS256) };
        let seconds = now.0.div_euclid(1_000);
        let claims = Claims {
            iss: ISSUER.into(),
            aud: ISSUER.into(),
            sub: subject.user.to_owned(),
            jti: random_id(),
            sid: subject.session.to_owned(),
            tv: subject.version,
            auth: subject.authenticated.0.div_euclid(1_000),
            iat: seconds,
            nbf: seconds,
            exp: seconds + ACCESS_MS / 1_000,
        };
        encode(&header, &claims, &EncodingKey::from_secret(&*key))
            .map_err(|_| Error::Unavailable("the token service"))
    }

    /// A refresh token: which session, and a secret that shows that it is of ours.
    pub(crate) fn refresh(&self, session: &str) -> Result<String, Error> {
        let (version, key) = self.ring.newest(KEY)?;
        let random = hex::encode(random::<32>());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*key), &signed_refresh(session, &random));
        Ok(format!("{session}.{random}.{version}.{}", hex::encode(tag)))
    }

    /// Whether this secret was one of a session's, once. Anybody can make a wrong one up; a spent one was stolen, or its thief
    /// was faster.
    pub(crate) fn was_issued(&self, session: &str, secret: &str) -> bool {
        let fields: Vec<&str> = secret.split('.').collect();
        let [random, version, tag] = fields[..] else { return false };
        let key = version.parse().ok().and_then(|version| self.ring.version(KEY, version));
        let (Some(key), Ok(tag)) = (key, hex::decode(tag)) else { return false };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*key);
        hmac::verify(&key, &signed_refresh(session, random), &tag).is_ok()
    }

    /// What a token says, if one of our keys signed it and its time has come and not gone.
    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Error> {
        let refused = Error::Unauthenticated;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refused);
        }
        let header = decode_header(token).map_err(|_| refused.clone())?;
        let version =
            header.kid.as_deref().and_then(|kid| kid.strip_prefix(KEY)?.strip_prefix('.')?.parse().ok());
        let key = version.and_then(|version| self.ring.version(KEY, version)).ok_or(refused.clone())?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        let token = decode::<Claims>(token, &DecodingKey::from_secret(&*key), &validation);
        let claims = token.map_err(|_| refused.clone())?.claims;
        let seconds = now.0.div_euclid(1_000);
        let is_now = claims.nbf <= seconds && claims.iat <= seconds && seconds < claims.exp;
        let is_short = claims.exp.saturating_sub(claims.iat) <= ACCESS_MS / 1_000;
        if is_now && is_short { Ok(claims) } else { Err(refused) }
    }
}

fn signed_refresh(session: &str, random: &str) -> Vec<u8> {
    format!("{REFRESH}\0{session}.{random}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tokens(dir: &tempfile::TempDir) -> Tokens {
        let ring = Ring::open(&dir.path().join("ring"), &dir.path().join("key"), &[KEY]).unwrap();
        Tokens::new(Arc::new(ring))
    }

    const SUBJECT: Subject<'_> =
        Subject { user: "u", session: "s", version: 3, authenticated: Timestamp(5_000) };

    #[test]
    fn tokens_count_from_when_they_are_issued_until_they_expire() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = tokens(&dir);
        let now = Timestamp(1_000_000_000);
        let token = tokens.issue(&SUBJECT, now).unwrap();
        for (offset, want) in [(-1_000, false), (0, true), (ACCESS_MS - 1_000, true), (ACCESS_MS, false)] {
            let claims = tokens.verify(&token, now.plus_ms(offset));
            assert_eq!(claims.is_ok_and(|c| c.sub == "u" && c.tv == 3 && c.auth == 5), want, "{offset}");
        }
        // After a new key the old tokens run out; they are not cut off.
        tokens.ring.renew(KEY, 1).unwrap();
        assert!(tokens.verify(&token, now).is_ok());
        assert_ne!(
            decode_header(tokens.issue(&SUBJECT, now).unwrap()).unwrap().kid,
            decode_header(&token).unwrap().kid
        );
    }

    #[test]
    fn a_spent_refresh_token_is_told_from_one_that_was_made_up() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = tokens(&dir);
        let token = tokens.refresh("s").unwrap();
        let (session, secret) = token.split_once('.').unwrap();
        assert!(tokens.was_issued(session, secret) && !tokens.was_issued("t", secret));
        let (random, rest) = secret.split_once('.').unwrap();
        let (version, tag) = rest.split_once('.').unwrap();
        let reversed: String = random.chars().rev().collect();
        for made_up in [
            "",
            random,
            &format!("{random}.{version}."),
            &format!("{reversed}.{rest}"),
            &format!("{random}.2.{tag}"),
            &format!("{secret}.x"),
        ] {
            assert!(!tokens.was_issued(session, made_up), "{made_up}");
        }
    }

    #[test]
    fn forged_tokens_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = tokens(&dir);
        let now = Timestamp(1_000_000_000);
        let good: Value = json!({"iss": ISSUER, "aud": ISSUER, "sub": "u", "jti": "j", "sid": "s", "tv": 3, "auth": 5,
            "iat": 1_000_000, "nbf": 1_000_000, "exp": 1_000_600});
        let (_, key) = tokens.ring.newest(KEY).unwrap();
        let sign = |claims: &Value, kid: &str, algorithm: Algorithm, key: &[u8]| {
            let header = Header { kid: Some(kid.into()), ..Header::new(algorithm) };
            encode(&header, claims, &EncodingKey::from_secret(key)).unwrap()
        };
        let refused = |token: &str| tokens.verify(token, now).is_err();
        assert!(!refused(&sign(&good, "token.1", Algorithm::HS256, &*key)));
        assert!(refused(&sign(&good, "token.1", Algorithm::HS256, &[0; 32])), "another key");
        assert!(refused(&sign(&good, "token.1", Algorithm::HS512, &*key)), "another algorithm");
        for kid in ["token.2", "token.", "1", "objects.1", "token.-1", "../token.1"] {
            assert!(refused(&sign(&good, kid, Algorithm::HS256, &*key)), "{kid}");
        }
        for (name, value) in [
            ("exp", json!("never")),
            ("exp", json!(null)),
            ("exp", json!(2_000_000)),
            ("exp", json!(999_999)),
            ("nbf", json!(1_000_001)),
            ("nbf", json!("soon")),
            ("iat", json!(1_000_001)),
            ("aud", json!("another")),
            ("iss", json!("another")),
            ("extra", json!(1)),
        ] {
            let mut claims = good.clone();
            claims[name] = value.clone();
            assert!(refused(&sign(&claims, "token.1", Algorithm::HS256, &*key)), "{name} {value}");
        }
        for missing in ["iss", "aud", "sub", "jti", "sid", "tv", "auth", "iat", "nbf", "exp"] {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(missing);
            assert!(refused(&sign(&claims, "token.1", Algorithm::HS256, &*key)), "{missing}");
        }
        let signed = sign(&good, "token.1", Algorithm::HS256, &*key);
        let payload = signed.split('.').nth(1).unwrap();
        // {"alg":"none","kid":"token.1"}
        for head in ["eyJhbGciOiJub25lIiwia2lkIjoidG9rZW4uMSJ9", "eyJhbGciOiJub25lIn0"] {
            assert!(refused(&format!("{head}.{payload}.")), "{head}");
        }
        for text in ["", ".", "..", "a.b.c", &"x".repeat(5_000), &format!("{signed}x")] {
            assert!(refused(text));
        }
    }
}
