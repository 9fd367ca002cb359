//! Objects of the bucket: found by listing, fetched in one piece and one version.

use super::layout::{self, Branch};
use super::settings::Settings;
use crate::fault::{Call, Trouble, explain};
use aws_sdk_s3::Client;
use flate2::bufread::MultiGzDecoder;
use prunella_schemas::Timestamp;
use prunella_schemas::limits::DOCUMENT_BYTES_MAX;
use prunella_schemas::port::SourceError;
use std::collections::BTreeMap;
use std::io::Read;

/// Largest object that is fetched, in bytes, as it is stored. CloudTrail's have at most 50 MB uncompressed.
pub const OBJECT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Keys of one answer to a listing.
const LIST_KEYS_MAX: i32 = 1_000;
/// Answers that one folder's list of accounts or regions may have.
const FOLDER_PAGES_MAX: usize = 32;

/// The bucket, as this source may see it.
#[derive(Clone)]
pub struct Bucket {
    pub client: Client,
    pub settings: Settings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub tag: String,
    pub bytes: u64,
}

/// An object's bytes, and what came with them.
#[derive(Clone, Debug, Default)]
pub struct Fetch {
    pub bytes: Vec<u8>,
    pub tag: String,
    pub delivered: Option<Timestamp>,
    pub metadata: BTreeMap<String, String>,
}

impl Bucket {
    fn owner(&self) -> Option<String> {
        (!self.settings.bucket_owner.is_empty()).then(|| self.settings.bucket_owner.clone())
    }

    pub fn list_call(&self) -> Call {
        Call { action: "s3:ListBucket", resource: self.settings.bucket_arn() }
    }

    pub fn get_call(&self, key: &str) -> Call {
        Call { action: "s3:GetObject", resource: self.settings.object_arn(key) }
    }

    /// The keys below `prefix` that sort after `after`, in order, and whether there are more.
    pub async fn list(&self, prefix: &str, after: &str) -> Result<(Vec<Listed>, bool), Trouble> {
        let ask = self.client.list_objects_v2().bucket(&self.settings.bucket).prefix(prefix);
        let ask = ask.start_after(after).max_keys(LIST_KEYS_MAX).set_expected_bucket_owner(self.owner());
        let answer = ask.send().await.map_err(|e| explain(&self.list_call(), &e))?;
        let objects = answer.contents().iter().filter_map(|object| {
            Some(Listed {
                key: object.key()?.to_owned(),
                tag: object.e_tag().unwrap_or_default().to_owned(),
                bytes: u64::try_from(object.size().unwrap_or(0)).unwrap_or(0),
            })
        });
        Ok((objects.collect(), answer.is_truncated().unwrap_or(false)))
    }

    /// The names of the folders right below `prefix`.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Trouble> {
        let (mut found, mut token) = (Vec::new(), None);
        for _ in 0..FOLDER_PAGES_MAX {
            let ask =
                self.client.list_objects_v2().bucket(&self.settings.bucket).prefix(prefix).delimiter("/");
            let ask = ask.set_continuation_token(token).set_expected_bucket_owner(self.owner());
            let answer = ask.send().await.map_err(|e| explain(&self.list_call(), &e))?;
            let names = answer.common_prefixes().iter().filter_map(|p| p.prefix()?.strip_prefix(prefix));
            found.extend(names.map(|name| name.trim_end_matches('/').to_owned()));
            token = answer.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Every branch of `kinds` that the settings want, by account, kind and region; of one account or of an organisation.
    pub async fn branches(&self, kinds: &[&str]) -> Result<Vec<Branch>, Trouble> {
        let root = format!("{}AWSLogs/", self.settings.prefix);
        let mut accounts = Vec::new();
        for name in self.folders(&root).await? {
            let below = format!("{root}{name}/");
            if is_account(&name) {
                accounts.push((below, name));
            } else if name.starts_with("o-") {
                let inner = self.folders(&below).await?;
                accounts.extend(inner.into_iter().map(|account| (format!("{below}{account}/"), account)));
            }
        }
        let wanted = |list: &[String], name: &String| list.is_empty() || list.contains(name);
        let mut branches = Vec::new();
        for (below, account) in accounts {
            if !is_account(&account) || !wanted(&self.settings.accounts, &account) {
                continue;
            }
            for kind in kinds {
                let regions = self.folders(&format!("{below}{kind}/")).await?;
                let regions = regions.iter().filter(|region| wanted(&self.settings.regions, region));
                branches.extend(regions.map(|region| Branch::new(&below, &account, kind, region)));
            }
        }
        branches.sort();
        branches.truncate(super::place::BRANCHES_MAX);
        Ok(branches)
    }

    /// The object as it is now. One answer is of one version, so that what changes meanwhile is never mixed; `tag` makes
    /// sure that it is the one that was listed.
    pub async fn fetch(&self, key: &str, tag: Option<&str>) -> Result<Fetch, Trouble> {
        let call = self.get_call(key);
        let ask = self.client.get_object().bucket(&self.settings.bucket).key(key);
        let ask = ask.set_if_match(tag.map(str::to_owned)).set_expected_bucket_owner(self.owner());
        let answer = ask.send().await.map_err(|e| explain(&call, &e))?;
        let length = u64::try_from(answer.content_length().unwrap_or(0)).unwrap_or(u64::MAX);
        if length > OBJECT_BYTES_MAX {
            return Err(Trouble::Gone(format!(
                "{key} has {length} bytes, at most {OBJECT_BYTES_MAX} are read"
            )));
        }
        let broke_off = |e: String| {
            Trouble::Other(SourceError::Unavailable(format!("s3:GetObject: {key} broke off: {e}")))
        };
        let tag = answer.e_tag().unwrap_or_default().to_owned();
        let delivered = answer.last_modified().and_then(|t| t.to_millis().ok()).map(Timestamp);
        let metadata = answer.metadata().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let mut body = answer.body;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        while let Some(chunk) = body.try_next().await.map_err(|e| broke_off(e.to_string()))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > OBJECT_BYTES_MAX {
                return Err(broke_off("it is longer than it said".to_owned()));
            }
        }
        Ok(Fetch { bytes, tag, delivered, metadata })
    }

    /// The object, listed or not; one that changed since it was listed is read as it is now.
    pub async fn fetch_current(&self, key: &str, tag: &str) -> Result<Fetch, Trouble> {
        match self.fetch(key, (!tag.is_empty()).then_some(tag)).await {
            Err(Trouble::Changed) => self.fetch(key, None).await,
            other => other,
        }
    }
}

fn is_account(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|b| b.is_ascii_digit())
}

/// The uncompressed content; `None` when it is no whole gzip file or larger than a file may be.
pub fn inflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let mut decoder = MultiGzDecoder::new(bytes).take(DOCUMENT_BYTES_MAX as u64 + 1);
    decoder.read_to_end(&mut content).ok()?;
    (content.len() <= DOCUMENT_BYTES_MAX).then_some(content)
}

/// SHA-256 of the uncompressed content, in pieces; zero where it cannot be uncompressed, as no digest says.
pub fn content_hash(bytes: &[u8]) -> [u8; 32] {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut decoder = MultiGzDecoder::new(bytes).take(DOCUMENT_BYTES_MAX as u64);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(buffer.get(..n).unwrap_or_default()),
            Err(_) => return [0; 32],
        }
    }
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

/// Up to when a log file tells, by its name: it holds what was delivered in the minutes before.
pub fn newest_of(key: &str) -> Option<Timestamp> {
    layout::minute_of(key).map(layout::time_of)
}
