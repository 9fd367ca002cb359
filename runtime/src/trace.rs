//! Traces as a view of the log: which spans a message stands for, worked out from the message alone.
//!
//! No stage knows of tracing and no message carries a context. An event's trace is its `event_uid`; a finding's is its id,
//! and the plans and receipts that name the finding stand in the same trace. A span's id derives from the message's, so
//! that a message told twice is one span. Spans begin when the first cause became durable at intake (the origin, which
//! every message carries) and end when the message itself did.

#[cfg(feature = "otel")]
pub mod otlp;

use prunella_schemas::{Finding, Id, Message, Posted, Receipt, Score, Timestamp, Topic, Transition};

/// Links of a finding to the traces of its evidence.
const LINKS_MAX: usize = 32;

/// A span as it goes to a collector. Times in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub name: String,
    pub start: Timestamp,
    pub end: Timestamp,
    pub attributes: Vec<(&'static str, String)>,
    /// Trace and span of what this one follows from.
    pub links: Vec<([u8; 16], [u8; 8])>,
}

/// Which part of the events has a trace, by their ids: every process picks the same ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(u64);

impl Share {
    /// `ratio` between 0 (none) and 1 (all), as the sampler `traceidratio` of OpenTelemetry takes it.
    pub fn of(ratio: f64) -> Self {
        Share((ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64)
    }

    fn holds(self, uid: Id) -> bool {
        let [.., a, b, c, d, e, f, g, h] = uid.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < self.0
    }
}

/// The spans of a message that became durable `at`. Findings, plans and receipts always have some, events and scores by
/// their share. What does not decode has none.
pub fn spans(posted: &Posted, at: Timestamp, share: Share) -> Vec<Span> {
    match posted.topic {
        Topic::Events if share.holds(posted.id) => vec![ingest(posted, at)],
        Topic::Scores if share != Share::of(0.0) => detect(posted, at, share).into_iter().collect(),
        Topic::Findings => finding(posted, at).into_iter().collect(),
        Topic::Plans => plan(posted, at).into_iter().collect(),
        Topic::Receipts => receipt(posted, at),
        _ => Vec::new(),
    }
}

fn span_id(word: &str, id: Id) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = Id::derive("span", &[word.as_bytes(), &id.0]).0;
    [a, b, c, d, e, f, g, h]
}

fn span(trace: Id, word: &str, id: Id, (start, end): (Timestamp, Timestamp)) -> Span {
    let (start, name) = (if start == Timestamp::ZERO { end } else { start.min(end) }, word.to_owned());
    let (id, attributes, links) = (span_id(word, id), Vec::new(), Vec::new());
    Span { trace: trace.0, id, parent: None, name, start, end, attributes, links }
}

fn ingest(posted: &Posted, at: Timestamp) -> Span {
    let mut span = span(posted.id, "ingest", posted.id, (posted.origin, at));
    span.attributes = vec![("prunella.event_uid", posted.id.to_string())];
    span
}

fn detect(posted: &Posted, at: Timestamp, share: Share) -> Option<Span> {
    let score = Score::decode(posted.version, &posted.bytes).ok().filter(|s| share.holds(s.event_uid))?;
    let mut span = span(score.event_uid, "detect", posted.id, (posted.origin, at));
    span.parent = Some(span_id("ingest", score.event_uid));
    span.attributes = vec![("prunella.event_uid", score.event_uid.to_string())];
    Some(span)
}

fn finding(posted: &Posted, at: Timestamp) -> Option<Span> {
    let finding = Finding::decode(posted.version, &posted.bytes).ok()?;
    let facts = &finding.prunella;
    let mut span = span(posted.id, "finding", posted.id, (posted.origin, at));
    span.links = facts.evidence.iter().take(LINKS_MAX).map(|uid| (uid.0, span_id("ingest", *uid))).collect();
    span.attributes = vec![
        ("prunella.finding_uid", posted.id.to_string()),
        ("prunella.analytic", finding.finding_info.analytic.uid.to_string()),
        ("prunella.severity", finding.severity.to_string()),
        ("prunella.tenant", finding.tenant().to_owned()),
    ];
    Some(span)
}

/// Where a plan's spans stand: below its finding, or alone where a person started it.
fn place(findings: &[Id], plan: Id) -> (Id, Option<[u8; 8]>) {
    match findings.first() {
        Some(finding) => (*finding, Some(span_id("finding", *finding))),
        None => (plan, None),
    }
}

fn plan(posted: &Posted, at: Timestamp) -> Option<Span> {
    let transition = Transition::decode(posted.version, &posted.bytes).ok()?;
    let (trace, parent) = place(&transition.plan.finding_uids, transition.plan_uid);
    let mut span = span(trace, "plan", posted.id, (transition.at, at));
    span.parent = parent;
    span.attributes = vec![
        ("prunella.plan_uid", transition.plan_uid.to_string()),
        ("prunella.action", transition.plan.action),
        ("prunella.state", format!("{:?}", transition.to)),
    ];
    Some(span)
}

/// The receipt from intake to its own end, and below it where the time went.
fn receipt(posted: &Posted, at: Timestamp) -> Vec<Span> {
    let Ok(receipt) = Receipt::decode(posted.version, &posted.bytes) else { return Vec::new() };
    let facts = &receipt.prunella;
    let (trace, parent) = place(&facts.finding_uids, facts.plan_uid);
    let mut whole = span(trace, "receipt", posted.id, (facts.marks.ingested, at));
    whole.parent = parent;
    whole.attributes = vec![
        ("prunella.receipt_uid", facts.receipt_uid.to_string()),
        ("prunella.plan_uid", facts.plan_uid.to_string()),
        ("prunella.action", facts.action.clone()),
        ("prunella.contained", facts.contained.to_string()),
    ];
    let (marks, below) = (facts.marks, Some(whole.id));
    let parts = [
        ("detect", marks.ingested, marks.detected),
        ("plan", marks.detected, marks.planned),
        ("apply", marks.planned, marks.applied),
        ("verify", marks.applied, marks.verified),
    ];
    let measured =
        parts.into_iter().filter(|(_, from, to)| *from != Timestamp::ZERO && *to != Timestamp::ZERO);
    let parts =
        measured.map(|(word, from, to)| Span { parent: below, ..span(trace, word, posted.id, (from, to)) });
    let mut spans: Vec<Span> = parts.collect();
    spans.insert(0, whole);
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunella_schemas::Event;
    use prunella_schemas::plan::Plan;

    const ALL: Share = Share(1 << 63);

    fn posted<M: Message>(message: &M) -> Posted {
        Posted::new(message, Timestamp(1_000))
    }

    #[test]
    fn one_event_is_followed_from_intake_to_its_receipt() {
        let mut event = Event::new(prunella_schemas::ocsf::API_ACTIVITY, 1, 1, 1);
        event.identify();
        let event_uid = event.prunella.event_uid;
        let [ingest] = spans(&posted(&event), Timestamp(1_010), ALL).try_into().unwrap();
        assert_eq!((ingest.trace, ingest.parent), (event_uid.0, None));
        assert_eq!((ingest.start, ingest.end), (Timestamp(1_000), Timestamp(1_010)));

        let mut found = Finding::new(5);
        found.prunella.evidence = vec![event_uid];
        found.identify(b"test");
        let [finding] = spans(&posted(&found), Timestamp(1_020), Share::of(0.0)).try_into().unwrap();
        assert_eq!(finding.links, [(ingest.trace, ingest.id)], "it follows from the event");
        assert_eq!(finding.trace, found.prunella.finding_uid.0);

        let finding_uids = vec![found.prunella.finding_uid];
        let mut plan = Plan { uid: Id([7; 16]), finding_uids, ..Plan::default() };
        (plan.marks.ingested, plan.marks.detected) = (Timestamp(1_000), Timestamp(1_020));
        plan.marks.planned = Timestamp(1_030);
        let receipt = Receipt::of(&plan, prunella_schemas::PlanState::Verified, 2, 1, Timestamp(1_050));
        let told = spans(&posted(&receipt), Timestamp(1_060), Share::of(0.0));
        let names: Vec<&str> = told.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["receipt", "detect", "plan"], "what was not reached has no span");
        assert!(told.iter().all(|span| span.trace == finding.trace));
        assert_eq!((told[0].parent, told[1].parent), (Some(finding.id), Some(told[0].id)));
        assert_eq!(told, spans(&posted(&receipt), Timestamp(1_060), ALL), "told twice, it is the same");
    }

    #[test]
    fn every_process_picks_the_same_share_of_events() {
        let ids: Vec<Id> = (0..10_000_u32).map(|n| Id::derive("test", &[&n.to_le_bytes()])).collect();
        let held = |ratio: f64| ids.iter().filter(|id| Share::of(ratio).holds(**id)).count();
        assert_eq!((held(0.0), held(1.0), held(7.0), held(f64::NAN)), (0, 10_000, 10_000, 0));
        let tenth = held(0.1);
        assert!((900..1_100).contains(&tenth), "{tenth}");
        let event =
            Posted { topic: Topic::Events, version: 1, id: Id([255; 16]), ..posted(&Finding::new(1)) };
        assert!(spans(&event, Timestamp(1), Share::of(0.5)).is_empty());
        assert_eq!(
            spans(&Posted { bytes: b"{".to_vec(), topic: Topic::Plans, ..event }, Timestamp(1), ALL),
            []
        );
    }
}
