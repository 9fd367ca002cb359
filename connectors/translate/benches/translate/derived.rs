//! The yardstick: a borrowed struct as one would derive it, strict and without any mapping.

#![allow(dead_code, reason = "only decoding is measured")]

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::hint::black_box;

pub fn decode(text: &str) {
    black_box(serde_json::from_str::<Trail<'_>>(text).expect("the corpus is well-formed"));
}

type Text<'a> = Option<Cow<'a, str>>;

macro_rules! borrowed {
    ($($name:ident { $($field:ident : $type:ty = $key:literal,)* })*) => {$(
        #[derive(Deserialize)]
        struct $name<'a> { $(#[serde(rename = $key, borrow, default)] $field: $type,)* }
    )*};
}

borrowed! {
    Trail {
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
        request_parameters: Option<&'a RawValue> = "requestParameters",
        response_elements: Option<&'a RawValue> = "responseElements",
        additional_event_data: Option<&'a RawValue> = "additionalEventData",
        request_id: Text<'a> = "requestID",
        event_id: Text<'a> = "eventID",
        event_type: Text<'a> = "eventType",
        api_version: Text<'a> = "apiVersion",
        read_only: Option<&'a RawValue> = "readOnly",
        resources: Option<Vec<ResourceRef<'a>>> = "resources",
        recipient_account_id: Text<'a> = "recipientAccountId",
        event_category: Text<'a> = "eventCategory",
        shared_event_id: Text<'a> = "sharedEventID",
        vpc_endpoint_id: Text<'a> = "vpcEndpointId",
        tls_details: Option<TlsDetails<'a>> = "tlsDetails",
    }
    UserIdentity {
        kind: Text<'a> = "type",
        principal_id: Text<'a> = "principalId",
        arn: Text<'a> = "arn",
        account_id: Text<'a> = "accountId",
        access_key_id: Text<'a> = "accessKeyId",
        user_name: Text<'a> = "userName",
        invoked_by: Text<'a> = "invokedBy",
        session_context: Option<SessionContext<'a>> = "sessionContext",
    }
    SessionContext {
        session_issuer: Option<SessionIssuer<'a>> = "sessionIssuer",
        attributes: Option<SessionAttributes<'a>> = "attributes",
    }
    SessionIssuer { arn: Text<'a> = "arn", }
    SessionAttributes {
        creation_date: Text<'a> = "creationDate",
        mfa_authenticated: Text<'a> = "mfaAuthenticated",
    }
    ResourceRef {
        arn: Text<'a> = "ARN",
        account_id: Text<'a> = "accountId",
        kind: Text<'a> = "type",
    }
    TlsDetails {
        tls_version: Text<'a> = "tlsVersion",
        cipher_suite: Text<'a> = "cipherSuite",
        client_provided_host_header: Text<'a> = "clientProvidedHostHeader",
    }
}
