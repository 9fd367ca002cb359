//! Programs from the package managers, by their own defaults: Maven, npm and apt; pinned, checked, kept in the user's cache.

use super::process::finish;
use super::say;
use crate::tree;
use anyhow::{Context, bail};
use sha2::{Digest, Sha512};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

const READ_BYTES: usize = 1 << 20;

/// The folder `name` in the user's cache, filled by `fill` the first time. Half a download never counts.
pub fn cached(name: &str, fill: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<PathBuf> {
    let folder = tree::tools()?.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let partial = folder.with_extension(format!("partial-{}", std::process::id()));
    std::fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    fill(&partial).inspect_err(|_| {
        // What could not be finished is of no use to anybody; the first error is the one to report.
        let _ = std::fs::remove_dir_all(&partial);
    })?;
    std::fs::rename(&partial, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The path of a program, installed from a Debian package when it is not there.
pub fn program(service: &str, package: &str, find: impl Fn() -> Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(path) = find() {
        return Ok(path);
    }
    install(service, package).with_context(|| {
        format!("the program is not there and cannot be installed; install the package `{package}`")
    })?;
    find().with_context(|| format!("the package `{package}` is installed but does not hold the program"))
}

/// The first of `names` on the path of programs.
#[allow(clippy::disallowed_methods, reason = "where programs are is the environment's to say")]
pub fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name))).find(|p| p.is_file())
}

/// The SHA-512 of a file, in hex.
pub fn sha512(path: &Path) -> anyhow::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha512::new());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        if count == 0 {
            break;
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
    Ok(hex::encode(hash.finalize()))
}

fn install(service: &str, package: &str) -> anyhow::Result<()> {
    let apt = on_path(&["apt-get"]).context("there is no apt-get on this system")?;
    say(service, &format!("installing the Debian package {package}"));
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", package]] {
        let mut command = match is_root()? {
            true => Command::new("env"),
            false if finish(Command::new("sudo").args(["-n", "true"])).is_ok() => {
                let mut sudo = Command::new("sudo");
                sudo.args(["-n", "env"]);
                sudo
            }
            false => bail!("neither root nor sudo without a password"),
        };
        // A service of the system must not start because its package came.
        command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]).arg(&apt).arg("-qq").args(arguments);
        finish(&mut command)?;
    }
    Ok(())
}

pub fn is_root() -> anyhow::Result<bool> {
    Ok(finish(Command::new("id").arg("-u"))? == "0")
}
