//! `prunella up`: the whole pipeline in this process, until it is told to stop.

use crate::args::Up;
use crate::{App, Outcome, Refusal, pipeline};
use anyhow::Context;
use prunella_runtime::topology::{ENDPOINT_FILE, PID_FILE};
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};

pub fn run(app: &App, _: &Up) -> anyhow::Result<Outcome> {
    pipeline::runtime()?.block_on(serve_until_stopped(app)).map_err(Refusal)?;
    Ok(Outcome::Ok)
}

#[allow(clippy::print_stderr, reason = "the address is for the person at the terminal")]
async fn serve_until_stopped(app: &App) -> anyhow::Result<()> {
    let config = &app.loaded.config;
    let mut term = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let served = pipeline::serve(config).await?;
    write(&config.data_dir, ENDPOINT_FILE, &served.url())?;
    write(&config.data_dir, PID_FILE, &std::process::id().to_string())?;
    eprintln!("prunella is up: {}  (data in {}, Ctrl-C stops)", served.url(), config.data_dir.display());
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    for name in [ENDPOINT_FILE, PID_FILE] {
        // Whoever reads a stale one finds nobody there; a missing one is what we want.
        let _ = std::fs::remove_file(config.data_dir.join(name));
    }
    served.stop().await
}

fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    std::fs::write(dir.join(name), text).with_context(|| format!("cannot write {}", dir.join(name).display()))
}
