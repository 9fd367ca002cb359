//! `prunella completions`: the completion script of a shell, on stdout.

use crate::Outcome;
use crate::args::Cli;
use clap::CommandFactory;

pub fn run(shell: clap_complete::Shell) -> anyhow::Result<Outcome> {
    clap_complete::generate(shell, &mut Cli::command(), "prunella", &mut std::io::stdout());
    Ok(Outcome::Ok)
}
