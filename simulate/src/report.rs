//! Report: what happened, measured, as one object for scripts and as a timeline for people.

use crate::record::Verdict;
use crate::scenario::{Intensity, Scenario};
use crate::target::Seen;
use prunella_schemas::Timestamp;
use prunella_schemas::plan::Marks;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Milliseconds after the first attack event was durable at intake; what happened before is negative.
    pub at_ms: i64,
    pub what: &'static str,
    pub detail: String,
}

/// What a run found. The first nine fields after `scenario` are a contract that others script against. Times are wall
/// clock, in milliseconds; `null` means that it was not observed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub scenario: Scenario,
    /// Attack records given to intake, refused calls among them.
    pub attack_events: u64,
    pub background_events: u64,
    /// Whether at least one finding has an attack event in its evidence.
    pub detected: bool,
    /// Those findings.
    pub finding_uids: Vec<String>,
    /// Findings without any attack event in their evidence.
    pub findings_on_background: u64,
    /// From durable intake of the event that completed the first finding to that finding being durable.
    pub event_to_finding_ms: Option<i64>,
    /// From that finding to the receipt: to verification when the containment was verified, otherwise to the receipt's time.
    pub finding_to_receipt_ms: Option<i64>,
    /// From durable intake of the first attack event to the attacker's last accepted call; `null` when none was accepted.
    pub last_accepted_ms: Option<i64>,
    /// Receipts about the attacker's principal or about those findings.
    pub receipts: Vec<String>,
    pub intensity: Intensity,
    pub seed: u64,
    /// The principal whose credentials the attacker has.
    pub principal: Option<String>,
    pub accepted_calls: u64,
    /// Calls refused because the session was revoked.
    pub refused_calls: u64,
    /// Whether the front door refused the attacker and accepted nothing afterwards. Observed there, not claimed by a receipt.
    pub contained: bool,
    /// Whether a receipt says that the containment was verified.
    pub verified: bool,
    /// The kind of evidence of that receipt: `refused_call` or `configuration_read`.
    pub evidence: Option<String>,
    /// From durable intake of the first attack event to the first call that was answered by asking for a fresh proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stepped_up_ms: Option<i64>,
    pub timeline: Vec<Moment>,
    /// Counted from when the finding was durable; not part of the report's contract.
    #[serde(skip)]
    pub since_finding: SinceFinding,
}

/// How long the containment took, in milliseconds. `None`: it did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinceFinding {
    pub finding_to_applied: Option<i64>,
    pub applied_to_verified: Option<i64>,
    /// 0 when the attacker's last accepted call came before the finding.
    pub finding_to_last_accepted: Option<i64>,
}

/// What was seen from outside, before it is judged.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub principal: Option<String>,
    pub background_events: u64,
    pub journal: Vec<Seen>,
    /// The same calls by the pipeline's own ids, where those are known.
    pub event_uids: Vec<String>,
    pub findings: Vec<Value>,
    pub plans: Vec<Value>,
    pub receipts: Vec<Value>,
    /// When the attacker was first asked for a fresh proof.
    pub stepped_up: Option<Timestamp>,
    /// When each finding and receipt was first seen by polling, by its id.
    pub first_seen: Vec<(String, Timestamp)>,
}

impl Observed {
    /// When the last attack event in the evidence of `finding` was durable.
    fn durable(&self, finding: &Value) -> Option<Timestamp> {
        let events = finding.pointer("/finding_info/related_events")?.as_array()?;
        let uids: BTreeSet<&str> = events.iter().filter_map(|event| event.get("uid")?.as_str()).collect();
        self.journal
            .iter()
            .filter(|seen| uids.contains(seen.event_id.as_str()))
            .filter_map(|seen| seen.durable)
            .max()
    }

    /// The marks of the attacker's first plan.
    fn plan_marks(&self) -> Option<Marks> {
        let principal = self.principal.as_deref()?;
        let marks =
            self.plans.iter().map(plan_of).filter(|plan| text(plan, "/principal") == principal).map(marks);
        marks.filter(|marks| known(marks.detected).is_some()).min_by_key(|marks| marks.detected)
    }
}

/// The plan in a row of the list of plans: the row itself, or what it carries.
pub fn plan_of(row: &Value) -> &Value {
    row.get("plan").filter(|plan| plan.is_object()).unwrap_or(row)
}

/// The finding's id.
pub fn finding_uid(finding: &Value) -> &str {
    finding.pointer("/finding_info/uid").and_then(Value::as_str).unwrap_or_default()
}

/// The receipt's id.
pub fn receipt_uid(receipt: &Value) -> &str {
    receipt.pointer("/prunella/receipt_uid").and_then(Value::as_str).unwrap_or_default()
}

/// Whether a finding is about the attack: an attack event is in its evidence. A finding that names no evidence is about
/// the attack when it names the attacker's principal.
pub fn is_about(finding: &Value, attack: &BTreeSet<String>, principal: Option<&str>) -> bool {
    let related = finding.pointer("/finding_info/related_events").and_then(Value::as_array);
    match related {
        Some(events) if !events.is_empty() => {
            events.iter().filter_map(|event| event.get("uid")?.as_str()).any(|uid| attack.contains(uid))
        }
        _ => {
            principal.is_some() && finding.pointer("/prunella/principal").and_then(Value::as_str) == principal
        }
    }
}

/// Whether a receipt is about the attacker: it names the principal or one of the findings.
pub fn concerns(receipt: &Value, findings: &BTreeSet<String>, principal: Option<&str>) -> bool {
    let named = receipt.pointer("/prunella/finding_uids").and_then(Value::as_array);
    let joined =
        named.is_some_and(|uids| uids.iter().filter_map(Value::as_str).any(|uid| findings.contains(uid)));
    joined
        || principal.is_some() && receipt.pointer("/prunella/principal").and_then(Value::as_str) == principal
}

/// The marks of a receipt or of a plan.
fn marks(of: &Value) -> Marks {
    let marks = of.pointer("/prunella/marks").or_else(|| of.get("marks")).cloned().unwrap_or_default();
    serde_json::from_value(marks).unwrap_or_default()
}

fn known(time: Timestamp) -> Option<Timestamp> {
    (time != Timestamp::ZERO).then_some(time)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Report {
    pub fn of(scenario: Scenario, intensity: Intensity, seed: u64, observed: &Observed) -> Self {
        let journal = &observed.journal;
        let ids = journal.iter().map(|seen| &seen.event_id).chain(&observed.event_uids);
        let attack: BTreeSet<String> = ids.cloned().collect();
        let principal = observed.principal.as_deref();
        let (hits, others): (Vec<&Value>, Vec<&Value>) =
            observed.findings.iter().partition(|finding| is_about(finding, &attack, principal));
        let finding_uids: BTreeSet<String> =
            hits.iter().map(|finding| finding_uid(finding).to_owned()).collect();
        let mut receipts: Vec<&Value> =
            observed.receipts.iter().filter(|receipt| concerns(receipt, &finding_uids, principal)).collect();
        // The strongest first: its times are the ones that are told.
        receipts.sort_by_key(|receipt| {
            let time = receipt.get("time").and_then(Value::as_i64);
            (
                !is_contained(receipt),
                !restrains(receipt),
                !is_verified(receipt),
                time,
                receipt_uid(receipt).to_owned(),
            )
        });
        let count = |verdict| journal.iter().filter(|seen| seen.verdict == verdict).count() as u64;
        let last_accepted = journal.iter().rposition(|seen| seen.verdict == Verdict::Accepted);
        let first_refused = journal.iter().position(|seen| seen.verdict == Verdict::Refused);
        let begin = journal.iter().filter_map(|seen| seen.durable).min();
        let first = receipts.first();
        let spans = Spans::of(observed, &hits, first.copied());
        let mut report = Report {
            scenario,
            attack_events: journal.len() as u64,
            background_events: observed.background_events,
            detected: !hits.is_empty(),
            finding_uids: finding_uids.into_iter().collect(),
            findings_on_background: others.len() as u64,
            event_to_finding_ms: spans.event_to_finding_ms,
            finding_to_receipt_ms: spans.finding_to_receipt_ms,
            last_accepted_ms: begin
                .zip(last_accepted.and_then(|last| journal.get(last)))
                .map(|(begin, seen)| seen.at.since_ms(begin).max(0)),
            receipts: receipts.iter().map(|receipt| receipt_uid(receipt).to_owned()).collect(),
            intensity,
            seed,
            principal: observed.principal.clone(),
            accepted_calls: count(Verdict::Accepted),
            refused_calls: count(Verdict::Refused),
            contained: first_refused.is_some_and(|refused| last_accepted.is_none_or(|last| last < refused)),
            verified: first.is_some_and(|receipt| restrains(receipt) && is_verified(receipt)),
            evidence: first
                .map(|receipt| text(receipt, "/prunella/evidence").to_owned())
                .filter(|kind| !kind.is_empty()),
            stepped_up_ms: begin.zip(observed.stepped_up).map(|(begin, at)| at.since_ms(begin).max(0)),
            timeline: Vec::new(),
            since_finding: SinceFinding {
                finding_to_last_accepted: spans
                    .detected
                    .zip(last_accepted.and_then(|last| journal.get(last)))
                    .map(|(detected, seen)| seen.at.since_ms(detected).max(0)),
                ..spans.since_finding
            },
        };
        if let Some(begin) = begin {
            report.timeline = timeline(begin, observed, &hits, &receipts);
        }
        report
    }

    /// The timeline for people, one line for each moment.
    pub fn timeline(&self) -> Vec<String> {
        let line = |moment: &Moment| format!("{:>8} ms  {:<22} {}", moment.at_ms, moment.what, moment.detail);
        self.timeline.iter().map(line).map(|line| line.trim_end().to_owned()).collect()
    }
}

fn is_contained(receipt: &Value) -> bool {
    receipt.pointer("/prunella/contained") == Some(&Value::Bool(true))
}

/// Whether a receipt is about an action that restrains somebody: telling somebody does not.
pub fn restrains(receipt: &Value) -> bool {
    let action = text(receipt, "/prunella/action");
    !action.is_empty() && !action.starts_with("notify.")
}

/// Whether a receipt says that what was done was verified.
pub fn is_verified(receipt: &Value) -> bool {
    text(receipt, "/prunella/state") == "verified"
}

struct Spans {
    event_to_finding_ms: Option<i64>,
    finding_to_receipt_ms: Option<i64>,
    detected: Option<Timestamp>,
    since_finding: SinceFinding,
}

impl Spans {
    /// By the marks of the receipt, or of a plan when there is no receipt; what neither has marked is told by when the
    /// first finding was first seen, and by when its evidence was durable.
    fn of(observed: &Observed, findings: &[&Value], receipt: Option<&Value>) -> Self {
        let marks = receipt.map(marks).or_else(|| observed.plan_marks()).unwrap_or_default();
        let seen = |uid: &str| observed.first_seen.iter().find(|(id, _)| id == uid).map(|(_, at)| *at);
        let first = findings.iter().filter_map(|finding| Some((seen(finding_uid(finding))?, *finding)));
        let first = first.min_by_key(|(at, _)| *at);
        let ingested = known(marks.ingested).or_else(|| observed.durable(first?.1));
        let detected = known(marks.detected).or(first.map(|(at, _)| at));
        let finished = receipt.and_then(|receipt| {
            let time = receipt.get("time").and_then(Value::as_i64).map(Timestamp);
            known(marks.verified).or_else(|| time.and_then(known)).or_else(|| seen(receipt_uid(receipt)))
        });
        let span = |from: Option<Timestamp>, to: Option<Timestamp>| Some(to?.since_ms(from?).max(0));
        Spans {
            event_to_finding_ms: span(ingested, detected),
            finding_to_receipt_ms: span(detected, finished),
            detected,
            since_finding: SinceFinding {
                finding_to_applied: span(detected, known(marks.applied)),
                applied_to_verified: span(known(marks.applied), known(marks.verified)),
                finding_to_last_accepted: None,
            },
        }
    }
}

fn timeline(begin: Timestamp, observed: &Observed, hits: &[&Value], receipts: &[&Value]) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut add = |at: Timestamp, what: &'static str, detail: String| {
        moments.push(Moment { at_ms: at.since_ms(begin), what, detail });
    };
    let journal = &observed.journal;
    let counted = format!(
        "{} attack calls, the first is {}",
        journal.len(),
        journal.first().map_or("", |s| &s.operation)
    );
    add(begin, "attack event durable", counted);
    for finding in hits {
        let uid = finding_uid(finding);
        let receipt =
            receipts.iter().find(|receipt| concerns(receipt, &BTreeSet::from([uid.to_owned()]), None));
        let first = receipt.filter(|receipt| {
            receipt.pointer("/prunella/finding_uids/0").and_then(Value::as_str) == Some(uid)
        });
        let seen = observed.first_seen.iter().find(|(id, _)| id == uid).map(|(_, at)| *at);
        if let Some(at) = first.and_then(|receipt| known(marks(receipt).detected)).or(seen) {
            add(at, "finding", text(finding, "/message").to_owned());
        }
    }
    for receipt in receipts {
        let (marks, action) = (marks(receipt), text(receipt, "/prunella/action"));
        let applied = if restrains(receipt) { "applied" } else { "told" };
        for (time, what) in [(marks.planned, "plan"), (marks.applied, applied), (marks.verified, "verified")]
        {
            let evidence = if what == "verified" { text(receipt, "/prunella/evidence") } else { "" };
            if let Some(time) = known(time).filter(|_| restrains(receipt) || what == "told") {
                add(time, what, format!("{action} {evidence}").trim_end().to_owned());
            }
        }
    }
    if let Some(seen) = journal.iter().find(|seen| seen.verdict == Verdict::Refused) {
        add(seen.at, "first refused call", seen.operation.clone());
    }
    if let Some(seen) = journal.iter().rfind(|seen| seen.verdict == Verdict::Accepted) {
        add(seen.at, "last accepted call", seen.operation.clone());
    }
    moments.sort_by_key(|moment| moment.at_ms);
    moments
}
