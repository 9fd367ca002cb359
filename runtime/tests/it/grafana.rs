//! Every panel of every dashboard, asked of a real ClickHouse over events that ingest and detection made; and what an
//! event costs there.

use crate::clickhouse::{Place, located, place_or_skip, store};
use crate::contract::{START, everything, finding, post, risk, transition};
use prunella_detect::Detect;
use prunella_runtime::store::clickhouse::{Rows, Writer};
use prunella_schemas::receipt::LatencyBudget;
use prunella_schemas::{Event, Flag, PlanState, Posted, Receipt, Record, Tenant, Timestamp, Topic};
use prunella_simulate::Traffic;
use prunella_simulate::background::background;
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

const PRINCIPAL: &str = "aws:user:1";
/// Stored bytes per byte of the event's JSON, in hundredths.
const STORED_PERCENT_MAX: u64 = 15;

/// Events of the simulator as ingest makes them.
fn simulated(scale: f64) -> Vec<Event> {
    let end = Timestamp(1_760_000_000_000);
    let mut events = Vec::new();
    for delivery in background(&Traffic { scale, ..Traffic::new(7, end) }) {
        let (source, tenant) = ("aws.cloudtrail".to_owned(), Tenant::default());
        let (received, origin) = (delivery.delivered, "test".to_owned());
        let record = Record { source, tenant, received, origin, body: delivery.written.body };
        prunella_ingest::normalize(&record, &mut events).unwrap();
    }
    events
}

/// A bit of everything: judged events, and one principal with a story.
fn story() -> Vec<Posted> {
    let mut events = simulated(1.0);
    events[0].flag(Flag::DuplicateKey);
    let mut detect = Detect::new(prunella_detect::Config::default());
    let (past, now) = events.split_at(events.len() / 2);
    detect.train(past);
    let mut posted = everything();
    for event in now {
        let verdict = detect.observe(event);
        posted.extend(verdict.score.iter().map(post));
        posted.extend(verdict.signals.iter().map(post));
        posted.extend(verdict.findings.iter().map(post));
    }
    posted.extend(events.iter().map(|event| Posted::new(event, event.prunella.received)));
    let mut found = finding(7, 5);
    found.prunella.principal = PRINCIPAL.into();
    found.identify(b"story");
    let mut done = transition(1, PlanState::Verified);
    done.plan.principal = PRINCIPAL.into();
    done.plan_uid = prunella_schemas::Id([8; 16]);
    done.plan.uid = done.plan_uid;
    let mut receipt = Receipt::of(&done.plan, PlanState::Verified, 2, 1, START);
    receipt.prunella.contained = true;
    receipt.prunella.latency =
        LatencyBudget { total_ms: Some(850), detect_ms: Some(12), ..LatencyBudget::default() };
    posted.extend([post(&found), post(&done), post(&receipt), post(&risk(PRINCIPAL, 88.0, START))]);
    posted
}

/// What the datasource does with its macros and Grafana with its variables.
fn fill_in(sql: &str) -> String {
    let sql = sql.replace("${tenant:sqlstring}", "'default'");
    let sql = sql.replace("${principal:sqlstring}", &format!("'{PRINCIPAL}'"));
    let sql = sql
        .replace("$__timeFilter(time)", "time >= toDateTime64(0, 3) AND time <= toDateTime64(4102444800, 3)");
    let sql =
        sql.replace("$__timeInterval(time)", "toStartOfInterval(toDateTime(time), INTERVAL 3600 second)");
    sql.replace("$__toTime", "toDateTime(1760000000)")
}

async fn ask(client: &clickhouse::Client, sql: &str) -> Vec<Value> {
    let sql = fill_in(sql);
    assert!(!sql.contains('$'), "a macro that this test does not know: {sql}");
    let mut cursor = client.query_raw(&sql).fetch_bytes("JSONEachRow").unwrap();
    let answer = cursor.collect().await.unwrap_or_else(|e| panic!("{e}: {sql}"));
    std::str::from_utf8(&answer).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_panel_shows_something() {
    let place = place_or_skip!(Place::ready("grafana"));
    store(&Writer::new(&place.user("ingest")), &story(), "story").await;
    let reader = place.user("reader");
    let client = clickhouse::Client::default().with_url(&reader.url).with_database(&reader.database);
    let client = client.with_user(&reader.user).with_password(&reader.password);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafana/dashboards");
    let mut panels = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let board: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        for variable in board["templating"]["list"].as_array().unwrap() {
            assert!(!ask(&client, variable["query"].as_str().unwrap()).await.is_empty(), "{variable}");
        }
        for panel in board["panels"].as_array().unwrap() {
            let (title, kind) = (panel["title"].as_str().unwrap(), panel["type"].as_str().unwrap());
            let sql = panel["targets"][0]["rawSql"].as_str().unwrap();
            let rows = ask(&client, sql).await;
            let first = rows.first().unwrap_or_else(|| panic!("{title} shows nothing: {sql}"));
            let columns = first.as_object().unwrap();
            let numbers = columns
                .values()
                .filter(|v| v.is_number() || v.as_str().is_some_and(|s| s.parse::<f64>().is_ok()));
            match kind {
                "timeseries" => {
                    assert!(columns.contains_key("at") && numbers.count() > 0, "{title}: {first}");
                }
                "stat" => assert!(columns.len() == 1 && numbers.count() == 1, "{title}: {first}"),
                "barchart" => assert!(columns.len() == 2 && numbers.count() == 2, "{title}: {first}"),
                _ => assert!(columns.len() > 1 && columns.values().any(|v| !v.is_null()), "{title}: {first}"),
            }
            panels += 1;
        }
    }
    assert!(panels >= 30, "{panels}");
    place.run("DROP DATABASE IF EXISTS $ SYNC").await;
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a rate is measured from outside")]
async fn an_event_takes_a_seventh_of_its_json() {
    let place = place_or_skip!(Place::ready("bytes"));
    let writer = Writer::new(&place.user("ingest"));
    let events = simulated(5.0);
    let posted: Vec<Posted> = events.iter().map(|e| Posted::new(e, e.prunella.received)).collect();
    let json: u64 = posted.iter().map(|p| p.bytes.len() as u64).sum();
    let raw: u64 = events.iter().filter_map(|e| Some(e.raw_data.as_ref()?.text().len() as u64)).sum();
    let messages = located(&posted, 0);
    let (mut made, mut sent) = (0.0, 0.0);
    for (n, chunk) in messages.chunks(10_000).enumerate() {
        let start = Instant::now();
        let (rows, _) = Rows::of(Topic::Events, chunk).unwrap();
        made += start.elapsed().as_secs_f64();
        let start = Instant::now();
        writer.insert(&format!("bytes/{n}"), &rows).await.unwrap();
        sent += start.elapsed().as_secs_f64();
    }
    place.run("OPTIMIZE TABLE $.events FINAL").await;
    let parts = "FROM system.parts WHERE active AND table = 'events' AND database = '$'";
    let stored = place.number(&format!("SELECT sum(bytes_on_disk) {parts}")).await;
    let count = posted.len() as u64;
    assert_eq!(place.number("SELECT count() FROM $.events").await, count);
    eprintln!(
        "{count} events: {} bytes of JSON each ({} of them the record), {} stored ({:.1} %); {:.0} rows/s inserted, {:.0} rows/s made",
        json / count,
        raw / count,
        stored / count,
        100.0 * stored as f64 / json as f64,
        count as f64 / sent,
        count as f64 / made
    );
    assert!(stored * 100 <= json * STORED_PERCENT_MAX, "{stored} of {json}");
    place.run("DROP DATABASE IF EXISTS $ SYNC").await;
}
