//! Licences, bans, sources and advisories, checked by cargo-deny, which is installed into the user's cache when missing.

use crate::tree;
use anyhow::{Context, bail};
use std::path::PathBuf;
use std::process::Command;

const VERSION: &str = "0.20.2";

#[allow(clippy::print_stderr, reason = "long work says what it does")]
pub fn run() -> anyhow::Result<()> {
    let tool = install()?;
    let check = |what: &[&str]| -> anyhow::Result<bool> {
        let status =
            Command::new(&tool).args(["--workspace", "check"]).args(what).current_dir(tree::root()).status();
        Ok(status.with_context(|| format!("cannot run {}", tool.display()))?.success())
    };
    if !check(&["bans", "licenses", "sources"])? {
        bail!("cargo-deny found a ban, licence or source that is not allowed; see above and deny.toml");
    }
    if advisories_reachable() {
        if !check(&["advisories"])? {
            bail!("cargo-deny found an advisory; see above");
        }
    } else {
        eprintln!(
            "SKIPPED: the advisory database cannot be reached from here; bans, licences and sources were checked"
        );
    }
    Ok(())
}

/// The database is a git repository; asking for its head is the cheapest honest test.
fn advisories_reachable() -> bool {
    let probe = Command::new("git")
        .args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=10", "ls-remote", "--exit-code"])
        .args(["https://github.com/rustsec/advisory-db", "HEAD"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .output();
    probe.is_ok_and(|done| done.status.success())
}

#[allow(clippy::print_stderr, reason = "long work says what it does")]
fn install() -> anyhow::Result<PathBuf> {
    let root = tree::tools()?;
    let tool = root.join("bin/cargo-deny");
    let version = Command::new(&tool).arg("--version").output();
    if version.is_ok_and(|v| String::from_utf8_lossy(&v.stdout).contains(VERSION)) {
        return Ok(tool);
    }
    eprintln!("installing cargo-deny {VERSION} into {} (a few minutes, once)", root.display());
    let mut install = Command::new("cargo");
    install.args(["install", "cargo-deny", "--version", VERSION, "--locked", "--root"]).arg(&root);
    if !install.status().context("cannot run cargo")?.success() {
        bail!("cannot install cargo-deny {VERSION}");
    }
    Ok(tool)
}
