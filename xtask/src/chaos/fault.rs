//! What the world does to a process besides killing it: each fault must be a clear error, and nothing may be lost.

use super::oracle::Holdings;
use super::process::{Life, STOP_MAX, Setup, wait_until_idle};
use super::stream::{self, Stream};
use super::{Format, drive, http};
use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use rusqlite::Connection;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const DATABASES: [&str; 5] = ["log.db", "store.db", "state.db", "ledger.db", "outbox.db"];
/// "Usage, configuration or unreachable" in `cli/src/args.rs`.
const REFUSED: i32 = 3;
const EVENTS: usize = 12_000;
const SEED: u64 = 11;
/// The disk that fills up, and what it grows to afterwards.
const SMALL_DISK: &str = "24m";
const LARGE_DISK: &str = "1g";
/// Refusals in a row after which the disk counts as full.
const REFUSALS: u32 = 20;
/// How long the pipeline may take to notice that there is room again.
const RECOVER_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Somebody else listens on the port
    PortInUse,
    /// The data directory cannot be made or written
    UnwritableDirectory,
    /// Another prunella runs on the data directory
    DirectoryInUse,
    /// A database of the data directory is damaged
    CorruptDatabase,
    /// A database was written by a newer build
    NewerSchema,
    /// The disk fills up under load, and is freed again
    DiskFull,
}

/// How a fault went.
enum Verdict {
    Right(String),
    Skipped(String),
}

pub fn run(binary: &Path, which: Option<Fault>, output: Format) -> anyhow::Result<()> {
    let faults = which.map_or_else(|| Fault::value_variants().to_vec(), |fault| vec![fault]);
    let folder = std::env::temp_dir().join(format!("prunella-fault-{}", std::process::id()));
    super::fresh(&folder)?;
    let mut wrong = 0;
    for fault in faults {
        let name = fault.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let place = folder.join(&name);
        std::fs::create_dir_all(&place)?;
        let result = try_one(binary, fault, &place);
        wrong += u32::from(result.is_err());
        show(output, &name, &result);
    }
    ensure!(wrong == 0, "{wrong} fault(s) ended wrongly; data kept in {}", folder.display());
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

#[allow(clippy::print_stdout, reason = "the verdicts are the output")]
fn show(output: Format, name: &str, result: &anyhow::Result<Verdict>) {
    let (verdict, detail) = match result {
        Ok(Verdict::Right(detail)) => ("ok", detail.clone()),
        Ok(Verdict::Skipped(why)) => ("SKIPPED", why.clone()),
        Err(e) => ("WRONG", format!("{e:#}")),
    };
    match output {
        Format::Json => {
            println!("{}", serde_json::json!({ "fault": name, "verdict": verdict, "detail": detail }));
        }
        Format::Text if verdict == "SKIPPED" => println!("SKIPPED: {name}: {detail}"),
        Format::Text => println!("{verdict:<8} {name}: {detail}"),
    }
}

fn try_one(binary: &Path, fault: Fault, place: &Path) -> anyhow::Result<Verdict> {
    let setup = super::setup(binary, place, "data")?;
    let done = match fault {
        Fault::PortInUse => port_in_use(&setup),
        Fault::UnwritableDirectory => unwritable(binary, place),
        Fault::DirectoryInUse => directory_in_use(&setup),
        Fault::CorruptDatabase => corrupt(binary, place),
        Fault::NewerSchema => newer(&setup),
        Fault::DiskFull => return disk_full(binary, place),
    };
    done.map(Verdict::Right)
}

/// A start that must end by itself with exit code 3, and a last word that holds `word`.
fn refused(setup: &Setup, listen: &str, word: &str) -> anyhow::Result<String> {
    std::fs::write(&setup.log, "")?;
    let life = setup.start_on(listen)?;
    let status = life.wait(STOP_MAX)?.context("it runs as if nothing was wrong")?;
    let said = std::fs::read_to_string(&setup.log)?;
    let last = said.lines().rfind(|line| line.starts_with("prunella: ")).unwrap_or_default().to_owned();
    ensure!(status.code() == Some(REFUSED), "it ended with {status}, not exit code {REFUSED}: {said}");
    ensure!(last.contains(word), "it does not say `{word}` but: {said}");
    ensure!(setup.panics() == 0, "it panicked: {said}");
    Ok(last)
}

fn port_in_use(setup: &Setup) -> anyhow::Result<String> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let said = refused(setup, &taken.local_addr()?.to_string(), "cannot listen")?;
    ensure!(!setup.data.exists(), "it touched the data directory all the same");
    Ok(said)
}

fn unwritable(binary: &Path, place: &Path) -> anyhow::Result<String> {
    let file = place.join("file");
    std::fs::write(&file, "not a directory")?;
    let mut setup = super::setup(binary, place, "file")?;
    refused(&setup, "127.0.0.1:0", "data directory")?;
    setup.data = file.join("below");
    refused(&setup, "127.0.0.1:0", "data directory")?;
    // Nobody can make files there, not even root.
    setup.data = PathBuf::from("/proc/prunella");
    refused(&setup, "127.0.0.1:0", "data directory")
}

fn directory_in_use(setup: &Setup) -> anyhow::Result<String> {
    let first = setup.start()?;
    let address = ready(&first)?;
    let (binary, config, data) = (setup.binary.clone(), setup.config.clone(), setup.data.clone());
    let second = Setup { binary, config, data, log: setup.log.with_extension("second.log") };
    let said = refused(&second, "127.0.0.1:0", "another prunella")?;
    ensure!(http::get(address, "/livez")?.status == 200, "the first one no longer answers");
    first.stop()?;
    Ok(said)
}

fn corrupt(binary: &Path, place: &Path) -> anyhow::Result<String> {
    let mut said = String::new();
    for name in DATABASES {
        for (kind, offset) in [("header", 0), ("page", 8 * 1024)] {
            let setup = super::setup(binary, place, &format!("{name}-{kind}"))?;
            used(&setup)?;
            let file = std::fs::File::options().write(true).open(setup.data.join(name))?;
            file.write_all_at(&[0xA5; 4_096], offset)?;
            drop(file);
            said = refused(&setup, "127.0.0.1:0", name)
                .with_context(|| format!("{name} with a damaged {kind}"))?;
        }
    }
    Ok(said)
}

fn newer(setup: &Setup) -> anyhow::Result<String> {
    used(setup)?;
    let mut said = String::new();
    for name in DATABASES {
        let version = |version: i64| -> anyhow::Result<i64> {
            let connection = Connection::open(setup.data.join(name))?;
            let before = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            connection.pragma_update(None, "user_version", version)?;
            Ok(before)
        };
        let before = version(99)?;
        said = refused(setup, "127.0.0.1:0", "newer prunella")
            .with_context(|| format!("{name} of schema 99"))?;
        version(before)?;
    }
    // As it was before, it starts as before.
    let life = setup.start()?;
    ready(&life)?;
    life.stop()?;
    Ok(said)
}

/// A data directory that was in use and was closed in order.
fn used(setup: &Setup) -> anyhow::Result<()> {
    let life = setup.start()?;
    let address = ready(&life)?;
    let body = br#"{"eventVersion":"1.08","eventID":"one","eventName":"ListBuckets","eventSource":"s3.amazonaws.com"}"#;
    ensure!(http::post(address, drive::INTAKE, drive::NDJSON, body)?.status == 202, "a record was not taken");
    wait_until_idle(address, &AtomicBool::new(false))?;
    life.stop()?;
    Ok(())
}

fn ready(life: &Life<'_>) -> anyhow::Result<SocketAddr> {
    life.ready(&AtomicBool::new(false))?.context("it is not ready")
}

/// A small file system in memory, gone when dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&at).map_err(|e| e.to_string())?;
        mount(&["-t", "tmpfs", "-o", &format!("size={SMALL_DISK}"), "tmpfs"], &at)?;
        Ok(Disk(at))
    }

    fn grow(&self) -> Result<(), String> {
        mount(&["-o", &format!("remount,size={LARGE_DISK}")], &self.0)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a file that somebody still has open must not keep it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn mount(args: &[&str], at: &Path) -> Result<(), String> {
    let done =
        Command::new("mount").args(args).arg(at).output().map_err(|e| format!("cannot run mount: {e}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    }
}

fn disk_full(binary: &Path, place: &Path) -> anyhow::Result<Verdict> {
    let disk = match Disk::mount(place.join("disk")) {
        Ok(disk) => disk,
        Err(why) => {
            return Ok(Verdict::Skipped(format!("needs the right to mount a tmpfs of {SMALL_DISK}: {why}")));
        }
    };
    let stream = stream::make(binary, place, SEED, EVENTS, 300)?;
    let mut setup = super::setup(binary, place, "data")?;
    setup.data = disk.0.join("data");
    let life = setup.start()?;
    let address = ready(&life)?;
    let (acknowledged, statuses) = fill(address, &stream)?;
    let health = http::get(address, "/api/health")?.json()?;
    disk.grow().map_err(anyhow::Error::msg)?;
    let waited = resume(address, &stream, acknowledged)?;
    settle(&setup, &life, address)?;
    let held = Holdings::read(&setup.data)?;
    let mut wrong = held.violations(&stream.counts);
    wrong.extend((setup.panics() > 0).then(|| "it panicked".to_owned()));
    ensure!(wrong.is_empty(), "after the disk was full: {}", wrong.join("; "));
    let problems = health["problems"].as_array().map_or(0, Vec::len);
    Ok(Verdict::Right(format!(
        "full after {acknowledged} of {} batches, answered {statuses:?}, {problems} problems in the health; went on {waited:?} after \
         it was freed; {} events, {} findings, nothing lost",
        stream.batches.len(),
        held.events.len(),
        held.findings.len()
    )))
}

/// Sends until the disk is full. Returns how many batches were acknowledged, and how the rest was answered.
fn fill(address: SocketAddr, stream: &Stream) -> anyhow::Result<(usize, Vec<u16>)> {
    let (mut next, mut refusals, mut statuses) = (0, 0, Vec::new());
    while refusals < REFUSALS {
        ensure!(next < stream.batches.len(), "everything fits: the disk never got full");
        let answer = http::post(address, drive::INTAKE, drive::NDJSON, stream.batch(next))?;
        match answer.status {
            202 => (next, refusals) = (next + 1, 0),
            status @ (503 | 507) => {
                refusals += 1;
                if !statuses.contains(&status) {
                    statuses.push(status);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            status => bail!("batch {next} was answered {status}: {}", String::from_utf8_lossy(&answer.body)),
        }
    }
    Ok((next, statuses))
}

/// Sends the rest, the refused one first. Returns how long it took until that was accepted.
#[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
fn resume(address: SocketAddr, stream: &Stream, from: usize) -> anyhow::Result<Duration> {
    let freed = Instant::now();
    let mut waited = None;
    let mut next = from;
    while next < stream.batches.len() {
        let answer = http::post(address, drive::INTAKE, drive::NDJSON, stream.batch(next))?;
        match answer.status {
            202 => {
                next += 1;
                waited = waited.or(Some(freed.elapsed()));
            }
            status if freed.elapsed() > RECOVER_MAX => bail!("still answers {status} after {RECOVER_MAX:?}"),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    Ok(waited.unwrap_or_default())
}

fn settle(setup: &Setup, life: &Life<'_>, address: SocketAddr) -> anyhow::Result<()> {
    let mut seen = drive::Seen::default();
    drive::finish(setup, life, address, &mut seen)?;
    ensure!(seen.violations.is_empty(), "{}", seen.violations.join("; "));
    Ok(())
}
