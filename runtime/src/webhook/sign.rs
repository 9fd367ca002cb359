//! The signature of a webhook, HMAC-SHA256 or Ed25519 over id, timestamp and body, as the Standard Webhooks specification says.

use super::WebhookError;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

const SECRET_PREFIX: &str = "whsec_";
const PRIVATE_KEY_PREFIX: &str = "whsk_";
const SEED_BYTES: usize = 32;
const SECRET_BYTES_MIN: usize = 24;
const SECRET_BYTES_MAX: usize = 64;

/// A shared secret or a private key. It can sign and nothing else: it cannot be printed or written.
#[derive(Clone)]
pub struct Secret(Kind);

#[derive(Clone)]
enum Kind {
    Shared(Arc<hmac::Key>),
    Private(Arc<Ed25519KeyPair>),
}

impl Secret {
    /// Reads `whsec_<base64>`, 24 to 64 bytes, or `whsk_<base64>`, the seed of an Ed25519 key with or without its public key
    /// behind it. White space around it is dropped, since it comes from a file.
    pub fn parse(text: &str) -> Result<Self, WebhookError> {
        if let Some(encoded) = text.trim().strip_prefix(PRIVATE_KEY_PREFIX) {
            return private(encoded);
        }
        let encoded = text
            .trim()
            .strip_prefix(SECRET_PREFIX)
            .ok_or(WebhookError::Secret("it must begin with whsec_ or whsk_"))?;
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| WebhookError::Secret("what follows whsec_ is not base64"))?;
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            return Err(WebhookError::Secret(
                "it must hold 24 to 64 bytes; make one with `openssl rand -base64 32`",
            ));
        }
        Ok(Secret(Kind::Shared(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))))
    }
}

fn private(encoded: &str) -> Result<Secret, WebhookError> {
    let bytes =
        STANDARD.decode(encoded).map_err(|_| WebhookError::Secret("what follows whsk_ is not base64"))?;
    let pair = match bytes.split_at_checked(SEED_BYTES) {
        Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed),
        Some((seed, public)) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
        None => return Err(WebhookError::Secret("a private key has 32 bytes, or 64 with its public key")),
    };
    let pair = pair.map_err(|_| WebhookError::Secret("what follows whsk_ is no Ed25519 key"))?;
    Ok(Secret(Kind::Private(Arc::new(pair))))
}

/// The `webhook-signature` header: `v1,<base64>` for each secret and `v1a,<base64>` for each private key, separated by spaces.
pub fn signature(secrets: &[Secret], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let one = |secret: &Secret| {
        let message = [format!("{id}.{timestamp_s}.").as_bytes(), body].concat();
        match &secret.0 {
            Kind::Shared(key) => format!("v1,{}", STANDARD.encode(hmac::sign(key, &message))),
            Kind::Private(pair) => format!("v1a,{}", STANDARD.encode(pair.sign(&message))),
        }
    };
    secrets.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference implementations.
    #[test]
    fn signs_as_the_reference_implementation_does() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").map_err(|e| e.to_string());
        let secrets = [secret.expect("a good secret")];
        let signed =
            signature(&secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_private_key_signs_so_that_the_public_key_alone_verifies() {
        use aws_lc_rs::signature::{ED25519, KeyPair, UnparsedPublicKey};
        let seed = [9; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed");
        let public = pair.public_key().as_ref().to_vec();
        let whole = [&seed[..], &public].concat();
        for key in [&seed[..], &whole] {
            let secret =
                Secret::parse(&format!("whsk_{}\n", STANDARD.encode(key))).map_err(|e| e.to_string());
            let shared = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").map_err(|e| e.to_string());
            let header = signature(&[secret.expect("a key"), shared.expect("a secret")], "msg_1", 7, b"{}");
            let (first, second) = header.split_once(' ').expect("two signatures");
            assert!(second.starts_with("v1,"), "{header}");
            let signed = STANDARD.decode(first.strip_prefix("v1a,").expect("Ed25519")).expect("base64");
            let verifier = UnparsedPublicKey::new(&ED25519, &public);
            assert!(verifier.verify(b"msg_1.7.{}", &signed).is_ok());
            assert!(verifier.verify(b"msg_1.8.{}", &signed).is_err());
        }
        let swapped = [&seed[..], &[1; 32]].concat();
        for bad in [&[9; 31][..], &swapped] {
            assert!(Secret::parse(&format!("whsk_{}", STANDARD.encode(bad))).is_err());
        }
    }

    #[test]
    fn refuses_weak_and_unreadable_secrets() {
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        for bad in ["", "whsec_", "whsec_AAAA", "whsec_!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &long] {
            assert!(Secret::parse(bad).is_err(), "{bad}");
        }
    }
}
