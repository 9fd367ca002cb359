//! The project's own verbs: rules that are checked, files that are generated, faults that are injected.

mod backfill;
mod chaos;
mod codegen;
mod deny;
mod evaluate;
mod random;
mod services;
mod tidy;
mod tree;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Something that a verb needs cannot be had here.
const UNAVAILABLE: u8 = 3;

#[derive(Parser)]
#[command(name = "xtask", about = "Verbs for people who work on Prunella")]
enum Xtask {
    /// Check the arrows between crates and the invariants of ARCHITECTURE.md
    Tidy,
    /// Write the JSON Schemas and the configuration reference from the code
    Codegen {
        /// Change nothing; fail when a file differs
        #[arg(long)]
        check: bool,
    },
    /// Run cargo-deny, installing it into the user's cache first if it is not there
    Deny,
    /// Kill a running pipeline at random moments and check that nothing is lost and nothing counts twice
    Chaos(chaos::Options),
    /// Read a gigabyte of log files from the emulator of S3 and from disk: how fast, and in how much memory
    Backfill(backfill::Options),
    /// Mix public attacks with benign records and count what `prunella detect` finds, and what it calls by mistake
    Evaluate(evaluate::Options),
    /// Real Kafka, ClickHouse, Redis and PostgreSQL on loopback
    Services(services::Options),
    /// Load the library of ClickHouse and become its server
    #[command(hide = true)]
    Clickhouse {
        library: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Things `make test` needs, by name
    #[command(subcommand)]
    Need(Need),
}

#[derive(Subcommand)]
enum Need {
    /// Say where the public test data is expected
    Data,
}

#[allow(clippy::print_stderr, reason = "a command-line program reports its error to the terminal")]
fn main() -> ExitCode {
    let result = match Xtask::parse() {
        Xtask::Tidy => tidy::run(),
        Xtask::Codegen { check } => codegen::run(check),
        Xtask::Deny => deny::run(),
        Xtask::Chaos(options) => chaos::run(&options),
        Xtask::Backfill(options) => backfill::run(&options),
        Xtask::Evaluate(options) => evaluate::run(&options),
        Xtask::Services(options) => services::run(&options),
        Xtask::Clickhouse { library, arguments } => services::become_clickhouse(&library, &arguments),
        Xtask::Need(Need::Data) => tree::announce_data(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            match e.is::<services::Missing>() {
                true => ExitCode::from(UNAVAILABLE),
                false => ExitCode::FAILURE,
            }
        }
    }
}
