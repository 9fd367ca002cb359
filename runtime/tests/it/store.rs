//! The embedded store and what every database file of ours has in common: repeats, pages, counts, damage, full disks.

use crate::contract::{
    START, check_everything, check_pages, check_risks, dead_letter, event, everything, finding, post, risks,
    tied, transition,
};
use prunella_runtime::sqlite::{StoreError, open};
use prunella_runtime::store::{Row, Shed, SqliteStore, StoreWriter, Written};
use prunella_schemas::port::{PortError, Query, Store};
use prunella_schemas::{Message, PlanState, Posted, Timestamp};
use std::path::Path;
use tempfile::TempDir;

fn write(writer: &mut StoreWriter, posted: &[Posted], position: i64) -> Written {
    let rows: Vec<Row<'_>> = posted.iter().filter_map(|p| Row::of(p).unwrap()).collect();
    writer.write(&rows, position).unwrap()
}

fn opened(directory: &Path) -> (SqliteStore, StoreWriter) {
    let path = directory.join("store.db");
    (SqliteStore::open(&path).unwrap(), StoreWriter::open(&path).unwrap())
}

#[tokio::test]
async fn what_is_written_is_found_and_a_repeat_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let posted = everything();
    {
        let (_, mut writer) = opened(directory.path());
        assert_eq!(writer.position().unwrap(), 0);
        assert_eq!(
            write(&mut writer, &posted, 41),
            Written { new: 18, repeated: 0 },
            "records are not stored"
        );
    }
    let (store, mut writer) = opened(directory.path());
    assert_eq!(writer.position().unwrap(), 41);
    assert_eq!(write(&mut writer, &posted, 42), Written { new: 0, repeated: 18 });
    assert_eq!(writer.position().unwrap(), 42);
    check_everything(&store).await;
}

#[tokio::test]
async fn queries_filter_and_page_without_gap_or_repeat() {
    let directory = TempDir::new().unwrap();
    let (store, mut writer) = opened(directory.path());
    write(&mut writer, &tied().iter().map(post).collect::<Vec<_>>(), 1);
    check_pages(&store).await;
    let calls = store.calls_since("default", "aws:user:1", START.plus_ms(40)).await.unwrap();
    assert!(!calls.is_empty() && calls.is_sorted_by_key(|e| e.time) && calls[0].time >= START.plus_ms(40));
}

#[tokio::test]
async fn dead_letters_are_resolved_and_return_when_refused_again() {
    let directory = TempDir::new().unwrap();
    let (store, mut writer) = opened(directory.path());
    write(&mut writer, &[post(&dead_letter(5))], 1);
    let id = dead_letter(5).id();
    assert!(store.resolve_dead_letter(id, START.plus_ms(6)).await.unwrap());
    assert!(!writer.resolve_dead_letter(id, START.plus_ms(6)).unwrap(), "only once");
    assert!(store.dead_letters(&Query::default()).await.unwrap().rows.is_empty());
    assert!(store.dead_letter(id).await.unwrap().is_some(), "it is kept");
    assert_eq!(store.dashboard(None).await.unwrap().dead_letters, 0);
    write(&mut writer, &[post(&dead_letter(5)), post(&dead_letter(6))], 2);
    assert_eq!(store.dead_letters(&Query::default()).await.unwrap().rows, [dead_letter(6)]);
    assert_eq!(store.dashboard(None).await.unwrap().dead_letters, 1);
}

#[tokio::test]
async fn risk_decays_on_the_front_page_and_a_fast_clock_does_not_move_it() {
    let directory = TempDir::new().unwrap();
    let (store, mut writer) = opened(directory.path());
    write(&mut writer, &risks(), 1);
    check_risks(&store).await;
}

#[tokio::test]
async fn retention_takes_the_oldest_and_the_counts_follow() {
    let directory = TempDir::new().unwrap();
    let (store, mut writer) = opened(directory.path());
    let at = |n: i64| START.plus_ms(n * 1_000);
    let events: Vec<Posted> = (0..5_000).map(|n| Posted::new(&event(n), at(n))).collect();
    write(&mut writer, &events, 1);
    write(&mut writer, &[Posted::new(&finding(1, 4), at(1)), Posted::new(&finding(2, 4), at(9_999))], 2);
    assert_eq!(writer.retain(at(3_000), u64::MAX).unwrap(), Shed { by_age: 3_001, by_size: 0 });
    let dashboard = store.dashboard(None).await.unwrap();
    assert_eq!((dashboard.events, dashboard.findings), (2_000, 1));
    assert_eq!(dashboard.findings_by_technique.get("T1110"), Some(&1));
    assert!(store.event(event(2_999).id()).await.unwrap().is_none());
    assert!(store.event(event(3_000).id()).await.unwrap().is_some());
    let shed = writer.retain(Timestamp::ZERO, 0).unwrap();
    assert_eq!(shed, Shed { by_age: 0, by_size: 2_000 });
    let dashboard = store.dashboard(None).await.unwrap();
    assert_eq!((dashboard.events, dashboard.findings, dashboard.newest_event), (0, 1, None));
}

#[tokio::test]
async fn retention_keeps_a_plan_that_somebody_may_still_decide_on() {
    let directory = TempDir::new().unwrap();
    let (store, mut writer) = opened(directory.path());
    let day = |n: i64| START.plus_ms(n * 86_400_000);
    write(&mut writer, &[Posted::new(&transition(0, PlanState::AwaitingApproval), START)], 1);
    let plan = transition(0, PlanState::Planned).plan_uid;
    assert_eq!(writer.retain(day(20), u64::MAX).unwrap(), Shed::default());
    assert_eq!(store.plan(plan).await.unwrap().len(), 1);
    write(&mut writer, &[Posted::new(&transition(1, PlanState::Rejected), START)], 2);
    assert_eq!(writer.retain(day(20), u64::MAX).unwrap(), Shed { by_age: 1, by_size: 0 });
    assert!(store.plan(plan).await.unwrap().is_empty());
    write(&mut writer, &[Posted::new(&transition(0, PlanState::AwaitingApproval), START)], 3);
    assert_eq!(writer.retain(day(61), u64::MAX).unwrap(), Shed { by_age: 1, by_size: 0 });
}

#[test]
fn readers_go_on_while_the_writer_is_inside_a_transaction() {
    let directory = TempDir::new().unwrap();
    let (store, mut writer) = opened(directory.path());
    write(&mut writer, &[post(&event(0))], 1);
    let raw = rusqlite::Connection::open(directory.path().join("store.db")).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE; DELETE FROM event;").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(store.event(event(0).id())).unwrap().is_some(), "sees the state before");
    raw.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn files_that_are_not_ours_or_newer_or_damaged_are_refused_in_words() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.db");
    let schema: &[&str] = &["CREATE TABLE t (x)"];
    let raw = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let refused = |kind: &'static str| open(&path, kind, schema).err().map(|e| (e.to_string(), e));

    drop(open(&path, "one", schema).unwrap());
    assert!(refused("one").is_none(), "its own file opens again");
    let Some((text, StoreError::OtherKind { .. })) = refused("two") else { panic!("another kind") };
    assert!(text.contains("not a prunella two database"), "{text}");
    raw("PRAGMA user_version = 9");
    let Some((text, StoreError::Newer { .. })) = refused("one") else { panic!("newer") };
    assert!(text.contains("was written by a newer prunella") && text.contains("upgrade"), "{text}");

    std::fs::remove_file(&path).unwrap();
    raw("CREATE TABLE somebody_elses (x)");
    assert!(matches!(refused("one"), Some((_, StoreError::OtherKind { .. }))));
    std::fs::write(&path, b"this is no database, it is a text of more than one hundred bytes ".repeat(4))
        .unwrap();
    let Some((text, StoreError::Corrupt { .. })) = refused("one") else { panic!("not a database") };
    assert!(text.contains("damaged") && text.contains("restore"), "{text}");

    std::fs::remove_file(&path).unwrap();
    let connection = open(&path, "one", schema).unwrap();
    connection.execute_batch("INSERT INTO t SELECT randomblob(3000) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<50) SELECT i FROM n); PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(connection);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..12288].fill(0xee);
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(refused("one"), Some((_, StoreError::Corrupt { .. }))), "a damaged page");
}

#[test]
fn a_migration_runs_once_and_a_broken_one_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("deep/er/x.db");
    drop(open(&path, "one", &["CREATE TABLE a (x)"]).unwrap());
    assert!(open(&path, "one", &["CREATE TABLE a (x)", "CREATE TABLE b (x); CREATE TABLE a (x)"]).is_err());
    let connection = open(&path, "one", &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap();
    connection.execute_batch("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&path.with_extension("db-wal")), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
}

#[test]
fn places_that_cannot_be_written_say_so() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = StoreWriter::open(&file.join("store.db")).err().unwrap();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    let error = open(directory.path(), "one", &["CREATE TABLE a (x)"]).err().unwrap();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let closed = directory.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
        if std::fs::write(closed.join("probe"), "x").is_ok() {
            eprintln!("SKIPPED: the read-only directory: this user may write everywhere");
            return;
        }
        let error = StoreWriter::open(&closed.join("store.db")).err().unwrap();
        assert!(error.to_string().contains("right to write"), "{error}");
    }
}

#[test]
fn a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_room() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.db");
    let mut connection = open(&path, "one", &["CREATE TABLE t (x)"]).unwrap();
    connection.execute_batch("INSERT INTO t VALUES ('kept'); PRAGMA max_page_count = 8").unwrap();
    let transaction = connection.transaction().unwrap();
    let error = transaction.execute("INSERT INTO t VALUES (zeroblob(200000))", []).unwrap_err();
    let error = prunella_runtime::sqlite::describe(&path, &error);
    assert!(matches!(&error, StoreError::Full { .. }) && error.to_string().contains("free space"), "{error}");
    assert!(matches!(PortError::from(error), PortError::Full(_)));
    drop(transaction);
    connection
        .execute_batch("PRAGMA max_page_count = 1000; INSERT INTO t VALUES (zeroblob(200000))")
        .unwrap();
    assert_eq!(connection.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap(), 2);
}

#[tokio::test]
async fn a_reader_without_a_writer_needs_a_file_and_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store.db");
    let missing = SqliteStore::reading(&path).event(event(0).id()).await;
    assert!(matches!(missing, Err(PortError::Unavailable(_))) && !path.exists());
    write(&mut StoreWriter::open(&path).unwrap(), &[post(&event(0))], 1);
    assert!(SqliteStore::reading(&path).event(event(0).id()).await.unwrap().is_some());
}
