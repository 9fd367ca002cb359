//! The deliverer: sends what is due, again and again less often, until the endpoint takes it or is gone.

use super::guard::{self, PublicOnly};
use super::outbox::{Outbox, OutboxRow, OutboxState};
use super::{Endpoint, Links, WebhookError};
use prunella_schemas::Id;
use reqwest::{Client, StatusCode, redirect};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Delays before each attempt, as the specification suggests: 0 s, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
pub const SCHEDULE_MS: [i64; 10] =
    [0, 5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000];
/// Attempts on their way at once.
const CONCURRENCY_MAX: usize = 8;
const TIMEOUT_MS: u64 = 15_000;
/// How often the outbox is looked at when nothing calls.
const POLL_MS: u64 = 1_000;
/// Delays are spread by this part of themselves, so that a recovered endpoint is not hit by all at once.
const JITTER_PERCENT: i64 = 10;

/// Sends webhooks from the outbox.
pub struct Deliverer {
    outbox: Outbox,
    shared: Arc<Shared>,
}

struct Shared {
    endpoints: BTreeMap<String, Endpoint>,
    /// Put into requests for approval.
    links: Option<Arc<Links>>,
    /// Connects to public addresses only.
    guarded: Client,
    /// For endpoints that the operator marked as private.
    open: Client,
}

/// How an attempt ended.
enum Attempt {
    Taken(String),
    Gone(String),
    Refused(String),
}

impl Deliverer {
    pub fn new(
        outbox: Outbox,
        endpoints: Vec<Endpoint>,
        links: Option<Arc<Links>>,
    ) -> Result<Self, WebhookError> {
        let client = || {
            Client::builder()
                .timeout(Duration::from_millis(TIMEOUT_MS))
                .connect_timeout(Duration::from_millis(TIMEOUT_MS))
                .redirect(redirect::Policy::none())
                .no_proxy()
                .user_agent(concat!("prunella/", env!("CARGO_PKG_VERSION")))
        };
        let fail = |e: reqwest::Error| WebhookError::Client(e.to_string());
        let guarded = client().dns_resolver(PublicOnly::system()).build().map_err(fail)?;
        let open = client().build().map_err(fail)?;
        let endpoints = endpoints.into_iter().map(|e| (e.name.clone(), e)).collect();
        Ok(Deliverer { outbox, shared: Arc::new(Shared { endpoints, links, guarded, open }) })
    }

    /// The names of the endpoints it knows of a provider.
    pub fn endpoints(&self, provider: &str) -> BTreeSet<String> {
        let of = self.shared.endpoints.values().filter(|e| e.channel.provider() == provider);
        of.map(|e| e.name.clone()).collect()
    }

    /// Sends until `shutdown` becomes true. An attempt that is cut short is made again after the next start.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut attempts = JoinSet::new();
        let mut flying: BTreeSet<(String, String)> = BTreeSet::new();
        // Made, and not yet recorded: they stay among the flying, so that a full disk turns into no storm of repeats.
        let mut unrecorded: Vec<(OutboxRow, Attempt)> = Vec::new();
        while !*shutdown.borrow() {
            unrecorded.retain(|landed| !self.landed(landed, &mut flying));
            self.launch(&mut attempts, &mut flying);
            tokio::select! {
                Some(done) = attempts.join_next() => match done {
                    Ok(landed) => unrecorded.push(landed),
                    // The attempt's own row is unknown; forgetting all that fly only risks a repeat, which its id makes harmless.
                    Err(_) => flying.clear(),
                },
                () = self.outbox.grown() => {}
                () = tokio::time::sleep(Duration::from_millis(POLL_MS)) => {}
                changed = shutdown.changed() => if changed.is_err() { break },
            }
        }
    }

    fn launch(&self, attempts: &mut JoinSet<(OutboxRow, Attempt)>, flying: &mut BTreeSet<(String, String)>) {
        if flying.len() >= CONCURRENCY_MAX {
            return;
        }
        // Those that fly are still due in the file, so as many more are asked for.
        let due = match self.outbox.due(CONCURRENCY_MAX + flying.len()) {
            Ok(due) => due,
            Err(e) => {
                tracing::warn!(error = %e, "cannot read the webhook outbox");
                return;
            }
        };
        for row in due {
            let name = (row.endpoint.clone(), row.id.clone());
            if flying.len() < CONCURRENCY_MAX && flying.insert(name) {
                let (shared, timestamp_s) = (Arc::clone(&self.shared), self.outbox.now().0.div_euclid(1_000));
                attempts.spawn(async move {
                    let attempt = shared.attempt(&row, timestamp_s).await;
                    (row, attempt)
                });
            }
        }
    }

    /// Records an attempt; says whether it could.
    fn landed(&self, (row, attempt): &(OutboxRow, Attempt), flying: &mut BTreeSet<(String, String)>) -> bool {
        let made = row.attempts as usize + 1;
        let saved = match attempt {
            Attempt::Taken(detail) => self.outbox.end(row, OutboxState::Delivered, detail),
            Attempt::Gone(detail) => self.outbox.end(row, OutboxState::Disabled, detail),
            Attempt::Refused(detail) => match SCHEDULE_MS.get(made) {
                Some(delay) => self.outbox.postpone(row, jittered(*delay, &row.id, made), detail),
                None => self.outbox.end(row, OutboxState::Failed, detail),
            },
        };
        if let Err(e) = &saved {
            tracing::error!(error = %e, id = row.id, "cannot record a webhook attempt; trying again");
        } else {
            flying.remove(&(row.endpoint.clone(), row.id.clone()));
        }
        saved.is_ok()
    }
}

impl Shared {
    async fn attempt(&self, row: &OutboxRow, timestamp_s: i64) -> Attempt {
        let Some(endpoint) = self.endpoints.get(&row.endpoint) else {
            return Attempt::Refused(format!(
                "there is no webhook endpoint `{}` in the configuration",
                row.endpoint
            ));
        };
        let client = if endpoint.allow_private { &self.open } else { &self.guarded };
        if let Some(why) = guard::literal(&endpoint.url).filter(|_| !endpoint.allow_private) {
            return Attempt::Refused(format!("the endpoint's address is {why}"));
        }
        let dressed = match endpoint.channel.dress(&row.id, timestamp_s, &row.body, self.links.as_deref()) {
            Ok(dressed) => dressed,
            Err(detail) => return Attempt::Refused(detail),
        };
        let request = client.post(endpoint.url.clone()).body(dressed.body);
        let headers = dressed.headers.into_iter();
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        match request.send().await.map(|response| response.status()) {
            Ok(status) if status.is_success() => Attempt::Taken(status.to_string()),
            Ok(StatusCode::GONE) => Attempt::Gone("the endpoint answered 410 Gone".into()),
            Ok(status) if status.is_redirection() => {
                Attempt::Refused(format!("{status}: redirects are not followed"))
            }
            Ok(status) => Attempt::Refused(status.to_string()),
            Err(e) => Attempt::Refused(causes(&e.without_url())),
        }
    }
}

/// The delay moved by at most `JITTER_PERCENT`, the same for the same message and attempt.
fn jittered(delay_ms: i64, id: &str, attempt: usize) -> i64 {
    let Id([a, b, ..]) = Id::derive("webhook_retry", &[id.as_bytes(), &attempt.to_le_bytes()]);
    let spread = delay_ms / 100 * JITTER_PERCENT;
    delay_ms - spread + 2 * spread * i64::from(u16::from_le_bytes([a, b])) / i64::from(u16::MAX)
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_bounded_and_the_same_every_time() {
        assert_eq!(jittered(0, "a", 0), 0);
        let delays: BTreeSet<i64> = (0..100).map(|i| jittered(300_000, &i.to_string(), 2)).collect();
        assert!(delays.iter().all(|d| (270_000..=330_000).contains(d)) && delays.len() > 90, "{delays:?}");
        assert_eq!(jittered(300_000, "a", 2), jittered(300_000, "a", 2));
    }
}
