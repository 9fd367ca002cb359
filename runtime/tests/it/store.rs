//! The embedded store and what every database file of ours has in common: repeats, pages, counts, damage, full disks.

use prunella_runtime::sqlite::{StoreError, open};
use prunella_runtime::store::{Row, Shed, SqliteStore, StoreWriter, Written};
use prunella_schemas::finding::{Attack, Named};
use prunella_schemas::ocsf::{API_ACTIVITY, Api};
use prunella_schemas::plan::Plan;
use prunella_schemas::port::{PortError, Query, Store};
use prunella_schemas::risk::{RISK_HALF_LIFE_MS, RiskLevel};
use prunella_schemas::{
    DeadLetter, Event, Finding, Id, Message, PlanState, Posted, Principal, Receipt, Record, RejectReason,
    Risk, Tenant, Timestamp, Transition,
};
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
    let mut posted: Vec<Posted> = (0..10).map(|n| post(&event(n))).collect();
    posted.extend([post(&finding(1, 4)), post(&finding(2, 5)), post(&dead_letter(5))]);
    posted.extend([post(&transition(0, PlanState::Planned)), post(&transition(1, PlanState::Verified))]);
    let receipt = Receipt::of(&transition(1, PlanState::Verified).plan, PlanState::Verified, 2, 1, START);
    posted.extend([post(&receipt), post(&risk("a", 80.0, START)), post(&risk("b", 60.0, START))]);
    posted.push(post(&dead_letter(5).record));
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

    assert_eq!(store.event(event(3).id()).await.unwrap(), Some(event(3)));
    assert_eq!(store.event(Id([9; 16])).await.unwrap(), None);
    assert_eq!(store.finding(finding(1, 4).id()).await.unwrap(), Some(finding(1, 4)));
    assert_eq!(store.receipt(receipt.id()).await.unwrap(), Some(receipt));
    let plans = store.plans(&Query::default()).await.unwrap().rows;
    assert_eq!(plans, [transition(1, PlanState::Verified)], "the newest transition of the plan");
    let steps = store.plan(Id([7; 16])).await.unwrap();
    assert_eq!(steps.iter().map(|t| t.sequence).collect::<Vec<_>>(), [0, 1]);

    let dashboard = store.dashboard(None).await.unwrap();
    let counts = (dashboard.events, dashboard.findings, dashboard.receipts, dashboard.dead_letters);
    assert_eq!(counts, (10, 2, 1, 1));
    assert_eq!(dashboard.findings_by_technique.get("T1110"), Some(&2));
    assert_eq!(dashboard.findings_by_severity.values().sum::<u64>(), 2);
    assert_eq!(dashboard.plans_by_state.get("verified"), Some(&1));
    assert_eq!(dashboard.newest_event, Some(event(9).time));
    assert_eq!(dashboard.events_per_minute.iter().map(|(_, n)| n).sum::<u64>(), 10);
    assert_eq!(dashboard.riskiest, [("a".to_owned(), 80), ("b".to_owned(), 60)]);
    assert_eq!(store.dashboard(Some("nobody")).await.unwrap().events, 0);
}

#[tokio::test]
async fn queries_filter_and_page_without_gap_or_repeat() {
    let directory = TempDir::new().unwrap();
    let (store, mut writer) = opened(directory.path());
    // Pairs share one time, so that pages must go on inside a tie.
    let tied = |n: i64| {
        let mut event = event(n);
        event.time = START.plus_ms(n / 2);
        event.identify();
        event
    };
    let events: Vec<Event> = (0..100).map(tied).collect();
    write(&mut writer, &events.iter().map(post).collect::<Vec<_>>(), 1);
    let mut query = Query { limit: 7, ..Query::default() };
    let mut seen = Vec::new();
    loop {
        let page = store.events(&query).await.unwrap();
        seen.extend(page.rows.iter().map(|e| (e.time, e.id())));
        match page.next {
            Some(next) => query.before = Some(next),
            None => break,
        }
    }
    let mut expected: Vec<_> = events.iter().map(|e| (e.time, e.id())).collect();
    expected.sort();
    expected.reverse();
    assert_eq!(seen, expected);

    let check = async |query: Query, want: usize| {
        let found = store.events(&Query { limit: 1_000, ..query.clone() }).await.unwrap();
        assert_eq!((found.rows.len(), found.next), (want, None), "{query:?}");
    };
    let text = |s: &str| Some(s.to_owned());
    check(Query { principal: text("aws:user:1"), ..Query::default() }, 33).await;
    check(Query { operation: text("GetObject"), ..Query::default() }, 50).await;
    check(Query { tenant: text("other"), ..Query::default() }, 0).await;
    check(Query { severity_min: Some(2), ..Query::default() }, 0).await;
    check(Query { since: Some(START.plus_ms(10)), until: Some(START.plus_ms(19)), ..Query::default() }, 20)
        .await;
    let hostile = Query { principal: text("' OR 1=1 --"), before: text("1:00"), ..Query::default() };
    assert!(matches!(store.events(&hostile).await, Err(PortError::Invalid(_))));

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
    let mut late = event(0);
    late.time = START.plus_ms(RISK_HALF_LIFE_MS);
    late.prunella.received = late.time;
    late.identify();
    let mut ahead = event(1);
    ahead.time = START.plus_ms(1_000 * RISK_HALF_LIFE_MS);
    ahead.prunella.received = START;
    ahead.identify();
    let risks = [risk("old", 90.0, START), risk("new", 50.0, late.time), risk("new", 10.0, START)];
    let mut posted = vec![post(&late), post(&ahead)];
    posted.extend(risks.iter().map(post));
    write(&mut writer, &posted, 1);
    let dashboard = store.dashboard(None).await.unwrap();
    assert_eq!(dashboard.newest_event, Some(late.time));
    assert_eq!(dashboard.riskiest, [("new".to_owned(), 50), ("old".to_owned(), 45)]);
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
