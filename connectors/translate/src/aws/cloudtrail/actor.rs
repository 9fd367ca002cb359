//! Who made the call: the OCSF actor, and the principal that orders its events.

use super::wire::{AdditionalEventData, Trail, UserIdentity};
use super::{CLOUDTRAIL, account_of};
use crate::bounded::Copier;
use crate::lenient::Text;
use prunella_schemas::ocsf::{Account, Actor, Idp, Session, User};
use prunella_schemas::principal::{self, AwsIdentity};
use prunella_schemas::{Event, Flag, Timestamp};

pub fn set_actor(event: &mut Event, trail: &Trail<'_>, additional: &AdditionalEventData<'_>, copy: &Copier) {
    let Some(identity) = &trail.user_identity else {
        return set_absent(event, trail, copy);
    };
    event.prunella.principal = principal::aws(&identity_of(trail, identity, copy));
    if identity
        .kind
        .get()
        .or(identity.arn.get())
        .or(identity.principal_id.get())
        .or(identity.invoked_by.get())
        .is_none()
    {
        event.flag(Flag::MissingActor);
    }
    event.actor = Some(Actor {
        user: Some(user(identity, additional, copy)),
        session: session(identity, copy),
        idp: idp(identity, copy),
        invoked_by: copy.text(&identity.invoked_by),
        ..Actor::default()
    });
}

/// An insight is CloudTrail's own word; any other record without an identity is odd.
fn set_absent(event: &mut Event, trail: &Trail<'_>, copy: &Copier) {
    let mut identity = AwsIdentity {
        account: account_of(trail).map(|account| copy.clip(account)),
        ..AwsIdentity::default()
    };
    let mut user = User { kind: Some("Unknown".to_owned()), ..User::default() };
    if trail.insight_details.is_some() {
        identity.kind = "AWSService";
        identity.invoked_by = Some(CLOUDTRAIL);
        user =
            User { kind: Some("AWSService".to_owned()), uid: Some(CLOUDTRAIL.to_owned()), ..User::default() };
    } else {
        identity.source_address = trail.source_ip_address.get().map(|address| copy.clip(address));
        event.flag(Flag::MissingActor);
    }
    event.prunella.principal = principal::aws(&identity);
    event.actor = Some(Actor { user: Some(user), ..Actor::default() });
}

/// What decides the principal. It becomes a key of the log, so that its length is bounded too.
fn identity_of<'t>(trail: &'t Trail<'_>, identity: &'t UserIdentity<'_>, copy: &Copier) -> AwsIdentity<'t> {
    let clip = |text: &'t Text<'_>| text.get().map(|text| copy.clip(text));
    AwsIdentity {
        kind: identity.kind.get().unwrap_or_default(),
        arn: clip(&identity.arn),
        account: clip(&identity.account_id).or_else(|| clip(&trail.recipient_account_id)),
        principal_id: clip(&identity.principal_id),
        user_name: clip(&identity.user_name),
        issuer_arn: clip(&identity.session_context.session_issuer.arn),
        invoked_by: clip(&identity.invoked_by),
        identity_provider: clip(&identity.identity_provider),
        on_behalf_of: clip(&identity.on_behalf_of.user_id),
        source_address: clip(&trail.source_ip_address),
    }
}

fn user(identity: &UserIdentity<'_>, additional: &AdditionalEventData<'_>, copy: &Copier) -> User {
    let service = || copy.text(&identity.invoked_by).filter(|_| identity.kind.is("AWSService"));
    User {
        name: copy.text(&identity.user_name).or_else(|| copy.text(&additional.user_name)),
        uid: copy.text(&identity.arn).or_else(service),
        uid_alt: copy.text(&identity.principal_id).or_else(|| copy.text(&identity.on_behalf_of.user_id)),
        kind: Some(copy.string(identity.kind.get().unwrap_or("Unknown"))),
        account: copy.text(&identity.account_id).map(|uid| Account { uid: Some(uid), ..Account::default() }),
        credential_uid: copy.text(&identity.access_key_id).or_else(|| copy.text(&identity.credential_id)),
        ..User::default()
    }
}

fn session(identity: &UserIdentity<'_>, copy: &Copier) -> Option<Session> {
    let context = &identity.session_context;
    let created_time = context.attributes.creation_date.get().and_then(Timestamp::parse);
    let issuer = copy.text(&context.session_issuer.arn);
    let is_mfa = context.attributes.mfa_authenticated.get().map(|value| value == "true");
    let uid = session_name(identity).map(|name| copy.string(name));
    if created_time.is_none() && issuer.is_none() && is_mfa.is_none() && uid.is_none() {
        return None;
    }
    Some(Session { uid, created_time, issuer, is_mfa, credential_uid: None })
}

/// The last part of `arn:aws:sts::1:assumed-role/NAME/session`.
fn session_name<'t>(identity: &'t UserIdentity<'_>) -> Option<&'t str> {
    let (_, role_and_session) = identity.arn.get()?.split_once(":assumed-role/")?;
    role_and_session.rsplit_once('/').map(|(_, session)| session)
}

fn idp(identity: &UserIdentity<'_>, copy: &Copier) -> Option<Idp> {
    let federated = &identity.session_context.web_id_federation_data.federated_provider;
    let name = copy.text(&identity.identity_provider).or_else(|| copy.text(federated));
    let uid = copy.text(&identity.on_behalf_of.identity_store_arn);
    (name.is_some() || uid.is_some()).then_some(Idp { name, uid })
}
