//! Resource logs of Azure Storage (`azure.storage`): every read, write and deletion of a blob, file, table or queue.

use super::{Caller, ResourceId, Wire, account, cloud, each, resource, set_metadata, set_principal};
use crate::bounded::Copier;
use crate::endpoint::source;
use crate::lenient::{Count, Raw, Text, lenient_objects};
use crate::seal::{seal, set_time};
use crate::{Malformed, Translate};
use prunella_schemas::ocsf::{
    Actor, Api, ApiRequest, ApiResponse, DATASTORE_ACTIVITY, Databucket, HttpRequest, Resource,
    STATUS_FAILURE, STATUS_SUCCESS, STATUS_UNKNOWN, Service, Table, Tls, Traffic, Url, User,
};
use prunella_schemas::{Event, Flag, Record};

const NAME: &str = "azure.storage";

/// `(category, activity of an operation that is not listed)`. A record of another category is kept and flagged.
const CATEGORIES: &[(&str, u8)] = &[("StorageRead", 1), ("StorageWrite", 5), ("StorageDelete", 7)];

/// `(beginning of the operation, activity)`: the first that fits.
const OPERATIONS: &[(&str, u8)] = &[
    ("List", 8),
    ("GetBlobServiceProperties", 1),
    ("QueryBlobContents", 4),
    ("QueryEntit", 4),
    ("Get", 1),
    ("PeekMessages", 1),
    ("CreateContainer", 6),
    ("CreateShare", 6),
    ("CreateTable", 6),
    ("CreateQueue", 6),
    ("CreateFilesystem", 6),
    ("Set", 2),
    ("Lease", 2),
    ("AcquireBlobLease", 2),
    ("BreakBlobLease", 2),
    ("ChangeBlobLease", 2),
    ("ReleaseBlobLease", 2),
    ("RenewBlobLease", 2),
    ("Undelete", 2),
    ("Restore", 2),
    ("Rename", 2),
    ("Update", 2),
    ("Merge", 2),
    ("Delete", 7),
    ("ClearMessages", 7),
];

lenient_objects! {
    StorageLog<'a> {
        time: Text<'a> = "time",
        resource_id: Text<'a> = "resourceId",
        category: Text<'a> = "category",
        operation: Text<'a> = "operationName",
        operation_version: Text<'a> = "operationVersion",
        schema_version: Text<'a> = "schemaVersion",
        status_code: Text<'a> = "statusCode",
        status_text: Text<'a> = "statusText",
        caller_address: Text<'a> = "callerIpAddress",
        correlation_id: Text<'a> = "correlationId",
        identity: StorageIdentity<'a> = "identity",
        location: Text<'a> = "location",
        tenant_id: Text<'a> = "tenantId",
        uri: Text<'a> = "uri",
        properties: StorageProperties<'a> = "properties",
        records: Raw<'a> = "records",
    }
    StorageIdentity<'a> {
        kind: Text<'a> = "type",
        token_hash: Text<'a> = "tokenHash",
        requester: Requester<'a> = "requester",
    }
    Requester<'a> {
        app_id: Text<'a> = "appId",
        object_id: Text<'a> = "objectId",
        tenant_id: Text<'a> = "tenantId",
        upn: Text<'a> = "upn" | "userName",
        token_issuer: Text<'a> = "tokenIssuer",
    }
    StorageProperties<'a> {
        account_name: Text<'a> = "accountName",
        user_agent: Text<'a> = "userAgentHeader",
        client_request_id: Text<'a> = "clientRequestId",
        service_type: Text<'a> = "serviceType",
        object_key: Text<'a> = "objectKey",
        request_bytes: Count = "requestBodySize",
        response_bytes: Count = "responseBodySize",
        content_length: Count = "contentLengthHeader",
        response_type: Text<'a> = "metricResponseType",
        tls_version: Text<'a> = "tlsVersion",
    }
}

impl<'a> Wire<'a> for StorageLog<'a> {
    const WANTED: &'static str = "resource logs of Azure Storage, which have an `operationName` or a `category` of `StorageRead`, `StorageWrite` or \
         `StorageDelete`, or batches of them as `records`";

    fn is_record(&self) -> bool {
        self.operation.get().or(self.category.get()).is_some()
    }

    fn batch(&self) -> Raw<'a> {
        self.records
    }
}

/// Reads the StorageRead, StorageWrite and StorageDelete logs.
#[derive(Clone, Copy, Debug)]
pub struct AzureStorage;

impl Translate for AzureStorage {
    fn name(&self) -> &'static str {
        NAME
    }

    fn translate(&self, record: &Record, body: &str, out: &mut Vec<Event>) -> Result<(), Malformed> {
        each(body, |raw, log: &StorageLog<'_>| out.push(event_of(record, raw, log)))
    }
}

fn event_of(record: &Record, raw: &str, log: &StorageLog<'_>) -> Event {
    let copy = Copier::default();
    let parts = ResourceId::of(log.resource_id.get());
    let mut event = Event::new(DATASTORE_ACTIVITY, activity_of(log), status_of(log), 1);
    event.api = Some(api(log, &copy));
    event.cloud = Some(cloud(parts.subscription, tenant(log), log.location.get(), &copy));
    event.src_endpoint = Some(source(log.caller_address.get(), &copy));
    event.status_code = copy.text(&log.status_code);
    event.status_detail = copy.text(&log.status_text);
    event.http_request = http_request(log, &copy);
    event.tls = copy
        .text(&log.properties.tls_version)
        .map(|version| Tls { version: Some(version), ..Tls::default() });
    let bytes_in = log.properties.request_bytes.0.or(log.properties.content_length.0);
    if bytes_in.or(log.properties.response_bytes.0).is_some() {
        event.traffic =
            Some(Traffic { bytes_in, bytes_out: log.properties.response_bytes.0, ..Traffic::default() });
    }
    set_metadata(&mut event, NAME, "Azure Storage", log.category.get(), &copy);
    event.metadata.uid = copy.text(&log.correlation_id);
    event.metadata.correlation_uid = copy.text(&log.properties.client_request_id);
    event.metadata.log_version = copy.text(&log.schema_version);
    if event.metadata.uid.is_none() {
        event.flag(Flag::MissingId);
    }
    let known_version = log.schema_version.get().is_none_or(|version| version.split('.').next() == Some("1"));
    if !known_version || !CATEGORIES.iter().any(|(category, _)| log.category.is(category)) {
        event.flag(Flag::UnknownVersion);
    }
    set_time(&mut event, log.time.get(), record.received, &copy);
    set_actor(&mut event, log, &copy);
    set_target(&mut event, log, &parts, &copy);
    seal(&mut event, record, NAME, raw, &copy);
    event
}

fn activity_of(log: &StorageLog<'_>) -> u8 {
    let operation = log.operation.get().unwrap_or_default();
    let listed = OPERATIONS.iter().find(|(start, _)| operation.starts_with(start));
    let by_category = || CATEGORIES.iter().find(|(category, _)| log.category.is(category));
    listed.or_else(by_category).map_or(99, |(_, activity)| *activity)
}

/// `statusCode` is HTTP's; where it is missing, the type of the response says as much.
fn status_of(log: &StorageLog<'_>) -> u8 {
    match log.status_code.get().and_then(|code| code.parse::<f64>().ok()) {
        Some(code) if (100.0..400.0).contains(&code) => STATUS_SUCCESS,
        Some(_) => STATUS_FAILURE,
        None => match log.properties.response_type.get().or(log.status_text.get()) {
            Some(told) if told.ends_with("Success") => STATUS_SUCCESS,
            Some(_) => STATUS_FAILURE,
            None => STATUS_UNKNOWN,
        },
    }
}

fn tenant<'t>(log: &'t StorageLog<'_>) -> Option<&'t str> {
    log.identity.requester.tenant_id.get().or(log.tenant_id.get())
}

fn api(log: &StorageLog<'_>, copy: &Copier) -> Api {
    let failed = status_of(log) == STATUS_FAILURE;
    let service = log
        .properties
        .service_type
        .get()
        .map_or("Microsoft.Storage".to_owned(), |kind| ["Microsoft.Storage/", copy.clip(kind)].concat());
    Api {
        operation: copy.string(log.operation.get().unwrap_or("Unknown")),
        service: Some(Service { name: Some(service), uid: None }),
        version: copy.text(&log.operation_version),
        request: copy.text(&log.correlation_id).map(|uid| ApiRequest { uid: Some(uid), data: None }),
        response: failed.then(|| ApiResponse {
            code: log.status_code.get().and_then(|code| code.parse().ok()),
            error: copy.text(&log.status_text),
            error_message: None,
        }),
    }
}

fn http_request(log: &StorageLog<'_>, copy: &Copier) -> Option<HttpRequest> {
    let request = HttpRequest {
        user_agent: copy.text(&log.properties.user_agent),
        uid: copy.text(&log.properties.client_request_id),
        url: copy.text(&log.uri).map(|uri| Url { url_string: Some(uri), ..Url::default() }),
        ..HttpRequest::default()
    };
    (request != HttpRequest::default()).then_some(request)
}

/// A token names who acts; a key or a signature only says that its holder did.
fn set_actor(event: &mut Event, log: &StorageLog<'_>, copy: &Copier) {
    let requester = &log.identity.requester;
    let is_app = requester.upn.get().is_none() && requester.app_id.get().is_some();
    let caller = Caller {
        tenant: tenant(log),
        user: requester.object_id.get().or(requester.upn.get()).filter(|_| !is_app),
        app: requester.app_id.get().filter(|_| is_app),
    };
    set_principal(event, &caller, copy);
    let kind = match log.identity.kind.get() {
        Some("OAuth") if is_app => "ServicePrincipal",
        Some("OAuth") => "User",
        Some(kind) => kind,
        None => "Unknown",
    };
    let user = User {
        uid: copy.text(&requester.object_id),
        name: copy.text(&requester.upn),
        email_addr: copy.option(requester.upn.get().filter(|upn| upn.contains('@'))),
        kind: Some(copy.string(kind)),
        credential_uid: copy.text(&log.identity.token_hash),
        account: account(requester.tenant_id.get(), event, copy),
        ..User::default()
    };
    event.actor = Some(Actor {
        user: Some(user),
        app_uid: copy.text(&requester.app_id),
        session: None,
        idp: copy
            .text(&requester.token_issuer)
            .map(|name| prunella_schemas::ocsf::Idp { name: Some(name), uid: None }),
        ..Actor::default()
    });
}

/// `objectKey` is `/account/container/path`, and `uri` has the same in its path.
fn set_target(event: &mut Event, log: &StorageLog<'_>, parts: &ResourceId<'_>, copy: &Copier) {
    let region = log.location.get();
    let of_uri = || {
        let (_, rest) = log.uri.get()?.split_once("://")?;
        let (_, path) = rest.split_once('/')?;
        path.split(['?', '#']).next()
    };
    let of_key = log.properties.object_key.get().and_then(|key| {
        let key = key.strip_prefix('/').unwrap_or(key);
        let account = log.properties.account_name.get().unwrap_or_default();
        key.strip_prefix(account)
            .and_then(|rest| rest.strip_prefix('/'))
            .or_else(|| Some(key.split_once('/')?.1))
    });
    let path = of_key.or_else(of_uri).unwrap_or_default();
    let (container, object) = path.split_once('/').unwrap_or((path, ""));
    let account = log.properties.account_name.get();
    let place = if container.is_empty() { account.unwrap_or("Unknown") } else { container };
    let uid = account
        .map(|account| [account, "/", container].concat())
        .map(|uid| copy.string(uid.trim_end_matches('/')));
    if log.properties.service_type.is("table") {
        event.table = Some(Table { uid, name: Some(copy.string(place)) });
    } else {
        let (kind, type_id) = match log.properties.service_type.get() {
            Some("blob") | None => ("Azure Blob", 2),
            Some(_) => ("Other", 99),
        };
        event.databucket = Some(Databucket {
            uid,
            name: Some(copy.string(place)),
            kind: Some(kind.into()),
            type_id: Some(type_id),
        });
    }
    if let Some(id) = log.resource_id.get() {
        event.resources.push(resource(id, parts, region, copy));
    }
    if !object.is_empty() {
        event.resources.push(Resource {
            uid: copy.option(log.properties.object_key.get().or(log.uri.get())),
            name: Some(copy.string(object)),
            kind: Some("Microsoft.Storage/storageAccounts/blobServices/containers/blobs".to_owned())
                .filter(|_| matches!(log.properties.service_type.get(), Some("blob") | None)),
            region: copy.option(region),
            ..Resource::default()
        });
    }
}
