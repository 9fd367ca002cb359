//! `prunella completions`: the completion script of a shell, on stdout.

use crate::Outcome;
use crate::args::Cli;
use crate::output::TO_STDOUT;
use anyhow::Context;
use clap::CommandFactory;
use std::io::Write;

pub fn run(shell: clap_complete::Shell) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "prunella", &mut script);
    std::io::stdout().write_all(&script).context(TO_STDOUT)?;
    Ok(Outcome::Ok)
}
