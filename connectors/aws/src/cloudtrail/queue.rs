//! Reads a bucket by the notifications in a queue; a message is deleted only after its objects are durable.

use super::layout::is_log;
use super::listing::{OBJECTS_MAX, fetch_each};
use super::notice::{self, Notice};
use super::object::{Bucket, Listed};
use super::{body, lock};
use crate::fault::{Call, Trouble, explain};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use futures_util::StreamExt;
use prunella_schemas::Tenant;
use prunella_schemas::limits::INTAKE_BYTES_MAX;
use prunella_schemas::port::{Cursor, Page, SourceError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Mutex;

/// Messages that SQS gives or takes at once.
const MESSAGES_MAX: i32 = 10;
/// Messages after which a page ends, whatever they say.
const TAKEN_MAX: usize = 64;
/// Letters shown of a message that says nothing.
const SHOWN_CHARS_MAX: usize = 120;

pub struct Queue {
    client: Client,
    bucket: Bucket,
    tenant: Tenant,
    /// What the last page had no room for. Only spares waiting: what is lost of it, the queue gives again.
    left: Mutex<Vec<Told>>,
}

/// A message that names log files of ours.
struct Told {
    handle: String,
    /// Those that are still to be fetched.
    keys: Vec<String>,
    /// One could not be fetched: the message is left to the queue's redrive policy.
    has_failed: bool,
}

/// The cursor: what may be deleted once it is durable. The place in the queue is the queue's own.
#[derive(Default, Serialize, Deserialize)]
struct Handles {
    v: u32,
    handles: Vec<String>,
}

impl Queue {
    pub fn new(client: Client, bucket: Bucket, tenant: Tenant) -> Self {
        Queue { client, bucket, tenant, left: Mutex::default() }
    }

    pub fn call(&self, action: &'static str) -> Call {
        Call { action, resource: arn(&self.bucket.settings.queue, self.bucket.settings.partition()) }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A page is short, so that it is durable long before its messages come back.
    pub async fn read(&self, cursor: &Cursor) -> Result<Page, SourceError> {
        let mut told = std::mem::take(&mut *lock(&self.left));
        let mut page = Page { caught_up: told.is_empty(), ..Page::default() };
        let mut wait_s = if told.is_empty() { self.bucket.settings.wait_s } else { 0 };
        let mut taken = 0;
        while taken < TAKEN_MAX && told.iter().map(|t| t.keys.len()).sum::<usize>() < OBJECTS_MAX {
            let messages = self.receive(wait_s).await?;
            if messages.is_empty() {
                break;
            }
            (wait_s, page.caught_up) = (0, false);
            taken += messages.len();
            for message in messages {
                let (Some(body), Some(handle)) = (message.body(), message.receipt_handle()) else { continue };
                match self.judge(body) {
                    Ok(keys) => told.push(Told { handle: handle.to_owned(), keys, has_failed: false }),
                    Err(problem) => page.problems.push(problem),
                }
            }
        }
        let handles = self.fetch(told, &mut page).await?;
        page.next = match handles.is_empty() {
            true => cursor.clone(),
            // Strings alone: serde_json cannot fail on them.
            false => Cursor(serde_json::to_string(&Handles { v: 1, handles }).unwrap_or_default()),
        };
        Ok(page)
    }

    /// Deletes what `cursor` names. A handle that is not valid any more belongs to a message that comes again.
    pub async fn acknowledge(&self, cursor: &Cursor) -> Result<(), SourceError> {
        let Ok(Handles { handles, .. }) = serde_json::from_str(&cursor.0) else { return Ok(()) };
        for few in handles.chunks(usize::try_from(MESSAGES_MAX).unwrap_or(1)) {
            let mut ask = self.client.delete_message_batch().queue_url(&self.bucket.settings.queue);
            for (at, handle) in few.iter().enumerate() {
                let entry =
                    DeleteMessageBatchRequestEntry::builder().id(at.to_string()).receipt_handle(handle);
                let entry = entry.build().map_err(|e| SourceError::Invalid(e.to_string()))?;
                ask = ask.entries(entry);
            }
            ask.send().await.map_err(|e| explain(&self.call("sqs:DeleteMessage"), &e).stops())?;
        }
        Ok(())
    }

    async fn receive(&self, wait_s: u32) -> Result<Vec<Message>, SourceError> {
        let settings = &self.bucket.settings;
        let seconds = |s: u32| i32::try_from(s).unwrap_or(i32::MAX);
        let ask =
            self.client.receive_message().queue_url(&settings.queue).max_number_of_messages(MESSAGES_MAX);
        let ask = ask.visibility_timeout(seconds(settings.visibility_s)).wait_time_seconds(seconds(wait_s));
        let answer = ask.send().await.map_err(|e| explain(&self.call("sqs:ReceiveMessage"), &e).stops())?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// The log files that a message names in our bucket. `Err` for a message that is left where it is, for the redrive
    /// policy: whoever may write to the queue must not choose what we read.
    fn judge(&self, body: &str) -> Result<Vec<String>, String> {
        let ours = &self.bucket.settings.bucket;
        let left = |why: &str| {
            let shown: String = body.chars().take(SHOWN_CHARS_MAX).collect();
            format!("a message is left to the queue's redrive policy: {why}: {shown}")
        };
        match notice::read(body) {
            Notice::Test => Ok(Vec::new()),
            Notice::Unknown(why) => Err(left(why)),
            Notice::Wrote(objects) => {
                if objects.iter().any(|(bucket, _)| bucket != ours) {
                    return Err(left("it names another bucket"));
                }
                Ok(objects.into_iter().map(|(_, key)| key).filter(|key| is_log(key)).collect())
            }
        }
    }

    /// Fetches objects until the page is full; the handles of the messages whose objects are all here.
    async fn fetch(&self, told: Vec<Told>, page: &mut Page) -> Result<Vec<String>, SourceError> {
        let mut named = BTreeSet::new();
        let keys = told.iter().flat_map(|t| &t.keys).filter(|key| named.insert(key.as_str()));
        let listed = |key: &String| Listed { key: key.clone(), tag: String::new(), bytes: 0 };
        let wanted = keys.take(OBJECTS_MAX).map(listed).collect();
        let mut fetches = pin!(fetch_each(&self.bucket, wanted));
        // Whether each that was tried has failed.
        let mut tried: BTreeMap<String, bool> = BTreeMap::new();
        let (mut bytes, mut denied) = (0, Vec::new());
        while bytes < INTAKE_BYTES_MAX {
            let Some((listed, fetch)) = fetches.next().await else { break };
            tried.insert(listed.key.clone(), fetch.is_err());
            match fetch {
                Ok(fetch) => {
                    bytes += fetch.bytes.len();
                    page.bodies.push(body(&self.bucket, &self.tenant, &listed.key, fetch));
                }
                Err(Trouble::Gone(text)) => page.problems.push(left_for(&text)),
                Err(Trouble::Denied(text)) => {
                    page.problems.push(left_for(&text));
                    denied.push(text);
                }
                Err(other) => return Err(other.stops()),
            }
        }
        match denied.pop() {
            Some(text) if !denied.is_empty() && denied.len() + 1 == tried.len() => {
                Err(SourceError::Refused(text))
            }
            _ => Ok(self.settle(told, &tried)),
        }
    }

    /// Keeps the messages whose objects were not all tried for the next page; the handles of those that are done with.
    fn settle(&self, told: Vec<Told>, tried: &BTreeMap<String, bool>) -> Vec<String> {
        let (mut handles, mut left) = (Vec::new(), Vec::new());
        for mut message in told {
            message.has_failed |= message.keys.iter().any(|key| tried.get(key) == Some(&true));
            message.keys.retain(|key| !tried.contains_key(key));
            match (message.keys.is_empty(), message.has_failed) {
                (false, _) => left.push(message),
                (true, false) => handles.push(message.handle),
                (true, true) => {}
            }
        }
        *lock(&self.left) = left;
        handles
    }
}

fn left_for(why: &str) -> String {
    format!("{why}; its message is left to the queue's redrive policy")
}

/// `https://sqs.region.amazonaws.com/account/name` as an ARN.
pub fn arn(url: &str, partition: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let mut parts = rest.split('/');
    let (host, account, name) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or("*"), parts.next().unwrap_or("*"));
    let region = host.split('.').nth(1).filter(|region| region.contains('-')).unwrap_or("*");
    format!("arn:{partition}:sqs:{region}:{account}:{name}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_arn_of_a_queue_is_in_its_url() {
        let check = |url: &str, want: &str| assert_eq!(super::arn(url, "aws"), want);
        check(
            "https://sqs.eu-central-1.amazonaws.com/123456789012/trail",
            "arn:aws:sqs:eu-central-1:123456789012:trail",
        );
        check("http://127.0.0.1:5000/123456789012/trail", "arn:aws:sqs:*:123456789012:trail");
        check("", "arn:aws:sqs:*:*:*");
    }
}
