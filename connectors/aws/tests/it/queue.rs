//! The suite of every connector, over a bucket whose notifications wait in a queue; and messages that are none.

use crate::bench::{Trail, gzip, log_text};
use prunella_contract::{Bench, Object, Rig};

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
