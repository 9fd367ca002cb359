//! What a finding says of Azure: the containers and blobs that it is about, as the log of their account names them.

use super::TARGETS_MAX;
use prunella_schemas::Finding;
use std::collections::BTreeSet;

pub fn containers(finding: &Finding) -> Vec<String> {
    let of = |path: &str| {
        let (account, rest) = path.split_once('/')?;
        Some(format!("azure:container:{account}:{}", rest.split('/').next().filter(|c| !c.is_empty())?))
    };
    named(finding, of)
}

pub fn blobs(finding: &Finding) -> Vec<String> {
    let of = |path: &str| {
        let (account, rest) = path.split_once('/')?;
        rest.split_once('/')
            .filter(|(_, blob)| !blob.is_empty())
            .map(|_| format!("azure:blob:{account}:{rest}"))
    };
    named(finding, of)
}

/// A blob's id is `/account/container/name`; everything else of Azure begins with its subscription.
fn named(finding: &Finding, of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let is_storage =
        |kind: &str| kind.starts_with("Microsoft.Storage/storageAccounts/blobServices/containers");
    let found = finding.resources.iter().filter(|r| r.kind.as_deref().is_some_and(is_storage));
    let paths = found.filter_map(|r| r.uid.as_deref()?.strip_prefix('/'));
    let names: BTreeSet<String> = paths.filter(|p| !p.starts_with("subscriptions/")).filter_map(of).collect();
    names.into_iter().take(TARGETS_MAX).collect()
}
