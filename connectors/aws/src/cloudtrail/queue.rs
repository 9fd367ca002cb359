//! Reads a bucket by the notifications in a queue; a message is deleted only after its objects are durable.

use super::body;
use super::layout::is_log;
use super::listing::{OBJECTS_MAX, fetch_all};
use super::notice::{self, Notice};
use super::object::{Bucket, Listed};
use crate::fault::{Call, Trouble, explain};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use prunella_schemas::Tenant;
use prunella_schemas::port::{Cursor, Page, SourceError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Messages that SQS gives or takes at once.
const MESSAGES_MAX: i32 = 10;
/// Letters shown of a message that says nothing.
const SHOWN_CHARS_MAX: usize = 120;

pub struct Queue {
    client: Client,
    bucket: Bucket,
    tenant: Tenant,
}

/// The cursor: what may be deleted once it is durable. The place in the queue is the queue's own.
#[derive(Default, Serialize, Deserialize)]
struct Handles {
    v: u32,
    handles: Vec<String>,
}

impl Queue {
    pub fn new(client: Client, bucket: Bucket, tenant: Tenant) -> Self {
        Queue { client, bucket, tenant }
    }

    pub fn call(&self, action: &'static str) -> Call {
        Call { action, resource: arn(&self.bucket.settings.queue, self.bucket.settings.partition()) }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A page is short, so that it is durable long before its messages come back.
    pub async fn read(&self, cursor: &Cursor) -> Result<Page, SourceError> {
        let mut page = Page { caught_up: true, ..Page::default() };
        let mut handles = Vec::new();
        let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
        let mut wait_s = self.bucket.settings.wait_s;
        while wanted.iter().map(|(_, keys)| keys.len()).sum::<usize>() < OBJECTS_MAX
            && handles.len() + wanted.len() < OBJECTS_MAX
        {
            let messages = self.receive(wait_s).await?;
            if messages.is_empty() {
                break;
            }
            (wait_s, page.caught_up) = (0, false);
            for message in messages {
                let (Some(body), Some(handle)) = (message.body(), message.receipt_handle()) else { continue };
                match self.judge(body) {
                    Ok(keys) if keys.is_empty() => handles.push(handle.to_owned()),
                    Ok(keys) => wanted.push((handle.to_owned(), keys)),
                    Err(problem) => page.problems.push(problem),
                }
            }
        }
        handles.extend(self.fetch(wanted, &mut page).await?);
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

    /// Fetches the objects of each message; the handles of those whose objects are all here.
    async fn fetch(
        &self,
        wanted: Vec<(String, Vec<String>)>,
        page: &mut Page,
    ) -> Result<Vec<String>, SourceError> {
        let keys: BTreeSet<&String> = wanted.iter().flat_map(|(_, keys)| keys).collect();
        let keys = keys.into_iter().map(|key| Listed { key: key.clone(), tag: String::new(), bytes: 0 });
        let (mut failed, mut refusal, mut fetched) = (BTreeSet::new(), None, 0usize);
        for (listed, fetch) in fetch_all(&self.bucket, keys.collect()).await {
            match fetch {
                Ok(fetch) => {
                    fetched += 1;
                    page.bodies.push(body(&self.bucket, &self.tenant, &listed.key, fetch));
                }
                Err(Trouble::Gone(text) | Trouble::Denied(text)) => {
                    page.problems.push(format!("{text}; its message is left to the queue's redrive policy"));
                    refusal = Some(text);
                    failed.insert(listed.key);
                }
                Err(other) => return Err(other.stops()),
            }
        }
        if let Some(text) = refusal.filter(|_| fetched == 0 && failed.len() > 1) {
            return Err(SourceError::Refused(text));
        }
        let whole = wanted.into_iter().filter(|(_, keys)| keys.iter().all(|key| !failed.contains(key)));
        Ok(whole.map(|(handle, _)| handle).collect())
    }
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
