//! Where the checkout is and which files belong to it.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Every file git tracks or would track, relative to the root.
pub fn files() -> anyhow::Result<Vec<PathBuf>> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(args).current_dir(root()).output().context("cannot run git")?;
    if !listed.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    let names = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    Ok(names.lines().map(PathBuf::from).filter(|p| root().join(p).is_file()).collect())
}

/// Where tools that are not part of the build are kept.
#[allow(clippy::disallowed_methods, reason = "the cache directory is the environment's to say")]
pub fn tools() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(cache.or(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("prunella/tools"))
}

/// Runs a command in the root and returns its standard output.
pub fn capture(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let done = Command::new(program)
        .args(args)
        .current_dir(root())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !done.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    String::from_utf8(done.stdout).with_context(|| format!("{program} wrote something that is not UTF-8"))
}

/// Where the public test data is, if it is anywhere.
#[allow(clippy::disallowed_methods, reason = "the tests read the same variable")]
pub fn data() -> PathBuf {
    let named = std::env::var("PRUNELLA_SHARED_DATA").ok().map(PathBuf::from);
    named.unwrap_or_else(|| root().join("../shared/data"))
}

#[allow(clippy::print_stdout, reason = "the answer is the output")]
pub fn announce_data() -> anyhow::Result<()> {
    let data = data();
    if data.is_dir() {
        println!("public test data: {}", data.display());
    } else {
        println!("SKIPPED: no public test data at {}; tests that read it will say so", data.display());
    }
    Ok(())
}
