//! The sink's writer: one insert for a batch with everything set that the server would otherwise decide, and the search
//! for rows whose insert was cut off.

use super::columns::Placed;
use super::protocol::{Batch, InsertError, Target};
use super::rows::{Located, Rows, each};
use super::{Server, describe, is_unfit};
use clickhouse::error::Error;
use clickhouse::{Client, Row, RowWrite};
use prunella_schemas::Id;
use prunella_schemas::port::PortError;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::runtime::Handle;

/// Most rows of an insert: they are one block, and so one part in each partition.
pub const BATCH_ROWS_MAX: usize = 100_000;
/// Most bytes of messages in an insert.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Between the oldest and the newest origin of a batch: with the 31 days around each, an insert meets less than the 100
/// partitions that the server allows.
const BATCH_SPAN_MS_MAX: i64 = 30 * 86_400_000;
const SEND_MAX: Duration = Duration::from_secs(30);
/// Longer than the server may take, so that the server is the one to give up.
const END_MAX: Duration = Duration::from_secs(120);
const EXECUTION_S_MAX: &str = "90";
/// Identities looked for in one query.
const LOOK_IDS_MAX: usize = 20_000;

/// How many of the first messages make the next batch: at least one, if there is one.
pub fn portion(messages: &[Located]) -> usize {
    let (mut bytes, mut low, mut high) = (0, i64::MAX, i64::MIN);
    for (count, message) in messages.iter().enumerate().take(BATCH_ROWS_MAX) {
        let posted = &message.posted;
        let origin = if posted.origin.0 == 0 { message.at.0 } else { posted.origin.0 };
        bytes += posted.bytes.len();
        (low, high) = (low.min(origin), high.max(origin));
        if count > 0 && (bytes > BATCH_BYTES_MAX || high.saturating_sub(low) > BATCH_SPAN_MS_MAX) {
            return count;
        }
    }
    messages.len().min(BATCH_ROWS_MAX)
}

/// Writes batches as a user who may insert. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    client: Client,
}

impl Writer {
    pub fn new(server: &Server) -> Self {
        let settings = [
            // Never acknowledged before it is on the disk; the tables say that it is synced.
            ("async_insert", "0"),
            ("wait_end_of_query", "1"),
            ("insert_deduplicate", "1"),
            ("deduplicate_blocks_in_dependent_materialized_views", "1"),
            // One block whatever the number of threads: a token covers blocks, not inserts.
            ("input_format_parallel_parsing", "0"),
            ("max_insert_block_size", "1048576"),
            ("min_insert_block_size_rows", "1048576"),
            ("min_insert_block_size_bytes", "1073741824"),
            ("max_insert_threads", "1"),
            ("max_execution_time", EXECUTION_S_MAX),
        ];
        let client =
            settings.into_iter().fold(server.client(), |c, (name, value)| c.with_setting(name, value));
        Writer { client }
    }

    /// One insert under a token.
    pub async fn insert(&self, token: &str, rows: &Rows<'_>) -> Result<(), InsertError> {
        let table = rows.table();
        macro_rules! send {
            ($($kind:ident: $row:ident),*) => {
                match rows {
                    $(Rows::$kind(rows) => self.send::<super::columns::$row<'static>>(table, token, rows).await,)*
                }
            };
        }
        let sent = send!(
            Events: EventRow, Scores: ScoreRow, Signals: SignalRow, Findings: FindingRow, Risk: RiskRow, Plans: PlanRow,
            Receipts: ReceiptRow, DeadLetters: DeadLetterRow
        );
        sent.map_err(|error| match error {
            _ if is_unfit(&error) => InsertError::Unfit(describe(&error).to_string()),
            Error::BadResponse(_) | Error::SchemaMismatch(_) => InsertError::Refused(describe(&error)),
            _ => InsertError::Unknown(error.to_string()),
        })
    }

    async fn send<'r, T: Row + RowWrite>(
        &self,
        table: &str,
        token: &str,
        rows: &[T::Value<'r>],
    ) -> Result<(), Error> {
        let insert = self.client.insert::<T>(table).await?;
        let mut insert = insert
            .with_setting("insert_deduplication_token", token)
            .with_setting("query_id", token)
            .with_timeouts(Some(SEND_MAX), Some(END_MAX));
        for row in rows {
            insert.write(row).await?;
        }
        insert.end().await
    }

    /// Makes sure that the insert under `token` does not run any more.
    pub async fn cancel(&self, token: &str) -> Result<(), PortError> {
        let kill =
            self.client.query_raw("KILL QUERY WHERE query_id = {token:String} SYNC").param("token", token);
        kill.execute().await.map_err(|e| describe(&e))
    }

    /// Whether every row is there, by identity: the same row may have come from another place of the log.
    pub async fn holds(&self, rows: &Rows<'_>) -> Result<bool, PortError> {
        let mut places = rows.places();
        places.sort_unstable();
        places.dedup_by_key(|(id, _)| *id);
        for chunk in places.chunks(LOOK_IDS_MAX) {
            let days = chunk.iter().map(|(_, day)| *day);
            let (low, high) = (days.clone().min().unwrap_or(0), days.max().unwrap_or(0));
            let found: u64 = self
                .client
                .query_raw(&look(rows.table(), chunk, low..=high))
                .with_setting("max_query_size", "4194304")
                .fetch_one()
                .await
                .map_err(|e| describe(&e))?;
            if found != chunk.len() as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The identities stand in one literal of hexadecimal digits, since the server bounds both the elements of a query and
/// the length of its parameters.
fn look(table: &str, places: &[(Id, u16)], days: RangeInclusive<u16>) -> String {
    let mut hex = String::with_capacity(places.len() * 32);
    for (id, _) in places {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{id}");
    }
    format!(
        "SELECT uniqExact(uid) FROM {table} WHERE day BETWEEN toDate({}) AND toDate({}) AND uid IN \
         (SELECT toFixedString(substring(unhex('{hex}'), number * 16 + 1, 16), 16) FROM numbers({}))",
        days.start(),
        days.end(),
        places.len()
    )
}

impl Batch for Rows<'_> {
    fn ids(&self) -> Vec<Id> {
        each!(self, rows => rows.iter().map(|row| Id(row.uid())).collect())
    }
}

/// The writer for a thread that may wait, such as that of a Kafka lane; never for one that runs futures.
#[derive(Clone)]
pub struct Lane {
    pub writer: Writer,
    pub runtime: Handle,
}

impl Target<Rows<'_>> for Lane {
    fn insert(&mut self, token: &str, rows: &Rows<'_>) -> Result<(), InsertError> {
        self.runtime.block_on(self.writer.insert(token, rows))
    }

    fn cancel(&mut self, token: &str) -> Result<(), PortError> {
        self.runtime.block_on(self.writer.cancel(token))
    }

    fn holds(&mut self, rows: &Rows<'_>) -> Result<bool, PortError> {
        self.runtime.block_on(self.writer.holds(rows))
    }
}
