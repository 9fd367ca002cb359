//! `prunella normalize`: records in, one OCSF event a line out. Nothing is stored and nothing is dropped as a repeat.

use crate::args::Normalize;
use crate::command::input;
use crate::output::TO_STDOUT;
use crate::{App, Outcome};
use anyhow::Context;
use prunella_runtime::clock;
use std::io::{BufWriter, Write};

pub fn run(app: &App, args: &Normalize) -> anyhow::Result<Outcome> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let counts = input::read(&args.offline, &app.loaded.config, &clock::wall(), |event| {
        serde_json::to_writer(&mut out, &event).context(TO_STDOUT)?;
        out.write_all(b"\n").context(TO_STDOUT)
    })?;
    out.flush().context(TO_STDOUT)?;
    Ok(if args.offline.input.fail_on_reject && counts.rejects > 0 { Outcome::Found } else { Outcome::Ok })
}
