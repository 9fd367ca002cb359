//! A message of the log as a row of the store: its bytes untouched, and the few columns that queries need.

use prunella_schemas::limits::FUTURE_MS_MAX;
use prunella_schemas::message::WireError;
use prunella_schemas::risk::RISK_HALF_LIFE_MS;
use prunella_schemas::{
    DeadLetter, Event, Finding, Id, Message, Posted, Receipt, Risk, Timestamp, Topic, Transition,
};
use serde::Deserialize;
use std::borrow::Cow;

/// The tenant of a message that names none.
const TENANT_DEFAULT: &str = "default";

/// A row on its way into the store. It borrows the bytes of the message it was made from.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    pub(super) uid: Id,
    pub(super) time: Timestamp,
    pub(super) origin: Timestamp,
    pub(super) tenant: Cow<'a, str>,
    pub(super) principal: Cow<'a, str>,
    pub(super) operation: Cow<'a, str>,
    pub(super) severity: u8,
    pub(super) version: u8,
    pub(super) bytes: &'a [u8],
    pub(super) kind: Kind,
}

/// What only one kind of row has.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// With the minute it counts in.
    Event {
        minute: Timestamp,
    },
    /// With the words it is counted under.
    Finding {
        tallies: Vec<(&'static str, String)>,
    },
    Transition {
        sequence: u32,
        state: String,
    },
    Receipt,
    DeadLetter,
    Risk {
        score: f64,
        heat: f64,
    },
}

impl<'a> Row<'a> {
    /// The row of a message; `None` for a topic that is not stored.
    pub fn of(posted: &'a Posted) -> Result<Option<Self>, WireError> {
        let (version, bytes) = (posted.version, posted.bytes.as_slice());
        let mut row = match posted.topic {
            Topic::Events => event(version, bytes)?,
            Topic::Findings => finding(version, bytes)?,
            Topic::Plans => transition(version, bytes)?,
            Topic::Receipts => receipt(version, bytes)?,
            Topic::Dlq => dead_letter(version, bytes)?,
            Topic::Risk => risk(version, bytes)?,
            _ => return Ok(None),
        };
        row.origin = posted.origin;
        Ok(Some(row))
    }

    /// A message without a cause before it, such as a record that intake refused, counts from when it became durable
    /// itself; else it would be as old as 1970 to retention.
    pub fn durable_since(mut self, at: Timestamp) -> Self {
        if self.origin == Timestamp::ZERO {
            self.origin = at;
        }
        self
    }

    fn new(uid: Id, time: Timestamp, version: u8, bytes: &'a [u8], kind: Kind) -> Self {
        let (tenant, principal, operation) = (TENANT_DEFAULT.into(), "".into(), "".into());
        Row {
            uid,
            time,
            origin: Timestamp::ZERO,
            tenant,
            principal,
            operation,
            severity: 0,
            version,
            bytes,
            kind,
        }
    }
}

/// What a stored event or finding is counted under, so that it can be taken back when the row goes.
pub(super) fn kind_of(table: &str, version: u8, bytes: &[u8]) -> Option<Kind> {
    let row = if table == "event" { event(version, bytes) } else { finding(version, bytes) };
    row.ok().map(|row| row.kind)
}

/// Reads only the columns of an event; the rest is skipped, since events are nearly all there is to store.
#[derive(Deserialize)]
struct EventColumns<'a> {
    time: Timestamp,
    severity_id: u8,
    #[serde(borrow)]
    metadata: TenantColumn<'a>,
    #[serde(borrow, default)]
    api: Option<ApiColumns<'a>>,
    #[serde(borrow)]
    prunella: FactColumns<'a>,
}

#[derive(Deserialize)]
struct TenantColumn<'a> {
    #[serde(borrow, default)]
    tenant_uid: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ApiColumns<'a> {
    #[serde(borrow)]
    operation: Cow<'a, str>,
}

#[derive(Deserialize)]
struct FactColumns<'a> {
    event_uid: Id,
    #[serde(borrow)]
    principal: Cow<'a, str>,
    received: Timestamp,
}

fn event(version: u8, bytes: &[u8]) -> Result<Row<'_>, WireError> {
    let topic = Topic::Events.name();
    if version != Event::VERSION {
        return Err(WireError::Version { topic, version, newest: Event::VERSION });
    }
    let columns: EventColumns<'_> =
        serde_json::from_slice(bytes).map_err(|e| WireError::Malformed { topic, detail: e.to_string() })?;
    // A clock that runs ahead must not pull the whole chart along.
    let shown = columns.time.min(columns.prunella.received.plus_ms(FUTURE_MS_MAX));
    let minute = Timestamp(shown.0.div_euclid(60_000).saturating_mul(60_000));
    let mut row = Row::new(columns.prunella.event_uid, columns.time, version, bytes, Kind::Event { minute });
    row.tenant = columns.metadata.tenant_uid.unwrap_or(TENANT_DEFAULT.into());
    row.principal = columns.prunella.principal;
    row.operation = columns.api.map_or(Cow::Borrowed(""), |api| api.operation);
    row.severity = columns.severity_id;
    Ok(row)
}

fn finding(version: u8, bytes: &[u8]) -> Result<Row<'_>, WireError> {
    let finding = Finding::decode(version, bytes)?;
    let mut tallies = vec![("severity", finding.severity.to_string())];
    for attack in &finding.finding_info.attacks {
        let technique = attack.sub_technique.as_ref().unwrap_or(&attack.technique);
        let word = ("technique", technique.uid.to_string());
        if !tallies.contains(&word) {
            tallies.push(word);
        }
    }
    let mut row = Row::new(Message::id(&finding), finding.time, version, bytes, Kind::Finding { tallies });
    row.tenant = finding.tenant().to_owned().into();
    row.principal = finding.prunella.principal.into();
    row.operation = finding.finding_info.analytic.uid.to_string().into();
    row.severity = finding.severity_id;
    Ok(row)
}

fn transition(version: u8, bytes: &[u8]) -> Result<Row<'_>, WireError> {
    let transition = Transition::decode(version, bytes)?;
    // The state's wire name, as the API shows it.
    let state = serde_json::to_value(transition.to)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default();
    let kind = Kind::Transition { sequence: transition.sequence, state };
    let mut row = Row::new(transition.plan_uid, transition.at, version, bytes, kind);
    row.tenant = transition.plan.tenant.to_string().into();
    row.principal = transition.plan.principal.into();
    row.operation = transition.plan.action.into();
    Ok(row)
}

fn receipt(version: u8, bytes: &[u8]) -> Result<Row<'_>, WireError> {
    let receipt = Receipt::decode(version, bytes)?;
    let mut row = Row::new(Message::id(&receipt), receipt.time, version, bytes, Kind::Receipt);
    row.tenant = receipt.metadata.tenant_uid.map_or(TENANT_DEFAULT.into(), Cow::Owned);
    row.principal = receipt.prunella.principal.into();
    row.operation = receipt.prunella.action.into();
    row.severity = receipt.severity_id;
    Ok(row)
}

fn dead_letter(version: u8, bytes: &[u8]) -> Result<Row<'_>, WireError> {
    let letter = DeadLetter::decode(version, bytes)?;
    let reason = serde_json::to_value(letter.reason).ok().and_then(|v| v.as_str().map(str::to_owned));
    let mut row = Row::new(Message::id(&letter), letter.time, version, bytes, Kind::DeadLetter);
    row.tenant = letter.record.tenant.to_string().into();
    row.principal = letter.record.source.into();
    row.operation = reason.unwrap_or_default().into();
    Ok(row)
}

fn risk(version: u8, bytes: &[u8]) -> Result<Row<'_>, WireError> {
    let risk = Risk::decode(version, bytes)?;
    let heat = risk.score.max(f64::MIN_POSITIVE).log2() + risk.time.0 as f64 / RISK_HALF_LIFE_MS as f64;
    let kind = Kind::Risk { score: risk.score, heat };
    let mut row = Row::new(Message::id(&risk), risk.time, version, bytes, kind);
    row.tenant = risk.tenant.to_string().into();
    row.principal = risk.principal.into();
    Ok(row)
}
