//! The cases of the suite. Each gets a bench with an empty place, and asserts.

use crate::{Bench, Fault, Object, Rig};
use prunella_runtime::connect::{ConnectError, Tally};
use prunella_schemas::RejectReason;
use prunella_schemas::port::{CURSOR_BYTES_MAX, SourceError};
use std::collections::BTreeSet;

/// Objects of the largest case.
const MANY: u32 = 10_000;
/// Largest cursor that `MANY` objects may leave behind, in bytes.
const CURSOR_BYTES_FAIR: usize = 1024 * 1024;

/// A source that was never read gives everything, once, and then nothing.
pub async fn fresh_start(bench: &dyn Bench) {
    let rig = Rig::default();
    let objects = [Object::at(1), Object::at(2), Object::at(61)];
    bench.deliver(&objects).await;
    let tally = rig.run(bench.source().await).await.unwrap();
    assert_eq!((tally.records, tally.duplicates, tally.rejected), (30, 0, 0));
    assert_exactly(&rig, bench, &objects);
    let tally = rig.run(bench.source().await).await.unwrap();
    assert_eq!((tally.records, tally.duplicates), (0, 0), "what was read is not read again");
    assert_eq!(bench.waiting().await, 0);
}

/// A new process carries on where the last one was.
pub async fn resume(bench: &dyn Bench) {
    let rig = Rig::default();
    let objects: Vec<Object> = (0..6).map(Object::at).collect();
    bench.deliver(&objects[..4]).await;
    rig.run(bench.source().await).await.unwrap();
    bench.deliver(&objects[4..]).await;
    let tally = rig.run(bench.source().await).await.unwrap();
    assert_eq!((tally.records, tally.duplicates), (20, 0), "only what is new");
    assert_exactly(&rig, bench, &objects);
}

/// What the provider gives twice, byte for byte or in another object, is on the log once.
pub async fn duplicate_page(bench: &dyn Bench) {
    let rig = Rig::default();
    let object = Object::at(3);
    let again = Object { minute: 4, ..object.clone() };
    bench.deliver(&[object.clone(), again]).await;
    let tally = rig.run(bench.source().await).await.unwrap();
    assert_eq!((tally.records, tally.duplicates), (10, 10));
    assert_exactly(&rig, bench, &[object]);
}

/// An object that appears before those that were read is read all the same.
pub async fn late_object(bench: &dyn Bench) {
    let rig = Rig::default();
    let objects = [Object::at(20), Object::at(21), Object::at(5), Object::at(22)];
    bench.deliver(&objects[..2]).await;
    rig.run(bench.source().await).await.unwrap();
    bench.deliver(&objects[2..]).await;
    let tally = rig.run(bench.source().await).await.unwrap();
    assert_eq!((tally.records, tally.duplicates), (20, 0));
    assert_exactly(&rig, bench, &objects);
}

/// What can be read of a cut object is kept, the rest is a dead letter with its bytes, and what follows is read.
pub async fn truncated_object(bench: &dyn Bench) {
    let rig = Rig::default();
    let cut = Object { cut: true, count: 200, ..Object::at(7) };
    let whole = [Object::at(6), Object::at(8)];
    bench.deliver(&[whole[0].clone(), cut.clone(), whole[1].clone()]).await;
    let tally = rig.run(bench.source().await).await.unwrap();
    assert!(tally.rejected >= 1, "{tally:?}");
    let letters = rig.dead_letters();
    let broken = [RejectReason::BadCompression, RejectReason::NotJson];
    assert!(letters.iter().any(|l| broken.contains(&l.reason) && !l.record.body.is_empty()), "{letters:?}");
    let got: BTreeSet<String> = rig.records().into_iter().collect();
    assert!(wanted(bench, &whole).is_subset(&got), "the whole objects are there");
    assert!(
        got.is_subset(&wanted(bench, &[whole[0].clone(), cut, whole[1].clone()])),
        "and nothing is made up"
    );
}

/// A provider that asks us to slow down is asked again later, and nothing is lost.
pub async fn throttling(bench: &dyn Bench) {
    refused(bench, Fault::Throttled, |e| matches!(e, SourceError::Throttled { .. })).await;
}

/// Credentials that expire are said to have done so; new ones carry on.
pub async fn expired_credentials(bench: &dyn Bench) {
    refused(
        bench,
        Fault::ExpiredCredentials,
        |e| matches!(e, SourceError::Refused(text) if text.to_lowercase().contains("expired")),
    )
    .await;
}

/// A wrong clock of ours is said to be wrong.
pub async fn clock_skew(bench: &dyn Bench) {
    refused(
        bench,
        Fault::ClockSkew,
        |e| matches!(e, SourceError::Refused(text) if text.to_lowercase().contains("clock")),
    )
    .await;
}

/// A missing permission is named, and the check names it too.
pub async fn denied(bench: &dyn Bench) {
    refused(bench, Fault::Denied, |e| matches!(e, SourceError::Refused(text) if !text.is_empty())).await;
    let well = bench.source().await.check().await;
    assert!(well.is_well() && !well.steps.is_empty() && !well.policy.is_empty(), "{well:?}");
    bench.gate().refuse(bench.refusal(Fault::Denied));
    let ill = bench.source().await.check().await;
    assert!(!ill.is_well(), "{ill:?}");
    bench.gate().heal();
}

/// Many objects are read once each, and the cursor stays small.
pub async fn ten_thousand_objects(bench: &dyn Bench) {
    let rig = Rig::default();
    let one = |n| Object { minute: n / 10, first: n, count: 1, cut: false };
    let objects: Vec<Object> = (0..MANY).map(one).collect();
    bench.deliver(&objects).await;
    let tally = rig.run(bench.source().await).await.unwrap();
    assert_eq!((tally.records, tally.duplicates), (u64::from(MANY), 0));
    assert_exactly(&rig, bench, &objects);
    assert!(rig.cursor_bytes() <= CURSOR_BYTES_FAIR.min(CURSOR_BYTES_MAX), "{} bytes", rig.cursor_bytes());
    assert_eq!(rig.run(bench.source().await).await.unwrap().bodies, 0);
}

/// A process that dies after a page is durable and before its cursor is: nothing is lost, repeats are dropped.
pub async fn killed_before_the_cursor(bench: &dyn Bench) {
    let rig = Rig::default();
    let objects: Vec<Object> = (0..5).map(Object::at).collect();
    bench.deliver(&objects).await;
    rig.kill_before_the_cursor(true);
    let died = rig.run(bench.source().await).await.unwrap_err();
    assert!(matches!(died, ConnectError::Cursor(_)), "{died}");
    for _ in 0..2 {
        // A queue holds back for a while what it gave the dead.
        let died = rig.run(bench.source().await).await.err();
        assert!(died.is_none_or(|e| matches!(e, ConnectError::Cursor(_))));
    }
    rig.kill_before_the_cursor(false);
    settle(&rig, bench, &objects).await;
    assert_exactly(&rig, bench, &objects);
    assert_eq!(bench.waiting().await, 0);
}

/// A process that dies after its cursor is kept and before the provider is told: the next one tells it.
pub async fn killed_before_the_acknowledgement(bench: &dyn Bench) {
    let rig = Rig::default();
    let objects: Vec<Object> = (0..5).map(Object::at).collect();
    bench.deliver(&objects).await;
    rig.dies_before_the_acknowledgement.store(true, std::sync::atomic::Ordering::Relaxed);
    rig.run(bench.source().await).await.unwrap();
    rig.dies_before_the_acknowledgement.store(false, std::sync::atomic::Ordering::Relaxed);
    settle(&rig, bench, &objects).await;
    assert_exactly(&rig, bench, &objects);
    assert_eq!(bench.waiting().await, 0);
}

/// Runs until the provider has given again what it holds back for a while.
async fn settle(rig: &Rig, bench: &dyn Bench, objects: &[Object]) -> Tally {
    let mut total = Tally::default();
    let wanted = wanted(bench, objects).len();
    for _ in 0..60 {
        total.add(&rig.run(bench.source().await).await.unwrap());
        if rig.records().len() >= wanted && bench.waiting().await == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    total
}

async fn refused(bench: &dyn Bench, fault: Fault, is_said: fn(&SourceError) -> bool) {
    let rig = Rig::default();
    let objects = [Object::at(1), Object::at(2)];
    bench.deliver(&objects).await;
    bench.gate().refuse(bench.refusal(fault));
    let refused = rig.run(bench.source().await).await.unwrap_err();
    assert!(matches!(&refused, ConnectError::Source(e) if is_said(e)), "{fault:?}: {refused:?}");
    assert_eq!(rig.records().len(), 0);
    bench.gate().heal();
    settle(&rig, bench, &objects).await;
    assert_exactly(&rig, bench, &objects);
}

fn wanted(bench: &dyn Bench, objects: &[Object]) -> BTreeSet<String> {
    objects.iter().flat_map(|o| (o.first..o.first + o.count).map(|n| bench.record(n))).collect()
}

fn assert_exactly(rig: &Rig, bench: &dyn Bench, objects: &[Object]) {
    let (records, wanted) = (rig.records(), wanted(bench, objects));
    let got: BTreeSet<String> = records.iter().cloned().collect();
    assert_eq!(records.len(), got.len(), "nothing is there twice");
    let missing: Vec<&String> = wanted.difference(&got).take(3).collect();
    let extra: Vec<&String> = got.difference(&wanted).take(3).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}, extra {extra:?}");
}
