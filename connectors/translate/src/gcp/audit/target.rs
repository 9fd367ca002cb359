//! What the call acted upon: resources, and the user, group, role, bucket or table that a class asks for.

use super::wire::{BindingDelta, LogEntry, Named};
use super::{class, service_account};
use crate::bounded::{Copier, RESOURCES_MAX};
use crate::lenient::Raw;
use prunella_schemas::Event;
use prunella_schemas::ocsf::{
    ACCOUNT_CHANGE, AUTHENTICATION, Account, DATASTORE_ACTIVITY, Databucket, GROUP_MANAGEMENT, Group, Policy,
    Resource, Service, Table, User,
};

pub fn set_target(event: &mut Event, entry: &LogEntry<'_>, copy: &Copier) {
    set_resources(event, entry, copy);
    match event.class_uid {
        uid if uid == ACCOUNT_CHANGE.uid => set_account(event, entry, copy),
        uid if uid == GROUP_MANAGEMENT.uid => set_group(event, entry, copy),
        uid if uid == AUTHENTICATION.uid => set_sign_in(event, entry, copy),
        uid if uid == DATASTORE_ACTIVITY.uid => set_datastore(event, entry, copy),
        _ => {}
    }
}

/// The resource that the call names, and those whose permissions were checked for it.
fn set_resources(event: &mut Event, entry: &LogEntry<'_>, copy: &Copier) {
    let payload = &entry.payload;
    if payload.authorizations.cut {
        copy.mark_cut();
    }
    let own_kind = payload.authorizations.items.first().and_then(|first| first.attributes.kind.get());
    let own = payload.resource_name.get().map(|name| (name, own_kind.or(entry.resource.kind.get())));
    let checked = payload.authorizations.items.iter().filter_map(|authorization| {
        let name = authorization.resource.get().or(authorization.attributes.name.get())?;
        Some((name, authorization.attributes.kind.get()))
    });
    for (name, kind) in own.into_iter().chain(checked) {
        let name = copy.clip(name);
        if event.resources.len() >= RESOURCES_MAX {
            copy.mark_cut();
            break;
        }
        if event.resources.iter().any(|known| known.uid.as_deref() == Some(name)) {
            continue;
        }
        let last = name.trim_end_matches('/').rsplit('/').next().filter(|last| !last.is_empty());
        event.resources.push(Resource {
            uid: Some(name.to_owned()),
            name: last.map(str::to_owned),
            kind: copy.option(kind),
            ..Resource::default()
        });
    }
}

fn set_account(event: &mut Event, entry: &LogEntry<'_>, copy: &Copier) {
    if let Some(binding) = entry.bindings().first() {
        event.policy = copy.text(&binding.role).map(|role| Policy { uid: Some(role), name: None });
        event.user = Some(member(binding, copy));
        return;
    }
    if let Some(email) = parameter(entry, "USER_EMAIL") {
        let role = parameter(entry, "ROLE_NAME").or(parameter(entry, "PRIVILEGE_NAME"));
        event.policy = role.map(|role| Policy { uid: None, name: Some(copy.string(role)) });
        event.user = Some(user(email, "User", copy));
        return;
    }
    event.user =
        Some(made_account(entry, copy).or_else(|| event.actor.as_ref()?.user.clone()).unwrap_or_default());
}

/// `user:a@b.c`, `serviceAccount:..`, `group:..`, `allUsers`.
fn member(binding: &BindingDelta<'_>, copy: &Copier) -> User {
    let member = binding.member.get().unwrap_or("Unknown");
    let (kind, name) = match member.split_once(':') {
        Some(("user", name)) => ("User", name),
        Some(("serviceAccount", name)) => ("ServiceAccount", name),
        Some(("group", name)) => ("Group", name),
        Some(("domain", name)) => ("Domain", name),
        _ => ("Principals", member),
    };
    User { uid: Some(copy.string(member)), ..user(name, kind, copy) }
}

fn user(name: &str, kind: &str, copy: &Copier) -> User {
    User {
        name: Some(copy.string(name)),
        email_addr: name.contains('@').then(|| copy.string(name)),
        kind: Some(kind.to_owned()),
        ..User::default()
    }
}

/// The service account that a call made or changed: by its answer, its monitored resource, or its request.
fn made_account(entry: &LogEntry<'_>, copy: &Copier) -> Option<User> {
    let is_key = class::last_part(entry.method().unwrap_or_default()).ends_with("Key");
    let (request, response) = (read(entry.payload.request), read(entry.payload.response));
    let by_name = |name: Option<&str>| {
        let (_, rest) = name?.split_once("/serviceAccounts/")?;
        rest.split('/').next().map(|id| copy.string(id))
    };
    let email = copy
        .option(response.email.get().or(entry.resource.labels.email_id.get()))
        .or_else(|| by_name(response.name.get()))
        .or_else(|| by_name(entry.payload.resource_name.get()))
        .or_else(|| by_name(request.name.get()))
        .or_else(|| copy.text(&request.account_id))?;
    let key = response
        .name
        .get()
        .filter(|_| is_key)
        .and_then(|name| name.rsplit_once("/keys/"))
        .map(|(_, key)| key);
    let account = service_account(Some(&email))
        .map(|project| Account { uid: Some(project.to_owned()), ..Account::default() });
    Some(User {
        uid: copy.text(&response.unique_id),
        credential_uid: copy.option(key),
        account,
        ..user(&email, "ServiceAccount", copy)
    })
}

fn set_group(event: &mut Event, entry: &LogEntry<'_>, copy: &Copier) {
    let name = parameter(entry, "GROUP_EMAIL").or(entry.payload.resource_name.get()).unwrap_or("Unknown");
    event.group = Some(Group { uid: None, name: Some(copy.string(name)) });
    event.user = parameter(entry, "USER_EMAIL").map(|email| user(email, "User", copy));
}

/// Whoever signs in to Google; or the service account whose credentials were given out.
fn set_sign_in(event: &mut Event, entry: &LogEntry<'_>, copy: &Copier) {
    let of_actor = || event.actor.as_ref()?.user.clone();
    let user = if entry.service() == "login.googleapis.com" {
        of_actor()
    } else {
        made_account(entry, copy).or_else(of_actor)
    };
    event.user = Some(User { credential_uid: None, ..user.unwrap_or_default() });
    event.service = Some(Service { name: Some(copy.string(entry.service())), uid: None });
    let second = entry.parameter("is_second_factor").and_then(|parameter| parameter.flag.get());
    let methods = entry
        .parameter("login_challenge_method")
        .map(|parameter| parameter.list.items.as_slice())
        .unwrap_or_default();
    let beyond_password =
        |method: &crate::lenient::Text<'_>| !matches!(method.get(), None | Some("password" | "none"));
    event.is_mfa = match second {
        Some(second) => Some(second == "true"),
        None if methods.is_empty() => None,
        None => Some(methods.iter().any(beyond_password)),
    };
}

fn set_datastore(event: &mut Event, entry: &LogEntry<'_>, copy: &Copier) {
    let name = entry.payload.resource_name.get().unwrap_or_default();
    if entry.service() == "bigquery.googleapis.com" {
        let table = name.rsplit('/').next().filter(|table| !table.is_empty()).unwrap_or("Unknown");
        event.table = Some(Table {
            uid: (!name.is_empty()).then(|| copy.string(name)),
            name: Some(copy.string(table)),
        });
        return;
    }
    let by_name = || name.split_once("/buckets/")?.1.split('/').next().filter(|bucket| !bucket.is_empty());
    let bucket = entry.resource.labels.bucket_name.get().or_else(by_name).unwrap_or("Unknown");
    event.databucket = Some(Databucket {
        uid: Some(copy.string(&["projects/_/buckets/", copy.clip(bucket)].concat())),
        name: Some(copy.string(bucket)),
        kind: Some("GCP Bucket".into()),
        type_id: Some(3),
    });
}

fn read(raw: Raw<'_>) -> Named<'_> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// A parameter of what Workspace reports.
fn parameter<'t>(entry: &'t LogEntry<'_>, name: &str) -> Option<&'t str> {
    entry.parameter(name)?.value.get()
}
