//! Child processes that outlive this program: started in a group of their own, known by pid and command line, stopped in order.

use anyhow::{Context, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a process may take to stop in order before it is killed, and to go when it was.
const STOP_MS_MAX: u64 = 15_000;
const KILL_MS_MAX: u64 = 5_000;
const LOOK_MS: u64 = 50;
/// A service that is silent for so long does not answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
const TAIL_LINES: usize = 8;

/// Starts it detached: what the terminal sends this program does not reach it.
pub fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    Ok(command.spawn()?)
}

/// Whether the process still is the one that was started: a pid may have been given to another since.
pub fn is_ours(pid: u32, mark: &str) -> bool {
    let command_line = match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(bytes) => bytes,
        Err(_) if Path::new("/proc/self").exists() => return false,
        Err(_) => {
            let listed = Command::new("ps").args(["-ww", "-o", "args=", "-p", &pid.to_string()]).output();
            listed.map(|l| l.stdout).unwrap_or_default()
        }
    };
    !mark.is_empty() && String::from_utf8_lossy(&command_line).replace('\0', " ").contains(mark)
}

/// Asks it to stop, waits, kills it. Whether there was anything to stop.
pub fn stop(pid: u32, mark: &str, signal: &str) -> anyhow::Result<bool> {
    if !is_ours(pid, mark) {
        return Ok(false);
    }
    for (signal, patience_ms) in [(signal, STOP_MS_MAX), ("KILL", KILL_MS_MAX)] {
        // The shell's own `kill`, which is there where the program is not.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{signal} {pid}")).output();
        sent.context("cannot run sh")?;
        for _ in 0..patience_ms / LOOK_MS {
            if !is_ours(pid, mark) {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(LOOK_MS));
        }
    }
    bail!("process {pid} does not go, not even by SIGKILL")
}

/// Sends `question` and reads until the other side closes, or `enough` says so.
pub fn ask(address: &str, question: &[u8], enough: impl Fn(&[u8]) -> bool) -> anyhow::Result<Vec<u8>> {
    let to = address.to_socket_addrs()?.next().context("no such address")?;
    let mut stream = TcpStream::connect_timeout(&to, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    stream.write_all(question)?;
    let (mut stream, mut answer, mut buffer) = (stream.take(ANSWER_BYTES_MAX), Vec::new(), [0; 4096]);
    while !enough(&answer) {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    Ok(answer)
}

/// Runs a tool to its end; its output only when it fails.
pub fn finish(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    if !done.status.success() {
        bail!("{name} failed: {}{}", last_lines(&out), last_lines(&err));
    }
    Ok(out.trim().to_owned())
}

/// Makes the folder, closed to other users.
pub fn private_folder(folder: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))
}

/// Writes a file that only its owner reads.
pub fn private_file(path: &Path, text: &str) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

/// The password in `path`, drawn the first time.
pub fn password(path: &Path) -> anyhow::Result<String> {
    if let Ok(text) = std::fs::read_to_string(path) {
        return Ok(text.trim().to_owned());
    }
    let drawn = random_hex()?;
    private_file(path, &drawn)?;
    Ok(drawn)
}

/// 256 bits from the system.
pub fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes)).context("no randomness")?;
    Ok(hex::encode(bytes))
}

/// The last lines that a process wrote.
pub fn tail(log: &Path) -> String {
    last_lines(&String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)).map(|line| format!("\n    {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_was_started_is_stopped() {
        let folder = std::env::temp_dir().join(format!("prunella-process-{}", std::process::id()));
        private_folder(&folder).unwrap();
        let mut command = Command::new("sleep");
        command.arg("61.25");
        let mut child = spawn(command, &folder.join("log")).unwrap();
        let pid = child.id();
        // For a moment a new process has no command line.
        (0..100)
            .take_while(|_| !is_ours(pid, "sleep"))
            .for_each(|_| std::thread::sleep(Duration::from_millis(10)));
        assert!(is_ours(pid, "sleep 61.25") && !is_ours(pid, "sleep 62") && !is_ours(pid, ""));
        assert!(!stop(pid, "sleep 62", "TERM").unwrap(), "another program under that pid is left alone");
        assert!(child.try_wait().unwrap().is_none());
        assert!(stop(pid, "sleep 61.25", "TERM").unwrap());
        assert!(child.wait().unwrap().code().is_none(), "it ended by the signal");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
