//! Who made the call: the OCSF actor, and the principal that orders its events.

use super::wire::{Activity, Claims};
use crate::azure::{Caller, account, set_principal};
use crate::bounded::Copier;
use prunella_schemas::ocsf::{Actor, Idp, Session, User};
use prunella_schemas::{Event, Timestamp};

const GROUP: &str = "Group";

pub fn set_actor(event: &mut Event, activity: &Activity<'_>, copy: &Copier) {
    let claims = activity.claims();
    let is_app = is_app(activity);
    let object_id = claims.object_id.get().or(assigned(activity));
    let caller = Caller {
        tenant: activity.tenant(),
        user: object_id.or(name(activity)).filter(|_| !is_app),
        app: claims.app_id.get().or(object_id.or(name(activity)).filter(|_| is_app)),
    };
    set_principal(event, &caller, copy);
    let account = account(activity.tenant(), event, copy);
    let user = User { account, ..user(activity, is_app, copy) };
    event.actor = Some(Actor {
        user: Some(user),
        session: session(claims, copy),
        idp: copy.text(&claims.identity_provider).map(|name| Idp { name: Some(name), uid: None }),
        app_uid: copy.text(&claims.app_id),
        ..Actor::default()
    });
}

/// Whose role assignment allowed the call: the caller's own, unless it was that of a group.
fn assigned<'t>(activity: &'t Activity<'_>) -> Option<&'t str> {
    let evidence = activity.evidence();
    evidence.principal_id.get().filter(|_| !evidence.principal_type.is(GROUP))
}

/// What the caller is called: by its token, or by the log.
fn name<'t>(activity: &'t Activity<'_>) -> Option<&'t str> {
    let claims = activity.claims();
    let by_token = claims.upn.get().or(claims.unique_name.get()).or(claims.email.get()).or(claims.name.get());
    by_token.or(activity.caller.get()).or(activity.properties.caller.get())
}

/// A token without a user's scope or name was given to an application for itself.
fn is_app(activity: &Activity<'_>) -> bool {
    let claims = activity.claims();
    match (claims.id_type.get(), activity.evidence().principal_type.get()) {
        (Some(kind), _) => kind == "app",
        (None, Some(kind)) => kind.eq_ignore_ascii_case("ServicePrincipal"),
        (None, None) => {
            let human = claims.upn.get().or(claims.name.get()).or(claims.scope.get()).or(claims.email.get());
            claims.app_id.get().is_some() && human.is_none()
        }
    }
}

fn user(activity: &Activity<'_>, is_app: bool, copy: &Copier) -> User {
    let claims = activity.claims();
    let name = name(activity);
    let email =
        [claims.email.get(), claims.upn.get(), name].into_iter().flatten().find(|text| text.contains('@'));
    let kind = match activity.evidence().principal_type.get().filter(|kind| *kind != GROUP) {
        Some(kind) => copy.string(kind),
        None if claims.managed_identity.get().is_some() => "ManagedIdentity".to_owned(),
        None if is_app => "ServicePrincipal".to_owned(),
        None if name.is_some() || claims.object_id.get().is_some() => "User".to_owned(),
        None => "Unknown".to_owned(),
    };
    User {
        uid: copy.option(claims.object_id.get().or(assigned(activity))),
        uid_alt: copy.text(&claims.managed_identity),
        name: copy.option(name),
        email_addr: copy.option(email),
        kind: Some(kind),
        ..User::default()
    }
}

fn session(claims: &Claims<'_>, copy: &Copier) -> Option<Session> {
    let session = Session {
        uid: copy.option(claims.session_id.get().or(claims.token_id.get())),
        created_time: claims
            .issued_at
            .get()
            .and_then(|text| Some(Timestamp(text.parse::<i64>().ok()?.checked_mul(1_000)?))),
        issuer: copy.text(&claims.issuer),
        is_mfa: claims
            .methods
            .get()
            .map(|methods| methods.split([',', ' ', '"']).any(|method| method == "mfa")),
        credential_uid: None,
    };
    (session != Session::default()).then_some(session)
}
