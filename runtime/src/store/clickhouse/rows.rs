//! Messages of one topic as rows of its table. What cannot be read becomes a dead letter and never stops the others.

use super::columns::{
    DeadLetterRow, EventRow, FindingRow, First, Placed, PlanRow, ReceiptRow, RiskRow, ScoreRow, SignalRow,
};
use prunella_schemas::message::WireError;
use prunella_schemas::{
    DeadLetter, Event, Finding, Id, Message, Posted, Receipt, Record, RejectReason, Risk, Score, Signal,
    Tenant, Timestamp, Topic, Transition,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// How far from the time it became durable a row's day may lie, in days.
const DAYS_BEFORE_MAX: i64 = 30;
const DAYS_AFTER_MAX: i64 = 1;
const DAY_MS: i64 = 86_400_000;
const HOUR_S: i64 = 3_600;
const TENANT_DEFAULT: &str = "default";

/// A message and where on the log it stood.
#[derive(Clone, Debug)]
pub struct Located {
    pub partition: i32,
    pub offset: i64,
    /// When it became durable: what a message without an origin counts from.
    pub at: Timestamp,
    pub posted: Posted,
}

/// The rows of a batch, all for one table.
#[derive(Clone, Debug)]
pub enum Rows<'a> {
    Events(Vec<EventRow<'a>>),
    Scores(Vec<ScoreRow<'a>>),
    Signals(Vec<SignalRow<'a>>),
    Findings(Vec<FindingRow<'a>>),
    Risk(Vec<RiskRow<'a>>),
    Plans(Vec<PlanRow<'a>>),
    Receipts(Vec<ReceiptRow<'a>>),
    DeadLetters(Vec<DeadLetterRow<'a>>),
}

macro_rules! each {
    ($rows:expr, $list:ident => $body:expr) => {
        match $rows {
            Rows::Events($list) => $body,
            Rows::Scores($list) => $body,
            Rows::Signals($list) => $body,
            Rows::Findings($list) => $body,
            Rows::Risk($list) => $body,
            Rows::Plans($list) => $body,
            Rows::Receipts($list) => $body,
            Rows::DeadLetters($list) => $body,
        }
    };
}
pub(super) use each;

impl<'a> Rows<'a> {
    /// The rows of messages of one topic, and a dead letter for each that cannot be read. `None` for a topic that is not
    /// stored.
    pub fn of(topic: Topic, messages: &'a [Located]) -> Option<(Self, Vec<DeadLetter>)> {
        Some(match topic {
            Topic::Events => collect(messages, event, Rows::Events),
            Topic::Scores => collect(messages, score, Rows::Scores),
            Topic::Signals => collect(messages, signal, Rows::Signals),
            Topic::Findings => collect(messages, finding, Rows::Findings),
            Topic::Risk => collect(messages, risk, Rows::Risk),
            Topic::Plans => collect(messages, plan, Rows::Plans),
            Topic::Receipts => collect(messages, receipt, Rows::Receipts),
            Topic::Dlq => collect(messages, dead_letter, Rows::DeadLetters),
            Topic::Records | Topic::Commands | Topic::Manifest => return None,
        })
    }

    pub fn table(&self) -> &'static str {
        match self {
            Rows::Events(_) => "events",
            Rows::Scores(_) => "scores",
            Rows::Signals(_) => "signals",
            Rows::Findings(_) => "findings",
            Rows::Risk(_) => "risk",
            Rows::Plans(_) => "plans",
            Rows::Receipts(_) => "receipts",
            Rows::DeadLetters(_) => "dead_letters",
        }
    }

    pub fn len(&self) -> usize {
        each!(self, rows => rows.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identity and day of every row, in order.
    pub fn places(&self) -> Vec<(Id, u16)> {
        each!(self, rows => rows.iter().map(|row| (Id(row.uid()), row.day())).collect())
    }
}

fn collect<'a, T>(
    messages: &'a [Located],
    read: fn(&'a Located) -> Result<T, WireError>,
    wrap: fn(Vec<T>) -> Rows<'a>,
) -> (Rows<'a>, Vec<DeadLetter>) {
    let (mut rows, mut dead) = (Vec::with_capacity(messages.len()), Vec::new());
    for message in messages {
        match read(message) {
            Ok(row) => rows.push(row),
            Err(error) => dead.push(refuse(message, &error)),
        }
    }
    (wrap(rows), dead)
}

fn refuse(message: &Located, error: &WireError) -> DeadLetter {
    let reason = match error {
        WireError::Version { .. } => RejectReason::UnknownVersion,
        WireError::Malformed { .. } => RejectReason::Malformed,
    };
    message.refuse(reason, error.to_string())
}

impl Located {
    /// What a reader of a later build is given again.
    pub fn refuse(&self, reason: RejectReason, detail: String) -> DeadLetter {
        let Located { partition, offset, at, posted } = self;
        let (source, tenant) = (posted.topic.to_string(), Tenant::default());
        let origin = format!("partition {partition}, offset {offset}");
        let record = Record { source, tenant, received: *at, origin, body: posted.bytes.clone() };
        DeadLetter { record, reason, detail, offset: None, time: *at }
    }
}

/// The first columns, the rest of which the caller fills in.
fn first(message: &Located, uid: Id, time: Timestamp) -> Result<First<'_>, WireError> {
    let Located { partition, offset, at, posted } = message;
    let origin = if posted.origin == Timestamp::ZERO { *at } else { posted.origin };
    let body = std::str::from_utf8(&posted.bytes).map_err(|e| malformed(posted.topic, &e))?;
    let (tenant, principal, operation) = (TENANT_DEFAULT.into(), "".into(), "".into());
    Ok(First {
        tenant,
        day: u16::try_from(held(time, origin).0.div_euclid(DAY_MS)).unwrap_or(0),
        uid: uid.0,
        time: time.0,
        origin: origin.0,
        principal,
        operation,
        severity: 0,
        src_partition: *partition,
        src_offset: *offset,
        version: posted.version,
        body: body.into(),
    })
}

/// `time`, held near the time of receipt.
fn held(time: Timestamp, origin: Timestamp) -> Timestamp {
    let (low, high) = (origin.plus_ms(-DAYS_BEFORE_MAX * DAY_MS), origin.plus_ms(DAYS_AFTER_MAX * DAY_MS));
    time.clamp(low, high)
}

fn malformed(topic: Topic, error: &dyn std::fmt::Display) -> WireError {
    WireError::Malformed { topic: topic.name(), detail: error.to_string() }
}

fn decode<M: Message>(message: &Located) -> Result<M, WireError> {
    M::decode(message.posted.version, &message.posted.bytes)
}

/// The word that serde writes for a value.
fn word<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).ok();
    value.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

type Text<'a> = Option<Cow<'a, str>>;

/// The columns of an event; the rest is skipped, since events are nearly all there is to store.
#[derive(Deserialize)]
struct EventColumns<'a> {
    class_uid: u32,
    activity_id: u8,
    severity_id: u8,
    time: Timestamp,
    status_id: u8,
    #[serde(borrow, default)]
    status_code: Text<'a>,
    #[serde(borrow)]
    metadata: MetadataColumns<'a>,
    #[serde(borrow, default)]
    cloud: Option<CloudColumns<'a>>,
    #[serde(borrow, default)]
    api: Option<ApiColumns<'a>>,
    #[serde(borrow, default)]
    src_endpoint: Option<EndpointColumns<'a>>,
    #[serde(default)]
    traffic: Option<TrafficColumns>,
    #[serde(borrow, default)]
    raw_data: Option<&'a RawValue>,
    #[serde(borrow)]
    prunella: FactColumns<'a>,
}

#[derive(Deserialize)]
struct MetadataColumns<'a> {
    #[serde(borrow, default)]
    tenant_uid: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CloudColumns<'a> {
    #[serde(borrow)]
    provider: Cow<'a, str>,
    #[serde(borrow)]
    region: Text<'a>,
    #[serde(borrow)]
    account: Option<UidColumn<'a>>,
}

#[derive(Deserialize)]
struct UidColumn<'a> {
    #[serde(borrow, default)]
    uid: Text<'a>,
}

#[derive(Deserialize)]
struct ApiColumns<'a> {
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow, default)]
    service: Option<NameColumn<'a>>,
}

#[derive(Deserialize)]
struct NameColumn<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
}

#[derive(Deserialize)]
struct EndpointColumns<'a> {
    #[serde(borrow, default)]
    ip: Text<'a>,
}

#[derive(Deserialize)]
struct TrafficColumns {
    #[serde(default)]
    bytes_out: Option<u64>,
}

#[derive(Deserialize)]
struct FactColumns<'a> {
    event_uid: Id,
    #[serde(borrow)]
    principal: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    received: Timestamp,
    #[serde(borrow, default)]
    flags: Vec<Cow<'a, str>>,
}

fn event(message: &Located) -> Result<EventRow<'_>, WireError> {
    let posted = &message.posted;
    if posted.version != Event::VERSION {
        let (topic, version, newest) = (posted.topic.name(), posted.version, Event::VERSION);
        return Err(WireError::Version { topic, version, newest });
    }
    let json = std::str::from_utf8(&posted.bytes).map_err(|e| malformed(posted.topic, &e))?;
    let columns: EventColumns<'_> = serde_json::from_str(json).map_err(|e| malformed(posted.topic, &e))?;
    let facts = columns.prunella;
    let mut first = first(message, facts.event_uid, columns.time)?;
    let bucket = held(columns.time, Timestamp(first.origin)).0.div_euclid(HOUR_S * 1_000) * HOUR_S;
    first.tenant = columns.metadata.tenant_uid.unwrap_or(TENANT_DEFAULT.into());
    first.principal = facts.principal;
    first.severity = columns.severity_id;
    let mut service = None;
    if let Some(api) = columns.api {
        first.operation = api.operation;
        service = api.service.and_then(|s| s.name);
    }
    let raw = columns.raw_data.and_then(|raw| cut_out(json, raw)).map(|(body, raw)| {
        first.body = body.into();
        raw
    });
    let cloud = columns.cloud.unwrap_or_default();
    Ok(EventRow::new(
        first,
        columns.class_uid,
        u32::try_from(bucket).unwrap_or(0),
        facts.received.0,
        columns.activity_id,
        columns.status_id,
        columns.status_code.unwrap_or_default(),
        facts.source,
        cloud.provider,
        service.unwrap_or_default(),
        cloud.region.unwrap_or_default(),
        cloud.account.and_then(|a| a.uid).unwrap_or_default(),
        columns.src_endpoint.and_then(|e| e.ip).unwrap_or_default(),
        columns.traffic.and_then(|t| t.bytes_out).unwrap_or_default(),
        facts.flags,
        raw.unwrap_or_default().into(),
    ))
}

/// The event without the record it was made from, and that record without its escapes: the two compress far better
/// apart. An event in which the record stands anywhere else than we write it stays whole.
fn cut_out(json: &str, raw: &RawValue) -> Option<(String, String)> {
    let start = (raw.get().as_ptr() as usize).checked_sub(json.as_ptr() as usize)?;
    let (before, after) =
        (json.get(..start)?.strip_suffix(",\"raw_data\":")?, json.get(start + raw.get().len()..)?);
    let raw: String = serde_json::from_str(raw.get()).ok()?;
    (!raw.is_empty()).then(|| ([before, after].concat(), raw))
}

fn score(message: &Located) -> Result<ScoreRow<'_>, WireError> {
    let score: Score = decode(message)?;
    let mut first = first(message, Message::id(&score), score.time)?;
    first.tenant = String::from(score.tenant).into();
    Ok(ScoreRow::new(first, score.event_uid.0, score.class_uid, score.p_value))
}

fn signal(message: &Located) -> Result<SignalRow<'_>, WireError> {
    let signal: Signal = decode(message)?;
    let mut first = first(message, Message::id(&signal), signal.time)?;
    first.operation = word(&signal.kind).into();
    first.tenant = String::from(signal.tenant).into();
    first.principal = signal.principal.into();
    Ok(SignalRow::new(first, signal.event_uid.0, signal.weight, signal.p_value, signal.detail.into()))
}

fn finding(message: &Located) -> Result<FindingRow<'_>, WireError> {
    let finding: Finding = decode(message)?;
    let mut first = first(message, Message::id(&finding), finding.time)?;
    first.tenant = finding.tenant().to_owned().into();
    let attacks = &finding.finding_info.attacks;
    let mut tactics: Vec<String> = attacks.iter().map(|a| a.tactic.name.to_string()).collect();
    let techniques = attacks.iter().map(|a| a.sub_technique.as_ref().unwrap_or(&a.technique));
    let mut techniques: Vec<String> = techniques.map(|t| t.uid.to_string()).collect();
    for words in [&mut tactics, &mut techniques] {
        words.sort();
        words.dedup();
    }
    first.principal = finding.prunella.principal.into();
    first.operation = finding.finding_info.analytic.uid.to_string().into();
    first.severity = finding.severity_id;
    Ok(FindingRow::new(
        first,
        finding.severity.to_string().into(),
        finding.finding_info.title.into(),
        finding.message.into(),
        finding.cloud.map(|cloud| cloud.provider.to_string()).unwrap_or_default().into(),
        finding.confidence_score,
        finding.risk_score,
        finding.risk_level.to_string().into(),
        tactics,
        techniques,
        finding.prunella.event_count,
        finding.prunella.analysis.map(|analysis| analysis.p_value),
    ))
}

fn risk(message: &Located) -> Result<RiskRow<'_>, WireError> {
    let risk: Risk = decode(message)?;
    let mut first = first(message, Message::id(&risk), risk.time)?;
    first.operation = word(&risk.level).into();
    first.tenant = String::from(risk.tenant).into();
    first.principal = risk.principal.into();
    Ok(RiskRow::new(first, risk.score))
}

fn plan(message: &Located) -> Result<PlanRow<'_>, WireError> {
    let transition: Transition = decode(message)?;
    let mut first = first(message, Message::id(&transition), transition.at)?;
    let plan = transition.plan;
    let mode = word(&plan.mode).into();
    first.tenant = String::from(plan.tenant).into();
    first.principal = plan.principal.into();
    first.operation = plan.action.into();
    let state = word(&transition.to).into();
    Ok(PlanRow::new(first, transition.plan_uid.0, transition.sequence, state, plan.playbook.into(), mode))
}

fn receipt(message: &Located) -> Result<ReceiptRow<'_>, WireError> {
    let receipt: Receipt = decode(message)?;
    let mut first = first(message, Message::id(&receipt), receipt.time)?;
    let facts = receipt.prunella;
    first.tenant = receipt.metadata.tenant_uid.map_or(TENANT_DEFAULT.into(), Cow::Owned);
    first.principal = facts.principal.into();
    first.operation = facts.action.into();
    first.severity = receipt.severity_id;
    let latency = facts.latency;
    Ok(ReceiptRow::new(
        first,
        facts.plan_uid.0,
        facts.state.map(|s| word(&s)).unwrap_or_default().into(),
        facts.evidence.map(|e| word(&e)).unwrap_or_default().into(),
        facts.contained,
        latency.delivery_ms,
        latency.detect_ms,
        latency.plan_ms,
        latency.apply_ms,
        latency.verify_ms,
        latency.total_ms,
    ))
}

fn dead_letter(message: &Located) -> Result<DeadLetterRow<'_>, WireError> {
    let letter: DeadLetter = decode(message)?;
    let mut first = first(message, Message::id(&letter), letter.time)?;
    first.tenant = String::from(letter.record.tenant).into();
    first.principal = letter.record.source.into();
    first.operation = word(&letter.reason).into();
    Ok(DeadLetterRow::new(first, letter.detail.into()))
}
