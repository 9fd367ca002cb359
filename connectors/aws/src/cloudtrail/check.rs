//! The dry check of a source: each call that it will make, in a form that reads and changes nothing, and the policy that it
//! needs, and no more.

use super::history::History;
use super::layout::{DIGESTS, LOGS};
use super::object::Bucket;
use super::queue::Queue;
use super::settings::{From, Settings};
use super::{CloudTrail, Way};
use crate::fault::{Call, Trouble, explain};
use aws_sdk_sqs::types::QueueAttributeName;
use prunella_schemas::port::{CheckStep, Checkup};
use serde_json::{Value, json};

pub async fn check(source: &CloudTrail) -> Checkup {
    let mut steps = vec![who(source).await];
    let settings = &source.settings;
    match &source.way {
        Way::Bucket(_) => bucket(&source.bucket, &mut steps).await,
        Way::Queue(queue) => {
            attributes(queue, settings, &mut steps).await;
            bucket(&source.bucket, &mut steps).await;
        }
        Way::History(history) => {
            let tried = history.client().lookup_events().max_results(1).send().await;
            let call = History::call();
            steps.push(step(&call, tried.err().map(|e| explain(&call, &e))));
        }
    }
    if settings.digests {
        let call = Call { action: "cloudtrail:ListPublicKeys", resource: "*".to_owned() };
        let client = aws_sdk_cloudtrail::Client::new(&source.config);
        let tried = match settings.digest_keys_file.as_os_str().is_empty() {
            true => client.list_public_keys().send().await.err().map(|e| explain(&call, &e)),
            false => None,
        };
        steps.push(step(&call, tried));
    }
    Checkup { steps, policy: policy(settings) }
}

async fn who(source: &CloudTrail) -> CheckStep {
    let call = Call { action: "sts:GetCallerIdentity", resource: "*".to_owned() };
    match aws_sdk_sts::Client::new(&source.config).get_caller_identity().send().await {
        Ok(who) => CheckStep {
            what: format!("sts:GetCallerIdentity: {}", who.arn().unwrap_or("unknown")),
            problem: None,
        },
        Err(e) => step(&call, Some(explain(&call, &e))),
    }
}

/// Lists one key, and reads the first byte of an object, or finds out that it may.
async fn bucket(bucket: &Bucket, steps: &mut Vec<CheckStep>) {
    let root = format!("{}AWSLogs/", bucket.settings.prefix);
    let listed = bucket.list(&root, "").await;
    let first = listed.as_ref().ok().and_then(|(objects, _)| objects.first()).map(|o| o.key.clone());
    steps.push(step(&bucket.list_call(), listed.err()));
    let key = first.unwrap_or_else(|| format!("{root}none"));
    let ask = bucket.client.get_object().bucket(&bucket.settings.bucket).key(&key).range("bytes=0-0");
    let call = bucket.get_call(&key);
    let failed = ask.send().await.err().map(|e| explain(&call, &e));
    // Whoever may read and list is told that there is nothing; whoever may not, is not even told that.
    steps.push(step(&call, failed.filter(|trouble| !matches!(trouble, Trouble::Gone(_)))));
}

async fn attributes(queue: &Queue, settings: &Settings, steps: &mut Vec<CheckStep>) {
    let call = queue.call("sqs:GetQueueAttributes");
    let ask = queue.client().get_queue_attributes().queue_url(&settings.queue);
    match ask.attribute_names(QueueAttributeName::All).send().await {
        Ok(answer) => {
            let mut tried = step(&call, None);
            let attributes = answer.attributes();
            if !attributes.is_some_and(|all| all.contains_key(&QueueAttributeName::RedrivePolicy)) {
                tried.what.push_str(
                    " (it has no redrive policy: a message that says nothing comes again and again)",
                );
            }
            steps.push(tried);
        }
        Err(e) => steps.push(step(&call, Some(explain(&call, &e)))),
    }
    let call = queue.call("sqs:DeleteMessage");
    let ask = queue.client().delete_message().queue_url(&settings.queue).receipt_handle("none");
    let failed = ask.send().await.err().map(|e| explain(&call, &e));
    // That the handle is none is told only to whoever may delete.
    let refused = failed.filter(|trouble| match trouble {
        Trouble::Other(error) => !error.to_string().contains("eceipt"),
        Trouble::Denied(_) => true,
        Trouble::Gone(_) | Trouble::Changed => false,
    });
    steps.push(step(&call, refused));
    let mut untried = step(&queue.call("sqs:ReceiveMessage"), None);
    untried.what.push_str(" (not tried: it would count for the redrive policy)");
    steps.push(untried);
}

fn step(call: &Call, trouble: Option<Trouble>) -> CheckStep {
    let what = format!("{} on {}", call.action, call.resource);
    CheckStep { what, problem: trouble.map(|trouble| trouble.stops().to_string()) }
}

/// The least that these settings need, as an IAM policy.
pub fn policy(settings: &Settings) -> String {
    let mut statements = Vec::new();
    let mut allow = |actions: &[&str], resource: Value, condition: Option<Value>| {
        let mut statement = json!({ "Effect": "Allow", "Action": actions, "Resource": resource });
        if let (Some(condition), Some(fields)) = (condition, statement.as_object_mut()) {
            fields.insert("Condition".to_owned(), condition);
        }
        statements.push(statement);
    };
    let root = format!("{}AWSLogs/*", settings.prefix);
    if settings.from != From::History {
        let below = json!({ "StringLike": { "s3:prefix": [root] } });
        allow(&["s3:ListBucket"], json!(settings.bucket_arn()), Some(below));
        let kinds = LOGS.iter().chain(settings.digests.then_some(&DIGESTS));
        let objects: Vec<String> =
            kinds.map(|kind| settings.object_arn(&format!("{root}/{kind}/*"))).collect();
        allow(&["s3:GetObject"], json!(objects), None);
        if !settings.kms_key_arn.is_empty() {
            allow(&["kms:Decrypt"], json!(settings.kms_key_arn), None);
        }
    }
    if settings.from == From::Queue {
        let queue = super::queue::arn(&settings.queue, settings.partition());
        allow(&["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"], json!(queue), None);
    }
    if settings.from == From::History {
        allow(&["cloudtrail:LookupEvents"], json!("*"), None);
    }
    if settings.digests && settings.digest_keys_file.as_os_str().is_empty() {
        allow(&["cloudtrail:ListPublicKeys"], json!("*"), None);
    }
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    serde_json::to_string_pretty(&policy).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_allows_what_is_done_and_nothing_else() {
        let actions = |settings: Value| {
            let policy: Value = serde_json::from_str(&policy(&Settings::parse(settings).unwrap())).unwrap();
            let all = policy["Statement"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|s| s["Action"].as_array().unwrap().clone());
            all.map(|a| a.as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let bucket = json!({"region": "eu-central-1", "bucket": "b"});
        assert_eq!(actions(bucket.clone()), "s3:ListBucket s3:GetObject");
        let digests =
            json!({"region": "eu-central-1", "bucket": "b", "digests": true, "kms_key_arn": "arn:k"});
        assert_eq!(actions(digests), "s3:ListBucket s3:GetObject kms:Decrypt cloudtrail:ListPublicKeys");
        let queue = json!({"region": "eu-central-1", "bucket": "b", "from": "queue", "queue": "https://sqs.eu-central-1.amazonaws.com/1/q"});
        assert_eq!(
            actions(queue),
            "s3:ListBucket s3:GetObject sqs:ReceiveMessage sqs:DeleteMessage sqs:GetQueueAttributes"
        );
        assert_eq!(actions(json!({"region": "r", "from": "history"})), "cloudtrail:LookupEvents");
        let china =
            policy(&Settings::parse(json!({"region": "cn-north-1", "bucket": "b", "prefix": "p/"})).unwrap());
        assert!(china.contains("arn:aws-cn:s3:::b/p/AWSLogs/*/CloudTrail/*"), "{china}");
    }
}
