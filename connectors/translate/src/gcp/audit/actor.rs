//! Who made the call: the OCSF actor, and the principal that orders its events.

use super::wire::{Delegation, LogEntry};
use super::{project, service_account};
use crate::bounded::Copier;
use prunella_schemas::ocsf::{Account, Actor, Idp, Session, User};
use prunella_schemas::{Event, Flag, principal};

/// How Kubernetes names a caller without credentials.
const ANONYMOUS: &str = "system:anonymous";

pub fn set_actor(event: &mut Event, entry: &LogEntry<'_>, copy: &Copier) {
    let authentication = &entry.payload.authentication;
    let named = |text: &&str| *text != ANONYMOUS;
    let subject = authentication.subject.get().or(authentication.authority.get()).filter(named);
    // A subject of the form `user:a@b.c` says no more than the e-mail address.
    let by_subject = subject.and_then(|subject| {
        ["user:", "serviceAccount:"]
            .iter()
            .find_map(|form| subject.strip_prefix(form))
            .filter(|rest| rest.contains('@'))
    });
    let email = authentication.email.get().filter(named).or(by_subject);
    let address = event.src_endpoint.as_ref().and_then(|source| source.ip.as_deref());
    let account = event.account().or(project(entry)).unwrap_or("-");
    let clip = |text: Option<&'_ str>| text.map(|text| copy.clip(text).to_owned());
    let (email, subject) = (clip(email), clip(subject));
    event.prunella.principal = principal::gcp(account, email.as_deref(), subject.as_deref(), address);
    if authentication.email.get().is_none() && subject.is_none() {
        event.flag(Flag::MissingActor);
    }
    let kind = match (email.as_deref(), subject.as_deref()) {
        (Some(email), _) if email.ends_with(".gserviceaccount.com") => "ServiceAccount",
        (Some("system@google.com"), _) => "System",
        (Some(email), _) if email.contains('@') => "User",
        (Some(_), _) => "KubernetesAccount",
        (None, Some(_)) => "FederatedIdentity",
        (None, None) if authentication.email.is(ANONYMOUS) => "Anonymous",
        (None, None) => "Unknown",
    };
    let chain = &authentication.delegation.items;
    if authentication.delegation.cut {
        copy.mark_cut();
    }
    let user = User {
        uid: subject.clone().or_else(|| email.clone()),
        email_addr: email.clone().filter(|email| email.contains('@')),
        account: service_account(email.as_deref()).map(|project| account_of(project, copy)),
        name: copy.text(&authentication.email).or(email),
        kind: Some(kind.to_owned()),
        credential_uid: copy.text(&authentication.key_name),
        ..User::default()
    };
    event.actor = Some(Actor {
        user: Some(user),
        session: chain
            .last()
            .and_then(lender)
            .map(|issuer| Session { issuer: Some(copy.string(issuer)), ..Session::default() }),
        idp: subject.as_deref().and_then(pool).map(|uid| Idp { name: None, uid: Some(uid.to_owned()) }),
        app_uid: copy.text(&authentication.oauth.client_id),
        // The chain is sorted: the first is the one whose call it really is.
        invoked_by: chain.first().and_then(lender).map(|name| copy.string(name)),
        ..Actor::default()
    });
}

fn account_of(project: &str, copy: &Copier) -> Account {
    Account {
        uid: Some(copy.string(project)),
        kind: Some("GCP Project".into()),
        type_id: Some(11),
        ..Account::default()
    }
}

fn lender<'t>(delegation: &'t Delegation<'_>) -> Option<&'t str> {
    delegation.first_party.email.get().or(delegation.subject.get())
}

/// The pool that vouches for a subject `principal://iam.googleapis.com/POOL/subject/NAME`.
fn pool(subject: &str) -> Option<&str> {
    let rest = subject.strip_prefix("principal://")?;
    rest.split_once("/subject/").map(|(pool, _)| pool)
}
