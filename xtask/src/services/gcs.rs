//! fake-gcs-server, an emulator of Cloud Storage's JSON and XML interfaces, built by Go.

use super::{Launch, Running, Service, package, process, say};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Go checks the module and what it depends on against its checksum database.
const MODULE: &str = "github.com/fsouza/fake-gcs-server";
const VERSION: &str = "1.56.1";

pub struct Gcs;

impl Service for Gcs {
    fn name(&self) -> &'static str {
        "gcs"
    }

    fn prepare(&self, folder: &Path, port: &dyn Fn() -> anyhow::Result<u16>) -> anyhow::Result<Launch> {
        let program = program()?;
        let port = port()?;
        let data = folder.join("data");
        process::private_folder(&data)?;
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(program);
        command.args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port.to_string()]);
        command.args(["-backend", "memory", "-log-level", "warn", "-public-host", &address]);
        command.arg("-external-url").arg(format!("http://{address}")).arg("-data").arg(&data);
        Ok(Launch {
            command,
            address,
            mark: data.display().to_string(),
            stop_signal: "TERM",
            secrets: Default::default(),
            tls: None,
        })
    }

    fn answer(&self, running: &Running) -> anyhow::Result<String> {
        let address = &running.address;
        let question = format!("GET /storage/v1/b?project=p HTTP/1.0\r\nHost: {address}\r\n\r\n");
        let answer = process::ask(address, question.as_bytes(), |_| false)?;
        let answer = String::from_utf8_lossy(&answer);
        if !answer.contains("storage#buckets") {
            bail!("the answer is not one of Cloud Storage: {}", answer.lines().next().unwrap_or_default());
        }
        Ok(running.pid.map_or("unknown", |_| VERSION).to_owned())
    }
}

fn program() -> anyhow::Result<PathBuf> {
    let folder = package::cached(&format!("fake-gcs-server-{VERSION}"), |folder| {
        let go = package::on_path(&["go"])
            .or_else(|| Some(PathBuf::from("/usr/local/go/bin/go")).filter(|go| go.is_file()))
            .context("there is no Go; install Go 1.26 or later, or start the emulator yourself and name it in PRUNELLA_GCS")?;
        say("gcs", &format!("building the emulator {VERSION} by Go (some minutes, once)"));
        let mut install = Command::new(go);
        install.arg("install").arg(format!("{MODULE}@v{VERSION}")).env("GOBIN", folder);
        process::finish(&mut install).context("Go cannot build the emulator").map(drop)
    })?;
    Ok(folder.join("fake-gcs-server"))
}
