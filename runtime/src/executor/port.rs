//! Where the executor's transitions come from and where its reports go, whichever log that is.

use super::IDLE_BATCHES_MAX;
use crate::log::{Commit, Log, LogError, Portion};
use prunella_schemas::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use prunella_schemas::{Posted, Topic};
use std::sync::Arc;
use std::time::Duration;

/// The name under which the executor's position stands in the log, as a hint for retention and lag.
pub const READER: &str = "executor";

/// Transitions in their order, and a way back for what came of them. Blocking.
pub trait Plans: Send + Sync {
    /// Where to go on when everything up to `known` is in the ledger. Another place if the log was cut or made anew.
    fn start(&self, known: i64) -> Result<i64, LogError>;
    /// What comes after `after`; waits for it, `at_most` so long.
    fn read(&self, after: i64, at_most: Duration) -> Result<Taken, LogError>;
    /// Tells the log that the ledger holds everything up to `position`.
    fn reached(&self, position: i64) -> Result<(), LogError>;
    /// Makes a report durable.
    fn report(&self, posted: Posted) -> Result<(), LogError>;
}

/// Some transitions, and the position after them. It may move although there are none.
#[derive(Debug, Default)]
pub struct Taken {
    pub messages: Vec<Posted>,
    pub position: i64,
    /// How many are left behind it, where somebody has just said so.
    pub behind: Option<u64>,
}

/// The plans of a log with one order over all topics.
pub struct LogPlans(pub Arc<dyn Log>);

impl LogPlans {
    fn look(&self, after: i64, until: i64) -> Result<Taken, LogError> {
        let portion = Portion { messages_max: BATCH_MESSAGES_MAX, bytes_max: BATCH_BYTES_MAX, until };
        let batches = self.0.read(&[Topic::Plans], after, portion)?;
        let position = match batches.last() {
            Some(last) => last.sequence,
            // An idle executor says now and then where it stands, so that retention can pass it.
            None if until - after >= IDLE_BATCHES_MAX => until,
            None => after,
        };
        Ok(Taken { messages: batches.into_iter().flat_map(|b| b.messages).collect(), position, behind: None })
    }
}

impl Plans for LogPlans {
    /// After a power cut the ledger may be ahead of the log, whose lost sequences are then given out again.
    fn start(&self, known: i64) -> Result<i64, LogError> {
        Ok(known.min(self.0.head()))
    }

    fn read(&self, after: i64, at_most: Duration) -> Result<Taken, LogError> {
        // Taken before the look, so that what comes meanwhile is not slept through.
        let head = self.0.head();
        let taken = self.look(after, head)?;
        if !taken.messages.is_empty() || at_most.is_zero() {
            return Ok(taken);
        }
        let head = self.0.wait(head, at_most);
        self.look(taken.position, head)
    }

    fn reached(&self, position: i64) -> Result<(), LogError> {
        self.0.commit(Commit { reader: Some(READER.into()), position, ..Commit::default() }).map(drop)
    }

    fn report(&self, posted: Posted) -> Result<(), LogError> {
        self.0.append(vec![posted]).map(drop)
    }
}
