//! A `LogEntry` with an `AuditLog` as it stands in the JSON, borrowed. Only what a mapping reads is named here.

use crate::bounded::RESOURCES_MAX;
use crate::lenient::{List, Raw, Text, lenient_objects};

lenient_objects! {
    LogEntry<'a> {
        log_name: Text<'a> = "logName" | "logname",
        insert_id: Text<'a> = "insertId" | "insertid",
        time: Text<'a> = "timestamp",
        received: Text<'a> = "receiveTimestamp" | "receivetimestamp",
        resource: Monitored<'a> = "resource",
        operation: Operation<'a> = "operation",
        payload: AuditLog<'a> = "protoPayload" | "protopayload",
        trace: Text<'a> = "trace",
        // An audit log that came without its entry.
        service: Text<'a> = "serviceName",
        method: Text<'a> = "methodName",
    }
    Monitored<'a> {
        kind: Text<'a> = "type",
        labels: Labels<'a> = "labels",
    }
    Labels<'a> {
        project_id: Text<'a> = "project_id",
        organization_id: Text<'a> = "organization_id",
        location: Text<'a> = "location",
        region: Text<'a> = "region",
        zone: Text<'a> = "zone",
        bucket_name: Text<'a> = "bucket_name",
        email_id: Text<'a> = "email_id",
    }
    Operation<'a> {
        id: Text<'a> = "id",
    }
    AuditLog<'a> {
        kind: Text<'a> = "@type" | "at_sign_type",
        service: Text<'a> = "serviceName",
        method: Text<'a> = "methodName",
        resource_name: Text<'a> = "resourceName",
        resource_location: ResourceLocation<'a> = "resourceLocation",
        status: Status<'a> = "status",
        authentication: Authentication<'a> = "authenticationInfo",
        authorizations: List<Authorization<'a>, RESOURCES_MAX> = "authorizationInfo",
        request_metadata: RequestMetadata<'a> = "requestMetadata",
        request: Raw<'a> = "request",
        response: Raw<'a> = "response",
        service_data: ServiceData<'a> = "serviceData",
        metadata: Metadata<'a> = "metadata",
    }
    ResourceLocation<'a> { current: List<Text<'a>, 8> = "currentLocations", }
    Status<'a> {
        code: Text<'a> = "code",
        message: Text<'a> = "message",
    }
    Authentication<'a> {
        email: Text<'a> = "principalEmail",
        subject: Text<'a> = "principalSubject",
        authority: Text<'a> = "authoritySelector",
        key_name: Text<'a> = "serviceAccountKeyName",
        oauth: OauthInfo<'a> = "oauthInfo",
        delegation: List<Delegation<'a>, RESOURCES_MAX> = "serviceAccountDelegationInfo",
    }
    OauthInfo<'a> { client_id: Text<'a> = "oauthClientId", }
    /// One who lent its authority on the way to the service account that made the call.
    Delegation<'a> {
        subject: Text<'a> = "principalSubject",
        first_party: FirstParty<'a> = "firstPartyPrincipal",
    }
    FirstParty<'a> { email: Text<'a> = "principalEmail", }
    Authorization<'a> {
        resource: Text<'a> = "resource",
        permission: Text<'a> = "permission",
        granted: Text<'a> = "granted",
        attributes: ResourceAttributes<'a> = "resourceAttributes",
    }
    ResourceAttributes<'a> {
        name: Text<'a> = "name",
        kind: Text<'a> = "type",
    }
    RequestMetadata<'a> {
        address: Text<'a> = "callerIp" | "callerIP",
        user_agent: Text<'a> = "callerSuppliedUserAgent",
        network: Text<'a> = "callerNetwork",
    }
    ServiceData<'a> { policy: PolicyDelta<'a> = "policyDelta", }
    PolicyDelta<'a> { bindings: List<BindingDelta<'a>, RESOURCES_MAX> = "bindingDeltas", }
    BindingDelta<'a> {
        action: Text<'a> = "action",
        member: Text<'a> = "member",
        role: Text<'a> = "role",
    }
    Metadata<'a> {
        policy: PolicyDelta<'a> = "policyDelta",
        events: List<Happened<'a>, 8> = "event",
        violation: Text<'a> = "violationReason",
    }
    /// What Google Workspace says about a login or an administrator's act.
    Happened<'a> { parameters: List<Parameter<'a>, RESOURCES_MAX> = "parameter", }
    Parameter<'a> {
        name: Text<'a> = "name",
        value: Text<'a> = "value",
        flag: Text<'a> = "boolValue",
        list: List<Text<'a>, 16> = "multiStrValue",
    }
    /// What an IAM call names or made.
    Named<'a> {
        account_id: Text<'a> = "account_id" | "accountId",
        name: Text<'a> = "name",
        email: Text<'a> = "email",
        unique_id: Text<'a> = "unique_id" | "uniqueId" | "oauth2_client_id",
        role: Text<'a> = "role",
    }
}

impl LogEntry<'_> {
    pub fn is_record(&self) -> bool {
        let payload = &self.payload;
        let named = payload.service.get().or(payload.resource_name.get()).or(payload.kind.get());
        self.log_name.get().or(self.insert_id.get()).or(self.method()).or(named).is_some()
            || !payload.authorizations.items.is_empty()
    }

    pub fn service(&self) -> &str {
        self.payload.service.get().or(self.service.get()).unwrap_or_default()
    }

    pub fn method(&self) -> Option<&str> {
        self.payload.method.get().or(self.method.get())
    }

    /// `activity` of `projects/p/logs/cloudaudit.googleapis.com%2Factivity`.
    pub fn log(&self) -> Option<&str> {
        let (_, id) = self.log_name.get()?.split_once("/logs/")?;
        id.strip_prefix("cloudaudit.googleapis.com%2F")
            .or_else(|| id.strip_prefix("cloudaudit.googleapis.com/"))
    }

    /// The id behind `projects/`, `folders/` or `organizations/` in the log's own name.
    pub fn owner(&self, kind: &str) -> Option<&str> {
        self.log_name.get()?.strip_prefix(kind)?.strip_prefix('/')?.split('/').next()
    }

    /// The first parameter of that name that Workspace reports.
    pub fn parameter(&self, name: &str) -> Option<&Parameter<'_>> {
        self.payload
            .metadata
            .events
            .items
            .iter()
            .flat_map(|event| &event.parameters.items)
            .find(|p| p.name.is(name))
    }

    /// Who was given which role, or lost it.
    pub fn bindings(&self) -> &[BindingDelta<'_>] {
        let of_data = &self.payload.service_data.policy.bindings.items;
        if of_data.is_empty() { &self.payload.metadata.policy.bindings.items } else { of_data }
    }
}
