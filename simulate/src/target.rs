//! Target: a small local service that stands in for the cloud's front door. It decides on every call, and says so.
//!
//! On every call it asks `GET {prunella}/api/token-versions?principal=..` and honours a session that was issued at or
//! after `not_before`; and `GET {prunella}/api/account-state?principal=..`, of which it honours locks, refused sessions and
//! the demand for a second factor. It is *fail-static*: while Prunella cannot say (503, or no answer), the last answer it knew for
//! that principal holds, and a principal it never heard of is let in, as a cloud's front door would. Then it writes the
//! CloudTrail record of what happened, accepted or refused, and delivers it to Prunella's intake.

use crate::Rng;
use crate::call::{Call, Failure, Token, mint};
use crate::record::{REVOKED_ERROR_CODE, REVOKED_ERROR_MESSAGE, Verdict, Written, write};
use crate::run::{Clock, SimulateError};
use crate::stream;
use crate::watch::Prunella;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use prunella_schemas::Timestamp;
use prunella_schemas::port::AccountState;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

/// Most records delivered at once.
pub const DELIVERY_BATCH_MAX: usize = 200;
/// How long a record may wait for others before it is delivered, in milliseconds.
pub const DELIVERY_LINGER_MS: u64 = 3;
/// Most records that wait for delivery; then the front door waits too.
pub const DELIVERY_QUEUE_MAX: usize = 1_024;
/// Most calls that the journal keeps.
pub const JOURNAL_MAX: usize = 100_000;
/// Largest call accepted, in bytes.
const CALL_BYTES_MAX: usize = 64 * 1024;

/// What the front door answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub verdict: Verdict,
    pub event_id: String,
    /// When it decided, on the wall clock.
    pub at: Timestamp,
    /// The session that a sign-in opened.
    pub token: Option<Token>,
}

/// One call as the front door saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    pub event_id: String,
    pub operation: String,
    /// When it decided, on the wall clock.
    pub at: Timestamp,
    pub verdict: Verdict,
    /// When the record of the call was durable in Prunella; `None` until then.
    pub durable: Option<Timestamp>,
}

/// What the front door works with.
pub struct Setup {
    pub prunella: Prunella,
    pub clock: Clock,
    pub seed: u64,
}

/// What outlives the listener: the journal, and who delivers.
struct Log {
    prunella: Prunella,
    clock: Clock,
    journal: Mutex<Vec<Seen>>,
    failure: Mutex<Option<SimulateError>>,
}

/// The listener's own state. It alone holds the sender, so that the queue closes when the listener has stopped.
struct Door {
    log: Arc<Log>,
    gate: Mutex<Gate>,
    outgoing: mpsc::Sender<Written>,
}

/// What one call after the other needs: they pass in order.
struct Gate {
    rng: Rng,
    /// The last answers of Prunella for a principal.
    known: BTreeMap<String, Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    not_before: Timestamp,
    account: AccountState,
}

/// Principals whose last answer is remembered.
const KNOWN_MAX: usize = 1_024;

/// The running service. [`Target::stop`] stops it after it has delivered what it holds; so does dropping it.
pub struct Target {
    pub address: SocketAddr,
    log: Arc<Log>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    delivered: JoinHandle<()>,
}

impl Target {
    /// Listens on a free port of the loopback.
    pub async fn start(setup: Setup) -> Result<Self, SimulateError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(SimulateError::Listen)?;
        let address = listener.local_addr().map_err(SimulateError::Listen)?;
        let Setup { prunella, clock, seed } = setup;
        let log = Arc::new(Log {
            prunella,
            clock: Arc::clone(&clock),
            journal: Mutex::default(),
            failure: Mutex::default(),
        });
        let (outgoing, incoming) = mpsc::channel(DELIVERY_QUEUE_MAX);
        // These records' times are those of the wall clock, so their ids must not repeat in a second run.
        let rng = stream(seed, "front door", clock().0.unsigned_abs());
        let gate = Mutex::new(Gate { rng, known: BTreeMap::new() });
        let door = Arc::new(Door { log: Arc::clone(&log), gate, outgoing });
        let routes = Router::new().route("/call", post(receive)).layer(DefaultBodyLimit::max(CALL_BYTES_MAX));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let until = async move {
                // Both a message and a dropped sender mean: stop.
                let _ = stopped.await;
            };
            // A front door that breaks shows as calls that get no answer.
            let _ = axum::serve(listener, routes.with_state(door)).with_graceful_shutdown(until).await;
        });
        let delivered = tokio::spawn(deliver(Arc::clone(&log), incoming));
        Ok(Target { address, log, stop, served, delivered })
    }

    /// Every call so far, in order.
    pub async fn journal(&self) -> Vec<Seen> {
        self.log.journal.lock().await.clone()
    }

    /// Takes no more calls, delivers what it holds and returns the journal.
    pub async fn stop(self) -> Result<Vec<Seen>, SimulateError> {
        drop(self.stop);
        // A task that broke has nothing left to tell; what it did is in the journal.
        let _ = self.served.await;
        let _ = self.delivered.await;
        match self.log.failure.lock().await.take() {
            Some(error) => Err(error),
            None => Ok(self.log.journal.lock().await.clone()),
        }
    }
}

async fn receive(State(door): State<Arc<Door>>, Json(mut call): Json<Call>) -> (StatusCode, Json<Answer>) {
    let mut gate = door.gate.lock().await;
    let refusal = door.judge(&mut gate, &call).await;
    let verdict = match &refusal {
        Some(_) => Verdict::Refused,
        None if call.token.is_none() && call.failure.is_some() => Verdict::Failed,
        None => Verdict::Accepted,
    };
    call.failure = refusal.or(call.failure);
    let at = (door.log.clock)();
    let written = write(&call, at, verdict, &mut gate.rng);
    let token = if verdict == Verdict::Accepted { mint(&call, at) } else { None };
    let answer = Answer { verdict, event_id: written.event_id.clone(), at, token };
    let operation = call.operation;
    let seen = Seen { event_id: written.event_id.clone(), operation, at, verdict, durable: None };
    let mut journal = door.log.journal.lock().await;
    if journal.len() < JOURNAL_MAX {
        journal.push(seen);
    }
    drop(journal);
    // The deliverer outlives the door, so the queue is open; a full one makes the front door wait.
    let _ = door.outgoing.send(written).await;
    let status = match verdict {
        Verdict::Accepted if call.failure.is_some() => StatusCode::FORBIDDEN,
        Verdict::Accepted => StatusCode::OK,
        Verdict::Failed | Verdict::Refused => StatusCode::UNAUTHORIZED,
    };
    (status, Json(answer))
}

impl Door {
    /// Why the caller is not let in; a wrong password is not for Prunella to judge.
    async fn judge(&self, gate: &mut Gate, call: &Call) -> Option<Failure> {
        let principal =
            call.token.as_ref().map_or_else(|| call.identity.principal(), |t| t.principal.clone());
        let prunella = &self.log.prunella;
        let (not_before, account) =
            tokio::join!(prunella.not_before(&principal), prunella.account(&principal));
        if gate.known.len() >= KNOWN_MAX && !gate.known.contains_key(&principal) {
            gate.known.pop_first();
        }
        let known = gate.known.entry(principal).or_default();
        known.not_before = not_before.unwrap_or(known.not_before);
        known.account = account.unwrap_or_else(|| std::mem::take(&mut known.account));
        let (code, message) = known.refuses(call, (self.log.clock)())?;
        Some(Failure { code: code.to_owned(), message: message.to_owned() })
    }
}

impl Known {
    /// The error code and message with which a call is refused, in the provider's own words.
    fn refuses(&self, call: &Call, now: Timestamp) -> Option<(&'static str, &'static str)> {
        let account = &self.account;
        let failed = call.token.is_none() && call.failure.is_some();
        if now < account.locked_until && !failed {
            return Some(("InvalidClientTokenId", "The account is locked"));
        }
        let token = call.token.as_ref()?;
        if token.issued_at < self.not_before {
            return Some((REVOKED_ERROR_CODE, REVOKED_ERROR_MESSAGE));
        }
        if account.refused_sessions.contains(&token.credential) {
            return Some((REVOKED_ERROR_CODE, "The session is refused"));
        }
        let stepped_up = token.stepped_up_at.is_some_and(|at| at >= account.step_up_since);
        (account.step_up_since > Timestamp::ZERO && !stepped_up)
            .then_some(("TokenRefreshRequired", "Show a second factor and try again"))
    }
}

/// Delivers records in order, a few at a time, until the queue closes.
async fn deliver(log: Arc<Log>, mut incoming: mpsc::Receiver<Written>) {
    let mut batch = Vec::with_capacity(DELIVERY_BATCH_MAX);
    while incoming.recv_many(&mut batch, DELIVERY_BATCH_MAX).await > 0 {
        tokio::time::sleep(Duration::from_millis(DELIVERY_LINGER_MS)).await;
        while batch.len() < DELIVERY_BATCH_MAX
            && let Ok(written) = incoming.try_recv()
        {
            batch.push(written);
        }
        let body = batch.iter().flat_map(|written| written.body.iter().chain(b"\n")).copied().collect();
        match log.prunella.deliver(body).await {
            Ok(()) => mark(&log, &batch).await,
            Err(error) => {
                log.failure.lock().await.get_or_insert(error);
            }
        }
        batch.clear();
    }
}

async fn mark(log: &Log, batch: &[Written]) {
    let now = (log.clock)();
    let mut journal = log.journal.lock().await;
    for seen in journal.iter_mut().rev().take(DELIVERY_QUEUE_MAX + 2 * DELIVERY_BATCH_MAX) {
        if seen.durable.is_none() && batch.iter().any(|written| written.event_id == seen.event_id) {
            seen.durable = Some(now);
        }
    }
}
