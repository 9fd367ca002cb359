//! The webhook outbox: messages that are durable before anybody is told that they will be sent.

use super::WebhookError;
use crate::clock::Clock;
use crate::sqlite::{StoreError, describe, lock, open};
use prunella_schemas::{Id, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Largest body, in bytes; the specification asks for less than 20 kB.
pub const PAYLOAD_BYTES_MAX: usize = 20_000;
/// Most messages that may wait.
const PENDING_MAX: u64 = 100_000;
/// Longest detail kept of an attempt, in characters.
const DETAIL_CHARS_MAX: usize = 300;
const KIND: &str = "webhook";
const MIGRATIONS: &[&str] = &[include_str!("../../../schemas/sqlite/webhook/0001.sql")];
const COLUMNS: &str = "endpoint, id, body, state, attempts, due, detail";

/// What became of a message so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxState {
    Pending,
    Delivered,
    /// Every attempt failed.
    Failed,
    /// The endpoint said that it is gone.
    Disabled,
}

impl OutboxState {
    pub fn name(self) -> &'static str {
        match self {
            OutboxState::Pending => "pending",
            OutboxState::Delivered => "delivered",
            OutboxState::Failed => "failed",
            OutboxState::Disabled => "disabled",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        let all = [OutboxState::Pending, OutboxState::Delivered, OutboxState::Failed, OutboxState::Disabled];
        all.into_iter().find(|s| s.name() == name)
    }
}

/// One message of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    pub endpoint: String,
    /// The `webhook-id`.
    pub id: String,
    pub body: Vec<u8>,
    pub state: OutboxState,
    pub attempts: u32,
    /// Not sent before.
    pub due: Timestamp,
    /// What the last attempt met.
    pub detail: String,
}

/// The outbox. Blocking, and quick: its file is small. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    connection: Mutex<Connection>,
    clock: Clock,
    grown: Notify,
}

impl Outbox {
    /// Opens or makes the outbox at `path`.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let connection = open(path, KIND, MIGRATIONS)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(|e| describe(path, &e))?;
        let (path, connection, grown) = (path.to_owned(), Mutex::new(connection), Notify::new());
        Ok(Outbox { shared: Arc::new(Shared { path, connection, clock, grown }) })
    }

    /// Makes a message durable; it will be sent at once. The same id for the same endpoint is one message: the first.
    /// Says whether it is new.
    pub fn enqueue(&self, endpoint: &str, id: &str, body: &[u8]) -> Result<bool, WebhookError> {
        if body.len() >= PAYLOAD_BYTES_MAX {
            return Err(WebhookError::TooLarge { bytes: body.len() });
        }
        if self.is_disabled(endpoint)? {
            return Err(WebhookError::Disabled(endpoint.to_owned()));
        }
        let waiting = self.pending()?;
        if waiting >= PENDING_MAX {
            return Err(WebhookError::Full(waiting));
        }
        let now = self.now();
        let new = self.transact(|t| {
            let sql = "INSERT OR IGNORE INTO message (endpoint, id, body, digest, state, due, queued) \
                       VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?5)";
            t.prepare_cached(sql)?.execute(params![endpoint, id, body, digest(body).0, now.0])
        })?;
        self.shared.grown.notify_one();
        Ok(new == 1)
    }

    pub fn message(&self, endpoint: &str, id: &str) -> Result<Option<OutboxRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM message WHERE endpoint = ?1 AND id = ?2");
        self.with(|c| c.prepare_cached(&sql)?.query_row([endpoint, id], outbox_row).optional())
    }

    /// The newest message to an endpoint with exactly this body.
    pub fn find(&self, endpoint: &str, body: &[u8]) -> Result<Option<OutboxRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM message WHERE digest = ?1 AND endpoint = ?2 ORDER BY rowid DESC LIMIT 1"
        );
        self.with(|c| {
            c.prepare_cached(&sql)?.query_row(params![digest(body).0, endpoint], outbox_row).optional()
        })
    }

    /// The newest message to an endpoint.
    pub fn newest(&self, endpoint: &str) -> Result<Option<OutboxRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM message WHERE endpoint = ?1 ORDER BY rowid DESC LIMIT 1");
        self.with(|c| c.prepare_cached(&sql)?.query_row([endpoint], outbox_row).optional())
    }

    /// How many messages wait.
    pub fn pending(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM message WHERE state = 'pending'";
        self.with(|c| c.prepare_cached(sql)?.query_row([], |r| r.get::<_, i64>(0))).map(i64::unsigned_abs)
    }

    pub fn is_disabled(&self, endpoint: &str) -> Result<bool, StoreError> {
        self.with(|c| c.prepare_cached("SELECT 1 FROM disabled WHERE endpoint = ?1")?.exists([endpoint]))
    }

    /// Sends to an endpoint again that had said it is gone. Messages given up meanwhile stay given up.
    pub fn enable(&self, endpoint: &str) -> Result<(), StoreError> {
        self.transact(|t| t.execute("DELETE FROM disabled WHERE endpoint = ?1", [endpoint])).map(drop)
    }

    /// Forgets messages that ended before `older_than`. A message that is forgotten could be enqueued again.
    pub fn retain(&self, older_than: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM message WHERE ended IS NOT NULL AND ended < ?1";
        self.transact(|t| t.execute(sql, [older_than.0])).map(|n| n as u64)
    }

    /// Messages to be sent by now, the longest due first.
    pub(super) fn due(&self, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM message WHERE state = 'pending' AND due <= ?1 ORDER BY due, rowid LIMIT ?2"
        );
        let values = params![self.now().0, limit as i64];
        self.with(|c| c.prepare_cached(&sql)?.query_map(values, outbox_row)?.collect())
    }

    /// Records an attempt that ended the message.
    pub(super) fn end(&self, row: &OutboxRow, state: OutboxState, detail: &str) -> Result<(), StoreError> {
        let now = self.now();
        self.transact(|t| {
            let sql = "UPDATE message SET state = ?3, attempts = attempts + 1, ended = ?4, detail = ?5 \
                       WHERE endpoint = ?1 AND id = ?2 AND state = 'pending'";
            t.execute(sql, params![row.endpoint, row.id, state.name(), now.0, short(detail)])?;
            if state == OutboxState::Disabled {
                t.execute("INSERT OR IGNORE INTO disabled VALUES (?1, ?2)", params![row.endpoint, now.0])?;
                let sql = "UPDATE message SET state = 'disabled', ended = ?2, detail = ?3 \
                           WHERE endpoint = ?1 AND state = 'pending'";
                t.execute(sql, params![row.endpoint, now.0, short(detail)])?;
            }
            Ok(())
        })
    }

    /// Records a failed attempt and when to try again.
    pub(super) fn postpone(&self, row: &OutboxRow, delay_ms: i64, detail: &str) -> Result<(), StoreError> {
        let due = self.now().plus_ms(delay_ms);
        self.transact(|t| {
            let sql = "UPDATE message SET attempts = attempts + 1, due = ?3, detail = ?4 \
                       WHERE endpoint = ?1 AND id = ?2 AND state = 'pending'";
            t.execute(sql, params![row.endpoint, row.id, due.0, short(detail)])
        })
        .map(drop)
    }

    pub(super) async fn grown(&self) {
        self.shared.grown.notified().await;
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.shared.clock)()
    }

    fn with<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        query(&lock(&self.shared.connection)).map_err(|e| describe(&self.shared.path, &e))
    }

    fn transact<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = lock(&self.shared.connection);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let result = transaction.and_then(|transaction| {
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        });
        result.map_err(|e| describe(&self.shared.path, &e))
    }
}

fn digest(body: &[u8]) -> Id {
    Id::derive("webhook_body", &[body])
}

fn short(detail: &str) -> String {
    detail.chars().take(DETAIL_CHARS_MAX).collect()
}

fn outbox_row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    let state: String = row.get(3)?;
    let unknown =
        || crate::sqlite::damaged(StoreError::Invalid(format!("`{state}` is not a state of a message")));
    Ok(OutboxRow {
        endpoint: row.get(0)?,
        id: row.get(1)?,
        body: row.get(2)?,
        state: OutboxState::from_name(&state).ok_or_else(unknown)?,
        attempts: row.get(4)?,
        due: Timestamp(row.get(5)?),
        detail: row.get(6)?,
    })
}
