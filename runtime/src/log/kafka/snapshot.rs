//! Snapshots of a lane in a compacted topic: cut into parts, each under a key of its own, read back by offset.

use super::manifest::Kept;
use super::producer::{Outbound, Parcel, Receipts};
use super::reader::read_stretch;
use super::{FailPoint, Halt, Settings};
use rdkafka::{Message, Offset};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Size of a part, in bytes: below what any broker takes.
const PART_BYTES_MAX: usize = 512 * 1024;

/// Where one lane keeps its snapshots.
pub struct Shelf {
    pub topic: String,
    pub partition: i32,
    pub lane: String,
}

impl Shelf {
    /// Writes all parts and waits until they are durable. Their number, and the offset of the first.
    pub fn put(
        &self,
        (epoch, number): (i64, u64),
        bytes: &[u8],
        out: &Outbound,
        give_up: &dyn Fn() -> bool,
        dies: &dyn Fn(FailPoint) -> Result<(), Halt>,
    ) -> Result<(i64, usize), Halt> {
        let receipts = Arc::<Receipts>::default();
        let parts = bytes.chunks(PART_BYTES_MAX);
        let count = parts.len();
        for (at, part) in parts.enumerate() {
            self.send(&self.key(epoch, number, at), Some(part), out, &receipts, give_up)?;
            if at == count / 2 {
                dies(FailPoint::HalfSaved)?;
            }
        }
        let first = receipts.wait(give_up)?.unwrap_or_default();
        Ok((first, count))
    }

    /// Deletes one that nobody will ask for any more.
    pub fn drop(
        &self,
        kept: &Kept,
        out: &Outbound,
        receipts: &Arc<Receipts>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(), Halt> {
        for at in 0..kept.parts {
            self.send(&self.key(kept.epoch, kept.number, at), None, out, receipts, give_up)?;
        }
        Ok(())
    }

    /// All its bytes, or `None` when a part is not there any more.
    pub fn get(
        &self,
        settings: &Settings,
        kept: &Kept,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<u8>>, Halt> {
        let (mut bytes, mut found) = (Vec::new(), 0);
        let from = Offset::Offset(kept.first);
        let mut wanted = self.key(kept.epoch, kept.number, 0);
        read_stretch(settings, &self.topic, self.partition, from, give_up, |message| {
            if message.key() == Some(wanted.as_bytes())
                && let Some(part) = message.payload()
            {
                bytes.extend_from_slice(part);
                found += 1;
                wanted = self.key(kept.epoch, kept.number, found);
            }
            if found == kept.parts { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok((found == kept.parts).then_some(bytes))
    }

    fn key(&self, epoch: i64, number: u64, part: usize) -> String {
        format!("{}/{epoch}/{number}/{part}", self.lane)
    }

    fn send(
        &self,
        key: &str,
        payload: Option<&[u8]>,
        out: &Outbound,
        receipts: &Arc<Receipts>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(), Halt> {
        let parcel =
            Parcel { topic: &self.topic, partition: Some(self.partition), key, payload, headers: None };
        out.send(parcel, receipts, give_up)
    }
}
