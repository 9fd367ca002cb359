//! A dry look at the containers: may we list, may we read, and what to grant if not.

use crate::access::{Access, Account};
use crate::container::Container;
use crate::error::ROLE;
use prunella_bucket::{Bucket, BucketError};
use prunella_schemas::port::{CheckStep, Checkup};

/// `named`: the containers were named by the operator, so that each has to be there.
pub async fn check(account: &Account, containers: impl Iterator<Item = &Container>, named: bool) -> Checkup {
    let (mut steps, mut names, mut there) = (Vec::new(), Vec::new(), 0);
    let mut absent = Vec::new();
    for container in containers {
        names.push(container.name.clone());
        let what = format!("list container {}", container.name);
        match container.page(None, 1).await {
            Ok(page) => {
                there += 1;
                steps.push(CheckStep { what, problem: None });
                // The first page may be empty though there are blobs; then reading is not tried.
                let Some(blob) = page.objects.into_iter().find(|blob| blob.bytes > 0) else { continue };
                let problem = container.fetch(&blob, 0..1).await.err().map(|e| e.to_string());
                steps
                    .push(CheckStep { what: format!("read blob {}/{}", container.name, blob.name), problem });
            }
            Err(BucketError::Absent(problem)) if !named => absent.push((what, problem)),
            Err(e) => steps.push(CheckStep { what, problem: Some(e.to_string()) }),
        }
    }
    // Which of the usual containers there are depends on what the diagnostic settings export; one is enough.
    if there == 0 && steps.is_empty() {
        steps.extend(absent.into_iter().map(|(what, problem)| CheckStep { what, problem: Some(problem) }));
    }
    Checkup { steps, policy: policy(account, &names) }
}

/// The least that has to be granted, as commands or as a signature's parameters.
fn policy(account: &Account, containers: &[String]) -> String {
    match account.access {
        Access::SasFile(_) => format!(
            "a shared access signature with `sp=rl` (read, list), one per container (`sr=c`) or for the account (`ss=b&srt=co`), for: {}",
            containers.join(", ")
        ),
        Access::SharedKeyFile(_) => format!(
            "an account key may do everything with the account; prefer an identity with the role `{ROLE}` on: {}",
            containers.join(", ")
        ),
        Access::Identity | Access::ManagedIdentity(_) => {
            let scope = "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/ACCOUNT";
            let command = |container: &String| {
                format!(
                    "az role assignment create --assignee PRINCIPAL --role '{ROLE}' \\\n  --scope {scope}/blobServices/default/containers/{container}"
                )
            };
            containers.iter().map(command).collect::<Vec<_>>().join("\n")
        }
    }
}
