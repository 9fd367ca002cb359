//! One life of `prunella up`: started, waited for, killed or asked to stop; never any process but our own child.

use super::http;
use anyhow::{Context, bail};
use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const SIGKILL: i32 = 9;
/// How long a start may take, replay of what matters for the API included.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long a stop may take.
pub const STOP_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LOOK_CLOSELY_EVERY: Duration = Duration::from_micros(300);
/// How long the pipeline may take to work off what it has.
const IDLE_MAX: Duration = Duration::from_secs(180);

/// What every life of one run has in common.
pub struct Setup {
    pub binary: PathBuf,
    pub config: PathBuf,
    pub data: PathBuf,
    /// Standard error of all lives, one after the other.
    pub log: PathBuf,
}

/// A file whose writing is a good moment for a kill, and how long after it.
#[derive(Clone, Copy)]
pub struct Aim {
    pub file: &'static str,
    pub late: Duration,
}

pub struct Life<'a> {
    setup: &'a Setup,
    child: Mutex<Child>,
    pub started: Instant,
}

impl Setup {
    /// `prunella` with this run's configuration and nothing of the caller's environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().arg("--config").arg(&self.config).arg("--data-dir").arg(&self.data);
        command
    }

    pub fn start(&self) -> anyhow::Result<Life<'_>> {
        self.start_on("127.0.0.1:0")
    }

    #[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
    pub fn start_on(&self, listen: &str) -> anyhow::Result<Life<'_>> {
        for stale in ["endpoint", "pid"] {
            remove(&self.data.join(stale))?;
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.command();
        command.args(["--log", "warn,prunella_runtime=info", "up", "--listen", listen, "--response", "auto"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {}", self.binary.display()))?;
        Ok(Life { setup: self, child: Mutex::new(child), started })
    }

    /// The last lines that the process wrote.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(8)).map(|line| format!("\n    {line}")).collect()
    }

    /// Whether any life panicked: it must not, whatever happens to it.
    pub fn panics(&self) -> usize {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().filter(|line| line.contains("panicked")).count()
    }
}

impl Life<'_> {
    /// The address of the API once it serves; `None` when `over` came first.
    pub fn ready(&self, over: &AtomicBool) -> anyhow::Result<Option<SocketAddr>> {
        let endpoint = self.setup.data.join("endpoint");
        while !over.load(Ordering::Relaxed) {
            let text = std::fs::read_to_string(&endpoint).unwrap_or_default();
            let address = text.trim().strip_prefix("http://").and_then(|a| a.parse().ok());
            if address.is_some() {
                return Ok(address);
            }
            if let Some(status) = self.child().try_wait()?
                && !over.load(Ordering::Relaxed)
            {
                bail!("it ended while starting: {status}{}", self.setup.log_tail());
            }
            if self.started.elapsed() > READY_MAX {
                bail!("it is not ready after {READY_MAX:?}{}", self.setup.log_tail());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(None)
    }

    /// Waits until the life is `lifetime` old, or shortly after a file that `aim` names was written, if that is earlier.
    pub fn await_moment(&self, lifetime: Duration, aim: Option<Aim>) {
        let Some(aim) = aim else {
            return std::thread::sleep(lifetime.saturating_sub(self.started.elapsed()));
        };
        let (file, endpoint) = (self.setup.data.join(aim.file), self.setup.data.join("endpoint"));
        let mut before = None;
        while self.started.elapsed() < lifetime {
            // What is written before the API serves is no deed of this life.
            if endpoint.exists() {
                let now = file.metadata().and_then(|m| Ok((m.len(), m.modified()?))).ok();
                if *before.get_or_insert(now) != now {
                    return std::thread::sleep(aim.late);
                }
            }
            std::thread::sleep(LOOK_CLOSELY_EVERY);
        }
    }

    /// SIGKILL, to this child alone.
    pub fn kill(&self) -> std::io::Result<()> {
        self.child().kill()
    }

    /// Waits for the end of a life that was killed; it must not have ended by itself before.
    pub fn reap(&self) -> anyhow::Result<()> {
        let status = self.child().wait()?;
        if status.signal() != Some(SIGKILL) {
            bail!("it ended by itself: {status}{}", self.setup.log_tail());
        }
        Ok(())
    }

    /// SIGTERM; it must end well within `STOP_MAX`. Returns how long it took.
    #[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
    pub fn stop(&self) -> anyhow::Result<Duration> {
        let pid = self.child().id().to_string();
        let asked = Instant::now();
        let told =
            Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status().context("cannot run sh")?;
        anyhow::ensure!(told.success(), "cannot send SIGTERM to {pid}");
        match self.wait(STOP_MAX)? {
            Some(status) if status.success() => Ok(asked.elapsed()),
            Some(status) => bail!("SIGTERM ended it with {status}{}", self.setup.log_tail()),
            None => {
                self.kill()?;
                bail!("SIGTERM did not stop it within {STOP_MAX:?}{}", self.setup.log_tail())
            }
        }
    }

    #[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
    pub fn wait(&self, at_most: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child().try_wait()? {
                return Ok(Some(status));
            }
            if since.elapsed() > at_most {
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        // Whatever went wrong, nothing of ours stays behind; one that has ended already is what we want.
        let _ = self.kill();
        let _ = self.child().wait();
    }
}

/// Waits until no stage has anything left. `false` when `over` came first.
#[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
pub fn wait_until_idle(address: SocketAddr, over: &AtomicBool) -> anyhow::Result<bool> {
    let since = Instant::now();
    let mut idle = 0;
    while !over.load(Ordering::Relaxed) {
        let health = http::get(address, "/api/health").and_then(|answer| answer.json());
        idle = if health.as_ref().is_ok_and(is_idle) { idle + 1 } else { 0 };
        if idle == 3 {
            return Ok(true);
        }
        if since.elapsed() > IDLE_MAX {
            bail!("the pipeline has work left after {IDLE_MAX:?}: {health:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(false)
}

fn is_idle(health: &serde_json::Value) -> bool {
    let lag = health["lag"].as_object();
    health["status"] == "ok" && lag.is_some_and(|lag| !lag.is_empty() && lag.values().all(|n| n == 0))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        // Not there, or nowhere to be: what the process says about that is for the caller to judge.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        Err(e) => Err(e).with_context(|| format!("cannot remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn idle_means_that_every_stage_says_so() {
        assert!(is_idle(&json!({"status": "ok", "lag": {"ingest": 0, "sink": 0}})));
        assert!(!is_idle(&json!({"status": "ok", "lag": {"ingest": 0, "sink": 1}})));
        assert!(!is_idle(&json!({"status": "degraded", "lag": {"ingest": 0}})));
        assert!(!is_idle(&json!({"status": "ok", "lag": {}})));
        assert!(!is_idle(&json!({})));
    }
}
