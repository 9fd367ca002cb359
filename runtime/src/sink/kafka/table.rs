//! One table as the target of a delivery, for a thread that has to end in time; and the search for rows that it does not take.

use super::KafkaSink;
use crate::log::kafka::lane::Place;
use crate::log::kafka::producer::{Parcel, Receipts};
use crate::log::kafka::{Halt, MESSAGE_BYTES_MAX, wire};
use crate::store::clickhouse::protocol::{Batch, InsertError, Target};
use crate::store::clickhouse::{Located, Rows};
use prunella_schemas::port::PortError;
use prunella_schemas::{DeadLetter, Id, Posted, RejectReason, Timestamp, Topic};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a request in flight looks whether the lane has to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Beyond what the writer and the server allow themselves: for a server that accepts and then says nothing.
const REQUEST_MAX: Duration = Duration::from_secs(180);
/// So many rows of one portion may be wrong; more are no poison, but a table that is not ours.
const UNFIT_MAX: usize = 64;
/// Key and headers of a dead letter, at their largest.
const HEADROOM_BYTES: usize = 16 * 1024;

/// Messages of a stretch of one topic, and the rows that they are.
pub struct Portion<'a> {
    pub messages: &'a [Located],
    pub rows: Rows<'a>,
}

impl Batch for Portion<'_> {
    fn ids(&self) -> Vec<Id> {
        self.rows.ids()
    }
}

/// Where the rows of one topic go.
pub struct Table<'a> {
    pub sink: &'a KafkaSink,
    pub place: &'a Place<'a>,
    pub topic: Topic,
}

impl Target<Portion<'_>> for Table<'_> {
    fn insert(&mut self, token: &str, portion: &Portion<'_>) -> Result<(), InsertError> {
        match self.put(token, &portion.rows) {
            Err(InsertError::Unfit(text)) => self.sift(token, portion.messages, text),
            other => other,
        }
    }

    fn cancel(&mut self, token: &str) -> Result<(), PortError> {
        self.patiently(self.sink.writer.cancel(token)).unwrap_or_else(|| Err(given_up()))
    }

    fn holds(&mut self, portion: &Portion<'_>) -> Result<bool, PortError> {
        self.patiently(self.sink.writer.holds(&portion.rows)).unwrap_or_else(|| Err(given_up()))
    }
}

impl Table<'_> {
    fn put(&self, token: &str, rows: &Rows<'_>) -> Result<(), InsertError> {
        let cut_off = || Err(InsertError::Unknown("it took too long".into()));
        self.patiently(self.sink.writer.insert(token, rows)).unwrap_or_else(cut_off)
    }

    /// `None` when the lane had to end first, or the server said nothing for too long.
    fn patiently<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let looks = REQUEST_MAX.as_millis() / LOOK_EVERY.as_millis();
        self.sink.runtime.block_on(async {
            let mut work = std::pin::pin!(work);
            for _ in 0..looks {
                if let Ok(done) = tokio::time::timeout(LOOK_EVERY, work.as_mut()).await {
                    return Some(done);
                }
                if self.place.inbox.is_over() {
                    return None;
                }
            }
            None
        })
    }

    /// Halves the portion until the rows that the server does not take stand alone: they become dead letters, the others
    /// go in. A half that goes in twice is harmless, since its rows have their identity.
    fn sift(&self, token: &str, messages: &[Located], mut reason: String) -> Result<(), InsertError> {
        let (mut open, mut unfit) = (vec![messages], Vec::new());
        while let Some(part) = open.pop() {
            let Some((rows, _)) = Rows::of(self.topic, part).filter(|(rows, _)| !rows.is_empty()) else {
                continue;
            };
            let token = format!("{token}/{}+{}", part.first().map_or(0, |m| m.offset), part.len());
            match (self.put(&token, &rows), part) {
                (Ok(()), _) => {}
                (Err(InsertError::Unfit(text)), [one]) => {
                    unfit.push(one.refuse(RejectReason::Malformed, text.clone()));
                    reason = text;
                    if unfit.len() > UNFIT_MAX {
                        let text = format!(
                            "more than {UNFIT_MAX} rows of a portion are refused, the last one so: {reason}; does \
                             somebody else alter this table?"
                        );
                        return Err(InsertError::Refused(PortError::Corrupt(text)));
                    }
                }
                (Err(InsertError::Unfit(_)), _) => {
                    let (left, right) = part.split_at(part.len() / 2);
                    open.extend([right, left]);
                }
                (Err(error), _) => return Err(error),
            }
        }
        tracing::warn!(topic = self.topic.name(), rows = unfit.len(), reason, "refused by the table");
        post(self.place, &unfit).map_err(|_| InsertError::Unknown("dead letters are not durable".into()))
    }
}

fn given_up() -> PortError {
    PortError::Unavailable("ClickHouse did not answer in time".into())
}

/// Makes dead letters durable.
pub fn post(place: &Place<'_>, letters: &[DeadLetter]) -> Result<(), Halt> {
    if letters.is_empty() {
        return Ok(());
    }
    let (receipts, give_up) = (Arc::<Receipts>::default(), || place.inbox.is_over());
    for letter in letters {
        let posted = Posted::new(letter, Timestamp::ZERO);
        let posted = wire::fitted(posted, letter.time, MESSAGE_BYTES_MAX - HEADROOM_BYTES);
        let topic = place.settings.topic(posted.topic);
        let parcel = Parcel {
            topic: &topic,
            partition: None,
            key: &posted.key,
            payload: Some(&posted.bytes),
            headers: Some(wire::attributes(&posted, &topic)),
        };
        place.out.send(parcel, &receipts, &give_up)?;
    }
    receipts.wait(&give_up)?;
    place.counts.undecodable.fetch_add(letters.len() as u64, Ordering::Relaxed);
    Ok(())
}
