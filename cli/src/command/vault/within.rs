//! The vault inside `prunella up`: on the same listener under `/vault`, its events into this very pipeline, within the
//! response's reach.

use crate::config::Config;
use crate::pipeline;
use anyhow::Context;
use axum::Router;
use prunella_runtime::clock;
use prunella_runtime::topology::Settings;
use prunella_schemas::port::{Effector, Intake};
use prunella_vault::effect::VaultEffector;
use prunella_vault::{Proxies, Vault};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The folder of the vault in the data directory.
pub const FOLDER: &str = "vault";

/// Opens the vault that `vault init` has set up; none where there is none, or when it is not wanted.
pub async fn open(config: &Config) -> anyhow::Result<Option<Arc<Vault>>> {
    let folder = config.data_dir.join(FOLDER);
    if !config.vault.enabled || !folder.exists() {
        return Ok(None);
    }
    let mut own = prunella_vault::Config::new(&folder, clock::wall())?;
    own.tenant = config.tenant.clone();
    own.registration = config.vault.registration;
    own.proxies = Proxies::parse(&config.vault.trusted_proxies).context("`vault.trusted_proxies`")?;
    let file = &config.vault.database_file;
    if !file.as_os_str().is_empty() {
        let url = pipeline::secret_text(file).context("`vault.database_file`")?;
        own.database = Some(url.trim().to_owned());
    }
    Ok(Some(Vault::open(own).await.context("cannot open the vault; `vault.enabled = false` goes without")?))
}

/// Puts the vault within the response's reach.
pub fn reach(mut settings: Settings, vault: Option<&Arc<Vault>>) -> Settings {
    settings
        .effectors
        .extend(vault.map(|vault| Arc::new(VaultEffector::new(Arc::clone(vault))) as Arc<dyn Effector>));
    settings
}

/// Puts the vault beside the console, and to work.
pub fn attach(
    router: Router,
    vault: Option<Arc<Vault>>,
    intake: Arc<dyn Intake>,
) -> (Router, Option<Working>) {
    match vault {
        Some(vault) => {
            let router = prunella_vault::beside(router, Arc::clone(&vault));
            (router, Some(Working::start(vault, intake)))
        }
        None => (router, None),
    }
}

/// A vault at work beside its requests.
pub struct Working {
    vault: Arc<Vault>,
    intake: Arc<dyn Intake>,
    work: JoinHandle<()>,
}

impl Working {
    fn start(vault: Arc<Vault>, intake: Arc<dyn Intake>) -> Self {
        let work = tokio::spawn(prunella_vault::work(Arc::clone(&vault), Some(Arc::clone(&intake))));
        Working { vault, intake, work }
    }

    /// Hands over what is left. No request may come any more.
    pub async fn stop(self) {
        self.work.abort();
        // It was told to stop: that it did not end by itself is no news.
        let _ = self.work.await;
        self.vault.finish(Some(self.intake.as_ref())).await;
    }
}
