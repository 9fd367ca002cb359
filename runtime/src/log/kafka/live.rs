//! What happens now, for the live feed: read from the end of the topics, by no group, while somebody looks. Lossy by design.

use super::Settings;
use super::reader::is_passing;
use super::wire::read;
use crate::log::LogError;
use crate::metrics::Counts;
use crate::pump::Seen;
use crate::sink::live;
use prunella_schemas::port::Live;
use prunella_schemas::{Timestamp, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

/// Each is read by itself, so that many events hide no finding.
const EYES: [&[Topic]; 2] = [&[Topic::Findings, Topic::Plans, Topic::Receipts], &[Topic::Events]];
/// Messages of one turn that are shown. If there are more, the rest is skipped: eyes cannot follow them.
const SHOWN_MAX: usize = 200;
const TURN: Duration = Duration::from_millis(100);
const METADATA_MAX: Duration = Duration::from_secs(5);

/// Shows what our stages write.
pub struct KafkaFeed {
    settings: Settings,
    live: broadcast::Sender<Live>,
    counts: Arc<Counts>,
}

impl KafkaFeed {
    pub fn new(settings: Settings, live: broadcast::Sender<Live>) -> Self {
        KafkaFeed { settings, live, counts: Arc::default() }
    }

    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Shows what comes until told to stop.
    pub fn run(&self, stop: &AtomicBool) -> Result<(), LogError> {
        let (mut eyes, mut seen) = (Vec::new(), Seen::default());
        while !stop.load(Ordering::Relaxed) {
            if self.live.receiver_count() == 0 {
                eyes.clear();
                std::thread::sleep(TURN);
                continue;
            }
            if eyes.is_empty() {
                eyes = EYES.into_iter().map(|topics| self.open(topics)).collect::<Result<_, _>>()?;
            }
            for eye in &eyes {
                self.turn(eye, &mut seen)?;
            }
        }
        Ok(())
    }

    fn open(&self, topics: &'static [Topic]) -> Result<Eye, LogError> {
        let mut config = self.settings.client();
        // Assigned by hand; the library wants a name for the group all the same.
        config.set("group.id", format!("{}-live", self.settings.prefix)).set("enable.auto.commit", "false");
        config.set("fetch.message.max.bytes", super::MESSAGE_BYTES_MAX.to_string());
        config.set("queued.max.messages.kbytes", super::FETCH_KIBIBYTES_MAX.to_string());
        let consumer: BaseConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for topic in topics {
            let name = self.settings.topic(*topic);
            let metadata = consumer.fetch_metadata(Some(&name), METADATA_MAX)?;
            for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
                list.add_partition_offset(&name, partition.id(), Offset::End)?;
            }
        }
        consumer.assign(&list)?;
        Ok(Eye { topics, consumer, list })
    }

    #[allow(clippy::disallowed_methods, reason = "how long to wait for the world is the shell's to measure")]
    fn turn(&self, eye: &Eye, seen: &mut Seen) -> Result<(), LogError> {
        let by = Instant::now() + TURN;
        for _ in 0..SHOWN_MAX {
            let message = match eye.consumer.poll(by.saturating_duration_since(Instant::now())) {
                None => return Ok(()),
                Some(Err(e)) if is_passing(&e) => return Ok(()),
                Some(Err(e)) => return Err(e.into()),
                Some(Ok(message)) => message.detach(),
            };
            self.counts.consumed.fetch_add(1, Ordering::Relaxed);
            let named = |topic: &&Topic| self.settings.topic(**topic) == message.topic();
            let Some(topic) = eye.topics.iter().find(named) else { continue };
            let at = Timestamp(message.timestamp().to_millis().unwrap_or_default());
            // What cannot be read is a dead letter elsewhere.
            let Ok(posted) = read(&message, *topic, &self.settings.tenant, at) else { continue };
            if !seen.first(posted.id) {
                self.counts.repeats.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if let Some(live) = live(&posted) {
                self.counts.produced.fetch_add(1, Ordering::Relaxed);
                // Nobody listening any more is no error.
                let _ = self.live.send(live);
            }
        }
        eye.consumer.assign(&eye.list)?;
        Ok(())
    }
}

/// Some topics, read on from their end.
struct Eye {
    topics: &'static [Topic],
    consumer: BaseConsumer,
    /// Their partitions, each from its end.
    list: TopicPartitionList,
}
