//! The suite of every connector, over a bucket whose notifications wait in a queue; and messages that are none.

use crate::bench::{Trail, gzip, log_text};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use prunella_contract::{Bench, Object, Rig};
use prunella_schemas::limits::INTAKE_BYTES_MAX;
use prunella_schemas::port::Cursor;
use std::collections::BTreeSet;

async fn bench() -> Option<Trail> {
    Trail::with_queue().await
}

prunella_contract::contract!(bench;
    fresh_start, resume, duplicate_page, late_object, truncated_object, throttling, expired_credentials, clock_skew,
    denied, killed_before_the_cursor, killed_before_the_acknowledgement);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_notification_is_left_and_what_names_another_bucket_is_not_followed() {
    let Some(trail) = bench().await else { return };
    let rig = Rig::default();
    let object = Object::at(3);
    let other = Trail::new(serde_json::json!({})).await.unwrap();
    other.put(&other.key("CloudTrail", 1, "x"), gzip(&log_text(&Object::at(9)))).await;
    trail.deliver(std::slice::from_ref(&object)).await;
    let sqs = aws_sdk_sqs::Client::new(&trail.direct);
    let foreign =
        serde_json::json!({ "s3Bucket": other.bucket, "s3ObjectKey": [other.key("CloudTrail", 1, "x")] });
    let gone =
        serde_json::json!({ "s3Bucket": trail.bucket, "s3ObjectKey": [trail.key("CloudTrail", 2, "gone")] });
    let foreign_log =
        serde_json::json!({ "s3Bucket": trail.bucket, "s3ObjectKey": ["AWSLogs/1/Config/x.json.gz"] });
    let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent"}"#.to_owned();
    for body in ["poison".to_owned(), foreign.to_string(), gone.to_string(), foreign_log.to_string(), test] {
        sqs.send_message().queue_url(trail.queue.as_ref().unwrap()).message_body(body).send().await.unwrap();
    }
    let (tally, standing) = rig.run_counted(trail.open().await).await.unwrap();
    assert_eq!((tally.records, rig.records().len()), (10, 10), "only ours");
    assert_eq!(
        trail.waiting().await,
        3,
        "poison, another bucket's, and the missing one stay for the redrive policy"
    );
    let said = standing.problems.join("\n");
    for word in ["it is not JSON: poison", "it names another bucket", "is not there"] {
        assert!(said.contains(word), "{said} lacks {word}");
    }
}

/// Sends each body as a message.
async fn send(trail: &Trail, bodies: &[String]) {
    let sqs = aws_sdk_sqs::Client::new(&trail.direct);
    for few in bodies.chunks(10) {
        let mut ask = sqs.send_message_batch().queue_url(trail.queue.as_ref().unwrap());
        for (at, body) in few.iter().enumerate() {
            let entry = SendMessageBatchRequestEntry::builder().id(at.to_string()).message_body(body);
            ask = ask.entries(entry.build().unwrap());
        }
        ask.send().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_however_much_junk_the_queue_holds() {
    let Some(trail) = bench().await else { return };
    let gone = |n: u32| -> Vec<String> {
        (0..100).map(|k| trail.key("CloudTrail", n, &format!("gone{k}"))).collect()
    };
    let naming = |n: u32| serde_json::json!({ "s3Bucket": trail.bucket, "s3ObjectKey": gone(n) }).to_string();
    let junk = (0..150).map(|n| format!("poison {n}"));
    send(&trail, &junk.chain((0..3).map(naming)).collect::<Vec<_>>()).await;
    trail.deliver(&[Object::at(700)]).await;
    let (source, mut cursor) = (trail.open().await, Cursor::default());
    let (mut problems, mut bodies) = (0, 0);
    for _ in 0..60 {
        let page = source.read(&cursor).await.unwrap();
        assert!(page.problems.len() <= 150, "{} in one page", page.problems.len());
        (problems, bodies) = (problems + page.problems.len(), bodies + page.bodies.len());
        source.acknowledge(&page.next).await.unwrap();
        cursor = page.next;
        if page.caught_up {
            break;
        }
    }
    assert!(problems >= 450 && bodies >= 1, "{problems} problems, {bodies} bodies");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_when_it_is_large_and_the_next_goes_on_without_waiting() {
    const BYTES: usize = 9 * 1024 * 1024;
    let Some(mut trail) = bench().await else { return };
    trail.settings["visibility_s"] = 600.into();
    for minute in 0..4 {
        trail.put(&trail.key("CloudTrail", minute, "large"), vec![7; BYTES]).await;
    }
    let (source, mut cursor) = (trail.open().await, Cursor::default());
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let page = source.read(&cursor).await.unwrap();
        let bytes: usize = page.bodies.iter().map(|b| b.upload.body.len()).sum();
        assert!(bytes < INTAKE_BYTES_MAX + BYTES, "{bytes} bytes in one page");
        for body in page.bodies {
            assert!(seen.insert(body.upload.origin.clone()), "{} comes once", body.upload.origin);
        }
        source.acknowledge(&page.next).await.unwrap();
        cursor = page.next;
        if page.caught_up {
            break;
        }
    }
    assert_eq!((seen.len(), trail.waiting().await), (4, 0));
}
