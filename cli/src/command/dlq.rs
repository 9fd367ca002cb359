//! `prunella dlq`: records that could not be read, with their bytes and the reason, and the way to give them again.

use crate::args::Dlq;
use crate::client::Client;
use crate::output::{self, printable};
use crate::{App, Outcome, pipeline};
use anyhow::Context;
use prunella_runtime::clock;
use prunella_runtime::store::StoreWriter;
use prunella_runtime::topology::{ENDPOINT_FILE, append_offline};
use prunella_schemas::port::{QUERY_ROWS_MAX, Query, Store};
use prunella_schemas::{DeadLetter, Id, Message};

pub fn run(app: &App, args: Dlq) -> anyhow::Result<Outcome> {
    let store = pipeline::store(&app.loaded.config)?;
    let runtime = pipeline::runtime()?;
    match args {
        Dlq::List { limit } => {
            let rows = runtime.block_on(store.dead_letters(&Query { limit, ..Query::default() }))?.rows;
            let columns = ["TIME", "SOURCE", "REASON", "DETAIL", "FROM", "ID"];
            output::rows(app.format, &rows, &columns, |dead| {
                let reason = serde_json::json!(dead.reason);
                vec![
                    dead.time.to_string(),
                    dead.record.source.clone(),
                    reason.as_str().unwrap_or_default().to_owned(),
                    dead.detail.clone(),
                    dead.record.origin.clone(),
                    dead.id().to_string(),
                ]
            })?;
        }
        Dlq::Show { id } => {
            let dead = runtime.block_on(find(&store, &id))?;
            output::one(app.format, &dead, show)?;
        }
        Dlq::Replay { id, all } => {
            let letters = if all { runtime.block_on(every(&store))? } else { runtime.block_on(named(&store, &id))? };
            anyhow::ensure!(all || !letters.is_empty(), "name the dead letters to replay, or give --all");
            let count = letters.len();
            replay(app, &runtime, letters)?;
            output::one(app.format, &serde_json::json!({ "replayed": count }), |_| format!("{count} given again"))?;
        }
    }
    Ok(Outcome::Ok)
}

/// Through the API of a running pipeline, or into the files when none runs.
fn replay(app: &App, runtime: &tokio::runtime::Runtime, letters: Vec<DeadLetter>) -> anyhow::Result<()> {
    let config = &app.loaded.config;
    if config.data_dir.join(ENDPOINT_FILE).exists() {
        let client = Client::to_running(config)?;
        for dead in letters {
            runtime.block_on(client.post(&format!("/api/dlq/{}/replay", dead.id()), &serde_json::json!({})))?;
        }
        return Ok(());
    }
    let records: Vec<_> = letters.iter().map(|dead| dead.record.clone()).collect();
    append_offline(&config.data_dir, &records, clock::wall())?;
    let mut writer = StoreWriter::open(&config.data_dir.join("store.db"))?;
    for dead in &letters {
        writer.resolve_dead_letter(dead.id())?;
    }
    Ok(())
}

async fn find(store: &impl Store, id: &str) -> anyhow::Result<DeadLetter> {
    let uid: Id = id.parse().context("dead letters are named by their id: see `prunella dlq list`")?;
    store.dead_letter(uid).await?.with_context(|| format!("there is no dead letter {uid}; see `prunella dlq list`"))
}

async fn named(store: &impl Store, ids: &[String]) -> anyhow::Result<Vec<DeadLetter>> {
    let mut letters = Vec::with_capacity(ids.len());
    for id in ids {
        letters.push(find(store, id).await?);
    }
    Ok(letters)
}

async fn every(store: &impl Store) -> anyhow::Result<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    let mut query = Query { limit: QUERY_ROWS_MAX, ..Query::default() };
    loop {
        let page = store.dead_letters(&query).await?;
        letters.extend(page.rows);
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Ok(letters),
        }
    }
}

fn show(dead: &DeadLetter) -> String {
    let reason = serde_json::json!(dead.reason);
    let at = dead.offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default();
    let body = String::from_utf8_lossy(&dead.record.body);
    let head = format!(
        "{}{at}: {}\nsource {}, tenant {}, from {}, received {}\n\n",
        reason.as_str().unwrap_or_default(),
        dead.detail,
        dead.record.source,
        dead.record.tenant,
        dead.record.origin,
        dead.record.received
    );
    printable(&(head + &body))
}
