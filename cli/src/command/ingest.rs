//! `prunella ingest`: files to a running pipeline, portion by portion, each acknowledged when durable.

use crate::args::Ingest;
use crate::client::{self, Client};
use crate::command::input;
use crate::progress::Watched;
use crate::{App, Outcome, Refusal, output, pipeline};
use anyhow::Context;
use prunella_ingest::{Content, Limits, unpack};
use prunella_schemas::limits::INTAKE_BYTES_MAX;
use prunella_schemas::port::Accepted;
use std::ops::ControlFlow;

/// What `--into` says for Kafka.
const KAFKA: &str = "kafka";
/// Most records of one portion.
const PORTION_RECORDS_MAX: usize = 10_000;
/// A portion is sent when it has this many bytes; a single record still fits on top of it.
const PORTION_BYTES: usize = INTAKE_BYTES_MAX / 4;

pub fn run(app: &App, args: &Ingest) -> anyhow::Result<Outcome> {
    let config = &app.loaded.config;
    if args.into.as_deref() == Some(KAFKA) {
        return into_kafka(app, args);
    }
    let client = match &args.into {
        Some(url) => Client::new(url, client::bearer(config)?)?,
        None => Client::to_running(config).map_err(Refusal)?,
    };
    let runtime = pipeline::runtime()?;
    let path = format!("/api/events?source={}", args.input.source);
    let mut total = Accepted::default();
    let mut send = |portion: &mut Portion| -> anyhow::Result<()> {
        if portion.count > 0 {
            let body = std::mem::take(portion).body;
            let answer =
                runtime.block_on(client.post_body(&path, "application/x-ndjson", body)).map_err(Refusal)?;
            let accepted: Accepted =
                serde_json::from_value(answer).context("the pipeline's answer cannot be read")?;
            total.accepted += accepted.accepted;
            total.duplicates += accepted.duplicates;
            total.rejected += accepted.rejected;
        }
        Ok(())
    };
    for file in &args.input.files {
        let (reader, bar) = input::open(file)?;
        let mut portion = Portion::default();
        let mut failure = None;
        let unpacked =
            unpack(Watched { inner: reader, bar: bar.clone() }, Content::Auto, &Limits::FILE, &mut |piece| {
                portion.add(piece.body);
                let full = portion.body.len() >= PORTION_BYTES || portion.count >= PORTION_RECORDS_MAX;
                match if full { send(&mut portion) } else { Ok(()) } {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(e) => {
                        failure = Some(e);
                        ControlFlow::Break(())
                    }
                }
            });
        if let Some(e) = failure {
            return Err(e);
        }
        unpacked.with_context(|| format!("cannot read {}", file.display()))?;
        send(&mut portion)?;
        bar.finish_and_clear();
    }
    finish(app, args, &total)
}

fn finish(app: &App, args: &Ingest, total: &Accepted) -> anyhow::Result<Outcome> {
    output::one(app.format, total, |t| {
        format!("{} accepted, {} known already, {} rejected", t.accepted, t.duplicates, t.rejected)
    })?;
    Ok(if args.input.fail_on_reject && total.rejected > 0 { Outcome::Found } else { Outcome::Ok })
}

/// Straight into the topic of records, without a pipeline between.
#[cfg(feature = "kafka")]
fn into_kafka(app: &App, args: &Ingest) -> anyhow::Result<Outcome> {
    use prunella_runtime::intake::Sender;
    use prunella_runtime::log::kafka::{KafkaIntake, answers};
    let config = &app.loaded.config;
    let settings = super::run::settings(config).map_err(Refusal)?;
    answers(&settings).map_err(|e| Refusal(e.into()))?;
    let intake = KafkaIntake::open(&settings, prunella_runtime::clock::wall())?;
    let mut total = Accepted::default();
    for file in &args.input.files {
        let (reader, bar) = input::open(file)?;
        let origin = file.display().to_string();
        let sender = Sender { source: args.input.source.clone(), tenant: config.tenant.clone(), origin };
        let watched = Watched { inner: reader, bar: bar.clone() };
        let taken = intake.take(watched, Content::Auto, &Limits::FILE, &sender);
        let taken = taken
            .map_err(|e| Refusal(e.into()))
            .with_context(|| format!("cannot give {}", file.display()))?;
        total.accepted += taken.accepted;
        total.rejected += taken.rejected;
        bar.finish_and_clear();
    }
    finish(app, args, &total)
}

#[cfg(not(feature = "kafka"))]
fn into_kafka(_: &App, _: &Ingest) -> anyhow::Result<Outcome> {
    Err(Refusal(crate::no_kafka()).into())
}

/// Records as lines. What is not one line, or no record at all, is sent as it is and becomes a dead letter there.
#[derive(Default)]
struct Portion {
    body: Vec<u8>,
    count: usize,
}

impl Portion {
    fn add(&mut self, record: &[u8]) {
        // A pretty-printed record would be taken for many: JSON strings hold no raw line ends, so they are only layout.
        self.body.extend(record.iter().map(|b| if *b == b'\n' || *b == b'\r' { b' ' } else { *b }));
        self.body.push(b'\n');
        self.count += 1;
    }
}
