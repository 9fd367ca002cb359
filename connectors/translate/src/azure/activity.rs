//! The Azure Monitor activity log (`azure.activity`): what was done to the resources of a subscription.

mod actor;
mod class;
mod wire;

use crate::azure::{ResourceId, cloud, each, resource, set_metadata};
use crate::bounded::Copier;
use crate::endpoint::source;
use crate::seal::{read_time, seal, set_time};
use crate::{Malformed, Translate};
use class::Assignee;
use prunella_schemas::ocsf::{
    ACCOUNT_CHANGE, Api, ApiRequest, ApiResponse, GROUP_MANAGEMENT, Group, HttpRequest, Policy,
    STATUS_FAILURE, STATUS_SUCCESS, STATUS_UNKNOWN, Service, Url, User,
};
use prunella_schemas::{Event, Flag, Record};
pub use wire::Activity;
use wire::{Assignment, AssignmentProperties};

const NAME: &str = "azure.activity";

/// The categories of the activity log. A record of another category is kept and flagged.
const CATEGORIES: &[&str] = &[
    "Administrative",
    "Security",
    "ServiceHealth",
    "Alert",
    "Recommendation",
    "Policy",
    "Autoscale",
    "ResourceHealth",
    // Records of before 2020 are named by what the operation does.
    "Write",
    "Delete",
    "Action",
];

/// Reads activity log records, in the shape of exports and in that of the REST API.
#[derive(Clone, Copy, Debug)]
pub struct AzureActivity;

impl Translate for AzureActivity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn translate(&self, record: &Record, body: &str, out: &mut Vec<Event>) -> Result<(), Malformed> {
        each(body, |raw, activity: &Activity<'_>| out.push(event_of(record, raw, activity)))
    }
}

fn event_of(record: &Record, raw: &str, activity: &Activity<'_>) -> Event {
    let copy = Copier::default();
    let operation = activity.operation().unwrap_or("Unknown");
    let body = assignment_body(activity, operation);
    let assignment: AssignmentProperties<'_> = body
        .and_then(|body| serde_json::from_str::<Assignment<'_>>(body).ok())
        .unwrap_or_default()
        .properties;
    let assignee = match (assignment.principal_id.get(), assignment.principal_type.get()) {
        (None, _) => Assignee::Unknown,
        (Some(_), Some("Group")) => Assignee::Group,
        (Some(_), _) => Assignee::User,
    };
    let created =
        [activity.properties.status_code.get(), activity.sub_status.get(), activity.result_signature.get()]
            .into_iter()
            .flatten()
            .any(|code| code == "Created" || code == "201" || code.ends_with(".Created"));
    let (class, activity_id) = class::class_of(operation, assignee, created);
    let mut event = Event::new(class, activity_id, status_of(activity), class::severity_of(operation));
    let parts = ResourceId::of(activity.resource_id.get());
    let region = activity.location.get().or(activity.properties.resource_location.get());
    event.api = Some(api(activity, operation, &copy));
    event.cloud = Some(cloud(parts.subscription, activity.tenant().or(parts.tenant), region, &copy));
    event.src_endpoint = Some(source(activity.address(), &copy));
    event.http_request = http_request(activity, &copy);
    event.status_code =
        copy.option(activity.properties.status_code.get().or(activity.result_signature.get()));
    event.status_detail = copy.option(
        activity
            .properties
            .status_message
            .get()
            .or(activity.result_description.get())
            .or(activity.sub_status.get()),
    );
    set_metadata(&mut event, NAME, "Azure Monitor", activity.category(), &copy);
    set_ids(&mut event, activity, &copy);
    set_time(&mut event, activity.time.get(), record.received, &copy);
    actor::set_actor(&mut event, activity, &copy);
    set_target(&mut event, activity, &assignment, region, &copy);
    seal(&mut event, record, NAME, raw, &copy);
    event
}

/// The JSON that names to whom a role was assigned: a call has it in its request, its end only in its response.
fn assignment_body<'t>(activity: &'t Activity<'_>, operation: &str) -> Option<&'t str> {
    let properties = &activity.properties;
    properties
        .request_body
        .get()
        .or(properties.response_body.get())
        .filter(|_| class::is_assignment(operation))
}

/// A call is logged when it starts, when it is accepted and when it ends; only the end has an outcome.
fn status_of(activity: &Activity<'_>) -> u8 {
    let is = |word: &str, words: &[&str]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    match activity.outcome() {
        Some(word) if is(word, &["Success", "Succeeded", "Resolved"]) => STATUS_SUCCESS,
        Some(word) if is(word, &["Failure", "Failed", "Error", "Denied"]) => STATUS_FAILURE,
        _ => STATUS_UNKNOWN,
    }
}

fn api(activity: &Activity<'_>, operation: &str, copy: &Copier) -> Api {
    let namespace = operation.split('/').next().filter(|name| name.contains('.'));
    let request =
        activity.properties.service_request_id.get().or(activity.http_request.client_request_id.get());
    let request = request.or(activity.operation_id.get());
    let failed = status_of(activity) == STATUS_FAILURE;
    Api {
        operation: copy.string(operation),
        service: namespace.map(|name| Service { name: Some(copy.string(name)), uid: None }),
        version: copy.text(&activity.operation_version),
        request: request.map(|uid| ApiRequest { uid: Some(copy.string(uid)), data: None }),
        response: failed.then(|| ApiResponse {
            code: None,
            error: copy.option(activity.properties.status_code.get().or(activity.result_signature.get())),
            error_message: copy
                .option(activity.properties.status_message.get().or(activity.result_description.get())),
        }),
    }
}

fn http_request(activity: &Activity<'_>, copy: &Copier) -> Option<HttpRequest> {
    let request = &activity.http_request;
    request.method.get().or(request.uri.get())?;
    Some(HttpRequest {
        http_method: request.method.get().and_then(method),
        url: copy.text(&request.uri).map(|uri| Url { url_string: Some(uri), ..Url::default() }),
        ..HttpRequest::default()
    })
}

/// OCSF lists the methods that it knows, in capitals.
fn method(text: &str) -> Option<String> {
    let known = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    known.iter().find(|known| known.eq_ignore_ascii_case(text)).map(|known| (*known).to_owned())
}

fn set_ids(event: &mut Event, activity: &Activity<'_>, copy: &Copier) {
    let metadata = &mut event.metadata;
    metadata.uid = copy.option(activity.event_data_id.get().or(activity.properties.event_data_id.get()));
    metadata.correlation_uid = copy.text(&activity.correlation_id);
    metadata.logged_time = activity.submitted.get().and_then(read_time);
    if metadata.uid.is_none() {
        event.flag(Flag::MissingId);
    }
    if activity.category().is_some_and(|category| !CATEGORIES.contains(&category)) {
        event.flag(Flag::UnknownVersion);
    }
}

fn set_target(
    event: &mut Event,
    activity: &Activity<'_>,
    assignment: &AssignmentProperties<'_>,
    region: Option<&str>,
    copy: &Copier,
) {
    if let Some(id) = activity.resource_id.get().or(activity.properties.entity.get()) {
        event.resources.push(resource(id, &ResourceId::of(Some(id)), region, copy));
    }
    let role = assignment.role_definition_id.get();
    event.policy = role.map(|role| Policy { uid: Some(copy.string(role)), name: None });
    if event.class_uid == GROUP_MANAGEMENT.uid {
        event.group = Some(Group { uid: copy.text(&assignment.principal_id), name: None });
    } else if event.class_uid == ACCOUNT_CHANGE.uid {
        let made = ResourceId::of(activity.resource_id.get());
        event.user = match (assignment.principal_id.get(), made.kind()) {
            (Some(id), _) => Some(User {
                uid: Some(copy.string(id)),
                kind: copy.text(&assignment.principal_type),
                ..User::default()
            }),
            (None, Some(kind)) if kind.to_ascii_lowercase().ends_with("userassignedidentities") => {
                Some(User {
                    uid: copy.text(&activity.resource_id),
                    name: copy.option(made.name()),
                    kind: Some("ManagedIdentity".to_owned()),
                    ..User::default()
                })
            }
            // Whoever elevates access gives it to itself.
            (None, _) => event.actor.as_ref().and_then(|actor| actor.user.clone()),
        };
    }
}
