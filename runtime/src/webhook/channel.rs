//! How a message is dressed for whom it goes to: what is added when it is sent, because no log or ledger may hold it.

use super::{Links, Secret, WebhookError, signature};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use prunella_schemas::Id;
use serde_json::Value;

/// Secrets that one endpoint may have at once, while they are being exchanged.
pub const SECRETS_MAX: usize = 2;
/// The type of a message that asks a person.
const APPROVAL: &str = "approval.requested";
/// An integration key of PagerDuty has so many letters and digits.
const ROUTING_KEY_CHARS: usize = 32;

/// The kind of an endpoint, with its secrets. It cannot be printed.
pub enum Channel {
    /// Standard Webhooks. The newest secret first; every message carries one signature of each.
    Webhook(Vec<Secret>),
    /// An incoming webhook of Slack, whose address is the secret.
    Slack,
    /// PagerDuty's Events API v2.
    PagerDuty(RoutingKey),
    /// Security Event Tokens, pushed as RFC 8935 says.
    Caep(Issuer),
}

impl Channel {
    /// The provider word that steps name.
    pub fn provider(&self) -> &'static str {
        match self {
            Channel::Webhook(_) => "webhook",
            Channel::Slack => "slack",
            Channel::PagerDuty(_) => "pagerduty",
            Channel::Caep(_) => "caep",
        }
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self {
            Channel::Webhook(secrets) if !(1..=SECRETS_MAX).contains(&secrets.len()) => {
                Err("it needs one secret, or two while they are being exchanged")
            }
            _ => Ok(()),
        }
    }

    /// The headers and the body as they are sent.
    pub(super) fn dress(
        &self,
        id: &str,
        timestamp_s: i64,
        body: &[u8],
        links: Option<&Links>,
    ) -> Result<Dressed, String> {
        let json = ("content-type", "application/json".to_owned());
        match self {
            Channel::Webhook(secrets) => {
                let body = links.and_then(|links| linked(links, id, body)).unwrap_or_else(|| body.to_vec());
                let headers = vec![
                    json,
                    ("webhook-id", id.to_owned()),
                    ("webhook-timestamp", timestamp_s.to_string()),
                    ("webhook-signature", signature(secrets, id, timestamp_s, &body)),
                ];
                Ok(Dressed { headers, body })
            }
            Channel::Slack => Ok(Dressed { headers: vec![json], body: body.to_vec() }),
            Channel::PagerDuty(RoutingKey(key)) => {
                let mut event = object(body)?;
                event.insert("routing_key".to_owned(), key.as_str().into());
                Ok(Dressed { headers: vec![json], body: Value::Object(event).to_string().into_bytes() })
            }
            Channel::Caep(issuer) => {
                let headers = vec![
                    ("content-type", "application/secevent+jwt".to_owned()),
                    ("accept", "application/json".to_owned()),
                ];
                Ok(Dressed { headers, body: issuer.token(id, timestamp_s, object(body)?)?.into_bytes() })
            }
        }
    }
}

/// A message as it goes over the wire.
pub(super) struct Dressed {
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// A request for approval with the address at which it is given; nothing for any other message.
fn linked(links: &Links, id: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut message = object(body).ok().filter(|message| message.get("type") == Some(&APPROVAL.into()))?;
    let data = message.get_mut("data")?.as_object_mut()?;
    let named = |name: &str| serde_json::from_value::<Id>(data.get(name)?.clone()).ok();
    let address = links.address(named("plan_uid")?, named("digest")?, id);
    data.insert("approve_url".to_owned(), address.into());
    Some(Value::Object(message).to_string().into_bytes())
}

fn object(body: &[u8]) -> Result<serde_json::Map<String, Value>, String> {
    serde_json::from_slice(body).map_err(|e| format!("the message is no JSON object: {e}"))
}

/// PagerDuty's key of an integration.
pub struct RoutingKey(String);

impl RoutingKey {
    /// White space around it is dropped, since it comes from a file.
    pub fn parse(text: &str) -> Result<Self, WebhookError> {
        let key = text.trim();
        if key.len() == ROUTING_KEY_CHARS && key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Ok(RoutingKey(key.to_owned()));
        }
        Err(WebhookError::Secret("an integration key of PagerDuty has 32 letters and digits"))
    }
}

/// Who signs Security Event Tokens, and for whom.
pub struct Issuer {
    pub issuer: String,
    pub audience: String,
    pub key_id: String,
    key: EncodingKey,
    algorithm: Algorithm,
}

impl Issuer {
    /// `pem` is a private key: RSA (what the CAEP interoperability profile asks for), P-256, or Ed25519.
    pub fn new(issuer: &str, audience: &str, key_id: &str, pem: &[u8]) -> Result<Self, WebhookError> {
        let read = [
            (Algorithm::RS256, EncodingKey::from_rsa_pem(pem)),
            (Algorithm::ES256, EncodingKey::from_ec_pem(pem)),
            (Algorithm::EdDSA, EncodingKey::from_ed_pem(pem)),
        ];
        let unusable = WebhookError::Secret(
            "a PEM file with an RSA, P-256 or Ed25519 private key (PKCS#8) is needed; make one with \
             `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`",
        );
        for (algorithm, key) in read {
            let Ok(key) = key else { continue };
            let [issuer, audience, key_id] = [issuer, audience, key_id].map(str::to_owned);
            let issuer = Issuer { issuer, audience, key_id, key, algorithm };
            // The PEM's label does not say of which kind a key is; that it can sign does.
            if issuer.token("probe", 0, serde_json::Map::new()).is_ok() {
                return Ok(issuer);
            }
        }
        Err(unusable)
    }

    /// A Security Event Token of these claims: a JWT in compact form (RFC 8417).
    fn token(
        &self,
        id: &str,
        timestamp_s: i64,
        mut claims: serde_json::Map<String, Value>,
    ) -> Result<String, String> {
        let mut header = Header::new(self.algorithm);
        (header.typ, header.kid) = (Some("secevent+jwt".to_owned()), Some(self.key_id.clone()));
        claims.extend([
            ("iss".to_owned(), self.issuer.as_str().into()),
            ("aud".to_owned(), self.audience.as_str().into()),
            ("iat".to_owned(), timestamp_s.into()),
            ("jti".to_owned(), id.into()),
        ]);
        let token = jsonwebtoken::encode(&header, &claims, &self.key);
        token.map_err(|e| format!("the security event cannot be signed: {e}"))
    }
}
