//! Words: how the tenant's view turns what it let through into findings.

use super::streams::{Departure, Whole};
use super::suspect::{Candidate, Source, Unsaid, Witness};
use crate::attack::{DESTROY_DATA, DISCOVER_INFRASTRUCTURE, Technique, VALID_CLOUD_ACCOUNT};
use crate::detector::{Method, analytic};
use crate::entropy::{BIT, Direction, Which};
use prunella_schemas::finding::{
    AnalysisTarget, Analytic, AnomalyAnalysis, Observation, Observed, RelatedEvent,
};
use prunella_schemas::limits::EVIDENCE_MAX;
use prunella_schemas::ocsf::severity_name;
use prunella_schemas::{Finding, Id, Message, SignalKind, Tenant, Timestamp};

pub const LOW: u8 = 2;
pub const MEDIUM: u8 = 3;
pub const HIGH: u8 = 4;
/// Confidence in a shift of entropy that nothing else confirms.
const CONFIDENCE_ALONE: u8 = 40;

/// The analytic of a principal's shift of entropy.
pub fn entropy_shift() -> Analytic {
    analytic("entropy_shift", "Change of predictability", "1", Method::Statistical)
}

/// The analytic of a tenant's.
pub fn tenant_entropy_shift() -> Analytic {
    analytic("tenant_entropy_shift", "Change of predictability of a tenant", "1", Method::Statistical)
}

/// The finding about a principal: the proposal with what confirms it, or the shift of entropy.
pub fn of_principal(
    tenant: &Tenant,
    principal: &str,
    candidate: &Candidate,
    severity: u8,
    confirming: &[(&Source, &Witness)],
    unsaid: Unsaid,
) -> Option<Finding> {
    let mut finding = match candidate.proposal.as_slice() {
        [] => shift(tenant, principal, candidate),
        bytes => Finding::decode(Finding::VERSION, bytes).ok()?,
    };
    if finding.severity_id != severity {
        (finding.severity_id, finding.severity) = (severity, severity_name(severity).into());
    }
    finding.prunella.completed_by = None;
    let also: Vec<String> =
        confirming.iter().map(|(source, witness)| confirmation(source, witness)).collect();
    for (_, witness) in confirming {
        let doubt = 100 - finding.confidence_score.min(100);
        finding.confidence_score = 100 - doubt / 2;
        finding.time = finding.time.max(witness.time);
        add_evidence(&mut finding, witness.event, unknown(witness.event));
    }
    let info = &mut finding.finding_info;
    let times = || confirming.iter().map(|(_, witness)| witness.time);
    info.first_seen_time = times().fold(info.first_seen_time, Timestamp::min);
    info.last_seen_time = times().fold(info.last_seen_time, Timestamp::max);
    info.created_time = finding.time;
    finding.prunella.reasons.extend(also.iter().map(|word| format!("also: {word}")));
    if !also.is_empty() {
        let desc = &mut finding.finding_info.desc;
        *desc = format!("{}. Also: {}", desc.trim_end_matches('.'), also.join("; "));
    }
    if unsaid.count > 0 {
        let events = if unsaid.count == 1 { "event" } else { "events" };
        finding.prunella.reasons.push(format!("{} more unusual {events} shortly before", unsaid.count));
        // Those that become evidence are counted there.
        finding.prunella.event_count += unsaid.count.saturating_sub(unsaid.events.len() as u64);
    }
    for (event, related) in unsaid.events {
        add_evidence(&mut finding, event, related);
    }
    let mut window = finding.time.0.to_le_bytes().to_vec();
    window.extend(candidate.event.0);
    window.push(severity);
    finding.identify(&window);
    Some(finding)
}

/// The finding about a tenant.
pub fn of_tenant(tenant: &Tenant, departure: &Departure) -> Finding {
    let mut finding = Finding::new(LOW);
    let (title, meaning, attack) = meaning(departure);
    let (now, usual) = (bits(departure.shift.bits_now), bits(departure.shift.bits_usual));
    let measured = match departure.shift.stream {
        Which::Operations | Which::Window => "variety",
        Which::Steps => "order",
        Which::Gaps => "pace",
    };
    let what = what(departure.whole);
    let reason = format!("the {measured} of {what} has {now} bits of entropy where {usual} are usual");
    finding.time = departure.last;
    finding.metadata.tenant_uid = Some(tenant.to_string());
    finding.message = format!("{title} in tenant {tenant}");
    finding.confidence_score = CONFIDENCE_ALONE;
    finding.set_risk(0.0);
    finding.anomaly_analyses = vec![measurement(what, now, usual)];
    let info = &mut finding.finding_info;
    info.title = title.to_owned();
    info.desc = format!("{title} in tenant {tenant}: {reason}. {meaning}");
    info.types = vec!["Anomaly".into()];
    info.analytic = tenant_entropy_shift();
    info.attacks = attack.iter().map(Technique::attack).collect();
    (info.first_seen_time, info.last_seen_time) = (departure.first, departure.last);
    info.created_time = departure.last;
    finding.prunella.principal = format!("tenant:{tenant}");
    finding.prunella.reasons = vec![reason, meaning.to_owned()];
    finding.prunella.counterfactual =
        Some(format!("With the usual entropy of {what} this would not have been a finding."));
    for event in &departure.evidence {
        add_evidence(&mut finding, *event, unknown(*event));
    }
    finding.identify(
        &[departure.last.0.to_le_bytes().as_slice(), what.as_bytes(), measured.as_bytes()].concat(),
    );
    finding
}

/// What an event counts with, if the finding it leads to is not said.
pub fn evidence_of(proposal: &Finding, event: Id) -> RelatedEvent {
    let at = proposal.prunella.evidence.iter().position(|id| *id == event);
    let related = at.and_then(|at| proposal.finding_info.related_events.get(at)).cloned();
    related.unwrap_or_else(|| unknown(event))
}

/// Who confirms, and with what.
fn confirmation(source: &Source, witness: &Witness) -> String {
    match source {
        Source::Signal(_) if !witness.detail.is_empty() => witness.detail.clone(),
        Source::Signal(kind) => kind_name(*kind).to_owned(),
        Source::Rule(analytic) => format!("rule {analytic}: {}", witness.detail),
    }
}

fn kind_name(kind: SignalKind) -> &'static str {
    match kind {
        SignalKind::Forest => "an unusual event",
        SignalKind::EntropyFall => "its operations became predictable",
        SignalKind::EntropyRise => "its operations became unpredictable",
        SignalKind::NewNetwork => "a new network",
        SignalKind::NewDevice => "a new device",
        SignalKind::FailedSignIns => "failed sign-ins",
        SignalKind::DataVolume => "more data than usual",
        SignalKind::Timing => "an unusual hour",
        SignalKind::Peers => "an operation its peers do not call",
    }
}

fn shift(tenant: &Tenant, principal: &str, candidate: &Candidate) -> Finding {
    let is_fall = candidate.kind == SignalKind::EntropyFall;
    let (title, attack) = if is_fall {
        ("Principal became predictable, as a program is", VALID_CLOUD_ACCOUNT)
    } else {
        ("Principal became unpredictable, as who looks around is", DISCOVER_INFRASTRUCTURE)
    };
    let mut finding = Finding::new(LOW);
    finding.time = candidate.time;
    finding.metadata.tenant_uid = Some(tenant.to_string());
    finding.message = format!("{principal} should verify who it is: {}", reason(candidate));
    finding.confidence_score = CONFIDENCE_ALONE;
    finding.set_risk(0.0);
    let info = &mut finding.finding_info;
    info.title = title.to_owned();
    info.desc = format!("{principal}: {}. Ask for a step-up verification.", reason(candidate));
    info.types = vec!["Anomaly".into()];
    info.analytic = entropy_shift();
    info.attacks = vec![attack.attack()];
    (info.first_seen_time, info.last_seen_time) = (candidate.time, candidate.time);
    info.created_time = candidate.time;
    finding.prunella.principal = principal.to_owned();
    finding.prunella.reasons = vec![reason(candidate)];
    finding.prunella.counterfactual =
        Some("With its usual entropy this would not have been a finding.".to_owned());
    add_evidence(&mut finding, candidate.event, unknown(candidate.event));
    finding
}

fn reason(candidate: &Candidate) -> String {
    if candidate.detail.is_empty() { kind_name(candidate.kind).to_owned() } else { candidate.detail.clone() }
}

/// The title, what it means, and the technique it may serve.
fn meaning(departure: &Departure) -> (&'static str, &'static str, Option<Technique>) {
    match (departure.whole, departure.shift.direction) {
        (Whole::Access, Direction::Fall) => {
            ("Access became predictable", "Programs do more of the work than usual.", None)
        }
        (Whole::Access, Direction::Rise) => {
            ("Access became unpredictable", "Somebody may be looking around.", Some(DISCOVER_INFRASTRUCTURE))
        }
        (Whole::Tiers, Direction::Fall) => (
            "Changes of storage tier became predictable",
            "A program moves data between tiers; where data goes next can be foreseen.",
            Some(DESTROY_DATA),
        ),
        (Whole::Tiers, Direction::Rise) => (
            "Changes of storage tier became unpredictable",
            "Data moves between tiers in a way it did not before.",
            Some(DESTROY_DATA),
        ),
        (Whole::Decisions, Direction::Fall) => (
            "Decisions of the defence became predictable",
            "An attacker who watches can foresee how Prunella answers; vary thresholds or responses.",
            None,
        ),
        (Whole::Decisions, Direction::Rise) => (
            "Decisions of the defence became unpredictable",
            "Much that is unlike before is being found.",
            None,
        ),
    }
}

fn what(whole: Whole) -> &'static str {
    match whole {
        Whole::Access => "access",
        Whole::Tiers => "changes of storage tier",
        Whole::Decisions => "the defence's decisions",
    }
}

fn measurement(what: &'static str, now: String, usual: String) -> AnomalyAnalysis {
    let observed = |value: String| Observed {
        observation_parameter: "entropy".into(),
        observation_type: "bits".into(),
        observations: vec![Observation { value }],
        observed_pattern: None,
    };
    AnomalyAnalysis {
        analysis_targets: vec![AnalysisTarget { name: what.to_owned(), kind: "Stream".into() }],
        anomalies: vec![observed(now)],
        baselines: vec![observed(usual)],
    }
}

/// Counts an event that is not evidence yet, and adds it while there is room.
fn add_evidence(finding: &mut Finding, event: Id, related: RelatedEvent) {
    let facts = &mut finding.prunella;
    if facts.evidence.contains(&event) {
        return;
    }
    facts.event_count += 1;
    if facts.evidence.len() < EVIDENCE_MAX {
        facts.evidence.push(event);
        finding.finding_info.related_events.push(related);
    }
}

/// An event of which only Prunella's own id is known here.
fn unknown(event: Id) -> RelatedEvent {
    RelatedEvent { uid: event.to_string(), ..RelatedEvent::default() }
}

/// Hundredths of bits.
fn bits(fixed: u32) -> String {
    let hundredths = (u64::from(fixed) * 100 + u64::from(BIT) / 2) / u64::from(BIT);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
