//! Real Kafka, ClickHouse, Redis, PostgreSQL and the clouds' emulators on loopback: started, watched and stopped as one, for tests and for trying things out.
//!
//! Each comes by the first way that works: a running one that the environment names, else this machine's packages
//! (Maven, npm, PyPI, Debian), obtained when missing. Containers are the business of `docker-compose.yml`, not of this verb.
//! What was started is written to `target/services/services.json`, which the tests read.

mod azurite;
mod clickhouse;
mod gcs;
mod kafka;
mod moto;
mod package;
mod postgres;
mod process;
mod redis;
mod tls;

use crate::tree;
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub use clickhouse::become_clickhouse;
#[cfg(feature = "kafka")]
pub use process::ask;

/// How long a service may take until it answers: a broker that was killed first reads its logs again.
const READY_MAX: Duration = Duration::from_secs(180);
/// A port that was free may be taken before the service listens, and a process that was killed may not be gone yet.
const STARTS_MAX: usize = 5;
const BETWEEN_STARTS: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often a port is tried that a service had before.
#[cfg(feature = "kafka")]
const PORT_TURNS_MAX: usize = 200;

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
    /// `host:port` of a Kafka that runs already
    #[arg(long, env = "PRUNELLA_KAFKA", global = true)]
    kafka: Option<String>,
    /// `host:port` of the HTTP interface of a ClickHouse that runs already
    #[arg(long, env = "PRUNELLA_CLICKHOUSE", global = true)]
    clickhouse: Option<String>,
    /// `host:port` of a Redis that runs already
    #[arg(long, env = "PRUNELLA_REDIS", global = true)]
    redis: Option<String>,
    /// `host:port` of a PostgreSQL that runs already
    #[arg(long, env = "PRUNELLA_POSTGRES", global = true)]
    postgres: Option<String>,
    /// `host:port` of a moto that runs already
    #[arg(long, env = "PRUNELLA_MOTO", global = true)]
    moto: Option<String>,
    /// `host:port` of an Azurite that runs already
    #[arg(long, env = "PRUNELLA_AZURITE", global = true)]
    azurite: Option<String>,
    /// `host:port` of a fake-gcs-server that runs already
    #[arg(long, env = "PRUNELLA_GCS", global = true)]
    gcs: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    /// Start what does not run yet; obtain it first where it is missing
    Up {
        /// Only these, such as `azurite gcs`
        names: Vec<String>,
    },
    /// Stop what `up` started, and nothing else; data stays
    Down,
    /// Say what each is and whether it answers
    Status {
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Some services cannot be had; the others run.
#[derive(Debug, thiserror::Error)]
#[error("not available: {0}; what to do is said above")]
pub struct Missing(String);

/// A service that answers, as the tests read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Running {
    name: String,
    version: String,
    /// `host:port`
    address: String,
    /// `None` when somebody else started it.
    pid: Option<u32>,
    /// Text that the command line of the process holds as long as the pid is still this service.
    mark: String,
    /// The signal that makes it stop in order.
    stop_signal: String,
    /// User name to the file that holds the password.
    secrets: BTreeMap<String, PathBuf>,
    /// `None` when it speaks no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<tls::Door>,
    /// How long it took until it answered, in milliseconds; 0 when somebody else started it.
    start_ms: u64,
}

/// How to start a service once everything it needs is there.
struct Launch {
    command: Command,
    address: String,
    mark: String,
    stop_signal: &'static str,
    secrets: BTreeMap<String, PathBuf>,
    tls: Option<tls::Door>,
}

/// One kind of service.
trait Service: Sync {
    fn name(&self) -> &'static str;
    /// Obtains the programs, writes the configuration. `port` gives a free port, the one of the last time if it can.
    fn prepare(&self, folder: &Path, port: &dyn Fn() -> anyhow::Result<u16>) -> anyhow::Result<Launch>;
    /// Asks the service itself; its version.
    fn answer(&self, running: &Running) -> anyhow::Result<String>;
}

const SERVICES: [&dyn Service; 7] = [
    &kafka::Kafka,
    &clickhouse::ClickHouse,
    &redis::Redis,
    &postgres::Postgres,
    &azurite::Azurite,
    &gcs::Gcs,
    &moto::Moto,
];

pub fn run(options: &Options) -> anyhow::Result<()> {
    let folder = tree::root().join("target/services");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Two at once would both start everything.
    let lock = File::create(folder.join("lock"))?;
    lock.lock().context("cannot lock target/services")?;
    match &options.verb {
        Verb::Up { names } => up(options, names, &folder),
        Verb::Down => down(&folder),
        Verb::Status { output } => status(&folder, *output),
    }
}

/// `host:port` of a service that runs.
#[cfg(feature = "kafka")]
pub fn address(name: &str) -> Option<String> {
    Some(running(name).ok()?.address)
}

/// The file with a user's password for a service that runs.
#[cfg(feature = "kafka")]
pub fn secret(name: &str, user: &str) -> anyhow::Result<PathBuf> {
    running(name)?.secrets.remove(user).with_context(|| format!("no password of {user} for {name} is known"))
}

#[cfg(feature = "kafka")]
fn running(name: &str) -> anyhow::Result<Running> {
    let all = read(&tree::root().join("target/services"))?;
    let found = all.into_iter().find(|one| one.name == name);
    found.with_context(|| format!("no {name} runs here; `cargo xtask services up` starts one"))
}

/// SIGKILL to a service that `up` started, and another process in its place, on the same port and data.
#[cfg(feature = "kafka")]
pub fn restart(name: &str) -> anyhow::Result<()> {
    let folder = tree::root().join("target/services");
    let mut all = read(&folder)?;
    let one = all.iter_mut().find(|one| one.name == name);
    let one = one.with_context(|| format!("no {name} runs here"))?;
    let service = SERVICES.into_iter().find(|service| service.name() == name);
    let service = service.with_context(|| format!("there is no service `{name}`"))?;
    let foreign =
        || format!("this {name} was not started by `cargo xtask services up`; it is not ours to kill");
    process::stop(one.pid.with_context(foreign)?, &one.mark, "KILL")?;
    let port = one.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    // A client that knocks at a port where nobody listens may be given that very port for its own end, for a moment.
    for _ in 0..PORT_TURNS_MAX {
        if port.is_some() && free_port(port)? == port.unwrap_or_default() {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let again = start(service, &folder.join(name), port)?;
    let is_same = again.address == one.address;
    *one = again;
    write(&folder, &all)?;
    anyhow::ensure!(is_same, "the port of {name} was taken by somebody else meanwhile");
    Ok(())
}

#[allow(clippy::print_stderr, reason = "what is missing is said loudly")]
fn up(options: &Options, names: &[String], folder: &Path) -> anyhow::Result<()> {
    if let Some(unknown) = names.iter().find(|name| SERVICES.iter().all(|service| service.name() != *name)) {
        bail!("there is no service `{unknown}`");
    }
    let before = read(folder)?;
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let results: Vec<(&str, anyhow::Result<Running>)> = std::thread::scope(|scope| {
        let wanted = SERVICES.into_iter().filter(|service| is_wanted(service.name()));
        let threads: Vec<_> = wanted
            .map(|service| {
                let last = before.iter().find(|r| r.name == service.name());
                (
                    service.name(),
                    scope.spawn(move || bring(service, options.named(service.name()), last, folder)),
                )
            })
            .collect();
        let joined = threads.into_iter().map(|(name, thread)| {
            (name, thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("its starter panicked; see above"))))
        });
        joined.collect()
    });
    let (mut running, mut missing) = (Vec::new(), Vec::new());
    for (name, result) in results {
        match result {
            Ok(one) => running.push(one),
            Err(e) => {
                eprintln!("MISSING {name}: {e:#}");
                missing.push(name);
            }
        }
    }
    // What was started before and still runs must stay known, or nobody would ever stop it.
    for last in before {
        let brought = running.iter().any(|r| r.name == last.name);
        let lives = last.pid.map_or(!is_wanted(&last.name), |pid| process::is_ours(pid, &last.mark));
        if !brought && lives {
            running.push(last);
        }
    }
    write(folder, &running)?;
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Missing(missing.join(", ")).into()),
    }
}

fn down(folder: &Path) -> anyhow::Result<()> {
    let mut left = Vec::new();
    for running in read(folder)? {
        let Some(pid) = running.pid else { continue };
        match process::stop(pid, &running.mark, &running.stop_signal) {
            Ok(true) => say(&running.name, "stopped"),
            Ok(false) => say(&running.name, "was not running"),
            Err(e) => {
                say(&running.name, &format!("{e:#}"));
                left.push(running);
            }
        }
    }
    write(folder, &left)?;
    match left.as_slice() {
        [] => Ok(()),
        left => bail!("{} service(s) did not stop; see above", left.len()),
    }
}

#[allow(clippy::print_stdout, reason = "the answer is the output")]
fn status(folder: &Path, output: Format) -> anyhow::Result<()> {
    let running = read(folder)?;
    let mut rows = Vec::new();
    for service in SERVICES {
        let one = running.iter().find(|r| r.name == service.name());
        let answer = one.map(|r| service.answer(r));
        let state = match &answer {
            None => "not started".to_owned(),
            Some(Ok(_)) => "answers".to_owned(),
            Some(Err(e)) => format!("does not answer: {e:#}"),
        };
        rows.push((service.name(), state, one));
    }
    if output == Format::Json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, state, one)| serde_json::json!({ "name": name, "state": state, "service": one }))
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    for (name, state, one) in rows {
        let (version, address) = one.map_or(("-", "-"), |r| (&r.version, &r.address));
        let pid = one.and_then(|r| r.pid).map_or("-".to_owned(), |pid| pid.to_string());
        println!("{name:<11} {version:<16} {address:<22} pid {pid:<8} {state}");
    }
    Ok(())
}

impl Options {
    fn named(&self, service: &str) -> Option<&str> {
        let all = [
            ("kafka", &self.kafka),
            ("clickhouse", &self.clickhouse),
            ("redis", &self.redis),
            ("postgres", &self.postgres),
            ("moto", &self.moto),
            ("azurite", &self.azurite),
            ("gcs", &self.gcs),
        ];
        all.into_iter().find(|(name, _)| *name == service)?.1.as_deref()
    }
}

/// The named one, else the one that runs, else a new one.
fn bring(
    service: &dyn Service,
    named: Option<&str>,
    last: Option<&Running>,
    folder: &Path,
) -> anyhow::Result<Running> {
    let name = service.name();
    if let Some(address) = named {
        let mut running = foreign(name, address);
        running.version = service.answer(&running).with_context(|| {
            format!("PRUNELLA_{} names {address}, which does not answer", name.to_uppercase())
        })?;
        if let Some((own, pid)) = last.and_then(|r| Some((r, r.pid?))) {
            process::stop(pid, &own.mark, &own.stop_signal)?;
        }
        say(name, &format!("{} at {address}, as the environment says", running.version));
        return Ok(running);
    }
    if let Some((running, pid)) = last.and_then(|r| Some((r, r.pid?)))
        && process::is_ours(pid, &running.mark)
    {
        match service.answer(running) {
            Ok(_) => {
                say(name, &format!("{} at {} runs already", running.version, running.address));
                return Ok(running.clone());
            }
            Err(e) => {
                say(name, &format!("runs but does not answer ({e:#}); starting it again"));
                process::stop(pid, &running.mark, &running.stop_signal)?;
            }
        }
    }
    let last_port = last.and_then(|r| r.address.rsplit_once(':')?.1.parse().ok());
    start(service, &folder.join(name), last_port)
}

#[allow(clippy::disallowed_methods, reason = "start times are measured from outside")]
fn start(service: &dyn Service, folder: &Path, last_port: Option<u16>) -> anyhow::Result<Running> {
    process::private_folder(folder)?;
    let name = service.name();
    let mut reason = anyhow::anyhow!("never tried");
    for attempt in 0..STARTS_MAX {
        if attempt > 0 {
            std::thread::sleep(BETWEEN_STARTS);
        }
        let first = std::cell::Cell::new(last_port);
        let launch = service.prepare(folder, &|| free_port(first.take()))?;
        say(name, &format!("starting at {}", launch.address));
        let (log, since) = (folder.join("log"), Instant::now());
        let mut child =
            process::spawn(launch.command, &log).with_context(|| format!("cannot start {name}"))?;
        let mut running = Running {
            pid: Some(child.id()),
            mark: launch.mark,
            stop_signal: launch.stop_signal.into(),
            secrets: launch.secrets,
            tls: launch.tls,
            ..foreign(name, &launch.address)
        };
        loop {
            // A child that has ended may have left its port to another process that does answer.
            if let Some(status) = child.try_wait()? {
                reason = anyhow::anyhow!("it ended with {status}: {}", process::tail(&log));
                break;
            }
            match service.answer(&running) {
                Ok(version) => {
                    running.version = version;
                    running.start_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    say(name, &format!("{} answers after {} ms", running.version, running.start_ms));
                    return Ok(running);
                }
                Err(e) if since.elapsed() > READY_MAX => {
                    process::stop(child.id(), &running.mark, &running.stop_signal)?;
                    bail!("it does not answer after {READY_MAX:?} ({e:#}): {}", process::tail(&log));
                }
                Err(_) => std::thread::sleep(LOOK_EVERY),
            }
        }
    }
    Err(reason)
}

fn foreign(name: &str, address: &str) -> Running {
    Running {
        name: name.into(),
        version: String::new(),
        address: address.into(),
        pid: None,
        mark: String::new(),
        stop_signal: "TERM".into(),
        secrets: BTreeMap::new(),
        tls: None,
        start_ms: 0,
    }
}

/// The wanted port if nobody has it, else one that the system picks.
fn free_port(wanted: Option<u16>) -> anyhow::Result<u16> {
    let wanted = wanted.and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let listener = match wanted {
        Some(listener) => listener,
        None => TcpListener::bind("127.0.0.1:0").context("no free port on loopback")?,
    };
    Ok(listener.local_addr()?.port())
}

fn read(folder: &Path) -> anyhow::Result<Vec<Running>> {
    let path = folder.join("services.json");
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
            format!("{} does not read; stop its services by hand and delete it", path.display())
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write(folder: &Path, running: &[Running]) -> anyhow::Result<()> {
    let (path, partial) = (folder.join("services.json"), folder.join("services.json.partial"));
    std::fs::write(&partial, serde_json::to_vec_pretty(running)?)?;
    std::fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))
}

#[allow(clippy::print_stderr, reason = "long work says what it does")]
fn say(name: &str, what: &str) {
    eprintln!("{name}: {what}");
}
