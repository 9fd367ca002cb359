//! Files of the vault on the command line: put, get, list, share, verify.

use super::args::{Tier, Verb};
use crate::output::{self, TO_STDOUT};
use crate::{App, Outcome, progress};
use anyhow::Context;
use indicatif::HumanBytes;
use prunella_ledger::{Completeness, Entry, Integrity, Verifier};
use prunella_runtime::clock;
use prunella_vault::client::{Bounds, Client, ClientError, Found, Memory, Progress, Sealed};
use prunella_vault::wire::{FileInfo, TierName};
use serde_json::json;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use tokio::io::AsyncRead;

pub async fn perform(app: &App, client: &mut Client, verb: &Verb) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Put { file, name, tier, scope, recovery } => {
            let own = || file.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.clone().or_else(own).context("give --name: the file has none")?;
            let recovery = recovery.as_deref().map(super::secret::read).transpose()?;
            let recovery = recovery.map(|key| prunella_vault::client::public_key(&key)).transpose()?;
            let (from, size) = open(file).await?;
            let bar = bar(app, Some(size).filter(|size| *size > 0), &name);
            let moving = bar.clone();
            let what = Sealed {
                name: &name,
                size,
                tier: tier_name(*tier),
                scope: scope.as_deref(),
                recovery,
                now: (clock::wall())(),
            };
            let info = client.put(&what, from, move |bytes| moving.inc(bytes)).await?;
            bar.finish_and_clear();
            output::one(app.format, &info, |info| {
                format!("{name}: version {}, {:?} ({})", info.version, info.tier, info.id)
            })?;
        }
        Verb::Get { name, to, sealed } => get(app, client, name, to.as_deref(), *sealed).await?,
        Verb::Ls => {
            let mut all = Vec::new();
            let mut after = String::new();
            loop {
                let (page, next) = client.list(&after).await?;
                all.extend(page);
                let Some(next) = next else { break };
                after = next;
            }
            let rows: Vec<_> =
                all.into_iter().map(|(name, info)| json!({"file": name, "info": info})).collect();
            output::rows(app.format, &rows, &["name", "version", "tier", "sealed size", "id"], |row| {
                let info: Option<FileInfo> = serde_json::from_value(row["info"].clone()).ok();
                info.map_or_else(Vec::new, |info| {
                    let name = row["file"].as_str().unwrap_or("(not named by this identity)").to_owned();
                    let size = HumanBytes(info.size).to_string();
                    vec![name, info.version.to_string(), word(info.tier), size, info.id]
                })
            })?;
        }
        Verb::Rm { name } => client.remove(name).await?,
        Verb::Harden { name, tier, confirm } => {
            let tier = tier_name(*tier);
            let changed = match client.change_tier(name, tier, *confirm).await {
                // An admin has no files, and names another's by id.
                Err(error) if error.is_status(403) => client.harden(name, tier).await?,
                // Without keys of its own a client cannot look up a name: an admin again.
                Err(ClientError::NotLoggedIn) => client.harden(name, tier).await?,
                changed => changed?,
            };
            output::one(app.format, &changed, |info| match info.tier == info.tier_wanted {
                true => format!("{} since epoch {}", word(info.tier), info.epoch),
                false => {
                    format!(
                        "{} counts from now; its split follows when its user opens it",
                        word(info.tier_wanted)
                    )
                }
            })?;
        }
        _ => anyhow::bail!("this verb is not about files"),
    }
    Ok(Outcome::Ok)
}

/// Writes beside the place where the file shall be, and puts it there once all of it is proven.
async fn get(
    app: &App,
    client: &mut Client,
    name: &str,
    to: Option<&Path>,
    sealed: bool,
) -> anyhow::Result<()> {
    let found = client.open(name).await?;
    let bar = bar(app, Some(found.info.size), &found.name);
    let moving = bar.clone();
    let tell = move |bytes| moving.inc(bytes);
    if to == Some(Path::new("-")) {
        let out = std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        release(client, &found, out, sealed, &tell).await.context(TO_STDOUT)?;
        return Ok(());
    }
    let path = match to {
        Some(path) => path.to_owned(),
        None => harmless(&found.name)?,
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let staged = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    let bytes = release(client, &found, staged.reopen()?, sealed, &tell).await?;
    staged.as_file().sync_all()?;
    staged.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
    bar.finish_and_clear();
    let got = json!({"name": found.name, "owner": found.owner, "bytes": bytes, "path": path});
    output::one(app.format, &got, |_| format!("{}: {bytes} bytes of {}, proven", path.display(), found.owner))
}

/// Writes what was asked for: the content, or the object as it is stored.
async fn release(
    client: &Client,
    found: &Found,
    out: std::fs::File,
    sealed: bool,
    tell: Progress<'_>,
) -> Result<u64, ClientError> {
    let out = tokio::fs::File::from_std(out);
    if sealed { client.read_sealed(found, out, tell).await } else { client.read(found, out, tell).await }
}

/// The name that the owner gave it, as a file in this folder: the owner may be anybody.
fn harmless(name: &str) -> anyhow::Result<PathBuf> {
    let plain =
        Path::new(name).file_name().is_some_and(|file| file == name) && !name.contains(char::is_control);
    anyhow::ensure!(plain, "its owner calls it {name:?}, which is no name for a file here: give --to");
    let path = PathBuf::from(name);
    anyhow::ensure!(!path.exists(), "{name} is there already: give --to");
    Ok(path)
}

async fn open(file: &Path) -> anyhow::Result<(Box<dyn AsyncRead + Send + Unpin>, u64)> {
    if file == Path::new("-") {
        let from = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        return Ok((Box::new(tokio::fs::File::from_std(from)), 0));
    }
    let from =
        tokio::fs::File::open(file).await.with_context(|| format!("cannot read {}", file.display()))?;
    let size = from.metadata().await?.len();
    Ok((Box::new(from), size))
}

fn bar(app: &App, size: Option<u64>, what: &str) -> indicatif::ProgressBar {
    let for_people = !app.format_asked && std::io::stderr().is_terminal();
    if for_people {
        progress::bytes(size, &output::printable(what))
    } else {
        indicatif::ProgressBar::hidden()
    }
}

pub async fn share(app: &App, client: &mut Client, verb: &Verb) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Share { name, with, hours, downloads, proxy } => {
            let now = (clock::wall())();
            let expires = hours.map_or(0, |hours| now.plus_ms(hours.saturating_mul(3_600_000)).0);
            let bounds = Bounds { expires, downloads_max: *downloads };
            let share = match proxy {
                Some(scope) => client.share_by_proxy(name, scope, with, bounds).await?,
                None => client.share(name, with, bounds).await?,
            };
            output::one(app.format, &share, |share| {
                format!("{name} is shared with {with}: file {}, share {}", share.file, share.id)
            })?;
        }
        Verb::Unshare { id } => client.unshare(id).await?,
        _ => {
            let shares = client.shares().await?.shares;
            output::rows(app.format, &shares, &["share", "file", "mode", "owner", "recipient"], |share| {
                let mode = format!("{:?}", share.mode).to_lowercase();
                vec![share.id.clone(), share.file.clone(), mode, share.owner.clone(), share.recipient.clone()]
            })?;
        }
    }
    Ok(Outcome::Ok)
}

pub fn verify(app: &App, memory: &Memory, file: &Path) -> anyhow::Result<Outcome> {
    let report = prunella_vault::client::verify(file, memory)?;
    output::one(app.format, &report, |report| {
        let opens = if report.opens { "and opens with your key" } else { "and is not sealed to you" };
        format!(
            "{}: version {} of {}, signed by {}, whole, {opens}",
            file.display(),
            report.version,
            report.file,
            report.owner
        )
    })?;
    Ok(Outcome::Ok)
}

/// Fetches the ledger and checks all of it here.
pub async fn log(app: &App, client: &mut Client) -> anyhow::Result<Outcome> {
    let (mut entries, mut after) = (Vec::<Entry>::new(), String::new());
    let last = loop {
        let page = client.logs(&after).await?;
        for entry in &page.entries {
            entries.push(serde_json::from_value(entry.clone()).context("an entry of the log does not read")?);
        }
        match &page.next {
            Some(next) => after.clone_from(next),
            None => break page,
        }
    };
    client.memory.pin_log(&last.verifier_key)?;
    let verifier = Verifier::parse(&last.verifier_key).context("the log's key does not read")?;
    let report = prunella_ledger::verify(entries.into_iter().map(Ok), &[last.checkpoint], Some(&verifier));
    output::one(app.format, &report, |report| {
        let problems = report.problems.iter().map(|problem| format!("\n  - {problem}")).collect::<String>();
        format!(
            "{} entries; integrity {:?}; completeness {:?}{problems}",
            report.entries, report.integrity, report.completeness
        )
    })?;
    let holds = report.integrity == Integrity::Ok && report.completeness == Completeness::Ok;
    Ok(if holds { Outcome::Ok } else { Outcome::Found })
}

/// As the wire says it.
fn word(tier: TierName) -> String {
    format!("{tier:?}").to_uppercase()
}

fn tier_name(tier: Tier) -> TierName {
    match tier {
        Tier::Low => TierName::Low,
        Tier::Medium => TierName::Medium,
        Tier::High => TierName::High,
    }
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_name_of_a_stranger_stays_in_this_folder() {
        for (name, ok) in [
            ("report of nobody.pdf", true),
            ("naïve 🗂", true),
            ("../x", false),
            ("/etc/passwd", false),
            ("a/b", false),
            ("..", false),
            (".", false),
            ("", false),
            ("a\nb", false),
            ("Cargo.toml", false),
        ] {
            assert_eq!(harmless(name).is_ok(), ok, "{name:?}");
        }
    }
}
