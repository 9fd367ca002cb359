//! The delivery protocol of the sink: intent, insert, verify when in doubt, done. It knows neither Kafka nor ClickHouse.
//!
//! Row identity makes a repeat harmless, the manifest makes a loss impossible, and the token only saves work: a server
//! that died between noting a token and naming the part acknowledges the same token for ever without having the rows.
//! So an insert whose fate is not known is never tried again under its token. The rows are looked for first, and if one is
//! missing, all go again under the token of the next generation.

use prunella_schemas::Id;
use prunella_schemas::port::PortError;
use serde::{Deserialize, Serialize};

/// Generations tried in one delivery before the caller is told to wait.
const GENERATIONS_PER_DELIVERY_MAX: u32 = 3;

/// What the manifest says of a lane. That a batch is done and that the next one is meant stand in one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Every input before this offset is in the table.
    pub end: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
}

/// A batch that is about to be inserted: whoever takes over must build exactly this one again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Offsets `start..end`.
    pub start: i64,
    pub end: i64,
    /// Grows whenever the rows go again.
    pub generation: u32,
    pub rows: u64,
    /// Over the identities of the rows, in order.
    pub digest: Id,
}

/// Rows for one table.
pub trait Batch {
    fn ids(&self) -> Vec<Id>;
}

/// Where intents become durable before the call returns.
pub trait Manifest {
    fn say(&mut self, entry: &Entry) -> Result<(), PortError>;
}

/// Where rows go.
pub trait Target<B> {
    /// One insert. `Ok` only when the server said so.
    fn insert(&mut self, token: &str, batch: &B) -> Result<(), InsertError>;
    /// Makes sure that the insert under this token is over, whatever became of it.
    fn cancel(&mut self, token: &str) -> Result<(), PortError>;
    /// Whether every row of the batch is there.
    fn holds(&mut self, batch: &B) -> Result<bool, PortError>;
}

/// Why an insert was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The server said no. Some of it may be there all the same: whoever tries again looks first.
    #[error(transparent)]
    Refused(PortError),
    /// The server takes rows, but not one or some of these: it is the rows that are wrong.
    #[error("{0}")]
    Unfit(String),
    /// Nobody knows: a timeout, a reset, an error in the middle.
    #[error("the fate of an insert is not known: {0}")]
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The world; call `deliver` again with the same batch after a while.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The batch is not the one that the manifest names, or does not follow on the one before.
    #[error(
        "lane {lane}: expected {expected}, was given {start}-{end}; the log below the manifest has changed"
    )]
    Changed { lane: String, expected: String, start: i64, end: i64 },
}

/// What a lane reads next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Exactly these offsets, as one batch.
    Again { start: i64, end: i64 },
    /// Whatever comes from this offset on.
    From(i64),
}

impl Next {
    pub fn start(self) -> i64 {
        match self {
            Next::Again { start, .. } | Next::From(start) => start,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    Done(i64),
    /// The rows are there; the manifest still names the intent.
    Landed(i64),
    /// The intent is in the manifest; what became of the insert is not known.
    Open(Intent),
}

/// One lane of the sink: a partition of a topic on its way into a table.
pub struct Delivery<M, T> {
    lane: String,
    progress: Progress,
    manifest: M,
    target: T,
}

impl<M: Manifest, T> Delivery<M, T> {
    /// Goes on where the manifest says. `lane` is part of every token: `sink/topic/partition`.
    pub fn resume(lane: impl Into<String>, entry: Option<Entry>, manifest: M, target: T) -> Self {
        let progress = match entry.unwrap_or_default() {
            Entry { intent: Some(intent), .. } => Progress::Open(intent),
            Entry { end, intent: None } => Progress::Done(end),
        };
        Delivery { lane: lane.into(), progress, manifest, target }
    }

    pub fn next(&self) -> Next {
        match &self.progress {
            Progress::Done(end) | Progress::Landed(end) => Next::From(*end),
            Progress::Open(intent) => Next::Again { start: intent.start, end: intent.end },
        }
    }

    /// Delivers the offsets `start..end`, whose dead letters are durable already. On `Ok` every row is in the table.
    pub fn deliver<B: Batch>(&mut self, start: i64, end: i64, batch: &B) -> Result<(), DeliveryError>
    where
        T: Target<B>,
    {
        let (rows, digest) = sum(batch);
        let mut intent = Intent { start, end, generation: 0, rows, digest };
        match &self.progress {
            Progress::Done(done) | Progress::Landed(done) if *done != start || end < start => {
                return Err(self.changed(format!("offset {done}"), start, end));
            }
            Progress::Done(_) | Progress::Landed(_) => {}
            Progress::Open(open) => {
                intent.generation = open.generation;
                if *open != intent {
                    let expected = format!("{}-{} with {} rows", open.start, open.end, open.rows);
                    return Err(self.changed(expected, start, end));
                }
                if self.settle_doubt(&intent, batch)? {
                    return Ok(());
                }
                intent.generation += 1;
            }
        }
        if rows == 0 {
            self.progress = Progress::Landed(end);
            return Ok(());
        }
        for _ in 0..GENERATIONS_PER_DELIVERY_MAX {
            self.manifest.say(&Entry { end: start, intent: Some(intent.clone()) })?;
            self.progress = Progress::Open(intent.clone());
            match self.target.insert(&self.token(&intent), batch) {
                Ok(()) => {
                    self.progress = Progress::Landed(end);
                    return Ok(());
                }
                Err(InsertError::Refused(error)) => return Err(error.into()),
                Err(InsertError::Unfit(text)) => return Err(PortError::Invalid(text).into()),
                Err(InsertError::Unknown(_)) if self.settle_doubt(&intent, batch)? => return Ok(()),
                Err(InsertError::Unknown(_)) => intent.generation += 1,
            }
        }
        let text =
            format!("lane {}: {GENERATIONS_PER_DELIVERY_MAX} inserts in a row were cut off", self.lane);
        Err(PortError::Unavailable(text).into())
    }

    /// The log below the open intent is not what it was: compaction or retention took some of it away, or this build
    /// reads what the one before could not. What it holds now is meant instead, as the next generation.
    pub fn amend<B: Batch>(&mut self, batch: &B) {
        if let Progress::Open(intent) = &mut self.progress {
            (intent.rows, intent.digest) = sum(batch);
        }
    }

    /// Says in the manifest that nothing is open. The next intent says it too, so this is for pauses and the end.
    pub fn rest(&mut self) -> Result<(), DeliveryError> {
        if let Progress::Landed(end) = self.progress {
            self.manifest.say(&Entry { end, intent: None })?;
            self.progress = Progress::Done(end);
        }
        Ok(())
    }

    /// Whether every row of an open intent is there after all.
    fn settle_doubt<B>(&mut self, intent: &Intent, batch: &B) -> Result<bool, DeliveryError>
    where
        T: Target<B>,
    {
        let token = self.token(intent);
        self.target.cancel(&token)?;
        let landed = self.target.holds(batch)?;
        if landed {
            self.progress = Progress::Landed(intent.end);
        }
        Ok(landed)
    }

    /// With the digest, so that a topic made anew under the same name never meets a token of the one before: the server
    /// would acknowledge other rows without storing them.
    fn token(&self, intent: &Intent) -> String {
        let Intent { start, end, generation, digest, .. } = intent;
        format!("v2/{}/{generation}/{start}-{end}/{digest}", self.lane)
    }

    fn changed(&self, expected: String, start: i64, end: i64) -> DeliveryError {
        DeliveryError::Changed { lane: self.lane.clone(), expected, start, end }
    }
}

/// How many rows, and the digest over their identities.
fn sum<B: Batch>(batch: &B) -> (u64, Id) {
    let ids = batch.ids();
    let parts: Vec<&[u8]> = ids.iter().map(|id| id.0.as_slice()).collect();
    (ids.len() as u64, Id::derive("batch", &parts))
}
