//! Files of records as every offline verb reads them: taken apart, progress shown, rejects kept.

use crate::Refusal;
use crate::args::Offline;
use crate::config::Config;
use crate::progress::{self, Watched};
use anyhow::Context;
use prunella_ingest::enrich::Memo;
use prunella_ingest::{Content, Limits, unpack};
use prunella_runtime::clock::Clock;
use prunella_runtime::enrich;
use prunella_schemas::{DeadLetter, Event, Record};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

const REJECTS: &str = "cannot write the rejects";

/// What went through.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Counts {
    pub records: u64,
    pub events: u64,
    pub rejects: u64,
}

/// Reads every file and gives each event to `each`. Rejects go to `--rejects`, else to stderr; counts go to stderr last.
pub fn read(
    offline: &Offline,
    config: &Config,
    clock: &Clock,
    mut each: impl FnMut(Event) -> anyhow::Result<()>,
) -> anyhow::Result<Counts> {
    let input = &offline.input;
    if prunella_translate::by_name(&input.source).is_none() {
        let known: Vec<_> = prunella_translate::catalog().iter().map(|t| t.name()).collect();
        let unknown = anyhow::anyhow!("unknown source `{}`; known are: {}", input.source, known.join(", "));
        return Err(Refusal(unknown).into());
    }
    let mut rejects = Rejects::open(offline.rejects.as_deref()).map_err(Refusal)?;
    let tables = enrich::load(&config.enrich).map_err(|e| Refusal(e.into()))?;
    let mut memo = Memo::default();
    let mut counts = Counts::default();
    let mut events = Vec::new();
    for path in &input.files {
        let (reader, bar) = open(path)?;
        let origin = path.display().to_string();
        let mut failure = None;
        let received = clock();
        let mut take = |piece: prunella_ingest::Piece<'_>| -> anyhow::Result<()> {
            counts.records += 1;
            let record = Record {
                source: input.source.clone(),
                tenant: config.tenant.clone(),
                received,
                origin: format!("{origin}:{}", piece.line),
                body: piece.body.to_vec(),
            };
            let outcome = match piece.rejected {
                None => prunella_ingest::normalize(&record, &mut events),
                Some(rejected) => {
                    let (reason, detail, offset) = (rejected.reason, rejected.detail, rejected.offset);
                    Err(DeadLetter { record, reason, detail, offset, time: received })
                }
            };
            if let Err(dead) = outcome {
                counts.rejects += 1;
                rejects.write(&dead)?;
            }
            for mut event in events.drain(..) {
                counts.events += 1;
                if let Some(tables) = &tables {
                    prunella_ingest::enrich::enrich(&mut event, tables, &mut memo);
                }
                each(event)?;
            }
            Ok(())
        };
        let watched = Watched { inner: reader, bar: bar.clone() };
        let unpacked = unpack(watched, Content::Auto, &Limits::FILE, &mut |piece| match take(piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failure = Some(e);
                ControlFlow::Break(())
            }
        });
        bar.finish_and_clear();
        if let Some(e) = failure {
            return Err(e);
        }
        unpacked.with_context(|| format!("cannot read {}", path.display()))?;
    }
    rejects.flush()?;
    report(&counts);
    Ok(counts)
}

#[allow(clippy::print_stderr, reason = "counts go to stderr, so that stdout holds data only")]
fn report(counts: &Counts) {
    eprintln!("{} records, {} events, {} rejects", counts.records, counts.events, counts.rejects);
}

/// A file, or standard input for `-`.
pub fn open(path: &Path) -> anyhow::Result<(Box<dyn Read>, indicatif::ProgressBar)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), progress::bytes(None, "stdin")));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let length = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    anyhow::ensure!(!length.is_dir(), "{} is a directory; give its files", path.display());
    Ok((Box::new(file), progress::bytes(Some(length.len()), &path.display().to_string())))
}

/// Where rejects go.
struct Rejects {
    out: Box<dyn Write>,
}

impl Rejects {
    fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let out: Box<dyn Write> = match path {
            Some(path) => {
                let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
                Box::new(BufWriter::new(file))
            }
            None => Box::new(io::stderr()),
        };
        Ok(Rejects { out })
    }

    fn write(&mut self, dead: &DeadLetter) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.out, dead).context(REJECTS)?;
        self.out.write_all(b"\n").context(REJECTS)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.out.flush().context(REJECTS)
    }
}
