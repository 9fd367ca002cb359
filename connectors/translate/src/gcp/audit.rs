//! Google Cloud audit logs (`gcp.audit`): admin activity, data access, system events and refusals by policy.

mod actor;
mod class;
mod target;
mod wire;

use crate::bounded::Copier;
use crate::endpoint::source;
use crate::seal::{read_time, seal, set_time};
use crate::{Malformed, Translate};
use prunella_schemas::ocsf::{
    Account, Api, ApiRequest, ApiResponse, Cloud, HttpRequest, Organization, Product, STATUS_FAILURE,
    STATUS_SUCCESS, STATUS_UNKNOWN, Service,
};
use prunella_schemas::{Event, Flag, Record};
pub use wire::LogEntry;

const NAME: &str = "gcp.audit";

/// The logs that audit entries are in. An entry of another log is kept and flagged.
const LOGS: &[&str] = &["activity", "data_access", "system_event", "policy", "access_transparency"];

/// `google.rpc.Code`, by number.
const CODES: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Reads `LogEntry` objects of Cloud Logging whose payload is an `AuditLog`.
#[derive(Clone, Copy, Debug)]
pub struct GcpAudit;

impl Translate for GcpAudit {
    fn name(&self) -> &'static str {
        NAME
    }

    fn translate(&self, record: &Record, body: &str, out: &mut Vec<Event>) -> Result<(), Malformed> {
        if !body.trim_start().starts_with('{') {
            let detail = "a log entry is a JSON object, and this is not; send one entry per record".into();
            return Err(Malformed { detail, offset: Some(0) });
        }
        let entry: LogEntry<'_> = serde_json::from_str(body).map_err(|e| Malformed::json(body, &e))?;
        if !entry.is_record() {
            return Err(Malformed::new(
                "the object has neither a `logName` nor an audit log as its `protoPayload`; send entries of Cloud Audit \
                 Logs, as a log sink writes them, to this source",
            ));
        }
        out.push(event_of(record, body, &entry));
        Ok(())
    }
}

fn event_of(record: &Record, raw: &str, entry: &LogEntry<'_>) -> Event {
    let copy = Copier::default();
    let (class, activity_id) = class::class_of(entry);
    let mut event = Event::new(class, activity_id, status_of(entry), class::severity_of(entry));
    let request = &entry.payload.request_metadata;
    event.api = Some(api(entry, &copy));
    event.cloud = Some(cloud(entry, &copy));
    let mut endpoint = source(request.address.get(), &copy);
    endpoint.vpc_uid = copy.text(&request.network);
    event.src_endpoint = Some(endpoint);
    event.http_request = copy
        .text(&request.user_agent)
        .map(|agent| HttpRequest { user_agent: Some(agent), ..HttpRequest::default() });
    event.status_code = code_of(entry).map(|code| copy.string(code));
    event.status_detail =
        copy.option(entry.payload.status.message.get().or(entry.payload.metadata.violation.get()));
    set_metadata(&mut event, entry, &copy);
    set_time(&mut event, entry.time.get(), record.received, &copy);
    actor::set_actor(&mut event, entry, &copy);
    target::set_target(&mut event, entry, &copy);
    seal(&mut event, record, NAME, raw, &copy);
    event
}

/// The name of the status code; the number where it is none of Google's.
fn code_of<'t>(entry: &'t LogEntry<'_>) -> Option<&'t str> {
    let code = entry.payload.status.code.get()?;
    let name = code.parse::<usize>().ok().and_then(|code| CODES.get(code));
    Some(name.copied().unwrap_or(code))
}

/// A success carries no status, or an empty one. What a policy or a permission refused is a failure all the same.
fn status_of(entry: &LogEntry<'_>) -> u8 {
    let payload = &entry.payload;
    let refused = payload.authorizations.items.iter().any(|authorization| authorization.granted.is("false"));
    match (code_of(entry), entry.method()) {
        (Some("OK"), _) => STATUS_SUCCESS,
        (Some(_), _) => STATUS_FAILURE,
        (None, Some(method)) if method.ends_with(".loginFailure") => STATUS_FAILURE,
        (None, _) if payload.status.message.get().is_some() || entry.log() == Some("policy") => {
            STATUS_FAILURE
        }
        (None, _) if refused => STATUS_FAILURE,
        (None, None) => STATUS_UNKNOWN,
        (None, Some(_)) => STATUS_SUCCESS,
    }
}

fn api(entry: &LogEntry<'_>, copy: &Copier) -> Api {
    let service = entry.service();
    let failed = status_of(entry) == STATUS_FAILURE;
    Api {
        operation: copy.string(entry.method().unwrap_or("Unknown")),
        service: (!service.is_empty()).then(|| Service { name: Some(copy.string(service)), uid: None }),
        version: None,
        request: copy.text(&entry.trace).map(|uid| ApiRequest { uid: Some(uid), data: None }),
        response: failed.then(|| ApiResponse {
            code: entry.payload.status.code.get().and_then(|code| code.parse().ok()),
            error: code_of(entry).map(|code| copy.string(code)),
            error_message: copy.text(&entry.payload.status.message),
        }),
    }
}

/// The project that the entry belongs to; logs of folders and organizations belong to none.
fn project<'t>(entry: &'t LogEntry<'_>) -> Option<&'t str> {
    let by_resource = || {
        let name = entry.payload.resource_name.get()?;
        name.strip_prefix("projects/")?.split('/').next().filter(|id| !matches!(*id, "" | "_"))
    };
    entry.resource.labels.project_id.get().or_else(|| entry.owner("projects")).or_else(by_resource)
}

/// The project that a service account was made in: `name@PROJECT.iam.gserviceaccount.com`.
fn service_account(email: Option<&str>) -> Option<&str> {
    email?.split_once('@')?.1.strip_suffix(".iam.gserviceaccount.com")
}

fn cloud(entry: &LogEntry<'_>, copy: &Copier) -> Cloud {
    let labels = &entry.resource.labels;
    let project = project(entry);
    let org = labels.organization_id.get().or_else(|| entry.owner("organizations"));
    let location = entry.payload.resource_location.current.items.first().and_then(|location| location.get());
    let region = location.or(labels.region.get()).or(labels.location.get()).or(labels.zone.get());
    let account = project.or(org).map(|uid| Account {
        uid: Some(copy.string(uid)),
        kind: project.map(|_| "GCP Project".into()),
        type_id: project.map(|_| 11),
        ..Account::default()
    });
    Cloud {
        provider: "GCP".into(),
        region: copy.option(region),
        account,
        project_uid: copy.option(project),
        org: org.map(|uid| Organization { uid: Some(copy.string(uid)), name: None }),
    }
}

fn set_metadata(event: &mut Event, entry: &LogEntry<'_>, copy: &Copier) {
    let metadata = &mut event.metadata;
    metadata.uid = copy.text(&entry.insert_id);
    metadata.correlation_uid = copy.text(&entry.operation.id);
    metadata.event_code = copy.option(entry.log());
    metadata.log_name = Some(NAME.into());
    metadata.logged_time = entry.received.get().and_then(read_time);
    metadata.profiles = vec!["cloud".into()];
    metadata.product =
        Product { name: "Cloud Audit Logs".into(), vendor_name: "Google".into(), feature: None };
    if metadata.uid.is_none() {
        event.flag(Flag::MissingId);
    }
    let known_log = entry.log_name.get().is_none() || entry.log().is_some_and(|log| LOGS.contains(&log));
    let known_kind =
        entry.payload.kind.get().is_none_or(|kind| kind == "type.googleapis.com/google.cloud.audit.AuditLog");
    if !known_log || !known_kind || entry.method().is_none() {
        event.flag(Flag::UnknownVersion);
    }
}
