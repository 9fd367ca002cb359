//! `prunella vault init` and `serve`: a vault on this machine, and its events on their way to a pipeline.

use super::args::Database;
use super::secret;
use crate::{App, Refusal};
use anyhow::Context;
use async_trait::async_trait;
use prunella_runtime::clock;
use prunella_schemas::port::{Accepted, Intake, PortError, Upload};
use prunella_schemas::{Command, Record};
use prunella_vault::{Config, Proxies, Vault};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

/// How long the pipeline may take to answer.
const PIPELINE_WAIT: Duration = Duration::from_secs(10);

pub fn config(app: &App, database: &Database) -> anyhow::Result<Config> {
    let mut config = Config::new(&app.loaded.config.data_dir.join("vault"), clock::wall())?;
    config.database.clone_from(&database.url);
    config.tenant = app.loaded.config.tenant.clone();
    config.proxies = Proxies::parse(&app.loaded.config.vault.trusted_proxies)?;
    Ok(config)
}

#[allow(clippy::print_stderr, reason = "what must be taken away is for the person at the terminal")]
pub async fn init(
    config: &Config,
    admin: &str,
    password: Zeroizing<String>,
    offline_keys: &Path,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(offline_keys)
        .with_context(|| format!("cannot make {}", offline_keys.display()))?;
    for name in ["recovery.key", "approver.key"] {
        let path = offline_keys.join(name);
        anyhow::ensure!(
            !path.exists(),
            "{} is there already: keep it, and give another folder",
            path.display()
        );
    }
    let offline = Vault::init(config, admin, password).await.map_err(|e| Refusal(e.into()))?;
    secret::write(&offline_keys.join("recovery.key"), &offline.recovery)?;
    secret::write(&offline_keys.join("approver.key"), &offline.approver)?;
    eprintln!(
        "the vault is set up; its admin is `{admin}`\n\
         take {} away from this machine now: it heals what a lost store would destroy",
        offline_keys.display()
    );
    Ok(())
}

#[allow(clippy::print_stderr, reason = "the address is for the person at the terminal")]
pub async fn serve(
    config: Config,
    listen: SocketAddr,
    into: Option<(String, Option<String>)>,
) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let data_dir = config.data_dir.clone();
    let vault = Vault::open(config).await?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let pipeline = into.map(|(url, bearer)| Pipeline::new(&url, bearer)).transpose()?;
    let pipeline = pipeline.map(|pipeline| Arc::new(pipeline) as Arc<dyn Intake>);
    eprintln!("the vault is up: http://{address}  (data in {}, Ctrl-C stops)", data_dir.display());
    if !address.ip().is_loopback() {
        eprintln!("it speaks plain HTTP: put a TLS proxy in front of it");
    }
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    prunella_vault::serve(vault, listener, pipeline, stop).await.context("the vault's server ended")
}

/// A running pipeline's intake, over HTTP.
struct Pipeline {
    http: reqwest::Client,
    url: String,
    bearer: Option<String>,
}

impl Pipeline {
    fn new(base: &str, bearer: Option<String>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(PIPELINE_WAIT).no_proxy().build()?;
        Ok(Pipeline { http, url: format!("{}/api/events?source=", base.trim_end_matches('/')), bearer })
    }
}

#[async_trait]
impl Intake for Pipeline {
    async fn accept(&self, upload: Upload) -> Result<Accepted, PortError> {
        let away = |e: reqwest::Error| PortError::Unavailable(e.to_string());
        let mut request = self.http.post(format!("{}{}", self.url, upload.source));
        request = request.header("content-type", upload.content_type).body(upload.body);
        if let Some(bearer) = &self.bearer {
            request = request.bearer_auth(bearer);
        }
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        let text = answer.text().await.map_err(away)?;
        if !status.is_success() {
            return Err(PortError::Unavailable(format!("the pipeline answered {status}: {text}")));
        }
        serde_json::from_str(&text).map_err(|e| PortError::Invalid(e.to_string()))
    }

    async fn accept_record(&self, _: Record) -> Result<Accepted, PortError> {
        Err(PortError::Invalid("the vault hands over events only".into()))
    }

    async fn command(&self, _: Command) -> Result<(), PortError> {
        Err(PortError::Invalid("the vault gives no commands".into()))
    }
}
