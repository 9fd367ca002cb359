//! `prunella simulate-attack`: attack yourself, and see whether it is found and contained.

use crate::args::{Intensity as Level, Run, SimulateAttack, Suite as SuiteArgs, Target};
use crate::client;
#[cfg(feature = "vault")]
use crate::command::vault::attacked::serve as serve_vault;
use crate::config::Config;
use crate::output::Format;
#[cfg(not(feature = "vault"))]
use crate::pipeline::Served;
use crate::{App, Outcome, Refusal, output, pipeline, progress};
use anyhow::Context;
use prunella_ledger::{Completeness, Integrity};
use prunella_runtime::clock;
use prunella_schemas::plan::Mode;
use prunella_schemas::port::LedgerView;
use prunella_simulate::scenario::CATALOG;
use prunella_simulate::suite::{Percentiles, attacks, rehearse};
#[cfg(not(feature = "vault"))]
use prunella_simulate::vault::Resident;
use prunella_simulate::{Front, Intensity, Options, Progress, Report, Scenario, Suite, Traffic};
use std::fs::File;
use std::io::BufWriter;
use std::net::SocketAddr;
use std::path::Path;

pub fn run(app: &App, args: SimulateAttack) -> anyhow::Result<Outcome> {
    match args {
        SimulateAttack::List => {
            output::rows(app.format, &CATALOG, &["SCENARIO", "TARGET", "WHAT HAPPENS", "ATT&CK"], |entry| {
                let target = if entry.target == Front::Vault { "vault" } else { "cloud" };
                let (name, what) = (entry.scenario.name().to_owned(), entry.description.to_owned());
                vec![name, target.to_owned(), what, entry.attacks.join(" ")]
            })?;
            Ok(Outcome::Ok)
        }
        SimulateAttack::Run(args) => {
            let scenario: Scenario = args.scenario.parse().map_err(|e| Refusal(anyhow::anyhow!("{e}")))?;
            if is_on_vault(&args, scenario).map_err(Refusal)? {
                let report =
                    pipeline::runtime()?.block_on(on_vault(app, &args, scenario)).map_err(Refusal)?;
                return told(app, &report, scenario);
            }
            if args.into != "embedded"
                && !args.into.starts_with("http://")
                && !args.into.starts_with("https://")
            {
                return write_file(app, &args, scenario);
            }
            let report = pipeline::runtime()?.block_on(attack(app, &args, scenario)).map_err(Refusal)?;
            told(app, &report, scenario)
        }
        SimulateAttack::Suite(args) => {
            let suite = pipeline::runtime()?.block_on(suite(app, &args)).map_err(Refusal)?;
            output::one(app.format, &suite, |suite| match app.format {
                Format::Junit => suite.to_junit(),
                _ => table(suite),
            })?;
            Ok(if suite.failed > 0 { Outcome::Found } else { Outcome::Ok })
        }
    }
}

fn told(app: &App, report: &Report, scenario: Scenario) -> anyhow::Result<Outcome> {
    output::one(app.format, report, |report| report.timeline().join("\n"))?;
    let missed = scenario != Scenario::None && !report.detected;
    Ok(if missed { Outcome::Found } else { Outcome::Ok })
}

/// Whether the vault is attacked. What was asked for must be what the scenario is about.
fn is_on_vault(args: &Run, scenario: Scenario) -> anyhow::Result<bool> {
    let is_vault = scenario.entry().target == Front::Vault;
    let asked = args.target.map(|target| target == Target::Vault);
    anyhow::ensure!(
        asked.is_none_or(|asked| asked == is_vault),
        "`{scenario}` attacks {}: leave --target away, or see `prunella simulate-attack list`",
        if is_vault { "a vault" } else { "the simulated cloud" }
    );
    anyhow::ensure!(
        !is_vault || args.into == "embedded",
        "a vault is attacked in a throw-away instance: leave --into away"
    );
    Ok(is_vault)
}

async fn on_vault(app: &App, args: &Run, scenario: Scenario) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (served, resident) = serve_vault(&app.loaded.config, folder.path(), scenario).await?;
    let (options, bar) = shown(options(args, scenario, &served.url()), String::new());
    let report = prunella_simulate::vault::run(options, resident).await;
    bar.finish_and_clear();
    served.stop().await?;
    Ok(report?)
}

/// Every attack, each in an instance and a ledger of its own, one after the other: they are timed.
async fn suite(app: &App, args: &SuiteArgs) -> anyhow::Result<Suite> {
    let mut outcomes = Vec::new();
    for seed in (args.seed..).take(usize::try_from(args.rounds)?) {
        for scenario in attacks(if args.target == Target::Vault { Front::Vault } else { Front::Cloud }) {
            outcomes.push(rehearsal(app, scenario, seed, intensity(args.intensity)).await?);
        }
    }
    Ok(Suite::of(outcomes))
}

async fn rehearsal(
    app: &App,
    scenario: Scenario,
    seed: u64,
    intensity: Intensity,
) -> anyhow::Result<prunella_simulate::Outcome> {
    let folder = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (served, resident) = match scenario.entry().target {
        Front::Cloud => {
            let listen = SocketAddr::from(([127, 0, 0, 1], 0));
            (pipeline::serve(&throwaway(&app.loaded.config, folder.path(), listen)).await?, None)
        }
        Front::Vault => {
            let (served, resident) = serve_vault(&app.loaded.config, folder.path(), scenario).await?;
            (served, Some(resident))
        }
    };
    let mut options = Options::new(scenario, &served.url(), clock::wall());
    (options.seed, options.intensity) = (seed, intensity);
    let (options, bar) = shown(options, format!("{scenario}, seed {seed}: "));
    let rehearsed = match resident {
        None => rehearse(options).await,
        Some(resident) => prunella_simulate::vault::rehearse(options, resident).await,
    };
    bar.finish_and_clear();
    let anchor = served.embedded.ledger.checkpoint().await?;
    served.stop().await?;
    let mut outcome = rehearsed?;
    let dir = folder.path().to_owned();
    let verified =
        tokio::task::spawn_blocking(move || prunella_runtime::ledger::verify(&dir, None, &[anchor]))
            .await??;
    outcome.ledger_ok = verified.integrity == Integrity::Ok && verified.completeness == Completeness::Ok;
    Ok(outcome)
}

fn table(suite: &Suite) -> String {
    let line = |outcome: &prunella_simulate::Outcome| {
        let word = |is_so: bool| if is_so { "yes" } else { "NO" };
        let last = outcome.last_accepted_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        format!(
            "{:<30} {:<9} {:<9} {:<19} {:<12} {:<7} {}",
            outcome.scenario.name(),
            word(outcome.detected),
            word(outcome.verified),
            outcome.evidence.as_deref().unwrap_or("-"),
            word(outcome.rolled_back),
            word(outcome.ledger_ok),
            last
        )
    };
    let mut lines = vec![format!(
        "{:<30} {:<9} {:<9} {:<19} {:<12} {:<7} {}",
        "SCENARIO", "DETECTED", "VERIFIED", "EVIDENCE", "ROLLED BACK", "LEDGER", "LAST ACCEPTED"
    )];
    lines.extend(suite.scenarios.iter().map(line));
    lines.push(format!("{} passed, {} failed", suite.passed, suite.failed));
    if !suite.latencies.is_empty() {
        lines.push(format!(
            "\n{:<30} {:>6} {:>22} {:>22} {:>26}",
            "p50 / p99 / max, ms",
            "ROUNDS",
            "FINDING -> APPLIED",
            "APPLIED -> VERIFIED",
            "FINDING -> LAST ACCEPTED"
        ));
    }
    lines.extend(suite.latencies.iter().map(|l| {
        format!(
            "{:<30} {:>6} {:>22} {:>22} {:>26}",
            l.scenario.name(),
            l.rounds,
            spread(l.finding_to_applied_ms),
            spread(l.applied_to_verified_ms),
            spread(l.finding_to_last_accepted_ms)
        )
    }));
    lines.join("\n")
}

fn spread(of: Percentiles) -> String {
    let shown = |ms: Option<i64>| ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    format!("{} / {} / {}", shown(of.p50), shown(of.p99), shown(of.max))
}

async fn attack(app: &App, args: &Run, scenario: Scenario) -> anyhow::Result<Report> {
    if args.into != "embedded" {
        let mut options = options(args, scenario, &args.into);
        options.bearer = client::bearer(&app.loaded.config)?;
        return Ok(watched(options).await?);
    }
    let folder = tempfile::tempdir().context("cannot make a temporary directory")?;
    let served =
        pipeline::serve(&throwaway(&app.loaded.config, folder.path(), SocketAddr::from(([127, 0, 0, 1], 0))))
            .await?;
    let result = watched(options(args, scenario, &served.url())).await;
    served.stop().await?;
    Ok(result?)
}

#[cfg(not(feature = "vault"))]
async fn serve_vault(_: &Config, _: &Path, _: Scenario) -> anyhow::Result<(Served, Resident)> {
    anyhow::bail!("this build has no vault: build with `--features vault`")
}

/// The user's configuration, in a directory of its own, with automatic response.
pub fn throwaway(config: &Config, dir: &Path, listen: SocketAddr) -> Config {
    let mut config = config.clone();
    config.data_dir = dir.to_owned();
    config.api.listen = listen;
    config.api.token_file = Default::default();
    config.vault.database_file = Default::default();
    config.webhooks.clear();
    config.response.receivers = Default::default();
    config.response.mode_max = Mode::Auto;
    config
}

fn options(args: &Run, scenario: Scenario, url: &str) -> Options {
    let mut options = Options::new(scenario, url, clock::wall());
    options.seed = args.seed;
    options.intensity = intensity(args.intensity);
    options
}

/// Runs with a line of progress on a terminal.
pub async fn watched(options: Options) -> Result<Report, prunella_simulate::SimulateError> {
    let (options, bar) = shown(options, String::new());
    let report = prunella_simulate::run(options).await;
    bar.finish_and_clear();
    report
}

/// The same run with its progress on a line of the terminal, after `prefix`.
fn shown(mut options: Options, prefix: String) -> (Options, indicatif::ProgressBar) {
    let bar = progress::spinner("starting");
    let shown = bar.clone();
    options.progress =
        std::sync::Arc::new(move |progress| shown.set_message(format!("{prefix}{}", line(&progress))));
    (options, bar)
}

fn line(progress: &Progress) -> String {
    match progress {
        Progress::Background { sent, total } => {
            format!("background traffic: {sent} of {total} records durable")
        }
        Progress::Draining { lag } => format!("waiting for the pipeline: {lag} messages to go"),
        Progress::Attack { sent, scripted, accepted, refused } => {
            format!("attacking: call {sent} of {scripted}, {accepted} accepted, {refused} refused")
        }
        Progress::Finding { message, .. } => output::printable(&format!("found: {message}")),
        Progress::Receipt { uid } => format!("receipt {uid}"),
    }
}

fn write_file(app: &App, args: &Run, scenario: Scenario) -> anyhow::Result<Outcome> {
    let path = Path::new(&args.into);
    let file =
        File::create(path).with_context(|| format!("cannot write {}", path.display())).map_err(Refusal)?;
    let end = prunella_simulate::attack_time((clock::wall())());
    let traffic = Traffic::new(args.seed, end);
    let summary = prunella_simulate::write_records(
        &traffic,
        scenario,
        intensity(args.intensity),
        &mut BufWriter::new(file),
    )?;
    output::one(app.format, &summary, |_| format!("wrote {}", path.display()))?;
    Ok(Outcome::Ok)
}

fn intensity(level: Level) -> Intensity {
    match level {
        Level::Low => Intensity::Low,
        Level::Medium => Intensity::Medium,
        Level::High => Intensity::High,
    }
}
