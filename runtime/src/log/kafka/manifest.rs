//! The manifest of a lane: who owns it, how far its outputs are durable, and where its snapshots lie.
//!
//! A claim is a record under the lane's key, and its offset is the owner's epoch: the broker gives out larger numbers
//! to later claims. Everything an owner says stands under a key of its own epoch, so that an owner that does not know
//! yet that it was replaced cannot overwrite, not even by compaction, what its successor said.

use super::producer::{Outbound, Parcel, Receipts};
use super::reader::{read_on, reader};
use super::{Halt, Settings};
use crate::log::LogError;
use prunella_schemas::Timestamp;
use rdkafka::consumer::BaseConsumer;
use rdkafka::{Message, Offset};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What the owner of a lane last said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of each input: everything before this offset is consumed, and its outputs are durable.
    pub end: Vec<i64>,
    /// The order in which a stage of several inputs takes them, from the older snapshot on: from input `.0` everything
    /// before offset `.1`, then the next. It may go on behind `end`: then it is what will be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<(usize, i64)>,
    /// The newest snapshot, and one to fall back to.
    #[serde(default)]
    pub snapshots: Vec<Kept>,
}

/// Where a snapshot lies, and what it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Of each input: the stage has stepped through everything before this offset.
    pub next: Vec<i64>,
    /// The newest time that the stage was told.
    pub at: Timestamp,
    pub epoch: i64,
    /// Counts the snapshots of one epoch.
    pub number: u64,
    /// Offset of its first part in the topic of snapshots.
    pub first: i64,
    pub parts: usize,
}

impl Entry {
    /// Adds a message to the order.
    pub fn record(&mut self, input: usize, offset: i64) {
        match self.order.last_mut() {
            Some((last, until)) if *last == input => *until = offset + 1,
            _ => self.order.push((input, offset + 1)),
        }
    }

    /// Forgets the order before the oldest snapshot.
    pub fn trim(&mut self) {
        if let Some(oldest) = self.snapshots.last() {
            let covered = self.order.iter().take_while(|run| is_covered(run, &oldest.next)).count();
            self.order.drain(..covered);
        }
    }
}

/// Whether everything of the run lies before `next`.
pub fn is_covered((input, until): &(usize, i64), next: &[i64]) -> bool {
    next.get(*input).is_some_and(|next| until <= next)
}

/// One lane's place in the manifest.
pub struct Manifest {
    topic: String,
    partition: i32,
    /// `stage/topic/partition`
    lane: String,
    pub epoch: i64,
    /// The broker's clock at the claim.
    pub claimed_at: Timestamp,
    /// The epoch whose entry was taken over; deleted once ours stands.
    inherited: Option<i64>,
    /// Reads on from our claim, to see whether somebody else has claimed the lane.
    watch: Option<BaseConsumer>,
    /// How far that is.
    watched: i64,
}

impl Manifest {
    /// Claims the lane, then reads what earlier owners said. From the claim on, theirs does not count any more.
    pub fn claim<E: DeserializeOwned>(
        settings: &Settings,
        out: &Outbound,
        lane: String,
        partition: i32,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(Manifest, Option<E>), Halt> {
        let topic = settings.manifest();
        let receipts = Arc::<Receipts>::default();
        let owner = settings.member.as_deref().unwrap_or("unnamed");
        let claim = serde_json::json!({ "owner": owner }).to_string();
        let parcel = Parcel {
            topic: &topic,
            partition: Some(partition),
            key: &lane,
            payload: Some(claim.as_bytes()),
            headers: None,
        };
        out.send(parcel, &receipts, give_up)?;
        let Some(epoch) = receipts.wait(give_up)? else {
            return Err(Halt::World(LogError::Unavailable("Kafka gave the claim no offset".into())));
        };
        let mut newest: Option<(i64, E)> = None;
        // To the claim itself: after a change of the leader the partition may seem to end before it.
        let earlier = reader(settings, &topic, partition, Offset::Beginning, false)?;
        read_on(&earlier, give_up, |message| {
            if message.offset() >= epoch {
                return ControlFlow::Break(());
            }
            if let Some((theirs, entry)) = said(&lane, message.key(), message.payload())
                && newest.as_ref().is_none_or(|(newest, _)| theirs >= *newest)
            {
                newest = Some((theirs, entry));
            }
            ControlFlow::Continue(())
        })?;
        let (inherited, entry) = newest.unzip();
        let claimed_at = receipts.first_at();
        let (watch, watched) = (None, epoch);
        Ok((Manifest { topic, partition, lane, epoch, claimed_at, inherited, watch, watched }, entry))
    }

    /// Says how far the lane is. The caller has made sure that what it says is durable already.
    pub fn say(
        &mut self,
        entry: &impl Serialize,
        out: &Outbound,
        receipts: &Arc<Receipts>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(), Halt> {
        let bytes = serde_json::to_vec(entry)
            .map_err(|e| Halt::World(LogError::Corrupt(format!("the manifest cannot be written: {e}"))))?;
        self.put(self.epoch, Some(&bytes), out, receipts, give_up)?;
        // In the same partition after the new one, so no reader ever finds neither.
        if let Some(inherited) = self.inherited.take() {
            self.put(inherited, None, out, receipts, give_up)?;
        }
        Ok(())
    }

    /// Makes sure that nobody has claimed the lane before `offset`, where our word stands. Whoever claims it later
    /// reads that word.
    pub fn confirm(
        &mut self,
        settings: &Settings,
        offset: i64,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(), Halt> {
        if offset <= self.watched {
            return Ok(());
        }
        let watch = match self.watch.take() {
            Some(watch) => watch,
            None => reader(settings, &self.topic, self.partition, Offset::Offset(self.epoch + 1), false)?,
        };
        let mut is_ours = true;
        read_on(&watch, give_up, |message| {
            self.watched = self.watched.max(message.offset());
            is_ours &= message.offset() <= self.epoch || message.key() != Some(self.lane.as_bytes());
            match message.offset() >= offset || !is_ours {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        self.watch = Some(watch);
        match is_ours {
            true => Ok(()),
            false => Err(Halt::World(LogError::Unavailable(format!("lane {} has a new owner", self.lane)))),
        }
    }

    fn put(
        &self,
        epoch: i64,
        payload: Option<&[u8]>,
        out: &Outbound,
        receipts: &Arc<Receipts>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(), Halt> {
        let key = format!("{}/{epoch}", self.lane);
        let parcel =
            Parcel { topic: &self.topic, partition: Some(self.partition), key: &key, payload, headers: None };
        out.send(parcel, receipts, give_up)
    }
}

/// An entry of this lane and its epoch. A claim, another lane's record and a deletion are none.
fn said<E: DeserializeOwned>(lane: &str, key: Option<&[u8]>, payload: Option<&[u8]>) -> Option<(i64, E)> {
    let key = std::str::from_utf8(key?).ok()?;
    let epoch = key.strip_prefix(lane)?.strip_prefix('/')?.parse().ok()?;
    Some((epoch, serde_json::from_slice(payload?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_of_the_lane_count() {
        let entry = Entry { end: vec![9], ..Entry::default() };
        let bytes = serde_json::to_vec(&entry).unwrap();
        let check = |key: &str, payload: Option<&[u8]>, want: Option<i64>| {
            let said = said("detect/t/3", Some(key.as_bytes()), payload);
            assert_eq!(said, want.map(|epoch| (epoch, entry.clone())), "{key}");
        };
        check("detect/t/3/17", Some(&bytes), Some(17));
        check("detect/t/3", Some(br#"{"owner":"a"}"#), None);
        check("detect/t/30/17", Some(&bytes), None);
        check("detect/t/3/17", None, None);
        check("detect/t/3/x", Some(&bytes), None);
        check("detect/t/3/17", Some(b"{"), None);
    }

    #[test]
    fn the_order_is_kept_in_runs_from_the_oldest_snapshot_on() {
        let mut entry = Entry::default();
        for (input, offset) in [(0, 0), (0, 1), (1, 0), (0, 4), (0, 5), (2, 9)] {
            entry.record(input, offset);
        }
        assert_eq!(entry.order, [(0, 2), (1, 1), (0, 6), (2, 10)]);
        let kept = |next: [i64; 3]| Kept {
            next: next.to_vec(),
            at: Timestamp::ZERO,
            epoch: 0,
            number: 0,
            first: 0,
            parts: 1,
        };
        entry.snapshots = vec![kept([6, 1, 10]), kept([5, 1, 0])];
        entry.trim();
        assert_eq!(entry.order, [(0, 6), (2, 10)], "the run that the snapshot cuts stays");
    }
}
