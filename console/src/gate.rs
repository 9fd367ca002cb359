//! The gate in front of every route: who may come in, how many at once, for how long, and the headers on the way out.

use crate::Problem;
use crate::config::Config;
use crate::problem::echo;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Most requests in progress at once; further ones are answered 503.
pub(crate) const REQUESTS_MAX: usize = 256;
/// The WebSocket subprotocol of the feed.
pub(crate) const FEED_PROTOCOL: &str = "prunella.v1";
/// Prefix of the subprotocol by which a browser, which cannot set headers on a WebSocket, presents the token in hexadecimal.
const TOKEN_PROTOCOL: &str = "bearer.";

const CSP_API: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const CSP_PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                        frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'";
/// What stands behind a link in a message: one form, and no script at all.
const LINK_PREFIX: &str = "/approve/";
const CSP_FORM: &str = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
                        form-action 'self'";
/// Swagger UI sets styles inline and draws its icons from `data:` URIs.
const CSP_DOCS: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                        connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

pub(crate) struct Gate {
    config: Arc<Config>,
    requests: Semaphore,
}

impl Gate {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Gate { config, requests: Semaphore::new(REQUESTS_MAX) }
    }

    /// Everything that must hold before a handler runs.
    fn admit(&self, request: &Request) -> Result<(), Problem> {
        match &self.config.token {
            None => {
                check_peer(request)?;
                check_host(request)?;
            }
            Some(token) => {
                let open = is_open(request.uri().path());
                if !open && !presented(request.headers()).is_some_and(|t| token.matches(&t)) {
                    return Err(Problem::unauthorized());
                }
            }
        }
        // A WebSocket handshake is a GET that a page of any origin may send.
        let upgrade = request.headers().contains_key(header::UPGRADE);
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if upgrade || !reads { self.check_origin(request) } else { Ok(()) }
    }

    /// Refuses what a browser sends on behalf of another site. Clients that are not browsers send neither header.
    fn check_origin(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let listed = |origin: &str| self.config.origins.iter().any(|o| o.eq_ignore_ascii_case(origin));
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or("null");
            let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            let own = authority.is_some_and(|a| host_of(request).is_some_and(|h| h.eq_ignore_ascii_case(a)));
            if !own && !listed(origin) {
                let hint = "add it to `api.origins` in the configuration if it is yours";
                return Err(Problem::cross_site(format!("a page of `{}` sent this: {hint}", echo(origin))));
            }
            return Ok(());
        }
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(Problem::cross_site(
                "the browser says that another site sent this: use the console's own page",
            )),
        }
    }
}

/// The middleware: admits, bounds in number and time, and seals the answer.
pub(crate) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let csp = policy(request.uri().path());
    let mut response = match gate.admit(&request) {
        Ok(()) => bounded(&gate, request, next).await,
        Err(problem) => problem.into_response(),
    };
    seal(response.headers_mut(), csp);
    response
}

async fn bounded(gate: &Gate, request: Request, next: Next) -> Response {
    let Ok(_permit) = gate.requests.try_acquire() else {
        return Problem::busy(format!("{REQUESTS_MAX} requests are in progress: try again")).into_response();
    };
    let limit_ms = gate.config.request_timeout_ms;
    match tokio::time::timeout(Duration::from_millis(limit_ms), next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::busy(format!("the request took longer than {limit_ms} ms: it is safe to repeat"))
            .into_response(),
    }
}

/// Without a token only this machine is served, even if the listener was bound to more.
fn check_peer(request: &Request) -> Result<(), Problem> {
    match request.extensions().get::<ConnectInfo<SocketAddr>>() {
        Some(ConnectInfo(peer)) if !peer.ip().to_canonical().is_loopback() => {
            Err(Problem::not_local(format!("{} is another machine: set `token_file` to serve it", peer.ip())))
        }
        _ => Ok(()),
    }
}

/// A page whose name an attacker re-points at 127.0.0.1 (DNS rebinding) still sends its own name as Host.
fn check_host(request: &Request) -> Result<(), Problem> {
    let host = host_of(request).unwrap_or_default();
    let named = host.parse::<Authority>().ok();
    let local = named.as_ref().is_some_and(|authority| {
        let name = authority.host();
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    if local && !host.contains('@') {
        return Ok(());
    }
    let detail = format!(
        "the host `{}` is not a loopback name: use http://127.0.0.1, or set `token_file`",
        echo(host)
    );
    Err(Problem::wrong_host(detail))
}

/// The name the client used. One Host header only: two are an attempt to be read differently by two readers.
fn host_of(request: &Request) -> Option<&str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|h| h.to_str().ok())?;
    let agrees = request.uri().authority().is_none_or(|a| a.as_str().eq_ignore_ascii_case(host));
    (hosts.next().is_none() && agrees).then_some(host)
}

/// The token a client presents, in the header or, for a browser's WebSocket, as a subprotocol.
fn presented(headers: &HeaderMap) -> Option<Vec<u8>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().as_bytes().to_vec());
    }
    let protocols = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let digits = protocols.split(',').find_map(|p| p.trim().strip_prefix(TOKEN_PROTOCOL))?;
    hex::decode(digits).ok()
}

/// Routes that show nothing of anybody: whether the process lives, and the empty page.
fn is_open(path: &str) -> bool {
    // A link to approve carries its own authority.
    path == "/livez" || path == "/" || path.starts_with("/assets/") || path.starts_with(LINK_PREFIX)
}

fn policy(path: &str) -> &'static str {
    match path {
        "/" => CSP_PAGE,
        _ if path.starts_with(LINK_PREFIX) => CSP_FORM,
        _ if path.starts_with("/api/docs") => CSP_DOCS,
        _ => CSP_API,
    }
}

fn seal(headers: &mut HeaderMap, csp: &'static str) {
    let fixed: [(HeaderName, &'static str); 6] = [
        (header::CONTENT_SECURITY_POLICY, csp),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
