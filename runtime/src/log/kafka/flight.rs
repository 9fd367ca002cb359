//! Steps on their way: their outputs are written in order, while the stage steps on; how far all of it is durable.

use super::lane::Place;
use super::producer::{Parcel, Receipts};
use super::{FailPoint, Halt, MESSAGE_BYTES_MAX, wire};
use prunella_schemas::{Finding, Message, Posted, Timestamp, Topic};
use rdkafka::message::Header;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Steps of a lane whose outputs are not all durable. What they make is made again after a crash.
pub const STEPS_IN_FLIGHT_MAX: usize = 8;
/// Key and headers of a message, at their largest.
const HEADROOM_BYTES: usize = 16 * 1024;

/// The steps of one lane, oldest first.
pub struct Flights<'a> {
    place: &'a Place<'a>,
    /// The names of the topics on Kafka.
    topics: BTreeMap<Topic, String>,
    findings_by_tenant: String,
    /// What every output says about who wrote it.
    signature: String,
    steps: VecDeque<Flight>,
}

/// What one step led to.
struct Flight {
    /// Of each input: the step went up to here.
    end: Vec<i64>,
    count: u64,
    since: Instant,
    others: Arc<Receipts>,
    /// Not sent before everything else of this step and those before it is durable: they are the clock of the tenant's
    /// view, which must not run ahead of what happened before.
    held: Vec<Posted>,
    scores: Arc<Receipts>,
}

impl<'a> Flights<'a> {
    pub fn new(place: &'a Place<'a>, signature: String) -> Self {
        let topics = Topic::ALL.into_iter().map(|topic| (topic, place.settings.topic(topic)));
        let findings_by_tenant = place.settings.findings_by_tenant();
        Flights { place, topics: topics.collect(), findings_by_tenant, signature, steps: VecDeque::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.steps.len() >= STEPS_IN_FLIGHT_MAX
    }

    /// Sends what a step led to and does not wait for it. `since` is when the step began, `at` the time it was told.
    pub fn launch(
        &mut self,
        outputs: Vec<Posted>,
        end: Vec<i64>,
        at: Timestamp,
        since: Instant,
    ) -> Result<(), Halt> {
        let count = outputs.len() as u64;
        let fitted = outputs.into_iter().map(|p| wire::fitted(p, at, MESSAGE_BYTES_MAX - HEADROOM_BYTES));
        let (held, others): (Vec<_>, Vec<_>) = fitted.partition(|p| p.topic == Topic::Scores);
        let others = self.send(&others)?;
        self.steps.push_back(Flight { end, count, since, others, held, scores: Arc::default() });
        match self.steps.len() {
            1 => Ok(()),
            _ => self.place.dies(FailPoint::Overtaken),
        }
    }

    /// Looks what has become durable, without waiting. How far the lane is, if that is further than before.
    pub fn land(&mut self) -> Result<Option<Vec<i64>>, Halt> {
        for at in 0..self.steps.len() {
            if !self.release(at)? {
                break;
            }
        }
        let mut end = None;
        while let Some(step) = self.steps.front() {
            if !step.is_durable()? {
                break;
            }
            self.place.dies(FailPoint::Sent)?;
            self.place.counts.produced.fetch_add(step.count, Ordering::Relaxed);
            self.place.counts.steps.record(step.since.elapsed());
            end = self.steps.pop_front().map(|step| step.end);
        }
        Ok(end)
    }

    /// Waits until everything is durable.
    pub fn land_all(&mut self) -> Result<Option<Vec<i64>>, Halt> {
        let give_up = || self.place.inbox.is_over();
        let (mut end, mut landed) = (None, self.land()?);
        while landed.is_some() || !self.steps.is_empty() {
            end = landed.or(end);
            if let Some(step) = self.steps.front() {
                step.others.wait(&give_up)?;
                step.scores.wait(&give_up)?;
            }
            landed = self.land()?;
        }
        Ok(end)
    }

    /// Lets the scores of a step go, if everything else is durable. Whether they are gone.
    fn release(&mut self, at: usize) -> Result<bool, Halt> {
        let Some(step) = self.steps.get_mut(at) else { return Ok(false) };
        if !step.others.is_settled()? {
            return Ok(false);
        }
        if !step.held.is_empty() {
            let held = std::mem::take(&mut step.held);
            self.place.dies(FailPoint::Held)?;
            let scores = self.send(&held)?;
            if let Some(step) = self.steps.get_mut(at) {
                step.scores = scores;
            }
        }
        Ok(true)
    }

    fn send(&self, outputs: &[Posted]) -> Result<Arc<Receipts>, Halt> {
        let receipts = Receipts::waking(self.place.inbox);
        for (at, posted) in outputs.iter().enumerate() {
            let topic = self.topics.get(&posted.topic).map_or("", String::as_str);
            self.send_to(topic, &posted.key, posted, &receipts)?;
            if posted.topic == Topic::Findings {
                self.send_by_tenant(posted, &receipts)?;
            }
            if at == outputs.len() / 2 {
                self.place.dies(FailPoint::HalfSent)?;
            }
        }
        Ok(receipts)
    }

    /// The findings of all principals of a tenant on one partition, for the tenant's view.
    fn send_by_tenant(&self, posted: &Posted, receipts: &Arc<Receipts>) -> Result<(), Halt> {
        let finding = Finding::decode(posted.version, &posted.bytes);
        let Ok(finding) = finding else { return Ok(()) };
        self.send_to(&self.findings_by_tenant, finding.tenant(), posted, receipts)
    }

    fn send_to(&self, topic: &str, key: &str, posted: &Posted, receipts: &Arc<Receipts>) -> Result<(), Halt> {
        let claim = Header { key: wire::HEADER_CLAIM, value: Some(&self.signature) };
        let headers = Some(wire::attributes(posted, topic).insert(claim));
        let parcel = Parcel { topic, partition: None, key, payload: Some(&posted.bytes), headers };
        self.place.out.send(parcel, receipts, &|| self.place.inbox.is_over())
    }
}

impl Flight {
    fn is_durable(&self) -> Result<bool, Halt> {
        Ok(self.held.is_empty() && self.others.is_settled()? && self.scores.is_settled()?)
    }
}
