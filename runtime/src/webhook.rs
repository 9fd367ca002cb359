//! Messages to the outside, sent from a durable outbox and only to public addresses: webhooks signed as Standard Webhooks
//! says, and those of Slack, PagerDuty and CAEP.

mod channel;
mod deliver;
mod effect;
mod guard;
mod link;
mod outbox;
mod sign;

pub use channel::{Channel, Issuer, RoutingKey, SECRETS_MAX};
pub use deliver::{Deliverer, SCHEDULE_MS};
pub use effect::{PROVIDERS, WebhookEffector};
pub use guard::refusal;
pub use link::Links;
pub use outbox::{Outbox, OutboxRow, OutboxState, PAYLOAD_BYTES_MAX};
pub use sign::{Secret, signature};

/// Where messages go. Not printable: it holds secrets.
pub struct Endpoint {
    /// The name that plans use as their target.
    pub name: String,
    pub url: reqwest::Url,
    pub channel: Channel,
    /// Allows `http` and private addresses: for a receiver on this machine or network, named by the operator.
    pub allow_private: bool,
}

impl Endpoint {
    pub fn new(name: &str, url: &str, channel: Channel, allow_private: bool) -> Result<Self, WebhookError> {
        let refuse =
            |detail: &str| Err(WebhookError::Endpoint { name: name.to_owned(), detail: detail.to_owned() });
        let Ok(url) = reqwest::Url::parse(url) else { return refuse("its url cannot be read") };
        if let Err(why) = channel.check() {
            return refuse(why);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("its url holds a password; messages are signed instead");
        }
        match url.scheme() {
            "https" => {}
            "http" if allow_private => {}
            _ => return refuse("its url must begin with https:// (http:// only with allow_private)"),
        }
        if let Some(why) = guard::literal(&url).filter(|_| !allow_private) {
            return refuse(&format!("its address is {why}; set allow_private if that is meant"));
        }
        Ok(Endpoint { name: name.to_owned(), url, channel, allow_private })
    }
}

/// Why a webhook cannot be set up or taken.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum WebhookError {
    #[error("webhook endpoint `{name}`: {detail}")]
    Endpoint { name: String, detail: String },
    #[error("the webhook secret cannot be used: {0}")]
    Secret(&'static str),
    #[error("the webhook client cannot start: {0}")]
    Client(String),
    #[error("a webhook of {bytes} bytes is too large: at most {PAYLOAD_BYTES_MAX} are sent")]
    TooLarge { bytes: usize },
    #[error("the webhook outbox is full: {0} messages wait; see why their endpoints do not take them")]
    Full(u64),
    #[error("webhook endpoint `{0}` is disabled, since it answered 410 Gone; enable it again if it is back")]
    Disabled(String),
    #[error(transparent)]
    Store(#[from] crate::sqlite::StoreError),
}
