//! Call: one request to the cloud, before anybody has decided whether it is accepted.

use crate::cast::{Identity, letters};
use prunella_schemas::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A session token, as the caller shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub principal: String,
    /// The access key id of the session.
    pub credential: String,
    pub issued_at: Timestamp,
    /// When its holder last showed a second factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stepped_up_at: Option<Timestamp>,
}

/// What the service itself answers when it does not do what was asked, session or no session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The provider's error code; a failed sign-in has none.
    pub code: String,
    pub message: String,
}

/// What a call touches, as CloudTrail lists it under `resources`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    pub arn: String,
    /// Such as `AWS::S3::Object`.
    pub kind: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// How long the caller waits before it, in milliseconds.
    pub delay_ms: u64,
    pub identity: Identity,
    /// `None` for a sign-in, which shows a password instead, and for the provider's own services.
    pub token: Option<Token>,
    /// Such as `s3.amazonaws.com`.
    pub service: String,
    pub operation: String,
    pub region: String,
    pub source_ip: String,
    pub user_agent: String,
    /// The VPC endpoint that it came through, if it did.
    pub vpc_endpoint: Option<String>,
    pub request: Value,
    pub response: Value,
    pub resources: Vec<Resource>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Scripted: the service's own refusal, such as a wrong password or a missing permission.
    pub failure: Option<Failure>,
}

/// The operation by which a password becomes a session.
pub const SIGN_IN: &str = "ConsoleLogin";

impl Call {
    pub fn is_sign_in(&self) -> bool {
        self.operation == SIGN_IN
    }

    /// Whether the call changes nothing; CloudTrail's `readOnly`.
    pub fn is_read_only(&self) -> bool {
        const READS: [&str; 11] = [
            "Get",
            "List",
            "Describe",
            "Head",
            "BatchGet",
            "Lookup",
            "Query",
            "Filter",
            "Receive",
            "Decrypt",
            "GenerateDataKey",
        ];
        self.operation == "AssumeRole" || READS.iter().any(|verb| self.operation.starts_with(verb))
    }

    /// Whether it acts on data inside a resource and not on the resource; CloudTrail's category `Data`.
    pub fn is_data(&self) -> bool {
        match self.service.as_str() {
            "s3.amazonaws.com" => self.operation.contains("Object") && !self.operation.contains("ObjectLock"),
            "dynamodb.amazonaws.com" => self.operation.contains("Item") || self.operation == "Query",
            "lambda.amazonaws.com" => self.operation == "Invoke",
            _ => false,
        }
    }
}

/// The session that a successful sign-in opens.
pub fn mint(call: &Call, issued_at: Timestamp) -> Option<Token> {
    (call.is_sign_in() && call.failure.is_none()).then(|| {
        let principal = call.identity.principal();
        let credential =
            format!("ASIA{}", letters("session", &format!("{principal} {}", call.source_ip), 16));
        Token { principal, credential, issued_at, stepped_up_at: None }
    })
}
