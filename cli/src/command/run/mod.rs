//! `prunella run`: roles over Kafka in this process, until it is told to stop. `prunella topics`: what they need there.

mod engines;
mod http;
mod sink;

use self::http::Beside;
use crate::args::{self, RunRoles, Topics};
use crate::command::connectors;
use crate::config::Config;
use crate::{App, Outcome, Refusal, pipeline};
use anyhow::Context;
use prunella_runtime::clock;
use prunella_runtime::connect::{Connectors, Ground, SqliteCursors};
use prunella_runtime::enrich::Keeper;
use prunella_runtime::log::kafka::{KafkaIntake, Replication, Settings, check, create_topics};
use prunella_runtime::roles::{Role, Roles};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What hangs longer than this while stopping is cut off, as a kill at any other moment would: the protocol bears it.
const STOP_MAX: Duration = Duration::from_millis(9_000);

pub fn run(app: &App, args: &RunRoles) -> anyhow::Result<Outcome> {
    let runtime = pipeline::runtime()?;
    let ran = runtime.block_on(run_until_stopped(&app.loaded.config, args));
    // Dropping the runtime would wait for whatever still hangs.
    runtime.shutdown_background();
    ran.map_err(Refusal)?;
    Ok(Outcome::Ok)
}

pub fn topics(app: &App, Topics::Create: &Topics) -> anyhow::Result<Outcome> {
    let config = &app.loaded.config;
    let made = pipeline::runtime()?.block_on(async {
        let settings = settings(config)?;
        make_topics(config, &settings).await?;
        Ok(check(&settings).await?)
    });
    made.map_err(Refusal)?;
    Ok(Outcome::Ok)
}

#[allow(clippy::print_stderr, reason = "what runs is for the person at the terminal")]
async fn run_until_stopped(config: &Config, args: &RunRoles) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let settings = settings(config)?;
    if config.kafka.create_topics {
        make_topics(config, &settings).await?;
    }
    check(&settings).await?;
    let asked: BTreeSet<Role> = args.role.iter().flat_map(|role| stages(*role)).copied().collect();
    let asked: Vec<Role> = asked.into_iter().collect();
    let table = sink::wanted(config, &args.role)?;
    if let Some(table) = &table {
        sink::look(table).await?;
    }
    let engines = engines::open(config, &args.role).await?;
    let tables = keeper(config, &asked)?;
    let mut roles =
        Roles::start(&settings, &config.detect, tables, &asked).context("cannot start a thread")?;
    if let Some(table) = &table {
        sink::start(&mut roles, &settings, table)?;
    }
    if let Some(engines) = &engines {
        engines.respond(config, &settings, &mut roles).await?;
    }
    let connects = args.role.iter().any(|role| matches!(role, args::Role::Connect | args::Role::All));
    let door = if connects { Some(door(config, &settings)?) } else { None };
    let sources = match &door {
        Some(door) => Some(sources(config, door.intake.clone()).await?),
        None => None,
    };
    let api = match &engines {
        Some(engines) => engines.console(config, &settings, &mut roles)?,
        None => None,
    };
    let serves = connects || api.is_some();
    let server = match args.listen.or(serves.then_some(config.api.listen)) {
        Some(address) => {
            let read = sources.as_ref().map(|sources| sources.vitals.clone()).unwrap_or_default();
            let beside = Beside { sources: read, door, table: table.clone(), engines: engines.clone(), api };
            Some(http::serve(address, &settings, &roles.vitals, beside).await?)
        }
        None => None,
    };
    let at = server.as_ref().map_or(String::new(), |server| format!(", http://{}", server.address));
    let mut names: Vec<&str> = asked.iter().map(|role| role.name()).collect();
    names.extend(connects.then_some("connect"));
    names.extend(table.as_ref().map(|_| "sink"));
    names.extend(engines.iter().flat_map(|engines| engines.names()));
    eprintln!("prunella runs {} over Kafka at {}{at}  (Ctrl-C stops)", names.join(", "), settings.brokers);
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    if let Some(sources) = sources {
        sources.stop().await;
    }
    let stopping = tokio::task::spawn_blocking(move || roles.stop());
    tokio::select! {
        stopped = tokio::time::timeout(STOP_MAX, stopping) => match stopped {
            Ok(stopped) => stopped.context("a role was cut short while stopping")?,
            Err(_) => eprintln!("prunella: something hung while stopping and was cut off; the next start carries on"),
        },
        _ = interrupt.recv() => {}
        _ = term.recv() => {}
    }
    Ok(())
}

/// Starts what is configured to be read, if anything is.
async fn sources(config: &Config, intake: KafkaIntake) -> anyhow::Result<Connectors> {
    let planned = connectors::open_all(config).await?;
    let cursors = SqliteCursors::open(&config.data_dir)?;
    let ground = Ground { intake: Arc::new(intake), cursors: Arc::new(cursors), clock: clock::wall() };
    Ok(Connectors::start(&ground, planned))
}

/// The tables that the role `ingest` looks events up in.
fn keeper(config: &Config, asked: &[Role]) -> anyhow::Result<Option<Keeper>> {
    if !asked.contains(&Role::Ingest) || config.enrich.is_empty() {
        return Ok(None);
    }
    let dir = &config.data_dir;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(Some(Keeper::open(config.enrich.clone(), dir, clock::wall())?))
}

fn door(config: &Config, settings: &Settings) -> anyhow::Result<http::Door> {
    let access = pipeline::console(config)?;
    Ok(http::Door::new(KafkaIntake::open(settings, clock::wall())?, access))
}

fn stages(role: args::Role) -> &'static [Role] {
    match role {
        args::Role::Connect | args::Role::Sink | args::Role::Respond | args::Role::Console => &[],
        args::Role::Correlate => &[Role::Correlate],
        args::Role::Ingest => &[Role::Ingest],
        args::Role::Detect => &[Role::Detect],
        args::Role::All => &[Role::Ingest, Role::Detect, Role::Correlate],
    }
}

/// What the configuration means for Kafka.
pub fn settings(config: &Config) -> anyhow::Result<Settings> {
    let kafka = &config.kafka;
    let mut settings = Settings::new(&kafka.brokers);
    settings.prefix.clone_from(&kafka.topic_prefix);
    settings.tenant = config.tenant.clone();
    settings.member = (!kafka.member.is_empty()).then(|| kafka.member.clone());
    settings.properties = kafka.properties.clone().into_iter().collect();
    if !kafka.sasl_username.is_empty() {
        let password =
            pipeline::secret_text(&kafka.sasl_password_file).context("`kafka.sasl_password_file`")?;
        settings.properties.push(("sasl.username".to_owned(), kafka.sasl_username.clone()));
        settings.properties.push(("sasl.password".to_owned(), password.trim().to_owned()));
    }
    Ok(settings)
}

async fn make_topics(config: &Config, settings: &Settings) -> anyhow::Result<()> {
    let asked = settings.clone();
    // What is wrong with the connection is told better by a look than by a request that times out.
    tokio::task::spawn_blocking(move || prunella_runtime::log::kafka::answers(&asked)).await??;
    let (partitions, replicas) = (i32::from(config.kafka.partitions), i32::from(config.kafka.replication));
    Ok(create_topics(settings, Replication { partitions, replicas }).await?)
}
