//! Problem: how the API says what went wrong (RFC 9457), without saying more than the caller may know.

use crate::Error;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// An error as `application/problem+json`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// A URI reference that names the kind of problem; stable.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What happened, and what to do.
    pub detail: String,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        use StatusCode as S;
        let (status, kind, title) = match error {
            Error::Unauthenticated => (S::UNAUTHORIZED, "unauthenticated", "Not logged in"),
            Error::StepUp => (S::UNAUTHORIZED, "step-up", "A fresh proof is needed"),
            Error::Forbidden => (S::FORBIDDEN, "forbidden", "Not allowed"),
            Error::Missing(_) => (S::NOT_FOUND, "not-found", "Not found"),
            Error::Conflict(_) => (S::CONFLICT, "conflict", "The state does not allow this"),
            Error::Invalid(_) => (S::BAD_REQUEST, "invalid", "The request makes no sense"),
            Error::TooLarge(_) => (S::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Error::Range(_) => (S::RANGE_NOT_SATISFIABLE, "range", "Outside of the object"),
            Error::Throttled(_) => (S::TOO_MANY_REQUESTS, "throttled", "Too many tries"),
            Error::Unavailable(_) => (S::SERVICE_UNAVAILABLE, "unavailable", "Not available now"),
            Error::Full => (S::INSUFFICIENT_STORAGE, "full", "No room"),
            Error::Corrupt(_) => (S::INTERNAL_SERVER_ERROR, "corrupt", "Stored data does not read"),
        };
        Problem {
            kind: format!("/problems/{kind}"),
            title: title.into(),
            status: status.as_u16(),
            detail: error.to_string(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = Problem::from(&self);
        let mut response = Response::new(Body::from(serde_json::to_vec(&problem).unwrap_or_default()));
        *response.status_mut() =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // RFC 6750 and, for the step-up, RFC 9470.
        let challenge = match self {
            Error::Unauthenticated => Some("Bearer"),
            Error::StepUp => Some("Bearer error=\"insufficient_user_authentication\", max_age=300"),
            _ => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        let wait = match self {
            Error::Throttled(seconds) => Some(seconds),
            Error::Unavailable(_) => Some(1),
            _ => None,
        };
        headers.extend(wait.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds))));
        if let Error::Range(len) = self {
            headers.extend(
                HeaderValue::from_str(&format!("bytes */{len}"))
                    .ok()
                    .map(|range| (header::CONTENT_RANGE, range)),
            );
        }
        response
    }
}

pub(crate) async fn no_such_route() -> Error {
    Error::Missing("route; they are listed in /openapi.json")
}
