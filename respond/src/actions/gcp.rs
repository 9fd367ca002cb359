//! What a finding says of Google Cloud: the key behind it, and the buckets that it is about.

use super::TARGETS_MAX;
use prunella_schemas::Finding;
use std::collections::BTreeSet;

/// The key of the evidence, which audit logs name in full; accounts without keys have none.
pub fn key(finding: &Finding) -> Option<String> {
    let account = Some(finding.principal()).filter(|p| p.starts_with("gcp:service-account:"))?;
    let named = |evidence: &prunella_schemas::finding::Evidence| {
        let name = evidence.actor.as_ref()?.user.as_ref()?.credential_uid.as_deref()?.to_owned();
        let id = name.rsplit_once("/keys/").map_or(name.as_str(), |(_, id)| id);
        let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then(|| id.to_owned())
    };
    let id = finding.evidences.iter().find_map(named)?;
    Some(format!("{account}#{id}"))
}

pub fn buckets(finding: &Finding) -> Vec<String> {
    let paths =
        finding.resources.iter().filter_map(|r| r.uid.as_deref()?.strip_prefix("projects/_/buckets/"));
    let names: BTreeSet<&str> =
        paths.filter_map(|path| path.split('/').next()).filter(|n| !n.is_empty()).collect();
    names.into_iter().take(TARGETS_MAX).map(|name| format!("gcp:bucket:{name}")).collect()
}
