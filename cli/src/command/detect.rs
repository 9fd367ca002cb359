//! `prunella detect`: records in, OCSF Detection Findings out. Nothing is stored.

use crate::args::Detect;
use crate::command::{findings, input};
use crate::{App, Outcome};
use prunella_runtime::clock;
use prunella_schemas::Event;

pub fn run(app: &App, args: &Detect) -> anyhow::Result<Outcome> {
    let mut events = Vec::new();
    let counts = input::read(&args.offline, &app.loaded.config.tenant, &clock::wall(), |event| {
        events.push(event);
        Ok(())
    })?;
    // Files come in any order; the pipeline sees events as they happen. Two tellings of one event differ in their bytes.
    let text = |event: &Event| event.raw_data.as_ref().map(|raw| raw.text().into_owned());
    let order = |event: &Event| (event.time, event.prunella.event_uid);
    events.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| text(a).cmp(&text(b))));
    let mut seen = std::collections::HashSet::new();
    events.retain(|event| seen.insert(event.prunella.event_uid));
    let mut stage = prunella_detect::Detect::new(app.loaded.config.detect.clone());
    let found: Vec<_> = events.iter().flat_map(|event| stage.observe(event).findings).collect();
    findings::print(app.format, &found)?;
    let rejected = args.offline.input.fail_on_reject && counts.rejects > 0;
    Ok(if rejected || (args.fail_on_finding && !found.is_empty()) { Outcome::Found } else { Outcome::Ok })
}
