//! Problem: how the API says what went wrong, where, and what to do about it (RFC 9457).

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use prunella_schemas::port::PortError;
use schemars::JsonSchema;
use serde::Serialize;

/// Seconds after which a client that was turned away may try again.
const RETRY_AFTER_S: &str = "1";
/// Longest text of a client that is repeated to it, in characters.
const ECHO_CHARS_MAX: usize = 120;

/// An error as `application/problem+json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// A URI reference that names the kind of problem; stable.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    /// What happened, where, and what to do.
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Problem { kind, title, status: status.as_u16(), detail: detail.into() }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "/problems/invalid", "The request makes no sense", detail)
    }

    pub(crate) fn unauthorized() -> Self {
        let detail = "this console has a token: send it as `Authorization: Bearer <token>`";
        Problem::new(StatusCode::UNAUTHORIZED, "/problems/unauthorized", "A token is needed", detail)
    }

    pub(crate) fn cross_site(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::FORBIDDEN, "/problems/cross-site", "Another site may not do this", detail)
    }

    pub(crate) fn not_local(detail: impl Into<String>) -> Self {
        Problem::new(
            StatusCode::FORBIDDEN,
            "/problems/not-local",
            "Only this machine is served without a token",
            detail,
        )
    }

    pub(crate) fn wrong_host(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "/problems/host", "Not a name of this service", detail)
    }

    pub(crate) fn missing(what: &str, id: impl std::fmt::Display) -> Self {
        let detail = format!(
            "there is no {what} `{}` here: it may have aged out, or not be stored yet",
            echo(&id.to_string())
        );
        Problem::new(StatusCode::NOT_FOUND, "/problems/not-found", "Not found", detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::CONFLICT, "/problems/conflict", "The state does not allow this", detail)
    }

    pub(crate) fn gone(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::GONE, "/problems/gone", "No longer good", detail)
    }

    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let detail = format!("the body is larger than {bytes_max} bytes: send it in smaller pieces");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "/problems/too-large", "The body is too large", detail)
    }

    pub(crate) fn unsupported(detail: impl Into<String>) -> Self {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "/problems/media-type",
            "Not a form this route reads",
            detail,
        )
    }

    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "/problems/unavailable", "Not available now", detail)
    }

    pub(crate) fn absent(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_IMPLEMENTED, "/problems/absent", "Not part of this instance", detail)
    }
}

impl From<PortError> for Problem {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Unavailable(detail) => Problem::busy(detail),
            PortError::Invalid(detail) => Problem::invalid(detail),
            PortError::Full(detail) => Problem::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "/problems/full",
                "No room: nothing was changed",
                detail,
            ),
            PortError::Corrupt(detail) => Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "/problems/corrupt",
                "Stored data does not read",
                detail,
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(crate) async fn no_such_route(uri: Uri) -> Problem {
    let detail =
        format!("nothing is served at `{}`: the routes are listed in /openapi.json", echo(uri.path()));
    Problem::new(StatusCode::NOT_FOUND, "/problems/no-route", "No such route", detail)
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("`{}` does not take {}: see /openapi.json", echo(uri.path()), echo(method.as_str()));
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "/problems/method", "Method not allowed", detail)
}

/// Text of a client, short enough to be repeated.
pub(crate) fn echo(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
