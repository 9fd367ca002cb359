//! An activity log record as it stands in the JSON: as exported to storage and Event Hubs, or as the REST API gives it.

use crate::azure::Wire;
use crate::lenient::{Raw, Text, Worded, lenient_objects};

lenient_objects! {
    /// The fields of both shapes, or a batch of records. Event Hubs begin some names with a capital.
    Activity<'a> {
        time: Text<'a> = "time" | "eventTimestamp",
        submitted: Text<'a> = "submissionTimestamp",
        resource_id: Text<'a> = "resourceId" | "resourceid",
        operation: Worded<'a> = "operationName" | "operationname" | "EventName",
        operation_version: Text<'a> = "operationVersion" | "operationversion",
        category: Worded<'a> = "category",
        result_type: Text<'a> = "resultType" | "resulttype",
        result_signature: Text<'a> = "resultSignature" | "resultsignature",
        result_description: Text<'a> = "resultDescription" | "resultdescription" | "description",
        status: Worded<'a> = "status" | "Status",
        sub_status: Worded<'a> = "subStatus",
        caller_address: Text<'a> = "callerIpAddress" | "calleripaddress",
        caller: Text<'a> = "caller",
        correlation_id: Text<'a> = "correlationId" | "correlationid",
        event_data_id: Text<'a> = "eventDataId",
        operation_id: Text<'a> = "operationId",
        identity: Identity<'a> = "identity",
        authorization: Authorization<'a> = "authorization",
        claims: Claims<'a> = "claims",
        location: Text<'a> = "location" | "Region",
        tenant_id: Text<'a> = "tenantId" | "tenantid",
        http_request: HttpRequest<'a> = "httpRequest",
        properties: Properties<'a> = "properties",
        evt: Evt<'a> = "evt",
        records: Raw<'a> = "records" | "value",
    }
    /// How Datadog's pipeline names the operation.
    Evt<'a> {
        name: Text<'a> = "name",
        outcome: Text<'a> = "outcome",
        category: Text<'a> = "category",
    }
    Identity<'a> {
        authorization: Authorization<'a> = "authorization",
        claims: Claims<'a> = "claims",
    }
    Authorization<'a> {
        evidence: Evidence<'a> = "evidence",
    }
    Evidence<'a> {
        role: Text<'a> = "role",
        principal_id: Text<'a> = "principalId",
        principal_type: Text<'a> = "principalType",
    }
    /// The claims of the token that signed the call.
    Claims<'a> {
        object_id: Text<'a> = "http://schemas.microsoft.com/identity/claims/objectidentifier" | "oid",
        tenant_id: Text<'a> = "http://schemas.microsoft.com/identity/claims/tenantid" | "tid",
        identity_provider: Text<'a> = "http://schemas.microsoft.com/identity/claims/identityprovider" | "idp",
        scope: Text<'a> = "http://schemas.microsoft.com/identity/claims/scope" | "scp",
        methods: Text<'a> = "http://schemas.microsoft.com/claims/authnmethodsreferences" | "amr",
        upn: Text<'a> = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn" | "upn",
        email: Text<'a> = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress" | "email",
        unique_name: Text<'a> = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name" | "unique_name",
        name: Text<'a> = "name",
        app_id: Text<'a> = "appid" | "azp",
        id_type: Text<'a> = "idtyp",
        issuer: Text<'a> = "iss",
        issued_at: Text<'a> = "iat",
        token_id: Text<'a> = "uti",
        session_id: Text<'a> = "sid",
        address: Text<'a> = "ipaddr",
        managed_identity: Text<'a> = "xms_mirid",
    }
    HttpRequest<'a> {
        client_request_id: Text<'a> = "clientRequestId",
        address: Text<'a> = "clientIpAddress",
        method: Text<'a> = "method",
        uri: Text<'a> = "uri",
    }
    Properties<'a> {
        status_code: Text<'a> = "statusCode",
        status_message: Text<'a> = "statusMessage",
        service_request_id: Text<'a> = "serviceRequestId",
        event_data_id: Text<'a> = "eventDataId",
        entity: Text<'a> = "entity",
        hierarchy: Text<'a> = "hierarchy",
        caller: Text<'a> = "caller",
        request_body: Text<'a> = "requestbody" | "requestBody",
        response_body: Text<'a> = "responseBody" | "responsebody",
        resource_location: Text<'a> = "resourceLocation",
    }
    /// `requestbody` and `responseBody` of a role assignment: JSON within a string.
    Assignment<'a> {
        properties: AssignmentProperties<'a> = "Properties" | "properties",
    }
    AssignmentProperties<'a> {
        principal_id: Text<'a> = "PrincipalId" | "principalId",
        principal_type: Text<'a> = "PrincipalType" | "principalType",
        role_definition_id: Text<'a> = "RoleDefinitionId" | "roleDefinitionId",
    }
}

impl<'a> Wire<'a> for Activity<'a> {
    const WANTED: &'static str =
        "activity log records, which have an `operationName`, or batches of them as `records` or `value`";

    fn is_record(&self) -> bool {
        self.operation.get().or(self.evt.name.get()).is_some()
            || (self.category().is_some() && self.resource_id.get().is_some())
    }

    fn batch(&self) -> Raw<'a> {
        self.records
    }
}

impl Activity<'_> {
    pub fn operation(&self) -> Option<&str> {
        self.operation.get().or(self.evt.name.get())
    }

    pub fn category(&self) -> Option<&str> {
        self.category.get().or(self.evt.category.get())
    }

    /// The outcome in the provider's word.
    pub fn outcome(&self) -> Option<&str> {
        self.result_type.get().or(self.status.get()).or(self.evt.outcome.get())
    }

    /// The claims of either shape.
    pub fn claims(&self) -> &Claims<'_> {
        let of_export = &self.identity.claims;
        let told = of_export
            .app_id
            .get()
            .or(of_export.object_id.get())
            .or(of_export.upn.get())
            .or(of_export.name.get());
        if told.is_some() { of_export } else { &self.claims }
    }

    pub fn evidence(&self) -> &Evidence<'_> {
        let of_export = &self.identity.authorization.evidence;
        if of_export.principal_id.get().is_some() { of_export } else { &self.authorization.evidence }
    }

    /// The Entra tenant: the token's, the record's, or the root of the hierarchy of management groups.
    pub fn tenant(&self) -> Option<&str> {
        let root = || self.properties.hierarchy.get()?.split('/').next().filter(|id| !id.is_empty());
        self.claims().tenant_id.get().or(self.tenant_id.get()).or_else(root)
    }

    pub fn address(&self) -> Option<&str> {
        self.caller_address.get().or(self.http_request.address.get()).or(self.claims().address.get())
    }
}
