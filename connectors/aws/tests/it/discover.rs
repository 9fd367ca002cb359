//! The inventory of an account on moto, by the real SDK, until it is OCSF that the translator takes.

use crate::bench::{clock, moto, sdk};
use prunella_aws::discover::Inventory;
use prunella_schemas::port::{Cursor, Source};
use prunella_schemas::{Event, Tenant};
use std::collections::BTreeSet;

#[tokio::test]
async fn buckets_users_keys_and_roles_are_told() {
    let Some(endpoint) = moto() else { return };
    let config = sdk(&endpoint).await;
    let iam = aws_sdk_iam::Client::new(&config);
    let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
    let s3 = aws_sdk_s3::Client::from_conf(s3);
    let mark = format!("inventory-{}-{}", std::process::id(), clock()().millis());
    s3.create_bucket().bucket(&mark).send().await.unwrap();
    iam.create_user().user_name(&mark).send().await.unwrap();
    let made = iam.create_access_key().user_name(&mark).send().await.unwrap();
    let key = made.access_key().unwrap().access_key_id().to_owned();
    iam.create_role().role_name(&mark).assume_role_policy_document("{}").send().await.unwrap();

    let inventory = Inventory::over(&config, "all".to_owned(), Tenant::default(), clock());
    assert!(inventory.check().await.is_well(), "{:?}", inventory.check().await);
    let page = inventory.read(&Cursor::default()).await.unwrap();
    assert!(page.caught_up && page.problems.is_empty(), "{:?}", page.problems);
    let [body] = &page.bodies[..] else { panic!("one body") };
    assert_eq!(
        (body.upload.source.as_str(), body.upload.content_type.as_str()),
        ("ocsf", "application/x-ndjson")
    );
    let lines = std::str::from_utf8(&body.upload.body).unwrap().lines();
    let events: Vec<Event> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let looks: BTreeSet<_> = events.iter().map(|event| event.metadata.correlation_uid.clone()).collect();
    assert_eq!(looks.len(), 1, "one look");
    let ours: Vec<(String, String)> = events
        .iter()
        .flat_map(|event| &event.resources)
        .filter(|r| r.name.as_deref() == Some(&mark) || r.uid.as_deref() == Some(&key))
        .map(|r| (r.kind.clone().unwrap(), r.uid.clone().unwrap()))
        .collect();
    assert_eq!(
        ours,
        [
            ("AWS::S3::Bucket".to_owned(), format!("arn:aws:s3:::{mark}")),
            ("AWS::IAM::User".to_owned(), format!("arn:aws:iam::123456789012:user/{mark}")),
            ("AWS::IAM::AccessKey".to_owned(), key.clone()),
            ("AWS::IAM::Role".to_owned(), format!("arn:aws:iam::123456789012:role/{mark}")),
        ]
    );
    let owned = events.iter().flat_map(|e| &e.resources).find(|r| r.uid.as_deref() == Some(&key)).unwrap();
    assert_eq!(owned.owner.as_ref().and_then(|o| o.name.as_deref()), Some(mark.as_str()));
    assert!(owned.tags.iter().any(|tag| tag.name == "status" && tag.value == "Active"));
}
