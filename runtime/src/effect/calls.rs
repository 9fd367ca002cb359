//! What a principal's own calls say about a restriction: whether one was refused since, or still accepted.

use prunella_schemas::plan::{EvidenceKind, Probe};
use prunella_schemas::port::{PortError, Query, Store};
use prunella_schemas::{Event, Tenant, Timestamp};

/// Error codes with which targets refuse a credential as such, rather than one call: AWS STS, S3 and API common errors.
const CREDENTIAL_REFUSED: [&str; 8] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
    "RequestExpired",
];

/// Most calls of one principal that one probe looks at.
const PROBE_EVENTS_MAX: u32 = 1_000;
/// Providers write event times in whole seconds, cut off, so a call can be this much later than it says.
const EVENT_TIME_GRAIN_MS: i64 = 1_000;

/// The newest calls of a principal around the time of a change; the minute before shows the last that were accepted.
pub(super) async fn calls_since(
    store: &dyn Store,
    tenant: &Tenant,
    principal: &str,
    applied: Timestamp,
) -> Result<Vec<Event>, PortError> {
    let since = Timestamp(applied.0 - applied.0.rem_euclid(EVENT_TIME_GRAIN_MS) - 60 * EVENT_TIME_GRAIN_MS);
    let query = Query {
        tenant: Some(tenant.as_str().to_owned()),
        principal: Some(principal.to_owned()),
        since: Some(since),
        limit: PROBE_EVENTS_MAX,
        ..Query::default()
    };
    Ok(store.events(&query).await?.rows)
}

/// Whether a target refused the caller's credential.
pub(super) fn refuses_credential(call: &Event) -> bool {
    call.status_code.as_deref().is_some_and(|code| CREDENTIAL_REFUSED.contains(&code))
}

/// What the calls say that are `concerned`, and refused if they failed and `refuses` says so. Of those accepted and refused the newest decides: a change takes its time to reach
/// every corner of a provider. `stands` is what to say when no call has tried.
pub(super) fn judge(
    calls: &[Event],
    concerned: impl Fn(&&Event) -> bool,
    refuses: impl Fn(&Event) -> bool,
    applied: Timestamp,
    stands: String,
) -> Probe {
    let newest = |e: &&Event| (e.time, e.prunella.event_uid);
    let accepted = calls.iter().filter(|e| e.succeeded()).filter(&concerned).max_by_key(newest);
    let last_accepted = accepted.map(|e| e.time);
    let refused = |e: &&Event| e.failed() && refuses(e) && e.time.plus_ms(EVENT_TIME_GRAIN_MS) > applied;
    let refusal = calls.iter().filter(&concerned).filter(refused).max_by_key(newest);
    match (accepted, refusal) {
        (Some(escape), refusal) if escape.time > applied && refusal.is_none_or(|r| r.time < escape.time) => {
            let detail =
                format!("`{}` was accepted at {}, after the change", escape.operation(), escape.time);
            Probe::Escaped { detail, last_accepted, successors: Vec::new() }
        }
        (_, Some(refusal)) => {
            let (code, uid) =
                (refusal.status_code.as_deref().unwrap_or_default(), refusal.prunella.event_uid);
            let detail = format!(
                "`{}` was refused with {code} at {} (event {uid})",
                refusal.operation(),
                refusal.time
            );
            Probe::Held { evidence: EvidenceKind::RefusedCall, detail, last_accepted }
        }
        (_, None) => Probe::Held { evidence: EvidenceKind::ConfigurationRead, detail: stands, last_accepted },
    }
}
