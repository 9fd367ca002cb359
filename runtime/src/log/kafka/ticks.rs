//! Ticks: a lane whose stage has something due and no input tells itself the time, by a command on its own partition.

use super::Halt;
use super::lane::Place;
use super::producer::{Parcel, Receipts};
use super::wire;
use crate::clock::Clock;
use prunella_schemas::{Command, Posted, Timestamp, Topic};
use std::sync::Arc;

/// A tick for the same due time is posted again after this: it may have been lost, or the wall clock set back.
const AGAIN_MS: i64 = 1_000;

/// When a stage has something due, and what time it is.
pub struct Due<S> {
    pub next: fn(&S) -> Option<Timestamp>,
    pub clock: Clock,
}

/// The ticks of one lane.
pub struct Ticks<'a, S> {
    due: &'a Due<S>,
    /// The due time that was answered last, and when.
    posted: (Timestamp, Timestamp),
}

impl<'a, S> Ticks<'a, S> {
    pub fn new(due: &'a Due<S>) -> Self {
        Ticks { due, posted: (Timestamp::ZERO, Timestamp::ZERO) }
    }

    /// Posts one when it is time. It counts when it comes back, in the order that every replay sees.
    pub fn post(&mut self, stage: &S, place: &Place<'_>) -> Result<(), Halt> {
        let (now, Some(due)) = ((self.due.clock)(), (self.due.next)(stage)) else { return Ok(()) };
        let is_answered = self.posted.0 == due && now.since_ms(self.posted.1) < AGAIN_MS;
        if due > now || is_answered {
            return Ok(());
        }
        let tick = Posted::new(&Command::Tick { at: now }, Timestamp::ZERO);
        let topic = place.settings.topic(Topic::Commands);
        let parcel = Parcel {
            topic: &topic,
            partition: Some(place.partition),
            key: &tick.key,
            payload: Some(&tick.bytes),
            headers: Some(wire::attributes(&tick, &topic)),
        };
        // Nobody waits for it: one that is lost is posted again.
        place.out.send(parcel, &Arc::<Receipts>::default(), &|| place.inbox.is_over())?;
        self.posted = (due, now);
        Ok(())
    }
}
