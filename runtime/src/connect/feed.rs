//! One source: its page is durable, then its cursor, and only then the provider is told that it may forget.

use super::{Counts, Ground, Planned, Tally};
use crate::connect::backoff::rest_ms;
use prunella_schemas::port::{Audited, Cursor, Fetched, Page, PortError, SourceError};
use prunella_schemas::{Id, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What stopped a turn. The page was not lost: the next turn reads it again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the page could not be made durable: {0}")]
    Intake(PortError),
    #[error("the cursor could not be kept: {0}")]
    Cursor(PortError),
}

impl ConnectError {
    /// What the back-off goes by: a full disk or log is the world's trouble, not the provider's.
    fn cause(&self) -> SourceError {
        match self {
            ConnectError::Source(e) => e.clone(),
            ConnectError::Intake(e) | ConnectError::Cursor(e) => SourceError::Unavailable(e.to_string()),
        }
    }
}

/// How long a page may take to be ended when told to stop. What is cut off then is read again at the next start.
const STOP_MAX: Duration = Duration::from_millis(3_000);

async fn cut_off(mut stop: watch::Receiver<bool>) {
    // Told, or nobody is left to tell.
    let _ = stop.changed().await;
    tokio::time::sleep(STOP_MAX).await;
}

/// What a turn brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    pub tally: Tally,
    pub caught_up: bool,
}

/// A source with its place.
pub struct Feed {
    planned: Planned,
    ground: Ground,
    counts: Arc<Counts>,
    /// `None` until it was loaded.
    cursor: Option<Cursor>,
    /// The page after `cursor`, read while the one before it was made durable.
    ahead: Option<Result<(Page, Timestamp), SourceError>>,
}

impl Feed {
    pub fn new(planned: Planned, ground: Ground, counts: Arc<Counts>) -> Self {
        Feed { planned, ground, counts, cursor: None, ahead: None }
    }

    /// Takes one page from the source to the log.
    pub async fn turn(&mut self) -> Result<Turn, ConnectError> {
        let (page, fetched) = match self.ahead.take() {
            Some(read) => read?,
            None => {
                let cursor = self.resume().await?;
                let page = self.planned.source.read(&cursor).await?;
                (page, (self.ground.clock)())
            }
        };
        let Page { bodies, next, caught_up, problems, audited } = page;
        // The page after it depends on nothing but the cursor, which may still turn out not to be kept.
        let landing = self.land(bodies, fetched, audited, &next);
        let (landed, ahead) = match caught_up {
            true => (landing.await, None),
            false => tokio::join!(landing, async { Some(self.peek(&next).await) }),
        };
        let tally = landed?;
        self.cursor = Some(next);
        self.ahead = ahead;
        for problem in &problems {
            tracing::warn!(source = self.planned.source.name(), problem, "a piece of the source is wrong");
        }
        let now = (self.ground.clock)();
        self.counts.page(&Tally { updated: now, ..tally }, problems, caught_up);
        Ok(Turn { tally, caught_up })
    }

    /// Reads until told to stop; rests when there is nothing more, and longer each time when something fails.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0u32;
        // A sender that is gone means the same as a sent word: stop.
        while !*stop.borrow() && stop.has_changed().is_ok() {
            let turn = tokio::select! {
                turn = self.turn() => turn,
                () = cut_off(stop.clone()) => return,
            };
            let rest = match turn {
                Ok(turn) => {
                    failures = 0;
                    let every_ms = self.planned.every_ms.unwrap_or_else(|| self.planned.source.every_ms());
                    if turn.caught_up { every_ms } else { 0 }
                }
                Err(e) => {
                    failures = failures.saturating_add(1);
                    self.failed(&e, failures).await
                }
            };
            if rest > 0 {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(rest)) => {}
                    _ = stop.changed() => {}
                }
            }
        }
    }

    /// Reads until there is nothing more, or until something fails; what was read until then is in the total.
    pub async fn run_once(&mut self, total: &mut Tally) -> Result<(), ConnectError> {
        loop {
            let turn = self.turn().await?;
            total.add(&turn.tally);
            if turn.caught_up {
                return Ok(());
            }
        }
    }

    /// The cursor, loaded at the first time. A process may have ended between keeping it and telling the provider.
    async fn resume(&mut self) -> Result<Cursor, ConnectError> {
        if let Some(cursor) = &self.cursor {
            return Ok(cursor.clone());
        }
        let loaded = self.ground.cursors.load(self.planned.source.name()).await;
        let cursor = loaded.map_err(ConnectError::Cursor)?;
        if cursor != Cursor::default() {
            self.acknowledge(&cursor).await;
        }
        self.cursor = Some(cursor.clone());
        Ok(cursor)
    }

    async fn peek(&self, next: &Cursor) -> Result<(Page, Timestamp), SourceError> {
        let page = self.planned.source.read(next).await?;
        Ok((page, (self.ground.clock)()))
    }

    /// Makes a page durable, then its cursor, then tells the provider.
    async fn land(
        &self,
        bodies: Vec<Fetched>,
        fetched: Timestamp,
        audited: Audited,
        next: &Cursor,
    ) -> Result<Tally, ConnectError> {
        let mut tally = self.take(bodies, fetched).await.map_err(ConnectError::Intake)?;
        (tally.written, tally.read) = (audited.written, audited.read);
        if self.cursor.as_ref() != Some(next) || tally != Tally::default() {
            tally.updated = (self.ground.clock)();
            let name = self.planned.source.name();
            self.ground.cursors.store(name, next, &tally).await.map_err(ConnectError::Cursor)?;
            self.acknowledge(next).await;
        }
        Ok(tally)
    }

    async fn take(&self, bodies: Vec<Fetched>, fetched: Timestamp) -> Result<Tally, PortError> {
        let mut tally = Tally::default();
        for body in bodies {
            let (delivered, newest) = (body.delivered, body.newest);
            let accepted = self.ground.intake.accept(body.upload).await?;
            let records = accepted.accepted + accepted.duplicates;
            tally.bodies += 1;
            tally.records += accepted.accepted;
            tally.duplicates += accepted.duplicates;
            tally.rejected += accepted.rejected;
            tally.newest = tally.newest.max(newest.unwrap_or_default());
            self.counts.publish.record((self.ground.clock)().since_ms(fetched), records);
            if let Some(delivered) = delivered {
                self.counts.fetch.record(fetched.since_ms(delivered), records);
                if let Some(newest) = newest {
                    self.counts.delivery.record(delivered.since_ms(newest), records);
                }
            }
        }
        Ok(tally)
    }

    /// A provider that was not told keeps what it has, and gives it again: a repeat, and no loss.
    async fn acknowledge(&self, cursor: &Cursor) {
        if let Err(e) = self.planned.source.acknowledge(cursor).await {
            tracing::warn!(source = self.planned.source.name(), error = %e, "the provider could not be told what is durable");
        }
    }

    /// Says what failed, and how long to rest.
    async fn failed(&mut self, error: &ConnectError, failures: u32) -> u64 {
        let (now, name) = ((self.ground.clock)(), self.planned.source.name());
        tracing::warn!(source = name, error = %error, failures, "a source could not be read; trying again later");
        self.counts.fails(now, error.to_string());
        if let Err(e) = self.ground.cursors.fails(name, &error.to_string(), now).await {
            tracing::warn!(source = name, error = %e, "that could not be written down");
        }
        // Whether the cursor was kept is not known after a failure to keep it.
        (self.cursor, self.ahead) = (None, None);
        let Id(salt) = Id::derive("rest", &[name.as_bytes(), &failures.to_le_bytes(), &now.0.to_le_bytes()]);
        rest_ms(&error.cause(), failures, u64::from_le_bytes(salt.first_chunk().copied().unwrap_or_default()))
    }
}
