//! Objects that change, are large, or cannot be read.

use crate::bench::{bench, put, refusal};
use prunella_contract::Bench;
use prunella_schemas::port::{Cursor, Page, Source, SourceError};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const ACTIVITY: &str = "cloudaudit.googleapis.com/activity/2026/03/01";

async fn read_all(source: &Arc<dyn Source>, cursor: &mut Cursor) -> Vec<Page> {
    let mut pages = Vec::new();
    loop {
        let page = source.read(cursor).await.unwrap();
        *cursor = page.next.clone();
        let caught_up = page.caught_up;
        pages.push(page);
        if caught_up {
            return pages;
        }
    }
}

fn bodies(pages: &[Page]) -> Vec<String> {
    let bodies = pages.iter().flat_map(|page| &page.bodies);
    bodies.map(|body| String::from_utf8(body.upload.body.clone()).unwrap()).collect()
}

/// A listing names generations, and a generation is read or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_between_listing_and_reading_is_read_as_it_is_then() {
    let Some(gcs) = bench().await else { return };
    let name = format!("{ACTIVITY}/08:00:00_08:59:59_S0.json");
    gcs.put(&name, "{\"n\":1}\n").await;
    let ((address, bucket), changed) = (gcs.writer(), AtomicBool::new(false));
    gcs.gate.meddle(move |asked| {
        let reads = asked.uri.query().is_some_and(|query| query.contains("alt=media"));
        if reads && !changed.swap(true, Ordering::Relaxed) {
            let (address, bucket, name) = (address.clone(), bucket.clone(), name.clone());
            let write = move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let http = reqwest::Client::new();
                runtime.block_on(put(&http, &address, &bucket, &name, "{\"n\":2}\n{\"n\":3}\n"));
            };
            std::thread::spawn(write).join().unwrap();
        }
        None
    });
    let (source, mut cursor) = (gcs.source().await, Cursor::default());
    let mut pages = read_all(&source, &mut cursor).await;
    pages.extend(read_all(&source, &mut cursor).await);
    assert_eq!(bodies(&pages), ["{\"n\":2}\n{\"n\":3}\n"]);
}

/// A shard of a busy hour is larger than a portion.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_comes_in_portions_of_whole_lines() {
    let Some(gcs) = bench().await else { return };
    let pad = "x".repeat(1_000);
    let text: String = (0..20_000).map(|n| format!("{{\"n\":{n},\"pad\":\"{pad}\"}}\n")).collect();
    gcs.put(&format!("{ACTIVITY}/09:00:00_09:59:59_S0.json"), &text).await;
    let pages = read_all(&gcs.source().await, &mut Cursor::default()).await;
    let got = bodies(&pages);
    assert!(got.len() > 2 && got.iter().all(|body| body.ends_with('\n')));
    assert!(got.concat() == text, "every byte, once, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_key_nobody_has_is_told_and_stops_no_other() {
    let Some(gcs) = bench().await else { return };
    gcs.put(&format!("{ACTIVITY}/08:00:00_08:59:59_S0.json"), "{\"n\":1}\n").await;
    gcs.put(&format!("{ACTIVITY}/09:00:00_09:59:59_S0.json"), "{\"n\":2}\n").await;
    gcs.gate.meddle(|asked| {
        let first = asked.uri.path().contains("08:00:00") || asked.uri.path().contains("08%3A00%3A00");
        let locked = || {
            refusal(
                400,
                "resourceIsEncryptedWithCustomerEncryptionKey",
                "The target object is encrypted by a customer-supplied encryption key.",
            )
        };
        first.then(locked)
    });
    let pages = read_all(&gcs.source().await, &mut Cursor::default()).await;
    assert_eq!(bodies(&pages), ["{\"n\":2}\n"]);
    let problems: Vec<&String> = pages.iter().flat_map(|page| &page.problems).collect();
    assert!(problems.len() == 1 && problems[0].contains("08:00:00"), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_refused_and_the_check_says_what_to_set_up() {
    let Some(gcs) = bench().await else { return };
    let source = gcs.source_with(&json!({ "bucket": "nowhere", "logs": ["activity", "policy"] }));
    let refused = source.read(&Cursor::default()).await.unwrap_err();
    assert!(matches!(&refused, SourceError::Refused(text) if text.contains("no such bucket")), "{refused:?}");
    let checkup = source.check().await;
    assert!(!checkup.is_well() && checkup.steps.len() == 2, "{checkup:?}");
    for word in ["roles/storage.objectViewer", "sinks create", "log_id(\"cloudaudit.googleapis.com/policy\")"]
    {
        assert!(checkup.policy.contains(word), "{word} in {}", checkup.policy);
    }
}
