//! CloudTrail's digest files: signed, chained, and naming every log file that AWS wrote in an hour. Each is checked, and so
//! is that everything it names was read and is what AWS wrote.

use super::layout::{self, Ahead, Branch, DIGESTS};
use super::object::{Bucket, Fetch, Listed, content_hash, inflate};
use super::place::{Known, Link, OWED_MAX, Place};
use super::{listing::remember, lock};
use crate::fault::{Call, Trouble, explain};
use aws_config::{Region, SdkConfig};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use aws_sdk_cloudtrail::primitives::DateTime;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prunella_schemas::port::{Audited, SourceError};
use prunella_schemas::{Id, Timestamp};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Digests of one page.
const DIGESTS_MAX: usize = 32;
/// Files that one digest may have us fetch because they were not read.
const FOUND_MAX: usize = 32;
/// Public keys that are kept.
const KEYS_MAX: usize = 1_024;
/// Digests that are not believed and are remembered, so that each is told once.
const REFUSED_MAX: usize = 16 * 1_024;
const DAY_MS: i64 = 24 * 3_600_000;

/// What AWS signs with.
pub struct Auditor {
    config: SdkConfig,
    /// By fingerprint: PKCS #1 in DER.
    keys: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Keys were supplied; AWS is not asked for others.
    supplied: bool,
    /// What was not believed, by key and tag. Only spares checking it again: the next process tells it again.
    refused: Mutex<BTreeSet<Id>>,
}

/// What the digests of a page say.
#[derive(Default)]
pub struct Audit {
    pub audited: Audited,
    pub problems: Vec<String>,
    /// Files that were not read until now, by key.
    pub found: Vec<(String, Fetch)>,
    /// There are more digests.
    pub more: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Digest {
    digest_start_time: String,
    digest_end_time: String,
    digest_s3_bucket: String,
    digest_s3_object: String,
    digest_public_key_fingerprint: String,
    previous_digest_s3_object: Option<String>,
    previous_digest_hash_value: Option<String>,
    previous_digest_signature: Option<String>,
    log_files: Vec<LogFile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogFile {
    s3_object: String,
    hash_value: String,
}

impl Auditor {
    /// `supplied`: lines of fingerprint, space, key. Empty: AWS is asked.
    pub fn new(config: SdkConfig, supplied: &str) -> Result<Self, SourceError> {
        let mut keys = BTreeMap::new();
        for line in supplied.lines().filter(|line| !line.trim().is_empty()) {
            let parts =
                line.split_once(' ').and_then(|(f, key)| Some((f, STANDARD.decode(key.trim()).ok()?)));
            let Some((fingerprint, key)) = parts else {
                let detail = "`digest_keys_file`: each line is a fingerprint, a space, and a key in base64";
                return Err(SourceError::Invalid(detail.to_owned()));
            };
            keys.insert(fingerprint.to_owned(), key);
        }
        let supplied = !keys.is_empty();
        Ok(Auditor { config, supplied, keys: Mutex::new(keys), refused: Mutex::default() })
    }

    /// Checks the digests that are new. `place` is a listing that has just caught up, which remembers every file since the
    /// minute `start`.
    pub async fn audit(
        &self,
        bucket: &Bucket,
        place: &mut Place,
        mut ahead: Ahead,
        start: u32,
    ) -> Result<Audit, SourceError> {
        let mut audit = Audit::default();
        // No digest of AWS's is there, and the next that is must not be behind it.
        place.digests.retain(|_, link| minute_of(&link.key).is_some_and(|minute| minute <= ahead.until()));
        for branch in bucket.branches(&[DIGESTS]).await.map_err(Trouble::stops)? {
            for listed in self.new_digests(bucket, place, &branch, &mut ahead).await? {
                if audit.audited.written as usize >= DIGESTS_MAX * FOUND_MAX || audit.found.len() >= FOUND_MAX
                {
                    audit.more = true;
                    return Ok(audit);
                }
                self.check(bucket, place, &branch, &listed, start, &mut audit).await?;
            }
        }
        audit.problems.extend(ahead.problem());
        Ok(audit)
    }

    /// The digests after the last of each chain, in the order of time.
    async fn new_digests(
        &self,
        bucket: &Bucket,
        place: &Place,
        branch: &Branch,
        ahead: &mut Ahead,
    ) -> Result<Vec<Listed>, SourceError> {
        let logs = branch.prefix.replace(&format!("/{DIGESTS}/"), "/CloudTrail/");
        let floor = place.branches.get(&logs).map_or(0, |seen| seen.floor);
        let links = place.digests.iter().filter(|(_, link)| link.key.starts_with(&branch.prefix));
        let from = links.map(|(_, link)| minute_of(&link.key).unwrap_or(floor)).min().unwrap_or(floor);
        // Chains of several trails share a day's folder, and sort by their names there.
        let day = from - from % (24 * 60);
        let start = branch.start_of(day);
        let mut after = start.rsplit_once('/').map_or(start.clone(), |(folder, _)| format!("{folder}/"));
        let mut fresh = Vec::new();
        loop {
            let (listed, more) = bucket.list(&branch.prefix, &after).await.map_err(Trouble::stops)?;
            for object in listed {
                after.clone_from(&object.key);
                let Some(minute) = minute_of(&object.key) else { continue };
                if ahead.holds(minute, &object.key) || lock(&self.refused).contains(&mark(&object)) {
                    continue;
                }
                let last = place.digests.get(chain_of(&object.key));
                let is_new = match last {
                    Some(link) => object.key > link.key,
                    // What was read before the look-back is not known file by file.
                    None => minute > floor.saturating_add(60),
                };
                if is_new {
                    fresh.push((minute, object));
                }
            }
            if !more || fresh.len() >= DIGESTS_MAX {
                break;
            }
        }
        fresh.sort_by(|(a, x), (b, y)| (a, &x.key).cmp(&(b, &y.key)));
        fresh.truncate(DIGESTS_MAX);
        Ok(fresh.into_iter().map(|(_, object)| object).collect())
    }

    fn refuse(&self, listed: &Listed, problem: String, audit: &mut Audit) {
        audit.problems.push(problem);
        let mut refused = lock(&self.refused);
        if refused.len() < REFUSED_MAX {
            refused.insert(mark(listed));
        }
    }

    /// A link is kept only of what AWS signed: anybody who may write to the bucket can put something in its place.
    async fn check(
        &self,
        bucket: &Bucket,
        place: &mut Place,
        branch: &Branch,
        listed: &Listed,
        start: u32,
        audit: &mut Audit,
    ) -> Result<(), SourceError> {
        let key = listed.key.as_str();
        let fetch = match bucket.fetch(key, None).await {
            Ok(fetch) => fetch,
            Err(Trouble::Gone(text)) => {
                self.refuse(listed, text, audit);
                return Ok(());
            }
            Err(Trouble::Denied(text)) => {
                audit.problems.push(format!("{text}; it is tried again"));
                return Ok(());
            }
            Err(other) => return Err(other.stops()),
        };
        let signature = fetch.metadata.get("signature").cloned().unwrap_or_default();
        let content = inflate(&fetch.bytes).unwrap_or_default();
        let hash = hex::encode(digest(&SHA256, &content));
        let Ok(digest) = serde_json::from_slice::<Digest>(&content) else {
            let problem = format!("the digest {key} cannot be read; its hour cannot be checked");
            self.refuse(listed, problem, audit);
            return Ok(());
        };
        if let Err(problem) = self.is_signed(branch, &digest, bucket, key, &hash, &signature).await? {
            let problem = format!("the digest {key} {problem}; what it says is not believed");
            self.refuse(listed, problem, audit);
            return Ok(());
        }
        let link = Link { key: key.to_owned(), signature, hash };
        let last = place.digests.insert(chain_of(key).to_owned(), link);
        if let Some(problem) = last.and_then(|last| break_in(&last, &digest)) {
            audit.problems.push(format!("the chain of digests is broken at {key}: {problem}"));
        }
        let mut forgotten = Vec::new();
        for file in &digest.log_files {
            if !reconcile(bucket, place, file, start, audit).await? {
                forgotten.push(&file.s3_object);
            }
        }
        if let Some(first) = forgotten.first() {
            audit.problems.push(format!(
                "{} files that the digest {key} names are not remembered, such as {first}: whether they were read cannot be told",
                forgotten.len()
            ));
        }
        Ok(())
    }

    /// The inner error says what is wrong with the digest; the outer one that AWS did not give the keys.
    async fn is_signed(
        &self,
        branch: &Branch,
        digest: &Digest,
        bucket: &Bucket,
        key: &str,
        hash: &str,
        signature: &str,
    ) -> Result<Result<(), &'static str>, SourceError> {
        if digest.digest_s3_bucket != bucket.settings.bucket || digest.digest_s3_object != key {
            return Ok(Err("was moved or copied: it names another place"));
        }
        let Some(public) = self.key(branch, digest).await? else {
            return Ok(Err("is signed with a key that AWS does not list"));
        };
        let previous = digest.previous_digest_signature.as_deref().unwrap_or("null");
        let (end, place) = (&digest.digest_end_time, format!("{}/{key}", digest.digest_s3_bucket));
        let signed = format!("{end}\n{place}\n{hash}\n{previous}");
        let Ok(signature) = hex::decode(signature) else { return Ok(Err("has no signature")) };
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
        let verified = public.verify(signed.as_bytes(), &signature);
        Ok(verified.map_err(|_| "has a signature that does not hold: it was changed"))
    }

    /// Each region signs with keys of its own.
    async fn key(&self, branch: &Branch, digest: &Digest) -> Result<Option<Vec<u8>>, SourceError> {
        let fingerprint = &digest.digest_public_key_fingerprint;
        if let Some(key) = lock(&self.keys).get(fingerprint) {
            return Ok(Some(key.clone()));
        }
        if self.supplied {
            return Ok(None);
        }
        let time = |text: &str| Timestamp::parse(text).unwrap_or_default();
        let from = DateTime::from_millis(time(&digest.digest_start_time).plus_ms(-DAY_MS).millis());
        let to = DateTime::from_millis(time(&digest.digest_end_time).plus_ms(DAY_MS).millis());
        let region = Region::new(branch.region.clone());
        let config = aws_sdk_cloudtrail::config::Builder::from(&self.config).region(region).build();
        let ask =
            aws_sdk_cloudtrail::Client::from_conf(config).list_public_keys().start_time(from).end_time(to);
        let call = Call { action: "cloudtrail:ListPublicKeys", resource: "*".to_owned() };
        let answer = ask.send().await.map_err(|e| explain(&call, &e).stops())?;
        let mut keys = lock(&self.keys);
        for key in answer.public_key_list() {
            if let (Some(name), Some(value)) = (key.fingerprint(), key.value())
                && keys.len() < KEYS_MAX
            {
                keys.insert(name.to_owned(), value.as_ref().to_vec());
            }
        }
        Ok(keys.get(fingerprint).cloned())
    }
}

/// One file that AWS says it wrote, beside what was read. `false`: it lies after `start`, and is not remembered all the same.
async fn reconcile(
    bucket: &Bucket,
    place: &mut Place,
    file: &LogFile,
    start: u32,
    audit: &mut Audit,
) -> Result<bool, SourceError> {
    let key = &file.s3_object;
    let Some(minute) = layout::minute_of(key) else { return Ok(true) };
    let branch = place.branches.iter().rev().find(|(prefix, _)| key.starts_with(prefix.as_str()));
    let known = branch.map_or(Known::New, |(_, seen)| seen.known(minute, key));
    let wrote = hex::decode(&file.hash_value).unwrap_or_default();
    let is_same = |content: &[u8]| wrote.len() == 32 && wrote.starts_with(content);
    let altered = || format!("{key} is not what AWS wrote: it was changed before it was read");
    match known {
        Known::Old if minute < start => return Ok(true),
        Known::Old => {
            audit.audited.written += 1;
            return Ok(false);
        }
        Known::Read(content) => {
            if !place.owed.contains(key) {
                audit.audited.read += 1;
                if !is_same(&content) {
                    audit.problems.push(altered());
                }
            }
        }
        Known::New => match bucket.fetch(key, None).await {
            Ok(fetch) => {
                let content = content_hash(&fetch.bytes);
                if !is_same(&content) {
                    audit.problems.push(altered());
                }
                remember(place, key, &fetch.tag, content);
                audit.audited.read += 1;
                audit.found.push((key.clone(), fetch));
            }
            Err(Trouble::Gone(_)) => {
                audit.problems.push(format!("AWS says it wrote {key}, and it is not there: it was deleted"));
            }
            Err(Trouble::Denied(text)) if place.owed.len() < OWED_MAX => {
                audit.problems.push(format!("{text}; it is tried again"));
                remember(place, key, "", [0; 32]);
                place.owed.push(key.clone());
            }
            Err(other) => return Err(other.stops()),
        },
    }
    audit.audited.written += 1;
    Ok(true)
}

fn mark(listed: &Listed) -> Id {
    Id::derive("s3_digest", &[listed.key.as_bytes(), listed.tag.as_bytes()])
}

/// Why `digest` does not follow `last`.
fn break_in(last: &Link, digest: &Digest) -> Option<String> {
    match &digest.previous_digest_s3_object {
        None => {
            Some(format!("it begins anew, after {}; logging was stopped, or digests were deleted", last.key))
        }
        Some(previous) if *previous != last.key => {
            Some(format!("{previous}, which it follows, is missing or was not believed"))
        }
        Some(previous) => {
            let same_hash = digest.previous_digest_hash_value.as_deref() == Some(last.hash.as_str());
            let same_signature = digest.previous_digest_signature.as_deref() == Some(last.signature.as_str());
            (!same_hash || !same_signature).then(|| format!("{previous}, which it follows, was changed"))
        }
    }
}

/// The name of a digest without its time: one for each trail, account and region.
fn chain_of(key: &str) -> &str {
    let name = key.rsplit_once('_').map_or(key, |(stem, _)| stem);
    // The day's folder is not part of the chain: the name repeats the account and the region.
    name.rsplit_once('/').map_or(name, |(_, stem)| stem)
}

/// The minute in the name of a digest: `..._20240731T123000Z.json.gz`.
fn minute_of(key: &str) -> Option<u32> {
    let time = key.strip_suffix(".json.gz")?.rsplit_once('_')?.1;
    if time.len() != "20240731T123000Z".len() {
        return None;
    }
    let minutes = format!("{}Z", time.get(..13)?);
    layout::minute_of(&format!("a_b_{minutes}_r.json.gz"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_chain_is_told_from_a_whole_one() {
        let last = Link { key: "d/1".into(), signature: "aa".into(), hash: "bb".into() };
        let check = |previous: Option<&str>, hash: &str, signature: &str, want: Option<&str>| {
            let digest = Digest {
                digest_start_time: String::new(),
                digest_end_time: String::new(),
                digest_s3_bucket: String::new(),
                digest_s3_object: String::new(),
                digest_public_key_fingerprint: String::new(),
                previous_digest_s3_object: previous.map(str::to_owned),
                previous_digest_hash_value: Some(hash.into()),
                previous_digest_signature: Some(signature.into()),
                log_files: Vec::new(),
            };
            let got = break_in(&last, &digest);
            assert!(
                got.is_some() == want.is_some() && got.unwrap_or_default().contains(want.unwrap_or_default())
            );
        };
        check(Some("d/1"), "bb", "aa", None);
        check(Some("d/1"), "bc", "aa", Some("was changed"));
        check(Some("d/1"), "bb", "ab", Some("was changed"));
        check(Some("d/0"), "bb", "aa", Some("is missing"));
        check(None, "", "", Some("begins anew"));
        let key = "AWSLogs/1/CloudTrail-Digest/r/2024/07/31/1_CloudTrail-Digest_r_my_trail_r_20240731T123000Z.json.gz";
        assert_eq!(chain_of(key), "1_CloudTrail-Digest_r_my_trail_r");
        assert_eq!(minute_of(key).map(layout::time_of), Timestamp::parse("2024-07-31T12:30:00Z"));
    }
}
