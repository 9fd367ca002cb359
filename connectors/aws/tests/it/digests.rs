//! Digest files as AWS signs them: a whole chain, one that was tampered with, and files that should be there.

use crate::bench::{ACCOUNT, BEGINNING_MS, FUTURE, REGION, Trail, gzip, json, log_text, stamp, xml};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prunella_contract::{Answer, Object, Rig};
use prunella_schemas::Timestamp;
use prunella_schemas::port::Cursor;
use std::sync::Arc;

const FINGERPRINT: &str = "31e8b5433410dfb61a9dc45cc65b22ff";

/// Writes digests as CloudTrail does.
struct Notary<'a> {
    trail: &'a Trail,
    key: KeyPair,
    last: Option<(String, String, String)>,
}

impl<'a> Notary<'a> {
    fn new(trail: &'a Trail) -> Self {
        Notary { trail, key: KeyPair::generate(KeySize::Rsa2048).unwrap(), last: None }
    }

    /// PKCS #1 in DER, in base64.
    fn public(&self) -> String {
        STANDARD.encode(self.key.public_key().as_ref())
    }

    /// The digest of the hour that ends at `minute`, naming `files` by key and uncompressed content.
    async fn sign(&mut self, minute: u32, files: &[(String, String)]) -> String {
        let (key, time) = named(minute);
        let iso = |t: &str| {
            format!("{}-{}-{}T{}:{}:{}Z", &t[..4], &t[4..6], &t[6..8], &t[9..11], &t[11..13], &t[13..15])
        };
        let (end, bucket) = (iso(&time), &self.trail.bucket);
        let (previous, previous_hash, previous_signature) = self.last.clone().unzip3();
        let log_files: Vec<_> = files
            .iter()
            .map(|(key, text)| {
                let hash = hex::encode(digest(&SHA256, text.as_bytes()));
                serde_json::json!({ "s3Bucket": bucket, "s3Object": key, "hashValue": hash, "hashAlgorithm": "SHA-256" })
            })
            .collect();
        let content = serde_json::json!({
            "awsAccountId": ACCOUNT, "digestStartTime": end, "digestEndTime": end,
            "digestS3Bucket": bucket, "digestS3Object": key, "digestPublicKeyFingerprint": FINGERPRINT,
            "digestSignatureAlgorithm": "SHA256withRSA", "previousDigestS3Bucket": bucket,
            "previousDigestS3Object": previous, "previousDigestHashValue": previous_hash,
            "previousDigestHashAlgorithm": "SHA-256", "previousDigestSignature": previous_signature,
            "logFiles": log_files,
        })
        .to_string();
        let hash = hex::encode(digest(&SHA256, content.as_bytes()));
        let signed =
            format!("{end}\n{bucket}/{key}\n{hash}\n{}", previous_signature.unwrap_or("null".into()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        let signature = hex::encode(signature);
        self.put(&key, &content, &signature).await;
        self.last = Some((key.clone(), hash, signature));
        key
    }

    async fn put(&self, key: &str, content: &str, signature: &str) {
        let put = self
            .trail
            .s3
            .put_object()
            .bucket(&self.trail.bucket)
            .key(key)
            .body(ByteStream::from(gzip(content)));
        put.metadata("signature", signature)
            .metadata("signature-algorithm", "SHA256withRSA")
            .send()
            .await
            .unwrap();
    }
}

/// The key of the digest that ends at `minute`, and the time in it.
fn named(minute: u32) -> (String, String) {
    let (day, time) = stamp(minute);
    let time = time.replace('Z', "00Z");
    let name = format!("{ACCOUNT}_CloudTrail-Digest_{REGION}_trail_{REGION}_{time}.json.gz");
    (format!("AWSLogs/{ACCOUNT}/CloudTrail-Digest/{REGION}/{day}/{name}"), time)
}

trait Unzip3 {
    fn unzip3(self) -> (Option<String>, Option<String>, Option<String>);
}

impl Unzip3 for Option<(String, String, String)> {
    fn unzip3(self) -> (Option<String>, Option<String>, Option<String>) {
        self.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)))
    }
}

async fn trail() -> Option<Trail> {
    Trail::new(serde_json::json!({ "digests": true })).await
}

/// What AWS answers to ListPublicKeys, for a gate.
fn keys(public: &str) -> Answer {
    let key = serde_json::json!({ "Fingerprint": FINGERPRINT, "Value": public, "ValidityStartTime": 0, "ValidityEndTime": 4e9 });
    let body = serde_json::json!({ "PublicKeyList": [key] }).to_string();
    Answer { body: body.into(), ..json(200, "", "") }
}

fn hand_out(trail: &Trail, public: String) {
    trail.gate.meddle(move |asked| {
        let target = asked.headers.get("x-amz-target").and_then(|t| t.to_str().ok()).unwrap_or_default();
        target.ends_with(".ListPublicKeys").then(|| keys(&public))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_that_aws_says_it_wrote_was_read() {
    let Some(trail) = trail().await else { return };
    let (rig, mut notary) = (Rig::default(), Notary::new(&trail));
    hand_out(&trail, notary.public());
    let file = |minute: u32| (trail.key("CloudTrail", minute, "x"), log_text(&Object::at(minute)));
    let files: Vec<_> = (70..74).chain(130..133).map(file).collect();
    for (key, text) in &files {
        trail.put(key, gzip(text)).await;
    }
    notary.sign(120, &files[..4]).await;
    let (tally, standing) = rig.run_counted(trail.open().await).await.unwrap();
    assert_eq!((tally.records, tally.written, tally.read), (70, 4, 4), "{:?}", standing.problems);
    notary.sign(180, &files[4..]).await;
    let (tally, standing) = rig.run_counted(trail.open().await).await.unwrap();
    assert_eq!((tally.bodies, tally.written, tally.read), (0, 3, 3));
    assert_eq!(standing.problems, Vec::<String>::new());
    let checkup = trail.open().await.check().await;
    assert!(checkup.is_well() && checkup.policy.contains("cloudtrail:ListPublicKeys"), "{checkup:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_changed_forged_or_left_out_is_said() {
    let Some(mut trail) = trail().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    trail.settings["digest_keys_file"] = file.to_str().unwrap().into();
    let (rig, mut notary) = (Rig::default(), Notary::new(&trail));
    std::fs::write(&file, format!("{FINGERPRINT} {}\n", notary.public())).unwrap();
    let log = |minute: u32| (trail.key("CloudTrail", minute, "x"), log_text(&Object::at(minute)));
    let (kept, altered, deleted) = (log(70), log(71), log(72));
    trail.put(&kept.0, gzip(&kept.1)).await;
    trail.put(&altered.0, gzip(&altered.1.replace("GetObject", "HeadObject"))).await;
    notary.sign(120, &[kept, altered.clone(), deleted.clone()]).await;
    let (tally, standing) = rig.run_counted(trail.open().await).await.unwrap();
    assert_eq!((tally.written, tally.read), (3, 2));
    let said = standing.problems.join("\n");
    assert!(said.contains(&format!("AWS says it wrote {}, and it is not there", deleted.0)), "{said}");
    assert!(said.contains(&format!("{} is not what AWS wrote", altered.0)), "{said}");
    // A digest that is missing, and one that somebody else wrote.
    let lost = notary.sign(180, &[]).await;
    trail.s3.delete_object().bucket(&trail.bucket).key(&lost).send().await.unwrap();
    notary.sign(240, &[]).await;
    let forged = notary.sign(300, &[]).await;
    notary.put(&forged, r#"{"digestStartTime":"","digestEndTime":"","digestS3Bucket":"b","digestS3Object":"k","digestPublicKeyFingerprint":"","logFiles":[]}"#, "00").await;
    let (_, standing) = rig.run_counted(trail.open().await).await.unwrap();
    let said = standing.problems.join("\n");
    assert!(said.contains(&format!("{lost}, which it follows, is missing")), "{said}");
    assert!(said.contains(&format!("{forged} was moved or copied")), "{said}");
    // The signature covers every byte.
    let mut stranger = Notary::new(&trail);
    stranger.last = notary.last.clone();
    let key = stranger.sign(360, &[]).await;
    let (_, standing) = rig.run_counted(trail.open().await).await.unwrap();
    let said = standing.problems.join("\n");
    assert!(said.contains(&format!("{key} has a signature that does not hold")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_is_not_believed_takes_no_place_in_the_chain() {
    let Some(trail) = trail().await else { return };
    let (rig, mut notary) = (Rig::default(), Notary::new(&trail));
    hand_out(&trail, notary.public());
    let log = |minute: u32| (trail.key("CloudTrail", minute, "x"), log_text(&Object::at(minute)));
    let files = [log(70), log(130), log(190)];
    for (key, text) in &files {
        trail.put(key, gzip(text)).await;
    }
    notary.sign(120, &files[..1]).await;
    let (ahead, before) = (named(FUTURE).0, named(150).0);
    notary.put(&ahead, "{}", "00").await;
    notary.put(&before, "{}", "00").await;
    for minute in 121..150 {
        notary.put(&named(minute).0, "{}", "00").await;
    }
    let (tally, standing) = rig.run_counted(trail.open().await).await.unwrap();
    assert_eq!((tally.written, tally.read), (1, 1));
    let said = standing.problems.join("\n");
    assert!(said.contains(&format!("the digest {before} cannot be read")), "{said}");
    assert!(said.contains(&ahead) && said.contains("ahead"), "{said}");
    // With those, more than are checked at once.
    for minute in 151..180 {
        notary.put(&named(minute).0, "{}", "00").await;
    }
    notary.sign(180, &files[1..2]).await;
    notary.sign(240, &files[2..]).await;
    let source = trail.open().await;
    // What is not believed is passed over by the same process, however much of it there is.
    let (mut written, mut said) = (0, String::new());
    for _ in 0..3 {
        let (tally, standing) = rig.run_counted(Arc::clone(&source)).await.unwrap();
        written += tally.written;
        said += &standing.problems.join("\n");
    }
    assert_eq!(written, 2, "{said}");
    assert!(!said.contains("the chain of digests is broken"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_may_not_be_read_holds_up_no_log_file() {
    let Some(trail) = trail().await else { return };
    let (rig, mut notary) = (Rig::default(), Notary::new(&trail));
    let public = notary.public();
    let log = |minute: u32| (trail.key("CloudTrail", minute, "x"), log_text(&Object::at(minute)));
    let files = [log(70), log(71)];
    trail.put(&files[0].0, gzip(&files[0].1)).await;
    notary.put(&named(90).0, "{}", "00").await;
    notary.sign(120, &files[..1]).await;
    trail.gate.meddle(move |asked| {
        let is_sealed = asked.uri.path().contains("T013000Z");
        let words =
            "User is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:1:key/k";
        let target = asked.headers.get("x-amz-target").and_then(|t| t.to_str().ok()).unwrap_or_default();
        let asks_keys = target.ends_with(".ListPublicKeys");
        is_sealed.then(|| xml(403, "AccessDenied", words)).or_else(|| asks_keys.then(|| keys(&public)))
    });
    let (tally, standing) = rig.run_counted(trail.open().await).await.unwrap();
    assert_eq!((tally.records, tally.written, tally.read), (10, 1, 1), "{:?}", standing.problems);
    assert!(standing.problems.join("\n").contains("kms:Decrypt"), "{:?}", standing.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_within_the_look_back_that_is_not_remembered_is_told() {
    let Some(trail) = trail().await else { return };
    let mut notary = Notary::new(&trail);
    hand_out(&trail, notary.public());
    let log = |minute: u32| (trail.key("CloudTrail", minute, "x"), log_text(&Object::at(minute)));
    let (forgotten, kept) = (log(50), log(70));
    trail.put(&kept.0, gzip(&kept.1)).await;
    notary.sign(120, &[forgotten.clone(), kept]).await;
    let branch = format!("AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/");
    let floor = u32::try_from(BEGINNING_MS / 60_000).unwrap() + 58;
    let place = serde_json::json!({ "v": 1, "branches": { branch: { "floor": floor, "entries": "" } } });
    let soon = trail.open_by(Arc::new(|| Timestamp(BEGINNING_MS + 180 * 60_000))).await;
    let page = soon.read(&Cursor(place.to_string())).await.unwrap();
    let said = page.problems.join("\n");
    assert!(said.contains(&forgotten.0) && said.contains("whether they were read"), "{said}");
    assert_eq!((page.audited.written, page.audited.read), (2, 1));
    // Long after, nobody expects it.
    let late = trail.open_by(Arc::new(|| Timestamp(BEGINNING_MS + 3 * 24 * 3_600_000))).await;
    let page = late.read(&Cursor(place.to_string())).await.unwrap();
    assert_eq!((page.problems.len(), page.audited.written), (0, 1), "{:?}", page.problems);
}
