//! Intake over HTTP: a batch of records or CloudEvents, acknowledged only when it is durable.

use crate::params::{Params, body, media_type};
use crate::problem::echo;
use crate::{Console, Problem};
use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use prunella_schemas::limits::INTAKE_BYTES_MAX;
use prunella_schemas::port::{Accepted, Upload};
use serde::Deserialize;
use std::borrow::Cow;
use std::net::SocketAddr;

/// Most intake bodies in memory at once; further ones are answered 503 with Retry-After.
pub const INTAKE_REQUESTS_MAX: usize = 16;

/// Header that names the source of the body.
const SOURCE_HEADER: &str = "prunella-source";
const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";
const CLOUDEVENT: &str = "application/cloudevents+json";
const CLOUDEVENTS: &str = "application/cloudevents-batch+json";

#[derive(Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SourceQuery {
    /// Name of the source, such as `aws.cloudtrail`. The header `Prunella-Source` says the same. CloudEvents whose `type`
    /// or `source` is the name of a source need neither.
    source: Option<String>,
}

/// The two attributes of a CloudEvent that may name a source. Anything else about it is for intake to judge.
#[derive(Deserialize)]
struct Attributes<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    source: Option<Cow<'a, str>>,
}

/// Takes a batch of records: NDJSON, one JSON document, or CloudEvents; `Content-Encoding: gzip` is understood.
///
/// 202 means durable. 503 carries Retry-After and 507 means no room: in both cases send the same batch again later; records
/// that arrived already are counted as duplicates. The tenant is the console's own, whatever the records say.
#[utoipa::path(post, path = "/api/events", operation_id = "send_events", tag = "intake", params(SourceQuery),
    request_body(content(
        (String = "application/x-ndjson"), (Value = "application/json"),
        (Value = "application/cloudevents+json"), (Value = "application/cloudevents-batch+json"))),
    responses((status = 202, body = ref("#/components/schemas/Accepted"))))]
pub(crate) async fn accept(
    State(console): State<Console>,
    Params(query): Params<SourceQuery>,
    request: Request,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let content_type = content_type(request.headers())?;
    let content_encoding = content_encoding(request.headers())?;
    let headers = request.headers().clone();
    let origin = match request.extensions().get::<ConnectInfo<SocketAddr>>() {
        Some(ConnectInfo(peer)) => format!("http:{}", peer.ip()),
        None => "http".to_owned(),
    };
    // Taken before the body is read, so that the number of bodies in memory is bounded.
    let Ok(_permit) = console.intake.try_acquire() else {
        return Err(Problem::busy(format!(
            "{INTAKE_REQUESTS_MAX} batches are being taken in: send this one again"
        )));
    };
    let body = body(request, INTAKE_BYTES_MAX).await?;
    let readable = content_encoding.is_empty();
    let named = asked(&headers, query.source)?;
    let known = &console.ports.sources;
    let source = by_attributes(&headers, content_type, if readable { &body } else { b"" }, known).or(named);
    let source = checked(source, known)?;
    let upload = Upload {
        source,
        tenant: console.config.tenant.clone(),
        content_type: content_type.to_owned(),
        content_encoding: content_encoding.to_owned(),
        body,
        origin,
        is_file: false,
    };
    Ok((StatusCode::ACCEPTED, Json(console.ports.intake.accept(upload).await?)))
}

fn content_type(headers: &HeaderMap) -> Result<&'static str, Problem> {
    match media_type(headers).as_str() {
        NDJSON | "application/ndjson" | "application/jsonl" => Ok(NDJSON),
        JSON => Ok(JSON),
        CLOUDEVENT => Ok(CLOUDEVENT),
        CLOUDEVENTS => Ok(CLOUDEVENTS),
        other => {
            let known = [NDJSON, JSON, CLOUDEVENT, CLOUDEVENTS].join(", ");
            Err(Problem::unsupported(format!(
                "Content-Type `{}` is not read here: use one of {known}",
                echo(other)
            )))
        }
    }
}

fn content_encoding(headers: &HeaderMap) -> Result<&'static str, Problem> {
    let value =
        headers.get(header::CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?").trim().to_ascii_lowercase());
    match value.as_deref() {
        None | Some("" | "identity") => Ok(""),
        Some("gzip" | "x-gzip") => Ok("gzip"),
        Some(other) => Err(Problem::unsupported(format!(
            "Content-Encoding `{}` is not read here: use gzip",
            echo(other)
        ))),
    }
}

/// The source as the client names it, in the query or in the header; both must agree.
fn asked(headers: &HeaderMap, query: Option<String>) -> Result<Option<String>, Problem> {
    let header = headers.get(SOURCE_HEADER).and_then(|v| v.to_str().ok()).map(str::to_owned);
    match (query, header) {
        (Some(query), Some(header)) if query != header => {
            let detail = format!(
                "the query says source `{}` and the header `{}`: send one",
                echo(&query),
                echo(&header)
            );
            Err(Problem::invalid(detail))
        }
        (query, header) => Ok(query.or(header)),
    }
}

/// The source that every CloudEvent of the body names, if it is one that intake can read.
fn by_attributes(headers: &HeaderMap, content_type: &str, body: &[u8], known: &[String]) -> Option<String> {
    let name = |attributes: &Attributes<'_>| {
        let candidates = [attributes.kind.as_deref(), attributes.source.as_deref()];
        candidates.into_iter().flatten().find_map(|c| known.iter().find(|k| *k == c).cloned())
    };
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(Cow::Borrowed);
    match content_type {
        CLOUDEVENT => name(&serde_json::from_slice(body).ok()?),
        CLOUDEVENTS => {
            let events: Vec<Attributes<'_>> = serde_json::from_slice(body).ok()?;
            let first = name(events.first()?)?;
            events.iter().all(|event| name(event).as_ref() == Some(&first)).then_some(first)
        }
        // The binary mode of the CloudEvents HTTP binding has them in headers.
        _ => name(&Attributes { kind: header("ce-type"), source: header("ce-source") }),
    }
}

fn checked(source: Option<String>, known: &[String]) -> Result<String, Problem> {
    let names = known.join(", ");
    match source {
        Some(source) if known.contains(&source) => Ok(source),
        Some(source) => {
            Err(Problem::invalid(format!("source `{}` is not known: use one of {names}", echo(&source))))
        }
        None => Err(Problem::invalid(format!("say which source this is from, as `?source=` one of {names}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloud_events_name_a_source_only_if_it_is_known_and_the_same_for_all() {
        let known = ["aws.cloudtrail".to_owned(), "ocsf".to_owned()];
        let check = |content_type: &str, body: &str, want: Option<&str>| {
            let got = by_attributes(&HeaderMap::new(), content_type, body.as_bytes(), &known);
            assert_eq!(got.as_deref(), want, "{body}");
        };
        check(CLOUDEVENT, r#"{"type":"aws.cloudtrail","source":"x","data":{}}"#, Some("aws.cloudtrail"));
        check(CLOUDEVENT, r#"{"type":"x","source":"ocsf"}"#, Some("ocsf"));
        check(CLOUDEVENT, r#"{"type":"\u006fcsf"}"#, Some("ocsf"));
        check(CLOUDEVENT, r#"{"type":"x","source":"y"}"#, None);
        check(CLOUDEVENT, r#"{"type":"ocsf","type":"aws.cloudtrail"}"#, None);
        check(CLOUDEVENT, r#"{"type":7}"#, None);
        check(CLOUDEVENT, "", None);
        check(CLOUDEVENTS, "[]", None);
        check(CLOUDEVENTS, r#"[{"type":"ocsf"},{"source":"ocsf"}]"#, Some("ocsf"));
        check(CLOUDEVENTS, r#"[{"type":"ocsf"},{"type":"aws.cloudtrail"}]"#, None);
        check(NDJSON, r#"{"type":"ocsf"}"#, None);
    }
}
