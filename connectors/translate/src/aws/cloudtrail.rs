//! AWS CloudTrail (`aws.cloudtrail`): one event per record, bare or inside an EventBridge envelope.

mod actor;
mod class;
mod target;
mod wire;

use crate::bounded::Copier;
use crate::lenient::pick;
use crate::seal::{seal, set_time};
use crate::{Malformed, Translate};
use prunella_schemas::ocsf::{
    AUTHENTICATION, Account, Api, ApiRequest, ApiResponse, Cloud, Endpoint, Feature, HttpRequest, Product,
    STATUS_FAILURE, STATUS_SUCCESS, STATUS_UNKNOWN, Service, Tls, Traffic,
};
use prunella_schemas::{Event, Flag, Record};
use std::net::IpAddr;
use wire::AdditionalEventData;
pub use wire::Trail;

const NAME: &str = "aws.cloudtrail";
/// The service that an insight, and a record about CloudTrail itself, comes from.
const CLOUDTRAIL: &str = "cloudtrail.amazonaws.com";

const OUTCOME: &str = "outcome";

/// Reads CloudTrail management, data, network, insight and console sign-in records.
#[derive(Clone, Copy, Debug)]
pub struct CloudTrail;

impl Translate for CloudTrail {
    fn name(&self) -> &'static str {
        NAME
    }

    fn translate(&self, record: &Record, body: &str, out: &mut Vec<Event>) -> Result<(), Malformed> {
        with_trail(body, |trail| out.push(event_of(record, body, trail)))
    }
}

/// Finds the record in `body` and hands it on.
fn with_trail(body: &str, then: impl FnOnce(&Trail<'_>)) -> Result<(), Malformed> {
    if !body.trim_start().starts_with('{') {
        return Err(Malformed {
            detail:
                "a CloudTrail record is a JSON object, and this is not; split log files into records first"
                    .into(),
            offset: Some(0),
        });
    }
    let trail: Trail<'_> = serde_json::from_str(body).map_err(|e| Malformed::json(body, &e))?;
    if trail.is_record() {
        then(&trail);
        return Ok(());
    }
    let inner: Trail<'_> = Trail::read(trail.detail);
    if inner.is_record() {
        then(&inner);
        return Ok(());
    }
    Err(Malformed::new(
        "the object has neither `eventName` nor `eventSource`, nor a `detail` that has them; \
         send CloudTrail records, or EventBridge events around them, to this source",
    ))
}

fn event_of(record: &Record, body: &str, trail: &Trail<'_>) -> Event {
    let copy = Copier::default();
    let (class, activity_id) = class::class_of(trail);
    let additional: AdditionalEventData<'_> = match trail.source() {
        "signin.amazonaws.com" | "s3.amazonaws.com" | "s3express.amazonaws.com" => {
            Trail::read(trail.additional_event_data)
        }
        _ => AdditionalEventData::default(),
    };
    let mut event = Event::new(class, activity_id, status_of(trail), class::severity_of(trail));
    event.api = Some(api(trail, &copy));
    event.cloud = Some(cloud(trail, &copy));
    event.src_endpoint = Some(source_endpoint(trail, &copy));
    event.http_request = copy
        .text(&trail.user_agent)
        .map(|agent| HttpRequest { user_agent: Some(agent), ..HttpRequest::default() });
    event.tls = copy.text(&trail.tls_details.tls_version).map(|version| Tls {
        version: Some(version),
        cipher: copy.text(&trail.tls_details.cipher_suite),
        sni: copy.text(&trail.tls_details.client_provided_host_header),
    });
    if additional.bytes_in.0.or(additional.bytes_out.0).is_some() {
        event.traffic = Some(Traffic {
            bytes_in: additional.bytes_in.0,
            bytes_out: additional.bytes_out.0,
            ..Traffic::default()
        });
    }
    event.status_code = copy.text(&trail.error_code);
    event.status_detail = copy.text(&trail.error_message);
    set_metadata(&mut event, trail, &copy);
    set_time(&mut event, trail.event_time.get(), record.received, &copy);
    actor::set_actor(&mut event, trail, &additional, &copy);
    target::set_target(&mut event, trail, &additional, &copy);
    if class == AUTHENTICATION {
        set_sign_in(&mut event, trail, &additional, &copy);
    }
    seal(&mut event, record, NAME, body, &copy);
    event
}

/// Sign-in writes its outcome as text under the operation's own name; everything else by whether there is an error.
fn status_of(trail: &Trail<'_>) -> u8 {
    let told = match trail.source() {
        "signin.amazonaws.com" | "sso.amazonaws.com" => {
            [trail.response_elements, trail.service_event_details]
                .into_iter()
                .flatten()
                .map(|raw| pick(raw.get(), |key| (key == trail.name()).then_some(OUTCOME)))
                .find(|told| told.get(OUTCOME).is_some())
        }
        _ => None,
    };
    match told.as_ref().and_then(|told| told.get(OUTCOME)) {
        Some("Success") => STATUS_SUCCESS,
        Some("Failure") => STATUS_FAILURE,
        _ if trail.error_code.get().or(trail.error_message.get()).is_some() => STATUS_FAILURE,
        _ if trail.insight_details.is_some() => STATUS_UNKNOWN,
        _ => STATUS_SUCCESS,
    }
}

fn api(trail: &Trail<'_>, copy: &Copier) -> Api {
    // An insight speaks about an operation; it is not a call of it.
    let (operation, source) = match &trail.insight_details {
        Some(insight) => (insight.insight_type.get().unwrap_or("Insight"), CLOUDTRAIL),
        None => (trail.event_name.get().unwrap_or("Unknown"), trail.source()),
    };
    let error = copy.text(&trail.error_code);
    let message = copy.text(&trail.error_message);
    Api {
        operation: copy.string(operation),
        service: (!source.is_empty()).then(|| Service { name: Some(copy.string(source)), uid: None }),
        version: copy.text(&trail.api_version),
        request: copy.text(&trail.request_id).map(|uid| ApiRequest { uid: Some(uid), data: None }),
        response: (error.is_some() || message.is_some()).then_some(ApiResponse {
            code: None,
            error,
            error_message: message,
        }),
    }
}

fn cloud(trail: &Trail<'_>, copy: &Copier) -> Cloud {
    Cloud {
        provider: "AWS".into(),
        region: copy.text(&trail.aws_region),
        account: account_of(trail).map(|uid| Account { uid: Some(copy.string(uid)), ..Account::default() }),
        ..Cloud::default()
    }
}

/// The account that the event belongs to.
fn account_of<'t>(trail: &'t Trail<'_>) -> Option<&'t str> {
    trail.recipient_account_id.get().or_else(|| trail.user_identity.as_ref()?.account_id.get())
}

/// `sourceIPAddress` holds an address, or the name of the AWS service that called.
fn source_endpoint(trail: &Trail<'_>, copy: &Copier) -> Endpoint {
    let mut endpoint = Endpoint { interface_uid: copy.text(&trail.vpc_endpoint_id), ..Endpoint::default() };
    match trail.source_ip_address.get() {
        Some(address) if address.parse::<IpAddr>().is_ok() => endpoint.ip = Some(copy.string(address)),
        Some(name) => {
            if name.contains('.') && !name.contains([' ', ',', '/']) {
                endpoint.domain = Some(copy.string(name));
            }
            endpoint.svc_name = Some(copy.string(name));
        }
        None if trail.insight_details.is_some() => endpoint.svc_name = Some(CLOUDTRAIL.to_owned()),
        None => {}
    }
    endpoint
}

fn set_metadata(event: &mut Event, trail: &Trail<'_>, copy: &Copier) {
    let metadata = &mut event.metadata;
    metadata.uid = copy.text(&trail.event_id);
    metadata.correlation_uid = copy.text(&trail.shared_event_id);
    metadata.event_code = copy.text(&trail.event_type);
    metadata.log_name = Some(NAME.into());
    metadata.log_version = copy.text(&trail.event_version);
    metadata.profiles = vec!["cloud".into()];
    metadata.product = Product {
        name: "CloudTrail".into(),
        vendor_name: "AWS".into(),
        feature: copy.text(&trail.event_category).map(|name| Feature { name: Some(name) }),
    };
    if metadata.uid.is_none() {
        event.flag(Flag::MissingId);
    }
    if trail.event_version.get().is_some_and(|version| version.split('.').next() != Some("1")) {
        event.flag(Flag::UnknownVersion);
    }
}

/// What only an Authentication has. The user is set by then, unless the call names another.
fn set_sign_in(event: &mut Event, trail: &Trail<'_>, additional: &AdditionalEventData<'_>, copy: &Copier) {
    event.is_mfa = match additional.mfa_used.get() {
        Some(used) => Some(used == "Yes"),
        None => event.actor.as_ref().and_then(|actor| actor.session.as_ref()?.is_mfa),
    };
    event.service = Some(Service { name: Some(copy.string(trail.source())), uid: None });
    event.dst_endpoint =
        copy.text(&additional.login_to).map(|page| Endpoint { svc_name: Some(page), ..Endpoint::default() });
}
