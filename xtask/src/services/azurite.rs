//! Azurite, Microsoft's emulator of Blob storage, from npm.

use super::{Launch, Running, Service, package, process, say};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "3.35.0";
/// What it depends on is taken as it was then; npm checks every package against the checksum that its registry gives.
const AS_OF: &str = "2026-11-20";
const ACCOUNT: &str = "prunella";

pub struct Azurite;

impl Service for Azurite {
    fn name(&self) -> &'static str {
        "azurite"
    }

    fn prepare(&self, folder: &Path, port: &dyn Fn() -> anyhow::Result<u16>) -> anyhow::Result<Launch> {
        let node = package::program("azurite", "nodejs", || package::on_path(&["node", "nodejs"]))?;
        let library = library()?;
        let port = port()?;
        let (data, key_file) = (folder.join("data"), folder.join("key"));
        process::private_folder(&data)?;
        // A key is base64 of anything; hex digits are base64 too.
        let key = process::password(&key_file)?;
        let mut command = Command::new(node);
        command.arg(library.join("node_modules/azurite/dist/src/blob/main.js"));
        command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--location"]).arg(&data);
        // The SDK is newer than the versions that it knows by name.
        command.args(["--skipApiVersionCheck", "--disableTelemetry", "--silent"]);
        command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{key}"));
        Ok(Launch {
            command,
            address: format!("127.0.0.1:{port}"),
            mark: data.display().to_string(),
            stop_signal: "TERM",
            secrets: BTreeMap::from([(ACCOUNT.to_owned(), key_file)]),
            tls: None,
        })
    }

    /// Asks without a credential: it is refused in the words of the service.
    fn answer(&self, running: &Running) -> anyhow::Result<String> {
        let address = &running.address;
        let question = format!("GET /{ACCOUNT}?comp=list HTTP/1.0\r\nHost: {address}\r\n\r\n");
        let answer = process::ask(address, question.as_bytes(), |_| false)?;
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        if !answer.contains("x-ms-error-code") {
            bail!("the answer is not one of Blob storage: {}", answer.lines().next().unwrap_or_default());
        }
        Ok(running.pid.map_or("unknown", |_| VERSION).to_owned())
    }
}

fn library() -> anyhow::Result<PathBuf> {
    package::cached(&format!("azurite-{VERSION}"), |folder| {
        let npm = package::program("azurite", "npm", || package::on_path(&["npm"]))?;
        say("azurite", &format!("getting the emulator {VERSION} by npm (190 MB, once)"));
        let mut install = Command::new(npm);
        install.args(["install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]);
        install.arg(format!("--before={AS_OF}")).arg(format!("azurite@{VERSION}"));
        // npm would look for a project in the folders above.
        install.arg("--prefix").arg(folder).current_dir(folder);
        process::finish(&mut install).context("npm cannot get the emulator; look at its settings").map(drop)
    })
}
