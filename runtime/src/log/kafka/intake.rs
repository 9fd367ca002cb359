//! Intake over Kafka: takes a body apart and gives its records to the topic of records, as a producer outside would.

use super::producer::{Outbound, Parcel, Receipts};
use super::wire::{HEADER_SOURCE, attributes};
use super::{Halt, Settings};
use crate::clock::Clock;
use crate::intake::Sender;
use crate::log::LogError;
use prunella_ingest::{Content, Limits, Piece, unpack};
use prunella_schemas::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use prunella_schemas::port::{Accepted, PortError};
use prunella_schemas::{DeadLetter, Posted, Record, Timestamp, Topic};
use rdkafka::message::{Header, OwnedHeaders};
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the brokers may take to acknowledge a portion before the sender is told to come again.
const PATIENCE: Duration = Duration::from_secs(30);

/// The front door. Knows nothing of what came before: repeats are dropped at the mouth of `ingest`. Cheap to clone.
#[derive(Clone)]
pub struct KafkaIntake {
    pub(super) settings: Settings,
    clock: Clock,
    pub(super) out: Arc<Outbound>,
}

impl KafkaIntake {
    pub fn open(settings: &Settings, clock: Clock) -> Result<Self, LogError> {
        Ok(KafkaIntake { settings: settings.clone(), clock, out: Arc::new(Outbound::open_loose(settings)?) })
    }

    /// Takes `input` apart and returns when every record is acknowledged by all replicas. What a portion made durable
    /// stays when a later one fails. Blocks.
    pub fn take(
        &self,
        input: impl Read,
        content: Content,
        limits: &Limits,
        sender: &Sender,
    ) -> Result<Accepted, PortError> {
        let (mut total, mut portion, mut failure) = (Accepted::default(), Portion::new(), None);
        let unpacked = unpack(input, content, limits, &mut |piece| {
            let sent = self.send(&piece, sender, &mut portion).and_then(|()| match portion.is_large() {
                true => portion.settle(&mut total),
                false => Ok(()),
            });
            match sent {
                Ok(()) => ControlFlow::Continue(()),
                Err(e) => {
                    failure = Some(e);
                    ControlFlow::Break(())
                }
            }
        });
        if let Some(e) = failure {
            return Err(e);
        }
        unpacked.map_err(|e| PortError::Unavailable(format!("reading {} failed: {e}", sender.origin)))?;
        portion.settle(&mut total)?;
        Ok(total)
    }

    fn send(&self, piece: &Piece<'_>, sender: &Sender, portion: &mut Portion) -> Result<(), PortError> {
        portion.bytes += piece.body.len();
        if piece.rejected.is_some() {
            portion.counts.rejected += 1;
            return self.send_letter(piece, sender, portion);
        }
        portion.counts.accepted += 1;
        let topic = self.settings.topic(Topic::Records);
        let header = Header { key: HEADER_SOURCE, value: Some(&sender.source) };
        let parcel = Parcel {
            topic: &topic,
            partition: None,
            // One partition for a source: records of one principal keep their order.
            key: &sender.source,
            payload: Some(piece.body),
            headers: Some(OwnedHeaders::new().insert(header)),
        };
        portion.give(&self.out, parcel)
    }

    fn send_letter(
        &self,
        piece: &Piece<'_>,
        sender: &Sender,
        portion: &mut Portion,
    ) -> Result<(), PortError> {
        let Some(rejected) = &piece.rejected else { return Ok(()) };
        let time = (self.clock)();
        let origin = format!("{}:{}", sender.origin, piece.line);
        let (source, tenant) = (sender.source.clone(), sender.tenant.clone());
        let record = Record { source, tenant, received: time, origin, body: piece.body.to_vec() };
        let (reason, detail, offset) = (rejected.reason, rejected.detail.clone(), rejected.offset);
        let posted = Posted::new(&DeadLetter { record, reason, detail, offset, time }, Timestamp::ZERO);
        let topic = self.settings.topic(posted.topic);
        let parcel = Parcel {
            topic: &topic,
            partition: None,
            key: &posted.key,
            payload: Some(&posted.bytes),
            headers: Some(attributes(&posted, &topic)),
        };
        portion.give(&self.out, parcel)
    }
}

/// What is on its way and not acknowledged yet.
pub(super) struct Portion {
    receipts: Arc<Receipts>,
    counts: Accepted,
    bytes: usize,
}

impl Portion {
    pub(super) fn new() -> Self {
        Portion { receipts: Arc::default(), counts: Accepted::default(), bytes: 0 }
    }

    fn is_large(&self) -> bool {
        let count = self.counts.accepted + self.counts.rejected;
        count >= BATCH_MESSAGES_MAX as u64 || self.bytes >= BATCH_BYTES_MAX / 2
    }

    pub(super) fn give(&self, out: &Outbound, parcel: Parcel<'_>) -> Result<(), PortError> {
        out.send(parcel, &self.receipts, &patience()).map_err(refused)
    }

    /// Waits until all of it is durable; only then it counts.
    pub(super) fn settle(&mut self, total: &mut Accepted) -> Result<(), PortError> {
        self.receipts.wait(&patience()).map_err(refused)?;
        total.accepted += self.counts.accepted;
        total.rejected += self.counts.rejected;
        *self = Portion::new();
        Ok(())
    }
}

#[allow(clippy::disallowed_methods, reason = "how long to wait for the world is the shell's to measure")]
fn patience() -> impl Fn() -> bool {
    let since = Instant::now();
    move || since.elapsed() >= PATIENCE
}

fn refused(halt: Halt) -> PortError {
    match halt {
        Halt::World(e) => e.into(),
        Halt::Stopped | Halt::Killed => {
            let seconds = PATIENCE.as_secs();
            PortError::Unavailable(format!("Kafka acknowledged nothing for {seconds} s; send it again later"))
        }
    }
}
