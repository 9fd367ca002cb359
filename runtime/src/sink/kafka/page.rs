//! What the manifest says of a lane of the sink: one entry for each of its topics, written as one record.

use crate::log::LogError;
use crate::log::kafka::lane::Place;
use crate::log::kafka::manifest;
use crate::log::kafka::producer::Receipts;
use crate::log::kafka::{FailPoint, Halt};
use crate::sink::READER;
use crate::store::clickhouse::protocol::{self, Entry};
use prunella_schemas::Topic;
use prunella_schemas::port::PortError;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// By the short name of the topic.
type Entries = BTreeMap<String, Entry>;

/// The lane's record, shared by the deliveries of its topics.
pub struct Page<'a> {
    pub place: &'a Place<'a>,
    open: RefCell<(manifest::Manifest, Entries)>,
    /// Why the manifest took a word no more: not a thing to try again.
    halt: RefCell<Option<Halt>>,
}

impl<'a> Page<'a> {
    /// Claims the lane. What earlier owners said of it is in the page.
    pub fn claim(place: &'a Place<'a>) -> Result<Rc<Self>, Halt> {
        let first = place.inputs.first().map_or("", |(_, name)| name);
        let lane = format!("{READER}/{first}/{}", place.partition);
        let give_up = || place.inbox.is_over();
        let (manifest, entries) =
            manifest::Manifest::claim(place.settings, place.out, lane, place.manifest_partition, &give_up)?;
        let entries: Entries = entries.unwrap_or_default();
        tracing::info!(partition = place.partition, epoch = manifest.epoch, ?entries, "claimed");
        Ok(Rc::new(Page { place, open: RefCell::new((manifest, entries)), halt: RefCell::default() }))
    }

    pub fn entry(&self, topic: Topic) -> Option<Entry> {
        self.open.borrow().1.get(topic.name()).cloned()
    }

    /// Why the lane has to end, if it has to.
    pub fn halt(&self) -> Option<Halt> {
        self.halt.borrow_mut().take()
    }

    /// Returns when the word is durable and nobody has claimed the lane before it: whoever claims it later reads it.
    fn say(&self, topic: Topic, entry: &Entry) -> Result<(), Halt> {
        let (manifest, entries) = &mut *self.open.borrow_mut();
        entries.insert(topic.name().to_owned(), entry.clone());
        let (place, receipts) = (self.place, Arc::<Receipts>::default());
        let give_up = || place.inbox.is_over();
        manifest.say(entries, place.out, &receipts, &give_up)?;
        let Some(offset) = receipts.wait(&give_up)? else {
            return Err(Halt::World(LogError::Unavailable("Kafka gave the manifest no offset".into())));
        };
        manifest.confirm(place.settings, offset, &give_up)?;
        place.dies(if entry.intent.is_some() { FailPoint::Intended } else { FailPoint::Done })
    }
}

/// The line of one topic.
pub struct Line<'a> {
    pub page: Rc<Page<'a>>,
    pub topic: Topic,
}

impl protocol::Manifest for Line<'_> {
    fn say(&mut self, entry: &Entry) -> Result<(), PortError> {
        self.page.say(self.topic, entry).map_err(|halt| {
            *self.page.halt.borrow_mut() = Some(halt);
            PortError::Unavailable("the manifest took no word".into())
        })
    }
}
