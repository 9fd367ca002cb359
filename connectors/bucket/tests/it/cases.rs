//! One case after another: growth, half lines, large objects, bursts, replacements.

use crate::world::{Event, GROWS_MS, Place, bodies};
use prunella_bucket::{KNOWN_MAX, PORTION_BYTES, WHOLE_BYTES_MAX};
use prunella_schemas::port::Cursor;
use std::collections::BTreeSet;

const BEGIN_MS: i64 = 1_800_000_000_000;

fn append(name: &str, text: &str) -> Event {
    Event::Append { name: name.into(), bytes: text.into() }
}

fn put(name: &str, bytes: impl Into<Vec<u8>>) -> Event {
    Event::Put { name: name.into(), bytes: bytes.into() }
}

#[tokio::test]
async fn a_growing_blob_gives_whole_lines_and_at_its_end_the_rest() {
    let place = Place::at(BEGIN_MS);
    let (reader, mut cursor) = (place.reader(), Cursor::default());
    let steps = [
        (append("a", "{\"n\":1}\n{\"n\":2"), vec!["{\"n\":1}\n"]),
        (Event::Pass { ms: 20_000 }, vec![]),
        (append("a", "{\"n\":3"), vec!["{\"n\":2}\n"]),
        (Event::Pass { ms: GROWS_MS - 30_000 }, vec![]),
        (Event::Pass { ms: 30_000 }, vec!["{\"n\":3"]),
        (Event::Pass { ms: GROWS_MS }, vec![]),
    ];
    for (number, (event, expected)) in steps.into_iter().enumerate() {
        place.happen(event);
        let pages = place.read_all(&reader, &mut cursor).await.unwrap();
        assert_eq!(bodies(&pages), expected, "step {number}");
    }
    assert!(!cursor.0.contains("known"), "a closed blob is forgotten: {}", cursor.0);
}

#[tokio::test]
async fn a_replaced_blob_is_read_from_its_beginning_and_that_is_said() {
    let place = Place::at(BEGIN_MS);
    let (reader, mut cursor) = (place.reader(), Cursor::default());
    place.happen(append("a", "{\"n\":1}\n{\"n\":2}\n"));
    place.read_all(&reader, &mut cursor).await.unwrap();
    for text in ["{\"n\":3}\n", "{\"n\":4,\"longer\":\"than the one before\"}\n{\"n\":5}\n"] {
        place.happen(Event::Replace { name: "a".into(), bytes: text.into() });
        let pages = place.read_all(&reader, &mut cursor).await.unwrap();
        assert_eq!(bodies(&pages), [text]);
        assert!(pages[0].problems[0].contains("memory:a was replaced"), "{:?}", pages[0].problems);
    }
}

#[tokio::test]
async fn large_objects_come_in_portions_of_lines() {
    let place = Place::at(BEGIN_MS);
    let line = |n: usize| format!("{{\"n\":{n},\"pad\":\"{}\"}}\n", "x".repeat(1_000));
    let text: String = (0..20_000).map(line).collect();
    assert!(text.len() as u64 > 2 * PORTION_BYTES);
    place.happen(put("lines", text.clone()));
    let mut cursor = Cursor::default();
    let mut got = Vec::new();
    // Each page by a new process.
    loop {
        let page = place.reader().read(&cursor).await.unwrap();
        assert!(page.bodies.iter().all(|b| b.upload.body.len() as u64 <= PORTION_BYTES));
        assert!(page.bodies.iter().all(|b| b.upload.content_type == "application/x-ndjson"));
        cursor = page.next.clone();
        let caught_up = page.caught_up;
        got.push(page);
        if caught_up {
            break;
        }
    }
    assert!(bodies(&got).iter().all(|body| body.ends_with('\n')));
    assert!(bodies(&got).concat() == text, "every byte, once, in order");
}

#[tokio::test]
async fn a_document_is_never_cut_and_one_that_is_too_large_is_told() {
    let place = Place::at(BEGIN_MS);
    let pad = "x".repeat(usize::try_from(PORTION_BYTES).unwrap());
    let document = format!("{{\"records\":[\n{{\"pad\":\"{pad}\"}}]}}");
    place.happen(put("a-document", document.clone()));
    place.happen(put("b-monster", vec![b'['; usize::try_from(WHOLE_BYTES_MAX).unwrap() + 1]));
    place.happen(put("c-small", "{}"));
    place.happen(put("d-locked", "{}"));
    place.0.lock().unwrap().blobs.get_mut("d-locked").unwrap().unreadable = true;
    let (reader, mut cursor) = (place.reader(), Cursor::default());
    let pages = place.read_all(&reader, &mut cursor).await.unwrap();
    assert!(bodies(&pages) == [document, "{}".to_owned()]);
    let problems: Vec<String> = pages.into_iter().flat_map(|page| page.problems).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("b-monster") && problems[1].contains("d-locked"), "{problems:?}");
    assert!(place.read_all(&reader, &mut cursor).await.unwrap()[0].problems.is_empty(), "said once");
}

/// More objects within a second than a bookmark may know: they wait until time has passed there, and none is lost.
#[tokio::test]
async fn a_burst_is_read_as_far_as_the_bookmark_reaches_and_then_the_rest() {
    let place = Place::at(BEGIN_MS);
    let count = KNOWN_MAX + 500;
    place.0.lock().unwrap().page_objects = 1_000;
    (0..count).for_each(|n| place.happen(put(&format!("o/{n:06}"), format!("{{\"n\":{n}}}\n"))));
    let (reader, mut cursor) = (place.reader(), Cursor::default());
    let mut got = Vec::new();
    for _ in 0..KNOWN_MAX / 64 + 10 {
        let page = reader.read(&cursor).await.unwrap();
        assert!(!page.caught_up);
        cursor = page.next.clone();
        got.extend(bodies(&[page]));
    }
    assert!(got.len() < count && got.len() + 64 > KNOWN_MAX, "{}", got.len());
    assert!(cursor.0.len() < 1024 * 1024, "{} bytes", cursor.0.len());
    place.happen(Event::Pass { ms: 30_000 });
    got.extend(bodies(&place.read_all(&reader, &mut cursor).await.unwrap()));
    let different: BTreeSet<&String> = got.iter().collect();
    assert_eq!((got.len(), different.len()), (count, count));
    assert!(cursor.0.len() < 1_024, "settled: {}", cursor.0);
    place.happen(Event::Pass { ms: 30_000 });
    assert!(bodies(&place.read_all(&reader, &mut cursor).await.unwrap()).is_empty());
}

#[tokio::test]
async fn a_cursor_that_does_not_read_is_refused() {
    let refused = Place::at(BEGIN_MS).reader().read(&Cursor("{".into())).await.unwrap_err();
    assert!(refused.to_string().contains("remove it"), "{refused}");
}
