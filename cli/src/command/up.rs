//! `prunella up`: the whole pipeline in this process, until it is told to stop.

use crate::args::Up;
use crate::{App, Outcome, Refusal, pipeline};
use anyhow::Context;
use prunella_runtime::topology::{ENDPOINT_FILE, PID_FILE};
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What hangs longer than this while stopping is cut off, as a kill at any other moment would: the files bear it.
const STOP_MS_MAX: u64 = 9_000;

pub fn run(app: &App, _: &Up) -> anyhow::Result<Outcome> {
    let runtime = pipeline::runtime()?;
    let served = runtime.block_on(serve_until_stopped(app));
    // Dropping the runtime would wait for whatever still hangs.
    runtime.shutdown_background();
    served.map_err(Refusal)?;
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
    let at_most = Duration::from_millis(STOP_MS_MAX);
    tokio::select! {
        stopped = tokio::time::timeout(at_most, served.stop()) => match stopped {
            Ok(stopped) => stopped?,
            Err(_) => eprintln!("prunella: something hung while stopping and was cut off; the next start carries on"),
        },
        _ = interrupt.recv() => {}
        _ = term.recv() => {}
    }
    Ok(())
}

fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    std::fs::write(dir.join(name), text).with_context(|| format!("cannot write {}", dir.join(name).display()))
}
