//! `prunella detect`: records in, OCSF Detection Findings out. Nothing is stored.

use crate::args::{self, Offline};
use crate::command::{findings, input};
use crate::{App, Outcome};
use prunella_detect::Detect;
use prunella_detect::correlate::Correlate;
use prunella_runtime::clock;
use prunella_schemas::{Event, Finding};
use std::collections::HashSet;

pub fn run(app: &App, args: &args::Detect) -> anyhow::Result<Outcome> {
    let config = &app.loaded.config.detect;
    let mut stage = Detect::new(config.clone());
    let mut view = Correlate::new(config.correlate.clone());
    if !args.train_on.is_empty() {
        let (past, _) = read(app, &args.offline, Some(&args.train_on))?;
        let models = stage.train(&past);
        trained(past.len(), models);
    }
    let (events, rejects) = read(app, &args.offline, None)?;
    let found: Vec<Finding> = prunella_detect::judge(&mut stage, &mut view, &events);
    findings::print(app.format, &found)?;
    let rejected = args.offline.input.fail_on_reject && rejects > 0;
    Ok(if rejected || (args.fail_on_finding && !found.is_empty()) { Outcome::Found } else { Outcome::Ok })
}

#[allow(clippy::print_stderr, reason = "what was learnt goes to stderr, so that stdout holds data only")]
fn trained(events: usize, models: usize) {
    match models {
        0 => eprintln!("learnt from {events} events; too few for a model, so only rules speak"),
        _ => eprintln!("learnt from {events} events; {models} model(s) trained"),
    }
}

/// The events of the files in the order in which they happened, each once, and how many records were rejected.
fn read(
    app: &App,
    offline: &Offline,
    files: Option<&[std::path::PathBuf]>,
) -> anyhow::Result<(Vec<Event>, u64)> {
    let mut offline = offline.clone();
    if let Some(files) = files {
        offline.input.files = files.to_vec();
    }
    let mut events = Vec::new();
    let counts = input::read(&offline, &app.loaded.config, &clock::wall(), |event| {
        events.push(event);
        Ok(())
    })?;
    // Files come in any order; the pipeline sees events as they happen. Two tellings of one event differ in their bytes.
    let text = |event: &Event| event.raw_data.as_ref().map(|raw| raw.text().into_owned());
    let order = |event: &Event| (event.time, event.prunella.event_uid);
    events.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| text(a).cmp(&text(b))));
    let mut seen = HashSet::new();
    events.retain(|event| seen.insert(event.prunella.event_uid));
    Ok((events, counts.rejects))
}
