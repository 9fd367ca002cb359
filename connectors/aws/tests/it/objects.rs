//! Single objects that are not as they should be, and folders of an organisation.

use crate::bench::{ACCOUNT, BEGINNING_MS, FUTURE, REGION, Trail, gzip, json, log_text, stamp, xml};
use prunella_contract::{Bench, Object, Rig};
use prunella_schemas::Timestamp;
use prunella_schemas::port::{Clock, Cursor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

async fn trail() -> Option<Trail> {
    Trail::new(serde_json::json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisations_accounts_regions_and_insights_are_found() {
    let Some(mut trail) = trail().await else { return };
    trail.root = "AWSLogs/o-abcdef1234/".to_owned();
    let rig = Rig::default();
    let text = |minute| gzip(&log_text(&Object::at(minute)));
    trail.put(&trail.key("CloudTrail", 1, "a"), text(1)).await;
    trail.put(&trail.key("CloudTrail-Insight", 2, "b"), text(2)).await;
    trail.put(&trail.key("CloudTrail-Digest", 2, "b"), b"never read".to_vec()).await;
    for (account, region, minute) in [("210987654321", "eu-west-1", 3), ("210987654321", "us-east-1", 4)] {
        let key = trail.key("CloudTrail", minute, "c").replace(ACCOUNT, account).replace("us-east-1", region);
        trail.put(&key, text(minute)).await;
    }
    trail.put(&trail.key("Config", 5, "d"), text(5)).await;
    let tally = rig.run(trail.open().await).await.unwrap();
    assert_eq!((tally.records, tally.rejected), (40, 0), "three regions and the insights");
    let mut only = trail.settings.clone();
    only["accounts"] = serde_json::json!(["210987654321"]);
    only["regions"] = serde_json::json!(["eu-west-1"]);
    trail.settings = only;
    assert_eq!(Rig::default().run(trail.open().await).await.unwrap().records, 10);
    trail.settings["regions"] = serde_json::json!([]);
    trail.settings["since"] = "2024-07-31T00:04:00Z".into();
    assert_eq!(Rig::default().run(trail.open().await).await.unwrap().records, 10, "nothing before `since`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_named_for_the_future_is_told_and_hides_no_other() {
    let Some(trail) = trail().await else { return };
    let rig = Rig::default();
    trail.deliver(&[Object::at(1)]).await;
    let ahead = trail.key("CloudTrail", FUTURE, "x");
    trail.put(&ahead, gzip(&log_text(&Object::at(9)))).await;
    // In the folder of a day that is listed anyway.
    let misfiled = ahead.replace("/2099/", "/2024/");
    assert_ne!(misfiled, ahead);
    trail.put(&misfiled, gzip(&log_text(&Object::at(8)))).await;
    let (tally, standing) = rig.run_counted(trail.open().await).await.unwrap();
    let said = standing.problems.join("\n");
    assert!(said.contains("2 files") && said.contains(&misfiled), "{said}");
    assert_eq!(tally.records, 10, "what CloudTrail cannot have written yet is not read");
    trail.deliver(&[Object::at(5)]).await;
    assert_eq!(rig.run(trail.open().await).await.unwrap().records, 10, "the real ones are read as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_already_stands_in_the_future_comes_back() {
    let Some(trail) = trail().await else { return };
    trail.deliver(&[Object::at(1)]).await;
    let branch = format!("AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/");
    let floor = u32::try_from(BEGINNING_MS / 60_000).unwrap() + FUTURE;
    let place = serde_json::json!({ "v": 1, "branches": { branch: { "floor": floor, "entries": "" } } });
    let soon: Clock = Arc::new(|| Timestamp(BEGINNING_MS + 3_600_000));
    let source = trail.open_by(soon).await;
    let page = source.read(&Cursor(place.to_string())).await.unwrap();
    let said = page.problems.join("\n");
    assert!(said.contains("stood in the future"), "{said}");
    assert_eq!(page.bodies.len(), 1, "within the look-back all is read again");
    let page = source.read(&page.next).await.unwrap();
    assert_eq!((page.bodies.len(), page.problems.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changes_after_it_was_listed_is_read_as_it_is_now() {
    let Some(trail) = trail().await else { return };
    let rig = Rig::default();
    trail.deliver(&[Object::at(1)]).await;
    let changes = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&changes);
    trail.gate.meddle(move |asked| {
        let is_first = asked.headers.contains_key("if-match") && seen.fetch_add(1, Ordering::Relaxed) == 0;
        is_first.then(|| xml(412, "PreconditionFailed", "At least one of the pre-conditions did not hold"))
    });
    assert_eq!(rig.run(trail.open().await).await.unwrap().records, 10);
    assert_eq!(changes.load(Ordering::Relaxed), 1, "it was asked again without the old tag");
    trail.gate.heal();
    trail.put(&trail.key("CloudTrail", 1, "001000"), gzip(&log_text(&Object::at(7)))).await;
    assert_eq!(
        rig.run(trail.open().await).await.unwrap().records,
        10,
        "another content under a known key is read"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_may_not_be_read_is_owed_and_read_once_it_may() {
    let Some(trail) = trail().await else { return };
    let rig = Rig::default();
    trail.deliver(&[Object::at(1), Object::at(2), Object::at(3)]).await;
    trail.gate.meddle(|asked| {
        let is_sealed = asked.uri.path().contains("_002000");
        let words =
            "User is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:1:key/k";
        is_sealed.then(|| xml(403, "AccessDenied", words))
    });
    let (tally, standing) = rig.run_counted(trail.open().await).await.unwrap();
    assert_eq!(tally.records, 20, "the others are read");
    let said = standing.problems.join("\n");
    assert!(said.contains("kms:Decrypt") && said.contains("tried again"), "{said}");
    assert_eq!(rig.run(trail.open().await).await.unwrap().records, 0);
    trail.gate.heal();
    assert_eq!(rig.run(trail.open().await).await.unwrap().records, 10, "read when it may be");
    assert_eq!(rig.run(trail.open().await).await.unwrap().bodies, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_the_action_the_region_and_the_bucket() {
    let Some(mut trail) = trail().await else { return };
    trail.deliver(&[Object::at(1)]).await;
    trail.gate.refuse(xml(403, "AccessDenied", "Access Denied"));
    let error = Rig::default().run(trail.open().await).await.unwrap_err().to_string();
    let line = format!(
        r#"{{"Action":"s3:ListBucket","Effect":"Allow","Resource":"arn:aws:s3:::{}"}}"#,
        trail.bucket
    );
    assert!(error.contains(&line), "{error}");
    let mut elsewhere = xml(301, "PermanentRedirect", "use the specified endpoint");
    elsewhere.headers.push(("x-amz-bucket-region".into(), "eu-west-1".into()));
    trail.gate.refuse(elsewhere);
    let error = Rig::default().run(trail.open().await).await.unwrap_err().to_string();
    assert!(error.contains("another region") && error.contains("region = \"eu-west-1\""), "{error}");
    trail.gate.heal();
    trail.settings["bucket"] = "no-such-bucket-anywhere".into();
    let error = Rig::default().run(trail.open().await).await.unwrap_err().to_string();
    assert!(error.contains("does not exist"), "{error}");
    trail.gate.refuse(json(500, "InternalError", "We encountered an internal error."));
    let error = Rig::default().run(trail.open().await).await.unwrap_err().to_string();
    assert!(error.contains("AWS failed") || error.contains("cannot be reached"), "{error}");
    assert_eq!(stamp(90), ("2024/07/31".into(), "20240731T0130Z".into()));
}
