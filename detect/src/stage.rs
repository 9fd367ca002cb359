//! The stage: each event meets its principal's past, then becomes part of it.

use crate::config::Config;
use crate::evidence::{Draft, Evidence, Severity};
use crate::principals::{Memory, Principals, RestoreError, SNAPSHOT_VERSION};
use crate::sighting::Sighting;
use prunella_schemas::finding::Analytic;
use prunella_schemas::risk::RiskLevel;
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{Delivered, Event, Finding, Id, Outbox, Risk, Stage, Tenant, Timestamp};

const NAME: &str = "detect";

/// EVENT -> FINDING, per principal.
pub struct Detect {
    config: Config,
    principals: Principals,
}

/// What came of one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub findings: Vec<Finding>,
    /// Changes of the principal's risk level.
    pub risks: Vec<Risk>,
}

/// The findings in a set of events, whatever order they come in. For files; a stream goes through [`Detect`].
pub fn run(events: impl Iterator<Item = Event>) -> Vec<Finding> {
    let mut events: Vec<Event> = events.collect();
    events.sort_by_key(|event| (event.time, event.prunella.event_uid));
    let mut detect = Detect::new(Config::default());
    events.iter().flat_map(|event| detect.observe(event).findings).collect()
}

impl Detect {
    pub fn new(config: Config) -> Self {
        Detect { config, principals: Principals::default() }
    }

    /// Judges one event, then learns it.
    pub fn observe(&mut self, event: &Event) -> Verdict {
        let mut verdict = Verdict::default();
        let seen = Sighting::of(event);
        let detectors = self.config.detectors.all();
        let (max, settled) = (self.config.principals_max, self.config.learning_events_min);
        let Some(memory) = self.principals.of(event, detectors.len(), max, settled) else { return verdict };
        if memory.past.is_repeat(&seen) {
            return verdict;
        }
        memory.risk.decay_to(seen.time);
        note_level(memory, event, seen.time, None, &mut verdict);
        for (detector, window) in detectors.iter().zip(&mut memory.windows) {
            let mut evidence = Evidence::new(detector.id(), &memory.cooldowns, &self.config);
            detector.observe(&seen, &memory.past, window, &self.config, &mut evidence);
            // Only the event at hand completes evidence: what is found without it was found before.
            let drafts = evidence.drafts().into_iter().filter(|draft| draft.holds(&seen));
            for draft in drafts {
                let (time, severity, technique) = (newest(&draft, &seen), draft.severity, draft.technique());
                let quiet_ms =
                    if draft.habitual { self.config.habit_cooldown_ms } else { self.config.cooldown_ms };
                if !memory.cooldowns.permit(detector.id(), technique, time, severity as u8, quiet_ms) {
                    continue;
                }
                memory.cooldowns.speak(detector.id(), technique, time, severity as u8);
                if severity >= Severity::Medium {
                    memory.past.rhythm.flag(seen.time);
                }
                memory.risk.add(draft.weight(), seen.time);
                let finding = finding(draft, detector.analytic(), &seen, &self.config, memory.risk.score());
                verdict.findings.push(finding);
            }
        }
        let cause = verdict.findings.last().map(|finding| finding.prunella.finding_uid);
        note_level(memory, event, seen.time, cause, &mut verdict);
        memory.past.learn(&seen);
        verdict
    }

    /// Principals remembered now.
    pub fn principals(&self) -> usize {
        self.principals.len()
    }

    fn detector_ids(&self) -> Vec<&'static str> {
        self.config.detectors.all().iter().map(|detector| detector.id()).collect()
    }
}

impl Stage for Detect {
    type In = Event;

    fn name(&self) -> &'static str {
        NAME
    }

    fn step(&mut self, batch: &[Delivered<Event>], out: &mut Outbox) {
        for delivered in batch {
            let verdict = self.observe(&delivered.message);
            out.caused_by(delivered);
            verdict.findings.iter().for_each(|finding| out.push(finding));
            verdict.risks.iter().for_each(|risk| out.push(risk));
        }
    }

    fn save(&self) -> Vec<u8> {
        self.principals.save(&self.detector_ids())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        self.principals =
            Principals::restore(snapshot, &self.detector_ids()).map_err(|error| match error {
                RestoreError::Version(version) => {
                    SnapshotError::Version { stage: NAME, version, expected: SNAPSHOT_VERSION }
                }
                RestoreError::Corrupt(detail) => SnapshotError::Corrupt { stage: NAME, detail },
            })?;
        Ok(())
    }
}

fn finding(draft: Draft, analytic: Analytic, seen: &Sighting<'_>, config: &Config, risk: f64) -> Finding {
    let mut finding = draft.finding(analytic, seen, config.cooldown_ms);
    finding.set_risk(risk);
    finding
}

fn newest(draft: &Draft, seen: &Sighting<'_>) -> Timestamp {
    draft.marks.iter().map(|mark| mark.time).max().unwrap_or(seen.time)
}

/// Says so when the level of risk is no longer what it was.
fn note_level(memory: &mut Memory, event: &Event, time: Timestamp, cause: Option<Id>, verdict: &mut Verdict) {
    let (score, previous) = (memory.risk.score(), memory.risk.level);
    let level = RiskLevel::of(score);
    if level == previous {
        return;
    }
    memory.risk.level = level;
    verdict.risks.push(Risk {
        tenant: Tenant::try_from(event.tenant().to_owned()).unwrap_or_default(),
        principal: event.principal().to_owned(),
        // Two decimals are more than it means, and the same on every machine.
        score: (score * 100.0).round() / 100.0,
        level,
        previous,
        time,
        finding_uid: cause,
    });
}
