//! `prunella dlq`: records that could not be read, with their bytes and the reason, and the way to give them again.

use crate::args::Dlq;
use crate::client::Client;
use crate::output::{self, printable};
use crate::{App, Outcome, Refusal, pipeline};
use anyhow::Context;
use prunella_runtime::clock;
use prunella_runtime::topology::{StartError, replay_offline};
use prunella_schemas::port::{QUERY_ROWS_MAX, Query, Store};
use prunella_schemas::{DeadLetter, Id, Message};
use serde::Serialize;

pub fn run(app: &App, args: Dlq) -> anyhow::Result<Outcome> {
    let store = pipeline::store(&app.loaded.config)?;
    let runtime = pipeline::runtime()?;
    match args {
        Dlq::List { limit } => {
            let rows = runtime.block_on(store.dead_letters(&Query { limit, ..Query::default() }))?.rows;
            let columns = ["TIME", "SOURCE", "REASON", "DETAIL", "FROM", "ID"];
            let rows: Vec<Named<'_>> = rows.iter().map(Named::new).collect();
            output::rows(app.format, &rows, &columns, |Named { id, letter: dead }| {
                let reason = serde_json::json!(dead.reason);
                vec![
                    dead.time.to_string(),
                    dead.record.source.clone(),
                    reason.as_str().unwrap_or_default().to_owned(),
                    dead.detail.clone(),
                    dead.record.origin.clone(),
                    id.to_string(),
                ]
            })?;
        }
        Dlq::Show { id } => {
            let dead = runtime.block_on(find(&store, &id))?;
            output::one(app.format, &Named::new(&dead), |named| show(named.letter))?;
        }
        Dlq::Replay { id, all } => {
            let nothing_named = || Refusal(anyhow::anyhow!("name the dead letters to replay, or give --all"));
            anyhow::ensure!(all || !id.is_empty(), nothing_named());
            let letters =
                if all { runtime.block_on(every(&store))? } else { runtime.block_on(named(&store, &id))? };
            let count = letters.len();
            replay(app, &runtime, &letters)?;
            output::one(app.format, &serde_json::json!({ "replayed": count }), |_| {
                format!("{count} given again")
            })?;
        }
    }
    Ok(Outcome::Ok)
}

/// Into the files when no pipeline runs on them, else through its API.
fn replay(app: &App, runtime: &tokio::runtime::Runtime, letters: &[DeadLetter]) -> anyhow::Result<()> {
    let config = &app.loaded.config;
    match replay_offline(&config.data_dir, letters, clock::wall()) {
        Err(StartError::Busy(_)) => {}
        done => return Ok(done?),
    }
    let client = Client::to_running(config).map_err(Refusal)?;
    for dead in letters {
        let path = format!("/api/dlq/{}/replay", dead.id());
        runtime.block_on(client.post(&path, &serde_json::json!({}))).map_err(Refusal)?;
    }
    Ok(())
}

/// A dead letter with the id that names it.
#[derive(Serialize)]
struct Named<'a> {
    id: Id,
    #[serde(flatten)]
    letter: &'a DeadLetter,
}

impl<'a> Named<'a> {
    fn new(letter: &'a DeadLetter) -> Self {
        Named { id: letter.id(), letter }
    }
}

async fn find(store: &impl Store, id: &str) -> anyhow::Result<DeadLetter> {
    let uid: Id = id.parse().context("dead letters are named by their id: see `prunella dlq list`")?;
    store
        .dead_letter(uid)
        .await?
        .with_context(|| format!("there is no dead letter {uid}; see `prunella dlq list`"))
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
