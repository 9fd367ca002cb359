//! Evidence: what detectors hand in, and how it becomes a finding.

use crate::attack::Technique;
use crate::config::Config;
use crate::principals::Cooldowns;
use crate::sighting::Sighting;
use crate::window::Mark;
use prunella_schemas::finding::{self, Analytic, RelatedEvent};
use prunella_schemas::limits::EVIDENCE_MAX;
use prunella_schemas::ocsf::Endpoint;
use prunella_schemas::{Finding, Timestamp};

/// Source addresses shown on a finding.
const ADDRESSES_MAX: usize = 8;
/// Resources shown on a finding.
const RESOURCES_MAX: usize = 32;

/// OCSF `severity_id`, as far as detectors use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Low = 2,
    Medium = 3,
    High = 4,
    Critical = 5,
}

impl Severity {
    /// One step milder, for who does such things all the time.
    pub fn dampened(self) -> Self {
        match self {
            Severity::Critical => Severity::High,
            Severity::High => Severity::Medium,
            Severity::Medium | Severity::Low => Severity::Low,
        }
    }

    /// What a certain finding of this severity adds to the principal's risk, of 100.
    pub fn weight(self) -> f64 {
        match self {
            Severity::Low => 20.0,
            Severity::Medium => 50.0,
            Severity::High => 80.0,
            Severity::Critical => 95.0,
        }
    }
}

/// A conclusion of one detector, before it is a finding.
#[derive(Clone, Debug)]
pub struct Draft {
    pub severity: Severity,
    /// 0 to 100.
    pub confidence: u8,
    pub title: String,
    /// One sentence: who did what.
    pub message: String,
    /// Strongest first.
    pub reasons: Vec<String>,
    pub counterfactual: String,
    /// The first one names the finding for the cool-down.
    pub attacks: Vec<Technique>,
    /// The events that took part, in order of time.
    pub marks: Vec<Mark>,
    /// The principal does such things regularly: said more softly, and more rarely.
    pub habitual: bool,
}

/// Where a detector puts its drafts.
#[derive(Debug)]
pub struct Evidence<'a> {
    detector: &'static str,
    cooldowns: &'a Cooldowns,
    config: &'a Config,
    drafts: Vec<Draft>,
    hushed: bool,
}

impl<'a> Evidence<'a> {
    pub fn new(detector: &'static str, cooldowns: &'a Cooldowns, config: &'a Config) -> Self {
        Evidence { detector, cooldowns, config, drafts: Vec::new(), hushed: false }
    }

    /// Whether a draft like this would be heard. Worth asking before a costly one is made, since an attack under way
    /// completes its evidence again with every event.
    pub fn is_heard(&mut self, technique: Technique, severity: Severity, time: Timestamp) -> bool {
        let quiet_ms = self.config.cooldown_ms;
        let heard = self.cooldowns.permit(self.detector, technique.uid(), time, severity as u8, quiet_ms);
        self.hushed |= !heard && severity >= Severity::Medium;
        heard
    }

    /// Whether a draft would not have been heard, so that none was made: the event belongs to what was found before.
    pub fn is_hushed(&self) -> bool {
        self.hushed
    }

    pub fn found(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }

    pub fn drafts(self) -> Vec<Draft> {
        self.drafts
    }
}

impl Draft {
    /// The technique that names the finding for the cool-down.
    pub fn technique(&self) -> &'static str {
        self.attacks.first().map_or("", Technique::uid)
    }

    /// Whether the event takes part.
    pub fn holds(&self, seen: &Sighting<'_>) -> bool {
        self.marks.iter().any(|mark| mark.uid == seen.event.prunella.event_uid)
    }

    /// What this adds to the principal's risk, of 100.
    pub fn weight(&self) -> f64 {
        self.severity.weight() * f64::from(self.confidence.min(100)) / 100.0
    }

    /// The finding, but for its risk. `seen` is the event that completed it.
    pub fn finding(mut self, analytic: Analytic, seen: &Sighting<'_>, window_ms: i64) -> Finding {
        let event = seen.event;
        self.marks.sort_by_key(|mark| (mark.time, mark.uid));
        self.marks.dedup_by(|a, b| a.uid == b.uid);
        let mut finding = Finding::new(self.severity as u8);
        finding.prunella.event_count = self.marks.len() as u64;
        finding.finding_info.first_seen_time = self.marks.first().map_or(seen.time, |mark| mark.time);
        finding.finding_info.last_seen_time = self.marks.last().map_or(seen.time, |mark| mark.time);
        finding.time = finding.finding_info.last_seen_time;
        finding.finding_info.created_time = finding.time;
        finding.evidences = evidences(seen, &self.marks);
        let kept = first_and_last(self.marks);
        finding.prunella.evidence = kept.iter().map(|mark| mark.uid).collect();
        finding.finding_info.related_events = kept.iter().map(related).collect();
        finding.metadata.tenant_uid.clone_from(&event.metadata.tenant_uid);
        finding.cloud.clone_from(&event.cloud);
        finding.resources = event.resources.iter().take(RESOURCES_MAX).cloned().collect();
        finding.enrichments.clone_from(&event.enrichments);
        finding.osint.clone_from(&event.osint);
        finding.prunella.entity_uid.clone_from(&event.prunella.entity_uid);
        finding.confidence_score = self.confidence.min(100);
        finding.finding_info.desc =
            format!("{}. {}", self.message.trim_end_matches('.'), sentence(&self.reasons));
        finding.finding_info.types = vec!["Threat".into()];
        finding.finding_info.title = self.title;
        finding.message = self.message;
        finding.finding_info.attacks = self.attacks.iter().map(Technique::attack).collect();
        finding.finding_info.analytic = analytic;
        finding.prunella.principal = event.principal().to_owned();
        finding.prunella.completed_by = Some(event.prunella.event_uid);
        finding.prunella.reasons = self.reasons;
        finding.prunella.counterfactual = Some(self.counterfactual);
        let window = finding.finding_info.first_seen_time.0.div_euclid(window_ms.max(1));
        let mut parts = window.to_le_bytes().to_vec();
        // The same evidence may support two conclusions, and more events may share its first and last.
        parts.extend(event.prunella.event_uid.0);
        parts.push(self.severity as u8);
        parts.extend(self.attacks.first().map_or("", Technique::uid).bytes());
        finding.identify(&parts);
        finding
    }
}

fn related(mark: &Mark) -> RelatedEvent {
    RelatedEvent {
        uid: mark.native.to_string(),
        type_uid: mark.type_uid,
        operation: mark.operation.to_string(),
    }
}

/// At most `EVIDENCE_MAX` marks: the beginning and the end of the story.
fn first_and_last(mut marks: Vec<Mark>) -> Vec<Mark> {
    let surplus = marks.len().saturating_sub(EVIDENCE_MAX);
    if surplus > 0 {
        marks.drain(EVIDENCE_MAX / 2..EVIDENCE_MAX / 2 + surplus);
    }
    marks
}

/// The actor with the endpoint of the completing event, then the other addresses that took part.
fn evidences(seen: &Sighting<'_>, marks: &[Mark]) -> Vec<finding::Evidence> {
    let event = seen.event;
    let mut all =
        vec![finding::Evidence { actor: event.actor.clone(), src_endpoint: event.src_endpoint.clone() }];
    let mut addresses: Vec<&str> = marks.iter().filter_map(|mark| mark.ip.as_deref()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    for ip in addresses.into_iter().filter(|ip| Some(*ip) != event.source_ip()).take(ADDRESSES_MAX) {
        let endpoint = Endpoint { ip: Some(ip.to_owned()), ..Endpoint::default() };
        all.push(finding::Evidence { actor: None, src_endpoint: Some(endpoint) });
    }
    all
}

fn sentence(reasons: &[String]) -> String {
    let mut text = reasons.join("; ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}
