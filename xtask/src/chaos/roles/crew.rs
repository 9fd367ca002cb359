//! The roles as processes: started, killed, frozen and replaced; never any process but our own children.

use super::table::Table;
use crate::chaos::http;
use anyhow::{Context, ensure};
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The last one only where there are tables.
pub const ROLES: [&str; 5] = ["connect", "ingest", "detect", "correlate", "sink"];
/// How long a stop may take.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long the roles may take to work off what they have.
const IDLE_MAX: Duration = Duration::from_secs(180);
/// What `prunella run` ends with when it finds no broker at its start; whoever watches it starts it again.
const UNREACHABLE: i32 = 3;
/// That often in all; more means that something else is wrong.
const REVIVALS_MAX: u32 = 200;
/// They have, when they say so for so long: the brokers are asked for the lag once a second.
const IDLE_FOR: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One installation: its topics and its configuration.
pub struct Site {
    binary: PathBuf,
    config: PathBuf,
    /// Standard error of all processes.
    log: PathBuf,
    pub prefix: String,
    pub table: Option<Table>,
}

/// A process for each role.
pub struct Crew {
    pub site: Site,
    seats: Vec<Seat>,
    /// How often a process was started that had found no broker.
    pub revivals: u32,
}

/// A role, where it answers, and who does it now.
struct Seat {
    role: &'static str,
    address: SocketAddr,
    child: Child,
}

/// A process that stands still while another one does its work.
pub struct Frozen(Child);

impl Crew {
    /// Starts every role.
    pub fn start(site: Site) -> anyhow::Result<Self> {
        let count = ROLES.len() - usize::from(site.table.is_none());
        let mut crew = Crew { site, seats: Vec::new(), revivals: 0 };
        for role in ROLES.into_iter().take(count) {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let child = crew.site.start(role, Some(role), address)?;
            crew.seats.push(Seat { role, address, child });
        }
        Ok(crew)
    }

    /// Where `connect` takes records.
    pub fn door(&mut self) -> anyhow::Result<SocketAddr> {
        self.revive()?;
        self.seats.first().map(|seat| seat.address).context("nobody takes records")
    }

    /// Starts again what was started while the broker was away, as an orchestrator does. Nothing else ends by itself.
    fn revive(&mut self) -> anyhow::Result<()> {
        for seat in &mut self.seats {
            let Some(status) = seat.child.try_wait()? else { continue };
            let log = self.site.log.display();
            ensure!(status.code() == Some(UNREACHABLE), "{} ended by itself: {status}; see {log}", seat.role);
            self.revivals += 1;
            ensure!(self.revivals <= REVIVALS_MAX, "{} finds no broker; see {log}", seat.role);
            seat.address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            seat.child = self.site.start(seat.role, Some(seat.role), seat.address)?;
        }
        Ok(())
    }

    /// How many roles there are.
    pub fn size(&self) -> usize {
        self.seats.len()
    }

    /// SIGKILL to one role, and another process in its place.
    pub fn kill(&mut self, which: usize) -> anyhow::Result<()> {
        let frozen = self.replace(which, |child| Ok(child.kill()?))?;
        drop(frozen);
        Ok(())
    }

    /// SIGSTOP to one role, as a long pause of its machine would; another process under its name takes over.
    pub fn freeze(&mut self, which: usize) -> anyhow::Result<Option<Frozen>> {
        self.replace(which, |child| signal(child, "STOP"))
    }

    fn replace(
        &mut self,
        which: usize,
        what: impl FnOnce(&mut Child) -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<Frozen>> {
        self.revive()?;
        let Some(seat) = self.seats.get_mut(which) else { return Ok(None) };
        what(&mut seat.child)?;
        // The frozen one still listens where it did.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let role = seat.role;
        let child = self.site.start(role, Some(role), address)?;
        let Some(seat) = self.seats.get_mut(which) else { return Ok(None) };
        seat.address = address;
        Ok(Some(Frozen(std::mem::replace(&mut seat.child, child))))
    }

    /// Waits until no role has anything left.
    #[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
    pub fn wait_until_idle(&mut self) -> anyhow::Result<()> {
        let since = Instant::now();
        let (mut idle_since, mut before) = (Instant::now(), Vec::new());
        loop {
            self.revive()?;
            let now: Vec<Option<(u64, u64)>> = self.seats.iter().skip(1).map(progress).collect();
            let is_idle = now.iter().all(|seen| seen.is_some_and(|(lag, _)| lag == 0));
            if !is_idle || now != before {
                (idle_since, before) = (Instant::now(), now);
            } else if idle_since.elapsed() >= IDLE_FOR {
                return Ok(());
            }
            ensure!(since.elapsed() < IDLE_MAX, "the roles have work left after {IDLE_MAX:?}: {before:?}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// SIGTERM to all; how long the slowest took.
    #[allow(clippy::disallowed_methods, reason = "the fault test measures from outside")]
    pub fn stop(&mut self) -> anyhow::Result<Duration> {
        let since = Instant::now();
        for seat in &self.seats {
            signal(&seat.child, "TERM")?;
        }
        for seat in &mut self.seats {
            let status = loop {
                match seat.child.try_wait()? {
                    Some(status) => break status,
                    None if since.elapsed() > STOP_MAX => {
                        anyhow::bail!("SIGTERM did not stop {} within {STOP_MAX:?}", seat.role)
                    }
                    None => std::thread::sleep(LOOK_EVERY),
                }
            };
            ensure!(
                status.success(),
                "SIGTERM ended {} with {status}; see {}",
                seat.role,
                self.site.log.display()
            );
        }
        Ok(since.elapsed())
    }
}

impl Site {
    /// Makes the topics, and the tables.
    pub fn new(
        binary: &Path,
        folder: &Path,
        brokers: &str,
        prefix: &str,
        partitions: i32,
        table: Option<Table>,
    ) -> anyhow::Result<Self> {
        let config = folder.join(format!("{prefix}.toml"));
        std::fs::write(
            &config,
            format!(
                "version = 1\n[kafka]\nbrokers = \"{brokers}\"\ntopic_prefix = \"{prefix}\"\n\
                 partitions = {partitions}\ncreate_topics = false\n{}",
                table.as_ref().map(Table::config).unwrap_or_default()
            ),
        )?;
        let log = folder.join(format!("{prefix}.log"));
        let site = Site { binary: binary.to_owned(), config, log, prefix: prefix.to_owned(), table };
        let mut steps = vec![(["topics", "create"], Vec::new())];
        steps.extend(site.table.as_ref().map(|table| (["schema", "apply"], table.as_owner().to_vec())));
        for (verb, environment) in steps {
            let made = site.command().args(verb).envs(environment).output();
            let made = made.with_context(|| format!("cannot run {}", verb.join(" ")))?;
            let said = String::from_utf8_lossy(&made.stderr);
            ensure!(made.status.success(), "{}: {}", verb.join(" "), said.trim());
        }
        Ok(site)
    }

    /// A process of a role. With a name that it keeps across restarts the next life has its partitions at once.
    pub fn start(&self, role: &str, member: Option<&str>, address: SocketAddr) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.command();
        command.env("PRUNELLA_KAFKA__MEMBER", member.unwrap_or_default());
        command.args(["--log", "warn,prunella_runtime=info", "run", "--role", role, "--listen"]);
        command.arg(address.to_string()).stdout(Stdio::null()).stderr(log);
        command.spawn().with_context(|| format!("cannot start {}", self.binary.display()))
    }

    /// How often a process panicked: it must not, whatever happens to it.
    pub fn panics(&self) -> usize {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().filter(|line| line.contains("panicked")).count()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().arg("--config").arg(&self.config).stdin(Stdio::null());
        command
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // Whatever went wrong, nothing of ours stays behind; one that has ended already is what we want.
        for seat in &mut self.seats {
            let _ = seat.child.kill();
            let _ = seat.child.wait();
        }
    }
}

impl Frozen {
    /// Lets it go on where it stood.
    pub fn wake(&self) -> anyhow::Result<()> {
        signal(&self.0, "CONT")
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lag of a role, and how much it has done.
fn progress(seat: &Seat) -> Option<(u64, u64)> {
    let answer = http::get(seat.address, "/metrics").ok()?;
    let text = String::from_utf8(answer.body).ok()?;
    Some((number(&text, "prunella_lag_records")?, number(&text, "prunella_events_processed_total")?))
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// To this child alone.
pub fn signal(child: &Child, name: &str) -> anyhow::Result<()> {
    // The shell's own `kill`, which is there where the program is not.
    let told = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &child.id().to_string()]).status();
    ensure!(told.context("cannot run sh")?.success(), "cannot send SIG{name} to {}", child.id());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_from_a_scrape() {
        let text = "# TYPE prunella_lag_records gauge\nprunella_lag_records{stage=\"detect\"} 7\n";
        assert_eq!(number(text, "prunella_lag_records"), Some(7));
        assert_eq!(number(text, "prunella_events_processed_total"), None);
    }
}
