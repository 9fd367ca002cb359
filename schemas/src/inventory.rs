//! Inventory: what there is in the clouds, as its newest look says, and how risky each of it is now.
//!
//! An inventory is a stream of OCSF events (5023). Each tells one kind of resource of one account; all events of one look
//! have the same `metadata.correlation_uid`, so that what is gone from the newest look is gone.

use crate::ocsf::Resource;
use crate::port::{PortError, QUERY_ROWS_MAX, Query, Store};
use crate::principal::INVENTORY;
use crate::risk::{RiskLevel, decay};
use crate::{Event, Finding, Tag, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Most resources in one event.
pub const RESOURCES_PER_EVENT_MAX: usize = 100;
/// A look that is older is no longer shown: looks are taken once a day or more often.
const AGE_MS_MAX: i64 = 25 * 3_600_000;
/// Findings older than this have no risk left.
const RISK_AGE_MS_MAX: i64 = 3 * 86_400_000;
/// Most pages of events, and of findings, that are read for one answer.
const PAGES_MAX: usize = 50;
/// Events of one page; each holds many resources.
const EVENTS_PER_PAGE_MAX: u32 = 200;
/// So many pages that hold nothing of a newest look end the reading.
const STALE_PAGES_MAX: usize = 2;

/// One resource of the newest look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    pub uid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Such as `AWS::S3::Bucket`.
    #[serde(rename = "type")]
    pub kind: String,
    pub tenant: String,
    pub provider: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criticality: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// When it was last looked at.
    pub seen: Timestamp,
    /// 0 to 100: the highest risk of the findings that it takes part in, decayed until now.
    pub risk_score: u8,
    pub risk_level: RiskLevel,
    /// Of the last three days.
    pub findings: u32,
}

/// The newest inventory of a store, riskiest first.
pub async fn assets(
    store: &dyn Store,
    tenant: Option<&str>,
    now: Timestamp,
) -> Result<Vec<Asset>, PortError> {
    let base = Query { tenant: tenant.map(str::to_owned), limit: QUERY_ROWS_MAX, ..Query::default() };
    let (mut looks, mut stale) = (Looks::default(), 0);
    let mut query = Query {
        principal: Some(INVENTORY.to_owned()),
        since: Some(now.plus_ms(-AGE_MS_MAX)),
        limit: EVENTS_PER_PAGE_MAX,
        ..base.clone()
    };
    for _ in 0..PAGES_MAX {
        let page = store.events(&query).await?;
        let news = page.rows.into_iter().filter_map(|event| looks.take(event)).count();
        stale = if news == 0 { stale + 1 } else { 0 };
        query.before = page.next;
        if query.before.is_none() || stale >= STALE_PAGES_MAX {
            break;
        }
    }
    let mut findings = Vec::new();
    let mut query = Query { since: Some(now.plus_ms(-RISK_AGE_MS_MAX)), ..base };
    for _ in 0..PAGES_MAX {
        let page = store.findings(&query).await?;
        findings.extend(page.rows);
        query.before = page.next;
        if query.before.is_none() {
            break;
        }
    }
    Ok(weigh(looks.assets.into_values().collect(), &findings, now))
}

/// The newest look at each kind in each account.
#[derive(Default)]
struct Looks {
    /// By tenant, provider, account and kind.
    newest: HashMap<[String; 4], Option<String>>,
    /// By tenant, provider and id.
    assets: BTreeMap<[String; 3], Asset>,
}

impl Looks {
    /// Takes the events newest first. `None` for one of an older look.
    fn take(&mut self, event: Event) -> Option<()> {
        let tenant = event.tenant().to_owned();
        let provider = event.cloud.as_ref().map(|cloud| cloud.provider.to_string()).unwrap_or_default();
        let account = event.account().unwrap_or_default().to_owned();
        let kind = event.metadata.event_code.clone().unwrap_or_default();
        let look = event.metadata.correlation_uid.clone();
        let key = [tenant.clone(), provider.clone(), account.clone(), kind];
        if *self.newest.entry(key).or_insert_with(|| look.clone()) != look {
            return None;
        }
        let (region, seen) = (event.cloud.as_ref().and_then(|cloud| cloud.region.clone()), event.time);
        for resource in event.resources {
            let asset = asset(resource, &tenant, &provider, &account, region.as_deref(), seen);
            let key = [tenant.clone(), provider.clone(), asset.uid.clone()];
            self.assets.entry(key).or_insert(asset);
        }
        Some(())
    }
}

fn asset(
    resource: Resource,
    tenant: &str,
    provider: &str,
    account: &str,
    region: Option<&str>,
    seen: Timestamp,
) -> Asset {
    Asset {
        uid: resource.uid.or_else(|| resource.name.clone()).unwrap_or_default(),
        name: resource.name,
        kind: resource.kind.unwrap_or_default(),
        tenant: tenant.to_owned(),
        provider: provider.to_owned(),
        account: (!account.is_empty()).then(|| account.to_owned()),
        region: resource.region.or_else(|| region.map(str::to_owned)),
        owner: resource.owner.and_then(|owner| owner.uid.or(owner.name)),
        criticality: resource.criticality,
        tags: resource.tags,
        seen,
        ..Asset::default()
    }
}

/// Sets what the findings mean for each asset, and puts the riskiest first.
fn weigh(mut assets: Vec<Asset>, findings: &[Finding], now: Timestamp) -> Vec<Asset> {
    let mut by_id: HashMap<(&str, &str), (f64, u32)> = HashMap::new();
    for finding in findings {
        let score = decay(f64::from(finding.risk_score), now.since_ms(finding.time));
        for id in ids(finding) {
            let (highest, count) = by_id.entry((finding.tenant(), id)).or_default();
            *highest = highest.max(score);
            *count += 1;
        }
    }
    for asset in &mut assets {
        let known = by_id.get(&(asset.tenant.as_str(), asset.uid.as_str()));
        let (score, findings) = known.copied().unwrap_or_default();
        asset.risk_score = score.round().clamp(0.0, 100.0) as u8;
        asset.risk_level = RiskLevel::of(score);
        asset.findings = findings;
    }
    assets.sort_by(|a, b| {
        b.risk_score.cmp(&a.risk_score).then_with(|| (&a.tenant, &a.uid).cmp(&(&b.tenant, &b.uid)))
    });
    assets
}

/// What takes part in a finding: resources, who acted, and by which key; each once.
fn ids(finding: &Finding) -> Vec<&str> {
    let resources = finding.resources.iter().filter_map(|r| r.uid.as_deref().or(r.name.as_deref()));
    let users = finding.evidences.iter().filter_map(|e| e.actor.as_ref()?.user.as_ref());
    let users = users.flat_map(|user| [user.uid.as_deref(), user.credential_uid.as_deref()]).flatten();
    // `aws:user:arn:...`, `gcp:user:ann@example.com`: the provider's own id is behind the second colon.
    let principal = finding.principal().splitn(3, ':').nth(2);
    let mut ids: Vec<&str> = resources.chain(users).chain(principal).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocsf::{Account, CLOUD_INVENTORY, Cloud, STATUS_SUCCESS};

    fn look(at: i64, kind: &str, uids: &[&str]) -> Event {
        let mut event = Event::new(CLOUD_INVENTORY, 2, STATUS_SUCCESS, 1);
        event.time = Timestamp(at);
        event.metadata.event_code = Some(kind.to_owned());
        event.metadata.correlation_uid = Some(format!("look-{at}"));
        let account = Some(Account { uid: Some("1".to_owned()), ..Account::default() });
        event.cloud = Some(Cloud { provider: "AWS".into(), account, ..Cloud::default() });
        let resource = |uid: &&str| Resource { uid: Some((*uid).to_owned()), ..Resource::default() };
        event.resources = uids.iter().map(resource).collect();
        event
    }

    fn finding(at: i64, score: u8, resource: &str, principal: &str) -> Finding {
        let mut finding = Finding::new(4);
        finding.time = Timestamp(at);
        finding.risk_score = score;
        finding.prunella.principal = principal.to_owned();
        finding.resources = vec![Resource { uid: Some(resource.to_owned()), ..Resource::default() }];
        finding
    }

    #[test]
    fn what_is_gone_from_the_newest_look_is_gone_and_risk_fades() {
        let events = vec![
            look(20, "bucket", &["b1", "b2"]),
            look(20, "user", &[]),
            look(20, "bucket", &["b3"]),
            look(10, "bucket", &["b1", "gone"]),
            look(10, "user", &["u-gone"]),
            look(10, "role", &["arn:r"]),
        ];
        let half = crate::risk::RISK_HALF_LIFE_MS;
        let findings = [
            finding(0, 80, "b2", "aws:role:arn:r"),
            finding(half, 30, "b2", "aws:user:other"),
            finding(half, 100, "elsewhere", "aws:user:other"),
        ];
        let mut looks = Looks::default();
        let taken: Vec<bool> = events.into_iter().map(|event| looks.take(event).is_some()).collect();
        assert_eq!(taken, [true, true, true, false, false, true]);
        let weighed = weigh(looks.assets.into_values().collect(), &findings, Timestamp(half));
        let shown: Vec<_> =
            weighed.iter().map(|a| (a.uid.as_str(), a.risk_score, a.risk_level, a.findings)).collect();
        let (low, medium) = (RiskLevel::Low, RiskLevel::Medium);
        assert_eq!(
            shown,
            [("arn:r", 40, medium, 1), ("b2", 40, medium, 2), ("b1", 0, low, 0), ("b3", 0, low, 0)]
        );
    }
}
