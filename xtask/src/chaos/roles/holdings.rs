//! What stands in the topics after a run, read by a consumer of its own, and what must be true of it.

use crate::chaos::stream::Counts;
use anyhow::{Context, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The first message under each id, and how often an id came again: a consumer drops these.
#[derive(Debug, Default)]
pub struct Said {
    pub first: BTreeMap<String, Vec<u8>>,
    pub again: u64,
    /// Came again in other words, as an event does that was recorded by two channels.
    pub otherwise: u64,
}

/// The topics of one installation.
#[derive(Debug)]
pub struct Holdings {
    pub events: Said,
    pub scores: Said,
    pub findings: Said,
    pub letters: Said,
}

/// How one installation differs from another that was given the same.
#[derive(Debug, Default)]
pub struct Difference {
    pub lost: u64,
    pub twice: u64,
    pub identical: bool,
    pub violations: Vec<String>,
}

impl Holdings {
    pub fn read(brokers: &str, prefix: &str) -> anyhow::Result<Self> {
        let said = |name: &str| {
            let topic = format!("{prefix}.{name}.v1");
            read(brokers, &topic).with_context(|| format!("cannot read {topic}"))
        };
        Ok(Holdings {
            events: said("events")?,
            scores: said("scores")?,
            findings: said("findings")?,
            letters: said("dlq")?,
        })
    }

    /// What is wrong by itself.
    pub fn violations(&self, sent: &Counts) -> anyhow::Result<Vec<String>> {
        let mut violations = Vec::new();
        let mut expect = |what: &str, is: usize, wanted: u64| {
            if is as u64 != wanted {
                violations.push(format!("{is} {what} instead of {wanted}"));
            }
        };
        expect("events", self.uids()?.len(), sent.events);
        expect("events by their id on the log", self.events.first.len(), sent.events);
        expect("scores", self.scores.first.len(), sent.events);
        expect("dead letters", self.letters.first.len(), sent.poison);
        expect("scores in other words", self.scores.otherwise as usize, 0);
        expect("findings in other words", self.findings.otherwise as usize, 0);
        Ok(violations)
    }

    /// Lost, or said a second time under another id or in other words, beside an installation that nobody disturbed.
    pub fn beside(&self, calm: &Holdings) -> anyhow::Result<Difference> {
        let mut difference = Difference::default();
        let (ours, theirs) = (self.uids()?, calm.uids()?);
        difference.lost += theirs.difference(&ours).count() as u64;
        difference.twice += (self.events.first.len() - ours.len()) as u64;
        for (what, ours, theirs) in [
            ("scores", &self.scores, &calm.scores),
            ("findings", &self.findings, &calm.findings),
            ("dead letters", &self.letters, &calm.letters),
        ] {
            let lost = theirs.first.keys().filter(|id| !ours.first.contains_key(*id)).count() as u64;
            let new = ours.first.keys().filter(|id| !theirs.first.contains_key(*id)).count() as u64;
            let other = ours.first.iter().filter(|(id, b)| theirs.first.get(*id).is_some_and(|t| t != *b));
            let other = other.count() as u64;
            // A letter holds the place where its record stood, which a record that was sent again has twice.
            let counts = if what == "dead letters" { lost + new } else { lost + new + other };
            if counts > 0 {
                difference
                    .violations
                    .push(format!("{what}: {lost} lost, {new} new, {other} with other bytes"));
            }
            difference.lost += lost;
            difference.twice += new;
            difference.identical |= what == "findings" && counts == 0;
        }
        if difference.lost + difference.twice > 0 {
            let (lost, twice) = (difference.lost, difference.twice);
            difference.violations.push(format!("{lost} lost, {twice} twice"));
        }
        Ok(difference)
    }

    /// The event uids, which the ids of messages are derived from.
    fn uids(&self) -> anyhow::Result<BTreeSet<String>> {
        let uid = |bytes: &Vec<u8>| {
            let event: Value = serde_json::from_slice(bytes)?;
            event["prunella"]["event_uid"].as_str().map(str::to_owned).context("an event without event_uid")
        };
        self.events.first.values().map(uid).collect()
    }
}

/// Everything of a topic of one partition.
fn read(brokers: &str, topic: &str) -> anyhow::Result<Said> {
    let mut said = Said::default();
    each(brokers, topic, 1, |message| said.take(message))?;
    Ok(said)
}

/// Visits everything of a topic.
pub fn each(
    brokers: &str,
    topic: &str,
    partitions: i32,
    mut visit: impl FnMut(&BorrowedMessage<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "chaos").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("check.crcs", "true");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut open = partitions;
    while open > 0 {
        match consumer.poll(PATIENCE) {
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            // The library tries again.
            Some(Err(KafkaError::MessageConsumption(_))) => {}
            Some(Err(e)) => return Err(e.into()),
            None => bail!("nothing comes for {PATIENCE:?}"),
            Some(Ok(message)) => visit(&message)?,
        }
    }
    Ok(())
}

/// The text of a header.
pub fn header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a str> {
    let header = message.headers()?.iter().find(|header| header.key == name)?;
    std::str::from_utf8(header.value?).ok()
}

impl Said {
    pub fn take(&mut self, message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
        let id = header(message, "ce_id").context("no ce_id")?;
        let bytes = message.payload().unwrap_or_default();
        match self.first.get(id) {
            None => {
                self.first.insert(id.to_owned(), bytes.to_vec());
            }
            Some(first) if first == bytes => self.again += 1,
            Some(_) => self.otherwise += 1,
        }
        Ok(())
    }
}
