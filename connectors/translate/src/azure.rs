//! Sources of Microsoft Azure and Entra ID, and what their records have in common.

pub mod activity;
pub mod audit;
pub mod signin;
pub mod storage;

use crate::Malformed;
use crate::bounded::Copier;
use crate::lenient::{List, Raw};
use prunella_schemas::ocsf::{Account, Cloud, Organization, Product, Resource};
use prunella_schemas::{Event, Flag, principal};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Most records in one `{"records": [..]}`, which is how Event Hubs batch them.
pub const BATCH_RECORDS_MAX: usize = 4_096;

/// Azure logs carry the id of the caller's Entra tenant as a GUID, or not at all.
const NO_TENANT: &str = "-";

/// A record of an Azure log as it stands in the JSON, or a batch of such.
trait Wire<'a>: Deserialize<'a> {
    /// The name of the log, and what its records must have, for people.
    const WANTED: &'static str;

    fn is_record(&self) -> bool;

    /// `records` of an Event Hubs message, or `value` of a REST answer.
    fn batch(&self) -> Raw<'a>;

    /// Reads the fields of a record that came without its envelope, if that is what `raw` is.
    fn bare(&mut self, _raw: &'a str) {}
}

/// Reads one record, in its envelope or bare.
fn read<'a, W: Wire<'a>>(raw: &'a str) -> Result<W, Malformed> {
    let mut wire: W = serde_json::from_str(raw).map_err(|e| Malformed::json(raw, &e))?;
    if !wire.is_record() {
        wire.bare(raw);
    }
    Ok(wire)
}

/// Reads a body that is one record or a batch, and hands on each record with its own part of the body.
/// Nothing is handed on when any of it is refused.
fn each<'a, W: Wire<'a>>(body: &'a str, mut then: impl FnMut(&'a str, &W)) -> Result<(), Malformed> {
    if !body.trim_start().starts_with('{') {
        let detail = format!("the record is not a JSON object; send {}", W::WANTED);
        return Err(Malformed { detail, offset: Some(0) });
    }
    let wire: W = read(body)?;
    if wire.is_record() {
        then(body, &wire);
        return Ok(());
    }
    let batch: List<&RawValue, BATCH_RECORDS_MAX> =
        wire.batch().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    if batch.cut {
        return Err(Malformed::new(format!(
            "the batch holds more than {BATCH_RECORDS_MAX} records; split it into smaller ones"
        )));
    }
    let mut wires = Vec::with_capacity(batch.items.len());
    for raw in batch.items {
        let wire: W = read(raw.get())?;
        if !wire.is_record() {
            wires.clear();
            break;
        }
        wires.push((raw.get(), wire));
    }
    if wires.is_empty() {
        return Err(Malformed::new(format!(
            "the object is no such record, nor a batch of them; send {}",
            W::WANTED
        )));
    }
    wires.iter().for_each(|(raw, wire)| then(raw, wire));
    Ok(())
}

/// The parts of `/subscriptions/ID/resourceGroups/NAME/providers/NAMESPACE/TYPE/NAME[/TYPE/NAME]`, in whatever case.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct ResourceId<'t> {
    subscription: Option<&'t str>,
    tenant: Option<&'t str>,
    /// `NAMESPACE/TYPE/NAME[/TYPE/NAME]`.
    provided: Option<&'t str>,
}

impl<'t> ResourceId<'t> {
    fn of(id: Option<&'t str>) -> Self {
        let mut parts = ResourceId::default();
        let Some(id) = id else { return parts };
        let (mut at, mut before) = (0, "");
        for part in id.split('/') {
            at += part.len() + 1;
            if !part.is_empty() && before.eq_ignore_ascii_case("subscriptions") {
                parts.subscription = Some(part);
            } else if !part.is_empty() && before.eq_ignore_ascii_case("tenants") {
                parts.tenant = Some(part);
            } else if part.eq_ignore_ascii_case("providers") {
                // The last one counts: a lock lies on a resource of another provider.
                parts.provided = id.get(at..);
            }
            before = part;
        }
        parts
    }

    /// `Microsoft.Storage/storageAccounts/blobServices` of `Microsoft.Storage/storageAccounts/a/blobServices/default`.
    fn kind(&self) -> Option<String> {
        let provided = self.provided?;
        let mut parts = provided.split('/');
        let mut kind = String::with_capacity(provided.len());
        kind.push_str(parts.next()?);
        for part in parts.step_by(2).filter(|part| !part.is_empty()) {
            kind.push('/');
            kind.push_str(part);
        }
        Some(kind)
    }

    /// The last part, if the resource has a name at all.
    fn name(&self) -> Option<&'t str> {
        let (head, name) = self.provided?.rsplit_once('/')?;
        (head.contains('/') && !name.is_empty()).then_some(name)
    }
}

/// The resource that a record names by its id.
fn resource(id: &str, parts: &ResourceId<'_>, region: Option<&str>, copy: &Copier) -> Resource {
    Resource {
        uid: Some(copy.string(id)),
        name: copy.option(parts.name()),
        kind: parts.kind().map(|kind| copy.string(&kind)),
        region: copy.option(region),
        ..Resource::default()
    }
}

/// Where in Azure it happened: in a subscription, else in the tenant itself.
fn cloud(subscription: Option<&str>, tenant: Option<&str>, region: Option<&str>, copy: &Copier) -> Cloud {
    let account = |uid: &str, kind: &'static str, type_id| Account {
        // Exports write these GUIDs in capitals, other channels do not.
        uid: Some(copy.clip(uid).to_ascii_lowercase()),
        kind: Some(kind.into()),
        type_id: Some(type_id),
        ..Account::default()
    };
    Cloud {
        provider: "Azure".into(),
        region: copy.option(region),
        account: subscription
            .map(|uid| account(uid, "Azure Subscription", 13))
            .or_else(|| tenant.map(|uid| account(uid, "Azure AD Account", 6))),
        org: tenant.map(|uid| Organization { uid: Some(copy.string(uid)), name: None }),
        ..Cloud::default()
    }
}

/// The account that a user belongs to: its tenant, else the subscription in which it acted.
fn account(tenant: Option<&str>, event: &Event, copy: &Copier) -> Option<Account> {
    match tenant {
        Some(uid) => Some(Account {
            uid: Some(copy.string(uid)),
            kind: Some("Azure AD Account".into()),
            type_id: Some(6),
            ..Account::default()
        }),
        None => event.cloud.as_ref()?.account.clone(),
    }
}

/// Who acted, as the id of a person, or of an application that acted for itself.
struct Caller<'t> {
    tenant: Option<&'t str>,
    user: Option<&'t str>,
    app: Option<&'t str>,
}

/// Sets the principal: the person, else the application, else the account and network they came from.
fn set_principal(event: &mut Event, caller: &Caller<'_>, copy: &Copier) {
    let address = event.src_endpoint.as_ref().and_then(|source| source.ip.as_deref());
    let (user, app) = (caller.user.map(|id| copy.clip(id)), caller.app.map(|id| copy.clip(id)));
    let place = match user.or(app) {
        Some(_) => caller.tenant,
        None => event.account().or(caller.tenant),
    };
    let place = copy.clip(place.unwrap_or(NO_TENANT));
    let missing = user.is_none() && app.is_none();
    event.prunella.principal = principal::azure(place, user, app, address);
    if missing {
        event.flag(Flag::MissingActor);
    }
}

/// The metadata that all Azure records have.
fn set_metadata(
    event: &mut Event,
    source: &'static str,
    product: &'static str,
    category: Option<&str>,
    copy: &Copier,
) {
    let metadata = &mut event.metadata;
    metadata.event_code = copy.option(category);
    metadata.log_name = Some(source.into());
    metadata.profiles = vec!["cloud".into()];
    metadata.product = Product { name: product.into(), vendor_name: "Microsoft".into(), feature: None };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_id_has_parts_in_any_case() {
        let check = |id: &str, subscription: Option<&str>, kind: Option<&str>, name: Option<&str>| {
            let parts = ResourceId::of(Some(id));
            assert_eq!(
                (parts.subscription, parts.kind().as_deref(), parts.name()),
                (subscription, kind, name),
                "{id}"
            );
        };
        let vm = "/SUBSCRIPTIONS/s/RESOURCEGROUPS/r/PROVIDERS/MICROSOFT.COMPUTE/VIRTUALMACHINES/vm";
        check(vm, Some("s"), Some("MICROSOFT.COMPUTE/VIRTUALMACHINES"), Some("vm"));
        let lock = "/subscriptions/s/providers/Microsoft.Storage/storageAccounts/a/providers/Microsoft.Authorization/locks/l";
        check(lock, Some("s"), Some("Microsoft.Authorization/locks"), Some("l"));
        check("/subscriptions/s/providers/Microsoft.Web", Some("s"), Some("Microsoft.Web"), None);
        check("/subscriptions/s", Some("s"), None, None);
        check("/providers/", None, Some(""), None);
        check("é/", None, None, None);
        assert_eq!(ResourceId::of(Some("/tenants/t/providers/Microsoft.aadiam")).tenant, Some("t"));
    }
}
