//! A dry look at the bucket: may we list, may we read, and what to grant and to set up if not.

use crate::error::ROLE;
use crate::sink::Log;
use prunella_bucket::Bucket;
use prunella_schemas::port::{CheckStep, Checkup};

pub async fn check<'a>(logs: impl Iterator<Item = &'a Log>) -> Checkup {
    let (mut steps, mut bucket, mut names) = (Vec::new(), String::new(), Vec::new());
    for log in logs {
        bucket.clone_from(&log.store.bucket);
        names.push(log.prefix.trim_end_matches('/').to_owned());
        let what = format!("storage.objects.list on gs://{bucket}/{}", log.prefix);
        match log.page(None, 1).await {
            Err(e) => steps.push(CheckStep { what, problem: Some(e.to_string()) }),
            Ok(page) => {
                steps.push(CheckStep { what, problem: None });
                let Some(object) = page.objects.into_iter().find(|object| object.bytes > 0) else { continue };
                let what = format!("storage.objects.get on {}", log.origin(&object.name));
                let problem = log.fetch(&object, 0..1).await.err().map(|e| e.to_string());
                steps.push(CheckStep { what, problem });
            }
        }
    }
    Checkup { steps, policy: policy(&bucket, &names) }
}

/// The least that has to be granted, and the sink that fills the bucket.
fn policy(bucket: &str, logs: &[String]) -> String {
    let filter: Vec<String> = logs.iter().map(|log| format!("log_id(\"{log}\")")).collect();
    format!(
        "gcloud storage buckets add-iam-policy-binding gs://{bucket} \\\n  --member=serviceAccount:READER --role={ROLE}\n\
         gcloud logging sinks create prunella storage.googleapis.com/{bucket} \\\n  --organization=ORGANIZATION --include-children \\\n  --log-filter='{}'\n\
         gcloud storage buckets add-iam-policy-binding gs://{bucket} \\\n  --member=WRITER_IDENTITY_OF_THE_SINK --role=roles/storage.objectCreator\n",
        filter.join(" OR ")
    )
}
