//! Record: the CloudTrail record of a call, as the provider writes it.

use crate::Rng;
use crate::call::{Call, Resource};
use crate::cast::{ACCOUNT, letters};
use prunella_schemas::{Id, Timestamp};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `errorCode` of a call whose session was revoked.
pub const REVOKED_ERROR_CODE: &str = "ExpiredToken";
/// `errorMessage` of such a call.
pub const REVOKED_ERROR_MESSAGE: &str =
    "The security token included in the request is expired: the session was revoked before this call";

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The session was honoured. The service may still have said no: that the caller was heard is what counts.
    Accepted,
    /// A sign-in with a wrong password: there never was a session.
    Failed,
    /// The session was revoked.
    Refused,
}

/// A record with the id that the provider gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub event_id: String,
    /// One line of JSON, without the newline.
    pub body: Vec<u8>,
}

/// Field order is CloudTrail's own.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CloudTrail<'a> {
    event_version: &'a str,
    user_identity: Value,
    event_time: String,
    event_source: &'a str,
    event_name: &'a str,
    aws_region: &'a str,
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: &'a str,
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
    request_parameters: &'a Value,
    response_elements: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_event_data: Option<Value>,
    #[serde(rename = "requestID")]
    request_id: String,
    #[serde(rename = "eventID")]
    event_id: &'a str,
    read_only: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<Value>,
    event_type: &'a str,
    management_event: bool,
    recipient_account_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpc_endpoint_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpc_endpoint_account_id: Option<&'a str>,
    event_category: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_details: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_credential_from_console: Option<&'a str>,
}

/// Writes the record of `call`, made at `time`, with `verdict`. `rng` gives the ids.
pub fn write(call: &Call, time: Timestamp, verdict: Verdict, rng: &mut Rng) -> Written {
    let event_id = uuid(rng);
    let (code, message) = match (&call.failure, verdict) {
        (None, Verdict::Refused) => (Some(REVOKED_ERROR_CODE), Some(REVOKED_ERROR_MESSAGE)),
        (Some(failure), _) => {
            (Some(failure.code.as_str()).filter(|c| !c.is_empty()), Some(failure.message.as_str()))
        }
        (None, _) => (None, None),
    };
    let succeeded = message.is_none();
    let (inside, on_console) =
        (call.token.is_none() && !call.is_sign_in(), call.user_agent.starts_with("Mozilla"));
    let resource = |of: &Resource| json!({"accountId": ACCOUNT, "type": of.kind, "ARN": of.arn});
    let record = CloudTrail {
        event_version: "1.11",
        user_identity: user_identity(call, time),
        event_time: seconds(time),
        event_source: &call.service,
        event_name: &call.operation,
        aws_region: &call.region,
        source_ip_address: &call.source_ip,
        user_agent: &call.user_agent,
        error_code: code,
        error_message: message,
        request_parameters: &call.request,
        response_elements: response(call, succeeded),
        additional_event_data: additional(call, succeeded, rng),
        request_id: request_id(call, rng),
        event_id: &event_id,
        read_only: call.is_read_only(),
        resources: call.resources.iter().map(resource).collect(),
        event_type: if call.is_sign_in() { "AwsConsoleSignIn" } else { "AwsApiCall" },
        management_event: !call.is_data(),
        recipient_account_id: ACCOUNT,
        vpc_endpoint_id: call.vpc_endpoint.as_deref(),
        vpc_endpoint_account_id: call.vpc_endpoint.as_ref().map(|_| ACCOUNT),
        event_category: if call.is_data() { "Data" } else { "Management" },
        tls_details: (!inside).then(|| {
            json!({"tlsVersion": "TLSv1.3", "cipherSuite": "TLS_AES_128_GCM_SHA256", "clientProvidedHostHeader": host(call)})
        }),
        session_credential_from_console: (on_console && !call.is_sign_in()).then_some("true"),
    };
    // Serialising owned strings, numbers and maps with string keys cannot fail.
    Written { body: serde_json::to_vec(&record).unwrap_or_default(), event_id: record.event_id.to_owned() }
}

/// `YYYY-MM-DDTHH:MM:SSZ`, the form of CloudTrail's `eventTime`.
pub fn seconds(time: Timestamp) -> String {
    let mut text = time.to_string();
    text.truncate(19);
    text.push('Z');
    text
}

fn user_identity(call: &Call, time: Timestamp) -> Value {
    if call.is_sign_in() && call.failure.is_some() {
        // A failed sign-in names the user and the account; the provider leaves the ARN out and the key empty.
        let mut identity = call.identity.user_identity(None, "");
        if let Some(fields) = identity.as_object_mut() {
            fields.remove("arn");
            fields.insert("accessKeyId".to_owned(), json!(""));
        }
        return identity;
    }
    let issued = call.token.as_ref().map_or(time, |token| token.issued_at);
    let credential = call.token.as_ref().map(|token| token.credential.as_str());
    let mut identity = call.identity.user_identity(credential, &seconds(issued));
    let stepped_up = call.token.as_ref().is_some_and(|token| token.stepped_up_at.is_some());
    if let Some(shown) = identity.pointer_mut("/sessionContext/attributes/mfaAuthenticated")
        && stepped_up
    {
        *shown = json!("true");
    }
    identity
}

fn response(call: &Call, succeeded: bool) -> Value {
    match (call.is_sign_in(), succeeded) {
        (true, true) => json!({"ConsoleLogin": "Success"}),
        (true, false) => json!({"ConsoleLogin": "Failure"}),
        (false, true) => call.response.clone(),
        (false, false) => Value::Null,
    }
}

/// Bytes of an error answer of S3.
const S3_ERROR_BYTES: u64 = 307;

fn additional(call: &Call, succeeded: bool, rng: &mut Rng) -> Option<Value> {
    if call.is_sign_in() {
        let to =
            format!("https://console.aws.amazon.com/console/home?region={}&state=hashArgs%23", call.region);
        return Some(json!({"LoginTo": to, "MobileVersion": "No", "MFAUsed": "No"}));
    }
    (call.service == "s3.amazonaws.com").then(|| {
        let trace: String = (0..75).map(|_| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[rng.random_range(0..64)])).collect();
        json!({
            "SignatureVersion": "SigV4", "CipherSuite": "TLS_AES_128_GCM_SHA256", "AuthenticationMethod": "AuthHeader",
            "bytesTransferredIn": if succeeded { call.bytes_in } else { 0 },
            "bytesTransferredOut": if succeeded { call.bytes_out } else { S3_ERROR_BYTES },
            "x-amz-id-2": format!("{trace}="),
        })
    })
}

fn host(call: &Call) -> String {
    let bucket = call.request.get("bucketName").and_then(Value::as_str);
    match (call.service.split('.').next().unwrap_or_default(), bucket) {
        ("s3", Some(bucket)) => format!("{bucket}.s3.{}.amazonaws.com", call.region),
        (service @ ("iam" | "sts" | "signin"), _) => format!("{service}.amazonaws.com"),
        (service, _) => format!("{service}.{}.amazonaws.com", call.region),
    }
}

/// S3 names a request by 16 letters, everybody else by a UUID.
fn request_id(call: &Call, rng: &mut Rng) -> String {
    let id = uuid(rng);
    if call.service == "s3.amazonaws.com" { letters("request", &id, 16) } else { id }
}

/// A random UUID of version 4.
fn uuid(rng: &mut Rng) -> String {
    let mut bytes: [u8; 16] = rng.random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = Id(bytes).to_string();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
