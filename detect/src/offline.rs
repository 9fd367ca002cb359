//! Offline: the stages over a set of events that is at hand as a whole, such as a file.

use crate::config::Config;
use crate::stage::Detect;
use prunella_schemas::{Event, Finding};

/// The findings in a set of events, whatever order they come in, by the default configuration.
pub fn run(events: impl Iterator<Item = Event>) -> Vec<Finding> {
    let mut events: Vec<Event> = events.collect();
    events.sort_by_key(|event| (event.time, event.prunella.event_uid));
    judge(&mut Detect::new(Config::default()), &events)
}

/// The findings in events that are in order.
pub fn judge(detect: &mut Detect, events: &[Event]) -> Vec<Finding> {
    events.iter().flat_map(|event| detect.observe(event).findings).collect()
}
