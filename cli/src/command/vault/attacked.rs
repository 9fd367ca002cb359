//! A vault to be attacked: a throw-away pipeline with one, a user in it, and the user's files.

use super::within;
use crate::command::simulate::throwaway;
use crate::config::Config;
use crate::pipeline::{self, Served};
use anyhow::Context;
use prunella_runtime::clock;
use prunella_simulate::Scenario;
use prunella_simulate::vault::Resident;
use prunella_vault::Vault;
use prunella_vault::client::{Client, Memory, Sealed, Stretched};
use prunella_vault::wire::TierName;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// Nobody is to guess it, and nobody needs it after the run.
const PASSWORD: &str = "a password of a simulated user";
/// Files of a user, and their size in bytes.
const FILES: (usize, usize) = (12, 64 * 1024);
/// Of one who is to take more than people do: 128 MiB.
const LARGE_FILES: (usize, usize) = (16, 8 * 1024 * 1024);

/// A pipeline in `folder` with a vault in it, and the user of the scenario. They came before the pipeline: it knows of what
/// they do from then on.
pub async fn serve(config: &Config, folder: &Path, scenario: Scenario) -> anyhow::Result<(Served, Resident)> {
    let own = prunella_vault::Config::new(&folder.join(within::FOLDER), clock::wall())?;
    Vault::init(&own, "admin", Zeroizing::new(PASSWORD.to_owned())).await?;
    let vault = Vault::open(own).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen on the loopback")?;
    let address = listener.local_addr()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let until = async move {
        // A dropped sender means the same as a sent word: stop.
        let _ = stopped.await;
    };
    let serving = tokio::spawn(prunella_vault::serve(vault, listener, None, until));
    let resident = resident(&format!("http://{address}"), scenario).await;
    drop(stop);
    serving.await.context("the vault was cut short")?.context("the vault ended with an error")?;
    let mut config = throwaway(config, folder, SocketAddr::from(([127, 0, 0, 1], 0)));
    // The attack comes from many networks, as a proxy in front would tell.
    config.vault.trusted_proxies = vec!["127.0.0.1".to_owned()];
    config.vault.enabled = true;
    Ok((pipeline::serve(&config).await?, resident?))
}

/// A user with files, sealed and put as anybody would.
async fn resident(server: &str, scenario: Scenario) -> anyhow::Result<Resident> {
    let username = scenario.entry().victim;
    let mut client = Client::new(server, Memory::default())?;
    let account = client.register(username, PASSWORD).await.context("cannot make the simulated user")?;
    client.login(username, PASSWORD).await?;
    let (count, size) = if scenario == Scenario::InsiderBulkDownload { LARGE_FILES } else { FILES };
    let mut files = Vec::with_capacity(count);
    for number in 0..count {
        let name = format!("report-{number:03}.bin");
        let now = (clock::wall())();
        let tier = TierName::Low;
        let what = Sealed { name: &name, size: size as u64, tier, scope: None, recovery: None, now };
        let content = vec![u8::try_from(number)?; size];
        files.push(client.put(&what, std::io::Cursor::new(content), |_| ()).await?.id);
    }
    let secret = Stretched::new(username, PASSWORD)?.auth.to_string();
    Ok(Resident { id: account.id, username: username.to_owned(), secret, files })
}
