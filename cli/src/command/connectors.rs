//! `prunella connectors`: the configured sources, how far each was read, whether each may be read, and reading one.

use crate::args::Connectors;
use crate::config::{Config, Source as Section};
use crate::{App, Outcome, Refusal, effectors, output, pipeline};
use anyhow::Context;
use prunella_runtime::clock;
use prunella_runtime::connect::{
    Counts, Feed, Ground, Planned, Row, SOURCES_MAX, SqliteCursors, Standing, Tally, Vitals,
};
use prunella_runtime::topology::{Embedded, EmbeddedHealth, StartError};
use prunella_schemas::port::{Checkup, Configured, Health, HealthView, Source, SourceError};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often `run --once` looks whether all is processed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const NAME_CHARS_MAX: usize = 64;

pub fn run(app: &App, args: Connectors) -> anyhow::Result<Outcome> {
    match args {
        Connectors::List => list(app),
        Connectors::Check { name } => check(app, &name),
        Connectors::Run { name, once, into } => read(app, &name, once, into.as_deref()),
    }
}

/// Every family of connectors that this build has.
async fn open_kind(configured: Configured) -> Result<Arc<dyn Source>, SourceError> {
    let family = configured.kind.split('.').next().unwrap_or_default();
    match family {
        #[cfg(feature = "aws")]
        "aws" => prunella_aws::open(configured).await,
        #[cfg(feature = "azure")]
        "azure" => prunella_azure::open(configured),
        #[cfg(feature = "gcp")]
        "gcp" => prunella_gcp::open(configured),
        _ => Err(SourceError::Invalid(format!(
            "this build reads no `{}`; it has the families: {}",
            configured.kind,
            FAMILIES.join(", ")
        ))),
    }
}

const FAMILIES: &[&str] = &[
    #[cfg(feature = "aws")]
    "aws",
    #[cfg(feature = "azure")]
    "azure",
    #[cfg(feature = "gcp")]
    "gcp",
];

/// Opens one source; nothing is asked of its provider yet.
async fn open(config: &Config, section: &Section) -> anyhow::Result<Planned> {
    let Section { name, kind, tenant, every_s, settings } = section;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    anyhow::ensure!(
        !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(is_name),
        "`{name}` is no name for a source: use up to {NAME_CHARS_MAX} of a-z, 0-9, `-`, `_` and `.`"
    );
    let configured = Configured {
        name: name.clone(),
        kind: kind.clone(),
        tenant: tenant.clone().unwrap_or_else(|| config.tenant.clone()),
        settings: serde_json::to_value(settings)?,
        clock: clock::wall(),
    };
    let source = open_kind(configured).await.with_context(|| format!("source `{name}`"))?;
    Ok(Planned { source, every_ms: every_s.map(|s| u64::from(s) * 1_000) })
}

/// Opens every configured source, so that a mistake in one is known before anything runs.
pub async fn open_all(config: &Config) -> anyhow::Result<Vec<Planned>> {
    anyhow::ensure!(config.source.len() <= SOURCES_MAX, "more than {SOURCES_MAX} sources are configured");
    let mut names = BTreeSet::new();
    let mut sources = Vec::with_capacity(config.source.len());
    for section in &config.source {
        anyhow::ensure!(names.insert(&section.name), "two sources are called `{}`", section.name);
        sources.push(open(config, section).await?);
    }
    Ok(sources)
}

fn named<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Section> {
    let known = || config.source.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = config.source.iter().find(|section| section.name == name);
    let missing = || anyhow::anyhow!("no source is called `{name}`; the configuration has: {}", known());
    Ok(found.ok_or_else(|| Refusal(missing()))?)
}

/// A configured source with what is known of it.
#[derive(Serialize)]
struct Listed {
    kind: String,
    #[serde(flatten)]
    row: Row,
}

fn list(app: &App) -> anyhow::Result<Outcome> {
    let config = &app.loaded.config;
    let known = SqliteCursors::rows(&config.data_dir)?;
    let listed: Vec<Listed> = config
        .source
        .iter()
        .map(|section| {
            let row = known.iter().find(|row| row.name == section.name).cloned();
            let row = row.unwrap_or_else(|| Row { name: section.name.clone(), ..Row::default() });
            Listed { kind: section.kind.clone(), row }
        })
        .collect();
    let columns =
        ["NAME", "KIND", "READ UP TO", "RECORDS", "REPEATS", "REJECTED", "FILES AUDITED", "PROBLEM"];
    output::rows(app.format, &listed, &columns, |Listed { kind, row }| {
        let tally = &row.tally;
        let newest = if tally.newest.0 == 0 { "-".to_owned() } else { tally.newest.to_string() };
        vec![
            row.name.clone(),
            kind.clone(),
            newest,
            tally.records.to_string(),
            tally.duplicates.to_string(),
            tally.rejected.to_string(),
            format!("{} of {}", tally.read, tally.written),
            row.problem.clone(),
        ]
    })?;
    Ok(Outcome::Ok)
}

fn check(app: &App, name: &str) -> anyhow::Result<Outcome> {
    let config = &app.loaded.config;
    let section = named(config, name)?;
    let checkup = pipeline::runtime()?.block_on(async {
        let planned = open(config, section).await.map_err(Refusal)?;
        anyhow::Ok(planned.source.check().await)
    })?;
    output::one(app.format, &checkup, shown)?;
    Ok(if checkup.is_well() { Outcome::Ok } else { Outcome::Found })
}

fn shown(checkup: &Checkup) -> String {
    let steps = checkup.steps.iter().map(|step| match &step.problem {
        None => format!("ok      {}\n", step.what),
        Some(problem) => format!("FAILED  {}\n        {problem}\n", step.what),
    });
    format!("{}\nThe least it needs:\n{}", steps.collect::<String>(), checkup.policy)
}

/// What was read, and how long it took on the way.
#[derive(Serialize)]
struct Report {
    name: String,
    #[serde(flatten)]
    standing: Standing,
}

fn read(app: &App, name: &str, once: bool, into: Option<&str>) -> anyhow::Result<Outcome> {
    let config = &app.loaded.config;
    let section = named(config, name)?;
    let runtime = pipeline::runtime()?;
    let report = runtime.block_on(async {
        let planned = open(config, section).await?;
        let standing = match into {
            None => read_embedded(config, planned, once).await?,
            Some("kafka") => read_into_kafka(config, planned, once).await?,
            Some(other) => anyhow::bail!("cannot read into `{other}`; leave --into away, or say `kafka`"),
        };
        anyhow::Ok(Report { name: name.to_owned(), standing })
    });
    runtime.shutdown_background();
    let report = report.map_err(Refusal)?;
    output::one(app.format, &report, |Report { name, standing }| {
        let Tally { bodies, records, duplicates, rejected, written, read, .. } = standing.total;
        let delays = [
            ("delivery", standing.delivery_ms),
            ("fetch", standing.fetch_ms),
            ("publish", standing.publish_ms),
        ];
        let delays = delays.iter().filter_map(|(step, ms)| {
            let [p50, p95, p99] = (*ms)?;
            Some(format!("\n{step}: p50 {p50} ms, p95 {p95} ms, p99 {p99} ms"))
        });
        let problems = standing.problems.iter().map(|problem| format!("\n! {problem}"));
        format!(
            "{name}: {bodies} bodies, {records} records, {duplicates} known already, {rejected} rejected; {read} of {written} files audited{}{}",
            delays.collect::<String>(),
            problems.collect::<String>()
        )
    })?;
    let is_fine = report.standing.problems.is_empty();
    Ok(if is_fine { Outcome::Ok } else { Outcome::Found })
}

/// Through a pipeline of this process, on the files of the data directory.
async fn read_embedded(config: &Config, planned: Planned, once: bool) -> anyhow::Result<Standing> {
    let mut settings = pipeline::settings(config)?;
    settings.effectors = effectors::open_all(config).await?;
    let handle = tokio::runtime::Handle::current();
    let started = tokio::task::spawn_blocking(move || Embedded::start(settings, &handle)).await?;
    let embedded = started.map_err(|e| match e {
        StartError::Busy(dir) => {
            anyhow::anyhow!("the pipeline that runs on `{dir}` reads its sources itself")
        }
        other => other.into(),
    })?;
    let cursors = Arc::new(SqliteCursors::open(&config.data_dir)?);
    let intake = Arc::new(embedded.intake.clone());
    let ground = Ground { intake, cursors, clock: clock::wall() };
    let read = feed(ground, planned, once).await;
    if once && read.is_ok() {
        processed(&embedded.health).await;
    }
    embedded.stop().await;
    read
}

#[cfg(feature = "kafka")]
async fn read_into_kafka(config: &Config, planned: Planned, once: bool) -> anyhow::Result<Standing> {
    use prunella_runtime::log::kafka::{KafkaIntake, answers};
    let settings = super::run::settings(config)?;
    let asked = settings.clone();
    tokio::task::spawn_blocking(move || answers(&asked)).await??;
    let intake = Arc::new(KafkaIntake::open(&settings, clock::wall())?);
    let cursors = Arc::new(SqliteCursors::open(&config.data_dir)?);
    feed(Ground { intake, cursors, clock: clock::wall() }, planned, once).await
}

#[cfg(not(feature = "kafka"))]
async fn read_into_kafka(_: &Config, _: Planned, _: bool) -> anyhow::Result<Standing> {
    Err(crate::no_kafka())
}

/// Until there is nothing more, or until a signal.
async fn feed(ground: Ground, planned: Planned, once: bool) -> anyhow::Result<Standing> {
    let counts = Arc::new(Counts::default());
    let mut feed = Feed::new(planned, ground, Arc::clone(&counts));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut term = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let signalled = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    if once {
        let mut total = Tally::default();
        tokio::select! {
            read = feed.run_once(&mut total) => read?,
            () = signalled => {}
        }
        return Ok(counts.standing());
    }
    let running = tokio::spawn(feed.run(stopped));
    signalled.await;
    // No receiver left means that the source has ended already.
    let _ = stop.send(true);
    running.await.context("the source was cut short")?;
    Ok(counts.standing())
}

/// Waits until every stage has what was read. A stage that fails says so in the log, and is waited for.
async fn processed(health: &EmbeddedHealth) {
    while health.health().await.lag.values().any(|messages| *messages > 0) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The health of a pipeline with that of its sources.
pub struct WithSources {
    pub pipeline: EmbeddedHealth,
    pub sources: Vitals,
}

#[async_trait::async_trait]
impl HealthView for WithSources {
    async fn health(&self) -> Health {
        let mut health = self.pipeline.health().await;
        let problems = self.sources.problems();
        if !problems.is_empty() {
            health.status = "degraded".to_owned();
            health.problems.extend(problems);
        }
        health
    }
}
