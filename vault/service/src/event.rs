//! Events: every operation, allowed or refused, as one OCSF 1.8 event.

use crate::Error;
use crate::access::Origin;
use crate::db::Tx;
use crate::files::FileRow;
use crate::outbox::{self, tier_name};
use crate::policy::Operation;
use prunella_schemas::ocsf::{
    ACCOUNT_CHANGE, API_ACTIVITY, AUTHENTICATION, Account, Actor, Api, ApiResponse, Class,
    DATASTORE_ACTIVITY, Endpoint, FILE_HOSTING, File, HttpRequest, Metadata, OCSF_VERSION, Product, Resource,
    STATUS_FAILURE, STATUS_SUCCESS, Service, Session, Traffic, User,
};
use prunella_schemas::{Event, Timestamp};
use serde_json::Value;

/// The account of every user of the vault, as its events say it.
pub const ACCOUNT: &str = "vault";
/// Who acts when nobody asked.
const OURSELVES: &str = "prunella";
const INFORMATIONAL: u8 = 1;
const LOW: u8 = 2;
/// Longest text of a client that goes into an event, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// What is known about an operation, as it becomes known.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    pub operation: Operation,
    pub origin: Origin,
    /// Who asked; unknown until the token is proven.
    pub user: Option<(String, String)>,
    /// The session shown, and since when there is one.
    pub session: Option<(String, Option<Timestamp>)>,
    /// Whom it is about, if that is another account. An empty id: a name that no account has.
    pub subject: Option<(String, Option<String>)>,
    pub file: Option<(String, u64)>,
    pub bytes_in: Option<u64>,
    pub bytes_out: Option<u64>,
    /// What else there is to say, such as a tier or a grant.
    pub note: Vec<(&'static str, String)>,
}

impl Audit {
    pub(crate) fn new(operation: Operation, origin: Origin) -> Self {
        Audit {
            operation,
            origin,
            user: None,
            session: None,
            subject: None,
            file: None,
            bytes_in: None,
            bytes_out: None,
            note: Vec::new(),
        }
    }

    pub(crate) fn about(&mut self, file: &FileRow) {
        self.file = Some((file.hex(), file.size));
        self.note.push(("tier", tier_name(file.tier).to_owned()));
        self.note.push(("epoch", file.epoch.to_string()));
    }

    /// Writes that it happened, into the transaction of what happened.
    pub(crate) async fn done(&self, tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
        outbox::post(tx, outbox::EVENT, now.0, &self.event(None, now)).await
    }

    /// Writes that it was refused.
    pub(crate) async fn refused(&self, tx: &mut Tx, error: &Error, now: Timestamp) -> Result<(), Error> {
        outbox::post(tx, outbox::EVENT, now.0, &self.event(Some(error), now)).await
    }

    fn event(&self, error: Option<&Error>, now: Timestamp) -> Value {
        let (class, activity) = class_of(self.operation);
        let (status, severity) =
            if error.is_some() { (STATUS_FAILURE, LOW) } else { (STATUS_SUCCESS, INFORMATIONAL) };
        let mut event = Event::new(class, activity, status, severity);
        event.time = now;
        event.status_code = error.map(|e| code(e).to_owned());
        event.status_detail = error.map(ToString::to_string);
        event.metadata = Metadata {
            uid: Some(crate::clock::random_id()),
            version: OCSF_VERSION.into(),
            product: Product { name: "Prunella Vault".into(), vendor_name: "Prunella".into(), feature: None },
            event_code: Some(self.operation.name().to_owned()),
            correlation_uid: Some(self.origin.request.clone()),
            ..Metadata::default()
        };
        let session = self.session.as_ref().map(|(uid, created)| Session {
            uid: Some(uid.clone()),
            created_time: *created,
            credential_uid: Some(uid.clone()),
            ..Session::default()
        });
        let credential = self.session.as_ref().map(|(uid, _)| uid.as_str());
        let user = self.user.as_ref().map(|(id, name)| user(id, Some(name), credential));
        let invoked_by = self.origin.is_own.then(|| OURSELVES.to_owned());
        event.actor = Some(Actor { user, session, invoked_by, ..Actor::default() });
        event.user = self.subject.as_ref().map(|(id, name)| user_of_subject(id, name.as_deref()));
        event.src_endpoint = Some(Endpoint {
            ip: Some(self.origin.ip.to_string()),
            // Its name, and not the token that proves it.
            uid: self.origin.device.as_deref().and_then(|token| token.split('.').nth(1)).map(cut),
            ..Endpoint::default()
        });
        event.http_request = Some(HttpRequest {
            user_agent: self.origin.agent.as_deref().map(cut),
            uid: Some(self.origin.request.clone()),
            ..HttpRequest::default()
        });
        event.api = Some(Api {
            operation: self.operation.name().to_owned(),
            service: Some(Service { name: Some("prunella-vault".into()), uid: None }),
            response: error
                .map(|e| ApiResponse { error: Some(code(e).to_owned()), ..ApiResponse::default() }),
            ..Api::default()
        });
        if let Some((id, size)) = &self.file {
            event.file = Some(File {
                name: id.clone(),
                uid: Some(id.clone()),
                size: Some(*size),
                type_id: Some(1),
                path: None,
            });
        }
        event.resources = self
            .note
            .iter()
            .map(|(kind, value)| Resource {
                kind: Some((*kind).to_owned()),
                uid: Some(cut(value)),
                ..Resource::default()
            })
            .collect();
        if self.bytes_in.is_some() || self.bytes_out.is_some() {
            event.traffic =
                Some(Traffic { bytes_in: self.bytes_in, bytes_out: self.bytes_out, ..Traffic::default() });
        }
        let mut value = serde_json::to_value(event).unwrap_or_default();
        // Facts of the pipeline are the pipeline's to add.
        value.as_object_mut().map(|fields| fields.remove("prunella"));
        value
    }
}

fn user(id: &str, name: Option<&str>, credential: Option<&str>) -> User {
    User { credential_uid: credential.map(str::to_owned), ..user_of_subject(id, name) }
}

fn user_of_subject(id: &str, name: Option<&str>) -> User {
    User {
        uid: (!id.is_empty()).then(|| id.to_owned()),
        name: name.map(cut),
        account: Some(Account { uid: Some(ACCOUNT.into()), ..Account::default() }),
        ..User::default()
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().to_owned()
}

/// The class and the activity of each operation.
fn class_of(operation: Operation) -> (Class, u8) {
    use Operation::*;
    match operation {
        Register | Import => (ACCOUNT_CHANGE, 1),
        Lock => (ACCOUNT_CHANGE, 9),
        Unlock => (ACCOUNT_CHANGE, 12),
        RevokeTokens | ResetTrust | SuspendGrants => (ACCOUNT_CHANGE, 99),
        Login => (AUTHENTICATION, 1),
        Logout => (AUTHENTICATION, 2),
        Refresh => (AUTHENTICATION, 5),
        Me | Keys => (API_ACTIVITY, 2),
        Upload => (FILE_HOSTING, 1),
        Download => (FILE_HOSTING, 2),
        Delete => (FILE_HOSTING, 4),
        ChangeClass => (FILE_HOSTING, 7),
        Share => (FILE_HOSTING, 12),
        Unshare => (FILE_HOSTING, 13),
        Open => (FILE_HOSTING, 14),
        Inspect => (FILE_HOSTING, 17),
        List | Shares | AdminUsers => (DATASTORE_ACTIVITY, 8),
        AdminLogs => (DATASTORE_ACTIVITY, 4),
        ChangeTier | Rotate | Recover => (DATASTORE_ACTIVITY, 9),
    }
}

/// The word for a refusal. The first is one that the pipeline knows as "these credentials are refused".
fn code(error: &Error) -> &'static str {
    match error {
        Error::Unauthenticated => "InvalidToken",
        Error::StepUp => "StepUpRequired",
        Error::Forbidden | Error::Missing(_) => "AccessDenied",
        Error::Conflict(_) => "Conflict",
        Error::Invalid(_) | Error::TooLarge(_) | Error::Range(_) => "InvalidRequest",
        Error::Throttled(_) => "Throttled",
        Error::Unavailable(_) | Error::Full => "ServiceUnavailable",
        Error::Corrupt(_) => "IntegrityFailure",
    }
}
