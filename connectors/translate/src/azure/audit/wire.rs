//! A directory audit record as it stands in the JSON. Only what a mapping reads is named here.

use crate::azure::Wire;
use crate::bounded::RESOURCES_MAX;
use crate::lenient::{List, Raw, Text, lenient_objects};

lenient_objects! {
    /// A record as exported, whose `properties` are what Microsoft Graph gives bare.
    AuditLog<'a> {
        time: Text<'a> = "time",
        resource_id: Text<'a> = "resourceId" | "resourceid",
        operation: Text<'a> = "operationName" | "operationname",
        operation_version: Text<'a> = "operationVersion" | "operationversion",
        category: Text<'a> = "category",
        tenant_id: Text<'a> = "tenantId" | "tenantid",
        result: Text<'a> = "result",
        result_signature: Text<'a> = "resultSignature" | "resultsignature",
        result_description: Text<'a> = "resultDescription" | "resultdescription",
        caller_address: Text<'a> = "callerIpAddress" | "calleripaddress" | "ipAddress",
        correlation_id: Text<'a> = "correlationId" | "correlationid",
        identity: Text<'a> = "identity",
        properties: Audit<'a> = "properties",
        records: Raw<'a> = "records" | "value",
    }
    Audit<'a> {
        id: Text<'a> = "id",
        time: Text<'a> = "activityDateTime",
        activity: Text<'a> = "activityDisplayName",
        category: Text<'a> = "category",
        correlation_id: Text<'a> = "correlationId",
        logged_by: Text<'a> = "loggedByService",
        operation_type: Text<'a> = "operationType",
        result: Text<'a> = "result",
        result_reason: Text<'a> = "resultReason",
        tenant_id: Text<'a> = "tenantId",
        initiated_by: InitiatedBy<'a> = "initiatedBy",
        targets: List<Target<'a>, RESOURCES_MAX> = "targetResources",
        details: List<Detail<'a>, RESOURCES_MAX> = "additionalDetails",
    }
    InitiatedBy<'a> {
        user: Person<'a> = "user",
        app: App<'a> = "app",
    }
    Person<'a> {
        id: Text<'a> = "id",
        principal_name: Text<'a> = "userPrincipalName",
        display_name: Text<'a> = "displayName",
        address: Text<'a> = "ipAddress",
        user_type: Text<'a> = "userType",
        home_tenant_id: Text<'a> = "homeTenantId",
    }
    App<'a> {
        app_id: Text<'a> = "appId",
        display_name: Text<'a> = "displayName",
        service_principal_id: Text<'a> = "servicePrincipalId",
        service_principal_name: Text<'a> = "servicePrincipalName",
    }
    Target<'a> {
        id: Text<'a> = "id",
        display_name: Text<'a> = "displayName",
        principal_name: Text<'a> = "userPrincipalName",
        kind: Text<'a> = "type",
        modified: List<Modified<'a>, RESOURCES_MAX> = "modifiedProperties",
    }
    Modified<'a> {
        name: Text<'a> = "displayName",
        old: Text<'a> = "oldValue",
        new: Text<'a> = "newValue",
    }
    Detail<'a> {
        name: Text<'a> = "key",
        value: Text<'a> = "value",
    }
}

impl<'a> Wire<'a> for AuditLog<'a> {
    const WANTED: &'static str = "Entra directory audit records, which have an `operationName`, or an `activityDisplayName` as \
                                  Microsoft Graph writes it, or batches of them as `records` or `value`";

    fn is_record(&self) -> bool {
        self.operation().is_some() || self.category.is("AuditLogs")
    }

    fn batch(&self) -> Raw<'a> {
        self.records
    }

    fn bare(&mut self, raw: &'a str) {
        let bare: Audit<'_> = serde_json::from_str(raw).unwrap_or_default();
        if bare.activity.get().is_some() {
            self.properties = bare;
        }
    }
}

impl AuditLog<'_> {
    pub fn operation(&self) -> Option<&str> {
        self.operation.get().or(self.properties.activity.get())
    }
}

impl Audit<'_> {
    /// The value of an additional detail.
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.items.iter().find(|detail| detail.name.is(name))?.value.get()
    }

    /// What a property was changed to, or from where it was removed. Entra writes values as JSON, so in quotes.
    pub fn modified(&self, name: &str) -> Option<&str> {
        let bare = |text: &'_ str| -> bool { !matches!(text, "" | "\"\"" | "null") };
        let found = self.targets.items.iter().flat_map(|t| &t.modified.items).find(|m| m.name.is(name))?;
        let value = [found.new.get(), found.old.get()].into_iter().flatten().find(|text| bare(text))?;
        Some(value.trim_matches('"'))
    }
}
