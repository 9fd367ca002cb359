//! Entra ID sign-in logs (`azure.signin`): of people, interactive or not, of service principals and managed identities.

use super::{Caller, ResourceId, Wire, account, cloud, each, set_metadata, set_principal};
use crate::bounded::{Copier, RESOURCES_MAX};
use crate::endpoint::source;
use crate::lenient::{Count, List, Raw, Text, lenient_objects};
use crate::seal::{seal, set_time};
use crate::{Malformed, Translate};
use prunella_schemas::ocsf::{
    AUTHENTICATION, Actor, Api, ApiRequest, ApiResponse, AutonomousSystem, HttpRequest, Idp, Location,
    Resource, STATUS_FAILURE, STATUS_SUCCESS, STATUS_UNKNOWN, Service, Session, User,
};
use prunella_schemas::{Event, Flag, Record};

const NAME: &str = "azure.signin";
const LOGON: u8 = 1;

/// The categories of sign-in logs. A record of another category is kept and flagged.
const CATEGORIES: &[&str] = &[
    "SignInLogs",
    "NonInteractiveUserSignInLogs",
    "ServicePrincipalSignInLogs",
    "ManagedIdentitySignInLogs",
    "ADFSSignInLogs",
    "B2CRequestLogs",
];

lenient_objects! {
    /// A record as exported, whose `properties` are what Microsoft Graph gives bare.
    SigninLog<'a> {
        time: Text<'a> = "time",
        resource_id: Text<'a> = "resourceId" | "resourceid",
        operation: Text<'a> = "operationName" | "operationname",
        operation_version: Text<'a> = "operationVersion" | "operationversion",
        category: Text<'a> = "category",
        tenant_id: Text<'a> = "tenantId" | "tenantid",
        result_type: Text<'a> = "resultType" | "resulttype",
        result_description: Text<'a> = "resultDescription" | "resultdescription",
        caller_address: Text<'a> = "callerIpAddress" | "calleripaddress",
        correlation_id: Text<'a> = "correlationId" | "correlationid",
        country: Text<'a> = "location",
        properties: Signin<'a> = "properties",
        records: Raw<'a> = "records" | "value",
    }
    Signin<'a> {
        id: Text<'a> = "id",
        created: Text<'a> = "createdDateTime",
        user_id: Text<'a> = "userId",
        user_principal_name: Text<'a> = "userPrincipalName",
        user_type: Text<'a> = "userType",
        app_id: Text<'a> = "appId",
        app_name: Text<'a> = "appDisplayName",
        service_principal_id: Text<'a> = "servicePrincipalId",
        service_principal_name: Text<'a> = "servicePrincipalName",
        credential_id: Text<'a> = "servicePrincipalCredentialKeyId",
        address: Text<'a> = "ipAddress",
        autonomous_system: Count = "autonomousSystemNumber",
        user_agent: Text<'a> = "userAgent",
        correlation_id: Text<'a> = "correlationId",
        resource_name: Text<'a> = "resourceDisplayName",
        resource_id: Text<'a> = "resourceId",
        requirement: Text<'a> = "authenticationRequirement",
        issuer: Text<'a> = "tokenIssuerName",
        issuer_type: Text<'a> = "tokenIssuerType",
        session_id: Text<'a> = "sessionId",
        token_id: Text<'a> = "uniqueTokenIdentifier",
        request_id: Text<'a> = "originalRequestId",
        tenant_id: Text<'a> = "resourceTenantId" | "tenantId",
        risk_now: Text<'a> = "riskLevelDuringSignIn",
        risk: Text<'a> = "riskLevelAggregated",
        status: SigninStatus<'a> = "status",
        place: Place<'a> = "location",
        device: DeviceDetail<'a> = "deviceDetail",
        applied: List<Applied<'a>, RESOURCES_MAX> = "appliedConditionalAccessPolicies",
    }
    SigninStatus<'a> {
        code: Text<'a> = "errorCode",
        reason: Text<'a> = "failureReason",
        details: Text<'a> = "additionalDetails",
    }
    Place<'a> {
        city: Text<'a> = "city",
        state: Text<'a> = "state",
        country: Text<'a> = "countryOrRegion",
        point: Point<'a> = "geoCoordinates",
    }
    Point<'a> {
        latitude: Text<'a> = "latitude",
        longitude: Text<'a> = "longitude",
    }
    DeviceDetail<'a> {
        id: Text<'a> = "deviceId",
        name: Text<'a> = "displayName",
    }
    Applied<'a> {
        id: Text<'a> = "id",
        name: Text<'a> = "displayName",
        result: Text<'a> = "result",
    }
    /// A record as Microsoft Graph gives it: bare, with a name that no exported record has at its top.
    Bare<'a> {
        created: Text<'a> = "createdDateTime",
        app_id: Text<'a> = "appId",
    }
}

impl<'a> Wire<'a> for SigninLog<'a> {
    const WANTED: &'static str = "Entra sign-in records, which have a `category` of `..SignInLogs`, or `createdDateTime` and \
                                  `appId` as Microsoft Graph writes them, or batches of them as `records` or `value`";

    fn is_record(&self) -> bool {
        self.operation.get().or(self.category.get()).or(self.properties.created.get()).is_some()
    }

    fn batch(&self) -> Raw<'a> {
        self.records
    }

    fn bare(&mut self, raw: &'a str) {
        let bare: Bare<'_> = serde_json::from_str(raw).unwrap_or_default();
        if bare.created.get().is_some() && bare.app_id.get().is_some() {
            self.properties = serde_json::from_str(raw).unwrap_or_default();
        }
    }
}

/// Reads sign-in records, as exported and as Microsoft Graph gives them.
#[derive(Clone, Copy, Debug)]
pub struct AzureSignin;

impl Translate for AzureSignin {
    fn name(&self) -> &'static str {
        NAME
    }

    fn translate(&self, record: &Record, body: &str, out: &mut Vec<Event>) -> Result<(), Malformed> {
        each(body, |raw, log: &SigninLog<'_>| out.push(event_of(record, raw, log)))
    }
}

fn event_of(record: &Record, raw: &str, log: &SigninLog<'_>) -> Event {
    let copy = Copier::default();
    let signin = &log.properties;
    let tenant =
        log.tenant_id.get().or(ResourceId::of(log.resource_id.get()).tenant).or(signin.tenant_id.get());
    let code = signin.status.code.get().or(log.result_type.get());
    let status = match code {
        Some("0") => STATUS_SUCCESS,
        Some(_) => STATUS_FAILURE,
        None => STATUS_UNKNOWN,
    };
    let mut event = Event::new(AUTHENTICATION, LOGON, status, severity_of(signin));
    event.api = Some(api(log, status, &copy));
    event.cloud = Some(cloud(None, tenant, None, &copy));
    set_source(&mut event, log, &copy);
    event.status_code = copy.option(code);
    event.status_detail = copy
        .option(signin.status.reason.get().or(log.result_description.get()).or(signin.status.details.get()));
    event.http_request = copy
        .text(&signin.user_agent)
        .map(|agent| HttpRequest { user_agent: Some(agent), ..HttpRequest::default() });
    set_metadata(&mut event, NAME, "Microsoft Entra ID", log.category.get(), &copy);
    event.metadata.uid = copy.text(&signin.id);
    event.metadata.correlation_uid = copy.option(signin.correlation_id.get().or(log.correlation_id.get()));
    event.metadata.log_version = copy.text(&log.operation_version);
    if event.metadata.uid.is_none() {
        event.flag(Flag::MissingId);
    }
    let known_version =
        log.operation_version.get().is_none_or(|version| version.split('.').next() == Some("1"));
    if !known_version || log.category.get().is_some_and(|category| !CATEGORIES.contains(&category)) {
        event.flag(Flag::UnknownVersion);
    }
    set_time(&mut event, signin.created.get().or(log.time.get()), record.received, &copy);
    event.is_mfa = mfa_of(signin, status);
    set_actor(&mut event, log, tenant, &copy);
    set_target(&mut event, signin, &copy);
    seal(&mut event, record, NAME, raw, &copy);
    event
}

/// How risky Entra holds the sign-in.
fn severity_of(signin: &Signin<'_>) -> u8 {
    let level = |text: &Text<'_>| match text.get() {
        Some("high") => 4,
        Some("medium") => 3,
        Some("low") => 2,
        _ => 1,
    };
    level(&signin.risk_now).max(level(&signin.risk))
}

/// Whether a second factor was shown, now or when the session began. A failed sign-in showed none.
fn mfa_of(signin: &Signin<'_>, status: u8) -> Option<bool> {
    let told = signin.status.details.get().unwrap_or_default();
    if told.starts_with("MFA requirement satisfied") || told.starts_with("MFA completed") {
        return Some(true);
    }
    match signin.requirement.get() {
        Some("multiFactorAuthentication") => Some(status == STATUS_SUCCESS),
        Some("singleFactorAuthentication") => Some(false),
        _ => None,
    }
}

fn api(log: &SigninLog<'_>, status: u8, copy: &Copier) -> Api {
    let code = log.properties.status.code.get().or(log.result_type.get());
    Api {
        operation: copy.string(log.operation.get().unwrap_or("Sign-in activity")),
        service: Some(Service { name: Some("Microsoft Entra ID".to_owned()), uid: None }),
        version: None,
        request: copy.text(&log.properties.request_id).map(|uid| ApiRequest { uid: Some(uid), data: None }),
        response: (status == STATUS_FAILURE).then(|| ApiResponse {
            code: None,
            error: copy.option(code),
            error_message: copy.option(log.properties.status.reason.get().or(log.result_description.get())),
        }),
    }
}

fn set_source(event: &mut Event, log: &SigninLog<'_>, copy: &Copier) {
    let signin = &log.properties;
    let mut endpoint = source(signin.address.get().or(log.caller_address.get()), copy);
    endpoint.hostname = copy.text(&signin.device.name);
    endpoint.uid = copy.text(&signin.device.id);
    let place = &signin.place;
    let number = |text: &Text<'_>| text.get()?.parse::<f64>().ok().filter(|n| n.is_finite());
    let location = Location {
        country: copy.option(place.country.get().or(log.country.get())),
        region: copy.text(&place.state),
        city: copy.text(&place.city),
        // OCSF and GeoJSON put the longitude first.
        coordinates: number(&place.point.longitude)
            .zip(number(&place.point.latitude))
            .map(|(x, y)| vec![x, y]),
    };
    let is_named = location.country.is_some() || location.region.is_some() || location.city.is_some();
    endpoint.location = is_named.then_some(location);
    endpoint.autonomous_system = signin
        .autonomous_system
        .0
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number != 0)
        .map(|number| AutonomousSystem { number: Some(number), name: None });
    event.src_endpoint = Some(endpoint);
}

/// Who signs in is both the actor and the user of a sign-in.
fn set_actor(event: &mut Event, log: &SigninLog<'_>, tenant: Option<&str>, copy: &Copier) {
    let signin = &log.properties;
    let person = signin.user_id.get().or(signin.user_principal_name.get());
    let app = signin.app_id.get().or(signin.service_principal_id.get());
    let is_person = match log.category.get() {
        Some("ServicePrincipalSignInLogs" | "ManagedIdentitySignInLogs") => false,
        _ => person.is_some() || signin.service_principal_id.get().is_none(),
    };
    let caller = Caller { tenant, user: person.filter(|_| is_person), app: app.filter(|_| !is_person) };
    set_principal(event, &caller, copy);
    let kind = match log.category.get() {
        Some("ManagedIdentitySignInLogs") => "ManagedIdentity",
        _ if !is_person => "ServicePrincipal",
        _ => signin.user_type.get().unwrap_or("User"),
    };
    let (uid, name) = match is_person {
        true => (signin.user_id.get(), signin.user_principal_name.get()),
        false => (signin.service_principal_id.get(), signin.service_principal_name.get()),
    };
    let user = User {
        uid: copy.option(uid),
        name: copy.option(name),
        email_addr: copy.option(name.filter(|name| name.contains('@'))),
        kind: Some(copy.string(kind)),
        credential_uid: copy.text(&signin.credential_id),
        account: account(tenant, event, copy),
        ..User::default()
    };
    let session = Session {
        uid: copy.option(signin.session_id.get().or(signin.token_id.get())),
        issuer: copy.option(signin.issuer.get().or(signin.issuer_type.get())),
        is_mfa: event.is_mfa,
        ..Session::default()
    };
    event.user = Some(User { credential_uid: None, ..user.clone() });
    event.actor = Some(Actor {
        user: Some(user),
        idp: copy.text(&signin.issuer_type).map(|name| Idp { name: Some(name), uid: None }),
        session: (session != Session::default()).then_some(session),
        app_uid: copy.text(&signin.app_id),
        app_name: copy.text(&signin.app_name),
        ..Actor::default()
    });
}

/// The service that was signed in to, and the conditional access policies that stopped it.
fn set_target(event: &mut Event, signin: &Signin<'_>, copy: &Copier) {
    let (name, uid) = (copy.text(&signin.resource_name), copy.text(&signin.resource_id));
    let is_known = name.is_some() || uid.is_some();
    let unknown = || "Microsoft Entra ID".to_owned();
    event.service =
        Some(Service { name: name.clone().or_else(|| (!is_known).then(unknown)), uid: uid.clone() });
    if is_known {
        let kind = Some("Microsoft.Graph/servicePrincipals".to_owned());
        event.resources.push(Resource { uid, name, kind, ..Resource::default() });
    }
    if signin.applied.cut {
        copy.mark_cut();
    }
    let stopped = signin.applied.items.iter().find(|policy| policy.result.is("failure"));
    event.policy = stopped.and_then(|policy| {
        let (uid, name) = (copy.text(&policy.id), copy.text(&policy.name));
        (uid.is_some() || name.is_some()).then_some(prunella_schemas::ocsf::Policy { uid, name })
    });
}
