//! The effector of what tells: a step is applied when its message is durable, and held when it is delivered.

use super::outbox::{Outbox, OutboxRow, OutboxState};
use async_trait::async_trait;
use prunella_schemas::plan::{EvidenceKind, Outcome, Probe, Read, TargetState};
use prunella_schemas::port::{Effector, PortError};
use prunella_schemas::{Id, Step, Tenant, Timestamp};
use serde_json::json;
use std::collections::BTreeSet;

/// Turns steps into messages of the outbox.
pub struct WebhookEffector {
    outbox: Outbox,
    provider: &'static str,
    endpoints: BTreeSet<String>,
}

/// The providers whose steps are messages.
pub const PROVIDERS: [&str; 4] = ["webhook", "slack", "pagerduty", "caep"];

impl WebhookEffector {
    /// `endpoints` are the names that steps may have as their target.
    pub fn new(outbox: Outbox, provider: &'static str, endpoints: BTreeSet<String>) -> Self {
        WebhookEffector { outbox, provider, endpoints }
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Outbox) -> T + Send + 'static,
    ) -> Result<T, String> {
        let outbox = self.outbox.clone();
        let asked = tokio::task::spawn_blocking(move || work(&outbox)).await;
        asked.map_err(|e| format!("the webhook outbox could not be asked: {e}"))
    }
}

#[async_trait]
impl Effector for WebhookEffector {
    fn provider(&self) -> &str {
        self.provider
    }

    /// The newest message to the endpoint, and whether the endpoint takes any.
    async fn read(&self, _: &Tenant, what: &Read) -> Result<TargetState, PortError> {
        let endpoint = what.target.clone();
        let read = move |outbox: &Outbox| {
            Ok::<_, PortError>((outbox.is_disabled(&endpoint)?, outbox.newest(&endpoint)?))
        };
        let (disabled, newest) = self.ask(read).await.map_err(PortError::Unavailable)??;
        let message = newest.map(|row| {
            json!({"id": row.id, "state": row.state.name(), "attempts": row.attempts, "detail": row.detail})
        });
        let known = self.endpoints.contains(&what.target);
        let value = json!({"configured": known, "disabled": disabled, "newest": message});
        Ok(TargetState { provider: what.provider.clone(), target: what.target.clone(), value })
    }

    async fn apply(&self, _: &Tenant, step: &Step, key: Id) -> Outcome {
        if !self.endpoints.contains(&step.target) {
            let detail = format!("there is no webhook endpoint `{}` in the configuration", step.target);
            return Outcome::Failed { detail };
        }
        let (endpoint, body, id) = (step.target.clone(), body(step), message_id(step, key));
        let queued = self.ask(move |outbox| outbox.enqueue(&endpoint, &id, &body).map(|new| (new, id))).await;
        match queued {
            Ok(Ok((true, id))) => Outcome::Done { detail: format!("message {id} is in the outbox") },
            Ok(Ok((false, id))) => {
                Outcome::Done { detail: format!("message {id} was in the outbox already") }
            }
            Ok(Err(e)) => Outcome::Failed { detail: e.to_string() },
            Err(detail) => Outcome::Unknown { detail },
        }
    }

    async fn probe(&self, _: &Tenant, step: &Step, _: &str, _: Timestamp) -> Probe {
        let (endpoint, body) = (step.target.clone(), body(step));
        match self.ask(move |outbox| outbox.find(&endpoint, &body)).await {
            Ok(Ok(Some(row))) if row.state == OutboxState::Delivered => {
                let detail = format!("the endpoint took it at attempt {}: {}", row.attempts, row.detail);
                Probe::Held { evidence: EvidenceKind::ConfigurationRead, detail, last_accepted: None }
            }
            Ok(Ok(Some(row))) => Probe::NotYet { detail: standing(&row) },
            Ok(Ok(None)) => Probe::NotYet { detail: "the message is not in the outbox".into() },
            Ok(Err(e)) => Probe::NotYet { detail: e.to_string() },
            Err(detail) => Probe::NotYet { detail },
        }
    }
}

/// What the step wants to be sent: the whole payload, in the shape of the specification.
fn body(step: &Step) -> Vec<u8> {
    step.desired.to_string().into_bytes()
}

/// One key may stand for several steps of a plan, so the step takes part.
fn message_id(step: &Step, key: Id) -> String {
    let id = Id::derive("webhook", &[&key.0, step.target.as_bytes(), step.operation.as_bytes(), &body(step)]);
    format!("msg_{id}")
}

fn standing(row: &OutboxRow) -> String {
    let detail = if row.detail.is_empty() { "not tried yet" } else { &row.detail };
    format!("{} after {} attempts: {detail}", row.state.name(), row.attempts)
}
