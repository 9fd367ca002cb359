//! Blobs that grow, change, go, or are more than lines.

use crate::bench::{Azurite, bench, put, refusal};
use azure_core::time::OffsetDateTime;
use prunella_schemas::port::{Cursor, Page, Source};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

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

/// Where Azure Monitor writes now.
fn this_hour() -> String {
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    format!("tenantId=t/y={year}/m={month:02}/d={day:02}/h={:02}/m=00/PT1H.json", now.hour())
}

/// The ranges that are asked for while blobs are read.
fn ranges(azurite: &Azurite) -> Arc<Mutex<Vec<String>>> {
    let ranges: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&ranges);
    azurite.gate.meddle(move |asked| {
        let range = asked.headers.get("x-ms-range").or_else(|| asked.headers.get("range"))?;
        seen.lock().unwrap().push(range.to_str().unwrap().to_owned());
        None
    });
    ranges
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_blob_that_grows_only_the_new_lines_are_fetched() {
    let Some(azurite) = bench().await else { return };
    let (name, mut cursor, ranges) = (this_hour(), Cursor::default(), ranges(&azurite));
    let steps = [
        ("{\"n\":1}\n", vec!["{\"n\":1}\n"], "bytes=0-7"),
        ("{\"n\":2}\n{\"n\":", vec!["{\"n\":2}\n"], "bytes=8-20"),
        ("3}\n", vec!["{\"n\":3}\n"], "bytes=16-23"),
    ];
    for (text, expected, range) in steps {
        azurite.append(&name, text).await;
        // Each time as a new process.
        let pages = read_all(&azurite.keyed(), &mut cursor).await;
        assert_eq!(bodies(&pages), expected);
        assert_eq!(ranges.lock().unwrap().last().map(String::as_str), Some(range));
        let upload = &pages.iter().find_map(|page| page.bodies.first()).unwrap().upload;
        assert_eq!(
            (upload.content_type.as_str(), upload.source.as_str()),
            ("application/x-ndjson", "azure.storage")
        );
        assert!(upload.origin.contains(&name) && !upload.origin.contains("sig="), "{}", upload.origin);
    }
    let asked = ranges.lock().unwrap().len();
    assert!(bodies(&read_all(&azurite.keyed(), &mut cursor).await).is_empty());
    assert_eq!(ranges.lock().unwrap().len(), asked, "nothing new, nothing fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_was_replaced_by_a_shorter_one_is_read_again_and_that_is_said() {
    let Some(azurite) = bench().await else { return };
    let (name, mut cursor, source) = (this_hour(), Cursor::default(), azurite.keyed());
    azurite.append(&name, "{\"n\":1}\n{\"n\":2}\n").await;
    read_all(&source, &mut cursor).await;
    azurite.client.blob_client(&name).delete(None).await.unwrap();
    azurite.append(&name, "{\"n\":3}\n").await;
    let pages = read_all(&source, &mut cursor).await;
    assert_eq!(bodies(&pages), ["{\"n\":3}\n"]);
    assert!(pages.iter().any(|page| page.problems.iter().any(|p| p.contains("was replaced"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_array_is_one_document() {
    let Some(azurite) = bench().await else { return };
    let array = "[{\"n\":1},\n{\"n\":2}]\n";
    azurite.put("export/activity.json", array).await;
    let pages = read_all(&azurite.keyed(), &mut Cursor::default()).await;
    assert_eq!(bodies(&pages), [array]);
    assert_eq!(pages[0].bodies[0].upload.content_type, "application/json");
}

/// The service refuses the range of a blob that is no longer the listed one; the next look reads the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_changes_between_listing_and_reading_is_read_as_it_is_then() {
    let Some(azurite) = bench().await else { return };
    azurite.put("a.json", "{\"n\":1}\n").await;
    let (client, changed) = (Arc::clone(&azurite.client), AtomicBool::new(false));
    azurite.gate.meddle(move |asked| {
        if asked.headers.contains_key("if-match") && !changed.swap(true, Ordering::Relaxed) {
            let client = Arc::clone(&client);
            let write = move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(put(&client, "a.json", "{\"n\":2,\"longer\":true}\n"));
            };
            std::thread::spawn(write).join().unwrap();
        }
        None
    });
    let (source, mut cursor) = (azurite.keyed(), Cursor::default());
    let mut pages = read_all(&source, &mut cursor).await;
    assert!(bodies(&pages).is_empty(), "{:?}", bodies(&pages));
    pages = read_all(&source, &mut cursor).await;
    assert_eq!(bodies(&pages), ["{\"n\":2,\"longer\":true}\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_cannot_be_read_is_told_and_stops_no_other() {
    let Some(azurite) = bench().await else { return };
    azurite.put("a.json", "{\"n\":1}\n").await;
    azurite.put("b.json", "{\"n\":2}\n").await;
    for code in ["BlobArchived", "BlobUsesCustomerSpecifiedEncryption"] {
        azurite
            .gate
            .meddle(move |asked| asked.uri.path().ends_with("a.json").then(|| refusal(409, code, "")));
        let pages = read_all(&azurite.keyed(), &mut Cursor::default()).await;
        assert_eq!(bodies(&pages), ["{\"n\":2}\n"]);
        let problems: Vec<&String> = pages.iter().flat_map(|page| &page.problems).collect();
        assert!(problems.len() == 1 && problems[0].contains(code), "{problems:?}");
    }
}
