//! The clouds that this process may act on, as the configuration names them.

use crate::config::{Config, Effector as Section};
use anyhow::Context;
use prunella_runtime::clock;
use prunella_schemas::port::{Configured, Effector};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every kind that this build has.
const KINDS: &[&str] = &[
    #[cfg(feature = "aws")]
    prunella_aws::effect::KIND,
    #[cfg(feature = "azure")]
    prunella_azure::effect::KIND,
    #[cfg(feature = "gcp")]
    prunella_gcp::effect::KIND,
];

/// One effector for each kind, over all that is configured of it. Nothing is asked of a provider yet.
pub async fn open_all(config: &Config) -> anyhow::Result<Vec<Arc<dyn Effector>>> {
    let mut names = BTreeSet::new();
    let mut kinds: BTreeMap<&str, Vec<Configured>> = BTreeMap::new();
    for section in &config.effector {
        let Section { name, kind, tenant, settings } = section;
        anyhow::ensure!(names.insert(name), "two effectors are called `{name}`");
        let configured = Configured {
            name: name.clone(),
            kind: kind.clone(),
            tenant: tenant.clone().unwrap_or_else(|| config.tenant.clone()),
            settings: serde_json::to_value(settings)?,
            clock: clock::wall(),
        };
        kinds.entry(kind).or_default().push(configured);
    }
    let mut effectors = Vec::with_capacity(kinds.len());
    for (kind, configured) in kinds {
        effectors.push(open(kind, configured).await?);
    }
    Ok(effectors)
}

#[allow(clippy::unused_async, reason = "a build without clouds has nothing to wait for")]
async fn open(kind: &str, configured: Vec<Configured>) -> anyhow::Result<Arc<dyn Effector>> {
    match kind {
        #[cfg(feature = "aws")]
        prunella_aws::effect::KIND => prunella_aws::effect::open(configured).await.context("[[effector]]"),
        #[cfg(feature = "azure")]
        prunella_azure::effect::KIND => prunella_azure::effect::open(configured).context("[[effector]]"),
        #[cfg(feature = "gcp")]
        prunella_gcp::effect::KIND => prunella_gcp::effect::open(configured).await.context("[[effector]]"),
        _ => {
            let names: Vec<String> = configured.into_iter().map(|c| c.name).collect();
            let unknown = anyhow::anyhow!("this build acts on no `{kind}`; it has: {}", KINDS.join(", "));
            Err(unknown).with_context(|| format!("effector `{}`", names.join("`, `")))
        }
    }
}
