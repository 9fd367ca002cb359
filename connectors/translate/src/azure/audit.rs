//! Entra ID directory audit logs (`azure.audit`): changes of users, groups, roles, applications, devices and policies.

mod class;
mod wire;

use super::{Caller, ResourceId, account, cloud, each, set_metadata, set_principal};
use crate::bounded::Copier;
use crate::endpoint::source;
use crate::seal::{seal, set_time};
use crate::{Malformed, Translate};
use prunella_schemas::ocsf::{
    ACCOUNT_CHANGE, Actor, Api, ApiResponse, ENTITY_MANAGEMENT, Entity, GROUP_MANAGEMENT, Group, HttpRequest,
    Policy, Resource, STATUS_FAILURE, STATUS_SUCCESS, STATUS_UNKNOWN, Service, User,
};
use prunella_schemas::{Event, Flag, Record};
pub use wire::AuditLog;
use wire::{Audit, Target};

const NAME: &str = "azure.audit";

/// The categories that exports give this log, and those that Entra gives its records. Another one is kept and flagged.
const CATEGORIES: &[&str] = &["AuditLogs", "ProvisioningLogs"];

/// Reads directory audit records, as exported and as Microsoft Graph gives them.
#[derive(Clone, Copy, Debug)]
pub struct AzureAudit;

impl Translate for AzureAudit {
    fn name(&self) -> &'static str {
        NAME
    }

    fn translate(&self, record: &Record, body: &str, out: &mut Vec<Event>) -> Result<(), Malformed> {
        each(body, |raw, log: &AuditLog<'_>| out.push(event_of(record, raw, log)))
    }
}

fn event_of(record: &Record, raw: &str, log: &AuditLog<'_>) -> Event {
    let copy = Copier::default();
    let audit = &log.properties;
    let tenant =
        log.tenant_id.get().or(ResourceId::of(log.resource_id.get()).tenant).or(audit.tenant_id.get());
    let (class, activity_id) = class::class_of(log);
    let status = match audit.result.get().or(log.result.get()) {
        Some(told) if told.eq_ignore_ascii_case("success") => STATUS_SUCCESS,
        Some(told) if told.eq_ignore_ascii_case("failure") || told.eq_ignore_ascii_case("timeout") => {
            STATUS_FAILURE
        }
        _ => STATUS_UNKNOWN,
    };
    let mut event =
        Event::new(class, activity_id, status, class::severity_of(log.operation().unwrap_or_default()));
    event.api = Some(api(log, status, &copy));
    event.cloud = Some(cloud(None, tenant, None, &copy));
    event.src_endpoint =
        Some(source(audit.initiated_by.user.address.get().or(log.caller_address.get()), &copy));
    event.status_code = copy.text(&log.result_signature);
    event.status_detail = copy.option(audit.result_reason.get().or(log.result_description.get()));
    event.http_request = audit
        .detail("User-Agent")
        .map(|agent| HttpRequest { user_agent: Some(copy.string(agent)), ..HttpRequest::default() });
    set_metadata(&mut event, NAME, "Microsoft Entra ID", log.category.get().or(audit.category.get()), &copy);
    event.metadata.uid = copy.text(&audit.id);
    event.metadata.correlation_uid = copy.option(audit.correlation_id.get().or(log.correlation_id.get()));
    event.metadata.log_version = copy.text(&log.operation_version);
    if event.metadata.uid.is_none() {
        event.flag(Flag::MissingId);
    }
    let known_version =
        log.operation_version.get().is_none_or(|version| version.split('.').next() == Some("1"));
    // Microsoft Graph gives no envelope; its `category` is the kind of target.
    let category = log.category.get().filter(|_| log.operation.get().is_some());
    if !known_version || category.is_some_and(|category| !CATEGORIES.contains(&category)) {
        event.flag(Flag::UnknownVersion);
    }
    set_time(&mut event, audit.time.get().or(log.time.get()), record.received, &copy);
    set_actor(&mut event, log, tenant, &copy);
    set_target(&mut event, audit, &copy);
    seal(&mut event, record, NAME, raw, &copy);
    event
}

fn api(log: &AuditLog<'_>, status: u8, copy: &Copier) -> Api {
    let audit = &log.properties;
    Api {
        operation: copy.string(log.operation().unwrap_or("Unknown")),
        service: Some(Service {
            name: Some(copy.string(audit.logged_by.get().unwrap_or("Microsoft Entra ID"))),
            uid: None,
        }),
        version: None,
        request: None,
        response: (status == STATUS_FAILURE).then(|| ApiResponse {
            code: None,
            error: copy.option(audit.result.get().or(log.result.get())),
            error_message: copy.option(audit.result_reason.get().or(log.result_description.get())),
        }),
    }
}

fn set_actor(event: &mut Event, log: &AuditLog<'_>, tenant: Option<&str>, copy: &Copier) {
    let (user, app) = (&log.properties.initiated_by.user, &log.properties.initiated_by.app);
    let person = user.id.get().or(user.principal_name.get());
    let own_name = log.identity.get().filter(|_| person.is_none());
    // Entra's own services have a name and no id.
    let app_id = app.app_id.get().or(app.service_principal_id.get()).or(app.display_name.get()).or(own_name);
    set_principal(event, &Caller { tenant, user: person, app: app_id.filter(|_| person.is_none()) }, copy);
    let is_person = person.is_some();
    let name = match is_person {
        true => user.principal_name.get().or(user.display_name.get()),
        false => app.display_name.get().or(app.service_principal_name.get()).or(own_name),
    };
    let kind = match (is_person, app_id) {
        (true, _) => user.user_type.get().unwrap_or("User"),
        (false, Some(_)) => "ServicePrincipal",
        (false, None) => "Unknown",
    };
    let acting = User {
        uid: copy.option(if is_person { user.id.get() } else { app.service_principal_id.get() }),
        name: copy.option(name),
        email_addr: copy.option(user.principal_name.get().filter(|name| name.contains('@'))),
        kind: Some(copy.string(kind)),
        account: account(user.home_tenant_id.get().or(tenant), event, copy),
        ..User::default()
    };
    event.actor = Some(Actor {
        user: Some(acting),
        app_uid: copy.text(&app.app_id),
        app_name: copy.text(&app.display_name),
        ..Actor::default()
    });
}

fn set_target(event: &mut Event, audit: &Audit<'_>, copy: &Copier) {
    if audit.targets.cut {
        copy.mark_cut();
    }
    event.resources = audit.targets.items.iter().filter_map(|target| resource(target, copy)).collect();
    let of_kind =
        |kinds: &[&str]| audit.targets.items.iter().find(|t| kinds.iter().any(|kind| t.kind.is(kind)));
    let role = (
        audit.modified("Role.ObjectID").or(audit.modified("Role.TemplateId")),
        audit.modified("Role.DisplayName"),
    );
    let role =
        (role.0, role.1.or_else(|| of_kind(&["Role"])?.display_name.get()).or(audit.detail("RoleName")));
    if role.0.or(role.1).is_some() {
        event.policy = Some(Policy { uid: copy.option(role.0), name: copy.option(role.1) });
    }
    match event.class_uid {
        uid if uid == ACCOUNT_CHANGE.uid => {
            let target =
                of_kind(&["User", "ServicePrincipal", "Application"]).or(audit.targets.items.first());
            let user = target.map(|target| User {
                uid: copy.text(&target.id),
                name: copy.option(target.principal_name.get().or(target.display_name.get())),
                email_addr: copy.option(target.principal_name.get().filter(|name| name.contains('@'))),
                kind: copy.text(&target.kind),
                ..User::default()
            });
            // A record without a target is about whoever acts.
            event.user = user.or_else(|| event.actor.as_ref()?.user.clone());
        }
        uid if uid == GROUP_MANAGEMENT.uid => {
            let target = of_kind(&["Group"]);
            let uid = target.and_then(|target| target.id.get()).or(audit.modified("Group.ObjectID"));
            let name =
                target.and_then(|target| target.display_name.get()).or(audit.modified("Group.DisplayName"));
            event.group = Some(Group { uid: copy.option(uid), name: copy.option(name) });
            event.user = of_kind(&["User", "ServicePrincipal"]).map(|target| User {
                uid: copy.text(&target.id),
                name: copy.option(target.principal_name.get().or(target.display_name.get())),
                kind: copy.text(&target.kind),
                ..User::default()
            });
        }
        uid if uid == ENTITY_MANAGEMENT.uid => {
            event.entity = audit.targets.items.iter().find_map(|target| {
                let (uid, name) = (copy.text(&target.id), copy.text(&target.display_name));
                (uid.is_some() || name.is_some()).then(|| Entity { uid, name, kind: copy.text(&target.kind) })
            });
        }
        _ => {}
    }
}

fn resource(target: &Target<'_>, copy: &Copier) -> Option<Resource> {
    let (uid, name) =
        (copy.text(&target.id), copy.option(target.display_name.get().or(target.principal_name.get())));
    (uid.is_some() || name.is_some()).then(|| Resource {
        uid,
        name,
        kind: copy.text(&target.kind),
        ..Resource::default()
    })
}
