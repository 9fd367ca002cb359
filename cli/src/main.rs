//! The `prunella` binary: reads the command line, puts the parts together, and turns outcomes into exit codes.

mod args;
mod client;
mod command;
mod config;
mod effectors;
mod output;
mod pipeline;
mod progress;

use anyhow::Context;
use args::{Cli, Command, Global};
use clap::Parser;
use config::{Flags, Loaded};
use output::Format;
use std::io::IsTerminal;
use std::process::ExitCode;
use toml::Value;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How a command ended. An `Err` is bad input (2) unless it is a `Refusal` (3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// Findings, rejects, a broken ledger, an undetected attack.
    Found,
}

/// Usage, configuration or something unreachable: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Refusal(pub anyhow::Error);

/// What every command is given.
pub struct App {
    pub format: Format,
    /// The format was asked for, and not told by where the output goes.
    pub format_asked: bool,
    pub loaded: Loaded,
}

#[allow(clippy::print_stderr, reason = "a command-line program reports its error to the terminal")]
fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors; clap knows where each belongs.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 3 } else { 0 });
        }
    };
    match run(cli) {
        Ok(Outcome::Ok) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(1),
        Err(e) if is_closed_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("prunella: {}", output::printable(&format!("{e:#}")));
            ExitCode::from(if e.downcast_ref::<Refusal>().is_some() { 3 } else { 2 })
        }
    }
}

#[cfg(not(feature = "kafka"))]
fn no_kafka() -> anyhow::Error {
    anyhow::anyhow!("this build has no Kafka: build with `cargo build -p prunella-cli --features kafka`")
}

/// Whoever read our output has seen enough, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        io.or_else(|| cause.downcast_ref::<serde_json::Error>()?.io_error_kind())
    });
    kinds.into_iter().any(|kind| kind == std::io::ErrorKind::BrokenPipe)
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    start_log(&cli.global.log)?;
    // Two TLS providers may be linked; the choice must be made before the first connection.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let format = Format::resolve(cli.global.output);
    let loaded = load_config(&cli.global, &cli.command).map_err(Refusal)?;
    let writes_junit = matches!(cli.command, Command::SimulateAttack(args::SimulateAttack::Suite(_)));
    if format == Format::Junit && !writes_junit {
        return Err(Refusal(anyhow::anyhow!("only `simulate-attack suite` writes JUnit")).into());
    }
    let context = App { format, format_asked: cli.global.output.is_some(), loaded };
    match cli.command {
        Command::Up(args) => command::up::run(&context, &args),
        #[cfg(feature = "kafka")]
        Command::Run(args) => command::run::run(&context, &args),
        #[cfg(feature = "kafka")]
        Command::Topics(args) => command::run::topics(&context, &args),
        #[cfg(not(feature = "kafka"))]
        Command::Run(_) | Command::Topics(_) => Err(Refusal(no_kafka()).into()),
        Command::Ready(args) => command::ready::run(&args),
        Command::Demo(args) => command::demo::run(&context, &args),
        Command::Connectors(args) => command::connectors::run(&context, args),
        Command::Ingest(args) => command::ingest::run(&context, &args),
        Command::Normalize(args) => command::normalize::run(&context, &args),
        Command::Detect(args) => command::detect::run(&context, &args),
        Command::Findings(args) => command::findings::run(&context, args),
        Command::Plans(args) => command::plans::run(&context, args),
        Command::Respond(args) => command::respond::run(&context, &args),
        Command::Receipts(args) => command::receipts::run(&context, args),
        Command::Resources(args) => command::resources::run(&context, args),
        Command::Ledger(args) => command::ledger::run(&context, args),
        Command::Dlq(args) => command::dlq::run(&context, args),
        Command::SimulateAttack(args) => command::simulate::run(&context, args),
        Command::Lab(args) => command::lab::run(&context, &args),
        Command::Config(args) => command::config::run(&context, &args),
        Command::Schema(args) => command::schema::run(&context, &args),
        #[cfg(feature = "vault")]
        Command::Vault(args) => command::vault::run(&context, args),
        Command::Completions { shell } => command::completions::run(shell),
    }
}

#[allow(clippy::disallowed_methods, reason = "the command line is where the environment comes in")]
fn load_config(global: &Global, command: &Command) -> anyhow::Result<Loaded> {
    let mut flags: Flags = Vec::new();
    if let Some(dir) = &global.data_dir {
        let text = dir.to_str().context("the path given with --data-dir is not UTF-8")?;
        flags.push(("data_dir", "--data-dir", Value::String(text.to_owned())));
    }
    if let Command::Up(up) = command {
        if let Some(listen) = up.listen {
            flags.push(("api.listen", "--listen", Value::String(listen.to_string())));
        }
        if let Some(mode) = up.response {
            let name = match mode {
                args::Mode::Observe => "observe",
                args::Mode::DryRun => "dry-run",
                args::Mode::Approve => "approve",
                args::Mode::Auto => "auto",
            };
            flags.push(("response.mode_max", "--response", Value::String(name.into())));
        }
    }
    config::load(global.config.as_deref(), std::env::vars(), flags)
}

fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|e| {
        Refusal(anyhow::anyhow!("--log {filter}: {e}; write for example `info,prunella_runtime=debug`"))
    })?;
    // A line that cannot be written, to a full disk say, is no reason to end: saying so on the same way would panic.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().init();
    }
    Ok(())
}
