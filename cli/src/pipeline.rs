//! Putting the pipeline together from a configuration: files opened, secrets read, console attached.

use crate::Refusal;
use crate::command::connectors::{self, WithSources};
#[cfg(feature = "vault")]
use crate::command::vault::within;
use crate::config::{Config, Webhook, WebhookKind};
use crate::effectors;
use anyhow::Context;
use async_trait::async_trait;
use prunella_console::{Ports, Simulator, Token};
use prunella_runtime::clock;
use prunella_runtime::connect::{Connectors, Ground, SqliteCursors};
use prunella_runtime::ledger::LedgerReader;
use prunella_runtime::log::Retention;
use prunella_runtime::store::SqliteStore;
use prunella_runtime::topology::{Embedded, Settings};
use prunella_runtime::webhook::{Channel, Endpoint, Issuer, RoutingKey, Secret};
use prunella_schemas::port::PortError;
use prunella_simulate::scenario::CATALOG;
use prunella_simulate::{Front, Intensity, Options, Scenario};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;

/// Largest secret file read, in bytes.
const SECRET_BYTES_MAX: u64 = 4_096;
/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")
}

/// The store of a data directory, read only; it works beside a running pipeline and without one.
pub fn store(config: &Config) -> anyhow::Result<SqliteStore> {
    let path = config.data_dir.join("store.db");
    if !path.exists() {
        let dir = config.data_dir.display();
        let missing =
            anyhow::anyhow!("there is no pipeline's data in `{dir}`; run `prunella up`, or give --data-dir");
        return Err(Refusal(missing).into());
    }
    Ok(SqliteStore::reading(&path))
}

pub fn ledger(config: &Config) -> anyhow::Result<LedgerReader> {
    Ok(LedgerReader::open(&config.data_dir)?)
}

/// What the configuration means for the runtime.
pub fn settings(config: &Config) -> anyhow::Result<Settings> {
    let webhooks = config
        .webhooks
        .iter()
        .map(|(name, webhook)| endpoint(name, webhook).with_context(|| format!("webhook `{name}`")));
    let webhooks = webhooks.collect::<anyhow::Result<Vec<_>>>()?;
    let mut respond = config.response.clone();
    for (kind, names) in respond.receivers.by_kind() {
        let known: Vec<&str> =
            webhooks.iter().filter(|e| e.channel.provider() == kind).map(|e| e.name.as_str()).collect();
        if names.is_empty() {
            *names = known.iter().map(|name| (*name).to_owned()).collect();
        }
        if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
            anyhow::bail!(
                "`response.receivers.{kind}` names `{name}`, which is no endpoint of that kind under [webhooks]"
            );
        }
    }
    let hours = i64::from(config.log.retention_hours_max);
    Ok(Settings {
        data_dir: config.data_dir.clone(),
        enrich: config.enrich.clone(),
        detect: config.detect.clone(),
        respond,
        playbooks: playbooks(&config.playbooks_dir)?,
        webhooks,
        effectors: Vec::new(),
        public_url: public_url(&config.api.public_url)?,
        retention: Retention {
            age_ms_max: hours * 3_600_000,
            bytes_max: config.log.retention_mib_max * 1024 * 1024,
        },
        clock: clock::wall(),
    })
}

/// A link that anybody on the way could read would let them approve.
fn public_url(text: &str) -> anyhow::Result<Option<String>> {
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    match text.trim() {
        "" => Ok(None),
        url if url.starts_with("https://") || local.iter().any(|l| url.starts_with(l)) => {
            Ok(Some(url.to_owned()))
        }
        url => anyhow::bail!("`api.public_url` is `{url}`: it must begin with https://"),
    }
}

fn endpoint(name: &str, webhook: &Webhook) -> anyhow::Result<Endpoint> {
    let text = secret_text(&webhook.secret_file)?;
    let file = || webhook.secret_file.display().to_string();
    let mut url = webhook.url.trim();
    let channel = match webhook.kind {
        WebhookKind::Webhook => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            Channel::Webhook(lines.map(Secret::parse).collect::<Result<_, _>>().with_context(file)?)
        }
        WebhookKind::Slack => {
            anyhow::ensure!(
                url.is_empty(),
                "Slack's address is a secret: put it into {}, not into `url`",
                file()
            );
            url = text.trim();
            Channel::Slack
        }
        WebhookKind::PagerDuty => {
            if url.is_empty() {
                url = PAGERDUTY;
            }
            Channel::PagerDuty(RoutingKey::parse(&text).with_context(file)?)
        }
        WebhookKind::Caep => {
            let named = [&webhook.issuer, &webhook.audience, &webhook.key_id].iter().all(|s| !s.is_empty());
            anyhow::ensure!(named, "security events need `issuer`, `audience` and `key_id`");
            let signer = Issuer::new(&webhook.issuer, &webhook.audience, &webhook.key_id, text.as_bytes());
            Channel::Caep(signer.with_context(file)?)
        }
    };
    Ok(Endpoint::new(name, url, channel, webhook.allow_private)?)
}

/// The built-in playbooks, then those of a directory, in the order of their names.
fn playbooks(dir: &Path) -> anyhow::Result<prunella_respond::Playbooks> {
    let mut files: Vec<(String, String)> = prunella_respond::BUILT_IN
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    if !dir.as_os_str().is_empty() {
        let listed = std::fs::read_dir(dir)
            .with_context(|| format!("cannot read the playbooks in {}", dir.display()))?;
        let mut paths: Vec<PathBuf> =
            listed.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"));
        paths.sort();
        for path in paths {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            files.push((path.display().to_string(), text));
        }
    }
    let borrowed: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Ok(prunella_respond::Playbooks::parse(&borrowed)?)
}

pub fn secret_text(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path)
        .with_context(|| format!("cannot read the secret file {}", path.display()))?
        .len();
    anyhow::ensure!(size <= SECRET_BYTES_MAX, "{} is too large for a secret file", path.display());
    std::fs::read_to_string(path).with_context(|| format!("cannot read the secret file {}", path.display()))
}

/// Where the configuration says that the ledgers of several processes are, with the password out of its file.
#[cfg(feature = "postgres")]
pub fn postgres(config: &Config) -> anyhow::Result<prunella_runtime::ledger::postgres::Server> {
    let postgres = &config.postgres;
    Ok(prunella_runtime::ledger::postgres::Server {
        url: postgres.url.clone(),
        password: password(&postgres.password_file).context("`postgres.password_file`")?,
        schema: postgres.schema.clone(),
    })
}

/// What a password file holds; nothing when none is named.
#[cfg(feature = "postgres")]
pub fn password(file: &Path) -> anyhow::Result<String> {
    if file.as_os_str().is_empty() {
        return Ok(String::new());
    }
    Ok(secret_text(file)?.trim().to_owned())
}

/// A pipeline with its console, serving.
pub struct Served {
    pub embedded: Embedded,
    sources: Connectors,
    #[cfg(feature = "vault")]
    vault: Option<within::Working>,
    pub address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends sources and API first, so that nothing is accepted that would not be processed before the end.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.sources.stop().await;
        // The receiver is gone only when the server has ended already.
        let _ = self.stop.send(());
        let served = self.server.await.context("the API was cut short")?;
        #[cfg(feature = "vault")]
        if let Some(vault) = self.vault {
            vault.stop().await;
        }
        self.embedded.stop().await;
        served.context("the API stopped with an error")
    }
}

/// Who may reach the API, and as whose.
pub fn console(config: &Config) -> anyhow::Result<prunella_console::Config> {
    let file = &config.api.token_file;
    Ok(prunella_console::Config {
        listen: config.api.listen,
        tenant: config.tenant.clone(),
        origins: config.api.origins.clone(),
        token: if file.as_os_str().is_empty() { None } else { Some(Token::load(file)?) },
        ..Default::default()
    })
}

/// Binds, starts every stage, and serves. The port is taken before any file is touched.
pub async fn serve(config: &Config) -> anyhow::Result<Served> {
    let mut console = console(config)?;
    let listener = TcpListener::bind(config.api.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; is another prunella running there? choose another with --listen",
            config.api.listen
        )
    })?;
    let address = listener.local_addr().context("cannot read the address that was bound")?;
    console.listen = address;
    let sources = connectors::open_all(config).await?;
    let handle = tokio::runtime::Handle::current();
    let settings = Settings { effectors: effectors::open_all(config).await?, ..settings(config)? };
    #[cfg(feature = "vault")]
    let vault = within::open(config).await?;
    #[cfg(feature = "vault")]
    let settings = within::reach(settings, vault.as_ref());
    let playbooks = settings.playbooks.iter().map(|playbook| playbook.id.clone()).collect();
    let embedded = tokio::task::spawn_blocking(move || Embedded::start(settings, &handle))
        .await
        .context("start was cut short")??;
    let cursors = Arc::new(SqliteCursors::open(&config.data_dir)?);
    let intake = Arc::new(embedded.intake.clone());
    let sources = Connectors::start(&Ground { intake, cursors, clock: clock::wall() }, sources);
    let simulator = Arc::new(SelfAttack {
        url: OnceLock::from(format!("http://{address}")),
        bearer_file: config.api.token_file.clone(),
    });
    let ports = Ports {
        store: Arc::clone(&embedded.store) as _,
        intake: Arc::new(embedded.intake.clone()),
        state: Arc::clone(&embedded.state) as _,
        ledger: Arc::clone(&embedded.ledger) as _,
        health: Arc::new(WithSources { pipeline: embedded.health.clone(), sources: sources.vitals.clone() }),
        live: embedded.live.clone(),
        simulator: Some(simulator),
        links: embedded.links.clone().map(|links| links as _),
        clock: clock::wall(),
        sources: prunella_translate::catalog().iter().map(|t| t.name().to_owned()).collect(),
        playbooks,
    };
    let router = prunella_console::router(ports, console)?;
    #[cfg(feature = "vault")]
    let (router, vault) = within::attach(router, vault, Arc::new(embedded.intake.clone()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        // A dropped sender means the same as a sent word: stop.
        let _ = stopped.await;
    };
    let server = tokio::spawn(prunella_console::serve(listener, router, shutdown));
    Ok(Served {
        embedded,
        sources,
        #[cfg(feature = "vault")]
        vault,
        address,
        stop,
        server,
    })
}

/// `POST /api/simulate-attack`: an attack against this very process, through its own API.
struct SelfAttack {
    url: OnceLock<String>,
    bearer_file: PathBuf,
}

#[async_trait]
impl Simulator for SelfAttack {
    async fn start(
        &self,
        attack_type: &str,
        intensity: &str,
        seed: Option<u64>,
    ) -> Result<serde_json::Value, PortError> {
        let invalid = |e: anyhow::Error| PortError::Invalid(format!("{e:#}"));
        let scenario = scenario(attack_type).map_err(invalid)?;
        let mut options = Options::new(scenario, self.url.get().map_or("", String::as_str), clock::wall());
        options.intensity = self::intensity(intensity).map_err(invalid)?;
        options.seed = seed.unwrap_or(options.seed);
        if !self.bearer_file.as_os_str().is_empty() {
            options.bearer = Some(secret_text(&self.bearer_file).map_err(invalid)?.trim().to_owned());
        }
        let started = serde_json::json!({ "scenario": attack_type, "intensity": intensity, "seed": options.seed, "status": "started" });
        tokio::spawn(async move {
            match prunella_simulate::run(options).await {
                Ok(report) => tracing::info!(
                    detected = report.detected,
                    contained = report.contained,
                    "simulated attack ended"
                ),
                Err(e) => tracing::error!(error = %e, "simulated attack failed"),
            }
        });
        Ok(started)
    }

    fn catalog(&self) -> Vec<String> {
        let of_cloud = CATALOG.iter().filter(|entry| entry.target == Front::Cloud);
        of_cloud.map(|entry| entry.scenario.name().to_owned()).collect()
    }
}

/// A scenario of the simulated cloud.
pub fn scenario(name: &str) -> anyhow::Result<Scenario> {
    let scenario: Scenario = name.parse().map_err(|e| anyhow::anyhow!("{e}"))?;
    anyhow::ensure!(
        scenario.entry().target == Front::Cloud,
        "`{name}` attacks a vault: `prunella simulate-attack run {name} --target vault`"
    );
    Ok(scenario)
}

pub fn intensity(name: &str) -> anyhow::Result<Intensity> {
    if name.is_empty() {
        return Ok(Intensity::default());
    }
    name.parse().map_err(|e| anyhow::anyhow!("{e}"))
}
