//! A CloudTrail record as it stands in the JSON, borrowed. Only what a mapping reads is named here.

use crate::bounded::RESOURCES_MAX;
use crate::lenient::{Count, List, Raw, Text, lenient_objects};

lenient_objects! {
    /// A record, or the EventBridge envelope around one.
    Trail<'a> {
        event_version: Text<'a> = "eventVersion",
        user_identity: Option<UserIdentity<'a>> = "userIdentity",
        event_time: Text<'a> = "eventTime",
        event_source: Text<'a> = "eventSource",
        event_name: Text<'a> = "eventName",
        aws_region: Text<'a> = "awsRegion",
        source_ip_address: Text<'a> = "sourceIPAddress",
        user_agent: Text<'a> = "userAgent",
        error_code: Text<'a> = "errorCode",
        error_message: Text<'a> = "errorMessage",
        request_parameters: Raw<'a> = "requestParameters",
        response_elements: Raw<'a> = "responseElements",
        additional_event_data: Raw<'a> = "additionalEventData",
        service_event_details: Raw<'a> = "serviceEventDetails",
        request_id: Text<'a> = "requestID",
        event_id: Text<'a> = "eventID",
        event_type: Text<'a> = "eventType",
        api_version: Text<'a> = "apiVersion",
        read_only: Text<'a> = "readOnly",
        resources: List<ResourceRef<'a>, RESOURCES_MAX> = "resources",
        recipient_account_id: Text<'a> = "recipientAccountId",
        event_category: Text<'a> = "eventCategory",
        shared_event_id: Text<'a> = "sharedEventID",
        vpc_endpoint_id: Text<'a> = "vpcEndpointId",
        tls_details: TlsDetails<'a> = "tlsDetails",
        insight_details: Option<InsightDetails<'a>> = "insightDetails",
        detail: Raw<'a> = "detail",
    }
    UserIdentity<'a> {
        kind: Text<'a> = "type",
        principal_id: Text<'a> = "principalId",
        arn: Text<'a> = "arn",
        account_id: Text<'a> = "accountId",
        access_key_id: Text<'a> = "accessKeyId",
        user_name: Text<'a> = "userName",
        invoked_by: Text<'a> = "invokedBy",
        identity_provider: Text<'a> = "identityProvider",
        credential_id: Text<'a> = "credentialId",
        on_behalf_of: OnBehalfOf<'a> = "onBehalfOf",
        session_context: SessionContext<'a> = "sessionContext",
    }
    OnBehalfOf<'a> {
        user_id: Text<'a> = "userId",
        identity_store_arn: Text<'a> = "identityStoreArn",
    }
    SessionContext<'a> {
        session_issuer: SessionIssuer<'a> = "sessionIssuer",
        attributes: SessionAttributes<'a> = "attributes",
        web_id_federation_data: WebIdFederationData<'a> = "webIdFederationData",
    }
    SessionIssuer<'a> { arn: Text<'a> = "arn", }
    SessionAttributes<'a> {
        creation_date: Text<'a> = "creationDate",
        mfa_authenticated: Text<'a> = "mfaAuthenticated",
    }
    WebIdFederationData<'a> { federated_provider: Text<'a> = "federatedProvider", }
    ResourceRef<'a> {
        arn: Text<'a> = "ARN",
        arn_prefix: Text<'a> = "ARNPrefix",
        account_id: Text<'a> = "accountId",
        kind: Text<'a> = "type",
    }
    TlsDetails<'a> {
        tls_version: Text<'a> = "tlsVersion",
        cipher_suite: Text<'a> = "cipherSuite",
        client_provided_host_header: Text<'a> = "clientProvidedHostHeader",
    }
    InsightDetails<'a> {
        event_source: Text<'a> = "eventSource",
        event_name: Text<'a> = "eventName",
        insight_type: Text<'a> = "insightType",
    }
    /// `additionalEventData` of sign-in and S3.
    AdditionalEventData<'a> {
        mfa_used: Text<'a> = "MFAUsed",
        login_to: Text<'a> = "LoginTo",
        user_name: Text<'a> = "UserName",
        sse_applied: Text<'a> = "SSEApplied",
        bytes_in: Count = "bytesTransferredIn",
        bytes_out: Count = "bytesTransferredOut",
    }
    /// The lists of `requestParameters` and `responseElements` of EC2.
    Sets<'a> {
        groups: ItemSet<'a> = "groupSet",
        instances: ItemSet<'a> = "instancesSet",
        snapshots: ItemSet<'a> = "snapshotSet",
        volumes: ItemSet<'a> = "volumeSet",
    }
    /// EC2 writes a list as `{"items":[{..}]}`.
    ItemSet<'a> { set: List<Item<'a>, RESOURCES_MAX> = "items", }
    Item<'a> {
        group_id: Text<'a> = "groupId",
        image_id: Text<'a> = "imageId",
        instance_id: Text<'a> = "instanceId",
        snapshot_id: Text<'a> = "snapshotId",
        volume_id: Text<'a> = "volumeId",
    }
    /// What an IAM or STS call made.
    Made<'a> {
        user: MadeEntity<'a> = "user",
        role: MadeEntity<'a> = "role",
        group: MadeEntity<'a> = "group",
        access_key: MadeKey<'a> = "accessKey",
        credentials: MadeKey<'a> = "credentials",
        assumed_role_user: AssumedRoleUser<'a> = "assumedRoleUser",
        federated_user: MadeEntity<'a> = "federatedUser",
    }
    MadeEntity<'a> {
        arn: Text<'a> = "arn",
        user_id: Text<'a> = "userId",
        role_id: Text<'a> = "roleId",
    }
    MadeKey<'a> { access_key_id: Text<'a> = "accessKeyId", }
    AssumedRoleUser<'a> {
        arn: Text<'a> = "arn",
        assumed_role_id: Text<'a> = "assumedRoleId",
    }
}

impl<'a> Trail<'a> {
    /// Whether this is one record, and not an envelope or something else.
    pub fn is_record(&self) -> bool {
        self.event_name.get().or(self.event_source.get()).is_some() || self.insight_details.is_some()
    }

    pub fn source(&self) -> &str {
        self.event_source.get().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.event_name.get().unwrap_or_default()
    }

    pub fn read<T: serde::Deserialize<'a> + Default>(raw: Raw<'a>) -> T {
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }
}
