//! The event store over a real ClickHouse, which `cargo xtask services up` starts.

use crate::contract::{
    START, check_everything, check_pages, check_risks, event, everything, post, risks, tied,
};
use prunella_runtime::store::clickhouse::protocol::{Delivery, Entry, InsertError, Manifest, Next, Target};
use prunella_runtime::store::clickhouse::{
    Applied, ClickHouseStore, Lane, Located, Rows, Schema, Server, Writer, portion,
};
use prunella_schemas::port::{PortError, Query, Store};
use prunella_schemas::{DeadLetter, Posted, Timestamp, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const YEAR_MS: i64 = 365 * 86_400_000;

/// A database of its own on the running server, dropped at the end.
pub struct Place {
    pub server: Server,
    secrets: BTreeMap<String, String>,
    rights: clickhouse::Client,
}

impl Place {
    /// `None` where no server runs.
    pub async fn new(name: &str) -> Option<Place> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
        let services: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let found = services.iter().find(|s| s["name"] == "clickhouse")?;
        let url = format!("http://{}", found["address"].as_str()?);
        let secret = |(user, file): (&String, &serde_json::Value)| {
            let password = std::fs::read_to_string(file.as_str()?).ok()?;
            Some((user.clone(), password.trim().to_owned()))
        };
        let secrets: BTreeMap<String, String> =
            found["secrets"].as_object()?.iter().filter_map(secret).collect();
        let database = format!("prunella_test_{name}_{}", std::process::id());
        let password = secrets.get("migrate")?.clone();
        let server = Server { url, database, user: "migrate".into(), password };
        let client = clickhouse::Client::default().with_url(&server.url).with_user("migrate");
        let rights = client.with_password(&server.password);
        let place = Place { server, secrets, rights };
        place.run("DROP DATABASE IF EXISTS $").await;
        Some(place)
    }

    /// With every table in it. The tests' events are years old, so nothing may expire.
    pub async fn ready(name: &str) -> Option<Place> {
        let place = Place::new(name).await?;
        Schema::of(&place.server).unwrap().apply().await.unwrap();
        for table in ["events", "scores", "signals", "findings", "risk", "plans", "receipts", "dead_letters"]
        {
            place.run(&format!("ALTER TABLE $.{table} REMOVE TTL")).await;
        }
        Some(place)
    }

    pub fn user(&self, user: &str) -> Server {
        Server { user: user.into(), password: self.secrets[user].clone(), ..self.server.clone() }
    }

    /// As the one who may do anything here; `$` is the database.
    pub async fn run(&self, sql: &str) {
        self.rights.query_raw(&sql.replace('$', &self.server.database)).execute().await.unwrap();
    }

    pub async fn number(&self, sql: &str) -> u64 {
        self.rights.query_raw(&sql.replace('$', &self.server.database)).fetch_one().await.unwrap()
    }

    pub async fn end(self) {
        self.run("DROP DATABASE IF EXISTS $ SYNC").await;
    }
}

macro_rules! place_or_skip {
    ($place:expr) => {
        place_or_skip!(@found $place.await)
    };
    (@block $runtime:expr, $place:expr) => {
        place_or_skip!(@found $runtime.block_on($place))
    };
    (@found $found:expr) => {
        match $found {
            Some(place) => place,
            None => {
                eprintln!("SKIPPED: no ClickHouse runs here; `cargo xtask services up` starts one");
                return;
            }
        }
    };
}
pub(crate) use place_or_skip;

pub fn located(posted: &[Posted], from: i64) -> Vec<Located> {
    let place = |(offset, posted): (i64, &Posted)| Located {
        partition: 3,
        offset,
        at: START.plus_ms(7),
        posted: posted.clone(),
    };
    (from..).zip(posted).map(place).collect()
}

/// Everything into its table.
pub async fn store(writer: &Writer, posted: &[Posted], token: &str) {
    for topic in Topic::ALL {
        let own: Vec<Posted> = posted.iter().filter(|p| p.topic == topic).cloned().collect();
        let messages = located(&own, 0);
        let Some((rows, dead)) = Rows::of(topic, &messages) else { continue };
        assert!(dead.is_empty(), "{dead:?}");
        if !rows.is_empty() {
            writer.insert(&format!("{token}/{topic}"), &rows).await.unwrap();
            assert!(writer.holds(&rows).await.unwrap(), "{topic}");
        }
    }
}

#[tokio::test]
async fn it_answers_as_every_event_store_does() {
    let place = place_or_skip!(Place::ready("contract"));
    let (writer, reader) = (Writer::new(&place.user("ingest")), ClickHouseStore::new(&place.user("reader")));
    store(&writer, &everything(), "first").await;
    check_everything(&reader).await;
    store(&writer, &everything(), "again").await;
    check_everything(&reader).await;
    for table in ["events", "findings", "plans", "receipts", "risk", "dead_letters"] {
        place.run(&format!("TRUNCATE TABLE $.{table}")).await;
    }
    store(&writer, &tied().iter().map(post).collect::<Vec<_>>(), "tied").await;
    check_pages(&reader).await;
    let calls = reader.calls_since("default", "aws:user:1", START.plus_ms(40)).await.unwrap();
    assert!(!calls.is_empty() && calls.is_sorted_by_key(|e| e.time) && calls[0].time >= START.plus_ms(40));
    place.run("TRUNCATE TABLE $.events").await;
    store(&writer, &risks(), "risks").await;
    check_risks(&reader).await;
    place.end().await;
}

#[tokio::test]
async fn the_schema_is_made_once_and_a_newer_or_changed_one_is_refused() {
    let place = place_or_skip!(Place::new("schema"));
    let schema = Schema::of(&place.server).unwrap();
    let refused = async || schema.check().await.unwrap_err().to_string();
    assert!(refused().await.contains("run `prunella schema apply`"));
    assert_eq!(schema.apply().await.unwrap(), Applied { before: 0, now: 5 });
    assert_eq!(schema.apply().await.unwrap(), Applied { before: 5, now: 5 });
    schema.check().await.unwrap();
    Schema::of(&place.user("reader")).unwrap().check().await.unwrap();

    place.run("ALTER TABLE $.findings MODIFY COLUMN confidence UInt16").await;
    let text = refused().await;
    assert!(text.contains("`findings.confidence UInt8`") && text.contains("by hand"), "{text}");
    place.run("ALTER TABLE $.findings MODIFY COLUMN confidence UInt8").await;
    place.run("INSERT INTO $.schema_version (version, shape) VALUES (99, [])").await;
    for error in [schema.check().await.unwrap_err(), schema.apply().await.unwrap_err()] {
        assert!(
            matches!(&error, PortError::Corrupt(t) if t.contains("newer prunella") && t.contains("upgrade")),
            "{error}"
        );
    }
    let odd = Server { database: "a; DROP".into(), ..place.server.clone() };
    assert!(matches!(Schema::of(&odd).err(), Some(PortError::Invalid(_))));
    place.end().await;
}

#[tokio::test]
async fn who_may_not_or_cannot_be_reached_is_told_so_in_words() {
    let place = place_or_skip!(Place::ready("rights"));
    let messages = located(&[post(&event(1))], 0);
    let (rows, _) = Rows::of(Topic::Events, &messages).unwrap();
    let wrong = Server { password: "guess".into(), ..place.user("ingest") };
    let cases = [
        (wrong.clone(), "password"),
        (place.user("reader"), "reader"),
        (Server { database: "prunella_nowhere".into(), ..place.user("ingest") }, "schema apply"),
    ];
    for (server, word) in cases {
        let error = Writer::new(&server).insert("t", &rows).await.unwrap_err();
        assert!(matches!(&error, InsertError::Refused(_)) && error.to_string().contains(word), "{error}");
    }
    let error = ClickHouseStore::new(&wrong).events(&Query::default()).await.unwrap_err();
    assert!(error.to_string().contains("check the user, its password file"), "{error}");
    assert!(!error.to_string().contains("guess"), "{error}");
    let away = Server { url: "http://127.0.0.1:9".into(), ..place.user("ingest") };
    assert!(matches!(Writer::new(&away).cancel("t").await, Err(PortError::Unavailable(_))));
    place.end().await;
}

#[tokio::test]
async fn times_ten_years_off_and_messages_that_do_not_read_stop_nothing() {
    let place = place_or_skip!(Place::ready("hostile"));
    let writer = Writer::new(&place.user("ingest"));
    let odd = |n: i64| {
        let mut event = event(n);
        event.time = START.plus_ms((n - 100) * YEAR_MS / 10);
        event.identify();
        post(&event)
    };
    let mut posted: Vec<Posted> = (0..201).map(odd).collect();
    for (n, time) in [(900, i64::MIN), (901, i64::MAX)] {
        let mut event = event(n);
        event.time = Timestamp(time);
        event.identify();
        posted.push(post(&event));
    }
    let mut newer = post(&event(501));
    newer.version = 9;
    let poison = [b"{".to_vec(), b"\xff\xfe".to_vec(), Vec::new(), br#"{"class_uid":"x"}"#.to_vec()];
    let poison: Vec<Posted> = poison.into_iter().map(|bytes| Posted { bytes, ..post(&event(500)) }).collect();
    for (n, bad) in poison.iter().chain([&newer]).enumerate() {
        posted.insert(n * 40, bad.clone());
    }
    let messages = located(&posted, 0);
    assert_eq!(portion(&messages), messages.len());
    let (rows, dead) = Rows::of(Topic::Events, &messages).unwrap();
    assert_eq!((rows.len(), dead.len()), (203, 5));
    assert!(dead.iter().any(|d| d.detail.contains("upgrade prunella")));
    writer.insert("t", &rows).await.unwrap();
    assert!(writer.holds(&rows).await.unwrap());
    assert_eq!(place.number("SELECT count() FROM $.events").await, 203);
    assert!(place.number("SELECT uniqExact(day) FROM $.events").await <= 32);
    let reader = ClickHouseStore::new(&place.user("reader"));
    let seen = reader.events(&Query { limit: 1_000, ..Query::default() }).await.unwrap().rows;
    assert_eq!(seen.len(), 203);
    assert_eq!(
        (seen[0].time, seen[202].time),
        (Timestamp(i64::MAX), Timestamp(i64::MIN)),
        "true times are kept"
    );
    assert!(reader.dashboard(None).await.unwrap().events == 203);

    let letters: Vec<Posted> = dead.iter().map(|d: &DeadLetter| Posted::new(d, START)).collect();
    store(&writer, &letters, "dead").await;
    assert_eq!(reader.dead_letters(&Query::default()).await.unwrap().rows.len(), 5);
    place.end().await;
}

/// The manifest that outlives a killed sink.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<Entry>>>);

impl Manifest for Kept {
    fn say(&mut self, entry: &Entry) -> Result<(), PortError> {
        *self.0.lock().unwrap() = Some(entry.clone());
        Ok(())
    }
}

/// Where an insert goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Killed with the intent in the manifest, nothing sent.
    BeforeInsert,
    /// The connection breaks in the middle of the rows.
    Half,
    /// The rows are there, the acknowledgement is lost.
    AfterInsert,
    /// The rows are there, and the process is killed before it learns it.
    KilledAfterInsert,
}

struct Flaky {
    lane: Lane,
    cuts: Arc<Mutex<Vec<Cut>>>,
}

const KILLED: &str = "killed";

impl Target<Rows<'_>> for Flaky {
    fn insert(&mut self, token: &str, rows: &Rows<'_>) -> Result<(), InsertError> {
        let cut = self.cuts.lock().unwrap().pop();
        let dead = || InsertError::Refused(PortError::Unavailable(KILLED.into()));
        match cut {
            None => self.lane.insert(token, rows),
            Some(Cut::BeforeInsert) => Err(dead()),
            Some(Cut::Half) => {
                let Rows::Events(all) = rows else { panic!("events") };
                let half = Rows::Events(all[..all.len() / 2].to_vec());
                self.lane.insert(token, &half)?;
                Err(InsertError::Unknown("reset".into()))
            }
            Some(Cut::AfterInsert) => {
                self.lane.insert(token, rows)?;
                Err(InsertError::Unknown("reset".into()))
            }
            Some(Cut::KilledAfterInsert) => {
                self.lane.insert(token, rows)?;
                Err(dead())
            }
        }
    }

    fn cancel(&mut self, token: &str) -> Result<(), PortError> {
        self.lane.cancel(token)
    }

    fn holds(&mut self, rows: &Rows<'_>) -> Result<bool, PortError> {
        self.lane.holds(rows)
    }
}

#[tokio::test]
async fn a_sink_cut_off_at_every_step_loses_nothing_and_stores_nothing_twice() {
    let place = place_or_skip!(Place::ready("cuts"));
    let lane =
        Lane { writer: Writer::new(&place.user("ingest")), runtime: tokio::runtime::Handle::current() };
    let events: Vec<Posted> = (0..600).map(|n| post(&event(n))).collect();
    let work = move || {
        let (kept, cuts) = (Kept::default(), Arc::new(Mutex::new(Vec::new())));
        let (mut size, mut kills, mut batch) = (37, 0, 0);
        let kinds = [Cut::BeforeInsert, Cut::Half, Cut::AfterInsert, Cut::KilledAfterInsert];
        loop {
            // A new process: it knows the manifest and nothing else, and cuts its batches in its own way.
            size = size * 7 % 31 + 10;
            let entry = kept.0.lock().unwrap().clone();
            let target = Flaky { lane: lane.clone(), cuts: Arc::clone(&cuts) };
            let mut delivery = Delivery::resume("sink/events/3", entry, kept.clone(), target);
            loop {
                let (start, end) = match delivery.next() {
                    Next::Again { start, end } => (start, end),
                    Next::From(600) => {
                        delivery.rest().unwrap();
                        return (kept.0.lock().unwrap().clone().unwrap(), kills);
                    }
                    Next::From(start) => {
                        // Each batch meets one way of going wrong, some two.
                        cuts.lock().unwrap().clear();
                        cuts.lock().unwrap().push(kinds[batch % 4]);
                        if batch % 3 == 0 {
                            cuts.lock().unwrap().push(kinds[batch / 4 % 4]);
                        }
                        batch += 1;
                        (start, (start + size).min(600))
                    }
                };
                let messages = located(&events[start as usize..end as usize], start);
                let (rows, _) = Rows::of(Topic::Events, &messages).unwrap();
                match delivery.deliver(start, end, &rows) {
                    Ok(()) => {}
                    Err(e) if e.to_string().contains(KILLED) => {
                        kills += 1;
                        break;
                    }
                    Err(e) => panic!("{e}"),
                }
            }
        }
    };
    let (entry, kills) = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(entry, Entry { end: 600, intent: None });
    assert!(kills >= 8, "{kills}");
    let exact = "SETTINGS do_not_merge_across_partitions_select_final = 1";
    assert_eq!(place.number(&format!("SELECT count() FROM $.events FINAL {exact}")).await, 600);
    assert_eq!(place.number("SELECT uniqExact(uid) FROM $.events").await, 600);
    assert!(place.number("SELECT count() FROM $.events").await > 600, "repeats did happen, and are harmless");
    place.end().await;
}

/// The control: trusting tokens alone, on the same server, with the same half insert.
#[tokio::test]
async fn a_sink_that_trusts_its_token_loses_rows() {
    let place = place_or_skip!(Place::ready("control"));
    let writer = Writer::new(&place.user("ingest"));
    let events: Vec<Posted> = (0..100).map(|n| post(&event(n))).collect();
    let messages = located(&events, 0);
    let (half, _) = Rows::of(Topic::Events, &messages[..50]).unwrap();
    let (all, _) = Rows::of(Topic::Events, &messages).unwrap();
    writer.insert("v1/token", &half).await.unwrap();
    writer.insert("v1/token", &all).await.unwrap();
    assert_eq!(place.number("SELECT count() FROM $.events").await, 50, "acknowledged, and not there");
    assert!(!writer.holds(&all).await.unwrap(), "verifying sees it");
    writer.insert("v1/token/1", &all).await.unwrap();
    assert!(writer.holds(&all).await.unwrap());
    let ids: BTreeSet<_> = events.iter().map(|p| p.id).collect();
    assert_eq!(place.number("SELECT uniqExact(uid) FROM $.events").await, ids.len() as u64);
    place.end().await;
}
