//! Secrets of the command line: passwords asked for without an echo, keys in files that only their owner may read.

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::fs::OpenOptions;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// Longest secret that is read, in bytes.
const SECRET_BYTES_MAX: u64 = 4_096;

/// The password: of the file, typed at the terminal, or the first line of standard input.
pub fn password(file: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    match file {
        Some(path) => read(path),
        None if std::io::stdin().is_terminal() => ask("password: "),
        None => {
            let mut line = Zeroizing::new(String::new());
            std::io::stdin().lock().read_line(&mut line).context("cannot read the password")?;
            Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
        }
    }
}

/// A secret in a file, without the white space around it.
pub fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    anyhow::ensure!(length <= SECRET_BYTES_MAX, "{} is too long for a secret", path.display());
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Zeroizing::new(Zeroizing::new(text).trim().to_owned()))
}

/// Writes a new file that only its owner may read.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut file = options.open(path)?;
        writeln!(file, "{text}")?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[allow(clippy::print_stderr, reason = "a question to the person at the terminal")]
fn ask(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    eprint!("{question}");
    let before = tcgetattr(&stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let mut line = Zeroizing::new(String::new());
    let read = stdin.lock().read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    eprintln!();
    read.context("cannot read the password")?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}
