//! Offline: the stages over a set of events that is at hand as a whole, such as a file.

use crate::config::Config;
use crate::correlate::{Correlate, Input};
use crate::stage::Detect;
use prunella_schemas::{Command, Delivered, Event, Finding, Message, Outbox, Stage, Timestamp, Topic};

/// The findings in a set of events, whatever order they come in, by the default configuration.
pub fn run(events: impl Iterator<Item = Event>) -> Vec<Finding> {
    let mut events: Vec<Event> = events.collect();
    events.sort_by_key(|event| (event.time, event.prunella.event_uid));
    let config = Config::default();
    judge(&mut Detect::new(config.clone()), &mut Correlate::new(config.correlate), &events)
}

/// The findings in events that are in order, in the order in which they were found. Time is the events' own.
pub fn judge(detect: &mut Detect, correlate: &mut Correlate, events: &[Event]) -> Vec<Finding> {
    let mut found = Vec::new();
    for event in events {
        let at = event.time;
        let verdict = detect.observe(event);
        let mut heard: Vec<Input> = Vec::new();
        heard.extend(verdict.findings.iter().cloned().map(|finding| Input::Finding(finding.into())));
        heard.extend(verdict.signals.into_iter().map(|signal| Input::Signal(signal.into())));
        heard.extend(verdict.score.map(Input::Score));
        found.extend(verdict.findings);
        found.extend(hear(correlate, heard, at));
    }
    let end = Timestamp(i64::MAX);
    found.extend(hear(correlate, vec![Input::Command(Command::Tick { at: end }.into())], end));
    found
}

fn hear(correlate: &mut Correlate, heard: Vec<Input>, at: Timestamp) -> Vec<Finding> {
    let heard: Vec<Delivered<Input>> =
        heard.into_iter().map(|message| Delivered { message, origin: at, at }).collect();
    let mut out = Outbox::default();
    correlate.step(&heard, &mut out);
    let posted = out.drain().into_iter().filter(|posted| posted.topic == Topic::Findings);
    // What a stage has just encoded decodes.
    posted.filter_map(|posted| Finding::decode(posted.version, &posted.bytes).ok()).collect()
}
