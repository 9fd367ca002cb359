//! `prunella vault`: files that are sealed here and kept elsewhere.

pub mod args;
pub mod attacked;
mod files;
mod secret;
mod serve;
pub mod within;

use crate::output;
use crate::{App, Outcome, Refusal, pipeline};
use anyhow::Context;
use args::{Action, Keys, Level, Vault, Verb};
use prunella_vault::client::{Client, ClientError, Memory};
use prunella_vault::wire::{Hook, Level as WireLevel};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SERVER: &str = "http://127.0.0.1:7788";

pub fn run(app: &App, args: Vault) -> anyhow::Result<Outcome> {
    pipeline::runtime()?.block_on(dispatch(app, args))
}

async fn dispatch(app: &App, args: Vault) -> anyhow::Result<Outcome> {
    let password = || secret::password(args.password_file.as_deref());
    match &args.verb {
        Verb::Init { admin, offline_keys, database } => {
            serve::init(&serve::config(app, database)?, admin, password()?, offline_keys).await?;
            return Ok(Outcome::Ok);
        }
        Verb::Serve { listen, into, into_token_file, closed, database } => {
            let mut config = serve::config(app, database)?;
            config.registration = !closed;
            let bearer = into_token_file.as_deref().map(secret::read).transpose()?;
            let into = into.clone().map(|url| (url, bearer.map(|bearer| bearer.to_string())));
            serve::serve(config, *listen, into).await.map_err(Refusal)?;
            return Ok(Outcome::Ok);
        }
        Verb::Verify { file } => return files::verify(app, &Memory::load(&memory_file(&args)?)?, file),
        _ => {}
    }
    let path = memory_file(&args)?;
    let memory = Memory::load(&path)?;
    let mut client = client(&args, memory)?;
    let done = match &args.verb {
        Verb::Register { username } => {
            let account = client.register(username, &password()?).await?;
            output::one(app.format, &account, |account| {
                format!("registered {} ({})", account.username, account.id)
            })?;
            Ok(Outcome::Ok)
        }
        Verb::Login { username, plain } => {
            let password = password()?;
            match plain {
                true => client.login_plain(username, &password).await?,
                false => drop(client.login(username, &password).await?),
            }
            output::one(app.format, &json!({"username": username}), |_| format!("logged in as {username}"))?;
            Ok(Outcome::Ok)
        }
        _ => again(app, &mut client, &args.verb).await,
    };
    // Also after a failure: tokens may have been swapped, and keys seen.
    let saved = client.memory.save(&path);
    let outcome = done?;
    saved?;
    Ok(outcome)
}

/// Does it, and once more with new tokens when the old ones have run out.
async fn again(app: &App, client: &mut Client, verb: &Verb) -> anyhow::Result<Outcome> {
    match perform(app, client, verb).await {
        Err(error) if has_run_out(&error) && !client.memory.refresh_token.is_empty() => {
            client.refresh().await?;
            perform(app, client, verb).await
        }
        done => done,
    }
}

fn has_run_out(error: &anyhow::Error) -> bool {
    let kind = |error: &ClientError| matches!(error, ClientError::Refused(p) if p.kind == "/problems/unauthenticated");
    error.downcast_ref::<ClientError>().is_some_and(kind)
}

async fn perform(app: &App, client: &mut Client, verb: &Verb) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Logout => client.logout().await?,
        Verb::Import { username, hash } => {
            let account = client.import(username, &secret::read(hash)?).await?;
            output::one(app.format, &account, |account| {
                format!("imported {} ({}): the user logs in with --plain once", account.username, account.id)
            })?;
        }
        Verb::Put { .. } | Verb::Get { .. } | Verb::Ls | Verb::Rm { .. } | Verb::Harden { .. } => {
            return files::perform(app, client, verb).await;
        }
        Verb::Share { .. } | Verb::Unshare { .. } | Verb::Shares => {
            return files::share(app, client, verb).await;
        }
        Verb::Rotate { user, level } => {
            let user = user.clone().unwrap_or_else(|| client.memory.username.clone());
            let level = match level {
                Level::Gate => WireLevel::Gate,
                Level::Kek => WireLevel::Kek,
                Level::Identity => WireLevel::Identity,
            };
            let progress = client.rotate(&user, level).await?;
            output::one(app.format, &progress, |p| {
                format!(
                    "{} files: {} wait for their turn, {} for their user",
                    p.files, p.waiting, p.waiting_for_user
                )
            })?;
        }
        Verb::Recover { id, cold, approver } => {
            let mut keys = BTreeMap::new();
            for (name, path) in [("cold", cold), ("approver", approver)] {
                if let Some(path) = path {
                    keys.insert(name.to_owned(), secret::read(path)?.to_string());
                }
            }
            anyhow::ensure!(!keys.is_empty(), "give --cold or --approver, a key that `vault init` wrote");
            client.recover(id, &keys).await?;
        }
        Verb::Keys(Keys::Show { username }) => {
            let keys = client.keys(username).await?;
            let prints = prunella_vault::client::fingerprints(&keys)?;
            output::one(
                app.format,
                &json!({"username": username, "wrap": prints.0, "sign": prints.1}),
                |_| format!("{username}\n  sealing {}\n  signing {}", prints.0, prints.1),
            )?;
        }
        Verb::Keys(Keys::Forget { username }) => {
            anyhow::ensure!(client.memory.forget(username), "no keys of `{username}` are remembered");
        }
        Verb::Log => return files::log(app, client).await,
        Verb::Account { action, username, reason } => {
            let action = match action {
                Action::Lock => "lock",
                Action::Unlock => "unlock",
                Action::RevokeTokens => "revoke-tokens",
            };
            let hook = Hook { reason: reason.clone(), ..Hook::default() };
            let account = client.act_on(username, action, &hook).await?;
            output::one(app.format, &account, |account| format!("{action}: {}", account.username))?;
        }
        _ => anyhow::bail!("this verb needs no vault"),
    }
    Ok(Outcome::Ok)
}

fn client(args: &Vault, mut memory: Memory) -> anyhow::Result<Client> {
    if let Some(server) = &args.server {
        memory.server.clone_from(server);
    } else if memory.server.is_empty() {
        memory.server = SERVER.to_owned();
    }
    let server = memory.server.clone();
    Ok(Client::new(&server, memory)?)
}

fn memory_file(args: &Vault) -> anyhow::Result<PathBuf> {
    if let Some(path) = &args.memory {
        return Ok(path.clone());
    }
    let home = std::env::home_dir().context("this user has no home folder: give --memory")?;
    Ok(home.join(Path::new(".config/prunella/vault.json")))
}
