//! `prunella lab unread`: the fields of a source's records that no mapping reads.

use crate::args::LabUnread;
use crate::command::input;
use crate::{App, Outcome, Refusal, output};
use anyhow::Context;
use prunella_ingest::{Content, Limits, check, settle, unpack};
use prunella_runtime::clock;
use prunella_schemas::Record;
use prunella_translate::Coverage;
use serde::Serialize;
use std::ops::ControlFlow;

#[derive(Serialize)]
struct Field {
    field: String,
    /// Records that have it.
    records: u64,
}

pub fn run(app: &App, args: &LabUnread) -> anyhow::Result<Outcome> {
    let translator = prunella_translate::by_name(&args.source)
        .with_context(|| format!("unknown source `{}`", args.source))
        .map_err(Refusal)?;
    let mut coverage = Coverage::default();
    let received = clock::wall()();
    for path in &args.files {
        let (reader, bar) = input::open(path)?;
        let mut failure = None;
        let origin = path.display().to_string();
        let unpacked = unpack(reader, Content::Auto, &Limits::FILE, &mut |piece| {
            let record = Record {
                source: args.source.clone(),
                tenant: app.loaded.config.tenant.clone(),
                received,
                origin: format!("{origin}:{}", piece.line),
                body: piece.body.to_vec(),
            };
            // What ingest would refuse has no fields to speak of; `normalize` shows those.
            let Ok(checked) = check(&record.body) else { return ControlFlow::Continue(()) };
            let Ok(text) = settle(&checked) else { return ControlFlow::Continue(()) };
            match coverage.add(translator, &record, &text) {
                Ok(()) => ControlFlow::Continue(()),
                Err(malformed) => {
                    failure = Some(anyhow::anyhow!("{}: {malformed}", record.origin));
                    ControlFlow::Break(())
                }
            }
        });
        bar.finish_and_clear();
        if let Some(e) = failure {
            return Err(e);
        }
        unpacked.with_context(|| format!("cannot read {origin}"))?;
    }
    let mut fields: Vec<Field> =
        coverage.unread().map(|(field, records)| Field { field: field.to_owned(), records }).collect();
    fields.sort_by(|a, b| b.records.cmp(&a.records).then_with(|| a.field.cmp(&b.field)));
    output::rows(app.format, &fields, &["FIELD", "RECORDS"], |row| {
        vec![row.field.clone(), format!("{} of {}", row.records, coverage.records())]
    })?;
    Ok(Outcome::Ok)
}
