//! moto from PyPI: the parts of AWS that the connectors speak to, in a Python environment of its own.

use super::{Launch, Running, Service, package, process};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "5.2.5";

pub struct Moto;

impl Service for Moto {
    fn name(&self) -> &'static str {
        "moto"
    }

    fn prepare(&self, _: &Path, port: &dyn Fn() -> anyhow::Result<u16>) -> anyhow::Result<Launch> {
        let python = environment()?;
        let port = port()?.to_string();
        let mut command = Command::new(python);
        // By its module: the program of that name has the path of another folder in its first line.
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port]);
        Ok(Launch {
            command,
            address: format!("127.0.0.1:{port}"),
            mark: format!("moto.server -H 127.0.0.1 -p {port}"),
            stop_signal: "TERM",
            secrets: Default::default(),
            tls: None,
        })
    }

    fn answer(&self, running: &Running) -> anyhow::Result<String> {
        let question = format!("GET /moto-api/ HTTP/1.0\r\nHost: {}\r\n\r\n", running.address);
        let answer = process::ask(&running.address, question.as_bytes(), |_| false)?;
        let first = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
        if !first.contains(" 200 ") {
            bail!("it answers {first}");
        }
        Ok(VERSION.to_owned())
    }
}

/// The Python that has moto.
fn environment() -> anyhow::Result<PathBuf> {
    let folder = package::cached(&format!("moto-{VERSION}"), |folder| {
        let python = package::program("moto", "python3-venv", || package::on_path(&["python3"]))?;
        process::finish(Command::new(python).args(["-m", "venv"]).arg(folder))
            .context("cannot make a Python environment")?;
        let wanted = format!("moto[server,s3,sqs]=={VERSION}");
        let mut install = Command::new(folder.join("bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &wanted]);
        process::finish(&mut install).context("cannot install moto from PyPI")?;
        Ok(())
    })?;
    Ok(folder.join("bin/python"))
}
