//! Reading requests strictly: unknown query parameters, malformed ids and bodies of another type are errors that say so.

use crate::Problem;
use crate::problem::echo;
use axum::body::to_bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query as QueryString, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use prunella_schemas::port::{QUERY_ROWS_MAX, Query};
use prunella_schemas::{Id, Timestamp};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};

/// Largest body of a route that takes a small JSON object, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 16 * 1024;
/// Longest filter text, in bytes.
const FILTER_BYTES_MAX: usize = 4 * 1024;
/// Highest OCSF severity.
const SEVERITY_MAX: u8 = 6;
const ROWS_DEFAULT: u32 = 100;

/// Query parameters, all of them known.
pub(crate) struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read: Result<QueryString<T>, QueryRejection> =
            QueryString::from_request_parts(parts, state).await;
        read.map(|QueryString(params)| Params(params)).map_err(|e| {
            Problem::invalid(format!("the query string does not read: {}", echo(&e.body_text())))
        })
    }
}

/// No query parameters at all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

/// The id in the path.
pub(crate) struct PathId(pub Id);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path(text) = read.map_err(|e| Problem::invalid(e.body_text()))?;
        text.parse().map(PathId).map_err(|e: prunella_schemas::id::IdError| Problem::invalid(e.to_string()))
    }
}

/// A small JSON object. The content type must say so, which a cross-site form cannot.
pub(crate) struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if media_type(request.headers()) != "application/json" {
            return Err(Problem::unsupported("send JSON with `Content-Type: application/json`"));
        }
        let body = body(request, BODY_BYTES_MAX).await?;
        serde_json::from_slice(&body)
            .map(Json)
            .map_err(|e| Problem::invalid(format!("the body does not read: {}", echo(&e.to_string()))))
    }
}

/// The whole body, or why not.
pub(crate) async fn body(request: Request, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let declared =
        request.headers().get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > bytes_max as u64) {
        return Err(Problem::too_large(bytes_max));
    }
    match to_bytes(request.into_body(), bytes_max).await {
        Ok(bytes) => Ok(bytes.into()),
        Err(e) if e.to_string().contains("length limit") => Err(Problem::too_large(bytes_max)),
        Err(_) => Err(Problem::invalid("the body ended before it was whole: send it again")),
    }
}

/// The content type without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A filter: what every list can be asked, and fields of its own. An unknown field is an error.
macro_rules! filter {
    ($(#[$doc:meta])* $name:ident { $($(#[$own:meta])* $field:ident: $kind:ty),* }) => {
        $(#[$doc])*
        #[derive(Default, Deserialize, utoipa::IntoParams)]
        #[serde(default, deny_unknown_fields)]
        #[into_params(parameter_in = Query)]
        pub(crate) struct $name {
            $($(#[$own])* $field: Option<$kind>,)*
            /// Absent: all tenants.
            tenant: Option<String>,
            /// From this time on: RFC 3339, or milliseconds since 1970.
            #[serde(deserialize_with = "time")]
            #[param(value_type = Option<String>)]
            since: Option<Timestamp>,
            /// Before this time: RFC 3339, or milliseconds since 1970.
            #[serde(deserialize_with = "time")]
            #[param(value_type = Option<String>)]
            until: Option<Timestamp>,
            /// The `next` of the page before.
            before: Option<String>,
            /// Most rows; more than 1 000 are never returned. Default 100.
            limit: Option<u32>,
        }

        impl $name {
            pub(crate) fn query(self) -> Result<Query, Problem> {
                let mut query = Query { tenant: self.tenant, since: self.since, until: self.until, ..Query::default() };
                (query.before, query.limit) = (self.before, self.limit.unwrap_or_default());
                $(query.$field = self.$field;)*
                checked(query)
            }
        }
    };
}

filter!(
    /// Filters of `/api/events`.
    EventFilter {
        /// The whole principal key, such as `aws:user:arn:aws:iam::111122223333:user/alice`.
        principal: String,
        /// The provider's name of the call, such as `ConsoleLogin`.
        operation: String,
        /// Lowest OCSF severity: 0 to 6.
        #[param(maximum = 6)]
        severity_min: u8
    }
);
filter!(
    /// Filters of `/api/threats`.
    ThreatFilter {
        /// The whole principal key.
        principal: String,
        /// Lowest OCSF severity: 0 to 6.
        #[param(maximum = 6)]
        severity_min: u8
    }
);
filter!(
    /// Filters of `/api/plans` and `/api/receipts`.
    PrincipalFilter {
        /// The whole principal key.
        principal: String
    }
);
filter!(
    /// Filters of `/api/dlq`.
    TimeFilter {}
);

/// Clamps the limit; refuses filters that cannot match anything.
fn checked(mut query: Query) -> Result<Query, Problem> {
    query.limit = if query.limit == 0 { ROWS_DEFAULT } else { query.limit.min(QUERY_ROWS_MAX) };
    let texts = [
        ("tenant", &query.tenant),
        ("principal", &query.principal),
        ("operation", &query.operation),
        ("before", &query.before),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            filter_text(name, text)?;
        }
    }
    if let Some(severity) = query.severity_min.filter(|s| *s > SEVERITY_MAX) {
        return Err(Problem::invalid(format!(
            "severity_min is {severity}: OCSF severities are 0 to {SEVERITY_MAX}"
        )));
    }
    if let (Some(since), Some(until)) = (query.since, query.until)
        && since > until
    {
        return Err(Problem::invalid(format!("since ({since}) is later than until ({until}): swap them")));
    }
    Ok(query)
}

/// A filter must hold something, and not too much.
pub(crate) fn filter_text(name: &str, text: &str) -> Result<(), Problem> {
    match text.len() {
        0 => Err(Problem::invalid(format!("`{name}` is empty: leave it out, or give it a value"))),
        1..=FILTER_BYTES_MAX => Ok(()),
        _ => Err(Problem::invalid(format!("`{name}` is longer than {FILTER_BYTES_MAX} bytes: shorten it"))),
    }
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = text.parse().map(Timestamp).ok().or_else(|| Timestamp::parse(&text));
    read.map(Some).ok_or_else(|| {
        D::Error::custom(format!("`{}` is not a time: use RFC 3339 or milliseconds since 1970", echo(&text)))
    })
}
